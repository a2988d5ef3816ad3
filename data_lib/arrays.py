"""Datasets in one .npy or .npz file; all arrays of users become images here."""

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_lib import levels, members
from data_lib.base import Images, Log, Splits, hold_out
from data_lib.config import DataConfig
from data_lib.levels import Stated
from data_lib.members import Members
from data_lib.tree import shown_path
from untrusted import ONLY, plain, read_arrays, read_headers

RANGE = "range"
"""Name of a .npz file's array that gives the values of black and white."""


@dataclass(frozen=True)
class Contents:
    """Images of a file, and remarks on it for the user."""

    train: Images
    test: Images | None
    said: tuple[str, ...]


def load(config: DataConfig, log: Log) -> Splits:
    """The images in the file data.data_dir, by the names in `members`.

    If the file has no held-out images, some of its images are held out (see `base.hold_out`).
    Raises ValueError naming the file and what is wrong with it.
    """
    path = config.require_path()
    found = read(path, "data.data_dir", Stated(config.range, "data.range"))
    for line in found.said:
        log(line)
    name = plain(path.name, 200)
    if found.test is None:
        return hold_out(found.train, config.test_fraction, name)
    return Splits(_hashed(found.train), _hashed(found.test), name)


def _hashed(images: Images) -> Images:
    return dataclasses.replace(images, digests=images.content())


def read(path: Path, setting: str, stated: Stated, *, held_out: bool = True) -> Contents:
    """The images, labels and, unless not `held_out`, held-out images of a .npy or .npz file.

    Images are [n, h, w, c] or [n, h, w], of the types that `levels.unit` takes. Arrays that are
    not needed are not read. Raises ValueError, naming `setting`, which gave the path, or
    `stated.setting`, for what cannot be read or understood.
    """
    try:
        shapes = {name: header.shape for name, header in read_headers(path, named=True).items()}
        found = members.find(shapes)
        if not held_out:
            found = dataclasses.replace(found, test_images=None, test_labels=None, parts=())
        wanted = {found.images, found.labels, found.test_images, found.test_labels, RANGE}
        arrays = read_arrays(path, [name for name in wanted if name in shapes], named=True)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{setting} must be a .npy or .npz file without pickled objects, "
            f"{shown_path(path)} cannot be read: {_reason(error)}"
        ) from error
    if found.images is None:
        raise ValueError(
            f"{setting}={shown_path(path)} must have its images under one of "
            f"{', '.join(members.IMAGES)}, it has {_listed(shapes) or 'nothing'}"
        )
    what = f"{setting}={shown_path(path)}"
    says = _stated(what, arrays, stated)
    train = _images(arrays, found.images, found.labels, what, says)
    return _contents(what, arrays, shapes, found, train, says)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return next(iter(str(error).splitlines()), type(error).__name__)


def _listed(names: Collection[str]) -> str:
    few = [plain(name) for name in list(names)[:8]]
    return ", ".join(few) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _stated(what: str, arrays: dict[str, np.ndarray], stated: Stated) -> Stated:
    """`stated` with the range that the file states, if the user states none."""
    told = arrays.get(RANGE)
    says = told is not None and told.shape == (2,) and told.dtype.kind in "iuf"
    if stated.range is not None or told is None or not says:
        return stated
    setting = f"{what}[{RANGE}]"
    values = tuple(told.tolist())
    return dataclasses.replace(stated, range=levels.check_range(values, setting), setting=setting)


def _contents(
    what: str,
    arrays: dict[str, np.ndarray],
    shapes: dict[str, tuple[int, ...]],
    found: Members,
    train: Images,
    stated: Stated,
) -> Contents:
    test = None
    if found.test_images:
        # The training images have shown which range is meant.
        sure = dataclasses.replace(stated, doubt=False)
        test = _images(arrays, found.test_images, found.test_labels, what, sure)
    if not found.labels:
        why = f"{what} has no labels: none of {', '.join(members.LABELS)} is among its arrays, "
        why += _listed(shapes) if set(shapes) != {ONLY} else "of which a .npy file has one"
        train = dataclasses.replace(train, unlabelled=why)
    if test is not None:
        train, test = _alike(train, test, found, what)
    left = [name for name in shapes if name not in arrays]
    said = [f"{what}: {_listed(left)} not used"] if left else []
    said += [train.unlabelled] if found.labels and train.labels is None else []
    if len(found.parts) > 1:
        said.append(f"{what}: {found.parts[0]} is held out, {found.parts[1]} is not used")
    return Contents(train, test, tuple(said))


def _alike(train: Images, test: Images, found: Members, what: str) -> tuple[Images, Images]:
    """Both parts with labels, or both without; ValueError for values of two kinds."""
    if train.levels != test.levels:
        raise ValueError(f"{what} must have training and test images of one type")
    if train.labels is not None and test.labels is not None:
        return train, test
    why = train.unlabelled or test.unlabelled or f"{what}[{found.test_images}] has no labels"
    lose = lambda images: dataclasses.replace(images, labels=None, unlabelled=why)
    return lose(train), lose(test)


def _images(
    arrays: dict[str, np.ndarray], key: str, labels: str | None, file: str, stated: Stated
) -> Images:
    pixels, what = arrays[key], file if key == ONLY else f"{file}[{plain(key)}]"
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    if pixels.ndim != 4 or not pixels.size:
        raise ValueError(f"{what} must have shape [N, H, W, C] or [N, H, W], got {pixels.shape}")
    values, known = levels.unit(pixels, what, stated)
    if labels is None:
        return Images(values, None, known)
    classes, why = _classes(arrays[labels], len(pixels), f"{file}[{plain(labels)}]")
    if why and labels != "arr_1" and _misses_some(arrays[labels], len(pixels)):
        raise ValueError(why)
    return Images(values, classes, known, unlabelled=why)


def _misses_some(labels: np.ndarray, count: int) -> bool:
    return labels.dtype.kind in "iu" and labels.ndim > 0 and len(labels) != count


def _classes(labels: np.ndarray, count: int, what: str) -> tuple[np.ndarray | None, str]:
    """(classes as int32, ''), or (None, the reason why these are not labels)."""
    flat = labels.reshape(count) if labels.shape == (count, 1) else labels
    whole = flat.dtype.kind in "biu"
    if flat.dtype.kind == "f":
        whole = bool((np.isfinite(flat) & (flat == np.rint(flat))).all())
    if flat.shape == (count,) and whole and np.abs(flat.astype(float)).max() < 2**31:
        return flat.astype(np.int32), ""
    told = f"{labels.dtype} of shape {labels.shape}"
    return None, f"{what} must be {count} integers to be labels, got {told}"
