"""Stable Diffusion 1, 2 and XL in one file, as their authors' own programs write it.

The file becomes the model that diffusers' directory of it would: its parts are described as that
directory's files describe them, and named as those are. Its autoencoder and readers of texts are
used from where they are, so that the file has to stay.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flax import linen as nn
from ml_collections import ConfigDict

from models.pretrained.base import Checkpoint
from models.pretrained.diffusers import condition_config, conditional
from models.pretrained.diffusers.condition_config import least_tensors
from models.pretrained.diffusers.pipelines import PIPELINES, coarse_settings, latent_settings
from models.pretrained.files.tensors import Arrays, PretrainedError, in_file, shapes
from models.pretrained.latent_diffusion import first_stage, releases
from models.pretrained.latent_diffusion.contents import (
    NETWORK,
    LatentParts,
    arrays,
    has,
    read_parts,
)
from models.pretrained.latent_diffusion.network import network_files

FAMILY = "latent-diffusion"
Settings = dict[str, Any]
FIRST, XL, UPSCALE = "Pipeline", "XLPipeline", "UpscalePipeline"
SIDE = 64
"""Side of the latents in shapes of conditions, until the size of the pictures is known."""
OF_SIZE = ("data.image_size", "data.shape")


def recognises(path: Path) -> bool:
    """True for a file with a network of latent diffusion's in it; see `base.Format`."""
    return has(path, NETWORK)


def read(path: Path) -> Checkpoint:
    """The network of a file, and the settings of all its parts; see `base.Format`."""
    path = Path(os.path.expanduser(path))
    parts = read_parts(path)
    with in_file(path):
        files = network_files(shapes(Arrays(parts.network)))
        network = condition_config.settings({**files.config, "sample_size": SIDE})
        if len(parts.network) < least_tensors(network):
            raise PretrainedError("its names speak of more tensors than it has: forged")
        unsaid = releases.completed(network, path)
        if side := unsaid.assumed.get("data.image_size"):
            network = condition_config.settings({**files.config, "sample_size": _side(side, parts)})
        raw = arrays(parts.network, files.names)
        average = arrays(parts.network_average, files.names) if parts.network_average else None
        assumed, facts = _settings(network, parts, unsaid)
        return Checkpoint(
            FAMILY,
            facts,
            raw if average else None,
            average or raw,
            step=parts.step,
            assumed=assumed,
            note="; ".join(filter(None, (unsaid.note, _lacking(parts)))),
            guessed=condition_config.OPEN,
            unsaid=tuple(group for group in unsaid.groups if not {*group} & {*facts}),
            beside=_beside(path, parts),
        )


def params(weights: Mapping[str, Any], network: nn.Module, config: ConfigDict) -> Any:
    """Our parameters; see `base.Format`."""
    return conditional.params(weights, network, config)


def _side(pixels: int, parts: LatentParts) -> int:
    """The side of the latents of pictures."""
    return pixels // _factor(parts)


def _factor(parts: LatentParts) -> int:
    """Pixels of a latent's side; that of Stable Diffusion for a file without an autoencoder."""
    if not parts.first_stage:
        return 8
    found, _ = first_stage.settings(parts)
    return int(2 ** (len(found["model.ch_mult"]) - 1))


def _settings(
    network: Settings, parts: LatentParts, unsaid: releases.Unsaid
) -> tuple[Settings, Settings]:
    """(settings to be assumed, settings that the file states)."""
    xl = network["model.vector_embedding"] == "sizes"
    kind = XL if xl else UPSCALE if network["model.level_rows"] else FIRST
    table = releases.levels(parts.buffers)
    sampled = releases.scheduled(table, xl, "ztsnr" in parts.buffers)
    of_sde = {k: v for k, v in sampled.items() if k.startswith("sde.")}
    facts = {k: v for k, v in network.items() if k not in releases.HEADS}
    facts |= {"model.prediction": "v"} if "v_pred" in parts.buffers else {}
    facts |= of_sde if table else {}
    facts |= _latents(network, parts)
    if "data.image_size" not in unsaid.assumed:
        facts = {k: v for k, v in facts.items() if k not in OF_SIZE}
    row = PIPELINES[f"StableDiffusion{kind}"]
    facts |= row.settings({}) | _texts(parts)
    if row.upscales and parts.first_stage:
        facts |= coarse_settings(facts)
    assumed = {k: v for k, v in (sampled | unsaid.assumed).items() if k not in facts}
    return assumed, facts


def _latents(network: Settings, parts: LatentParts) -> Settings:
    """Settings of the latents of the file's autoencoder, their factor if it says one."""
    if not parts.first_stage:
        return {}
    found, _ = first_stage.settings(parts)
    open_ = {"data.latent_scale": None, "data.latent_shift": (0.0,)}
    made = latent_settings(open_ | found, "autoencoder", network)
    return {name: value for name, value in made.items() if value is not None}


def _texts(parts: LatentParts) -> Settings:
    """The layer of the readers of texts that is taken, and what stands for no text.

    OpenCLIP's is that before the last, which Stable Diffusion 2 normalizes.
    """
    kinds = [kind for kind, _ in parts.texts]
    if "open_clip" not in kinds:
        return {}
    return {"data.text_layer": -2}


def _lacking(parts: LatentParts) -> str:
    """A line on parts that are in other files."""
    there = {"data.autoencoder": parts.first_stage, "data.text_encoder": parts.texts}
    lacking = [name for name, part in there.items() if not part]
    return f"the file has no part for {' and '.join(lacking)}: set to use one" if lacking else ""


def _beside(path: Path, parts: LatentParts) -> Settings:
    """Settings of the parts that are used from where they are."""
    place = str(path.resolve())
    return {
        **({"data.autoencoder": place} if parts.first_stage else {}),
        **({"data.text_encoder": place} if parts.texts else {}),
        "data.random_flip": False,
        "sampling.num_samples": 1,
        "sampling.batch_size": 1,
    }
