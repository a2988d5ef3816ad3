"""Images for a mode to measure: a split of the data, or a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import data_lib
from configs.kinds import of_config
from configs.shapes import in_words, shape_of
from data_lib import Images, arrays, codec
from data_lib.base import Log, fingerprint
from data_lib.levels import Stated, check_range

SPLITS = ("test", "train")
_QUIET: Log = lambda message: None


def identity(images: Images, name: str) -> dict[str, str]:
    """Name and hash of the images, for JSON, as a file may change and keep its name."""
    return {"data": name, "data_sha256": fingerprint(images)}


def of_file(config: Any, setting: str, *, clip: bool, log: Log) -> Images:
    """The images of the file named by eval.`setting`; see `of_path`."""
    return of_path(config, Path(config.eval[setting]), f"eval.{setting}", clip=clip, log=log)


def of_path(config: Any, path: Path, key: str, *, clip: bool, log: Log) -> Images:
    """The images of a .npy or .npz file that setting `key` named; ValueError as `arrays.read`.

    Floats outside of a stated range are left for the caller to clip if `clip`, else refused.
    """
    raw = not codec.of_pictures(config.data)
    stated = Stated(check_range(config.eval.range, "eval.range"), "eval.range", clip, raw=raw)
    found = arrays.read(path, key, stated, held_out=False)
    for line in found.said:
        log(line)
    return found.train


def chosen(config: Any, splits: data_lib.Splits, log: Log = _QUIET) -> tuple[Images, str]:
    """(images of `eval.split` or `eval.images`, their name).

    Raises ValueError, in the user's terms, for a split that is not there, a file that cannot be
    read, NaN, or images and labels that do not fit the model.
    """
    evaluation = config.eval
    if evaluation.images:
        found, name = of_file(config, "images", clip=False, log=log), Path(evaluation.images).name
    else:
        split = split_of(config)
        found, name = getattr(splits, split), f"{splits.name} ({split})"
    if config.data.missing == "mask":  # before they are counted: as many as asked for remain
        found = complete(found, name, log)
    if evaluation.num_images:
        found = found.take(np.arange(min(evaluation.num_images, len(found))))
    check_examples(found, config, name, splits.train.levels)
    return complete(found, name, log), name


def split_of(config: Any) -> str:
    """`eval.split`; ValueError for a split that is not there."""
    split: str = config.eval.split
    if split not in SPLITS:
        raise ValueError(f"eval.split must be one of {', '.join(SPLITS)}, got {split!r}")
    return split


def complete(images: Images, name: str, log: Log) -> Images:
    """Examples without missing values, of which alone the model gives the whole law.

    ValueError if there are none.
    """
    if images.levels is not None:
        return images
    finite = np.isfinite(images.pixels.reshape(len(images), -1)).all(axis=1)
    if finite.all():
        return images
    if not finite.any():
        raise ValueError(f"every example of {name} has missing values: give some that are complete")
    log(f"{int((~finite).sum()):,} of {len(images):,} examples of {name} have missing values and "
        "are left out")  # fmt: skip
    return images.take(np.flatnonzero(finite))


def check_examples(
    images: Images, config: Any, name: str, levels: int | None, conditional: bool = True
) -> None:
    """Raise ValueError unless the model has a probability for these examples.

    levels: the number of gray levels of the model's data, None for other data. conditional: whether
    they need the class or condition that the model is given.
    """
    wanted, classes = shape_of(config), config.model.num_classes
    if images.pixels.shape[1:] != wanted:
        raise ValueError(
            f"the model is of examples of {in_words(wanted)}, those of {name} are "
            f"{in_words(images.pixels.shape[1:])}: give examples of the model's shape"
        )
    if images.levels is not None and levels is not None and images.levels != levels:
        raise ValueError(
            f"the model's data has {levels} levels, {name} has {images.levels}: store what eval."
            f"images holds as float in [0, 1], or as the data is, with eval.range=0,{levels - 1}"
        )
    codec.check_bounds(config.data, images.pixels, name)
    if not conditional:
        return
    if classes:
        _check_labels(images, classes, name)
    if of_config(config).names:
        check_conditions(images, config, name)


def check_conditions(images: Images, config: Any, name: str) -> None:
    """Raise ValueError unless images have conditions of the model's shape."""
    wanted = of_config(config).stored
    if images.condition is None:
        raise ValueError(
            f"the model is given conditions and {name} has none: add an array 'condition'"
        )
    if images.condition.shape[1:] != wanted:
        raise ValueError(f"conditions of {name} must be of {in_words(wanted)}, they are of "
                         f"{in_words(images.condition.shape[1:])}")  # fmt: skip


def _check_labels(images: Images, classes: int, name: str) -> None:
    if images.labels is None:
        raise ValueError(
            f"the model is given classes and {name} has no labels: add them under 'labels'"
            + (f" ({images.unlabelled})" if images.unlabelled else "")
        )
    low, high = int(images.labels.min()), int(images.labels.max())
    if low < 0 or high >= classes:
        raise ValueError(
            f"labels of {name} must be in 0..{classes - 1} (model.num_classes), "
            f"they run from {low} to {high}"
        )
