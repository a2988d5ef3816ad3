"""The record of a checkpoint: its leaves, their checksums, and anything else that the training
loop needs again (config, data position)."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from runtime_lib.checkpoints.integrity import digests
from runtime_lib.checkpoints.leaves import is_key

FORMAT = 1


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written or read; the message is one line for the user."""


class NoCheckpointError(CheckpointError, FileNotFoundError):
    """No checkpoint at all: nothing has been saved yet, or the directory is wrong."""


class StateMismatchError(CheckpointError):
    """A sound checkpoint of another network, optimizer or format than the one asked for."""


class DamagedError(Exception):
    """The content of a checkpoint differs from what was saved; the message is the reason."""


def make_record(
    step: int, leaves: Mapping[str, Any], data: Mapping[str, Array], meta: dict
) -> dict:
    """The JSON record saved beside the arrays; reads them all to compute their digests."""
    sums = digests(data)
    described = {name: _describe(jnp.asarray(leaf), sums[name]) for name, leaf in leaves.items()}
    body = {"format": FORMAT, "step": step, "meta": meta, "leaves": described}
    body = json.loads(json.dumps(body))  # lists and text keys, as they will be read back
    return {**body, "seal": _seal(body)}


def _describe(leaf: Array, digest: str) -> dict:
    entry = {"shape": list(leaf.shape), "dtype": str(leaf.dtype), "digest": digest}
    return {**entry, "key": str(jax.random.key_impl(leaf))} if is_key(leaf) else entry


def _seal(body: dict) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()


def check_record(step: int, record: Any) -> dict:
    """The record, if it is whole and belongs to this step.

    Raises:
      DamagedError: if it differs from what was saved.
      StateMismatchError: if a later version of this program wrote it.
    """
    if not isinstance(record, dict) or not isinstance(record.get("seal"), str):
        raise DamagedError("its record is not one of this program")
    body = {name: value for name, value in record.items() if name != "seal"}
    if _seal(body) != record["seal"]:
        raise DamagedError("the checksum of its record is wrong")
    if not all(isinstance(record.get(name), dict) for name in ("leaves", "meta")):
        raise DamagedError("its record does not say what it holds")
    if record.get("step") != step:
        raise DamagedError(f"it holds step {record['step']}")
    if record["format"] > FORMAT:
        raise StateMismatchError(
            f"checkpoint {step} has format {record['format']}, this version reads up to {FORMAT}: "
            "use the version that wrote it"
        )
    return record


def check_arrays(data: Mapping[str, Array | np.ndarray], record: dict) -> None:
    """Raise DamagedError if the content of an array differs from the record."""
    wrong = [
        name for name, sum_ in digests(data).items() if record["leaves"][name]["digest"] != sum_
    ]
    if wrong:
        raise DamagedError(f"the checksum of {wrong[0]} is wrong{_more(len(wrong) - 1)}")


def check_structure(step: int, saved: Mapping[str, dict], wanted: Mapping[str, Any]) -> None:
    """Raise StateMismatchError, naming the first leaf that differs, unless both are the same tree.

    Args:
      step: the checkpoint's step, for the message.
      saved: the record's entry of each leaf.
      wanted: the leaves to be restored, anything with shape and dtype by the same names.
    """
    here = {name: _kind(leaf.shape, leaf.dtype) for name, leaf in wanted.items()}
    there = {name: _kind(entry["shape"], entry["dtype"]) for name, entry in saved.items()}
    differ = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    if differ:
        name = differ[0]
        raise StateMismatchError(
            f"checkpoint {step} does not fit this configuration: {name} is "
            f"{there.get(name, 'absent')} in the checkpoint and {here.get(name, 'absent')} here"
            f"{_more(len(differ) - 1)}: use the configuration it was trained with"
        )


def _kind(shape: Any, dtype: Any) -> str:
    return f"{dtype}[{','.join(str(size) for size in shape)}]"


def _more(count: int) -> str:
    return f" (and {count} more)" if count else ""
