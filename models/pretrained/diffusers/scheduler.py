"""diffusers' scheduler_config.json, and the SDE that it describes."""

from __future__ import annotations

from typing import Any

from models.pretrained.diffusers.rules import Json, JsonRule, check, integer_in, number_in, one_of
from models.pretrained.files.tensors import PretrainedError
from untrusted import shown

Settings = dict[str, Any]

EXPLODING_CLASS = "ScoreSdeVeScheduler"
DISCRETE_CLASSES = (
    "DDPMScheduler", "DDIMScheduler", "PNDMScheduler", "DPMSolverMultistepScheduler",
    "EulerDiscreteScheduler", "UniPCMultistepScheduler",
)  # fmt: skip
"""Samplers of the same model, with the same keys for its betas."""
PREDICTIONS = {"epsilon": "published", "sample": "data", "v_prediction": "v"}
DISCRETE: Settings = {
    "num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear",
    "trained_betas": None, "prediction_type": "epsilon", "rescale_betas_zero_snr": False,
}  # fmt: skip
EXPLODING: Settings = {"num_train_timesteps": 2000, "snr": 0.15, "sigma_min": 0.01,
                       "sigma_max": 1348.0, "correct_steps": 1}  # fmt: skip
STEPS = integer_in(2, 1_000_000)
DISCRETE_RULES = {
    "num_train_timesteps": STEPS,
    "beta_start": number_in(1e-12, 0.999), "beta_end": number_in(1e-12, 0.999),
    "beta_schedule": one_of("linear"), "trained_betas": one_of(None),
    "prediction_type": one_of(*PREDICTIONS), "rescale_betas_zero_snr": one_of(False),
}  # fmt: skip
EXPLODING_RULES = {
    "num_train_timesteps": STEPS, "snr": number_in(1e-6, 1e3), "sigma_min": number_in(1e-9, 1e9),
    "sigma_max": number_in(1e-9, 1e9), "correct_steps": integer_in(0, 1000),
}  # fmt: skip


def sde_settings(scheduler: Json | None, fourier: bool) -> Settings:
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
        return implied
    known = (EXPLODING_CLASS,) if fourier else DISCRETE_CLASSES
    if scheduler.get("_class_name") not in known:
        raise PretrainedError(
            f"its scheduler_config.json has _class_name = "
            f"{shown(scheduler.get('_class_name'))}, must be {' or '.join(known)} for "
            f"time_embedding_type = {'fourier' if fourier else 'positional'}"
        )
    return implied | (_exploding if fourier else _discrete)(scheduler)


def _values(scheduler: Json, defaults: Settings, rules: dict[str, JsonRule]) -> Settings:
    c = {key: scheduler.get(key, default) for key, default in defaults.items()}
    check("scheduler_config.json", c, rules)
    return c


def _exploding(scheduler: Json) -> Settings:
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


def _discrete(scheduler: Json) -> Settings:
    c = _values(scheduler, DISCRETE, DISCRETE_RULES)
    n = c["num_train_timesteps"]
    return {
        "sde.beta_min": float(f"{n * c['beta_start']:.12g}"),
        "sde.beta_max": float(f"{n * c['beta_end']:.12g}"),
        "sde.num_scales": n,
        "model.prediction": PREDICTIONS[c["prediction_type"]],
        "sampling.predictor": "ancestral",
    }
