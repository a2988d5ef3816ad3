"""Patches of the two photographs that scikit-learn ships, of any height and width; no download.

The right edge of each photograph is held out, so that no pixel is in patches of both parts.
"""

import numpy as np
from jaxtyping import UInt8

from data_lib.base import Images, Log, Splits
from data_lib.config import DataConfig, check_colours

LEVELS = 256
_LUMA = (0.299, 0.587, 0.114)
"""Grey from red, green and blue (ITU-R BT.601), as Pillow computes it."""


def load(config: DataConfig, log: Log) -> Splits:
    """Patches half a patch apart, in colour or grey, labelled by their photograph."""
    from sklearn.datasets import load_sample_images

    check_colours(config)
    photographs = [_coloured(picture, config.channels) for picture in load_sample_images().images]
    edges = [_edge(picture, config) for picture in photographs]
    train, test = (
        [picture[:, part] for picture, part in zip(photographs, parts, strict=True)]
        for parts in ([slice(None, cut) for cut in edges], [slice(cut, None) for cut in edges])
    )
    return Splits(_patches(train, config.size), _patches(test, config.size), "photographs")


def _coloured(picture: UInt8[np.ndarray, "h w 3"], channels: int) -> UInt8[np.ndarray, "h w c"]:
    if channels == 3:
        return picture
    return np.rint(picture @ np.asarray(_LUMA)).astype(np.uint8)[..., None]


def _edge(picture: UInt8[np.ndarray, "h w c"], config: DataConfig) -> int:
    """The column at which the held-out part begins; ValueError if a part would hold no patch."""
    (height, width), (h, w) = picture.shape[:2], config.size
    cut = width - round(width * config.test_fraction)
    if h > height or w > min(cut, width - cut):
        raise ValueError(
            f"data.shape must be at most {height},{min(cut, width - cut)} for patches of both "
            f"parts of the photographs, which are {height}x{width}, with data.test_fraction="
            f"{config.test_fraction}, got {h},{w}"
        )
    return cut


def _patches(pictures: list[UInt8[np.ndarray, "h w c"]], size: tuple[int, int]) -> Images:
    every = [_of_one(picture, *size) for picture in pictures]
    labels = np.repeat(np.arange(len(every), dtype=np.int32), list(map(len, every)))
    return Images(np.concatenate(every), labels, LEVELS)


def _of_one(
    picture: UInt8[np.ndarray, "h w c"], height: int, width: int
) -> UInt8[np.ndarray, "n height width c"]:
    views = np.lib.stride_tricks.sliding_window_view(picture, (height, width), axis=(0, 1))
    apart = views[:: max(1, height // 2), :: max(1, width // 2)]
    patches = np.moveaxis(apart.reshape(-1, picture.shape[2], height, width), 1, -1)
    return np.ascontiguousarray(patches)
