"""The checkpoint as which all importers read a file, and the conversion of its weights to ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict, FrozenConfigDict

import models
from models.pretrained.files.tensors import PretrainedError, shapes
from untrusted import plain

__all__ = ["Checkpoint", "Format", "MismatchError", "PretrainedError", "Misfit", "as_params",
           "by_place", "paths_and_shapes"]  # fmt: skip

Weights = Mapping[str, np.ndarray]
Shape = tuple[int, ...]
Place = tuple[str, ...]
"""The path of a parameter in our networks."""
Overrides = dict[str, Any]
"""Values of a config's settings by "section.key"."""
MOST_ROWS = 60


class Chosen(NamedTuple):
    """Some rows, by their indices, of a tensor that must have `of` of them."""

    indices: np.ndarray
    of: int


Rows = slice | Chosen
"""The part of a tensor's first axis that is a parameter of ours."""


@dataclass(frozen=True)
class Checkpoint:
    """A foreign checkpoint, read.

    Attributes:
      family: the key of its format in `models.pretrained.FORMATS`.
      settings: settings stated by the file, "section.key" -> value of our config.
      raw: weights as trained, by their names in the file; None if it has none.
      ema: their running average, likewise. If a file has one set of weights and does not say which,
        it is this one, because people publish the weights that they draw samples with.
      step: number of updates; 0 if the file does not say.
      attention: levels of the network (0: full resolution) that have attention, if the file
        determines them and not the image size; None otherwise.
      assumed: settings that the file does not state, for use without a config.
      note: source of the assumed settings, for the user.
      guessed: names of settings inferred from the names and shapes of the weights. If the weights
        fit a config, these are ignored: the config decides what they leave open.
      unknown: the reason why no settings could be inferred, if so.
      unsaid: names of settings that nothing determines, for the user to say; one of each group.
      beside: settings that the reader makes, and no file: folders of further parts, where the user
        has them.
    """

    family: str
    settings: Mapping[str, Any]
    raw: Weights | None
    ema: Weights | None
    step: int = 0
    attention: tuple[int, ...] | None = None
    assumed: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    guessed: frozenset[str] = frozenset()
    unknown: str = ""
    unsaid: tuple[tuple[str, ...], ...] = ()
    beside: Mapping[str, Any] = field(default_factory=dict)

    def weights(self, ema: bool) -> Weights:
        """The averaged or the raw weights; PretrainedError if the file lacks them."""
        found = self.ema if ema else self.raw
        if found is None:
            lacking, other = ("averaged", "raw") if ema else ("raw", "averaged")
            raise PretrainedError(
                f"the checkpoint has no {lacking} weights: use the {other} ones, ema={not ema}"
            )
        return found


class Format(Protocol):
    """A kind of foreign checkpoint; a module with these three functions is one."""

    def recognises(self, path: Path) -> bool:
        """True if a file or directory looks like this format; reads little of it."""

    def read(self, path: Path) -> Checkpoint:
        """Read it. PretrainedError if it is damaged, hostile, or of another kind."""

    def params(self, weights: Weights, network: nn.Module, config: ConfigDict) -> Any:
        """Weights of such a checkpoint as our parameters; MismatchError if they do not fit."""


class Misfit(NamedTuple):
    """A tensor that does not fit: its shape in the file, and the shape that the network has.

    A shape is None for a tensor that is missing in the file, or that the network does not have.
    """

    name: str
    found: Shape | None
    wanted: Shape | None

    def __str__(self) -> str:
        name = plain(self.name, 120)
        if self.found is None:
            return f"{name}: missing, the network wants {list(self.wanted or ())}"
        if self.wanted is None:
            return f"{name}: {list(self.found)}, the network has no such tensor"
        return f"{name}: {list(self.found)}, the network wants {list(self.wanted)}"


class MismatchError(PretrainedError):
    """Weights and a config that do not belong together.

    The first line of the message says what differs; `table` has the differences, one per line.
    """

    def __init__(self, differences: Sequence[str], misfits: Sequence[Misfit]):
        self.differences, self.misfits = list(differences), list(misfits)
        more = [f"... and {len(misfits) - MOST_ROWS} more"] if len(misfits) > MOST_ROWS else []
        self.table = "\n".join([*map(str, misfits[:MOST_ROWS]), *more])
        super().__init__(f"{self._summary()}\n{self.table}".rstrip())

    def _summary(self) -> str:
        kinds = {
            "of another shape": sum(1 for r in self.misfits if r.found and r.wanted),
            "missing": sum(1 for r in self.misfits if r.found is None),
            "not wanted": sum(1 for r in self.misfits if r.wanted is None),
        }
        counts = ", ".join(f"{n} {kind}" for kind, n in kinds.items() if n)
        told = list(self.differences)
        if counts:
            told.append(f"tensors {counts}, the first {self.misfits[0]}")
        remedy = "set what the file has, or leave --config out to take its own"
        return f"the checkpoint does not fit the config: {'; '.join(told)}: {remedy}"


def paths_and_shapes(
    network: nn.Module, config: ConfigDict, join: Callable[[Any], Any] = lambda params: params
) -> dict[Place, Shape]:
    """Path and shape of every parameter of a network, or of `join`'s result for them.

    Nothing is computed.
    """
    sections = FrozenConfigDict({"model": config.model, "data": config.data})
    params = join(unflatten_dict(_traced(network, sections)))
    return {path: tuple(leaf.shape) for path, leaf in flatten_dict(params).items()}


# Raw and averaged weights are of the same network, and tracing a large one takes seconds; the
# shapes of many take little memory.
@lru_cache(maxsize=64)
def _traced(network: nn.Module, config: FrozenConfigDict) -> dict[Place, jax.ShapeDtypeStruct]:
    found: dict[Place, jax.ShapeDtypeStruct] = {}

    def trace(key: jax.Array) -> None:
        # Taken here, where they are in the network's order: a pytree sorts them.
        for path, leaf in flatten_dict(models.init(network, key, config)).items():
            found[path] = jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)

    jax.eval_shape(trace, jax.random.key(0))
    return found


def by_place(params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Our parameters by their place in the network, as "down_0_block_0/conv_0/kernel"."""
    return {name: np.asarray(array) for name, array in flatten_dict(dict(params), sep="/").items()}


def in_order(name: str, ndim: int) -> tuple[int, ...]:
    """The axes of an array in a file whose layout is ours."""
    return tuple(range(ndim))


def all_rows(path: Place) -> Rows:
    """All of a tensor."""
    return slice(None)


def as_params(
    weights: Weights,
    wanted: Mapping[Place, Shape],
    names: Mapping[Place, str],
    *,
    axes: Callable[[str, int], Sequence[int]] = in_order,
    rows: Callable[[Place], Rows] = all_rows,
    unused: Callable[[str], bool] = lambda name: False,
) -> dict[str, Any]:
    """Our parameters, float32, from weights by name; read and converted two at a time.

    Args:
      weights: the weights; they may have axes of length 1 more or fewer at the front.
      wanted: path and shape of each of our parameters.
      names: path -> name in the file.
      axes: (name, number of axes) -> the order of the file's axes in our layout.
      rows: path -> the part of the tensor's first axis, in the file, that is ours.
      unused: True for the name of a tensor that may be in the file without being in `names`.

    Raises:
      MismatchError: a tensor is missing, of another shape, or not wanted.
      PretrainedError: one is damaged, not of floating-point numbers, or has one that is not finite.
    """
    known = shapes(weights)
    parts = {path: _part(known.get(names.get(path, "")), rows(path)) for path in wanted}
    if misfits := set(_misfits(known, parts, wanted, names, axes, unused)):
        raise MismatchError([], sorted(misfits, key=_natural))

    def convert(path: Place) -> jax.Array:
        name = names[path]
        array = finite(name, np.asarray(weights[name]))
        part = rows(path)
        array = array[part.indices if isinstance(part, Chosen) else part] if array.ndim else array
        array = np.ascontiguousarray(array.transpose(axes(name, array.ndim)), np.float32)
        return jnp.asarray(array.reshape(wanted[path]))

    params: dict[str, Any] = {}
    # Copies leave Python to the other thread.
    with ThreadPoolExecutor(2) as pool:
        for path, array in zip(wanted, pool.map(convert, wanted), strict=True):
            branch = params
            for part in path[:-1]:
                branch = branch.setdefault(part, {})
            branch[path[-1]] = array
    return params


def finite(name: str, array: np.ndarray) -> np.ndarray:
    """The tensor `name` in float32; PretrainedError for numbers that a network cannot have."""
    what = plain(name, 120)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise PretrainedError(f"{what} is of type {array.dtype}, must be floating-point")
    with np.errstate(over="ignore"):
        array = array.astype(np.float32, copy=False)
    if not (good := np.isfinite(array)).all():
        raise PretrainedError(
            f"{what} has {good.size - np.count_nonzero(good):,} of {good.size:,} numbers that are "
            "NaN, infinite or beyond float32: what it computes would be, too; the file is damaged "
            "or of a training that broke"
        )
    return array


def _part(shape: Shape | None, rows: Rows) -> Shape | None:
    if not shape:
        return shape
    if isinstance(rows, slice):
        return (len(range(*rows.indices(shape[0]))), *shape[1:])
    return (len(rows.indices), *shape[1:]) if shape[0] == rows.of else shape


def _misfits(
    known: Mapping[str, Shape],
    parts: Mapping[Place, Shape | None],
    wanted: Mapping[Place, Shape],
    names: Mapping[Place, str],
    axes: Callable[[str, int], Sequence[int]],
    unused: Callable[[str], bool],
) -> Iterable[Misfit]:
    left = set(known)
    for path, shape in wanted.items():
        name, found = names.get(path, "/".join(path)), parts[path]
        left.discard(name)
        if found is None:
            yield Misfit(name, None, _in_file(shape, axes(name, len(shape))))
        elif not _fits(found, axes(name, len(found)), shape):
            yield Misfit(name, found, _in_file(shape, axes(name, len(found))))
    yield from (
        Misfit(name, known[name], None) for name in known if name in left and not unused(name)
    )


def _natural(misfit: Misfit) -> list[tuple[int, str]]:
    pieces = re.findall(r"\d+|\D+", misfit.name)
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in pieces]


def _fits(found: Shape, axes: Sequence[int], wanted: Shape) -> bool:
    here = tuple(found[axis] for axis in axes)
    surplus = len(here) - len(wanted)
    return here[max(surplus, 0) :] == wanted[max(-surplus, 0) :] and set(
        here[: max(surplus, 0)] + wanted[: max(-surplus, 0)]
    ) <= {1}


def _in_file(wanted: Shape, axes: Sequence[int]) -> Shape:
    """A shape of ours in the layout of the file."""
    padded = (1,) * (len(axes) - len(wanted)) + wanted
    if len(padded) != len(axes):
        return wanted
    return tuple(padded[list(axes).index(i)] for i in range(len(axes)))
