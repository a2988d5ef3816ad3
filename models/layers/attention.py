"""Attention of a feature map's pixels to one another, and to tokens beside it."""

from __future__ import annotations

from flax import linen as nn
from jaxtyping import Array, Bool, Float

from models.layers.attend import Attend, Bias, shown_attention
from models.layers.norm import standardized
from models.layers.style import Style

Pixels = Float[Array, "b n c"]


def attend_with_heads(
    attend: Attend,
    query: Pixels,
    key: Pixels,
    value: Pixels,
    heads: int,
    train: bool,
    bias: Bias = None,
) -> Pixels:
    """`attend` on `heads` runs of c / heads channels (arXiv:1706.03762, section 3.2.2)."""
    split = [x.reshape(*x.shape[:2], heads, -1) for x in (query, key, value)]
    told = {} if bias is None else {"bias": bias}
    return attend(*split, train=train, **told).reshape(query.shape)


class Attention(nn.Module):
    """Residual self-attention (Ho et al., 2020, arXiv:2006.11239, appendix B)."""

    style: Style

    @nn.compact
    def __call__(self, x: Float[Array, "b *s c"], train: bool = False) -> Float[Array, "b *s c"]:
        style, channels = self.style, x.shape[-1]
        pixels = style.norm(channels, "norm")(x).reshape(x.shape[0], -1, channels)
        query, key, value = (
            style.dense(channels, scale=0.1, use_bias=style.attention_bias, name=name)(pixels)
            for name in ("query", "key", "value")
        )
        project = style.dense(channels, scale=style.init_scale, name="project")
        heads = style.heads(channels)
        seen = attend_with_heads(style.attend, query, key, value, heads, train)
        return style.residual(x, project(seen).reshape(x.shape))


class CrossAttention(nn.Module):
    """x + attention of its pixels to standardized tokens; x itself where no token is shown."""

    style: Style

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b *s c"],
        tokens: Float[Array, "b m w"],
        shown: Bool[Array, "b m"],
        train: bool = False,
    ) -> Float[Array, "b *s c"]:
        style, channels = self.style, x.shape[-1]
        pixels = style.norm(channels, "norm")(x).reshape(x.shape[0], -1, channels)
        told = standardized(tokens)
        split = lambda y: y.reshape(*y.shape[:2], style.heads(channels), -1)
        query, key, value = (
            split(style.dense(channels, name=name)(y))
            for name, y in (("query", pixels), ("key", told), ("value", told))
        )
        seen = shown_attention(query, key, value, shown).reshape(pixels.shape)
        project = style.dense(channels, scale=style.init_scale, use_bias=False, name="project")
        return style.residual(x, project(seen).reshape(x.shape))
