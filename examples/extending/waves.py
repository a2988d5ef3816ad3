"""Pictures of plane waves, whose class is the direction that they go in."""

import numpy as np

from data_lib.base import Images, Log, Splits
from data_lib.config import DataConfig

DIRECTIONS, TRAIN, TEST = 4, 256, 64


def load(config: DataConfig, log: Log) -> Splits:
    """Waves of random length and phase, the same at every call."""
    rng, total = np.random.default_rng(0), TRAIN + TEST
    labels = rng.integers(0, DIRECTIONS, total).astype(np.int32)
    angle, waves, phase = (
        np.pi * labels / DIRECTIONS,
        rng.uniform(1, 2, total),
        rng.uniform(size=total),
    )
    y, x = np.mgrid[: config.image_size, : config.image_size] / config.image_size
    along = np.cos(angle)[:, None, None] * x + np.sin(angle)[:, None, None] * y
    height = np.sin(2 * np.pi * (waves[:, None, None] * along + phase[:, None, None]))
    pixels = np.rint(127.5 * (1 + height)).astype(np.uint8)[..., None]
    images = Images(np.repeat(pixels, config.num_channels, axis=-1), labels, levels=256)
    return Splits(images.take(slice(TRAIN)), images.take(slice(TRAIN, total)), "waves")
