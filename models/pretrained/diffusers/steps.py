"""The sampling settings of a diffusers scheduler_config.json, which give the states of its runs.

Each scheduler is a row of `SCHEDULERS`: the keys that it has beside those of the noise levels, the
values of them that have a counterpart here, and the settings that they mean. What diffusers writes
into files of other schedulers is ignored by it, and here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from models.pretrained.diffusers.rules import (
    FLAG,
    Json,
    JsonRule,
    check,
    integer_in,
    number_in,
    one_of,
    or_none,
)

FILE = "scheduler_config.json"
Settings = dict[str, Any]
USUAL_STEPS = 50
"""Number of steps of diffusers' pipelines, DDPM's apart, which takes all levels."""
ALWAYS, SHORT = 10_000, 15
"""sampling.low_order_end for a last step of first order in every run, and in those of fewer steps
than diffusers takes for short."""

SPACING = one_of("leading", "trailing", "linspace")
SIGMAS: Settings = {
    "use_karras_sigmas": False, "use_exponential_sigmas": False, "use_beta_sigmas": False,
    "use_lu_lambdas": False, "use_flow_sigmas": False,
}  # fmt: skip
OFF = one_of(False, None)
SIGMA_RULES: dict[str, JsonRule] = {
    "use_karras_sigmas": or_none(FLAG),
    "use_exponential_sigmas": or_none(FLAG),
    "use_beta_sigmas": OFF,
    "use_lu_lambdas": OFF,
    "use_flow_sigmas": OFF,
}
OF_THE_GRID: Settings = {"timestep_spacing": "linspace", "steps_offset": 0}
GRID_RULES = {"timestep_spacing": SPACING, "steps_offset": integer_in(0, 1000)}
LIMITS: Settings = {
    "clip_sample": True, "clip_sample_range": 1.0, "thresholding": False,
    "dynamic_thresholding_ratio": 0.995, "sample_max_value": 1.0,
}  # fmt: skip
LIMIT_RULES: dict[str, JsonRule] = {
    "clip_sample": FLAG, "clip_sample_range": number_in(1e-6, 1e6), "thresholding": FLAG,
    "dynamic_thresholding_ratio": number_in(1e-6, 1), "sample_max_value": number_in(1, 1e6),
}  # fmt: skip
WHOLE = {"linspace": "linspace_whole"}
OPEN = {"linspace": "linspace_open", "leading": "leading_open"}
"""Names of our spacings where they are not those of diffusers."""
FINAL = one_of("zero", "sigma_min")
VARIANCES = {
    "fixed_small": "posterior", "fixed_small_log": "posterior", "fixed_large": "kernel",
    "fixed_large_log": "kernel", "learned_range": "learned",
}  # fmt: skip
SOLVERS = {"midpoint": "published", "heun": "exact"}
PREDICTORS = {
    "dpmsolver++": "dpm_solver_pp",
    "dpmsolver": "dpm_solver_multistep",
    "sde-dpmsolver++": "sde_dpm_solver_pp",
}


def _warp(c: Json) -> str:
    if c["use_karras_sigmas"]:
        return "karras"
    return "exponential" if c["use_exponential_sigmas"] else "none"


def _grid(c: Json, last_is_zero: bool, names: Mapping[str, str] = {}) -> Settings:
    """The published grid; `last_is_zero`: the sample without noise follows its last level."""
    spacing = c["timestep_spacing"]
    found = {
        "sampling.grid": "published",
        "sampling.spacing": names.get(spacing, spacing),
        "sampling.noise_removal": last_is_zero,
    }
    if spacing == "leading":
        found["sampling.steps_offset"] = c["steps_offset"]
    return found


def _limits(c: Json) -> Settings:
    """x_0 clamped or thresholded; diffusers leaves the noise as the network says it."""
    if c["thresholding"]:
        return {
            "sampling.threshold": float(c["dynamic_thresholding_ratio"]),
            "sampling.threshold_max": float(c["sample_max_value"]),
            "sampling.clip_range": 1.0,
            "sampling.clip_noise": False,
        }
    if not c["clip_sample"]:
        return {}
    bound = float(c["clip_sample_range"])
    return {"sampling.clip": True, "sampling.clip_range": bound, "sampling.clip_noise": False}


def _ddim(c: Json) -> Settings:
    return {
        "sampling.predictor": "ddim",
        **_grid(c, c["set_alpha_to_one"], WHOLE),
        **_limits(c),
    }


def _ddpm(c: Json) -> Settings:
    return {
        "sampling.predictor": "ancestral",
        "sampling.ancestral_variance": VARIANCES[c["variance_type"]],
        **_grid(c, True, WHOLE),
        **_limits(c),
        "sampling.num_steps": 0,
    }


def _unclip(c: Json) -> Settings:
    return _ddpm({**c, "timestep_spacing": "linspace", "thresholding": False}) | {
        "sampling.num_steps": 25
    }


def _pndm(c: Json) -> Settings:
    return {"sampling.predictor": "plms", **_grid(c, False, WHOLE)}


def _on_sigmas(c: Json, last_is_zero: bool = True) -> Settings:
    """The grid of Euler's method and its like, and its first state.

    In a leading grid it is of variance 1, in others of the variance of the first level's noise.
    """
    start = "prior" if c["timestep_spacing"] == "leading" else "marginal"
    return {
        **_grid(c, last_is_zero),
        "sampling.warp": _warp(c),
        "sampling.start": start,
    }


def _euler(c: Json) -> Settings:
    return {
        "sampling.predictor": "euler",
        **_on_sigmas(c, c["final_sigmas_type"] == "zero"),
    }


def _euler_ancestral(c: Json) -> Settings:
    grid = _on_sigmas({**SIGMAS, **c})
    return {"sampling.predictor": "ddim", "sampling.eta": 1.0, **grid}


def _heun(c: Json) -> Settings:
    return {"sampling.predictor": "heun", **_on_sigmas(c), **_limits({**c, "thresholding": False})}


def _on_levels(c: Json) -> Settings:
    """The grid of the multistep solvers, which tell the network the nearest level of a warped one.

    A warped grid lies between the ends of all levels.
    """
    last_is_zero = c["final_sigmas_type"] == "zero"
    warp = _warp(c)
    if warp == "none":
        return _grid(c, last_is_zero, OPEN)
    ends = {
        "sampling.grid": "published",
        "sampling.spacing": "linspace",
        "sampling.noise_removal": last_is_zero,
    }
    return {**ends, "sampling.warp": warp, "model.conditioning": "index"}


def _dpm_solver(c: Json) -> Settings:
    ends = ALWAYS if c["euler_at_final"] else SHORT if c["lower_order_final"] else 0
    predictor = PREDICTORS[c["algorithm_type"]]
    order = {"sampling.order": c["solver_order"]}
    start = {"sampling.high_order_start": False}
    end = {"sampling.low_order_end": 0 if c["final_sigmas_type"] == "zero" else ends}
    return {
        "sampling.predictor": predictor,
        **order,
        **({} if predictor == "sde_dpm_solver_pp" else start | end),
        "sampling.second_order": SOLVERS[c["solver_type"]],
        **_on_levels(c),
        **_limits({**LIMITS, **c, "clip_sample": False}),
    }


def _unipc(c: Json) -> Settings:
    return {
        "sampling.predictor": "unipc",
        "sampling.order": c["solver_order"],
        "sampling.high_order_start": False,
        **_on_levels(c),
        **_limits({**LIMITS, **c, "clip_sample": False}),
    }


class SchedulerRow(NamedTuple):
    """A scheduler's own keys with diffusers' defaults, their rules, and the settings they mean.

    noiseless: whether with zero terminal SNR its last alpha is 0, and not 2^-12.
    model: defaults of diffusers for keys of the noise levels, where they differ from those of most.
    """

    keys: Settings
    rules: Mapping[str, JsonRule]
    settings: Callable[[Json], Settings]
    noiseless: bool = False
    model: Settings = {}


SOLVER: Settings = {
    "solver_order": 2, "thresholding": False, "dynamic_thresholding_ratio": 0.995,
    "sample_max_value": 1.0, "lower_order_final": True, "final_sigmas_type": "zero",
    "use_dynamic_shifting": False, **SIGMAS, **OF_THE_GRID,
}  # fmt: skip
SOLVER_RULES: dict[str, JsonRule] = {
    "solver_order": one_of(1, 2), "thresholding": FLAG,
    "dynamic_thresholding_ratio": number_in(1e-6, 1), "sample_max_value": number_in(1, 1e6),
    "lower_order_final": FLAG, "final_sigmas_type": FINAL, "use_dynamic_shifting": one_of(False),
    **SIGMA_RULES, **GRID_RULES,
}  # fmt: skip
LEADING = {**OF_THE_GRID, "timestep_spacing": "leading"}

SCHEDULERS: dict[str, SchedulerRow] = {
    "DDIMScheduler": SchedulerRow(
        {"set_alpha_to_one": True, **LIMITS, **LEADING},
        {"set_alpha_to_one": FLAG, **LIMIT_RULES, **GRID_RULES},
        _ddim,
        noiseless=True,
    ),
    "DDPMScheduler": SchedulerRow(
        {"variance_type": "fixed_small", **LIMITS, **LEADING},
        {"variance_type": one_of(*VARIANCES), **LIMIT_RULES, **GRID_RULES},
        _ddpm,
        noiseless=True,
    ),
    "UnCLIPScheduler": SchedulerRow(
        {"variance_type": "fixed_small_log", **LIMITS, "steps_offset": 0},
        {"variance_type": one_of("fixed_small_log", "learned_range"), **LIMIT_RULES},
        _unclip,
        model={"beta_schedule": "squaredcos_cap_v2"},
    ),
    "PNDMScheduler": SchedulerRow(
        {"skip_prk_steps": False, "set_alpha_to_one": False, **LEADING},
        {
            "skip_prk_steps": one_of(True),
            "set_alpha_to_one": one_of(False),
            "prediction_type": one_of("epsilon"),
            **GRID_RULES,
        },
        _pndm,
    ),
    "EulerDiscreteScheduler": SchedulerRow(
        {
            "interpolation_type": "linear", "sigma_min": None, "sigma_max": None,
            "timestep_type": "discrete", "final_sigmas_type": "zero", **SIGMAS, **OF_THE_GRID,
        },
        {
            "interpolation_type": one_of("linear"), "sigma_min": one_of(None),
            "sigma_max": one_of(None), "timestep_type": one_of("discrete"),
            "final_sigmas_type": FINAL, **SIGMA_RULES, **GRID_RULES,
        },
        _euler,
    ),
    "EulerAncestralDiscreteScheduler": SchedulerRow({**OF_THE_GRID}, GRID_RULES, _euler_ancestral),
    "HeunDiscreteScheduler": SchedulerRow(
        {"clip_sample": False, "clip_sample_range": 1.0, **SIGMAS, **OF_THE_GRID},
        {"clip_sample": one_of(False), **SIGMA_RULES, **GRID_RULES},
        _heun,
        model={"beta_start": 0.00085, "beta_end": 0.012},
    ),
    "DPMSolverMultistepScheduler": SchedulerRow(
        {
            "algorithm_type": "dpmsolver++", "solver_type": "midpoint", "euler_at_final": False,
            "lambda_min_clipped": float("-inf"), "variance_type": None, **SOLVER,
        },
        {
            "algorithm_type": one_of(*PREDICTORS), "solver_type": one_of(*SOLVERS),
            "euler_at_final": FLAG, "lambda_min_clipped": one_of(float("-inf")),
            "variance_type": one_of(None), **SOLVER_RULES,
        },
        _dpm_solver,
    ),
    "UniPCMultistepScheduler": SchedulerRow(
        {
            "predict_x0": True, "solver_type": "bh2", "disable_corrector": [], "solver_p": None,
            "sigma_min": None, "sigma_max": None, "shift_terminal": None, **SOLVER,
        },
        {
            "predict_x0": one_of(True), "solver_type": one_of("bh2"),
            "disable_corrector": one_of([]), "solver_p": one_of(None), "sigma_min": one_of(None),
            "sigma_max": one_of(None), "shift_terminal": one_of(None), **SOLVER_RULES,
            "final_sigmas_type": one_of("zero"),
        },
        _unipc,
    ),
}  # fmt: skip
"""Schedulers whose runs have a counterpart here, by their class."""
OTHERS = (
    "DDIMInverseScheduler", "DDIMParallelScheduler", "DDPMParallelScheduler",
    "DEISMultistepScheduler", "DPMSolverSDEScheduler", "DPMSolverSinglestepScheduler",
    "KDPM2AncestralDiscreteScheduler", "KDPM2DiscreteScheduler", "LCMScheduler",
    "LMSDiscreteScheduler", "SASolverScheduler", "TCDScheduler",
)  # fmt: skip
"""Further schedulers of models of the same noise levels, whose runs have none."""
INSTEAD: Settings = {
    "sampling.predictor": "dpm_solver_pp", "sampling.high_order_start": False,
    "sampling.grid": "published", "sampling.spacing": "linspace_open",
    "sampling.noise_removal": True,
}  # fmt: skip
"""The settings for a run without a counterpart: DPM-Solver++ (2M)."""


def sampling_settings(scheduler: Json) -> Settings:
    """The sampling settings of a scheduler of `SCHEDULERS`.

    Raises:
      PretrainedError: a value has no counterpart; it names the key.
    """
    row = SCHEDULERS[scheduler["_class_name"]]
    c = {key: scheduler.get(key, default) for key, default in row.keys.items()}
    c["prediction_type"] = scheduler.get("prediction_type", "epsilon")
    check(FILE, c, row.rules)
    found = {"sampling.num_steps": USUAL_STEPS, **row.settings(c)}
    if found["sampling.num_steps"]:
        levels = scheduler.get("num_train_timesteps", 1000)
        found["sampling.num_steps"] = min(found["sampling.num_steps"], max(levels // 2, 1))
    return found
