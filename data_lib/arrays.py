"""A dataset in one .npy or .npz file."""

import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from data_lib.base import Images, Log, Splits, hold_out
from data_lib.config import DataConfig

IMAGE_KEYS = ("images", "x", "arr_0", "samples")


def load(config: DataConfig, log: Log) -> Splits:
    """The images in the file data.data_dir.

    .npy: the images. .npz: the images under 'images', 'x', 'arr_0' or 'samples', classes under
    'labels' if there are any, a held-out set under 'test_images' and 'test_labels' if there is
    one; else data.test_fraction of the images is held out (see `hold_out`).

    Images are [N, H, W, C] or [N, H, W], uint8 (256 levels) or float in [0, 1] (continuous).
    Pickled objects are refused. Raises ValueError naming the file and what is wrong with it.
    """
    path = config.require_path()
    arrays = read(path)
    train, test = unpack(arrays, path)
    if test is None:
        return hold_out(train, config.test_fraction, path.name)
    return Splits(train, test, path.name)


def read(path: Path, setting: str = "data.data_dir") -> dict[str, np.ndarray]:
    """All arrays of the file by name; those of a .npy file under 'images'.

    Raises ValueError, naming the setting that gave the path, for what cannot be read.
    """
    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                return {"images": content}
            return {key: content[key] for key in content.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{setting} must be a .npy or .npz file without pickled objects, "
            f"{path} cannot be read: {reason}"
        ) from error


def unpack(arrays: dict[str, np.ndarray], path: Path) -> tuple[Images, Images | None]:
    """Training images and, if the file has them, held-out images."""
    key = next((k for k in IMAGE_KEYS if k in arrays), None)
    if key is None:
        raise ValueError(
            f"{path} must have its images under one of {', '.join(IMAGE_KEYS)}, "
            f"it has {', '.join(arrays) or 'nothing'}"
        )
    train = _images(arrays[key], arrays.get("labels"), f"{path}[{key}]")
    if "test_images" not in arrays:
        return train, None
    test = _images(arrays["test_images"], arrays.get("test_labels"), f"{path}[test_images]")
    if (train.levels, train.labels is None) != (test.levels, test.labels is None):
        raise ValueError(f"{path} must have training and test images of one type, both labelled")
    return train, test


def _images(pixels: np.ndarray, labels: np.ndarray | None, what: str) -> Images:
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    if pixels.ndim != 4 or not pixels.size:
        raise ValueError(f"{what} must have shape [N, H, W, C] or [N, H, W], got {pixels.shape}")
    return Images(
        _pixels(pixels, what), checked_labels(labels, len(pixels), what), _levels(pixels, what)
    )


def _levels(pixels: np.ndarray, what: str) -> int | None:
    if pixels.dtype != np.uint8 and not np.issubdtype(pixels.dtype, np.floating):
        raise ValueError(f"{what} must be uint8 or float in [0, 1], got {pixels.dtype}")
    return 256 if pixels.dtype == np.uint8 else None


def _pixels(pixels: np.ndarray, what: str) -> Shaped[np.ndarray, "n h w c"]:
    if _levels(pixels, what):
        return pixels
    low, high = pixels.min(), pixels.max()
    if not (low >= 0 and high <= 1):  # also false for NaN
        raise ValueError(
            f"{what} must lie in [0, 1] without NaN, values run from {low:g} to {high:g}: "
            "scale it, or store uint8"
        )
    return pixels.astype(np.float32)


def checked_labels(labels: np.ndarray | None, count: int, what: str) -> np.ndarray | None:
    """Classes as int32; ValueError unless there is one integer for each of `count` images."""
    if labels is None:
        return None
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels of {what} must be {count} integers, got {labels.dtype} of shape {labels.shape}"
        )
    return labels.astype(np.int32)
