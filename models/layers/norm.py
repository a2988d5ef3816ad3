"""Group normalization (Wu and He, 2018, "Group Normalization", arXiv:1803.08494)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

EPSILON = 1e-6
"""Constant added to the variance in all published score_sde networks."""


def quarter_groups(channels: int) -> int:
    """Groups of at least four channels, at most 32 of them: NCSN++'s rule."""
    return min(channels // 4, 32)


def thirty_two_groups(channels: int) -> int:
    """DDPM's rule: 32 groups, whatever the number of channels."""
    return 32


@dataclass(frozen=True)
class FixedGroups:
    """`groups` groups, whatever the number of channels."""

    groups: int

    def __call__(self, channels: int) -> int:
        return self.groups


def group_mean(x: Float[Array, "b *s c"], groups: int) -> Float[Array, "b *1 c"]:
    """Mean over the pixels and over each channel's group of adjacent channels.

    Pixels are summed first: a sum over both at once is twice as slow for large arrays on a CPU.
    """
    batch, *spatial, channels = x.shape
    sums = x.sum(tuple(range(1, x.ndim - 1))).reshape(batch, groups, channels // groups)
    means = sums.sum(2, keepdims=True) * (groups / (channels * math.prod(spatial)))
    return jnp.broadcast_to(means, sums.shape).reshape(batch, *[1] * len(spatial), channels)


def of_channels(a: Float[Array, "c"], rank: int) -> Float[Array, "*1 c"]:
    """A number for each channel, with the rank of a feature map."""
    return a.reshape(*[1] * (rank - 1), -1)


def _normalize(
    x: Float[Array, "b *s c"], groups: int, epsilon: float
) -> tuple[Float[Array, "b *s c"], Float[Array, "b *1 c"]]:
    centred = x - group_mean(x, groups)
    precision = lax.rsqrt(group_mean(centred * centred, groups) + epsilon)
    return centred * precision, precision


@partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def normalize_groups(
    x: Float[Array, "b *s c"],
    scale: Float[Array, "c"],
    bias: Float[Array, "c"],
    groups: int,
    epsilon: float = EPSILON,
) -> Float[Array, "b *s c"]:
    """scale n + bias with n = p (x - mean) and p = 1 / sqrt(variance + epsilon).

    Mean and variance are over a group of channels and all pixels. The variance is that of x - mean,
    because E[x^2] - E[x]^2 loses digits if the mean is large against the spread. The derivative is
    given in closed form,

        scale p dx + n (dscale - scale p mean(n dx)) + (dbias - scale p mean(dx)),

    both brackets the same for all pixels. Its transpose sums over pixels twice, the cotangent and
    its product with n; backpropagation through mean, variance, scale and bias would sum six times.
    """
    n, _ = _normalize(x, groups, epsilon)
    return n * of_channels(scale, x.ndim) + of_channels(bias, x.ndim)


@normalize_groups.defjvp
def _normalize_groups_jvp(
    groups: int, epsilon: float, primals: tuple[Array, ...], tangents: tuple[Array, ...]
) -> tuple[Array, Array]:
    x, dx = primals[0], tangents[0]
    scale, bias = (of_channels(a, x.ndim) for a in primals[1:])
    dscale, dbias = (of_channels(a, x.ndim) for a in tangents[1:])
    n, precision = _normalize(x, groups, epsilon)
    slope = scale * precision
    gain = dscale - slope * group_mean(n * dx, groups)
    shift = dbias - slope * group_mean(dx, groups)
    return n * scale + bias, slope * dx + n * gain + shift


def standardized(x: Float[Array, "*b c"], epsilon: float = EPSILON) -> Float[Array, "*b c"]:
    """x with mean 0 and variance 1 along its last axis, in float32 (arXiv:1607.06450)."""
    x = x.astype(jnp.float32)
    centred = x - x.mean(-1, keepdims=True)
    variance = jnp.square(centred).mean(-1, keepdims=True)
    return centred * lax.rsqrt(variance + epsilon)


def modulated(
    x: Float[Array, "*b c"], scale: Float[Array, "*b c"], shift: Float[Array, "*b c"]
) -> Float[Array, "*b c"]:
    """`standardized` x, scaled by 1 + scale and shifted, of x's type."""
    return (standardized(x) * (1 + scale) + shift).astype(x.dtype)


class GroupNorm(nn.Module):
    """Group normalization with parameters `scale` and `bias`, both [c]; float32 statistics.

    The number of channels must be a multiple of `groups`.
    """

    groups: int
    dtype: Any = jnp.float32
    epsilon: float = EPSILON

    @nn.compact
    def __call__(self, x: Float[Array, "b *s c"]) -> Float[Array, "b *s c"]:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        x = x.astype(jnp.float32)
        return normalize_groups(x, scale, bias, self.groups, self.epsilon).astype(self.dtype)
