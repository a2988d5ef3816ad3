"""A folder of pictures."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int32, Shaped, UInt8, UInt64

from data_lib import caption_files, digests
from data_lib.base import Images, Log, Splits, hold_out, patient
from data_lib.cache import cached
from data_lib.config import DataConfig
from data_lib.layout import FolderLayout, arrange
from data_lib.levels import Stated, check_bytes
from data_lib.pictures import WHITE, Depth, fit
from data_lib.tree import SUFFIXES, Picture, shown_path
from untrusted import UntrustedError
from untrusted.pictures import open_picture

Captions = Shaped[np.ndarray, " n"] | None

__all__ = ["SUFFIXES", "load", "pictures"]

_CACHE = ".decoded"  # hidden, so that it is not searched for pictures


def load(config: DataConfig, log: Log) -> Splits:
    """All pictures under the folder data.data_dir, laid out as in `layout`, ordered by name.

    What `caption_files` finds beside them are their captions.

    If there is no folder of held-out pictures, data.test_fraction of them are held out by a hash
    of their files (see `base.hold_out`). Pictures are cropped and resized by `pictures.fit`.

    Raises ValueError for a missing or empty folder, a layout that is unknown or ambiguous, and
    pictures that cannot be decoded or whose values have an unclear meaning.
    """
    root = config.require_path()
    if not root.is_dir():
        raise ValueError(
            f"data.data_dir must be a folder of pictures, got the file {shown_path(root)}"
        )
    layout = arrange(root)
    for line in layout.said:
        log(line)

    every = [picture.path for picture in (*layout.train, *(layout.test or ()))]
    captions = caption_files.of_pictures(root, every, log)

    def decode() -> Splits:
        return _decode(layout, captions, shown_path(root.name), config, log)

    if not config.cache:
        return decode()
    key = _fingerprint(layout, captions, config.test_fraction)
    return cached(root / _CACHE / f"{config.form}.npz", key, decode, log)


def pictures(path: Path, config: DataConfig, log: Log) -> Images:
    """The pictures of a folder, ordered by name, or one picture, cropped and resized as by `load`.

    Raises ValueError as `load` does.
    """
    if path.is_file():
        return Images(_pixels([path], config, log).pixels, None, 256)
    layout = arrange(path)
    every = [picture.path for picture in (*layout.train, *(layout.test or ()))]
    return Images(_pixels(every, config, log).pixels, None, 256)


def _decode(
    layout: FolderLayout, captions: Captions, name: str, config: DataConfig, log: Log
) -> Splits:
    pictures = [*layout.train, *(layout.test or ())]
    decoded = _pixels([picture.path for picture in pictures], config, log)
    labels = _labels(pictures, layout.classes)
    images = Images(
        decoded.pixels, labels, 256, decoded.digests, layout.unlabelled, captions=captions
    )
    if layout.test is None:
        return hold_out(images, config.test_fraction, name)
    cut = len(layout.train)
    return Splits(images.take(slice(None, cut)), images.take(slice(cut, None)), name)


def _labels(pictures: Sequence[Picture], classes: Sequence[str]) -> Int32[np.ndarray, " n"] | None:
    if not classes:
        return None
    number = {name: label for label, name in enumerate(classes)}
    return np.asarray([number[picture.folders[0]] for picture in pictures], np.int32)


def _fingerprint(layout: FolderLayout, captions: Captions, test_fraction: float) -> str:
    digest = hashlib.sha256(repr(("held out by hash", test_fraction)).encode())
    if captions is not None:
        digest.update(digests.of_texts(captions).tobytes())
    for split, pictures in (("train", layout.train), ("test", layout.test or ())):
        for picture in pictures:
            digest.update(f"{split} {picture.size} {picture.modified} ".encode())
            digest.update(os.fsencode(picture.inner) + b"\0")
    return digest.hexdigest()


# Decoding -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Decoded:
    """Cropped and resized pictures, hashes of their files, and the files' ranges of values."""

    pixels: UInt8[np.ndarray, "n height width channels"]
    digests: UInt64[np.ndarray, " n"]
    depths: list[Depth]
    highest: list[float]
    moving: list[bool]

    @classmethod
    def room(cls, count: int, size: tuple[int, int], channels: int) -> "_Decoded":
        pixels, hashes = (
            np.empty((count, *size, channels), np.uint8),
            np.empty(count, np.uint64),
        )
        return cls(pixels, hashes, [Depth.KNOWN] * count, [0.0] * count, [False] * count)


def _pixels(paths: Sequence[Path], config: DataConfig, log: Log) -> _Decoded:
    made = _Decoded.room(len(paths), config.size, config.channels)
    log(f"decoding {len(paths)} pictures into {made.pixels.nbytes / 2**20:.0f} MiB of memory")
    tell = patient(log)

    def decode(index: int) -> str | None:
        tell(f"decoded {index} of {len(paths)} pictures")
        try:
            _decode_one(paths[index], index, made, config)
        except UntrustedError as error:
            return str(error)
        except Exception as error:  # a decoder fed with damaged bytes may raise anything
            return f"{shown_path(paths[index])}: {str(error) or type(error).__name__}"
        return None

    with ThreadPoolExecutor() as pool:
        broken = [message for message in pool.map(decode, range(len(paths))) if message]
    if broken:
        others = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        raise ValueError(f"data.data_dir must have sound pictures, broken{others}: {broken[0]}")
    if config.range is None:
        _check_values(made, paths, config)
    if count := sum(made.moving):
        log(f"took the first frame of {count:,} pictures that have several")
    return made


def _decode_one(path: Path, index: int, made: _Decoded, config: DataConfig) -> None:
    made.digests[index] = digests.of_file(path)
    with open_picture(path, named=True) as image:
        depth = made.depths[index] = Depth.of(image)
        made.moving[index] = getattr(image, "is_animated", False)
        if depth in (Depth.SHORT, Depth.FLOAT):
            made.highest[index] = image.getextrema()[1]  # type: ignore[assignment]
        made.pixels[index] = fit(
            image,
            config.size,
            config.channels,
            crop=config.crop,
            filter=config.filter,
            range=config.range,
        )


def _check_values(made: _Decoded, paths: Sequence[Path], config: DataConfig) -> None:
    """Raise ValueError for pictures that leave the brighter half of their files' range unused."""
    stated = Stated(None, "data.range")
    for depth in (Depth.SHORT, Depth.FLOAT):
        of = [index for index, found in enumerate(made.depths) if found is depth]
        top, white = max((made.highest[index] for index in of), default=0), WHITE[depth]
        if 0 < top < white / 2:
            likely = 2 ** int(top).bit_length() - 1 if depth is Depth.SHORT else float(f"{top:.3g}")
            raise ValueError(
                f"{shown_path(paths[of[0]])} and similar files may not have {white:g} for white, "
                f"no value is above {top:.6g}: " + stated.ask((0, likely), (0, white))
            )
    of_bytes = np.asarray([found is Depth.BYTES for found in made.depths])
    if of_bytes.any():
        what = f"the pictures in {shown_path(config.path)}"
        check_bytes(made.pixels[of_bytes] if not of_bytes.all() else made.pixels, what, stated)
