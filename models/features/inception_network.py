"""The layers of FID's Inception-v3; `inception.py` says where it comes from.

A network is a `Step`, and so is each of its parts: `chain` and `branches` put them together.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from models.features.base import Features
from models.layers.conv import conv2d

SPATIAL_CHANNELS = 7

Step = Callable[[Array], Array]
"""A part of the network; called inside of a module, it makes its own parameters there."""


class Unit(nn.Module):
    """relu(x * kernel + bias), the batch normalization being part of kernel and bias."""

    features: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b p q o"]:
        shape = (*self.kernel, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        full = functools.partial(
            lax.conv_general_dilated,
            window_strides=(self.stride, self.stride),
            padding=self.padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=lax.Precision.HIGHEST,
        )
        # On a CPU, where every precision is the full one, `conv2d` knows a faster form.
        same = ((1, 1), (1, 1)) if self.padding == "SAME" else ((0, 0), (0, 0))
        quick = functools.partial(conv2d, padding=same)
        simple = self.kernel == (3, 3) and self.stride == 1
        conv = functools.partial(lax.platform_dependent, cpu=quick, default=full)
        y = (conv if simple else full)(x, kernel)
        return nn.relu(y + bias[None, None, None])


class Named(nn.Module):
    """A step whose parameters are under the name of this module."""

    step: Step

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return self.step(x)


def unit(name: str, *arguments: Any, **options: Any) -> Step:
    """A `Unit` of this name."""
    return lambda x: Unit(*arguments, **options, name=name)(x)


def chain(*steps: Step) -> Step:
    """The composition of steps, the first one first."""
    return lambda x: functools.reduce(lambda y, step: step(y), steps, x)


def branches(*steps: Step) -> Step:
    """The channels of all steps, each taken from the same input."""
    return lambda x: jnp.concatenate([step(x) for step in steps], -1)


def halve(x: Float[Array, "b h w c"]) -> Float[Array, "b p q c"]:
    """The maximum of 3x3 pixels at every second place."""
    return nn.max_pool(x, (3, 3), (2, 2))


def max_pool_3x3(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """The maximum of the 3x3 pixels around each."""
    return nn.max_pool(x, (3, 3), padding="SAME")


def average_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """The mean of those of the 3x3 pixels around each that are in the image."""
    total = _sum_of_three(_sum_of_three(x, 1), 2)
    rows, columns = (np.convolve(np.ones(n), np.ones(3), "same") for n in x.shape[1:3])
    counts = np.outer(rows, columns).astype(np.float32)
    return total / counts[None, :, :, None]


def _sum_of_three(x: Array, axis: int) -> Array:
    """Each entry and its two neighbours along an axis."""
    n = x.shape[axis]
    padded = jnp.pad(x, [(int(a == axis),) * 2 for a in range(x.ndim)])
    before, own, after = (lax.slice_in_dim(padded, i, i + n, 1, axis) for i in range(3))
    return before + own + after


def _block_a(pooled: int) -> Step:
    return branches(
        unit("branch1x1", 64),
        chain(unit("branch5x5_1", 48), unit("branch5x5_2", 64, (5, 5))),
        chain(
            unit("branch3x3dbl_1", 64),
            unit("branch3x3dbl_2", 96, (3, 3)),
            unit("branch3x3dbl_3", 96, (3, 3)),
        ),
        chain(average_pool, unit("branch_pool", pooled)),
    )


def _block_b() -> Step:
    return branches(
        unit("branch3x3", 384, (3, 3), 2, "VALID"),
        chain(
            unit("branch3x3dbl_1", 64),
            unit("branch3x3dbl_2", 96, (3, 3)),
            unit("branch3x3dbl_3", 96, (3, 3), 2, "VALID"),
        ),
        halve,
    )


def _block_c(inner: int) -> Step:
    return branches(
        unit("branch1x1", 192),
        chain(
            unit("branch7x7_1", inner),
            unit("branch7x7_2", inner, (1, 7)),
            unit("branch7x7_3", 192, (7, 1)),
        ),
        chain(
            unit("branch7x7dbl_1", inner),
            unit("branch7x7dbl_2", inner, (7, 1)),
            unit("branch7x7dbl_3", inner, (1, 7)),
            unit("branch7x7dbl_4", inner, (7, 1)),
            unit("branch7x7dbl_5", 192, (1, 7)),
        ),
        chain(average_pool, unit("branch_pool", 192)),
    )


def _block_d() -> Step:
    return branches(
        chain(unit("branch3x3_1", 192), unit("branch3x3_2", 320, (3, 3), 2, "VALID")),
        chain(
            unit("branch7x7x3_1", 192),
            unit("branch7x7x3_2", 192, (1, 7)),
            unit("branch7x7x3_3", 192, (7, 1)),
            unit("branch7x7x3_4", 192, (3, 3), 2, "VALID"),
        ),
        halve,
    )


def _block_e(pool: Step) -> Step:
    def split(name: str) -> Step:
        return branches(unit(f"{name}a", 384, (1, 3)), unit(f"{name}b", 384, (3, 1)))

    return branches(
        unit("branch1x1", 320),
        chain(unit("branch3x3_1", 384), split("branch3x3_2")),
        chain(
            unit("branch3x3dbl_1", 448),
            unit("branch3x3dbl_2", 384, (3, 3)),
            split("branch3x3dbl_3"),
        ),
        chain(pool, unit("branch_pool", 192)),
    )


def _block(name: str, step: Step) -> Step:
    return lambda x: Named(step, name=name)(x)


TO_MIXED_6D = chain(
    unit("Conv2d_1a_3x3", 32, (3, 3), 2, "VALID"),
    unit("Conv2d_2a_3x3", 32, (3, 3), 1, "VALID"),
    unit("Conv2d_2b_3x3", 64, (3, 3)),
    halve,
    unit("Conv2d_3b_1x1", 80),
    unit("Conv2d_4a_3x3", 192, (3, 3), 1, "VALID"),
    halve,
    _block("Mixed_5b", _block_a(32)),
    _block("Mixed_5c", _block_a(64)),
    _block("Mixed_5d", _block_a(64)),
    _block("Mixed_6a", _block_b()),
    _block("Mixed_6b", _block_c(128)),
    _block("Mixed_6c", _block_c(160)),
    _block("Mixed_6d", _block_c(160)),
)
FROM_MIXED_6D = chain(
    _block("Mixed_6e", _block_c(192)),
    _block("Mixed_7a", _block_d()),
    _block("Mixed_7b", _block_e(average_pool)),
    _block("Mixed_7c", _block_e(max_pool_3x3)),
)


class InceptionV3(nn.Module):
    """Features of images that are 299 pixels square and standardized as the graph does it."""

    @nn.compact
    def __call__(self, x: Float[Array, "b 299 299 3"]) -> Features:
        middle = TO_MIXED_6D(x)
        pool = FROM_MIXED_6D(middle).mean((1, 2))
        fc = nn.Dense(1008, use_bias=False, precision=lax.Precision.HIGHEST, name="fc")
        # The first channels of a block are those of its branch1x1: the graph's mixed_6/conv.
        spatial = middle[..., :SPATIAL_CHANNELS]
        return Features(pool, fc(pool), spatial.reshape(len(x), -1))
