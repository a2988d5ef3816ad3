"""Normalization of every channel of every image by itself, and NCSN's extensions of it.

With mean m_k and variance v_k of channel k over the pixels of one image, InstanceNorm++ is

    y_k = gamma_k [(x_k - m_k) / sqrt(v_k + e) + alpha_k (m_k - m) / sqrt(v + e)] + beta_k,

where m and v are mean and variance of the m_k over the channels and e = 1e-5. Instance
normalization removes the brightness of a channel; the second term restores it (Song and Ermon,
2019, arXiv:1907.05600, appendix A.1). NCSN has one (gamma, alpha, beta) for each noise level.

Ulyanov et al., 2016, "Instance Normalization: The Missing Ingredient for Fast Stylization",
arXiv:1607.08022. All modules here have the same attributes and are called as
`norm(x, level)`, level [b] being the index of the noise level, so that they are interchangeable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float, Int

EPSILON = 1e-5
Image = Float[Array, "b h w c"]
Level = Int[Array, "b"] | None


def around_one(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
    """Initial scales: N(1, 0.02^2)."""
    return 1 + 0.02 * jax.random.normal(key, tuple(shape), dtype)


def level_table(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
    """Initial rows (gamma, alpha, beta) [levels, 3 c]: scales around one, shifts zero."""
    levels, size = shape
    scales = around_one(key, (levels, size // 3 * 2), dtype)
    return jnp.concatenate([scales, jnp.zeros((levels, size // 3), dtype)], axis=1)


def standardize(x: Array, axes: tuple[int, ...], ddof: int) -> Array:
    """(x - mean) / sqrt(variance + 1e-5) over `axes`; ddof = 1 divides by one less than n."""
    centred = x - x.mean(axes, keepdims=True)
    return centred * lax.rsqrt(x.var(axes, keepdims=True, ddof=ddof) + EPSILON)


def normalize_plus(
    x: Image, ddof: int, gamma: Array, alpha: Array, beta: Array
) -> Float[Array, "b h w c"]:
    """InstanceNorm++; gamma, alpha and beta are [b or 1, c]. `ddof` is that of v."""
    bright = standardize(x.mean((1, 2)), (1,), ddof)
    h = standardize(x, (1, 2), 0) + (alpha * bright)[:, None, None]
    return gamma[:, None, None] * h + beta[:, None, None]


class InstanceNormPlus(nn.Module):
    """InstanceNorm++ with parameters `gamma`, `alpha`, `beta`, each [c]; float32 statistics."""

    levels: int
    ddof: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Image, level: Level = None) -> Image:
        shape = x.shape[-1:]
        gamma = self.param("gamma", around_one, shape)[None]
        alpha = self.param("alpha", around_one, shape)[None]
        beta = self.param("beta", nn.initializers.zeros, shape)[None]
        y = normalize_plus(x.astype(jnp.float32), self.ddof, gamma, alpha, beta)
        return y.astype(self.dtype)


class LevelInstanceNormPlus(nn.Module):
    """InstanceNorm++ with a row (gamma, alpha, beta) of `embedding` [levels, 3 c] per level.

    A level outside of 0 .. levels - 1 is replaced by the nearest of these.
    """

    levels: int
    ddof: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Image, level: Int[Array, "b"]) -> Image:
        table = self.param("embedding", level_table, (self.levels, 3 * x.shape[-1]))
        rows = jnp.split(table.take(level, axis=0, mode="clip"), 3, axis=1)
        y = normalize_plus(x.astype(jnp.float32), self.ddof, *rows)
        return y.astype(self.dtype)


class InstanceNorm(nn.Module):
    """Instance normalization with parameters `scale` and `bias`, both [c]."""

    levels: int
    ddof: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Image, level: Level = None) -> Image:
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        y = standardize(x.astype(jnp.float32), (1, 2), 0)
        return (y * scale[None, None, None] + bias[None, None, None]).astype(self.dtype)


class VarianceNorm(nn.Module):
    """x / sqrt(v_k + 1e-5) times the parameter `scale` [c]; the mean is not subtracted."""

    levels: int
    ddof: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Image, level: Level = None) -> Image:
        scale = self.param("scale", around_one, x.shape[-1:])
        x = x.astype(jnp.float32)
        precision = lax.rsqrt(x.var((1, 2), keepdims=True, ddof=self.ddof) + EPSILON)
        return (x * precision * scale[None, None, None]).astype(self.dtype)


class NoNorm(nn.Module):
    """The identity."""

    levels: int
    ddof: int
    dtype: Any = jnp.float32

    def __call__(self, x: Image, level: Level = None) -> Image:
        return x


NORMS: dict[str, type[nn.Module]] = {
    "InstanceNorm++": InstanceNormPlus,
    "InstanceNorm": InstanceNorm,
    "VarianceNorm": VarianceNorm,
}
LEVEL_NORMS: dict[str, type[nn.Module]] = {"InstanceNorm++": LevelInstanceNormPlus}
