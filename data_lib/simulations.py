"""Simulations for inference: parameters theta are the data, observations x the conditions.

They come from a file, or from a simulator in `simulators`.
"""

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np

from configs.names import did_you_mean
from data_lib import arrays, simulated
from data_lib.base import Images, Log, Splits, hold_out
from data_lib.config import DataConfig
from data_lib.simulators import SIMULATORS
from data_lib.tree import shown_path
from untrusted import plain, read_arrays, read_headers

THETA, X = "theta", "x"


def load(config: DataConfig, log: Log) -> Splits:
    """The simulations of data.task: of a file where data.data_dir is given, else drawn anew.

    The file is data.data_dir itself, or data.task with .npz in that folder; its arrays are
    theta [n, ...] and x [n, ...], and others are not used. Raises ValueError naming what is wrong.
    """
    return _of_file(config) if config.data_dir else _drawn(config)


def _drawn(config: DataConfig) -> Splits:
    task = config.task
    if task not in SIMULATORS:
        raise ValueError(
            f"data.task must be one of {', '.join(SIMULATORS)} without a file, got {task!r}"
            f"{did_you_mean(task, SIMULATORS)}: for another set data.data_dir to a folder with "
            f"{plain(task)}.npz"
        )
    row, draw = SIMULATORS[task], partial(simulated.generator, task)
    theta = row.prior(draw("theta"), simulated.count(config, row.prior(draw("theta"), 1).size))
    x = row.observe(draw, theta)
    return simulated.splits(theta.astype(np.float32), x.astype(np.float32), config, f"{task}")


def _of_file(config: DataConfig) -> Splits:
    path = _path(config)
    what = f"data.data_dir={shown_path(path)}"
    try:
        there = read_headers(path, named=True)
        if lacking := [name for name in (THETA, X) if name not in there]:
            raise ValueError(f"it has no array {lacking[0]!r}")
        found = read_arrays(path, (THETA, X), named=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(
            f"{what} must be a .npz file of {THETA} [n, d] and {X} [n, k]: {reason}"
        ) from error
    images = arrays.numbers(found, THETA, X, what)
    if config.simulations:
        images = _first(images, config.simulations, what)
    return hold_out(images, config.test_fraction, plain(path.stem, 200))


def _first(images: Images, n: int, what: str) -> Images:
    if n > len(images):
        raise ValueError(f"data.simulations must be at most {len(images):,}, as there are in "
                         f"{what}, got {n:,}")  # fmt: skip
    few = images.take(slice(n))
    return dataclasses.replace(few, pixels=few.pixels.copy())


def _path(config: DataConfig) -> Path:
    """The file of the task; ValueError that lists those there if it is none of them."""
    path = config.require_path()
    if not path.is_dir():
        return path
    file = path / f"{config.task}.npz"
    if not file.exists():
        known = sorted(found.stem for found in path.glob("*.npz"))
        few = ", ".join(map(plain, known[:8])) or "none"
        raise ValueError(
            f"data.task must be a file of data.data_dir={shown_path(path)}, which has {few}, got "
            f"{config.task!r}{did_you_mean(config.task, known)}"
        )
    return file
