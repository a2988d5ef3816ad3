"""The U-Net of Improved DDPM and of guided diffusion (ADM), as their authors wrote it.

Nichol & Dhariwal, 2021, arXiv:2102.09672; Dhariwal & Nichol, 2021, arXiv:2105.05233. Beside
`models.adm`, which is EDM's form of it, all normalizations have 32 groups; attention has
model.num_heads heads, or heads of model.attention_head_dim channels, also on fewer than 64
channels; the embedding scales and shifts features or (model.scale_shift=False) is added to them;
images are resized in residual blocks or (model.resblock_updown=False) by a layer of its own.

With model.condition="text" it is GLIDE's (Nichol et al., 2022, arXiv:2112.10741): features of the
text are keys and values beside those of the pixels in all attention, and those of its last place
are added to the embedding.

It needs data.image_size, model.nf, ch_mult, num_res_blocks, attn_resolutions, dropout, num_classes,
label_dropout, num_heads, num_heads_upsample, attention_head_dim, scale_shift, resblock_updown,
resamp_with_conv, learn_variance and attention_order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ml_collections import ConfigDict

from models import settings
from models.adm import ADM, mapping
from models.checks import choice, flag, integer
from models.layers.adaptive import BlockForm
from models.layers.norm import thirty_two_groups
from models.layers.style import Heads, HeadsOf
from models.layers.tower import Tower
from models.settings import Settings

EMBEDDING = 4
"""Length of the embedding, as a multiple of model.nf."""
ATTENTION_ORDERS = {"unsaid": None, "heads_first": None, "parts_first": None}
"""Layouts of imported weights of attention; the network itself has them apart."""


def tower(config: ConfigDict, common: Settings, *, ways_up: bool = True) -> Tower:
    """The blocks that `config.model` describes; `ways_up` if there is a way up, too.

    Raises:
      ValueError: channels that heads or groups cannot split, or no number of heads.
    """
    model = config.model
    choice(model, "model.attention_order", ATTENTION_ORDERS)
    common.check_norms(thirty_two_groups)
    attended = {
        *(w for w, seen in zip(common.widths, common.attention, strict=True) if seen),
        common.widths[-1],
    }
    heads, heads_up = _heads(model, attended, ways_up)
    resize_blocks = flag(model, "model.resblock_updown")
    form = BlockForm(
        common.dropout,
        common.dtype,
        common.attend,
        common.remat,
        common.inputs.periodic,
        groups=thirty_two_groups,
        heads=heads,
        heads_up=heads_up,
        scale_shift=flag(model, "model.scale_shift"),
        resize_blocks=resize_blocks,
        resize_conv=common.resamp_with_conv,
    )
    return Tower(form, common.widths, common.blocks, common.attention)


def _heads(
    model: ConfigDict, widths: Iterable[int], ways_up: bool
) -> tuple[Callable[[int], int], Callable[[int], int]]:
    """Numbers of heads, down and up, of layers of these widths."""
    wide = integer(model, "model.attention_head_dim", least=0)
    if wide:
        _check("attention_head_dim", wide, widths, f"heads of {wide} channels")
        return HeadsOf(wide), HeadsOf(wide)
    count = integer(model, "model.num_heads", least=0)
    if not count:
        raise ValueError(
            f"model.num_heads or model.attention_head_dim must be set with model.name="
            f"{model.name!r}: the number of attention's heads, or the channels of each"
        )
    up = (ways_up and integer(model, "model.num_heads_upsample", least=0)) or count
    _check("num_heads", count, widths, f"{count} heads")
    _check("num_heads_upsample", up, widths, f"{up} heads")
    return Heads(count), Heads(up)


def _check(name: str, divisor: int, widths: Iterable[int], words: str) -> None:
    for width in widths:
        if width % divisor:
            raise ValueError(
                f"model.{name} must divide the channels of every layer with attention, got "
                f"{divisor}: {width} channels do not fall into {words}"
            )


def build(config: ConfigDict) -> ADM:
    """The network that `config.model` and `config.data` describe.

    Raises:
      ValueError: a key is missing or does not fit the others.
    """
    common = settings.read(config)
    return ADM(
        tower=tower(config, common),
        channels=common.channels,
        centered=common.centered,
        conditioning=mapping(common, EMBEDDING * common.nf),
    )
