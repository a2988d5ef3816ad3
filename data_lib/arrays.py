"""Datasets in one .npy or .npz file; all arrays of users become examples here."""

import dataclasses
from collections.abc import Collection, Sequence
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
    stated = Stated(config.range, "data.range", raw=not config.of_levels)
    found = read(path, "data.data_dir", stated)
    for line in found.said:
        log(line)
    name = plain(path.name, 200)
    if found.test is None:
        return hold_out(found.train, config.test_fraction, name)
    return Splits(_hashed(found.train), _hashed(found.test), name)


def _hashed(images: Images) -> Images:
    return dataclasses.replace(images, digests=images.content())


def read(path: Path, setting: str, stated: Stated, *, held_out: bool = True) -> Contents:
    """The examples, labels and, unless not `held_out`, held-out examples of a .npy or .npz file.

    Pictures are [n, h, w, c] or [n, h, w], of the types that `levels.unit` takes; what a codec
    other than that of gray levels encodes is [n, ...]. Arrays that are not needed are not read.
    Raises ValueError, naming `setting`, which gave the path, or `stated.setting`, for what cannot
    be read or understood.
    """
    try:
        shapes = {name: header.shape for name, header in read_headers(path, named=True).items()}
        found = members.find(shapes)
        if not held_out:
            found = found.without_test()
        wanted = {found.images, found.labels, *found.condition, found.captions, found.test_images,
                  found.test_labels, *found.test_condition, found.test_captions,
                  RANGE}  # fmt: skip
        arrays = read_arrays(path, [name for name in wanted if name in shapes], named=True)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{setting} must be a .npy or .npz file without pickled objects, "
            f"{shown_path(path)} cannot be read: {_reason(error)}"
        ) from error
    if found.images is None:
        raise ValueError(
            f"{setting}={shown_path(path)} must have its data under one of "
            f"{', '.join(members.IMAGES)}, it has {_listed(shapes) or 'nothing'}"
        )
    what = f"{setting}={shown_path(path)}"
    says = _stated(what, arrays, stated)
    roles = found.images, found.labels, found.condition, found.captions
    train = _images(arrays, *roles, what, says)
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
        roles = found.test_images, found.test_labels, found.test_condition, found.test_captions
        test = _images(arrays, *roles, what, sure)
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
        raise ValueError(f"{what} must have training and test examples of one type")
    kinds = [[*map(members.kind_of, names)] for names in (found.condition, found.test_condition)]
    if all(kinds) and (kinds[0] != kinds[1] or train.condition_shapes != test.condition_shapes):
        raise ValueError(f"{what} must have training and test conditions of the same kinds")
    for beside in ("condition", "captions"):
        ours, theirs = getattr(train, beside), getattr(test, beside)
        if (ours is None) != (theirs is None):
            has, lacks = ("test", "train") if ours is None else ("train", "test")
            raise ValueError(f"{what} has {beside.rstrip('s')}s for the {has} part and none for "
                             f"the {lacks} part")  # fmt: skip
    if train.labels is not None and test.labels is not None:
        return train, test
    why = train.unlabelled or test.unlabelled or f"{what}[{found.test_images}] has no labels"
    lose = lambda images: dataclasses.replace(images, labels=None, unlabelled=why)
    return lose(train), lose(test)


def _images(
    arrays: dict[str, np.ndarray],
    key: str,
    labels: str | None,
    conditions: tuple[str, ...],
    captions: str | None,
    file: str,
    stated: Stated,
) -> Images:
    what = file if key == ONLY else f"{file}[{plain(key)}]"
    values, known = levels.unit(_examples(arrays[key], what, stated.raw), what, stated)
    rows = [_ranked(_conditions(arrays, name, len(values), file), name, values.ndim)
             for name in conditions]  # fmt: skip
    told, shapes = joined(rows) if rows else (None, ())
    said = None if captions is None else _captions(arrays, captions, len(values), file)
    made = Images(values, None, known, condition=told, condition_shapes=shapes, captions=said)
    return made if labels is None else _labelled(made, arrays, labels, file)


def numbers(arrays: dict[str, np.ndarray], data: str, condition: str, file: str) -> Images:
    """Examples and their conditions, of two arrays of numbers as they are in a file."""
    what = f"{file}[{data}]"
    values = _examples(levels.as_numbers(arrays[data], what), what, raw=True)
    return Images(values, None, None, condition=_conditions(arrays, condition, len(values), file))


def _examples(values: np.ndarray, what: str, raw: bool) -> np.ndarray:
    """Values as examples [n, ...]; ValueError for a rank that they cannot have."""
    if raw:
        if values.ndim < 1 or not values.size:
            raise ValueError(f"{what} must have shape [N, ...], got {values.shape}")
        return values[:, None] if values.ndim == 1 else values
    values = values[..., None] if values.ndim == 3 else values
    if values.ndim != 4 or not values.size:
        raise ValueError(
            f"{what} must have shape [N, H, W, C] or [N, H, W], got {values.shape}: arrays that "
            "are no pictures need data.codec=standardize, bounded or identity"
        )
    return values


def _conditions(arrays: dict[str, np.ndarray], key: str, count: int, file: str) -> np.ndarray:
    """Conditions, one for each of `count` examples; ValueError for others."""
    what = f"{file}[{plain(key)}]"
    values = levels.as_numbers(arrays[key], what)
    if values.ndim < 1 or len(values) != count:
        raise ValueError(f"{what} must have a condition for each of {count:,} examples, its shape "
                         f"is {values.shape}")  # fmt: skip
    if np.isinf(values).any():
        raise ValueError(f"{what} must be finite, or NaN where a value is not known")
    return values[:, None] if values.ndim == 1 else values


def _captions(arrays: dict[str, np.ndarray], key: str, count: int, file: str) -> np.ndarray:
    """Captions, one for each of `count` examples; ValueError for others."""
    values = arrays[key]
    if values.dtype.kind != "U" or values.shape != (count,):
        raise ValueError(f"{file}[{plain(key)}] must have a text for each of {count:,} examples, "
                         f"it is {values.dtype} of shape {values.shape}")  # fmt: skip
    return values


def _ranked(rows: np.ndarray, name: str, rank: int) -> np.ndarray:
    """Conditions [n, ...] of one kind, of the kind's rank: an axis of length 1 may be left out."""
    kind = members.kind_of(name)
    if kind == "level" and rows.shape[1:] == (1,):
        return rows[:, 0]
    return rows[..., None] if kind == "image" and rows.ndim == rank - 1 else rows


def joined(rows: Sequence[np.ndarray]) -> tuple[np.ndarray, tuple[tuple[int, ...], ...]]:
    """(conditions of several kinds as one array, the shapes of its parts); one as it is."""
    if len(rows) == 1:
        return rows[0], ()
    flat = [part.reshape(len(part), -1).astype(np.float32) for part in rows]
    return np.concatenate(flat, axis=1), tuple(part.shape[1:] for part in rows)


def _labelled(made: Images, arrays: dict[str, np.ndarray], labels: str, file: str) -> Images:
    pixels = made.pixels
    classes, why = _classes(arrays[labels], len(pixels), f"{file}[{plain(labels)}]")
    if why and labels != "arr_1" and _misses_some(arrays[labels], len(pixels)):
        raise ValueError(why)
    return dataclasses.replace(made, labels=classes, unlabelled=why)


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
