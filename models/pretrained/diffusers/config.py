"""diffusers' config.json and scheduler_config.json, and the settings that correspond to them.

Two of its networks are ours: NCSN++ with image pyramids (blocks named Skip...) and the U-Net of
Ho et al. with its options. `FIXED` lists the settings of ours that are built into diffusers; the
others are read from the file, or written to it.

A network of Ho et al. that takes more channels than it gives is given an image beside the example,
of its resolution; one that gives twice as many as it takes says a variance, too.
"""

from __future__ import annotations

from models.pretrained.base import Overrides
from models.pretrained.diffusers.rules import FAMILY_RULES, ROOT_TWO, RULES, Json, check, close
from models.pretrained.diffusers.scheduler import Scheduled, sde_settings
from models.pretrained.files.tensors import PretrainedError
from untrusted import shown

FIXED: dict[str, Overrides] = {
    "ncsnpp": {
        "model.resblock_type": "biggan", "model.fir": True, "model.fir_kernel": (1, 3, 3, 1),
        "model.skip_rescale": True, "model.progressive": "output_skip",
        "model.progressive_input": "input_skip", "model.progressive_combine": "sum",
        "model.nonlinearity": "swish", "model.conditional": True, "data.num_channels": 3,
    },
    "ddpm_ho": {
        "model.resamp_with_conv": True, "model.nonlinearity": "swish", "model.conditional": True,
    },
}  # fmt: skip
BLOCKS: dict[str, tuple[str, str]] = {
    "ncsnpp": ("SkipDownBlock2D", "SkipUpBlock2D"),
    "ddpm_ho": ("DownBlock2D", "UpBlock2D"),
}
"""Blocks without attention on the way down and up; names with attention begin with Attn."""
DEFAULTS: Overrides = {
    "sample_size": None, "in_channels": 3, "out_channels": 3, "center_input_sample": False,
    "time_embedding_type": "positional", "time_embedding_dim": None, "freq_shift": 0,
    "flip_sin_to_cos": True, "mid_block_type": "UNetMidBlock2D", "layers_per_block": 2,
    "down_block_types": ("DownBlock2D", *3 * ("AttnDownBlock2D",)),
    "up_block_types": (*3 * ("AttnUpBlock2D",), "UpBlock2D"),
    "block_out_channels": (224, 448, 672, 896), "mid_block_scale_factor": 1,
    "downsample_padding": 1, "downsample_type": "conv", "upsample_type": "conv", "dropout": 0.0,
    "act_fn": "silu", "attention_head_dim": 8, "norm_num_groups": 32,
    "attn_norm_num_groups": None, "norm_eps": 1e-5, "resnet_time_scale_shift": "default",
    "add_attention": True, "class_embed_type": None, "num_class_embeds": None,
}  # fmt: skip
"""Defaults of diffusers for keys that its config.json leaves out."""


def _family(c: Json) -> tuple[str, tuple[bool, ...]]:
    """(model.name, whether there is attention at each resolution, finest first)."""
    below, above = c["down_block_types"], c["up_block_types"]
    for family, (down, up) in BLOCKS.items():
        attention = tuple(kind == f"Attn{down}" for kind in below)
        mirrored = [f"Attn{up}" if there else up for there in reversed(attention)]
        if set(below) <= {down, f"Attn{down}"} and list(above) == mirrored:
            return family, attention
    raise PretrainedError(
        f"its config.json has blocks {shown(below, 120)} down and {shown(above, 120)} up, must be "
        "all DownBlock2D and AttnDownBlock2D or all SkipDownBlock2D and AttnSkipDownBlock2D, and "
        "on the way up the mirror image"
    )


def settings(unet: Json, scheduler: Json | None) -> Overrides:
    """The settings of `described`."""
    return described(unet, scheduler).settings


def described(unet: Json, scheduler: Json | None) -> Scheduled:
    """Overrides given by a UNet2DModel's config.json and its scheduler's, if there is one.

    Raises:
      PretrainedError: an option has no counterpart among our networks; it names the option.
    """
    c = {key: unet.get(key, default) for key, default in DEFAULTS.items()}
    size = c["sample_size"]
    if isinstance(size, list) and len(size) == 2 and size[0] == size[1]:
        c["sample_size"] = size[0]
    check("config.json", c, RULES)
    name, attention = _family(c)
    check("config.json", c, FAMILY_RULES[name])
    widths, size = tuple(c["block_out_channels"]), c["sample_size"]
    found = {
        **FIXED[name],
        "model.name": name,
        "model.nf": widths[0],
        "model.ch_mult": multiples(widths),
        "model.num_res_blocks": c["layers_per_block"],
        "model.attn_resolutions": tuple(
            size // 2**level for level, there in enumerate(attention) if there
        ),
        "model.num_classes": c["num_class_embeds"] or 0,
        "data.image_size": size,
        "data.centered": not c["center_input_sample"],
        **_channels(c["in_channels"], c["out_channels"], size),
    }
    if c["dropout"]:  # 0 is written by every model that is not being trained
        found["model.dropout"] = float(c["dropout"])
    own = {"ncsnpp": _ncsnpp, "ddpm_ho": _ddpm_ho}[name](c)
    process = sde_settings(scheduler, c["time_embedding_type"] == "fourier")
    return Scheduled(found | own | process.settings, process.remark)


def multiples(widths: tuple[int, ...]) -> tuple[int | float, ...]:
    """Channels as multiples of the first, whole ones as integers."""
    found = (width / widths[0] for width in widths)
    return tuple(int(n) if n.is_integer() else n for n in found)


def _channels(taken: int, given: int, size: int) -> Overrides:
    """Overrides of the channels: of the example, of the image beside it, and of the output."""
    own, variance = (taken, True) if given == 2 * taken else (given, False)
    found: Overrides = {
        "data.num_channels": own, "model.learn_variance": variance, "model.condition": "none",
    }  # fmt: skip
    if taken == own:
        return found
    return found | {
        "model.condition": "image",
        "model.condition_known": False,
        "data.condition": (size, size, taken - own),
        "data.condition_codec": "identity",
    }


def _ncsnpp(c: Json) -> Overrides:
    return {"model.embedding_type": c["time_embedding_type"]}


def _ddpm_ho(c: Json) -> Overrides:
    return {
        "model.norm_num_groups": c["norm_num_groups"],
        "model.norm_eps": float(c["norm_eps"]),
        "model.attention_head_dim": c["attention_head_dim"] or 0,
        "model.add_attention": c["add_attention"],
        "model.mid_block_rescale": close(c["mid_block_scale_factor"], ROOT_TWO),
        "model.downsample_padding": c["downsample_padding"],
        "model.flip_sin_to_cos": c["flip_sin_to_cos"],
        "model.freq_shift": int(c["freq_shift"]),
    }
