"""Overrides that no single file says, by the published network whose shapes it has.

No file states the heads of attention, the size of the pictures, and what the network predicts; some
have the table of their noise levels. Fine-tuned models have the shapes of those that they are of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from configs import schema, stable_diffusion
from models.pretrained.base import Overrides
from models.pretrained.diffusers.rules import Json
from models.pretrained.diffusers.scheduler import discrete
from models.pretrained.files.tensors import PretrainedError
from models.pretrained.latent_diffusion import first_stage
from models.pretrained.latent_diffusion.contents import Tensors

PIXELS = {
    "v1": 512, "v1_inpainting": 512, "v2": 768, "v2_base": 512, "v2_inpainting": 512, "xl": 1024,
    "xl_refiner": 1024, "x4": 512,
}  # fmt: skip
"""Published network -> side of the pictures with which it was trained."""
NAMES = {
    "768-v-ema": "v2", "v2-1_768-ema-pruned": "v2", "v2-1_768-nonema-pruned": "v2",
    "512-base-ema": "v2_base", "v2-1_512-ema-pruned": "v2_base",
    "v2-1_512-nonema-pruned": "v2_base",
}  # fmt: skip
"""Published names of files whose shapes two networks have -> the network."""
HEADS = ("model.num_heads", "model.attention_head_dim", "model.level_heads")
ASKED = (
    HEADS,
    ("model.prediction",),
    ("sde.beta_min", "sde.betas"),
    ("sde.beta_max", "sde.betas"),
    ("data.latent_scale",),
    ("data.image_size",),
)
"""Overrides that a file of no published shapes leaves to the user; of each group one."""
OF_SHAPES = ("model.nf", "model.ch_mult", "model.num_res_blocks", "model.level_blocks",
             "model.transformer_depth", "model.transformer_depth_up", "model.middle_depth",
             "model.cross_levels", "model.condition", "model.vector_embedding",
             "model.vector_features", "model.level_rows", "data.num_channels")  # fmt: skip
"""Overrides that shapes determine, and that tell the published networks apart."""
FINER = "bsr_sr, latent diffusion's for finer pictures"
FINER_SHAPES: Overrides = {
    "model.nf": 160, "model.ch_mult": (1, 2, 2, 4), "model.num_res_blocks": 2,
    "model.condition": "image", "data.num_channels": 3,
}  # fmt: skip
FINER_MEANT: Overrides = {
    "model.attention_head_dim": 32, "model.prediction": "noise", "sde.name": "levels",
    "sde.schedule": "scaled_linear", "sde.num_scales": 1000, "sde.beta_min": 1.5,
    "sde.beta_max": 15.5, **first_stage.affine(1.0), "data.image_size": 256,
}  # fmt: skip
"""The published network without a text, and what it means; its kin are for the user to say."""
MOST_LEVELS = 10_000
SCHEDULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "scaled_linear": np.sqrt,
    "linear": np.asarray,
}
"""beta_schedule -> what is linear in it."""


class Unsaid(NamedTuple):
    """Overrides that a file does not state.

    assumed: by the published network. note: their source, for the user. groups: those that nothing
    determines, as in `base.Checkpoint.unsaid`. release: the name of the network, "" for none.
    """

    assumed: Overrides
    note: str
    groups: tuple[tuple[str, ...], ...]
    release: str


def completed(network: Mapping[str, Any], path: Path) -> Unsaid:
    """Overrides that the file at `path` does not state, of a network of these shapes."""
    if network["model.name"] == "ddpm_ho":
        same = all(network.get(key) == value for key, value in FINER_SHAPES.items())
        return _unsaid([FINER] if same else [], [FINER_MEANT] if same else [])
    alike = [name for name in stable_diffusion.RELEASES if _is(network, name)]
    if NAMES.get(path.stem) in alike:
        alike = [NAMES[path.stem]]
    return _unsaid(alike, [_meant(name) for name in alike])


def _unsaid(alike: list[str], found: list[Overrides]) -> Unsaid:
    """Overrides that are the same in all the published networks `alike`, which mean `found`."""
    shared = {k: v for k, v in found[0].items() if all(f[k] == v for f in found)} if found else {}
    open_ = tuple(group for group in ASKED if not {*group} & {*shared})
    said = ", ".join(f"{name}={shared[name]!r}" for group in ASKED for name in group
                     if shared.get(name))  # fmt: skip
    note = (
        f"the file does not state {said}: taken from the published network of these shapes, "
        f"{' or '.join(alike)}"
    )
    return Unsaid(shared, note if shared else "", open_, alike[0] if alike else "")


def _is(network: Mapping[str, Any], name: str) -> bool:
    """True if the published network has these shapes."""
    flat = _flat(name)
    tokens = [settings["data.condition"][1] for settings in (flat, network)]
    images = [_image(settings) for settings in (flat, network)]
    same = all(flat[key] == network.get(key, flat[key]) for key in OF_SHAPES)
    return same and tokens[0] == tokens[1] and images[0] == images[1]


def _image(settings: Mapping[str, Any]) -> int:
    """Channels of the image beside the latents."""
    if "image" not in settings["model.condition"]:
        return 0
    shape = settings["data.condition"]
    return int(shape[4 + ("vector" in settings["model.condition"])])


@cache
def _flat(name: str) -> Mapping[str, Any]:
    return schema.flatten(stable_diffusion.get_config(name))


def _meant(name: str) -> Overrides:
    release, flat = stable_diffusion.RELEASES[name], _flat(name)
    levels = ("sde.name", "sde.schedule", "sde.num_scales", "sde.beta_min", "sde.beta_max")
    return {
        **{key: flat[key] for key in (*HEADS, "model.prediction", *levels)},
        **first_stage.affine(release.scale),
        "data.image_size": PIXELS[name],
    }


def levels(buffers: Tensors) -> Json:
    """Keys of a scheduler_config.json for the table of noise levels of a file; {} without one.

    Raises:
      PretrainedError: it is none.
    """
    if "betas" not in buffers:
        return {}
    betas = np.asarray(buffers["betas"], np.float64)
    n = betas.size
    if betas.ndim != 1 or not 2 <= n <= MOST_LEVELS or not ((betas > 0) & (betas < 1)).all():
        raise PretrainedError("its betas must be a row of numbers between 0 and 1")
    for name, line in SCHEDULES.items():
        ends = [float(f"{beta:.5g}") for beta in betas[[0, -1]]]
        first, last = line(np.asarray(ends))
        made = np.linspace(first, last, n)
        if np.allclose(line(betas), made, rtol=1e-5, atol=0):
            return {"num_train_timesteps": n, "beta_schedule": name, "beta_start": ends[0],
                    "beta_end": ends[1]}  # fmt: skip
    return {"num_train_timesteps": n, "trained_betas": betas.tolist()}


def scheduled(table: Json, xl: bool, zero: bool, distilled: bool = False) -> Overrides:
    """The noise levels, and the sampling of diffusers' pipeline of the same network.

    table: what `levels` gives; without one, the kind of levels that all published networks have,
    and not their ends. xl: whether the network is of Stable Diffusion XL's kind. zero: whether the
    last level has no signal. distilled: whether it is told the weight of guidance, as LCM is.
    """
    own: Overrides = {
        "_class_name": "DDIMScheduler",
        "clip_sample": False,
        "set_alpha_to_one": False,
    }
    if distilled:
        own = {"_class_name": "LCMScheduler", "clip_sample": False}
    if zero:
        own = {**own, "timestep_spacing": "trailing", "rescale_betas_zero_snr": True}
    elif xl and not distilled:
        own = {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading"}
    known: Json = dict(table) or {"beta_schedule": "scaled_linear"}
    found = discrete({**own, "steps_offset": 1, **known}).settings
    left = {"model.prediction"} | (set() if table else {"sde.beta_min", "sde.beta_max"})
    return {name: value for name, value in found.items() if name not in left}
