"""ADM: the U-Net of Dhariwal & Nichol, 2021, arXiv:2105.05233, in the form that EDM trains.

(Karras et al., 2022, arXiv:2206.00364, appendix F.2.) Unlike NCSN++ it scales and shifts
normalized features by the embedding, adds residuals without rescaling, and has attention of
several heads after every block at a resolution that has it, down and up. It needs
data.image_size, model.nf, ch_mult, ch_mult_emb, num_res_blocks, attn_resolutions, dropout,
num_classes, label_dropout and augment_dim.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from models import settings
from models.checks import integer
from models.layers.adaptive import CHANNELS_PER_HEAD, AdaptiveBlock, conv, norm
from models.layers.attend import Attend, auto
from models.layers.conditions import Condition
from models.layers.embeddings import Positional
from models.layers.mappings import ADMMapping
from models.layers.norm import quarter_groups
from models.layers.remat import Remat, kept
from models.layers.resampling import Plain

Image = Float[Array, "b h w c"]
RESAMPLE = Plain()


class ADM(nn.Module):
    """The network; `widths`, `blocks`, `attention`, `channels`, `centered` as in `models.unet.UNet`.

    Attributes:
      dropout: probability of dropping an activation while training.
      conditioning: makes the embedding that all blocks see.
      dtype: of the computation; parameters, statistics and softmax are float32 in any case.
      attend, remat, periodic: as in `models.layers.style.Style`.
    """  # noqa: E501

    widths: tuple[int, ...]
    blocks: int
    attention: tuple[bool, ...]
    channels: int
    centered: bool
    dropout: float
    conditioning: nn.Module
    dtype: Any = jnp.float32
    attend: Attend = auto
    remat: Remat = kept
    periodic: tuple[int, ...] = ()

    @nn.nowrap
    def multiples(self) -> tuple[int, int]:
        """Height and width must be multiples of these."""
        return (2 ** (len(self.widths) - 1),) * 2

    @nn.compact
    def __call__(
        self,
        x: Image,
        label: Float[Array, "b"],
        condition: Condition = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b h w o"]:
        """Raw output of the network; the arguments are those of `models.unet.UNet`."""
        embedding = self.conditioning(label, condition, train)
        image, block, remat = x if self.centered else 2 * x - 1, self._block, self.remat
        levels = list(zip(self.widths, self.attention, strict=True))

        # In bfloat16 the input would be rounded by more than the least noise in it.
        stem = conv(image, self.widths[0], jnp.float32, "stem", self.periodic)
        skips = [stem.astype(self.dtype)]
        for level, (width, attention) in enumerate(levels):
            if level:
                same = skips[-1].shape[-1]
                halve = block(same, False, resize=RESAMPLE.down, name=f"down_{level}_halve")
                skips.append(remat(halve)(skips[-1], embedding, train=train))
            for i in range(self.blocks):
                down = block(width, attention, name=f"down_{level}_block_{i}")
                skips.append(remat(down)(skips[-1], embedding, train=train))

        h = skips[-1]
        for i, attention in enumerate((True, False)):
            middle = block(h.shape[-1], attention, name=f"middle_block_{i}")
            h = remat(middle)(h, embedding, train=train)

        for level, (width, attention) in reversed(list(enumerate(levels))):
            for i in range(self.blocks + 1):
                joined = jnp.concatenate([h, skips.pop()], axis=-1)
                up = block(width, attention, name=f"up_{level}_block_{i}")
                h = remat(up)(joined, embedding, train=train)
            if level:
                double = block(width, False, resize=RESAMPLE.up, name=f"up_{level}_double")
                h = remat(double)(h, embedding, train=train)
        h = jax.nn.silu(norm(h, self.dtype, "output_norm"))
        h = conv(h, self.channels, jnp.float32, "output_conv", self.periodic, silent=True)
        return h.astype(x.dtype)

    def _block(self, features: int, attention: bool, **settings: Any) -> AdaptiveBlock:
        shared: dict[str, Any] = {"attend": self.attend, "periodic": self.periodic}
        return AdaptiveBlock(features, attention, self.dropout, self.dtype, **shared, **settings)


def build(config: ConfigDict) -> ADM:
    """The network that `config.model` and `config.data` describe.

    Raises:
      ValueError: a key is missing or does not fit the others.
    """
    model, common = config.model, settings.read(config)
    common.check_norms(quarter_groups)
    middle = (*common.attention[:-1], True)
    for width, attention in zip(common.widths, middle, strict=True):
        if attention and width > CHANNELS_PER_HEAD and width % (width // CHANNELS_PER_HEAD):
            raise ValueError(
                f"model.nf x model.ch_mult must let attention split its channels into heads of "
                f"{CHANNELS_PER_HEAD} or a little more, got {width} channels"
            )
    return ADM(
        widths=common.widths,
        blocks=common.blocks,
        attention=common.attention,
        channels=common.channels,
        centered=common.centered,
        dropout=common.dropout,
        conditioning=ADMMapping(
            features=common.nf * integer(model, "model.ch_mult_emb", least=1),
            embedding=Positional(common.waves(), endpoint=False, cosines_first=True),
            classes=common.classes,
            augments=integer(model, "model.augment_dim", least=0),
            label_dropout=common.label_dropout,
            vector=common.inputs.vector,
        ),
        dtype=common.dtype,
        attend=common.attend,
        remat=common.remat,
        periodic=common.inputs.periodic,
    )
