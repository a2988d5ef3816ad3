"""A checkpoint against a config, and a config made of a checkpoint."""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs import schema
from models.pretrained.base import Checkpoint
from models.pretrained.tensors import PretrainedError

COMPARED = ("model.", "data.", "sde.", "training.continuous")


def _implied(checkpoint: Checkpoint, image_size: int) -> dict[str, Any]:
    """What the file says, for images of a size."""
    settings = dict(checkpoint.settings)
    if checkpoint.attention is not None:
        settings["model.attn_resolutions"] = tuple(image_size // 2**k for k in checkpoint.attention)
    return settings


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value.lower()
    return tuple(value) if isinstance(value, list | tuple) else value


def _same(name: str, one: Any, other: Any) -> bool:
    if name == "model.attn_resolutions":
        return set(one) == set(other)
    return bool(_plain(one) == _plain(other))


def _matters(name: str, flat: dict[str, Any]) -> bool:
    """Whether a model depends on a setting, given the others."""
    if name in ("sde.sigma_min", "sde.sigma_max"):
        return flat["sde.name"] in ("ve", "vesde")
    if name == "sde.num_scales":
        return not flat["training.continuous"]
    return name.startswith(COMPARED) and name != "model.ema_rate"


def disagreements(checkpoint: Checkpoint, config: ConfigDict) -> list[str]:
    """'model.nf is 64 in the file and 128 in the config', for each setting that differs."""
    flat = schema.flatten(config)
    implied = _implied(checkpoint, flat["data.image_size"])
    return [
        f"{name} is {value!r} in the file and {flat[name]!r} in the config"
        for name, value in implied.items()
        if name in flat and _matters(name, flat) and not _same(name, value, flat[name])
    ]


def config_of(checkpoint: Checkpoint) -> ConfigDict:
    """A config for a checkpoint that came without one.

    Raises:
      PretrainedError: the file says too little.
    """
    config = schema.get_default()
    if "model.name" not in checkpoint.settings:
        raise PretrainedError("the file does not say which network it is of: give --config")
    config.update_from_flattened_dict(dict(checkpoint.assumed))
    implied = _implied(checkpoint, config.data.image_size)
    config.update_from_flattened_dict({k: v for k, v in implied.items() if k in schema.SETTINGS})
    schema.check(config)
    return config
