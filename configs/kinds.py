"""Kinds of condition that a model is given at once, with their shapes.

model.condition joins the names of kinds by "+", in the order of `RANKS`, and data.condition has
their shapes side by side: "text+image" with (24, 16, 16, 1) is texts of at most 24 tokens, and
images of 16x16x1. Data store them as one array: the parts of an example, flattened, one after the
other. A single kind is stored in its own shape.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from configs.names import did_you_mean
from configs.shapes import diffused_shape, in_words, shape_of

NONE, JOINED_BY = "none", "+"
RANKS: dict[str, int | None] = {"text": 1, "tokens": 2, "vector": 1, "image": None, "level": 0}
"""Kind -> the number of axes of one example's condition; None: as many as the examples have."""
UNSCALED = ("text", "level")
"""Kinds that no codec scales: names of words, and levels as the network is told them."""


def kinds_of(condition: str) -> tuple[str, ...]:
    """The kinds that a value of model.condition joins; () for none.

    Raises ValueError for one that is unknown, and for kinds that do not go together.
    """
    names = tuple(condition.split(JOINED_BY))
    known = list(RANKS)
    for name in names:
        if name not in (NONE, *RANKS) or (name == NONE and len(names) > 1):
            raise ValueError(
                f"model.condition must be {NONE}, one of {', '.join(known)}, or several joined by "
                f"'{JOINED_BY}', got {condition!r}{did_you_mean(name, known)}"
            )
    found = tuple(name for name in known if name in names)
    if names not in (found, (NONE,)):
        raise ValueError(
            f"model.condition must name each kind once, in the order {', '.join(known)}: "
            f"{JOINED_BY.join(found)!r}, got {condition!r}"
        )
    if {"text", "tokens"} <= {*found}:
        raise ValueError(f"model.condition must have one of text and tokens, got {condition!r}")
    if "level" in found and "image" not in found:
        raise ValueError(
            "model.condition must have an image whose noise the level is, such as 'image+level', "
            f"got {condition!r}"
        )
    return found


@dataclass(frozen=True)
class Kinds:
    """Kinds of a condition, and the shapes of one example's, by which stored ones are parted.

    names: in the order of `RANKS`. shapes: () each while they are not known.
    """

    names: tuple[str, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def of(cls, condition: str, shape: Sequence[int] = ()) -> Kinds:
        """The kinds of a model.condition whose shapes are side by side in `shape`.

        Raises ValueError for kinds that `kinds_of` refuses, and for a shape of another rank.
        """
        names, sizes = kinds_of(condition), tuple(int(n) for n in shape)
        if len(names) < 2:
            return cls(names, (sizes,) * len(names))
        if not sizes:
            return cls(names, ((),) * len(names))
        fixed = sum(RANKS[name] or 0 for name in names)
        ranks = [len(sizes) - fixed if RANKS[name] is None else RANKS[name] or 0
                 for name in names]  # fmt: skip
        if sum(ranks) != len(sizes) or min(ranks) < 0 or ("image" in names and fixed == len(sizes)):
            raise ValueError(
                f"data.condition must be the shapes of {condition} side by side, got "
                f"{','.join(map(str, sizes))}"
            )
        ends = [sum(ranks[: k + 1]) for k in range(len(ranks))]
        parted = (sizes[end - rank : end] for end, rank in zip(ends, ranks, strict=True))
        return cls(names, tuple(parted))

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of one example's condition of that kind; () for one that is not there."""
        return self.shapes[self.names.index(name)] if name in self.names else ()

    def without(self, *names: str) -> Kinds:
        """The others."""
        left = [(n, s) for n, s in zip(self.names, self.shapes, strict=True) if n not in names]
        return Kinds(tuple(n for n, _ in left), tuple(s for _, s in left))

    @property
    def stored(self) -> tuple[int, ...]:
        """The shape of one example's condition as it is stored; () without any."""
        if len(self.names) < 2:
            return self.shapes[0] if self.shapes else ()
        return (sum(map(math.prod, self.shapes)),)

    @property
    def words(self) -> str:
        """The kinds as model.condition names them."""
        return JOINED_BY.join(self.names) or NONE

    def parted(self, values: Any) -> dict[str, Any]:
        """Kind -> its conditions [b, *shape], of stored ones [b, ...] of NumPy or JAX."""
        if len(self.names) < 2:
            return dict.fromkeys(self.names, values)
        if values.shape[1:] != self.stored:
            raise ValueError(
                f"conditions of {self.words} must be {self.stored[0]} numbers each, got "
                f"{values.shape[1:]}"
            )
        sizes, at = [math.prod(shape) for shape in self.shapes], 0
        found = {}
        for name, shape, size in zip(self.names, self.shapes, sizes, strict=True):
            found[name] = values[:, at : at + size].reshape(len(values), *shape)
            at += size
        return found


def hidden_of(config: Any) -> tuple[str, ...]:
    """The kinds that are hidden from the network while training, and left out by guidance.

    Raises ValueError for one that model.condition has not.
    """
    kinds, asked = kinds_of(config.model.condition), config.model.get("condition_hidden", "")
    names = tuple(asked.split(JOINED_BY)) if asked else kinds
    if not {*names} <= {*kinds}:
        raise ValueError(
            "model.condition_hidden must be kinds of model.condition="
            f"{config.model.condition!r}, joined by {JOINED_BY!r}, or empty for all, got {asked!r}"
        )
    return names


def replaces_captions(config: Any) -> bool:
    """True for a model whose hidden captions are no captions as its frozen reader has them.

    It is then given the features of "", or zeros, and not a condition of which nothing is seen.
    """
    data = config.data
    read = bool(data.get("text_encoder", "")) and data.get("text_nothing", "") != "masked"
    return read and "tokens" in hidden_of(config)


MADE = ("image", "level")
"""Kinds that are made of the example itself where there is a data.coarse."""


def of_config(config: Any) -> Kinds:
    """The kinds of condition that a config's data have, with their shapes."""
    names = kinds_of(config.model.condition)
    if config.data.get("coarse", ()):
        names = tuple(name for name in names if name not in MADE)
    return Kinds.of(JOINED_BY.join(names) or NONE, config.data.get("condition", ()))


def with_coarse(config: Any) -> Kinds:
    """Those, and the coarse picture that samples and measured examples are given."""
    return _beside(of_config(config), "image", coarse_shape(config))


def seen(config: Any) -> Kinds:
    """The kinds that the network is given: a coarse picture is at the size of what is diffused."""
    found, names = of_config(config), kinds_of(config.model.condition)
    for name, shape in zip(MADE, (fine_shape(config), ()), strict=True):
        if config.data.get("coarse", ()) and name in names:
            found = Kinds((*found.names, name), (*found.shapes, shape))
    return found


def _beside(kinds: Kinds, name: str, shape: tuple[int, ...]) -> Kinds:
    return Kinds((*kinds.names, name), (*kinds.shapes, shape)) if shape else kinds


def fine_shape(config: Any) -> tuple[int, ...]:
    """The shape of a coarse picture beside what is diffused, latents in case."""
    return (*diffused_shape(config)[:-1], shape_of(config)[-1])


def coarse_shape(config: Any) -> tuple[int, ...]:
    """The shape of a coarse picture; () without data.coarse."""
    return (*coarse_lengths(config), shape_of(config)[-1]) if config.data.get("coarse", ()) else ()


def coarse_lengths(config: Any) -> tuple[int, ...]:
    """The lengths of a coarse picture's spatial axes.

    Raises ValueError unless they divide those of the example, and make it coarser.
    """
    asked, shape = tuple(config.data.coarse), shape_of(config)
    fine = shape[:-1]
    found = asked * len(fine) if len(asked) == 1 else asked
    fits = fine and len(found) == len(fine) and found != fine
    if not fits or any(n < 1 or m % n for n, m in zip(found, fine, strict=True)):
        raise ValueError(
            f"data.coarse must be lengths that divide those of an example of {in_words(shape)}, "
            f"and not all of them, got {','.join(map(str, asked))}"
        )
    return found
