"""Weights in a directory: in one file, in half precision, or in several files that an index lists.

    STEM.safetensors, STEM.fp16.safetensors, STEM.bf16.safetensors, or
    STEM.safetensors.index.json and the files it names, and the same of PyTorch's .bin

Whole numbers come first, safetensors before pickles.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from models.pretrained.files import torch_files
from models.pretrained.files.safetensors_file import read_tensors
from models.pretrained.files.tensors import Arrays, PretrainedError, Tensor, in_file
from untrusted import limits, plain, read_json, shown

READERS: dict[str, Callable[[Path], Any]] = {
    ".safetensors": lambda path: read_tensors(path, named=False)[0].tensors,
    ".bin": lambda path: torch_files.read(path, named=False),
}
VARIANTS = ("", ".fp16", ".bf16")
"""Marks of the whole numbers and of those in half precision, in names of files."""


def read_folder(folder: Path, stems: Sequence[str]) -> Arrays:
    """The weights in a directory, by their names; none is read yet.

    stems: names of the files without what follows the first dot; the first that is there is used.

    Raises:
      PretrainedError: there are none, or they are damaged, hostile or not those of their index.
      OSError: one cannot be read.
    """
    for name, index in _names(stems):
        path = folder / name
        if os.path.lexists(path):
            return Arrays(_indexed(path) if index else _weights(path))
    tried = ", ".join(name for name, index in _names(stems) if not index)
    raise PretrainedError(f"there is none of {tried}, and no index, in its {plain(folder.name)}")


def _names(stems: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """(names that are looked for, whether it is that of an index)."""
    for kind in READERS:
        for half in VARIANTS:
            for stem in stems:
                yield f"{stem}{half}{kind}", False
                yield f"{stem}{half}{kind}.index.json", True
                if half:
                    yield f"{stem}{kind}.index{half}.json", True


def _weights(path: Path) -> dict[str, Tensor]:
    weights = READERS[path.suffix](path)
    with in_file(path):
        if not isinstance(weights, Mapping) or not all(
            isinstance(k, str) and isinstance(v, Tensor) for k, v in weights.items()
        ):
            raise PretrainedError("it must hold weights by name")
        _check_count(len(weights))
        return dict(weights)


def _check_count(tensors: int) -> None:
    if tensors > limits.TENSORS:
        raise PretrainedError(f"it has more than {limits.TENSORS:,} tensors: refused")


def _indexed(path: Path) -> dict[str, Tensor]:
    """The weights of the files that an index names, which must hold these and no others."""
    content = read_json(path)
    with in_file(path):
        places = content.get("weight_map")
        if not isinstance(places, dict) or not places:
            raise PretrainedError("it must have a weight_map, from names of tensors to files")
        _check_count(len(places))
        files = sorted({_file(place, path) for place in places.values()})
    found: dict[str, Tensor] = {}
    for file in files:
        if not os.path.lexists(path.parent / file):
            raise PretrainedError(f"{plain(path.name)} names {plain(file)}, which is not there")
        part = _weights(path.parent / file)
        expected = {name for name, place in places.items() if place == file}
        if wrong := sorted(expected ^ set(part)):
            where = "lacks" if wrong[0] in expected else "has, against its index,"
            raise PretrainedError(f"{plain(file)} {where} {plain(wrong[0], 120)}: damaged or mixed")
        found.update(part)
    return found


def _file(place: Any, index: Path) -> str:
    """The name of a file beside the index, of its kind."""
    kind = next(suffix for suffix in READERS if suffix in index.name)
    if not isinstance(place, str) or Path(place).name != place or not place.endswith(kind):
        raise PretrainedError(
            f"it names the file {shown(place)}, must be one beside it that ends in {kind}: refused"
        )
    return place
