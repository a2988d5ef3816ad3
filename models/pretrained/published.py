"""The published configuration that a score_sde checkpoint most likely belongs to.

A file tells the network. It does not tell the image size, the range of the images, the SDE, nor
what the output means; those are taken from the published configuration that agrees best.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configs import schema

Table = Mapping[str, Any]

_VE: Table = {
    "sde.name": "ve", "model.ema_rate": 0.999, "model.scale_by_sigma": True,
    "training.reduce_mean": False, "sampling.predictor": "reverse_diffusion",
    "sampling.corrector": "langevin", "sampling.norm": "sample",
}  # fmt: skip
_VP: Table = {"sde.name": "vp", "data.centered": True}
_SUBVP: Table = {"sde.name": "subvp", "data.centered": True}
_DISCRETE: Table = {"training.continuous": False}
_DDPM: Table = {"model.name": "ddpm", "model.num_res_blocks": 2}
_NCSNPP: Table = {"model.fir": True, "model.progressive_input": "residual"}
_FOURIER: Table = {"model.embedding_type": "fourier"}
_DEEP: Table = {"model.num_res_blocks": 8}
_LARGE: Table = {
    "data.image_size": 256, "sde.num_scales": 2000, "model.dropout": 0.0, "sampling.snr": 0.075,
}  # fmt: skip
_PYRAMIDS: Table = {
    **_LARGE, **_FOURIER, "model.fir": True, "model.ch_mult": (1, 1, 2, 2, 2, 2, 2),
    "model.num_res_blocks": 2, "model.progressive": "output_skip",
    "model.progressive_input": "input_skip",
}  # fmt: skip
_PYRAMIDS_1024: Table = {
    **_PYRAMIDS, "data.image_size": 1024, "model.nf": 16,
    "model.ch_mult": (1, 2, 4, 8, 16, 32, 32, 32), "model.num_res_blocks": 1,
    "model.ema_rate": 0.9999, "sde.sigma_max": 1348.0, "sampling.snr": 0.15,
}  # fmt: skip
_DDPM_256: Table = {
    **_LARGE, **_DDPM, "model.ch_mult": (1, 1, 2, 2, 4, 4), "sde.num_scales": 1000,
}  # fmt: skip


def _sum(*tables: Table) -> Table:
    return {name: value for table in tables for name, value in table.items()}


CONFIGS: dict[str, Table] = {
    "ve/cifar10_ncsnpp_continuous": _sum(_VE, _NCSNPP, _FOURIER),
    "ve/cifar10_ncsnpp_deep_continuous": _sum(_VE, _NCSNPP, _FOURIER, _DEEP),
    "ve/cifar10_ncsnpp": _sum(_VE, _NCSNPP, _DISCRETE),
    "ve/celeba_ncsnpp": _sum(
        _VE, _NCSNPP, _DISCRETE, {"data.image_size": 64, "sde.sigma_max": 90.0}
    ),
    "ve/cifar10_ddpm": _sum(_VE, _DDPM, _DISCRETE),
    "ve/bedroom_ncsnpp_continuous": _sum(_VE, _PYRAMIDS, {"sde.sigma_max": 378.0}),
    "ve/church_ncsnpp_continuous": _sum(_VE, _PYRAMIDS, {"sde.sigma_max": 380.0}),
    "ve/ffhq_256_ncsnpp_continuous": _sum(_VE, _PYRAMIDS, {"sde.sigma_max": 348.0}),
    "ve/celebahq_256_ncsnpp_continuous": _sum(_VE, _PYRAMIDS, {"sde.sigma_max": 348.0}),
    "ve/ffhq_ncsnpp_continuous": _sum(_VE, _PYRAMIDS_1024),
    "ve/celebahq_ncsnpp_continuous": _sum(_VE, _PYRAMIDS_1024),
    "vp/cifar10_ddpmpp_continuous": _VP,
    "vp/cifar10_ddpmpp_deep_continuous": _sum(_VP, _DEEP),
    "vp/cifar10_ddpmpp": _sum(_VP, _DISCRETE),
    "vp/cifar10_ncsnpp_continuous": _sum(_VP, _NCSNPP),
    "vp/cifar10_ncsnpp_deep_continuous": _sum(_VP, _NCSNPP, _DEEP),
    "vp/cifar10_ncsnpp": _sum(_VP, _NCSNPP, _DISCRETE),
    "vp/ddpm/cifar10_continuous": _sum(_VP, _DDPM),
    "vp/ddpm/cifar10": _sum(_VP, _DDPM, _DISCRETE),
    "vp/ddpm/cifar10_unconditional": _sum(_VP, _DDPM, _DISCRETE, {"model.conditional": False}),
    "vp/ddpm/bedroom": _sum(_VP, _DDPM_256, _DISCRETE),
    "vp/ddpm/church": _sum(_VP, _DDPM_256, _DISCRETE),
    "vp/ddpm/celebahq": _sum(_VP, _DDPM_256, _DISCRETE),
    "subvp/cifar10_ddpmpp_continuous": _SUBVP,
    "subvp/cifar10_ddpmpp_deep_continuous": _sum(_SUBVP, _DEEP),
    "subvp/cifar10_ncsnpp_continuous": _sum(_SUBVP, _NCSNPP),
    "subvp/cifar10_ncsnpp_deep_continuous": _sum(_SUBVP, _NCSNPP, _DEEP),
    "subvp/cifar10_ddpm_continuous": _sum(_SUBVP, _DDPM),
}
"""Published path -> what differs from the schema's defaults, in what a model depends on."""

UNSAID = ("sde.name", "training.continuous", "data.image_size", "data.centered",
          "model.scale_by_sigma")  # fmt: skip
"""What no file says and everything depends on."""


def complete(settings: Table, path: Path) -> tuple[Table, str]:
    """(settings of the nearest published configuration, where they are from, for the user)."""
    nearest, others = _nearest(settings, path)
    said = ", ".join(f"{name}={value!r}" for name, value in _unsaid(nearest).items())
    rivals = f" ({', '.join(others)} fit as well)" if others else ""
    note = (
        f"the file does not say {said}: taken from the nearest published configuration, "
        f"{nearest}{rivals}; give --config if that is not what it was trained with"
    )
    return CONFIGS[nearest], note


def _unsaid(name: str) -> dict[str, Any]:
    return {key: CONFIGS[name].get(key, schema.SETTINGS[key].default) for key in UNSAID}


def _nearest(settings: Table, path: Path) -> tuple[str, list[str]]:
    """The name of the configuration that agrees in most, and those that agree as much.

    A directory of the file's path that is a published name decides between equals, as in
    vp/cifar10_ddpmpp/checkpoint_14.pth.
    """

    def agreement(name: str) -> tuple[bool, int]:
        table = CONFIGS[name]
        same = [table.get(k, schema.SETTINGS[k].default) == v for k, v in settings.items()]
        network = table.get("model.name", schema.SETTINGS["model.name"].default)
        return network == settings.get("model.name", network), sum(same)

    best = max(map(agreement, CONFIGS))
    equals = [name for name in CONFIGS if agreement(name) == best]
    named = [name for name in equals if f"/{name}/" in path.absolute().as_posix()]
    chosen = (named or equals)[0]
    rivals = [name for name in equals if _unsaid(name) != _unsaid(chosen)]
    return chosen, [] if named else rivals
