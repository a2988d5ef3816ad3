"""The network that NCSN and NCSNv2 are: residual stages down, refinements back up.

Song and Ermon, 2019, arXiv:1907.05600, appendix A; 2020, arXiv:2006.09011, appendix A. Two
releases of it differ in ways that no published configuration names, hence `model.refinenet`:

    score_sde   (Song et al., 2021, in JAX) stretches images between the middles of pixels, takes
                plain variances, and has 2 nf channels in the last but one refinement of four;
    original    (the authors' own, in PyTorch, and score_sde's port of it) maps corners to
                corners, divides sums of squares by n - 1 for InstanceNorm++'s channel means and
                VarianceNorm, and has nf channels there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from models import inputs, settings
from models.checks import centered, choice, integer
from models.layers.refine import Refine, RefineStyle, Residual
from models.layers.windows import bilinear, bilinear_corners, nearest
from models.settings import ACTIVATIONS
from models.shapes import Shape, picture

Image = Float[Array, "b h w c"]


class Release(NamedTuple):
    """Details in which two releases differ: interpolations by name, and `ddof` of variances."""

    interpolations: Mapping[str, Callable[[Array, int, int], Array]]
    ddof: int


RELEASES = {
    "score_sde": Release({"bilinear": bilinear, "nearest_neighbor": nearest}, 0),
    "original": Release({"bilinear": bilinear_corners}, 1),
}


class Stage(NamedTuple):
    """Two residual blocks: channels as a multiple of nf, whether they halve images, dilation."""

    multiple: int
    halve: bool = False
    dilation: int = 1


class Blocks(NamedTuple):
    """Stages, finest first, and by release the refinements' multiples of nf, coarsest first."""

    stages: tuple[Stage, ...]
    refinements: Mapping[str, tuple[int, ...]]


SMALL = Blocks(
    (Stage(1), Stage(2, halve=True), Stage(2, dilation=2), Stage(2, dilation=4)),
    {"score_sde": (2, 2, 2, 1), "original": (2, 2, 1, 1)},
)
"""Blocks of NCSN, and of NCSNv2 for images of less than 96 pixels a side."""


class RefineNet(nn.Module):
    """A score network.

    Attributes:
      style: choices shared by all blocks.
      nf: base number of channels.
      stages: of the way down, finest first.
      refinements: channels of each refinement as multiples of nf, coarsest first.
      channels: of the output, as many as of the input.
      centered: images are in [-1, 1]; if not, they are in [0, 1] and are mapped to [-1, 1].

    Raises:
      ValueError: a condition was given.
    """

    style: RefineStyle
    nf: int
    stages: tuple[Stage, ...]
    refinements: tuple[int, ...]
    channels: int
    centered: bool

    @nn.nowrap
    def multiples(self) -> tuple[int, int]:
        """Height and width must be multiples of these."""
        return (2 ** sum(stage.halve for stage in self.stages),) * 2

    @nn.compact
    def __call__(
        self, x: Image, label: Float[Array, "b"], condition: Any = None, *, train: bool = False
    ) -> Float[Array, "b h w o"]:
        """Raw output of the network, whose meaning the parametrization defines.

        Args:
          x: noisy images.
          label: for NCSN the index of the noise level, counted from the noisiest; NCSNv2
            ignores it.
          condition: None, since these networks have no classes.
          train: ignored, since they have no dropout.
        """
        if condition is not None:
            raise ValueError(
                "model.name must be a network that takes class labels, such as ncsnpp, where "
                "there is a condition: NCSN and NCSNv2 take none"
            )
        style, level = self.style, jnp.round(label).astype(jnp.int32)
        image = x if self.centered else 2 * x - 1
        # In bfloat16 the input would be rounded by more than the least noise in it.
        stem = style.exact.conv(image, self.nf, "stem").astype(style.dtype)
        outputs = self._down(stem, level)
        h = style.activation(style.normalize("norm")(self._up(outputs, level), level))
        return style.exact.conv(h, self.channels, "output").astype(x.dtype)

    def _down(self, h: Image, level: Array) -> list[Image]:
        outputs = []
        for i, stage in enumerate(self.stages):
            for j in range(2):
                opens = i > 0 and j == 0
                block = Residual(
                    self.style,
                    stage.multiple * self.nf,
                    opens=opens,
                    halve=opens and stage.halve,
                    dilation=stage.dilation,
                    name=f"stage_{i}_block_{j}",
                )
                h = self.style.remat(block)(h, level)
            outputs.append(h)
        return outputs

    def _up(self, outputs: list[Image], level: Array) -> Image:
        last = len(self.refinements) - 1
        refined: list[Image] = []
        for i, multiple in enumerate(self.refinements):
            units = 3 if i == last else 1
            block = Refine(self.style, multiple * self.nf, units, name=f"refine_{i}")
            refined = [self.style.remat(block)([outputs[last - i], *refined], level)]
        return refined[0]


def build(
    config: ConfigDict,
    blocks: Blocks,
    norms: Mapping[str, Callable[..., nn.Module]],
    refine_norm: Callable[..., nn.Module],
    pool: Callable[[Array], Array],
    levels: int,
) -> RefineNet:
    """The network of `blocks` that `config.model` and `config.data` describe.

    Raises:
      ValueError: a key is missing, unknown or does not fit the others.
    """
    model = config.model
    name = choice(model, "model.refinenet", {known: known for known in RELEASES})
    release = RELEASES[name]
    if model.get("num_classes", 0):
        raise ValueError(
            f"model.num_classes must be 0 with model.name={model.name!r}, which takes no class "
            f"labels, got {model.num_classes}"
        )
    style = RefineStyle(
        activation=choice(model, "model.nonlinearity", ACTIVATIONS),
        norm=choice(model, "model.normalization", norms),
        refine_norm=refine_norm,
        pool=pool,
        resize=choice(model, "model.interpolation", release.interpolations),
        levels=levels,
        ddof=release.ddof,
        dtype=settings.dtype(model),
        remat=settings.remat(model),
    )
    _picture(config, blocks)
    return RefineNet(
        style=style,
        nf=integer(model, "model.nf", least=2),
        stages=blocks.stages,
        refinements=blocks.refinements[name],
        channels=inputs.read(config).channels,
        centered=centered(config),
    )


def _picture(config: ConfigDict, blocks: Blocks) -> Shape:
    halvings = sum(stage.halve for stage in blocks.stages)
    why = f"model.name={config.model.name!r} halves images {halvings} times"
    return picture(config, halvings, why)
