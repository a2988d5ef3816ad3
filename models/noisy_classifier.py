"""ADM's classifier of noisy pictures: the way down of its U-Net, and a head.

Dhariwal & Nichol, 2021, arXiv:2105.05233, section 4. model.pool chooses the head:

    attention    the mean pixel asks all pixels, with learned positions; published
    adaptive     the mean of all pixels
    spatial      the means of every layer's pixels, then a hidden layer with ReLU
    spatial_v2   the same with a normalization and SiLU

It needs what `models.guided_unet` needs, but for the way up, and model.num_classes, the logits.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from models import inputs, settings
from models.adm import mapping
from models.checks import choice, integer
from models.guided_unet import EMBEDDING, tower
from models.layers.adaptive import BlockForm
from models.layers.attention import attend_with_heads
from models.layers.conditions import Condition
from models.layers.mappings import ADMMapping
from models.layers.style import linear
from models.layers.tower import Tower
from models.shapes import picture

Image = Float[Array, "b h w c"]
HIDDEN = 2048
"""Features of the hidden layer of the spatial heads."""


class AttentionPool(nn.Module):
    """Attention of the mean pixel to itself and all pixels (arXiv:2103.00020, section 2.4)."""

    form: BlockForm
    features: int

    @nn.compact
    def __call__(self, h: Image, train: bool) -> Float[Array, "b k"]:
        dtype, channels = self.form.dtype, h.shape[-1]
        pixels = h.reshape(h.shape[0], -1, channels)
        seen = jnp.concatenate([pixels.mean(1, keepdims=True), pixels], axis=1)
        init = nn.initializers.normal(channels**-0.5)
        positions = self.param("positions", init, (seen.shape[1], channels))
        seen = seen + positions.astype(dtype)[None]
        query = linear(seen[:, :1], channels, dtype, "query")
        key, value = (linear(seen, channels, dtype, name) for name in ("key", "value"))
        heads = self.form.heads(channels)
        pooled = attend_with_heads(self.form.attend, query, key, value, heads, train)[:, 0]
        return linear(pooled, self.features, jnp.float32, "project")


class NoisyClassifier(nn.Module):
    """A classifier of noisy images.

    Attributes:
      tower: its blocks; there is no way up.
      classes: number of logits.
      pool: the head, a key of `POOLS`.
      centered: as in `models.unet.UNet`.
      conditioning: makes the embedding of the noise level that all blocks see.
    """

    tower: Tower
    classes: int
    pool: str
    centered: bool
    conditioning: ADMMapping

    @nn.compact
    def __call__(
        self,
        x: Image,
        label: Float[Array, "b"],
        condition: Condition = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b k"]:
        """Logits of the classes.

        Args:
          x: noisy images.
          label: the noise level, an index of up to about 1000.
          condition: None.
          train: drop activations, which needs a key named "dropout".
        """
        embedding = self.conditioning(label, condition, train)
        image = x if self.centered else 2 * x - 1
        layers = self.tower.down(image, embedding, train)
        layers.append(self.tower.across(layers[-1], embedding, train))
        return POOLS[self.pool](self, layers, train)

    def attended(self, layers: list[Image], train: bool) -> Float[Array, "b k"]:
        """Logits by attention."""
        form = self.tower.form
        h = jax.nn.silu(form.norm(layers[-1], form.dtype, "output_norm"))
        return AttentionPool(form, self.classes, name="pool")(h, train)

    def averaged(self, layers: list[Image], train: bool) -> Float[Array, "b k"]:
        """Logits of the mean pixel."""
        form = self.tower.form
        h = jax.nn.silu(form.norm(layers[-1], jnp.float32, "output_norm")).mean((1, 2))
        return linear(h, self.classes, jnp.float32, "output", silent=True)

    def spatial(self, layers: list[Image], train: bool) -> Float[Array, "b k"]:
        """Logits of all layers' mean pixels."""
        return self._output(jax.nn.relu(self._hidden(layers)))

    def spatial_v2(self, layers: list[Image], train: bool) -> Float[Array, "b k"]:
        """The same with a normalized hidden layer."""
        h = self.tower.form.norm(self._hidden(layers), jnp.float32, "hidden_norm")
        return self._output(jax.nn.silu(h))

    def _hidden(self, layers: list[Image]) -> Float[Array, "b d"]:
        means = [layer.astype(jnp.float32).mean((1, 2)) for layer in layers]
        return linear(jnp.concatenate(means, axis=-1), HIDDEN, jnp.float32, "hidden")

    def _output(self, h: Float[Array, "b d"]) -> Float[Array, "b k"]:
        return linear(h, self.classes, jnp.float32, "output")


POOLS: dict[str, Any] = {
    "attention": NoisyClassifier.attended,
    "adaptive": NoisyClassifier.averaged,
    "spatial": NoisyClassifier.spatial,
    "spatial_v2": NoisyClassifier.spatial_v2,
}


def build(config: ConfigDict) -> NoisyClassifier:
    """The classifier that `config.model` and `config.data` describe.

    Raises:
      ValueError: a key is missing or does not fit the others.
    """
    model, common = config.model, settings.read(config)
    choice(model, "model.pool", POOLS)
    pool = model.pool.lower()
    if inputs.read(config).kinds.names:
        raise ValueError("model.condition must be none with model.name='noisy_classifier'")
    halvings = len(common.widths) - 1
    picture(config, halvings, f"the network halves images {halvings} times", padded=False)
    if pool == "attention" and not integer(model, "model.attention_head_dim", least=0):
        raise ValueError(
            "model.attention_head_dim must be set with model.pool='attention', whose heads have "
            "that many channels"
        )
    return NoisyClassifier(
        tower=tower(config, common, ways_up=False),
        classes=integer(model, "model.num_classes", least=2),
        pool=pool,
        centered=common.centered,
        conditioning=mapping(replace(common, classes=0), EMBEDDING * common.nf),
    )
