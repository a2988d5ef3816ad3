"""A config of ours as the JSON files of a diffusers pipeline."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ml_collections import ConfigDict

import sde_lib
from models.pretrained.diffusers.config import BLOCKS, settings
from models.pretrained.diffusers.rules import ROOT_TWO
from models.pretrained.files.tensors import PretrainedError

VERSION = "0.42.1"
"""Version of diffusers with which the export was tested."""
Json = dict[str, Any]
PREDICTIONS = {sde_lib.Noise: "epsilon", sde_lib.Data: "sample", sde_lib.V: "v_prediction"}
MEANING = ("model.prediction", "model.conditioning", "model.scale_by_sigma")
"""Settings with several equivalent values, compared by the parametrization they build."""


class PipelineFiles(NamedTuple):
    """The files of a pipeline, and remarks for its users."""

    unet: Json
    scheduler: Json
    pipeline: Json
    notes: list[str]


def layout(config: ConfigDict) -> PipelineFiles:
    """The files that describe the model of `config` to diffusers.

    Raises:
      PretrainedError: diffusers has no such network or no such SDE; it names the setting.
    """
    if sde_lib.build(config).learned:
        raise PretrainedError(
            f"diffusers has no learned noise schedule, which sde.name={config.sde.name!r} has: "
            "export as safetensors instead"
        )
    if config.model.name.lower() not in BLOCKS:
        raise PretrainedError(
            f"only networks of model.name {' and '.join(BLOCKS)} are written as diffusers has "
            f"them, got model.name={config.model.name!r}: export as safetensors instead"
        )
    unet = _unet(config)
    exploding = unet["time_embedding_type"] == "fourier"
    scheduler = (_exploding if exploding else _discrete)(config)
    _check(config, unet, scheduler)
    pipeline = {
        "_class_name": "ScoreSdeVePipeline" if exploding else "DDPMPipeline",
        "_diffusers_version": VERSION,
        "scheduler": ["diffusers", scheduler["_class_name"]],
        "unet": ["diffusers", unet["_class_name"]],
    }
    return PipelineFiles(unet, scheduler, pipeline, _notes(config, exploding))


def _unet(config: ConfigDict) -> Json:
    model, data, name = config.model, config.data, config.model.name.lower()
    levels = len(model.ch_mult)
    sizes = [data.image_size // 2**level for level in range(levels)]
    attended = [size in model.attn_resolutions for size in sizes]
    down, up = BLOCKS[name]
    return {
        "_class_name": "UNet2DModel",
        "_diffusers_version": VERSION,
        "sample_size": data.image_size,
        "in_channels": data.num_channels + _beside(config),
        "out_channels": data.num_channels * (2 if model.learn_variance else 1),
        "center_input_sample": not data.centered,
        "block_out_channels": [model.nf * multiple for multiple in model.ch_mult],
        "layers_per_block": model.num_res_blocks,
        "down_block_types": [f"Attn{down}" if there else down for there in attended],
        "up_block_types": [f"Attn{up}" if there else up for there in reversed(attended)],
        "act_fn": "silu",
        "dropout": model.dropout,
        "num_class_embeds": model.num_classes or None,
        **{"ncsnpp": _ncsnpp, "ddpm_ho": _ddpm_ho}[name](model),
    }


def _beside(config: ConfigDict) -> int:
    """Channels of the image beside the example."""
    return config.data.condition[-1] if config.model.condition == "image" else 0


def _ncsnpp(model: ConfigDict) -> Json:
    return {
        "time_embedding_type": model.embedding_type.lower(),
        "freq_shift": 1,
        "flip_sin_to_cos": False,
        "norm_num_groups": None,
        "norm_eps": 1e-6,
        "attention_head_dim": None,
        "mid_block_scale_factor": ROOT_TWO,
    }


def _ddpm_ho(model: ConfigDict) -> Json:
    return {
        "time_embedding_type": "positional",
        "freq_shift": model.freq_shift,
        "flip_sin_to_cos": model.flip_sin_to_cos,
        "norm_num_groups": model.norm_num_groups,
        "norm_eps": model.norm_eps,
        "attention_head_dim": model.attention_head_dim or None,
        "add_attention": model.add_attention,
        "mid_block_scale_factor": ROOT_TWO if model.mid_block_rescale else 1,
        "downsample_padding": model.downsample_padding,
    }


def _exploding(config: ConfigDict) -> Json:
    return {
        "_class_name": "ScoreSdeVeScheduler",
        "_diffusers_version": VERSION,
        "num_train_timesteps": config.sde.num_scales,
        "sigma_min": config.sde.sigma_min,
        "sigma_max": config.sde.sigma_max,
        "snr": config.sampling.snr,
        "sampling_eps": config.sampling.eps or sde_lib.VE.t_min_sampling,
        "correct_steps": 0 if config.sampling.corrector == "none" else config.sampling.n_steps_each,
    }


def _discrete(config: ConfigDict) -> Json:
    prediction = type(sde_lib.build_parametrization(config).prediction)
    return {
        "_class_name": "DDPMScheduler",
        "_diffusers_version": VERSION,
        "num_train_timesteps": config.sde.num_scales,
        "beta_start": config.sde.beta_min / config.sde.num_scales,
        "beta_end": config.sde.beta_max / config.sde.num_scales,
        "beta_schedule": "linear",
        "prediction_type": PREDICTIONS.get(prediction, "epsilon"),
    }


def _check(config: ConfigDict, unet: Json, scheduler: Json) -> None:
    """Refuse a config that differs from the one that would be read from the files made for it."""
    try:
        implied = settings(unet, scheduler)
    except PretrainedError as error:
        raise PretrainedError(f"diffusers cannot hold this model: {error}") from error
    again = config.copy_and_resolve_references().unlock()
    for key, value in implied.items():
        section, name = key.split(".")
        own = config[section][name]
        if section != "sampling" and key not in MEANING and not _same(own, value):
            raise PretrainedError(
                f"diffusers has no counterpart of {key}={own!r}: with model.name="
                f"{config.model.name!r} it has {value!r}; export as safetensors instead"
            )
        again[section][name] = value
    again.model.conditioning = "published"
    meant = sde_lib.build_parametrization(config)
    if meant != sde_lib.build_parametrization(again):
        raise PretrainedError(
            f"diffusers has no counterpart of model.prediction={config.model.prediction!r} with "
            f"model.conditioning={config.model.conditioning!r} and model.scale_by_sigma="
            f"{config.model.scale_by_sigma} for this SDE; export as safetensors instead"
        )


def _same(own: Any, value: Any) -> bool:
    if isinstance(value, float):
        return math.isclose(own, value, rel_tol=1e-9)
    if isinstance(value, str):
        name = own.lower()
        return sde_lib.PUBLISHED_NAMES.get(name, name) == value
    return bool(own == value)


def _notes(config: ConfigDict, exploding: bool) -> list[str]:
    notes = []
    if config.data.centered == exploding:
        taken, given = ("[0, 1]", "[-1, 1]") if exploding else ("[-1, 1]", "[0, 1]")
        notes.append(
            f"diffusers' pipeline takes samples to be in {taken} and this model's are in {given}: "
            "the network is right, the pipeline's pictures need rescaling"
        )
    if config.model.num_classes:
        notes.append(
            "this model needs class labels, which diffusers' pipeline does not pass: call its unet"
        )
    return notes
