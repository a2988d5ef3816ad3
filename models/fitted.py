"""A network made to take any shape and any condition that stands beside the example.

Parameters of a wrapped network have the same names; the wrapper's own, of the reader of a text, are
in `text`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from models.inputs import Inputs
from models.layers.borders import Pads, bordered, mirrored, wrapped
from models.layers.conditions import Condition, as_parts, check_parts, hide, known
from models.layers.pieces import summary
from models.layers.text import TextReader
from models.shapes import Shape, written

Parts = Mapping[str, Array]


class Fitted(nn.Module):
    """`network` between inputs as they are given and as it needs them.

    - The condition is checked and completed: parts that are absent become their nulls, and while
      training those of a fraction of the examples. The network is given vector as values, which of
      them are known, and the summary of exchangeable pieces; tokens with their mask; and level,
      label and augmentation as they are. Of a text it is given the features of all places.
    - An image, resized to the example's resolution, and (if the inputs show it) where it is known
      follow the example's channels (or features). Where values may be missing, the example has
      zeros for them, and what is observed follows, and is given as a part to networks that take
      one.
    - Spatial axes are padded on both sides, up to the multiples that the network needs, by the
      mirror image of the example: normalizations over the whole then see the statistics of the
      inside, and no edge. The output is cropped.

    Attributes:
      network: any network.
      inputs: what it is given.
      multiples: of the lengths of spatial axes that the network takes.
      lifted: whether features of a vector are given as a spatial axis with one channel.
      observes: whether the network takes the part `observed`.
    """

    network: nn.Module
    inputs: Inputs
    multiples: tuple[int, ...] = ()
    lifted: bool = False
    observes: bool = False

    def setup(self) -> None:
        """Give the network's parameters the names that they have without the wrapper."""
        nn.share_scope(self, self.network)
        if self.inputs.text:
            self.text = TextReader(self.inputs.text)

    def __call__(
        self,
        x: Float[Array, "b *s c"],
        label: Float[Array, "b"],
        condition: Condition = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b *s o"]:
        """Raw output of the network, shaped like x but for its channels.

        Raises:
          ValueError: the condition has a part that this network does not take, or of a wrong shape.
        """
        given = as_parts(condition)
        check_parts(given, self.inputs.parts)
        hidden: Any = np.zeros(x.shape[0], bool)
        if train and self.inputs.dropout:
            hidden = hide(self.make_rng("dropout"), x.shape[0], self.inputs.dropout)
        layers = self._layers(x, given, hidden)
        lengths = layers[0].shape[1:-1]
        pads = [_halves(-n % m) for n, m in zip(lengths, self.multiples, strict=False)]
        parts = self._parts(given, hidden)
        if self.inputs.missing and self.observes:
            parts["observed"] = bordered(layers[1], pads)
        joined = jnp.concatenate(layers, -1) if len(layers) > 1 else layers[0]
        network: Any = self.network
        out = network(mirrored(joined, pads), label, parts or None, train=train)
        channels = self.inputs.outputs * layers[0].shape[-1]
        out = _cropped(out, pads, lengths)[..., :channels]
        # Of a lifted vector: all first outputs, then all second ones.
        return out.swapaxes(1, 2).reshape(len(x), -1) if self.lifted else out

    def _layers(
        self, x: Array, given: Parts, hidden: Bool[Array, "b"]
    ) -> list[Float[Array, "b *s i"]]:
        """The example, which of its values are observed, and the image."""
        lift = (lambda a: a[..., None]) if self.lifted else (lambda a: a)
        layers = [lift(x)]
        if self.inputs.missing:
            observed = _observed(given.get("observed"), x)
            layers = [lift(jnp.where(observed > 0, x, jnp.zeros((), x.dtype))), lift(observed)]
        if "image" in self.inputs.kinds:
            hidden = self._hidden("image", hidden)
            layers.append(self._image(given.get("image"), layers[0], hidden))
        return layers

    def _image(
        self, image: Array | None, beside: Array, hidden: Bool[Array, "b"]
    ) -> Float[Array, "b *s i"]:
        shape = self.inputs.kinds.shape("image")
        check_shape("image", image, (len(hidden), *shape), free=range(1, len(shape)))
        values, shown = known(image, shape, hidden)
        known_at = shown.all(-1, keepdims=True).astype(jnp.float32)
        both = jnp.concatenate([values, known_at], -1) if self.inputs.shows_known else values
        if self.lifted:
            both = jnp.broadcast_to(both[:, None], (*beside.shape[:-1], both.shape[-1]))
        return resize(both, beside.shape[1:-1], self.inputs.periodic).astype(beside.dtype)

    def _parts(self, given: Parts, hidden: Bool[Array, "b"]) -> dict[str, Array]:
        """The parts of the condition for the network."""
        kinds = self.inputs.kinds
        parts = {name: given[name] for name in ("label", "augment") if name in given}
        if "vector" in kinds:
            shape, pieces = kinds.shape("vector"), self.inputs.pieces
            absent = self._hidden("vector", hidden)
            parts["vector"] = _vector(given.get("vector"), shape, absent, pieces)
        tokens, mask = given.get("tokens"), given.get("mask")
        if "tokens" in kinds:
            shape = kinds.shape("tokens")
            absent = self._hidden("tokens", hidden)
            parts["tokens"], parts["mask"] = _tokens(tokens, mask, shape, absent)
        if "text" in kinds:
            absent = self._hidden("text", hidden)
            tokens, there = _words(tokens, mask, kinds.shape("text"), absent)
            parts["tokens"], parts["mask"] = self.text(tokens, there), jnp.ones_like(there)
        if "level" in kinds:
            parts["level"] = _level(given.get("level"), self._hidden("level", hidden))
        return parts

    def _hidden(self, kind: str, hidden: Bool[Array, "b"]) -> Bool[Array, "b"]:
        """The examples from which a kind is hidden, of those whose condition is."""
        return jnp.zeros_like(hidden) if kind in self.inputs.kept else hidden


def _halves(total: int) -> tuple[int, int]:
    return total // 2, total - total // 2


def _cropped(x: Array, pads: Pads, lengths: Sequence[int]) -> Array:
    for axis, ((low, _), length) in enumerate(zip(pads, lengths, strict=False), start=1):
        if length < x.shape[axis]:
            x = jax.lax.slice_in_dim(x, low, low + length, axis=axis)
    return x


def check_shape(name: str, part: Array | None, shape: Shape, free: range = range(0)) -> None:
    """Raise ValueError if a part has another shape than this; the lengths of `free` axes differ."""
    if part is None:
        return
    fixed = lambda s: [len(s), *(n for axis, n in enumerate(s) if axis not in free)]
    if fixed(part.shape) != fixed(shape):
        raise ValueError(
            f"the condition's {name} must have the shape {written(shape)}, of which the first is "
            f"the number of examples, got {written(part.shape)}"
        )


def _observed(observed: Array | None, x: Array) -> Array:
    check_shape("observed", observed, x.shape)
    return jnp.ones_like(x) if observed is None else observed.astype(x.dtype)


def _vector(
    vector: Array | None, shape: Shape, hidden: Bool[Array, "b"], pieces: int
) -> Float[Array, "b v"]:
    check_shape("vector", vector, (len(hidden), *shape))
    values, shown = known(vector, shape, hidden)
    told = [values, shown.astype(jnp.float32)]
    if pieces > 1:
        told.append(summary(values, shown, pieces))
    return jnp.concatenate(told, -1)


def _tokens(
    tokens: Array | None, mask: Array | None, shape: Shape, hidden: Bool[Array, "b"]
) -> tuple[Float[Array, "b n w"], Bool[Array, "b n"]]:
    check_shape("tokens", tokens, (len(hidden), *shape), free=range(1, 2))
    values, shown = known(tokens, shape, hidden)
    check_shape("mask", mask, values.shape[:2])
    there = shown.all(-1)
    return values, there if mask is None else there & mask.astype(bool)


def _level(level: Array | None, hidden: Bool[Array, "b"]) -> Float[Array, "b"]:
    """Levels; NaN for those that are hidden, or of an image that is not there."""
    check_shape("level", level, (len(hidden),))
    told = jnp.full(len(hidden), jnp.nan) if level is None else level.astype(jnp.float32)
    return jnp.where(hidden, jnp.nan, told)


def _words(
    tokens: Array | None, mask: Array | None, shape: Shape, hidden: Bool[Array, "b"]
) -> tuple[Int[Array, "b n"], Bool[Array, "b n"]]:
    wanted = (len(hidden), *shape)
    for name, part in (("tokens", tokens), ("mask", mask)):
        check_shape(name, part, wanted)
    if tokens is None:
        return jnp.zeros(wanted, jnp.int32), jnp.zeros(wanted, bool)
    there = jnp.ones(wanted, bool) if mask is None else mask.astype(bool)
    return tokens.astype(jnp.int32), there & ~hidden[:, None]


def resize(
    image: Float[Array, "b *s c"], lengths: Sequence[int], periodic: Sequence[int]
) -> Float[Array, "b *t c"]:
    """Linear interpolation to other lengths of the spatial axes, antialiased where they shrink.

    A periodic axis is continued on both sides by a period, so that it has no ends.
    """
    before, after = image.shape[1:-1], tuple(lengths)
    if before == after:
        return image
    turns = [a for a in periodic if before[a] != after[a]]
    pads = [(n, n) if axis in turns else (0, 0) for axis, n in enumerate(before)]
    wide = [3 * n if axis in turns else n for axis, n in enumerate(after)]
    shape = (image.shape[0], *wide, image.shape[-1])
    image = jax.image.resize(wrapped(image, pads, turns), shape, "linear")
    return _cropped(image, [(n if a in turns else 0, 0) for a, n in enumerate(after)], after)
