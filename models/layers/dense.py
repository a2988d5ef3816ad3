"""A linear map, and additions whose gradients are sums over many pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float


def shifted(h: Float[Array, "..."], shift: Float[Array, "..."]) -> Float[Array, "..."]:
    """h + shift in float32, of h's type; a float32 shift is broadcast along axes of length 1.

    Its gradient is then a sum in float32. In bfloat16, which has 8 bits, a running sum of equal
    terms stops growing after 256 of them, and images have more pixels.
    """
    return (h.astype(jnp.float32) + shift).astype(h.dtype)


class Dense(nn.Module):
    """x W + b along the last axis, with float32 parameters `kernel` [in, features] and `bias`.

    Attributes:
      features: length of the result.
      use_bias: whether b is added.
      kernel_init: initializer of W.
      bias_init: initializer of b.
      dtype: of the product and of the result.
    """

    features: int
    use_bias: bool = True
    kernel_init: Callable[..., Array] = nn.initializers.lecun_normal()
    bias_init: Callable[..., Array] = nn.initializers.zeros
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b i"]) -> Float[Array, "*b o"]:
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        contract = (((x.ndim - 1,), (0,)), ((), ()))
        y = lax.dot_general(x.astype(self.dtype), kernel.astype(self.dtype), contract)
        if not self.use_bias:
            return y
        bias = self.param("bias", self.bias_init, (self.features,))
        return shifted(y, bias.reshape((1,) * (y.ndim - 1) + (-1,)))
