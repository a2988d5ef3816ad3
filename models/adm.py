"""ADM: the U-Net of Dhariwal & Nichol, 2021, arXiv:2105.05233, in the form that EDM trains.

(Karras et al., 2022, arXiv:2206.00364, appendix F.2.) Unlike NCSN++ it scales and shifts
normalized features by the embedding, adds residuals without rescaling, and has attention of
several heads after every block at a resolution that has it, down and up. It needs
data.image_size, model.nf, ch_mult, ch_mult_emb, num_res_blocks, attn_resolutions, dropout,
num_classes, label_dropout and augment_dim. `models.guided_unet` has the authors' own form.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from models import settings
from models.checks import integer
from models.layers.adaptive import CHANNELS_PER_HEAD, BlockForm, conv
from models.layers.conditions import Condition, as_parts
from models.layers.embeddings import Positional
from models.layers.mappings import ADMMapping
from models.layers.norm import quarter_groups
from models.layers.tower import Tower
from models.settings import Settings

Image = Float[Array, "b h w c"]


class ADM(nn.Module):
    """The network.

    Attributes:
      tower: its blocks.
      channels: of the output.
      centered: as in `models.unet.UNet`.
      conditioning: makes the embedding that all blocks see.
    """

    tower: Tower
    channels: int
    centered: bool
    conditioning: nn.Module

    @nn.nowrap
    def multiples(self) -> tuple[int, int]:
        """Height and width must be multiples of these."""
        return self.tower.multiples()

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
        embedding, form = self.conditioning(label, condition, train), self.tower.form
        tokens = as_parts(condition).get("tokens")
        image = x if self.centered else 2 * x - 1
        skips = self.tower.down(image, embedding, train, tokens)
        h = self.tower.across(skips[-1], embedding, train, tokens)
        h = self.tower.up(h, skips, embedding, train, tokens)
        h = jax.nn.silu(form.norm(h, form.dtype, "output_norm"))
        h = conv(h, self.channels, jnp.float32, "output_conv", form.periodic, silent=True)
        return h.astype(x.dtype)


def mapping(common: Settings, features: int, augments: int = 0) -> ADMMapping:
    """The embedding of noise level, class and vector that ADM's networks share."""
    return ADMMapping(
        features=features,
        embedding=Positional(common.waves(), endpoint=False, cosines_first=True),
        classes=common.classes,
        augments=augments,
        label_dropout=common.label_dropout,
        beside=common.inputs.beside,
        tokens=common.inputs.tokens,
    )


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
    form = BlockForm(
        common.dropout, common.dtype, common.attend, common.remat, common.inputs.periodic
    )
    features = common.nf * integer(model, "model.ch_mult_emb", least=1)
    augments = integer(model, "model.augment_dim", least=0)
    return ADM(
        tower=Tower(form, common.widths, common.blocks, common.attention),
        channels=common.channels,
        centered=common.centered,
        conditioning=mapping(common, features, augments),
    )
