"""Group normalization (Wu and He, 2018, "Group Normalization", arXiv:1803.08494)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

EPSILON = 1e-6
"""Added to the variance by all published score_sde networks."""


def quarter_groups(channels: int) -> int:
    """Groups of at least four channels, at most 32 of them: NCSN++'s rule."""
    return min(channels // 4, 32)


def thirty_two_groups(channels: int) -> int:
    """DDPM's rule: 32 groups, whatever the number of channels."""
    return 32


@dataclass(frozen=True)
class FixedGroups:
    """`groups` of them, whatever the number of channels."""

    groups: int

    def __call__(self, channels: int) -> int:
        return self.groups


@partial(jax.jit, static_argnums=(0, 1))
def _group_sums(channels: int, groups: int) -> Float[Array, "c c"]:
    """The matrix that gives each channel the sum over its group."""
    group = jnp.arange(channels) // (channels // groups)
    return (group[:, None] == group[None]).astype(jnp.float32)


def group_mean(x: Float[Array, "b h w c"], groups: int) -> Float[Array, "b 1 1 c"]:
    """Mean over the pixels and over the group of adjacent channels that a channel belongs to.

    The large array is only summed over pixels, never reshaped. What remains is a product with
    the matrix that sums within groups: one operation, where separate reductions and
    broadcasts of such small arrays would each be a kernel to compile and to launch.
    """
    _, height, width, channels = x.shape
    sums = _group_sums(channels, groups)
    total = jnp.matmul(x.sum((1, 2)), sums, precision=lax.Precision.HIGHEST)
    return total[:, None, None] * (groups / (channels * height * width))


def _normalize(
    x: Float[Array, "b h w c"], groups: int, epsilon: float
) -> tuple[Float[Array, "b h w c"], Float[Array, "b 1 1 c"]]:
    centred = x - group_mean(x, groups)
    precision = lax.rsqrt(group_mean(centred * centred, groups) + epsilon)
    return centred * precision, precision


@partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def normalize_groups(
    x: Float[Array, "b h w c"], groups: int, epsilon: float = EPSILON
) -> Float[Array, "b h w c"]:
    """y = (x - mean) / sqrt(variance + epsilon), both over a group of channels and all pixels.

    The variance is that of x - mean, which keeps its digits where the mean is large against
    the spread and E[x^2] - E[x]^2 would lose them. The derivative is given in closed form,

        dy = (dx - mean(dx) - y mean(y dx)) / sqrt(variance + epsilon),

    a self-adjoint map of dx that needs nothing but y and the denominator; backpropagating
    through mean and variance one after the other computes the same in twice the steps.
    """
    return _normalize(x, groups, epsilon)[0]


@normalize_groups.defjvp
def _normalize_groups_jvp(
    groups: int, epsilon: float, primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    y, precision = _normalize(x, groups, epsilon)
    return y, precision * (dx - group_mean(dx, groups) - y * group_mean(y * dx, groups))


class GroupNorm(nn.Module):
    """Group normalization with parameters `scale` and `bias`, both [c]; float32 statistics.

    The number of channels must be a multiple of `groups`.
    """

    groups: int
    dtype: Any = jnp.float32
    epsilon: float = EPSILON

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        y = normalize_groups(x.astype(jnp.float32), self.groups, self.epsilon)
        return (y * scale[None, None, None] + bias[None, None, None]).astype(self.dtype)
