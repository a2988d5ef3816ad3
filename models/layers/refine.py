"""Blocks of NCSN and NCSNv2, which are RefineNets.

Lin et al., 2017, "RefineNet: Multi-Path Refinement Networks for High-Resolution Semantic
Segmentation", arXiv:1611.06612; as Song and Ermon have them in arXiv:1907.05600, appendix A, and
arXiv:2006.09011. Every block is called with features and with the index of the noise level,
which only the normalizations of NCSN use.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from models.layers.conv import Conv
from models.layers.instance_norm import Level
from models.layers.remat import Remat, kept
from models.layers.resampling import Plain
from models.layers.style import Activation, uniform_init

Image = Float[Array, "b h w c"]
POOLINGS = 2
"""Number of stages of chained pooling."""


@dataclass(frozen=True)
class RefineStyle:
    """Choices shared by all blocks of a RefineNet.

    Attributes:
      activation: the nonlinearity, elementwise.
      norm: class of the normalizations of the residual stages and before the output.
      refine_norm: class of the normalizations in the refinement blocks.
      pool: the 5x5 pooling of the refinement blocks.
      resize: (features, height, width) -> features of that size.
      levels: number of noise levels of the normalizations.
      ddof: 1 to divide sums of squares by n - 1 where torch does, 0 for plain variances.
      dtype: type of the computation; parameters and statistics are always float32.
      remat: the part of a block that is recomputed in the backward pass.
    """

    activation: Activation
    norm: Callable[..., nn.Module]
    refine_norm: Callable[..., nn.Module]
    pool: Callable[[Array], Array]
    resize: Callable[[Array, int, int], Array]
    levels: int
    ddof: int
    dtype: Any = jnp.float32
    remat: Remat = kept

    @property
    def exact(self) -> RefineStyle:
        """A copy in float32, for input and output, where bfloat16 would be too coarse."""
        return replace(self, dtype=jnp.float32)

    def normalize(self, name: str) -> nn.Module:
        """A normalization outside of the refinement blocks."""
        return self.norm(self.levels, self.ddof, self.dtype, name=name)

    def refine_normalize(self, name: str) -> nn.Module:
        """A normalization in a refinement block."""
        return self.refine_norm(self.levels, self.ddof, self.dtype, name=name)

    def conv(
        self,
        x: Image,
        features: int,
        name: str,
        *,
        size: int = 3,
        dilation: int = 1,
        use_bias: bool = True,
    ) -> Image:
        """A convolution of x whose kernel and bias start as U(-a, a), a^2 = 1 / fan-in."""
        init = uniform_init(1 / math.sqrt(size**2 * x.shape[-1]))
        conv = Conv(
            features,
            kernel_size=size,
            dilation=dilation,
            use_bias=use_bias,
            kernel_init=init,
            bias_init=init,
            dtype=self.dtype,
            name=name,
        )
        return conv(x)


class Residual(nn.Module):
    """Two rounds of normalization, activation, convolution; plus x.

    Attributes:
      style: shared choices.
      features: channels of the result.
      opens: whether the block is the first of a stage, which alone may change the channels; x
        then passes through a convolution of its own.
      halve: means of 2x2 pixels end both branches.
      dilation: distance between the pixels under a kernel; a stage with more than 1 widens its
        field of view instead of halving its images.
    """

    style: RefineStyle
    features: int
    opens: bool = False
    halve: bool = False
    dilation: int = 1

    @nn.compact
    def __call__(self, x: Image, level: Level = None) -> Image:
        style, dilation = self.style, self.dilation
        inner = x.shape[-1] if self.opens else self.features
        half = Plain().down if self.halve else lambda y: y
        h = style.activation(style.normalize("norm_0")(x, level))
        h = style.conv(h, inner, "conv_0", dilation=dilation)
        h = style.activation(style.normalize("norm_1")(h, level))
        h = half(style.conv(h, self.features, "conv_1", dilation=dilation))
        if self.opens:
            # Means of pixels and maps of single pixels commute; this order computes a quarter.
            size = 1 if self.halve else 3
            x = style.conv(half(x), self.features, "shortcut", size=size, dilation=dilation)
        return x + h


class ConvUnits(nn.Module):
    """`units` residual units of two activations and convolutions each (RCU)."""

    style: RefineStyle
    units: int

    @nn.compact
    def __call__(self, x: Image, level: Level = None) -> Image:
        style = self.style
        for i in range(self.units):
            h = x
            for j in range(2):
                h = style.activation(style.refine_normalize(f"norm_{i}_{j}")(h, level))
                h = style.conv(h, x.shape[-1], f"conv_{i}_{j}", use_bias=False)
            x = x + h
        return x


class Fusion(nn.Module):
    """Convolutions of features of several sizes, resized to the first's size and added (MSF)."""

    style: RefineStyle
    features: int

    @nn.compact
    def __call__(self, xs: Sequence[Image], level: Level = None) -> Image:
        style, size = self.style, xs[0].shape[1:3]
        parts = []
        for i, x in enumerate(xs):
            h = style.refine_normalize(f"norm_{i}")(x, level)
            h = style.conv(h, self.features, f"conv_{i}")
            parts.append(h if h.shape[1:3] == size else style.resize(h, *size))
        return sum(parts[1:], parts[0])


class ChainedPooling(nn.Module):
    """Pooling and convolution, repeated, each result added (CRP)."""

    style: RefineStyle

    @nn.compact
    def __call__(self, x: Image, level: Level = None) -> Image:
        style = self.style
        x = path = style.activation(x)
        for i in range(POOLINGS):
            path = style.pool(style.refine_normalize(f"norm_{i}")(path, level))
            path = style.conv(path, x.shape[-1], f"conv_{i}", use_bias=False)
            x = x + path
        return x


class Refine(nn.Module):
    """One refinement: features of a stage joined to the coarser ones refined before.

    Attributes:
      style: shared choices.
      features: channels of the result; a single input must have as many.
      units: residual units at the end.
    """

    style: RefineStyle
    features: int
    units: int

    @nn.compact
    def __call__(self, xs: Sequence[Image], level: Level = None) -> Image:
        style = self.style
        hs = [ConvUnits(style, 2, name=f"adapt_{i}")(x, level) for i, x in enumerate(xs)]
        h = Fusion(style, self.features, name="fuse")(hs, level) if len(hs) > 1 else hs[0]
        h = ChainedPooling(style, name="pool")(h, level)
        return ConvUnits(style, self.units, name="output")(h, level)
