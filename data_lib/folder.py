"""A folder of pictures."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from data_lib.base import Images, Log, Splits, held_out, patient
from data_lib.cache import cached
from data_lib.config import DataConfig
from data_lib.pictures import fit

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_CACHE = ".decoded"  # hidden, so that it is not searched for pictures


@dataclass(frozen=True)
class _Picture:
    path: Path
    class_name: str  # the outermost sub-folder, '' outside of any


def load(config: DataConfig, log: Log) -> Splits:
    """All pictures under the folder data.data_dir, in the order of their names.

    Where it has the sub-folders `train` and `test`, these are the splits; else
    data.test_fraction of the pictures is held out (see `base.held_out`). If every picture lies
    in a sub-folder (of its split), the sub-folders' names in order are the classes. Hidden files
    and folders are passed over, and so is what has no picture's suffix. Pictures are made to fit
    by `pictures.fit`.

    Raises ValueError for a missing or empty folder and for pictures that cannot be decoded.
    """
    root = config.require_path()
    if not root.is_dir():
        raise ValueError(f"data.data_dir must be a folder of pictures, got the file {root}")
    train, test = _divide(root, config.test_fraction)

    def decode() -> Splits:
        return _decode(train, test, root.name, config, log)

    if not config.cache:
        return decode()
    key = _fingerprint(root, train, test)
    return cached(root / _CACHE / f"{config.form}.npz", key, decode, log)


def _divide(root: Path, test_fraction: float) -> tuple[list[_Picture], list[_Picture]]:
    if (root / "train").is_dir() and (root / "test").is_dir():
        return _find(root / "train"), _find(root / "test")
    pictures = _find(root)
    train, test = held_out(len(pictures), test_fraction)
    return [pictures[i] for i in train], [pictures[i] for i in test]


def _find(root: Path) -> list[_Picture]:
    inner = sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())
    found = [
        _Picture(root / path, path.parts[0] if len(path.parts) > 1 else "")
        for path in inner
        if path.suffix.lower() in SUFFIXES and not any(part[0] == "." for part in path.parts)
    ]
    if not found:
        raise ValueError(
            f"data.data_dir must have pictures ({', '.join(sorted(SUFFIXES))}), {root} has none"
        )
    return found


def _decode(
    train: Sequence[_Picture], test: Sequence[_Picture], name: str, config: DataConfig, log: Log
) -> Splits:
    pictures = [*train, *test]
    pixels = _pixels([picture.path for picture in pictures], config, log)
    names = [picture.class_name for picture in pictures]
    labels = np.unique(names, return_inverse=True)[1].astype(np.int32) if all(names) else None
    images, cut = Images(pixels, labels, 256), len(train)
    return Splits(images.take(slice(None, cut)), images.take(slice(cut, None)), name)


def _pixels(
    paths: Sequence[Path], config: DataConfig, log: Log
) -> UInt8[np.ndarray, "n size size channels"]:
    shape = (len(paths), config.image_size, config.image_size, config.num_channels)
    log(f"decoding {len(paths)} pictures into {np.prod(shape) / 2**20:.0f} MiB of memory")
    pixels = np.empty(shape, np.uint8)

    tell = patient(log)

    def decode(index: int) -> str | None:
        tell(f"decoded {index} of {len(paths)} pictures")
        try:
            with Image.open(paths[index]) as image:
                pixels[index] = fit(
                    image,
                    config.image_size,
                    config.num_channels,
                    crop=config.crop,
                    filter=config.filter,
                )
        except Exception as error:  # a decoder fed with damaged bytes may raise anything
            return f"{paths[index]}: {_reason(error)}"
        return None

    with ThreadPoolExecutor() as pool:
        broken = [message for message in pool.map(decode, range(len(paths))) if message]
    if broken:
        others = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        raise ValueError(f"data.data_dir must have sound pictures, broken{others}: {broken[0]}")
    return pixels


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not a picture"
    return str(error) or type(error).__name__


def _fingerprint(root: Path, train: Sequence[_Picture], test: Sequence[_Picture]) -> str:
    digest = hashlib.sha256()
    for split, pictures in (("train", train), ("test", test)):
        for picture in pictures:
            status, inner = picture.path.stat(), picture.path.relative_to(root)
            digest.update(f"{split} {inner} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
