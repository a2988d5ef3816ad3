"""Self-attention over the pixels of a feature map."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from models.layers.style import Style


def attend(
    query: Float[Array, "b n c"], key: Float[Array, "b m c"], value: Float[Array, "b m c"]
) -> Float[Array, "b n c"]:
    """softmax(Q K^T / sqrt(c)) V with one head; logits and softmax in float32.

    Vaswani et al., 2017, "Attention Is All You Need", arXiv:1706.03762, equation 1.
    """
    logits = jnp.einsum("bnc,bmc->bnm", query, key, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(logits * query.shape[-1] ** -0.5, axis=-1)
    return jnp.einsum("bnm,bmc->bnc", weights.astype(value.dtype), value)


def attend_with_heads(
    query: Float[Array, "b n c"],
    key: Float[Array, "b m c"],
    value: Float[Array, "b m c"],
    heads: int,
) -> Float[Array, "b n c"]:
    """`attend` on each of `heads` runs of c / heads channels (the paper's section 3.2.2)."""
    split = [x.reshape(*x.shape[:2], heads, -1) for x in (query, key, value)]
    return jax.vmap(attend, in_axes=2, out_axes=2)(*split).reshape(query.shape)


class Attention(nn.Module):
    """Residual self-attention (Ho et al., 2020, arXiv:2006.11239, appendix B)."""

    style: Style

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        batch, height, width, channels = x.shape
        pixels = self.style.norm(channels, "norm")(x).reshape(batch, height * width, channels)
        query, key, value = (
            self.style.dense(channels, scale=0.1, name=name)(pixels)
            for name in ("query", "key", "value")
        )
        project = self.style.dense(channels, scale=self.style.init_scale, name="project")
        seen = attend_with_heads(query, key, value, self.style.heads(channels))
        return self.style.residual(x, project(seen).reshape(x.shape))
