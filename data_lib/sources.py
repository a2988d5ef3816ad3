"""Sources of data by their names in configs, and checks of all that they load."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from configs.names import did_you_mean
from data_lib import arrays, digits, folder, tfds
from data_lib.base import Images, Log, Splits
from data_lib.config import DataConfig

SOURCES: dict[str, Callable[[DataConfig, Log], Splits]] = {
    "digits": digits.load,
    "tfds": tfds.load,
    "folder": folder.load,
    "array": arrays.load,
}

OF_FILES = ("folder", "array")
"""Sources of the user's own files, whose values may need data.range."""

# Names that score_sde's configurations use for datasets of tensorflow-datasets.
ALIASES: dict[str, str] = {
    "CIFAR10": "cifar10",
    "SVHN": "svhn_cropped",
    "CELEBA": "celeb_a",
}


def load(data_config: Any, *, log: Log = print) -> Splits:
    """The dataset of a `data` section, decoded in memory.

    `data_config` needs the attributes dataset, image_size and num_channels, and may have the
    others of `DataConfig`. Downloads, preparation and slow decoding are reported to `log`.
    Raises ValueError, naming the key, for data that cannot be provided.
    """
    config = _resolve(DataConfig.from_section(data_config))
    splits = SOURCES[config.dataset](config, log)
    for part, images in (("training", splits.train), ("held-out", splits.test)):
        _check(images, config, f"{part} images of {splits.name}")
    _tell_copies(splits, log)
    _tell_missing(splits, log)
    return splits


def _tell_copies(splits: Splits, log: Log) -> None:
    """Log how many held-out images are also trained on, if the source hashes its images."""
    if splits.train.digests is None or splits.test.digests is None:
        return
    if count := int(np.isin(splits.test.digests, splits.train.digests).sum()):
        log(f"{count:,} of {len(splits.test):,} held-out images of {splits.name} are copies of "
            "training images")  # fmt: skip


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
    if config.range and config.dataset not in OF_FILES:
        raise ValueError(
            f"data.range is for data.dataset={' or '.join(OF_FILES)}, whose files need not say it: "
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
        log(f"no training images of {splits.name} have the labels {few}, which held-out ones have")


def _check(images: Images, config: DataConfig, what: str) -> None:
    height, width, channels = images.pixels.shape[1:]
    if (height, width) != (config.image_size, config.image_size):
        raise ValueError(
            f"data.image_size must be the size of the {what}, which are {height}x{width}, "
            f"got {config.image_size}"
        )
    if channels != config.num_channels:
        raise ValueError(
            f"data.num_channels must be {channels} as in the {what}, got {config.num_channels}"
        )
    if config.uniform_dequantization and images.levels is None:
        raise ValueError(
            f"data.uniform_dequantization must be False: the {what} are continuous already"
        )
