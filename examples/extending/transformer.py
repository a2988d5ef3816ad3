"""A small transformer on patches of 2x2 pixels (Peebles & Xie 2023, arXiv:2212.09748)."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from models.layers.conditions import Condition, as_rows

PATCH = 2


def to_tokens(x: Float[Array, "b h w c"]) -> Float[Array, "b n d"]:
    """Patches as vectors."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // PATCH, PATCH, w // PATCH, PATCH, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, -1, PATCH * PATCH * c)


def to_image(tokens: Float[Array, "b n d"], shape: tuple[int, ...]) -> Float[Array, "b h w c"]:
    """The inverse of `to_tokens`."""
    b, h, w, c = shape
    x = tokens.reshape(b, h // PATCH, w // PATCH, PATCH, PATCH, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(shape)


class Block(nn.Module):
    """Attention and a perceptron, shifted, scaled and gated by an embedding of time and class."""

    heads: int

    @nn.compact
    def __call__(
        self, h: Float[Array, "b n d"], known: Float[Array, "b d"]
    ) -> Float[Array, "b n d"]:
        d = h.shape[-1]
        told = nn.Dense(6 * d, kernel_init=nn.initializers.zeros)(nn.silu(known))[:, None]
        shift, scale, gate, shift_2, scale_2, gate_2 = jnp.split(told, 6, axis=-1)
        norm = lambda h: nn.LayerNorm(use_bias=False, use_scale=False)(h)
        attended = nn.MultiHeadDotProductAttention(self.heads)(norm(h) * (1 + scale) + shift)
        h = h + gate * attended
        wide = nn.gelu(nn.Dense(4 * d)(norm(h) * (1 + scale_2) + shift_2))
        return h + gate_2 * nn.Dense(d)(wide)


class Transformer(nn.Module):
    """`blocks` blocks of width `features`; `classes` may be 0."""

    features: int
    blocks: int
    classes: int
    label_dropout: float

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        label: Float[Array, " b"],
        condition: Condition = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b h w c"]:
        waves = label[:, None] * 2.0 ** jnp.arange(6.0)[None]
        known = nn.Dense(self.features)(jnp.concatenate([jnp.sin(waves), jnp.cos(waves)], 1))
        rows, _ = as_rows(condition, len(x), self.classes, 0)
        if self.classes:
            rows = nn.Dropout(self.label_dropout, (1,), deterministic=not train)(rows)
            known = known + nn.Dense(self.features, use_bias=False)(rows)
        h = nn.Dense(self.features)(to_tokens(x))
        places = nn.initializers.normal(0.02)
        h = h + self.param("places", places, (1, *h.shape[1:]))
        for _ in range(self.blocks):
            h = Block(heads=2)(h, known)
        out = nn.Dense(PATCH * PATCH * x.shape[-1], kernel_init=nn.initializers.zeros)
        return to_image(out(nn.LayerNorm()(h)), x.shape)


def build(config: ConfigDict) -> Transformer:
    """The network that `config.model` describes."""
    model, size = config.model, config.data.image_size
    if size % PATCH:
        raise ValueError(f"data.image_size must be a multiple of {PATCH}, got {size}")
    return Transformer(model.nf, model.num_res_blocks, model.num_classes, model.label_dropout)
