"""Autoencoders of latent diffusion's authors, alone in a file or beside a network in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from models.pretrained.base import Checkpoint
from models.pretrained.diffusers import autoencoders
from models.pretrained.files.tensors import Arrays, PretrainedError, in_file, shapes
from models.pretrained.latent_diffusion.contents import (
    FIRST_STAGE,
    LatentParts,
    Tensors,
    arrays,
    has,
    read_parts,
)
from models.pretrained.latent_diffusion.first_stage_names import (
    first_stage_config,
    first_stage_names,
)

FAMILY = "latent-diffusion-autoencoder"
OPEN = ("data.image_size", "data.latent_scale", "data.latent_shift")
"""Settings that a file leaves open."""


def recognises(path: Path) -> bool:
    """True for a file with an autoencoder of latent diffusion's in it; see `base.Format`."""
    return has(path, FIRST_STAGE)


def read(path: Path) -> Checkpoint:
    """The autoencoder of a file; see `base.Format`."""
    path = Path(os.path.expanduser(path))
    parts = read_parts(path)
    with in_file(path):
        found, attention = settings(parts)
        raw, average = _weights(parts.first_stage), _weights(parts.first_stage_average)
        facts = {name: value for name, value in found.items() if name not in OPEN}
        open_ = {name: value for name, value in found.items() if name in OPEN}
        return Checkpoint(
            FAMILY,
            facts,
            raw if parts.first_stage_average else None,
            average if parts.first_stage_average else raw,
            step=parts.step,
            attention=attention,
            assumed=open_,
        )


def settings(parts: LatentParts) -> tuple[dict[str, Any], tuple[int, ...]]:
    """(settings of the autoencoder in a file, the resolutions with attention, 0 for the finest).

    The factor of the latents is that of the file, if it has one, and is left out otherwise.

    Raises:
      PretrainedError: there is none, or it is none of latent diffusion's kind.
    """
    if not parts.first_stage:
        raise PretrainedError("it has no autoencoder, whose names begin with first_stage_model")
    known = shapes(Arrays(parts.first_stage))
    if "quantize.embedding.weight" not in known and "quantize.embed.weight" in known:
        raise PretrainedError("its autoencoder has codes of another kind (Gumbel)")
    found, attention = autoencoders.settings(first_stage_config(known))
    found = {name: value for name, value in found.items() if not name.startswith("data.latent_")}
    if "scale_factor" in parts.buffers:
        found |= affine(_number(parts.buffers["scale_factor"]))
    return found, attention


def affine(scale: float) -> dict[str, Any]:
    """Settings of latents that are diffused as scale z."""
    return {"data.latent_scale": (scale,), "data.latent_shift": (0.0,)}


def _number(tensor: Any) -> float:
    """A number of a file, to the digits that float32 has; PretrainedError for none above 0."""
    array = np.asarray(tensor, np.float64)
    if array.size != 1 or not 0 < (value := float(array.reshape(()))) < np.inf:
        raise PretrainedError("its scale_factor must be one number above 0")
    return float(f"{value:.7g}")


def params(weights: Mapping[str, Any], network: nn.Module, config: ConfigDict) -> Any:
    """Our parameters; see `base.Format`."""
    return autoencoders.params(weights, network, config)


def _weights(tensors: Tensors) -> Arrays:
    """Tensors by diffusers' names."""
    return arrays(tensors, first_stage_names(shapes(Arrays(tensors)))) if tensors else Arrays({})
