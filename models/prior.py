"""A prior over embeddings, as of DALL-E 2 (Ramesh et al., 2022, arXiv:2204.06125, section 2.2).

A transformer in which nothing sees what comes after it reads the tokens of a text, its pooled
features, the class, the noise level, the noisy embedding, and last a query of its own, from whose
place the output is taken. It needs model.nf, num_res_blocks, num_heads, num_classes and
label_dropout; the network is given conditions as published (`models.as_published`), entries of a
vector that are not known being zero.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float
from ml_collections import ConfigDict

from models import inputs, settings
from models.checks import integer
from models.layers.attend import causal, hidden
from models.layers.conditions import Condition, HideRows, as_parts, as_rows
from models.layers.embeddings import Positional
from models.layers.remat import Remat
from models.layers.style import linear
from models.layers.text import Features, LayerNorm, TextBlock
from models.shapes import Shape, check_rank

small = nn.initializers.normal(0.02)


class Prior(nn.Module):
    """The network.

    Attributes:
      features: of every place.
      blocks: number of blocks.
      heads: of attention.
      size: features of the output.
      tokens: number of a condition's tokens, and the length of each; () for none.
      vector: length of a condition's vector; 0 for none.
      classes: number of classes; the table has one row more, that of none.
      label_dropout: fraction of the labels that are hidden while training.
      remat: as in `models.layers.style.Style`.
    """

    features: int
    blocks: int
    heads: int
    size: int
    tokens: Shape
    vector: int
    classes: int
    label_dropout: float
    remat: Remat

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b d"],
        label: Float[Array, "b"],
        condition: Condition = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b o"]:
        """Raw output of the network; the arguments are those of `models.unet.UNet`."""
        parts, batch = as_parts(condition), len(x)
        tokens, shown = self._tokens(parts.pop("tokens", None), parts.pop("mask", None), batch)
        query = self.param("query", small, (self.features,))
        told = [
            *self._told(parts, batch, train),
            self._level(label),
            self._linear(x, "stem"),
            jnp.broadcast_to(query[None], (batch, self.features)),
        ]
        h = jnp.concatenate([tokens, jnp.stack(told, axis=1)], axis=1)
        h = h + self.param("places", small, h.shape[1:])[None]
        beside = jnp.ones((batch, len(told)), bool)
        bias = causal(h.shape[1]) + hidden(jnp.concatenate([shown, beside], axis=1))
        for i in range(self.blocks):
            h = self.remat(TextBlock(self.heads, name=f"block_{i}"))(h, bias)
        return linear(LayerNorm(name="norm")(h)[:, -1], self.size, jnp.float32, "output")

    def _linear(self, x: Float[Array, "*b i"], name: str) -> Float[Array, "*b d"]:
        return linear(x.astype(jnp.float32), self.features, jnp.float32, name)

    def _tokens(
        self, tokens: Float[Array, "b n w"] | None, shown: Bool[Array, "b n"] | None, batch: int
    ) -> tuple[Features, Bool[Array, "b n"]]:
        """(the features of all tokens, which are there); no token of an unknown text is."""
        if not self.tokens:
            return jnp.zeros((batch, 0, self.features)), jnp.zeros((batch, 0), bool)
        given = jnp.zeros((batch, *self.tokens)) if tokens is None else tokens
        if shown is None:
            shown = jnp.full(given.shape[:2], tokens is not None)
        return self._linear(given, "tokens"), shown.astype(bool)

    def _told(self, parts: dict[str, Array], batch: int, train: bool) -> list[Float[Array, "b d"]]:
        """The vector and the class, as far as the network is given them."""
        found = []
        if self.vector:
            vector = parts.pop("vector", None)
            given = jnp.zeros((batch, self.vector)) if vector is None else vector
            found.append(self._linear(jnp.nan_to_num(given), "vector"))
        rows, _ = as_rows(parts or None, batch, self.classes, 0)
        if self.classes:
            rows = HideRows(self.label_dropout)(rows, train)
            table = self.param("classes", small, (self.classes + 1, self.features))
            whole = jnp.concatenate([rows, 1 - rows.sum(-1, keepdims=True)], -1)
            found.append(jnp.matmul(whole, table, precision=jax.lax.Precision.HIGHEST))
        return found

    def _level(self, label: Float[Array, "b"]) -> Float[Array, "b d"]:
        waves = Positional(self.features, endpoint=False, cosines_first=True)
        hidden = self._linear(waves(label.astype(jnp.float32)), "time_0")
        return self._linear(jax.nn.silu(hidden), "time_1")


def build(config: ConfigDict) -> Prior:
    """The network that `config.model` and `config.data` describe.

    Raises:
      ValueError: a key is missing or does not fit the others.
    """
    model, given = config.model, inputs.read(config)
    check_rank(config, (1,))
    features, heads = settings.split_features(model, 2)
    shapes = dict(zip(given.kinds.names, given.kinds.shapes, strict=True))
    return Prior(
        features=features,
        blocks=integer(model, "model.num_res_blocks", least=1),
        heads=heads,
        size=given.channels,
        tokens=shapes.get("tokens", ()),
        vector=shapes.get("vector", (0,))[0],
        classes=integer(model, "model.num_classes", least=0),
        label_dropout=settings.rate(model, "model.label_dropout"),
        remat=settings.remat(model),
    )
