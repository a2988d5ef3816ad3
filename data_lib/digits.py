"""scikit-learn's 1,797 handwritten digits: 8x8, grey, 17 levels; no download."""

import numpy as np

from data_lib.base import Images, Log, Splits
from data_lib.config import DataConfig

NUM_TRAIN = 1500
LEVELS = 17


def load(config: DataConfig, log: Log) -> Splits:
    """The first 1,500 digits to train on, the last 297 held out."""
    # Seconds to import, which other datasets need not wait for.
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels = data.images[..., None].astype(np.uint8)
    images = Images(pixels, data.target.astype(np.int32), LEVELS)
    order = np.arange(len(images))
    return Splits(images.take(order[:NUM_TRAIN]), images.take(order[NUM_TRAIN:]), "digits")
