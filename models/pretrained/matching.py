"""Comparison of a checkpoint with a config, and a config made from a checkpoint."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ml_collections import ConfigDict

import models
import sde_lib
from configs import defaults, schema
from configs.recorded import Recorded
from models.pretrained.base import Checkpoint
from models.pretrained.files.tensors import PretrainedError
from untrusted import limits, plain, shown

COMPARED = ("model.", "training.continuous", "data.image_size", "data.num_channels",
            "data.centered")  # fmt: skip
"""Settings of which every model depends on all that it reads, those of the SDE apart."""
INDIFFERENT = ("model.ema_rate", "model.dropout", "model.label_dropout", "model.init_scale",
               "model.dtype", "model.remat", "model.attention")  # fmt: skip
"""Settings of training, or of how results are computed, in which config and file may differ."""
MEANING = ("model.prediction", "model.conditioning", "model.scale_by_sigma", "model.sigma_data")
"""Settings with several equivalent values, compared by the parametrization they build."""
UNETS = ("ncsnpp", "ddpm", "ddpm_ho", "songunet", "adm", "guided_unet", "noisy_classifier")
"""Networks whose number of blocks is a setting; that of the others follows from their names."""
NOTHING: Mapping[str, Any] = {
    "model.num_heads": 0, "model.attention_head_dim": 0, "model.attention_order": "unsaid",
}  # fmt: skip
"""Values with which a setting says nothing."""
ADOPTED = ("model.refinenet",)
"""Settings that tell which of two implementations wrote a file; the file's value is used."""


def _implied(checkpoint: Checkpoint, image_size: int) -> dict[str, Any]:
    """Settings of the file, for images of a given size if it states none."""
    settings = dict(checkpoint.settings)
    if checkpoint.attention is not None:
        size = settings.get("data.image_size", image_size)
        settings["model.attn_resolutions"] = tuple(size // 2**k for k in checkpoint.attention)
    return settings


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return sde_lib.PUBLISHED_NAMES.get(value.lower(), value.lower())
    return tuple(value) if isinstance(value, list | tuple) else value


def _same(name: str, one: Any, other: Any) -> bool:
    if name == "model.attn_resolutions" and isinstance(one, tuple):
        return set(one) == set(other)
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-5)  # tables of levels are stored in float32
    return bool(_plain(one) == _plain(other))


def _of_the_sde(config: ConfigDict) -> set[str]:
    """Settings of the `sde` section on which a config's networks depend."""
    recorded = Recorded.of(config)
    free: tuple[str, ...] = ()
    with contextlib.suppress(ValueError):  # of an SDE that cannot be built, what was read of it
        free = sde_lib.range_of_times(recorded)
        sde_lib.build(recorded)
        sde_lib.build_parametrization(recorded)
    return {"sde.name", *recorded.record.names} - {f"sde.{key}" for key in free}


def _with(config: ConfigDict, settings: Mapping[str, Any]) -> ConfigDict:
    changed = ConfigDict(config.copy_and_resolve_references())
    try:
        changed.update_from_flattened_dict(
            {k: v for k, v in settings.items() if k in defaults.SETTINGS}
        )
    except (TypeError, ValueError, KeyError) as error:
        first = next(iter(str(error).splitlines()), "")
        raise PretrainedError(f"the file has an unknown setting: {plain(first, 200)}") from error
    return changed


def _mean_the_same(config: ConfigDict, settings: Mapping[str, Any]) -> bool:
    """True if the network's output has the same meaning in the config and in the file."""
    told = {name: settings[name] for name in MEANING if name in settings}
    try:
        one, other = map(sde_lib.build_parametrization, (config, _with(config, told)))
    except ValueError:
        return False
    return one == other


def disagreements(checkpoint: Checkpoint, config: ConfigDict) -> dict[str, str]:
    """{"model.nf": 'model.nf is 64 in the file and 128 in the config'} of all that differ."""
    flat = schema.flatten(config)
    implied = _implied(checkpoint, flat["data.image_size"])
    indifferent = (*INDIFFERENT, *(MEANING if _mean_the_same(config, implied) else ()))
    of_the_sde = _of_the_sde(config)
    return {
        name: f"{name} is {shown(value)} in the file and {flat[name]!r} in the config"
        for name, value in implied.items()
        if name in flat
        and name not in indifferent
        and (name in of_the_sde or name.startswith(COMPARED))
        and not _same(name, value, flat[name])
    }


def adopted(checkpoint: Checkpoint, config: ConfigDict) -> dict[str, Any]:
    """Settings of the file that replace those of a config."""
    flat = schema.flatten(config)
    if flat["model.name"].lower() != checkpoint.settings.get("model.name"):
        return {}
    told = {name: checkpoint.settings.get(name, flat[name]) for name in ADOPTED}
    return {name: value for name, value in told.items() if value != flat[name]}


def with_adopted(checkpoint: Checkpoint, config: ConfigDict) -> ConfigDict:
    """A config with the settings that the file replaces."""
    return _with(config, adopted(checkpoint, config))


def check_said(
    checkpoint: Checkpoint, config: ConfigDict, given: Collection[str] | None = None
) -> None:
    """Raise PretrainedError that lists what neither the file says nor the user.

    given: names of the settings that the user gave one by one; None: the config is the user's own.
    """
    flat = schema.flatten(config)
    says = lambda name: flat[name] != NOTHING.get(name) if given is None else name in given
    missing = [" or ".join(names) for names in checkpoint.unsaid if not any(map(says, names))]
    if missing:
        raise PretrainedError(
            "the file does not say all that its model depends on, and neither its name nor its "
            f"shapes are those of a published one: set {', '.join(missing)} "
            "(--config.KEY=VALUE), or give --config"
        )


def doubt(checkpoint: Checkpoint, config: ConfigDict) -> str:
    """A line on settings of a config that the file does not state and a published model has other.

    It is empty if there are none.
    """
    flat = schema.flatten(config)
    unsaid = (*NOTHING, "model.rescale_timesteps")
    others = [
        f"{name} is {flat[name]!r} in the config and {checkpoint.assumed[name]!r} there"
        for name in unsaid
        if name in checkpoint.assumed
        and flat[name] not in (checkpoint.assumed[name], NOTHING.get(name))
    ]
    return (
        f"the file has the shapes of a published model, and {'; '.join(others)}: right only if it "
        "is another model"
        if others
        else ""
    )


def config_of(
    checkpoint: Checkpoint,
    override: Callable[[ConfigDict], None] = lambda config: None,
    given: Collection[str] = (),
) -> ConfigDict:
    """A config for a checkpoint that came without one; `override` changes the `given` settings.

    Raises:
      PretrainedError: the file does not determine enough settings.
    """
    if "model.name" not in checkpoint.settings:
        why = f" ({checkpoint.unknown})" if checkpoint.unknown else ""
        raise PretrainedError(f"the file does not say which network it is of{why}: give --config")
    config = _with(schema.get_default(), checkpoint.assumed)
    config = _with(config, {**_implied(checkpoint, config.data.image_size), **checkpoint.beside})
    before = config.data.image_size
    override(config)
    if config.data.image_size != before and "model.attn_resolutions" not in given:
        sizes = _implied(checkpoint, config.data.image_size).get("model.attn_resolutions")
        config.model.attn_resolutions = sizes or config.model.attn_resolutions
    check_said(checkpoint, config, given)
    schema.check(config)
    weights = checkpoint.ema if checkpoint.raw is None else checkpoint.raw
    if config.model.name.lower() in UNETS:
        blocks, levels = config.model.num_res_blocks, len(config.model.ch_mult)
        _check_blocks(blocks, levels, len(weights or ()), models.is_classifier(config))
    return config


def _check_blocks(per_level: int, levels: int, tensors: int, half: bool) -> None:
    """Raise PretrainedError for a U-Net, or the down half of one, that takes too long to trace.

    Every residual block has two convolutions and two normalizations of two tensors each.
    """
    down = per_level * levels
    all_blocks = down + 2 + (0 if half else down + levels)
    if down > limits.NETWORK_BLOCKS:
        raise PretrainedError(
            f"the file speaks of {down:,} residual blocks on the way down, must have at most "
            f"{limits.NETWORK_BLOCKS}: give --config if that is true"
        )
    if 8 * all_blocks > tensors:
        raise PretrainedError(
            f"the file speaks of {all_blocks:,} residual blocks and has {tensors:,} tensors: forged"
        )
