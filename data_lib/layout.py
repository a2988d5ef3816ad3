"""The layout of a folder of pictures: the part and the class of each picture.

    PHOTOS/1.png                           pictures without classes
    PHOTOS/CLASS/1.png                     the folders' names in order are the classes
    PHOTOS/train/CLASS/1.png               parts: train, and test, val, valid or validation, in any
    PHOTOS/test/CLASS/2.png                case; without one of these, some of train is held out

An ambiguous layout is refused, with the name that makes it so.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from data_lib.members import HELD_OUT, PARTS, TRAIN
from data_lib.tree import Picture, Tree, shown_path, walk

_EXPECTED = "expected are pictures, CLASS/ folders of pictures, or train/ and test/ (or val/) alone"


@dataclass(frozen=True)
class FolderLayout:
    """The pictures of both parts in the order of their names, and their classes.

    test: held-out pictures; None: some of `train` are to be held out. classes: names by label;
    empty if `unlabelled` gives a reason. said: remarks for the user.
    """

    train: tuple[Picture, ...]
    test: tuple[Picture, ...] | None
    classes: tuple[str, ...]
    unlabelled: str
    said: tuple[str, ...]


def arrange(root: Path) -> FolderLayout:
    """The layout of the folder `root`; ValueError for one that has none, or several."""
    tree = walk(root)
    parts = _parts(tree)
    if not parts:
        _check_inner(tree.pictures, root)
        return _layout(root, tree, tree.pictures, None, ())
    _check_alone(tree, parts, root)
    inside = {part: _inside(tree, folder, root) for part, folder in parts.items()}
    held_out = [part for part in HELD_OUT if part in parts]
    said = [f"{shown_path(root)}: {parts[held_out[0]]}/ is held out"] if held_out else []
    said += [f"{parts[part]}/ is not used, neither to train on nor as held-out images"
             for part in held_out[1:]]  # fmt: skip
    test = inside[held_out[0]] if held_out else None
    return _layout(root, tree, inside[TRAIN], test, tuple(said))


def _parts(tree: Tree) -> dict[str, str]:
    """{part: its folder}; ValueError if two folders are the same part."""
    found: dict[str, str] = {}
    for folder in tree.folders:
        part = PARTS.get(folder.lower())
        if part in found:
            raise ValueError(
                f"data.data_dir must have one folder {part}, {shown_path(tree.root)} has "
                f"{shown_path(found[part])} and {shown_path(folder)}"
            )
        if part:
            found[part] = folder
    return found


def _check_alone(tree: Tree, parts: dict[str, str], root: Path) -> None:
    others = [p.inner for p in tree.pictures if not p.folders or p.folders[0] not in parts.values()]
    first = shown_path(next(iter(parts.values())))
    if others:
        raise ValueError(
            f"data.data_dir has the folder {first} beside {shown_path(others[0])}, in "
            f"{shown_path(root)}: {_EXPECTED}; a class of that name belongs into train/"
        )
    if TRAIN not in parts:
        raise ValueError(
            f"data.data_dir has the folder {first} without train, in {shown_path(root)}: "
            f"{_EXPECTED}"
        )


def _inside(tree: Tree, folder: str, root: Path) -> tuple[Picture, ...]:
    """The pictures of a part, with paths below its folder."""
    found = tuple(p.below() for p in tree.pictures if p.folders and p.folders[0] == folder)
    if not found:
        raise ValueError(
            f"data.data_dir must have pictures in its parts, {shown_path(root / folder)} has none"
        )
    for picture in found:
        if picture.folders and PARTS.get(picture.folders[0].lower(), TRAIN) != TRAIN:
            raise ValueError(_nested(picture, root))
    _check_inner(found, root)
    return found


def _check_inner(pictures: Iterable[Picture], root: Path) -> None:
    """Raise ValueError for parts within a class."""
    for picture in pictures:
        if any(folder.lower() in PARTS for folder in picture.folders[1:]):
            raise ValueError(_nested(picture, root))


def _nested(picture: Picture, root: Path) -> str:
    folder = shown_path(picture.path.parent.relative_to(root))
    return (f"data.data_dir must be the folder that holds train/, test/ or val/, and in these "
            f"CLASS/ folders: {shown_path(root)} has the folder {folder}")  # fmt: skip


def _layout(
    root: Path,
    tree: Tree,
    train: tuple[Picture, ...],
    test: tuple[Picture, ...] | None,
    said: tuple[str, ...],
) -> FolderLayout:
    pictures = (*train, *(test or ()))
    classes = tuple(sorted({p.folders[0] for p in pictures if p.folders}))
    loose = [p for p in pictures if not p.folders]
    unlabelled = ""
    if loose and classes:
        more = f" and {len(loose) - 1:,} more lie" if len(loose) > 1 else " lies"
        unlabelled = (f"{shown_path(loose[0].path)}{more} outside of the folders of classes "
                      f"({_listed(classes)}): there are no labels")  # fmt: skip
    elif loose:
        unlabelled = f"{shown_path(root)} has no folders of classes"
    said += (_summary(root, len(pictures), () if loose else classes),)
    said += (unlabelled,) if loose and classes else ()
    if test is not None and not loose:
        said += tuple(_lacking(classes, train, test))
    return FolderLayout(
        train, test, () if loose else classes, unlabelled, said + tuple(_told(tree))
    )


def _summary(root: Path, count: int, classes: tuple[str, ...]) -> str:
    of = f" of {len(classes):,} classes: {_listed(classes)}" if classes else ""
    return f"{shown_path(root)}: {count:,} pictures{of}"


def _listed(names: tuple[str, ...]) -> str:
    few = ", ".join(map(shown_path, names[:6]))
    return few + (f" and {len(names) - 6:,} more" if len(names) > 6 else "")


def _lacking(
    classes: tuple[str, ...], train: tuple[Picture, ...], test: tuple[Picture, ...]
) -> list[str]:
    told = []
    for name, part in (("training", train), ("held-out", test)):
        there = {p.folders[0] for p in part}
        missing = tuple(c for c in classes if c not in there)
        if missing:
            told.append(f"no {name} pictures of {_listed(missing)}")
    return told


def _told(tree: Tree) -> list[str]:
    """Remarks on the files that are not pictures, and on links."""
    links = [f"followed {tree.links:,} symbolic links"] if tree.links else []
    if not tree.others:
        return links
    kinds = ", ".join(f"{count:,} {shown_path(kind) or 'without a suffix'}"
                      for kind, count in Counter(tree.others).most_common(6))  # fmt: skip
    return [
        *links,
        f"skipped {sum(tree.others.values()):,} files that are not pictures: {kinds}",
    ]
