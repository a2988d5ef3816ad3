"""Datasets as arrays in memory, and deterministic batches of them.

A source turns the `data` section of a config into `Splits`: a training set and a held-out set,
each an `Images` of examples of one shape, with labels and conditions if there are any. A codec maps
them to what is diffused. `Batches` makes training batches of one, `epoch_batches` walks through one
exactly once for evaluation.

    splits = data_lib.load(config.data)
    batches = Batches(splits.train, batch_size=128, seed=0, flip=True, dequantize=False,
                      codec=codec.build(config.data))
"""

from data_lib.base import Images, Splits
from data_lib.codec import CODECS, Codec
from data_lib.config import DataConfig
from data_lib.identity import Identity
from data_lib.iterator import Batches, epoch_batches
from data_lib.sources import ALIASES, SOURCES, load, settings

__all__ = ["ALIASES", "CODECS", "SOURCES", "Batches", "Codec", "DataConfig", "Identity", "Images",
           "Splits", "epoch_batches", "load", "settings"]  # fmt: skip
