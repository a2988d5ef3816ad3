"""Stable Diffusion 1, 2 and XL in one file, as their authors' own programs write it.

The file becomes the model that diffusers' directory of it would: its parts are described as that
directory's files describe them, and named as those are. Its autoencoder and readers of texts are
used from where they are, so that the file has to stay.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from flax import linen as nn
from ml_collections import ConfigDict

from configs.kinds import Kinds
from models.pretrained.base import Checkpoint, Overrides
from models.pretrained.diffusers import condition_config, conditional, pipelines
from models.pretrained.diffusers.pipelines import (
    PIPELINES,
    coarse_settings,
    latent_settings,
    of_distilled,
)
from models.pretrained.diffusers.rules import Json
from models.pretrained.files.tensors import Arrays, PretrainedError, Tensor, in_file, shapes
from models.pretrained.latent_diffusion import first_stage, plain_network, releases
from models.pretrained.latent_diffusion.contents import (
    NETWORK,
    LatentParts,
    Tensors,
    arrays,
    has,
    read_parts,
)
from models.pretrained.latent_diffusion.network import PLAIN_CLASS, network_files

FAMILY = "latent-diffusion"
FIRST, XL = "StableDiffusionPipeline", "StableDiffusionXLPipeline"
UPSCALE, DISTILLED = "StableDiffusionUpscalePipeline", "LatentConsistencyModelPipeline"
SIDE = 64
"""Side of the latents in shapes of conditions, until the size of the pictures is known."""
REFINER = "StableDiffusionXLImg2ImgPipeline"
FINER, ALONE = "LDMSuperResolutionPipeline", "LDMPipeline"
SCORED = 5
"""Numbers that the refiner is given: four of sizes, and how good the picture looks."""


class FileNetwork(NamedTuple):
    """A class of networks: settings of its config.json, and a number of tensors that none of these
    settings has fewer of."""

    settings: Callable[[Json], Overrides]
    least: Callable[[Overrides], int]


NETWORKS = {
    condition_config.CLASS: FileNetwork(condition_config.settings, condition_config.least_tensors),
    PLAIN_CLASS: FileNetwork(plain_network.settings, lambda found: 0),
}
"""Networks by diffusers' class; blocks of the second are counted where a config is made of it."""
PARAMS = {"ddpm_ho": plain_network.params}
"""model.name -> how its weights become ours; of others as diffusers' directories' do."""


def recognises(path: Path) -> bool:
    """True for a file with a network of latent diffusion's in it; see `base.Format`."""
    return has(path, NETWORK)


def read(path: Path) -> Checkpoint:
    """The network of a file, and the settings of all its parts; see `base.Format`."""
    path = Path(os.path.expanduser(path))
    parts = read_parts(path)
    with in_file(path):
        files = network_files(shapes(Arrays(parts.network)))
        row = NETWORKS[files.config["_class_name"]]
        network = row.settings({**files.config, "sample_size": SIDE})
        if len(parts.network) < row.least(network):
            raise PretrainedError("its names speak of more tensors than it has: forged")
        unsaid = releases.completed(network, path)
        if side := unsaid.assumed.get("data.image_size"):
            network = row.settings({**files.config, "sample_size": _side(side, parts)})
        raw = arrays(_matrices(parts.network), files.names)
        averages = _matrices(parts.network_average)
        average = arrays(averages, files.names) if averages else None
        assumed, facts = _settings(network, parts, unsaid)
        return Checkpoint(
            FAMILY,
            facts,
            raw if average else None,
            average or raw,
            step=parts.step,
            assumed=assumed,
            note="; ".join(filter(None, (unsaid.note, _lacking(network, parts)))),
            guessed=condition_config.OPEN | pipelines.OF_SIZE,
            unsaid=tuple(group for group in unsaid.groups if not {*group} & {*facts}),
            beside=_beside(path, parts),
        )


def params(weights: Mapping[str, Any], network: nn.Module, config: ConfigDict) -> Any:
    """Our parameters; see `base.Format`."""
    form = PARAMS.get(config.model.name.lower(), conditional.params)
    return form(weights, network, config)


def _matrices(tensors: Tensors) -> Tensors:
    """The tensors, those of convolutions along a line of pixels, of one pixel each, as matrices."""
    return {name: _matrix(tensor) for name, tensor in tensors.items()}


def _matrix(tensor: Tensor) -> Tensor:
    if len(tensor.shape) != 3 or tensor.shape[2] != 1:
        return tensor
    return replace(tensor, shape=tensor.shape[:2], strides=tensor.strides[:2])


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
    network: Overrides, parts: LatentParts, unsaid: releases.Unsaid
) -> tuple[Overrides, Overrides]:
    """(settings to be assumed, settings that the file states)."""
    kind, distilled = _kind(network), network.get("model.guidance_features", 0) > 0
    table = releases.levels(parts.buffers)
    sampled = releases.scheduled(table, kind in (XL, REFINER), "ztsnr" in parts.buffers, distilled)
    of_sde = {k: v for k, v in sampled.items() if k.startswith("sde.")}
    facts = {k: v for k, v in network.items() if k not in releases.HEADS}
    facts |= {"model.prediction": "v"} if "v_pred" in parts.buffers else {}
    facts |= of_sde if table else {}
    facts |= _latents(network, parts)
    if "data.image_size" not in unsaid.assumed:
        facts = {k: v for k, v in facts.items() if k not in ("data.image_size", "data.shape")}
    row = PIPELINES[kind]
    facts |= row.settings({"force_zeros_for_empty_prompt": kind != REFINER}) | _texts(parts)
    if distilled:
        facts |= PIPELINES[DISTILLED].settings({}) | of_distilled(network, {})
    if row.upscales and parts.first_stage:
        facts |= coarse_settings(facts)
    assumed = {k: v for k, v in (sampled | unsaid.assumed).items() if k not in facts}
    return assumed, facts


def _kind(network: Overrides) -> str:
    """The class of the network's pipeline."""
    if network["model.name"] in PARAMS:
        return FINER if network["model.condition"] == "image" else ALONE
    if network["model.vector_embedding"] == "sizes":
        entries = sum(
            Kinds.of(network["model.condition"], network["data.condition"]).shape("vector")
        )
        waves = network["model.vector_features"] - entries  # for each number, less one
        return REFINER if waves == SCORED * (network["model.number_waves"] - 1) else XL
    return UPSCALE if network["model.level_rows"] else FIRST


def _latents(network: Overrides, parts: LatentParts) -> Overrides:
    """Overrides of the latents of the file's autoencoder, their factor if it says one."""
    if not parts.first_stage:
        return {}
    found, _ = first_stage.settings(parts)
    open_ = {"data.latent_scale": None, "data.latent_shift": (0.0,)}
    made = latent_settings(open_ | found, "autoencoder", network)
    return {name: value for name, value in made.items() if value is not None}


def _texts(parts: LatentParts) -> Overrides:
    """The layer of the readers of texts that is taken, and what stands for no text.

    OpenCLIP's is that before the last, which Stable Diffusion 2 normalizes.
    """
    kinds = [kind for kind, _ in parts.texts]
    if "open_clip" not in kinds:
        return {}
    return {"data.text_layer": -2}


def _lacking(network: Overrides, parts: LatentParts) -> str:
    """A line on parts that are in other files."""
    there: Overrides = {"data.autoencoder": parts.first_stage}
    if PIPELINES[_kind(network)].texts:
        there["data.text_encoder"] = parts.texts
    lacking = [name for name, part in there.items() if not part]
    return f"the file has no part for {' and '.join(lacking)}: set to use one" if lacking else ""


def _beside(path: Path, parts: LatentParts) -> Overrides:
    """Overrides of the parts that are used from where they are."""
    place = str(path.resolve())
    return {
        **({"data.autoencoder": place} if parts.first_stage else {}),
        **({"data.text_encoder": place} if parts.texts else {}),
        "data.random_flip": False,
        "sampling.num_samples": 1,
        "sampling.batch_size": 1,
    }
