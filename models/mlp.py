"""A residual perceptron for vectors, scaled and shifted by what it is told.

Every block is

    h + W_2 a(W_1 ((1 + s) n(h) + b)),    n(h) = (h - mean(h)) / deviation(h),

where the scale s and the shift b are linear in the embedding of noise level, class and the
condition's vector (Perez et al., 2018, "FiLM", arXiv:1709.07871; Peebles and Xie, 2023,
arXiv:2212.09748). Beside the example x the first layer has sin(kx) and cos(kx) for a few k
(Tancik et al., 2020, arXiv:2006.10739) and, if vector_at_stem says so, the condition's vector: what
depends on the difference of both is learned from fewer examples. Beside the blocks is a path that
is linear in the example and the condition,

    W_2 (g(noise level) W_1 [x, vector]),

as the best denoiser of Gaussian data is: layers that normalize learn it slowly and not well. The
last layers start at zero, so that with EDM's preconditioning training starts from the best linear
denoiser of white data. It needs model.nf, num_res_blocks, dropout, nonlinearity, embedding_type,
num_classes and label_dropout, and vector_at_stem with a vector.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from models import any_rank
from models.checks import flag
from models.layers.conditions import Condition, as_parts
from models.layers.dropout import Dropout
from models.layers.norm import modulated
from models.layers.style import Style
from models.shapes import check_rank

FREQUENCIES = 1.0, 2.0, 4.0
"""Frequencies of the waves beside the example, in radians per unit: sharper densities sooner."""


class MLP(nn.Module):
    """The network.

    Attributes:
      style: shared choices.
      features: of every layer.
      blocks: number of residual blocks.
      size: features of the output.
      conditioning: makes the embedding that scales and shifts all blocks.
      levels: embedding of the noise level alone, for the linear path; None: it is not told.
      beside: whether the first layer is given the condition's vector.
    """

    style: Style
    features: int
    blocks: int
    size: int
    conditioning: nn.Module
    levels: nn.Module | None = None
    beside: bool = False

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b d"],
        label: Float[Array, "b"],
        condition: Condition = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b e"]:
        """Raw output of the network; the arguments are those of `models.unet.UNet`."""
        style, dtype, embedding = self.style, x.dtype, self.conditioning(label, condition, train)
        waves = jnp.concatenate([f(k * x) for k in FREQUENCIES for f in (jnp.sin, jnp.cos)], -1)
        parts = [x, waves, as_parts(condition)["vector"]] if self.beside else [x, waves]
        seen = jnp.concatenate(parts, -1)
        # In bfloat16 the input would be rounded by more than the least noise in it.
        h = style.exact.dense(self.features, name="stem")(seen).astype(style.dtype)
        # One product for all blocks is faster than one for each.
        size = 2 * self.features * (self.blocks + 1)
        modulations = style.exact.dense(size, name="modulation")(embedding)
        told = jnp.split(modulations, 2 * (self.blocks + 1), axis=-1)
        for i in range(self.blocks):
            inner = self._layer(modulated(h, *told[2 * i : 2 * i + 2]), f"block_{i}_0")
            inner = Dropout(style.dropout)(style.activation(inner), train=train)
            h = h + self._layer(inner, f"block_{i}_1")
        h = modulated(h, *told[-2:])
        found = style.exact.dense(self.size, scale=0.0, name="output")(h)
        return (found + self._linear(x, label, condition)).astype(dtype)

    def _linear(self, x: Array, label: Array, condition: Condition) -> Array:
        """The linear path."""
        style, vector = self.style.exact, as_parts(condition).get("vector")
        inputs = x if vector is None else jnp.concatenate([x, vector], axis=-1)
        h = style.dense(self.features, use_bias=False, name="linear_0")(inputs)
        if self.levels is not None:
            waves = self.levels(label.astype(jnp.float32))
            hidden = style.activation(style.dense(waves.shape[-1], name="gate_0")(waves))
            h = h * style.dense(self.features, name="gate_1")(hidden)
        return style.dense(self.size, scale=0.0, use_bias=False, name="linear_1")(h)

    def _layer(self, h: Array, name: str) -> Array:
        return self.style.dense(self.features, name=name)(h)


def build(config: ConfigDict) -> MLP:
    """The network that `config.model` and `config.data` describe.

    Raises:
      ValueError: a key is missing or does not fit the others, or examples are no vectors.
    """
    check_rank(config, (1,))
    common = any_rank.read(config)
    style = common.style()
    return MLP(
        style=style,
        features=common.nf,
        blocks=common.blocks,
        size=common.inputs.channels,
        conditioning=common.conditioning(style, max(common.nf // 2, 8)),
        levels=None if common.embedding is None else common.embedding.clone(),
        beside="vector" in common.inputs.kinds and flag(config.model, "model.vector_at_stem"),
    )
