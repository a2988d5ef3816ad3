"""Checkpoints that survive kills, full disks and flipped bits.

One checkpoint is one directory named by its step, written by orbax: the arrays of the state, and a
JSON record with a checksum of each (orbax itself restores a flipped byte without a word). Writing
goes on in the background; the directory gets its name only when it is complete, so that every
listed step was complete once. It may still be damaged later: restoring uses the newest step whose
checksums agree, and reports the ones it skipped.

    with Checkpoints(workdir / "checkpoints", keep=3, snapshot_every=50_000) as checkpoints:
        restored = checkpoints.restore(jax.eval_shape(make_state))
        ...
        checkpoints.save(step, state, {"config": ..., "data": ...})

The policy for old steps is here and not in orbax's CheckpointManager, which counts damaged steps
among those to keep, and silently declines to save at or below a listed step.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import Array, PyTree

from runtime_lib.checkpoints.leaves import abstract, abstract_data, as_data, from_data, named_leaves
from runtime_lib.checkpoints.quiet import silence_background_noise
from runtime_lib.checkpoints.record import (
    CheckpointError,
    DamagedError,
    NoCheckpointError,
    StateMismatchError,
    check_arrays,
    check_record,
    check_structure,
    make_record,
)
from runtime_lib.checkpoints.step_directories import StepDirectories, expired
from runtime_lib.files import plain_reason
from runtime_lib.processes import is_first, is_loss
from untrusted import UntrustedError, limits, read_json

__all__ = [
    "CheckpointError",
    "Checkpoints",
    "NoCheckpointError",
    "Restored",
    "StateMismatchError",
]

LARGEST_RECORD = 64 * limits.MIB
"""Bytes of a record: 200 for each array, and the caller's `meta`."""
T = TypeVar("T")
# Errors while reading that say nothing about the files; any other means that they are damaged.
_NOT_DAMAGE = (CheckpointError, MemoryError, jax.errors.JaxRuntimeError)


class Restored(NamedTuple):
    """A restored state; `skipped` lists the newer steps passed over, with the reason for each."""

    step: int
    state: PyTree
    meta: dict
    skipped: list[tuple[int, str]]


class Checkpoints:
    """The checkpoints of one workdir, as a context manager.

    Args:
      directory: their folder; created unless `read_only`.
      keep: number of the newest steps that are kept.
      snapshot_every: steps divisible by it are kept for ever; 0 for none.
      read_only: for processes that only read, even while a training run writes. There is one
        writer at a time (see `runtime_lib.files.WorkdirLock`): it removes unfinished checkpoints
        of a killed one.
      log: receives one line for each thing the user should know.

    Raises:
      CheckpointError: if the directory cannot be created.
      ValueError: if `keep` is less than 1.
    """

    def __init__(
        self,
        directory: Path | str,
        *,
        keep: int = 3,
        snapshot_every: int = 0,
        read_only: bool = False,
        log: Callable[[str], None] = print,
    ):
        if keep < 1:
            raise ValueError(f"keep must be at least 1, got {keep}")
        self.directory = Path(directory).absolute()
        self._directories = StepDirectories(self.directory, log)
        self._keep, self._snapshot_every = keep, snapshot_every
        self._log = log
        self._pending: int | None = None  # the step being written in the background
        self._written: set[int] = set()  # steps this object wrote: known to be sound
        self._damaged: set[int] = set()  # steps this object could not read
        silence_background_noise()
        if not read_only:
            self._prepare_directory()
        # Reading apart from writing: a writer raises what went wrong in its last save anywhere.
        self._reader = ocp.Checkpointer(_handler())
        self._writer = None if read_only else _new_writer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and is_loss(error):
            return  # what is being written waits for that process, too
        try:
            self.close()
        except CheckpointError as failed:
            if error is None:
                raise
            self._log(str(failed))

    def steps(self) -> list[int]:
        """The steps that are completely written, oldest first; some may be damaged."""
        return self._directories.steps()

    def latest(self) -> int | None:
        """The newest step not known to be damaged; None if there is none."""
        return max((step for step in self.steps() if step not in self._damaged), default=None)

    def save(self, step: int, state: PyTree, meta: dict, *, wait: bool = False) -> None:
        """Save a state; returns when it has been read, while it is written in the background.

        The state may be donated or changed as soon as this returns. A step that is already saved is
        left alone if it holds the same state, else replaced. Waits first for the previous save.

        Args:
          step: the number of updates made.
          state: arrays, numbers and PRNG keys in any tree.
          meta: anything that JSON can hold, to be stored with the state.
          wait: whether to return only when it is on the disk.

        Raises:
          CheckpointError: if this or the previous save cannot be written; earlier steps remain.
        """
        if self._writer is None:
            raise CheckpointError(f"{self.directory} was opened for reading only")
        self.wait()
        leaves = named_leaves(state)
        data = {name: as_data(leaf) for name, leaf in leaves.items()}
        record = make_record(step, leaves, data, meta)
        if other := self._directories.foreign(step):
            raise CheckpointError(
                f"{self._directories.path(step)} is in the way of a checkpoint, and {other} in it "
                "is not of one: move it"
            )
        if self._holds(step, record, data):
            return
        self._written.discard(step)
        try:
            self._writer.save(
                self._directories.path(step), args=_save_args(data, record), force=True
            )
        except (OSError, ValueError) as error:
            raise self._not_written(step, error) from error
        self._pending = step
        if wait:
            self.wait()

    def wait(self) -> None:
        """Wait until the last save is on the disk. Raises CheckpointError if it failed."""
        if self._pending is None or self._writer is None:
            return
        step = self._pending
        try:
            self._writer.wait_until_finished()
        except Exception as error:
            self._pending = None
            raise self._not_written(step, error) from error
        self._pending = None
        self._written.add(step)
        self._damaged.discard(step)
        self._remove_expired(step)

    def close(self) -> None:
        """Wait for the last save and free the threads. Raises CheckpointError as `wait`."""
        try:
            self.wait()
        finally:
            self._reader.close()
            if self._writer is not None:
                self._writer.close()

    def restore(self, abstract_state: PyTree, *, step: int | None = None) -> Restored:
        """Read a whole state, from the newest sound step unless one is given.

        Args:
          abstract_state: tree of `jax.ShapeDtypeStruct` (from `jax.eval_shape`) or arrays. A leaf
            with a sharding is restored with it, whatever layout it was saved from; the others
            come back on the default device, uncommitted.
          step: this step and no other.

        Raises:
          NoCheckpointError: if there is none, or not the one asked for.
          StateMismatchError: if the checkpoint is of another configuration; names the leaf.
          CheckpointError: if the step asked for, or all of them, are damaged.
        """
        return self._restore(abstract_state, step, whole=True)

    def restore_part(
        self, abstract_part: Mapping[str, PyTree], *, step: int | None = None
    ) -> Restored:
        """Read some top-level entries of a state, as in `{"ema": abstract_params}`.

        The state returned is a dictionary with the same entries. Otherwise like `restore`.
        """
        return self._restore(dict(abstract_part), step, whole=False)

    def read_meta(self, *, step: int | None = None) -> dict:
        """The `meta` of a step, by default of the newest whose record can be read.

        Raises like `restore`, which may use an older step because it also checks the arrays.
        """
        return self._first_sound(self._read_record, step)[1]["meta"]

    def entries(self) -> set[str]:
        """The top-level entries of the newest readable state. Raises as `restore`."""
        leaves = self._first_sound(self._read_record, None)[1]["leaves"]
        return {name.split("/")[0] for name in leaves}

    def _restore(self, like: PyTree, step: int | None, *, whole: bool) -> Restored:
        wanted = {name: abstract(leaf) for name, leaf in named_leaves(like).items()}
        stored = {name: abstract_data(leaf) for name, leaf in wanted.items()}
        entries = {name.split("/")[0] for name in wanted}

        def read(step: int) -> tuple[dict, list[Array]]:
            record = self._read_record(step)
            saved = record["leaves"]
            if not whole:
                saved = {n: entry for n, entry in saved.items() if n.split("/")[0] in entries}
            check_structure(step, saved, wanted)
            data = self._read_arrays(step, record, stored)
            kinds = {name: saved[name].get("key") for name in wanted}
            return record, [from_data(data[name], kinds[name]) for name in wanted]

        found, (record, leaves), skipped = self._first_sound(read, step)
        state = jax.tree.unflatten(jax.tree.structure(like), leaves)
        return Restored(found, state, record["meta"], skipped)

    def _first_sound(
        self, read: Callable[[int], T], step: int | None
    ) -> tuple[int, T, list[tuple[int, str]]]:
        """`read(step)` of the newest step for which it succeeds, or of the one given."""
        self.wait()
        skipped: dict[int, str] = {}
        # Listed anew after each failure: a training run may add and remove steps meanwhile.
        while (candidate := self._next_candidate(step, skipped)) is not None:
            try:
                value = read(candidate)
            except _NOT_DAMAGE:
                raise
            except Exception as error:  # a damaged file makes orbax raise nearly anything
                skipped[candidate] = self._why_unreadable(candidate, error)
                continue
            for passed, reason in skipped.items():
                self._log(f"checkpoint {passed} is skipped, {reason}: using {candidate} instead")
            return candidate, value, list(skipped.items())
        raise self._nothing_sound(step, skipped)

    def _next_candidate(self, step: int | None, skipped: Mapping[int, str]) -> int | None:
        asked = self.steps() if step is None else [s for s in self.steps() if s == step]
        return max((s for s in asked if s not in skipped), default=None)

    def _nothing_sound(self, step: int | None, skipped: Mapping[int, str]) -> CheckpointError:
        if skipped and step is not None:
            return CheckpointError(
                f"checkpoint {step} in {self.directory} is {skipped[step]}: choose another step"
            )
        if skipped:
            reasons = "; ".join(f"{damaged} is {reason}" for damaged, reason in skipped.items())
            return CheckpointError(
                f"no checkpoint in {self.directory} can be used: {reasons}; put back a copy, or "
                "move the directory away to train from the start"
            )
        if step is not None and (known := self.steps()):
            return NoCheckpointError(
                f"no checkpoint {step} in {self.directory}, only {', '.join(map(str, known))}"
            )
        return NoCheckpointError(f"no checkpoint in {self.directory}: train first (--mode train)")

    def _why_unreadable(self, step: int, error: Exception) -> str:
        if not self._directories.path(step).exists():
            return "removed while it was being read"
        self._damaged.add(step)
        return f"damaged ({_reason(error)})"

    def _read_record(self, step: int) -> dict:
        self._directories.check(step)
        path = self._directories.path(step) / "meta" / "metadata"
        return check_record(step, read_json(path, LARGEST_RECORD))

    def _read_arrays(
        self, step: int, record: dict, like: Mapping[str, jax.ShapeDtypeStruct]
    ) -> dict[str, Array | np.ndarray]:
        """The stored arrays of these names in these layouts, checked against the record."""
        empty = {n: np.zeros(leaf.shape, leaf.dtype) for n, leaf in like.items() if not leaf.size}
        args = {name: _restore_args(leaf) for name, leaf in like.items() if leaf.size}
        request = ocp.args.PyTreeRestore(
            item=dict.fromkeys(args, 0), restore_args=args, partial_restore=True
        )
        restored = self._reader.restore(
            self._directories.path(step), args=ocp.args.Composite(state=request)
        )
        data = {**restored["state"], **empty}
        check_arrays(data, record)
        return data

    def _holds(self, step: int, record: dict, data: Mapping[str, Array]) -> bool:
        """True if this very state is already saved soundly under this step."""
        if step not in self.steps():
            return False
        try:
            saved = self._read_record(step)
            if saved["leaves"] != record["leaves"]:
                raise DamagedError("it is another state")
            if step not in self._written:
                self._read_arrays(step, saved, {n: abstract(x) for n, x in data.items()})
        except _NOT_DAMAGE:
            raise
        except Exception as error:  # as in _first_sound
            self._log(f"checkpoint {step} is replaced ({_reason(error)})")
            return False
        return True

    def _not_written(self, step: int, error: Exception) -> CheckpointError:
        # A new writer, because parts of the old one would go on raising the same error.
        if self._writer is not None:
            with suppress(Exception):
                self._writer.close()
            self._writer = _new_writer()
        if is_first():
            self._directories.remove_unfinished()
        others = ", ".join(str(s) for s in self.steps() if s not in self._damaged) or "none"
        return CheckpointError(
            f"checkpoint {step} could not be written to {self.directory}, "
            f"{plain_reason(error)} (saved before: {others})"
        )

    def _remove_expired(self, newest: int) -> None:
        # Steps above the one just written belong to a future that was given up (they are damaged,
        # or the run went back): they are neither counted nor removed, but replaced in their turn.
        sound = [s for s in self.steps() if s <= newest and s not in self._damaged]
        if is_first():
            self._directories.remove(expired(sound, self._keep, self._snapshot_every))

    def _prepare_directory(self) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(
                f"cannot create {self.directory}, {plain_reason(error)}: give another --workdir"
            ) from error
        if is_first():
            self._directories.remove_unfinished()


def _handler() -> ocp.CompositeCheckpointHandler:
    # For each device to write its slice of a copy, slicing is compiled anew for every shape: that
    # pays where processes write at the same time.
    arrays = ocp.type_handlers.ArrayHandler(use_replica_parallel=jax.process_count() > 1)
    kinds = ocp.type_handlers.create_type_handler_registry(
        (jax.Array, arrays), (np.ndarray, ocp.type_handlers.NumpyHandler())
    )
    return ocp.CompositeCheckpointHandler(
        state=ocp.PyTreeCheckpointHandler(type_handler_registry=kinds),
        meta=ocp.JsonCheckpointHandler(),
    )


def _new_writer() -> ocp.AsyncCheckpointer:
    return ocp.AsyncCheckpointer(_handler())


def _save_args(data: Mapping[str, Array], record: dict) -> ocp.args.Composite:
    # orbax refuses arrays without elements; restoring makes them anew.
    state = {name: array for name, array in data.items() if array.size}
    return ocp.args.Composite(state=ocp.args.PyTreeSave(state), meta=ocp.args.JsonSave(record))


def _restore_args(leaf: Any) -> ocp.RestoreArgs:
    if leaf.sharding is None:
        return ocp.RestoreArgs(restore_type=np.ndarray)
    return ocp.ArrayRestoreArgs(sharding=leaf.sharding, global_shape=leaf.shape, dtype=leaf.dtype)


def _reason(error: Exception) -> str:
    known = isinstance(error, DamagedError | CheckpointError | UntrustedError)
    return str(error) if known else plain_reason(error)
