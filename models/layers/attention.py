"""Self-attention over the pixels of a feature map."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from models.layers.style import Style


def attend(
    query: Float[Array, "*b n c"], key: Float[Array, "*b m c"], value: Float[Array, "*b m c"]
) -> Float[Array, "*b n c"]:
    """softmax(Q K^T / sqrt(c)) V with one head; logits and softmax in float32.

    Vaswani et al., 2017, "Attention Is All You Need", arXiv:1706.03762, equation 1.
    """
    logits = jnp.einsum("...nc,...mc->...nm", query, key, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(logits * query.shape[-1] ** -0.5, axis=-1)
    return jnp.einsum("...nm,...mc->...nc", weights.astype(value.dtype), value)


def split_heads(x: Float[Array, "b n c"], heads: int) -> Float[Array, "b h n d"]:
    """Adjacent channels become a head of their own."""
    batch, pixels, channels = x.shape
    return x.reshape(batch, pixels, heads, channels // heads).swapaxes(1, 2)


class Attention(nn.Module):
    """Residual self-attention (Ho et al., 2020, arXiv:2006.11239, appendix B)."""

    style: Style

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        batch, height, width, channels = x.shape
        heads = self.style.heads(channels)
        pixels = self.style.norm(channels, "norm")(x).reshape(batch, height * width, channels)
        query, key, value = (
            split_heads(self.style.dense(channels, scale=0.1, name=name)(pixels), heads)
            for name in ("query", "key", "value")
        )
        project = self.style.dense(channels, scale=self.style.init_scale, name="project")
        seen = attend(query, key, value).swapaxes(1, 2).reshape(pixels.shape)
        return self.style.residual(x, project(seen).reshape(x.shape))
