"""Sources of data by their names in configs, and checks of all that they load."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from configs.names import did_you_mean
from data_lib import (
    arrays,
    captions,
    codec,
    digits,
    embedded,
    folder,
    gaussian_fields,
    glyphs,
    photographs,
    signals,
    simulations,
    tables,
    tfds,
)
from data_lib.base import Images, Log, Splits
from data_lib.codec import BLOCK_VALUES
from data_lib.config import DataConfig, check_pictures


class Source(NamedTuple):
    """A kind of data.

    load: a function of the `data` section that gives its images.
    settings: settings of the section that it reads beside those of `EVERY` source.
    numbers: whether its values are numbers that are never gray levels.
    """

    load: Callable[[DataConfig, Log], Splits]
    settings: tuple[str, ...] = ()
    numbers: bool = False


PICTURES = "crop", "filter", "cache"
CONDITIONED = "condition", "condition_codec", "condition_mean", "condition_std"
CAPTIONED = "words", "condition", "condition_codec"
SIMULATED = "simulations", "test_fraction", *CONDITIONED
SOURCES: dict[str, Source] = {
    "digits": Source(digits.load),
    "tfds": Source(tfds.load, ("tfds_name", "data_dir", "test_fraction", *PICTURES)),
    "folder": Source(folder.load, ("data_dir", "range", "test_fraction", *PICTURES, *CAPTIONED)),
    "array": Source(arrays.load, ("data_dir", "range", "test_fraction", *CONDITIONED, "words")),
    "table": Source(tables.load, ("data_dir", "test_fraction", "columns", "condition_columns",
                                  "label_column", *CONDITIONED), numbers=True),
    "simulations": Source(simulations.load, ("data_dir", *SIMULATED, "task"), numbers=True),
    "wine": Source(embedded.wine, ("test_fraction",), numbers=True),
    "breast_cancer": Source(embedded.breast_cancer, ("test_fraction",), numbers=True),
    "diabetes": Source(embedded.diabetes, ("test_fraction", *CONDITIONED), numbers=True),
    "photographs": Source(photographs.load, ("test_fraction",)),
    "glyphs": Source(glyphs.load, ("glyphs", "colours", "draws", "left_out", *CAPTIONED)),
    "signals": Source(signals.load, SIMULATED, numbers=True),
    "gaussian_fields": Source(gaussian_fields.load, SIMULATED, numbers=True),
}  # fmt: skip
EVERY = (
    "dataset", "image_size", "num_channels", "shape", "codec", "missing", "random_flip",
    "uniform_dequantization", "changed", "coarse", "coarse_filter", "coarse_noise",
    "coarse_schedule", "coarse_gray_levels",
)  # fmt: skip
"""Settings of the section that have an effect with any source."""

# Names that score_sde's configurations use for datasets of tensorflow-datasets.
ALIASES: dict[str, str] = {
    "CIFAR10": "cifar10",
    "SVHN": "svhn_cropped",
    "CELEBA": "celeb_a",
}


def load(data_config: Any, *, log: Log = print) -> Splits:
    """The dataset of a `data` section, decoded in memory.

    `data_config` needs the attributes dataset, image_size and num_channels, and may have the others
    of `DataConfig`. Examples get the shape of the config, or keep theirs. Downloads, preparation
    and slow decoding are reported to `log`. Raises ValueError, naming the key, for data that cannot
    be provided.
    """
    config = _resolve(DataConfig.from_section(data_config))
    splits = SOURCES[config.dataset].load(config, log)
    train, test = (
        _checked(images, config, f"{part} data of {splits.name}")
        for part, images in (("training", splits.train), ("held-out", splits.test))
    )
    for part, images in (("training", train), ("held-out", test)):
        codec.check_bounds(data_config, images.pixels, f"{part} data of {splits.name}")
    splits = captions.told(dataclasses.replace(splits, train=train, test=test), config, log)
    _tell_copies(splits, log)
    _tell_missing(splits, log)
    return splits


def settings(dataset: str) -> tuple[str, ...]:
    """The settings of the `data` section that have an effect for a name of a dataset.

    All of them for an unknown name, which `load` refuses.
    """
    if dataset in ALIASES:  # which stands for a `tfds_name`
        return *EVERY, *(name for name in SOURCES["tfds"].settings if name != "tfds_name")
    known = SOURCES.get(dataset)
    own = known.settings if known else (name for row in SOURCES.values() for name in row.settings)
    return *EVERY, *own


def _tell_copies(splits: Splits, log: Log) -> None:
    """Log how many held-out images are also trained on, if the source hashes its images."""
    if splits.train.digests is None or splits.test.digests is None:
        return
    if count := int(np.isin(splits.test.digests, splits.train.digests).sum()):
        log(f"{count:,} of {len(splits.test):,} held-out examples of {splits.name} are copies of "
            "training examples")  # fmt: skip


def _resolve(config: DataConfig) -> DataConfig:
    if config.dataset in ALIASES:
        config = dataclasses.replace(config, dataset="tfds", tfds_name=ALIASES[config.dataset])
    if config.dataset not in SOURCES:
        known = [*SOURCES, *ALIASES]
        raise ValueError(
            f"data.dataset must be one of {', '.join(known)}, got {config.dataset!r}"
            f"{did_you_mean(config.dataset, known)}: for another dataset of tensorflow-datasets "
            "set data.dataset=tfds and data.tfds_name"
        )
    if set(PICTURES) <= {*SOURCES[config.dataset].settings}:
        check_pictures(config)
    if SOURCES[config.dataset].numbers and config.of_levels:
        raise ValueError(
            f"data.codec must be standardize, bounded or identity for data.dataset="
            f"{config.dataset!r}, whose values are no gray levels"
        )
    if config.range and "range" not in SOURCES[config.dataset].settings:
        able = [name for name, source in SOURCES.items() if "range" in source.settings]
        raise ValueError(
            f"data.range is for data.dataset={' or '.join(able)}, whose files need not say it: "
            f"leave it at () for {config.dataset!r}"
        )
    return config


def _tell_missing(splits: Splits, log: Log) -> None:
    """Log which labels occur among held-out images only: a model cannot learn them."""
    if splits.train.labels is None or splits.test.labels is None:
        return
    missing = np.setdiff1d(splits.test.labels, splits.train.labels)
    if len(missing):
        few = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
        log(
            f"no training examples of {splits.name} have the labels {few}, which held-out ones have"
        )


def _checked(images: Images, config: DataConfig, what: str) -> Images:
    """The images in the shape of the config; ValueError for what it does not allow."""
    if not config.of_levels:  # gray levels are numbers like others to a codec of numbers
        images = dataclasses.replace(images, levels=None)
    if config.uniform_dequantization and images.levels is None:
        raise ValueError(
            f"data.uniform_dequantization must be False: the {what} are continuous already"
        )
    if not config.of_levels:
        _check_missing(images.pixels, config, what)
    condition = images.condition
    if condition is not None:
        condition = _condition(condition, images.condition_shapes, tuple(config.condition), what)
    if config.shape:
        pixels = _shaped(images.pixels, config.example, "data.shape", what)
    else:
        pixels = _square(images.pixels, config, what)
    return dataclasses.replace(images, pixels=pixels, condition=condition)


def _condition(
    values: np.ndarray, parts: tuple[tuple[int, ...], ...], shape: tuple[int, ...], what: str
) -> np.ndarray:
    """Conditions of that shape, or of several kinds whose shapes, `parts`, it has side by side."""
    sizes = sum(parts, ())
    if parts and shape and shape != sizes:
        told = ",".join(map(str, sizes))
        raise ValueError(f"data.condition must be {told}, the shapes of the conditions of the "
                         f"{what} side by side, got {','.join(map(str, shape))}")  # fmt: skip
    # Several kinds in one array, which are parted where model.condition is known.
    joined = values.ndim == 2 and len(shape) > 1 and shape != (*values.shape[1:], 1)
    return values if parts or joined else _shaped(values, shape or None, "data.condition", what)


def _shaped(values: np.ndarray, shape: tuple[int, ...] | None, key: str, what: str) -> np.ndarray:
    """Arrays of that shape, to which an axis for a single channel is added; None: as they are."""
    found = values.shape[1:]
    if shape in (None, found):
        return values
    if shape == (*found, 1):
        return values[..., None]
    told = ",".join(map(str, found))
    raise ValueError(f"{key} must be {told} as in the {what}, got {','.join(map(str, shape))}")


def _square(pixels: np.ndarray, config: DataConfig, what: str) -> np.ndarray:
    """Pictures of the size and channels that the config names; ValueError for others."""
    size, channels = config.image_size, config.num_channels
    if pixels.ndim != 4:
        raise ValueError(f"data.shape must be given, or auto, for the {what}, whose shape is "
                         f"{pixels.shape[1:]}")  # fmt: skip
    if pixels.shape[1:3] != (size, size):
        told = "x".join(map(str, pixels.shape[1:3]))
        raise ValueError(
            f"data.image_size must be the size of the {what}, which are {told}, got {size}"
        )
    if pixels.shape[3] != channels:
        raise ValueError(
            f"data.num_channels must be {pixels.shape[3]} as in the {what}, got {channels}"
        )
    return pixels


def _check_missing(values: np.ndarray, config: DataConfig, what: str) -> None:
    """Raise ValueError for values that are not finite, unless those that are NaN are masked."""
    bad = (lambda x: ~np.isfinite(x)) if config.missing == "refuse" else np.isinf
    step = max(1, BLOCK_VALUES * len(values) // max(values.size, 1))
    if count := sum(
        int(np.count_nonzero(bad(values[k : k + step]))) for k in range(0, len(values), step)
    ):
        raise ValueError(
            f"{count:,} values of the {what} are not finite: mend them, or set "
            "data.missing=mask for those that are NaN"
        )
