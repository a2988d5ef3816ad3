"""Codecs of conditions: between those as data store them and those that the network is given.

A condition of several kinds (`configs.kinds`) has a codec for each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from configs.kinds import (
    JOINED_BY,
    UNSCALED,
    Kinds,
    coarse_lengths,
    coarse_shape,
    of_config,
    with_coarse,
)
from configs.names import choose
from configs.shapes import area_mean
from data_lib.base import Images
from data_lib.codec import (
    BLOCK_VALUES,
    AsGiven,
    Codec,
    Numbers,
    Row,
    Standardize,
    check_words,
    moments,
    of_pixels,
)
from data_lib.transforms import to_unit


@dataclass(frozen=True)
class Joined:
    """Codecs of the parts of conditions of several kinds, which are stored as one array."""

    kinds: Kinds
    codecs: tuple[Codec, ...]
    of_levels = False
    centered = True

    def encode(self, x: Numbers) -> Numbers:
        """Each part as its codec encodes it."""
        return self._each(x, [made.encode for made in self.codecs])

    def decode(self, z: Numbers) -> Numbers:
        """Each part as its codec decodes it."""
        return self._each(z, [made.decode for made in self.codecs])

    def log_det(self, x: Float[Array, "b *d"]) -> Float[Array, " b"]:
        """The sum over the parts."""
        parts = self.kinds.parted(x).values()
        logs = [made.log_det(part) for made, part in zip(self.codecs, parts, strict=True)]
        return sum(logs[1:], logs[0])

    def affine(self) -> tuple[Row, Row] | None:
        """None: the parts have scales of their own."""
        return None

    def _each(self, x: Numbers, maps: Sequence[Callable[[Any], Any]]) -> Numbers:
        parts = self.kinds.parted(x).values()
        flat = [f(part).reshape(len(x), -1) for f, part in zip(maps, parts, strict=True)]
        return (np if isinstance(x, np.ndarray) else jnp).concatenate(flat, axis=1)


CONDITION_CODECS: dict[str, Callable[[Row, Row], Codec]] = {
    "standardize": Standardize,
    "identity": lambda mean, std: AsGiven(),
}
"""data.condition_codec -> the codec, of the mean and the deviation that it may have."""
SCALED = ("standardize",)
"""Those that have them."""


def check_texts(values: np.ndarray, config: Any, what: str) -> None:
    """`check_words` of the texts among conditions as data store them, if there are any."""
    kinds = of_config(config)
    if "text" in kinds:
        check_words(kinds.parted(values)["text"], config.model.vocabulary, what)


def condition_codecs(config: Any) -> dict[str, str]:
    """Kind of condition -> the name of its codec, of a config.

    data.condition_codec is one name, by which words and levels stay as they are, or one for each
    kind of model.condition, joined as the kinds are. ValueError for another number of them, an
    unknown one, and one that scales what has no scale.
    """
    kinds, asked = of_config(config), config.data.condition_codec
    names = asked.split(JOINED_BY)
    for name in names:
        choose("data.condition_codec", name, CONDITION_CODECS)
    if len(names) not in (1, len(kinds.names)):
        raise ValueError(
            f"data.condition_codec must be one name, or one for each kind of {kinds.words}, joined "
            f"by {JOINED_BY!r}, got {asked!r}"
        )
    if len(names) == 1 < len(kinds.names):
        return {kind: "identity" if kind in UNSCALED else names[0] for kind in kinds.names}
    found = dict(zip(kinds.names, names, strict=False))
    if wrong := [kind for kind in UNSCALED if found.get(kind) in SCALED]:
        raise ValueError(
            f"data.condition_codec must be identity with model.condition={wrong[0]!r}, which has "
            f"names and no amounts, got {asked!r}"
        )
    return found


def build_condition(config: Any) -> Codec:
    """The codec of the conditions of a config; ValueError as `condition_codecs`."""
    kinds, names = of_config(config), condition_codecs(config)
    mean, std = tuple(config.data.condition_mean), tuple(config.data.condition_std)
    made, at = [], 0
    for kind, name in names.items():
        size = kinds.shape(kind)[-1] if name in SCALED and len(names) > 1 else len(mean)
        row = slice(at, at + size) if name in SCALED else slice(0)
        made.append(CONDITION_CODECS[name](mean[row], std[row]))
        at += size if name in SCALED else 0
    if len(made) > 1:
        return Joined(kinds, tuple(made))
    return made[0] if made else AsGiven()


def rows_of(config: Any, images: Images) -> Float[np.ndarray, "n *c"] | None:
    """Conditions of examples as a model is given them (`configs.kinds.with_coarse`), encoded.

    They are those of the data, and where there is a data.coarse the examples' own area averages.
    None for a model without any.
    """
    kinds = with_coarse(config)
    if not kinds.names:
        return None
    parts = []
    if of_config(config).names and images.condition is not None:
        parts.append(build_condition(config).encode(images.condition).astype(np.float32))
    if coarse_shape(config):
        parts.append(coarse_of(config, images))
    return beside(kinds, parts) if parts else None


def beside(kinds: Kinds, parts: Sequence[np.ndarray]) -> Float[np.ndarray, "n *c"]:
    """Rows of these kinds, of arrays of their parts in their order."""
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


def coarse_of(config: Any, images: Images) -> Float[np.ndarray, "n *c"]:
    """The coarse pictures of examples, encoded, of a config with a data.coarse."""
    made, lengths = of_pixels(config.data), coarse_lengths(config)
    block = max(1, BLOCK_VALUES * len(images) // max(images.pixels.size, 1))
    found = []
    for first in range(0, len(images), block):
        x = to_unit(images.pixels[first : first + block], images.levels)
        found.append(area_mean(made.encode(x).astype(np.float32), lengths))
    return np.concatenate(found)


def condition_moments(config: Any, values: np.ndarray) -> tuple[Row, Row]:
    """(means, standard deviations) of the parts of conditions that are scaled, side by side."""
    names, parts = condition_codecs(config), of_config(config).parted(values)
    found = [moments(parts[kind], "conditions") for kind, name in names.items() if name in SCALED]
    return sum((mean for mean, _ in found), ()), sum((std for _, std in found), ())
