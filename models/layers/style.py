"""Choices shared by all layers of a network, made when it is built."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from models.layers.attend import Attend, auto
from models.layers.cpu.outline import outlined
from models.layers.dense import Dense
from models.layers.norm import EPSILON, GroupNorm
from models.layers.remat import Remat, kept
from models.layers.resampling import Resampling

Activation = Callable[[Array], Array]


def default_init(scale: float = 1.0) -> Callable[..., Array]:
    """Uniform variance scaling by the mean of fan-in and fan-out (Glorot and Bengio, 2010).

    Draws from U(-a, a), a^2 = 3 scale / mean(fan-in, fan-out), for a kernel [..., in, out].
    Scale zero means 1e-10: the layer starts out silent, so that a residual block is the
    identity and the network's output is zero, yet its gradient flows.
    """

    def init(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
        fan = math.prod(shape) * (1 / shape[-1] + 1 / shape[-2]) / 2
        return uniform_init(math.sqrt(3 * (scale or 1e-10) / fan))(key, shape, dtype)

    return init


def uniform_init(bound: float) -> Callable[..., Array]:
    """Draws from U(-bound, bound)."""

    def init(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -1.0, 1.0) * bound

    return init


def fan_in_init(fan_in: int) -> Callable[..., Array]:
    """ADM's initializer of kernels and biases: U(-a, a) with a = 1 / sqrt(fan_in)."""
    return uniform_init(1 / math.sqrt(fan_in))


def linear(
    x: Float[Array, "*b i"], features: int, dtype: Any, name: str, *, silent: bool = False
) -> Float[Array, "*b o"]:
    """ADM's linear map of the last axis, within a module: `fan_in_init`, or zeros if `silent`."""
    init = nn.initializers.zeros if silent else fan_in_init(x.shape[-1])
    return Dense(features, kernel_init=init, bias_init=init, dtype=dtype, name=name)(x)


def one_head(channels: int) -> int:
    """A single head of all channels, as in Ho et al. (2020) and Song et al. (2021)."""
    return 1


@dataclass(frozen=True)
class HeadsOf:
    """Heads of `width` channels each."""

    width: int

    def __call__(self, channels: int) -> int:
        return channels // self.width


@dataclass(frozen=True)
class Heads:
    """`count` heads, whatever the number of channels."""

    count: int

    def __call__(self, channels: int) -> int:
        return self.count


def gelu(x: Array) -> Array:
    """x times the probability that a standard normal number is below x (arXiv:1606.08415).

    It is computed in float32, since its derivative has an exponential, and is of x's type.
    """
    return jax.nn.gelu(x.astype(jnp.float32), approximate=False).astype(x.dtype)


@outlined
def _sum(x: Array, h: Array) -> Array:
    return x + h


@outlined
def _rescaled_sum(x: Array, h: Array) -> Array:
    return (x + h) / math.sqrt(2.0)


@partial(outlined, static_argnames=("divisor",))
def _divided_sum(x: Array, h: Array, divisor: float) -> Array:
    return (x + h) / divisor


@dataclass(frozen=True)
class Style:
    """Choices shared by all blocks of a network.

    Attributes:
      activation: the nonlinearity, elementwise.
      groups: number of groups of a GroupNorm over the given number of channels.
      resample: method of doubling and halving images.
      resample_with_conv: whether resampling layers outside of residual blocks own a convolution.
      dropout: probability of dropping an activation while training, in [0, 1).
      rescale: divide every residual sum by sqrt(2), so that its variance stays that of one branch.
      init_scale: variance scale of the last layer of each residual branch and of the output.
      dtype: type of the computation; parameters, statistics and softmax are always float32.
      epsilon: constant added to the variance in every GroupNorm.
      heads: number of heads of an attention layer over the given number of channels.
      attend: the implementation of attention.
      remat: the part of a block that is recomputed in the backward pass.
      periodic: spatial axes along which convolutions see the other end of the feature map.
      scale_shift: whether the embedding scales and shifts normalized features in residual blocks;
        if not, it is added before the normalization.
      divisor: of every residual sum, beside `rescale`.
      attention_bias: whether the maps to attention's queries, keys and values have biases.
    """

    activation: Activation
    groups: Callable[[int], int]
    resample: Resampling
    resample_with_conv: bool
    dropout: float
    rescale: bool
    init_scale: float
    dtype: Any = jnp.float32
    epsilon: float = EPSILON
    heads: Callable[[int], int] = one_head
    attend: Attend = auto
    remat: Remat = kept
    periodic: tuple[int, ...] = ()
    scale_shift: bool = False
    divisor: float = 1.0
    attention_bias: bool = True

    @property
    def exact(self) -> Style:
        """A copy in float32, for labels, input and output, where bfloat16 would be too coarse."""
        return replace(self, dtype=jnp.float32)

    def norm(self, channels: int, name: str) -> GroupNorm:
        """Group normalization of that many channels."""
        return GroupNorm(self.groups(channels), self.dtype, self.epsilon, name=name)

    def residual(
        self, x: Float[Array, "b h w c"], h: Float[Array, "b h w c"]
    ) -> Float[Array, "b h w c"]:
        """x + h, divided by sqrt(2) if sums are rescaled, or by `divisor`."""
        if self.divisor != 1:
            return _divided_sum(x, h, divisor=self.divisor)
        return _rescaled_sum(x, h) if self.rescale else _sum(x, h)

    def dense(
        self, features: int, *, scale: float = 1.0, use_bias: bool = True, name: str | None = None
    ) -> Dense:
        """Linear map of the last axis; on an image, a convolution by a 1x1 kernel."""
        return Dense(
            features,
            use_bias=use_bias,
            kernel_init=default_init(scale),
            dtype=self.dtype,
            name=name,
        )
