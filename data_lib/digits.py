"""scikit-learn's 1,797 handwritten digits: 8x8, grey, 17 levels; no download.

Of a smaller data.image_size, 4 or 2, they are the averages of blocks of pixels, exactly: sums of k
levels from 0 to 16 are levels from 0 to 16 k.
"""

import numpy as np

from data_lib.base import Images, Log, Splits
from data_lib.config import DataConfig

NUM_TRAIN = 1500
LEVELS = 17
SIDE = 8


def load(config: DataConfig, log: Log) -> Splits:
    """The first 1,500 digits to train on, the last 297 held out."""
    # Seconds to import, which other datasets need not wait for.
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels, levels = _sums(data.images[..., None].astype(np.uint8), config)
    images = Images(pixels, data.target.astype(np.int32), levels)
    order = np.arange(len(images))
    return Splits(images.take(order[:NUM_TRAIN]), images.take(order[NUM_TRAIN:]), "digits")


def _sums(pixels: np.ndarray, config: DataConfig) -> tuple[np.ndarray, int]:
    """(sums over blocks, the number of their levels) for the config's size; else as they are."""
    size = (config.example or (SIDE,))[0]
    if size >= SIDE or SIDE % size:
        return pixels, LEVELS
    block = SIDE // size
    sums = pixels.astype(np.uint16).reshape(-1, size, block, size, block, 1).sum(axis=(2, 4))
    return sums.astype(np.uint16), (LEVELS - 1) * block**2 + 1
