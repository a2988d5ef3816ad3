"""The codec of a latent model: between pictures and an autoencoder's latents, as they are diffused.

Pictures are gray levels in [0, 1], of any codec's data; latents z are diffused as (z - shift) scale
(`data_lib.codec.of_latents`). Coding and decoding take so many pictures at a time that memory is
bounded, and large pictures tile by tile if `tile` says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Float

from data_lib.bounds import Numbers, Row
from data_lib.codec import Standardize, of_latents
from models import tiles
from models.autoencoder import Autoencoder

PIXELS = 2**18
"""Pixels of the pictures that are coded or decoded at a time."""
NO_LIKELIHOOD = (
    "a likelihood of latents is none of pictures: with data.codec='autoencoder' there is none"
)
UNUSED = ("discriminator",)
"""Parameters of an autoencoder that only its training uses."""


@partial(jax.jit, static_argnums=(0, 1))
def _moments(network: Autoencoder, method: str, params: Any, x: Array) -> Array:
    found: Any = network.apply({"params": params}, _seen(network, x), method=method)
    return jnp.concatenate([found.mean, found.logvar], axis=-1)


@partial(jax.jit, static_argnums=0)
def _decoded(network: Autoencoder, params: Any, z: Array) -> Array:
    return _shown(network, network.apply({"params": params}, z, method="decode"))


def _seen(network: Autoencoder, x: Array) -> Array:
    """Pictures in [0, 1] as the network takes them."""
    return 2 * x - 1 if network.centered else x


def _shown(network: Autoencoder, x: Any) -> Array:
    """The inverse of `_seen`."""
    return (x + 1) / 2 if network.centered else x


def digest(params: Mapping[str, Any]) -> str:
    """A hash of an autoencoder's weights by their names, 16 hexadecimal digits."""
    found = hashlib.sha256()
    for name, leaf in sorted(flatten_dict(dict(params), sep="/").items()):
        if not name.startswith(UNUSED):
            found.update(f"{name} {leaf.shape}".encode())
            found.update(np.ascontiguousarray(leaf, np.float32).tobytes())
    return found.hexdigest()[:16]


@dataclass(frozen=True)
class LatentCodec:
    """The codec of an autoencoder's latents; codecs of equal weights and numbers are equal.

    identity: the hash of the weights. shift, scale: of the latents. tile: side of the tiles in
    pixels, 0 for whole pictures.
    """

    network: Autoencoder = field(compare=False)
    params: Any = field(compare=False, repr=False)
    identity: str = ""
    shift: Row = (0.0,)
    scale: Row = (1.0,)
    tile: int = 0
    of_levels = True
    centered = True

    def moments(self, x: Float[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n p q k"]:
        """Mean and log-variance, side by side, of the latents of pictures in [0, 1]."""
        run = partial(_moments, self.network, "posterior", self.params)
        pixels = x.shape[1] * x.shape[2]
        return self._each(run, x, pixels, self.tile, self.tile // self.network.factor())

    def encode(self, x: Numbers) -> Numbers:
        """The mean latents of pictures, as they are diffused."""
        if isinstance(x, np.ndarray):
            moments: Any = self.moments(x)
        else:
            moments = _moments(self.network, "posterior", self.params, x)
        return self._affine.encode(moments[..., : moments.shape[-1] // 2])

    def decode(self, z: Numbers) -> Numbers:
        """Pictures, not clipped to [0, 1]; frames before them, [f, n, ...], may be there too."""
        raw: Any = self._affine.decode(z)
        if not isinstance(z, np.ndarray):
            return _decoded(self.network, self.params, raw)
        run = partial(_decoded, self.network, self.params)
        flat = raw.reshape(-1, *raw.shape[-3:]).astype(np.float32)
        factor = self.network.factor()
        pixels = flat.shape[1] * flat.shape[2] * factor**2
        x = self._each(run, flat, pixels, self.tile // factor, self.tile)
        return x.reshape(*raw.shape[:-3], *x.shape[1:])

    def log_det(self, x: Float[Array, "b *d"]) -> Float[Array, " b"]:
        """No such number: raises ValueError."""
        raise ValueError(NO_LIKELIHOOD)

    def affine(self) -> tuple[Row, Row] | None:
        """None: the map is a network."""
        return None

    @property
    def _affine(self) -> Standardize:
        return of_latents(self.shift, self.scale)

    def _each(
        self, run: Callable[[Any], Any], x: np.ndarray, pixels: int, before: int, after: int
    ) -> Float[np.ndarray, "n p q k"]:
        """`run` of x, a few at a time, by tiles of a side `before` that become `after`.

        pixels: of the picture of each example.
        """
        whole = lambda part: np.asarray(run(part))
        if tiles.needed(x, before):
            whole = lambda part: tiles.tiled(run, part, before, after)
        size = max(1, PIXELS // pixels)
        parts = [x[k : k + size] for k in range(0, len(x), size)]
        if len(parts) > 1:  # the last one as large as the others, for one program
            parts[-1] = np.concatenate([parts[-1], x[: size - len(parts[-1])]])
        return np.concatenate([whole(part) for part in parts])[: len(x)]
