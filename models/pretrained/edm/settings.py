"""Overrides of an EDM snapshot's network (Karras et al., 2022, arXiv:2206.00364).

Its objects come as plain dicts {"class_name", "init_args", "init_kwargs", "state"}, the state with
"_parameters", "_buffers" and "_modules". The outer object is a preconditioning, its module "model"
a network; the settings follow from the arguments of both objects' constructors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from models.pretrained.base import Overrides
from sde_lib import choose
from sde_lib.labels import IDDPM_OFFSET, IDDPM_RATIO
from untrusted import plain, shown

Object = Mapping[str, Any]

REQUIRED = object()
LARGEST, LONGEST = 1 << 14, 16
"""Largest number and longest list in a snapshot, beyond those of any network of this kind."""
SIGMA_MIN, SIGMA_MAX = 0.002, 80.0
"""EDM's range of noise levels for sampling, unless the network's is smaller."""

# Signatures: argument -> default, in their order. -------------------------------------------------

_NETWORK = {
    "img_resolution": REQUIRED, "in_channels": REQUIRED, "out_channels": REQUIRED,
    "label_dim": 0, "augment_dim": 0,
}  # fmt: skip
NETWORK_ARGUMENTS = {
    "SongUNet": _NETWORK | {
        "model_channels": 128, "channel_mult": (1, 2, 2, 2), "channel_mult_emb": 4,
        "num_blocks": 4, "attn_resolutions": (16,), "dropout": 0.1, "label_dropout": 0,
        "embedding_type": "positional", "channel_mult_noise": 1, "encoder_type": "standard",
        "decoder_type": "standard", "resample_filter": (1, 1),
    },
    "DhariwalUNet": _NETWORK | {
        "model_channels": 192, "channel_mult": (1, 2, 3, 4), "channel_mult_emb": 4,
        "num_blocks": 3, "attn_resolutions": (32, 16, 8), "dropout": 0.1, "label_dropout": 0,
    },
}  # fmt: skip
_PRECOND = {
    "img_resolution": REQUIRED, "img_channels": REQUIRED, "label_dim": 0, "use_fp16": False,
}  # fmt: skip
PRECONDITIONING_ARGUMENTS = {
    "VPPrecond": _PRECOND | {"beta_d": 19.9, "beta_min": 0.1, "M": 1000, "epsilon_t": 1e-5},
    "VEPrecond": _PRECOND | {"sigma_min": 0.02, "sigma_max": 100},
    "iDDPMPrecond": _PRECOND | {"C_1": IDDPM_RATIO, "C_2": IDDPM_OFFSET, "M": 1000},
    "EDMPrecond": _PRECOND | {"sigma_min": 0, "sigma_max": float("inf"), "sigma_data": 0.5},
}

# What they mean in our settings. ------------------------------------------------------------------

ENCODERS = {"standard": "none", "skip": "input_skip", "residual": "residual"}
DECODERS = {"standard": "none", "skip": "output_skip"}


def _common(arguments: Overrides) -> Overrides:
    size, multiples = arguments["img_resolution"], tuple(arguments["channel_mult"])
    sizes = {size >> level for level in range(len(multiples))}
    return {
        "data.image_size": size,
        "data.num_channels": arguments["in_channels"],
        "data.centered": True,
        "model.nf": arguments["model_channels"],
        "model.ch_mult": multiples,
        "model.ch_mult_emb": arguments["channel_mult_emb"],
        "model.num_res_blocks": arguments["num_blocks"],
        "model.attn_resolutions": tuple(n for n in arguments["attn_resolutions"] if n in sizes),
        "model.dropout": float(arguments["dropout"]),
        "model.num_classes": arguments["label_dim"],
        "model.label_dropout": float(arguments["label_dropout"]),
        "model.augment_dim": arguments["augment_dim"],
        "model.nonlinearity": "swish",
    }


def _song(arguments: Overrides) -> Overrides:
    taps = tuple(arguments["resample_filter"])
    if taps != taps[::-1] or len(taps) % 2:
        raise ValueError(
            f"the snapshot's resample_filter must be symmetric and of even length, got {taps}"
        )
    return _common(arguments) | {
        "model.name": "songunet",
        "model.embedding_type": arguments["embedding_type"],
        "model.fourier_scale": 16.0,
        "model.ch_mult_noise": arguments["channel_mult_noise"],
        "model.progressive_input": choose("encoder_type", arguments["encoder_type"], ENCODERS),
        "model.progressive": choose("decoder_type", arguments["decoder_type"], DECODERS),
        "model.fir": len(taps) > 2,
        "model.fir_kernel": taps,
    }


def _adm(arguments: Overrides) -> Overrides:
    return _common(arguments) | {"model.name": "adm"}


def _vp(arguments: Overrides) -> Overrides:
    return {
        "model.prediction": "unit_noise",
        "model.conditioning": "vp_time",
        "sde.beta_min": float(arguments["beta_min"]),
        "sde.beta_max": float(arguments["beta_min"] + arguments["beta_d"]),
        "sde.num_scales": arguments["M"],
    }


def _ve(arguments: Overrides) -> Overrides:
    return {"model.prediction": "scaled_score", "model.conditioning": "log_half_sigma"}


def _iddpm(arguments: Overrides) -> Overrides:
    if (arguments["C_1"], arguments["C_2"]) != (IDDPM_RATIO, IDDPM_OFFSET):
        raise ValueError(
            f"the snapshot's C_1 and C_2 must be {IDDPM_RATIO} and {IDDPM_OFFSET}, as published, "
            f"got {shown(arguments['C_1'])} and {shown(arguments['C_2'])}"
        )
    return {
        "model.prediction": "unit_noise",
        "model.conditioning": "cosine_level",
        "sde.num_scales": arguments["M"],
    }


def _edm(arguments: Overrides) -> Overrides:
    return {
        "model.prediction": "edm",
        "model.conditioning": "quarter_log_sigma",
        "model.sigma_data": float(arguments["sigma_data"]),
    }


NETWORKS: dict[str, Callable[[Overrides], Overrides]] = {"SongUNet": _song, "DhariwalUNet": _adm}
PRECONDITIONINGS: dict[str, Callable[[Overrides], Overrides]] = {
    "VPPrecond": _vp,
    "VEPrecond": _ve,
    "iDDPMPrecond": _iddpm,
    "EDMPrecond": _edm,
}


OUTPUTS = {"VPPrecond": 1, "VEPrecond": 1, "iDDPMPrecond": 2, "EDMPrecond": 1}
"""Output channels for each image channel; iDDPM's second half, variances, is not used."""


def settings(snapshot: Object) -> Overrides:
    """{"section.key": value} that a preconditioned network (a snapshot's "ema") implies.

    These are the settings of `model`, `sde` and `data` that determine what the network computes,
    and the times for sampling: t is sigma, from 0.002 to 80 within the network's range.

    Raises:
      ValueError: a class or an argument is not EDM's, or has a value that is not supported.
    """
    outer, inner = snapshot["class_name"], network_of(snapshot)
    interpret = choose("the preconditioning in the snapshot", outer, PRECONDITIONINGS)
    build = choose("the network in the snapshot", inner["class_name"], NETWORKS)
    # A preconditioning passes the arguments that it does not have on to its network.
    arguments = _arguments(snapshot, PRECONDITIONING_ARGUMENTS[outer], strict=False)
    state = snapshot["state"]
    network = _arguments(inner, NETWORK_ARGUMENTS[inner["class_name"]], strict=True)
    if network["out_channels"] != OUTPUTS[outer] * network["in_channels"]:
        raise ValueError(
            f"the network in the snapshot must have {OUTPUTS[outer]} x {network['in_channels']} "
            f"output channels within {outer}, got {network['out_channels']}"
        )
    return build(network) | interpret(arguments) | {
        "sde.name": "edm",
        "sde.sigma_min": max(SIGMA_MIN, _sigma(state, "sigma_min", 0.0)),
        "sde.sigma_max": min(SIGMA_MAX, _sigma(state, "sigma_max", SIGMA_MAX)),
        "training.continuous": True,
    }  # fmt: skip


def network_of(snapshot: Object) -> Object:
    """The network within a preconditioning; ValueError if there is none."""
    try:
        found = snapshot["state"]["_modules"]["model"]
        return {name: found[name] for name in ("class_name", "init_args", "init_kwargs", "state")}
    except (KeyError, TypeError) as error:
        raise ValueError("the snapshot has no network within its preconditioning") from error


def _arguments(made: Object, signature: Overrides, *, strict: bool) -> Overrides:
    """The values of all arguments of a signature, given those with which an object was made."""
    given = dict(zip(signature, made["init_args"], strict=False)) | dict(made["init_kwargs"])
    unknown = sorted(set(given) - set(signature))
    if strict and unknown:
        raise ValueError(
            f"{plain(made['class_name'])} has no argument {shown(unknown[0])} in EDM's code"
        )
    found = {name: given.get(name, default) for name, default in signature.items()}
    for name, value in found.items():
        if value is not REQUIRED and not _sensible(value):
            raise ValueError(
                f"the snapshot says {name}={shown(value)}, beyond what a network of EDM has"
            )
    if missing := [name for name, value in found.items() if value is REQUIRED]:
        raise ValueError(f"the snapshot does not say {missing[0]} of its {made['class_name']}")
    return found


def _sensible(value: Any) -> bool:
    """True if a stranger's file asks for a network that can be built in reasonable time."""
    if isinstance(value, list | tuple):
        plain_numbers = all(type(item) in (int, float) for item in value)
        return len(value) <= LONGEST and plain_numbers and all(map(_sensible, value))
    if type(value) in (int, float):
        return 0 <= value <= LARGEST or value == float("inf")
    return value is None or type(value) is bool or (type(value) is str and len(value) <= 40)


def _sigma(state: Any, name: str, default: float) -> float:
    """A noise level stated by a snapshot."""
    value = state.get(name, default)
    if type(value) not in (int, float) or not _sensible(value):
        raise ValueError(f"the snapshot says {name}={shown(value)}, which is not a noise level")
    return float(value)
