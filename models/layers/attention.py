"""Self-attention over the pixels of a feature map."""

from __future__ import annotations

from flax import linen as nn
from jaxtyping import Array, Float

from models.layers.attend import Attend
from models.layers.style import Style

Pixels = Float[Array, "b n c"]


def attend_with_heads(
    attend: Attend, query: Pixels, key: Pixels, value: Pixels, heads: int, train: bool
) -> Pixels:
    """`attend` on `heads` runs of c / heads channels (arXiv:1706.03762, section 3.2.2)."""
    split = [x.reshape(*x.shape[:2], heads, -1) for x in (query, key, value)]
    return attend(*split, train=train).reshape(query.shape)


class Attention(nn.Module):
    """Residual self-attention (Ho et al., 2020, arXiv:2006.11239, appendix B)."""

    style: Style

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b h w c"]:
        style = self.style
        batch, height, width, channels = x.shape
        pixels = style.norm(channels, "norm")(x).reshape(batch, height * width, channels)
        query, key, value = (
            style.dense(channels, scale=0.1, name=name)(pixels)
            for name in ("query", "key", "value")
        )
        project = style.dense(channels, scale=style.init_scale, name="project")
        heads = style.heads(channels)
        seen = attend_with_heads(style.attend, query, key, value, heads, train)
        return style.residual(x, project(seen).reshape(x.shape))
