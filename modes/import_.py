"""`--mode import`: a foreign checkpoint becomes an ordinary workdir."""

from __future__ import annotations

import ast
import os
import re
import shlex
from collections.abc import Callable, Collection
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from configs import schema
from models.pretrained import MismatchError, Opened, open_checkpoint, params_of
from modes.experiment import TRAIN_STREAM, Experiment
from modes.parts import noted
from runtime_lib import workdir
from runtime_lib.checkpoints.store import Checkpoints
from runtime_lib.files import WorkdirLock, atomic_write
from sde_lib.guides import ABSENT
from train_lib import names
from train_lib.guard import Watch
from train_lib.state import TrainState
from untrusted import plain, read_bytes

CONFIG_SCRIPT = "config.py"
LARGEST_SCRIPT, LONGEST_TITLE = 1 << 20, 100
"""Largest config file in bytes, and longest name of a checkpoint in it in characters."""
_SCRIPT = '''"""{title}"""

from ml_collections import ConfigDict

from configs import schema

SETTINGS = {{
{settings}}}
"""Settings that differ from the defaults in configs/defaults."""


def get_config() -> ConfigDict:
    config = schema.get_default()
    config.update_from_flattened_dict(SETTINGS)
    return config
'''


def import_checkpoint(
    source: Path,
    folder: Path,
    config: ConfigDict | None = None,
    override: Callable[[ConfigDict], None] = lambda config: None,
    given: Collection[str] = (),
    log: Callable[[str], None] = print,
) -> int:
    """Write the checkpoint `source` into the new workdir `folder`; returns 0.

    The workdir gets the config, and a checkpoint of the file's step with its raw and averaged
    weights and a new state of the optimizer, so that it can be sampled from and trained on.
    Without a config, or if the file's value of a setting replaces the config's, it also gets a
    config file for later commands, which contains only checked values and no text of the file's.
    Nothing is written before everything has been read and fits.

    Args:
      override: changes a config that is made from the checkpoint.
      given: names of the settings that `override` changes.

    Raises:
      PretrainedError: the file cannot be used; tensors that do not fit the config are logged.
      WorkdirError: the workdir holds a run already.
      ValueError, WorkdirLockedError, CheckpointError: as in training.
    """
    _check_new(folder)
    opened = open_checkpoint(source, config, override, given)
    opened = opened._replace(config=noted(opened.config))
    checkpoint, made = opened.checkpoint, config is None or bool(opened.adopted)
    if config is None and checkpoint.note:
        log(checkpoint.note)
    for name, value in opened.adopted.items():
        log(f"{name}={value!r} is taken from the file")
    for line in filter(None, (opened.left_out, opened.doubt)):
        log(line)
    names.check(checkpoint.settings)
    experiment = Experiment.of(opened.config, told=ABSENT)
    workdir.check_same(folder, opened.config)
    try:
        state = _state(experiment, opened, log)
    except MismatchError as error:
        log(error.table)
        raise
    text = script(opened.config, source.name) if made else None
    _check_script(folder / CONFIG_SCRIPT, text)
    workdir.create(folder)
    with WorkdirLock(folder):
        workdir.claim(folder, opened.config)
        if text is not None:
            atomic_write(folder / CONFIG_SCRIPT, text, known=True)
        with Checkpoints(folder / "checkpoints", log=log) as checkpoints:
            meta = {"config": workdir.read_config(folder), "data_step": checkpoint.step}
            checkpoints.save(checkpoint.step, state.as_dict(), meta, wait=True)
    size = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    told = f"{plain(source.name)} ({checkpoint.family})"
    log(f"imported {told}: {size:,} parameters, step {checkpoint.step}")
    named = shlex.quote(str(folder / CONFIG_SCRIPT)) if made else "(as for this import)"
    mode = "eval" if experiment.autoencodes else "export" if experiment.classifies else "sample"
    log(f"next: python main.py --config {named} --mode {mode} --workdir {shlex.quote(str(folder))}")
    return 0


def _check_new(folder: Path) -> None:
    """Raise WorkdirError for a workdir in use; one with at most a config, as an interrupted import
    leaves it, is not."""
    if Checkpoints(folder / "checkpoints", read_only=True).steps():
        raise workdir.WorkdirError(
            f"{folder} holds a run already: import into another --workdir, or remove it"
        )


def _check_script(path: Path, text: str | None) -> None:
    """Raise WorkdirError if there is a config file other than the one this import would write."""
    if text is None or not os.path.lexists(path):
        return
    try:
        same = read_bytes(path, LARGEST_SCRIPT) == text.encode()
    except ValueError:
        same = False
    if not same:
        raise workdir.WorkdirError(
            f"{path} is there already, and was not written by this import: move it, or "
            "import into another --workdir"
        )


def _state(experiment: Experiment, opened: Opened, log: Callable[[str], None]) -> TrainState:
    """The state of training with the file's weights and step, and a new state of the optimizer."""
    checkpoint, recipe = opened.checkpoint, experiment.recipe
    kinds = [
        ema for ema in (False, True) if (checkpoint.ema if ema else checkpoint.raw) is not None
    ]
    found = {ema: params_of(opened, ema) for ema in kinds}
    if len(found) == 1:
        kind = "averaged" if True in found else "raw"
        log(f"the file has {kind} weights only: used as raw and averaged weights")
    raw = found.get(False, found.get(True))
    average = found.get(True, raw)
    optimizer = jax.eval_shape(recipe.optimizer.init, raw)
    return TrainState(
        jnp.asarray(checkpoint.step, jnp.int32),
        raw,
        tuple(average for _ in recipe.ema.rates),
        jax.tree.map(lambda leaf: _zeros(leaf.shape, leaf.dtype), optimizer),
        experiment.key(TRAIN_STREAM),
        Watch.start(),
        recipe.law,
    )


# The state is only written, so equal zeros may be the same: half a gigabyte less of NCSN++.
@lru_cache(maxsize=64)
def _zeros(shape: tuple[int, ...], dtype: Any) -> jax.Array:
    return jnp.zeros(shape, dtype)


def script(config: ConfigDict, source: str) -> str:
    """The text of a config file that gives `config`, with nothing but literals."""
    default = schema.flatten(schema.get_default())
    settings = {k: v for k, v in schema.flatten(config).items() if v != default[k]}
    lines = "".join(f"    {name!r}: {_literal(value)},\n" for name, value in settings.items())
    title = re.sub(r"[^A-Za-z0-9 ._+-]", "_", source)[:LONGEST_TITLE]
    return _SCRIPT.format(
        title=f"Settings of {title}, as --mode import found them.", settings=lines
    )


def _literal(value: Any) -> str:
    """A value as Python source; ValueError if the source would not give back the exact value."""
    text = ascii(value)
    if repr(ast.literal_eval(text)) != repr(value):
        raise ValueError(f"a setting cannot be written down: {text[:100]}")
    return text
