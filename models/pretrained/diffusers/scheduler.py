"""diffusers' scheduler_config.json: the SDE, the prediction and the sampling that it describes."""

from __future__ import annotations

from typing import Any, NamedTuple

from models.pretrained.base import Overrides
from models.pretrained.diffusers.grids import FILE
from models.pretrained.diffusers.rules import (
    FLAG,
    Json,
    JsonRule,
    check,
    integer_in,
    number_in,
    one_of,
)
from models.pretrained.diffusers.steps import (
    INSTEAD,
    OTHERS,
    SCHEDULERS,
    USUAL_STEPS,
    sampling_settings,
)
from models.pretrained.files.tensors import PretrainedError
from untrusted import shown

EXPLODING_CLASS = "ScoreSdeVeScheduler"
DISCRETE_CLASSES = (*SCHEDULERS, *OTHERS)
"""Samplers of the same models, with the same keys for their betas."""
PREDICTIONS = {"epsilon": "published", "sample": "data", "v_prediction": "v"}
BETAS = {"linear": "linear", "scaled_linear": "scaled_linear", "squaredcos_cap_v2": "cosine"}
"""beta_schedule -> sde.schedule."""
RESCALING = {
    f"{name}Scheduler" for name in (
        "DDIM", "DDIMParallel", "DDIMInverse", "DDPM", "DDPMParallel", "DPMSolverMultistep",
        "EulerAncestralDiscrete", "EulerDiscrete", "LCM", "TCD", "UniPCMultistep",
    )
}  # fmt: skip
"""Schedulers that have rescale_betas_zero_snr, which others leave unread."""
NO_SIGNAL = 1e-10
"""sde.terminal_alpha for schedulers of diffusers that compute with an alpha of 0."""
DISCRETE: Overrides = {
    "num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear",
    "trained_betas": None, "prediction_type": "epsilon", "rescale_betas_zero_snr": False,
}  # fmt: skip
EXPLODING: Overrides = {"num_train_timesteps": 2000, "snr": 0.15, "sigma_min": 0.01,
                       "sigma_max": 1348.0, "correct_steps": 1}  # fmt: skip
STEPS = integer_in(2, 1_000_000)
BETA = number_in(1e-12, 0.999)
DISCRETE_RULES = {
    "num_train_timesteps": STEPS,
    "beta_start": BETA, "beta_end": BETA,
    "beta_schedule": one_of(*BETAS),
    "trained_betas": JsonRule(
        lambda v, c: v is None or _is_table(v, c["num_train_timesteps"]),
        "null or a list of num_train_timesteps numbers between 0 and 1",
    ),
    "prediction_type": one_of(*PREDICTIONS), "rescale_betas_zero_snr": FLAG,
}  # fmt: skip
EXPLODING_RULES = {
    "num_train_timesteps": STEPS, "snr": number_in(1e-6, 1e3), "sigma_min": number_in(1e-9, 1e9),
    "sigma_max": number_in(1e-9, 1e9), "correct_steps": integer_in(0, 1000),
}  # fmt: skip
HARMLESS = {
    "_class_name", "_diffusers_version", "_use_default_values", "flow_shift", "time_shift_type",
    "name_or_path", "_name_or_path",
}  # fmt: skip
"""Keys that change nothing, or nothing without another key that is refused."""
KNOWN = HARMLESS.union(DISCRETE, *(row.keys for row in SCHEDULERS.values()))
"""Every key of a scheduler of discrete levels: files carry those of schedulers before them."""


class Scheduled(NamedTuple):
    """Overrides that a scheduler_config.json means, and a line on what they do not reproduce."""

    settings: Overrides
    remark: str = ""


def _is_table(value: Any, n: int) -> bool:
    return isinstance(value, list) and len(value) == n and all(BETA.holds(v, {}) for v in value)


def sde_settings(scheduler: Json | None, fourier: bool) -> Scheduled:
    """The SDE of a scheduler_config.json; without one, the settings that the network implies.

    Raises:
      PretrainedError: there is no such SDE here, or it does not go with the time embedding.
    """
    if fourier:
        # diffusers divides the output of a network with Fourier features by sigma.
        implied = {"sde.name": "ve", "training.continuous": True, "model.scale_by_sigma": True}
    else:
        implied = {"sde.name": "vp", "training.continuous": False}
    if scheduler is None:
        return Scheduled(implied)
    known = (EXPLODING_CLASS,) if fourier else DISCRETE_CLASSES
    _check_class(scheduler, known, f" for time_embedding_type = {_embedding(fourier)}")
    if fourier:
        return Scheduled(implied | _exploding(scheduler))
    return discrete(scheduler)


def _embedding(fourier: bool) -> str:
    return "fourier" if fourier else "positional"


def _check_class(scheduler: Json, known: tuple[str, ...], words: str = "") -> None:
    if scheduler.get("_class_name") not in known:
        raise PretrainedError(
            f"its {FILE} has _class_name = {shown(scheduler.get('_class_name'))}, must be "
            f"{' or '.join(known)}{words}"
        )


def _values(scheduler: Json, defaults: Overrides, rules: dict[str, JsonRule]) -> Overrides:
    c = {key: scheduler.get(key, default) for key, default in defaults.items()}
    check(FILE, c, rules)
    return c


def _exploding(scheduler: Json) -> Overrides:
    c = _values(scheduler, EXPLODING, EXPLODING_RULES)
    return {
        "sde.sigma_min": float(c["sigma_min"]),
        "sde.sigma_max": float(c["sigma_max"]),
        "sde.num_scales": c["num_train_timesteps"],
        "sampling.predictor": "reverse_diffusion",
        "sampling.corrector": "langevin" if c["correct_steps"] else "none",
        "sampling.snr": float(c["snr"]),
        "sampling.n_steps_each": max(c["correct_steps"], 1),
    }


def discrete(scheduler: Json) -> Scheduled:
    """The levels, the prediction and the sampling of a scheduler of a discrete model.

    Raises:
      PretrainedError: its class or its levels have no counterpart here, or a key is unknown.
    """
    _check_class(scheduler, DISCRETE_CLASSES)
    name = scheduler["_class_name"]
    row = SCHEDULERS.get(name)
    unknown = sorted(set(scheduler) - KNOWN) if row else []
    if unknown:
        raise PretrainedError(f"its {FILE} has the unknown key {shown(unknown[0])}")
    defaults = DISCRETE | (row.model if row else {})
    c = _values(scheduler, defaults, DISCRETE_RULES)
    c["rescale_betas_zero_snr"] &= name in RESCALING
    found = _levels(c, name, noiseless=row is not None and row.noiseless)
    try:
        if row is None:
            raise PretrainedError(f"its {FILE} is of a {name}")
        return Scheduled(found | sampling_settings(scheduler, c))
    except PretrainedError as error:
        steps = {"sampling.num_steps": min(USUAL_STEPS, max(c["num_train_timesteps"] // 2, 1))}
        remark = (
            f"sampled by DPM-Solver++ (2M), since its own sampling has no counterpart here: {error}"
        )
        return Scheduled(found | INSTEAD | steps, remark)


def _levels(c: Json, name: str, noiseless: bool) -> Overrides:
    """Overrides of the SDE and of what the network says."""
    n = c["num_train_timesteps"]
    found: Overrides = {
        "sde.name": "levels",
        "sde.num_scales": n,
        "model.prediction": PREDICTIONS[c["prediction_type"]],
        "training.continuous": False,
    }
    zero = c["rescale_betas_zero_snr"]
    if c["trained_betas"] is not None:
        found |= {"sde.schedule": "table", "sde.betas": tuple(map(float, c["trained_betas"]))}
    else:
        schedule = BETAS[c["beta_schedule"]]
        if name == "DDPMScheduler" and schedule == "linear" and not zero:
            found["sde.name"] = "vp"  # the same levels by our name of them
        else:
            found["sde.schedule"] = schedule
        if schedule != "cosine":
            found["sde.beta_min"] = float(f"{n * c['beta_start']:.12g}")
            found["sde.beta_max"] = float(f"{n * c['beta_end']:.12g}")
    if zero:
        found["sde.zero_terminal_snr"] = True
        if noiseless:
            found["sde.terminal_alpha"] = NO_SIGNAL
    return found
