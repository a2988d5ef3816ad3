"""Examples and measurements that a user gives to a mode as a file or a folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from data_lib import codec, folder
from data_lib.base import Images, Log
from data_lib.config import DataConfig
from data_lib.members import IMAGES
from data_lib.transforms import to_unit
from data_lib.tree import SUFFIXES
from modes.images import check_examples, of_path
from untrusted import plain

MEASUREMENTS = ("y", "measurements", "measurement", *IMAGES)
"""Names of the array of measurements in a .npz file."""


def pictures(path: Path, key: str, config: Any, log: Log, shape: tuple[int, ...] = ()) -> Images:
    """The pictures of a folder, or one picture, in the model's size or that of `shape`."""
    section = DataConfig.from_section(config.data)
    asked = dataclasses.replace(
        section, dataset="folder", data_dir=str(path), shape=shape or section.shape
    )
    try:
        return folder.pictures(path, asked, log)
    except ValueError as error:
        raise ValueError(f"{key}: {str(error).removeprefix('data.data_dir ')}") from error


def examples(
    path: Path, key: str, config: Any, levels: int | None, log: Log, missing: bool = False
) -> Images:
    """Examples of the model's shape: a folder of pictures, a picture, or a .npy or .npz file.

    Pictures are cropped and resized as those of the data. key: the setting that gave the path.
    levels: number of gray levels of the model's data. missing: whether NaN may stand for values
    that are not known. Raises ValueError for what cannot be read, and for examples of another shape
    or range.
    """
    if not path.exists():
        raise ValueError(f"{key} must exist, got {plain(str(path))}")
    of_levels = codec.of_pictures(config.data)
    if path.is_dir() or (path.suffix.lower() in SUFFIXES and of_levels):
        return pictures(path, key, config, log)
    found = of_path(config, path, key, clip=False, log=log)
    check_examples(found, config, plain(path.name), levels, conditional=False)
    if not missing and not np.isfinite(found.pixels).all():
        raise ValueError(f"{key} must hold finite numbers, {plain(path.name)} has NaN or infinity")
    return found


def numbers(images: Images) -> Float[np.ndarray, "n *d"]:
    """Examples in the units of the data: gray levels in [0, 1]."""
    return to_unit(images.pixels, images.levels)
