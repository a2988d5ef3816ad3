"""The U-Net of super-resolution by repeated refinement (Saharia et al., 2021, arXiv:2104.07636).

Its form is that of Janspiry's code, in which most such models were trained: Ho et al.'s blocks, one
head of attention without biases, and an embedding of alpha itself, the square root of the share of
signal, that passes no last activation. The network is given conditions as published
(`models.as_published`): a picture of the size of the example, enlarged beforehand, whose channels
come first; zeros where it is not known.

It needs model.nf, ch_mult, num_res_blocks, attn_resolutions, dropout, norm_num_groups, nonlinearity
and resamp_with_conv, and model.conditioning='alpha'.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from models import ddpm_ho
from models.layers.conditions import Condition, as_parts
from models.layers.dense import Dense
from models.layers.embeddings import Positional
from models.layers.style import default_init
from models.shapes import Shape, written
from models.unet import UNet

EPSILON = 1e-5
"""Constant added to the variance in group normalization."""


class AlphaEmbedding(nn.Module):
    """Sines and cosines of alpha, and a perceptron without a last activation; in float32."""

    features: int

    @nn.compact
    def __call__(
        self, label: Float[Array, "b"], condition: Condition = None, train: bool = False
    ) -> Float[Array, "b d"]:
        dense = lambda n, name: Dense(n, kernel_init=default_init(), name=name)
        waves = Positional(self.features, endpoint=False)(label.astype(jnp.float32))
        return dense(self.features, "time_1")(
            jax.nn.silu(dense(4 * self.features, "time_0")(waves))
        )


class SR3(nn.Module):
    """`unet`, whose parameters have the same names, of the condition's picture beside the example.

    condition: shape of the picture.
    """

    unet: UNet
    condition: Shape

    def setup(self) -> None:
        """Give the network's parameters the names that they have by themselves."""
        nn.share_scope(self, self.unet)

    def __call__(
        self,
        x: Float[Array, "b h w c"],
        label: Float[Array, "b"],
        condition: Condition = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b h w o"]:
        """Raw output of the network; the arguments are those of `models.unet.UNet`."""
        image = as_parts(condition).get("image")
        given = jnp.zeros((len(x), *self.condition), x.dtype) if image is None else image
        given = jnp.where(jnp.isnan(given), 0.0, given).astype(x.dtype)
        unet: Any = self.unet
        return unet(jnp.concatenate([given, x], axis=-1), label, None, train=train)


def build(config: ConfigDict) -> SR3:
    """The network that `config.model` and `config.data` describe.

    Raises:
      ValueError: a key is missing or does not fit the others.
    """
    unet = ddpm_ho.build(config)
    given = ddpm_ho.settings.read(config).inputs
    if given.kinds.names != ("image",):
        raise ValueError("model.condition must be image with model.name='sr3', the picture that "
                         f"is made finer, got {config.model.condition!r}")  # fmt: skip
    (shape,) = given.kinds.shapes
    if shape[:2] != given.shape[:2]:
        raise ValueError(
            f"data.condition must have the example's height and width, {written(given.shape[:2])}, "
            f"with model.name='sr3', whose picture is enlarged beforehand, got {written(shape)}"
        )
    if given.shape[0] % unet.multiples()[0] or given.shape[1] % unet.multiples()[1]:
        raise ValueError(f"data.shape must have sides that are multiples of {unet.multiples()[0]} "
                         f"with model.name='sr3', got {written(given.shape)}")  # fmt: skip
    style = replace(unet.style, epsilon=EPSILON, attention_bias=False)
    conditioning = AlphaEmbedding(config.model.nf)
    return SR3(unet.clone(style=style, conditioning=conditioning, centered=True), shape)
