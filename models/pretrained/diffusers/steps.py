"""The sampling settings of a diffusers scheduler_config.json, which give the states of its runs.

Each scheduler is a row of `SCHEDULERS`: the keys that it has beside those of the noise levels, the
values of them that have a counterpart here, and the settings that they mean. What diffusers writes
into files of other schedulers is ignored by it, and here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from models.pretrained.base import Overrides
from models.pretrained.diffusers.grids import (
    FILE,
    FINAL,
    GRID_RULES,
    LIMIT_RULES,
    LIMITS,
    OF_THE_GRID,
    SIGMA_RULES,
    SIGMAS,
    WHOLE,
    distilled,
    even,
    grid,
    limited,
    limits,
    on_sigmas,
)
from models.pretrained.diffusers.rules import (
    FLAG,
    Json,
    JsonRule,
    check,
    integer_in,
    number_in,
    one_of,
)
from models.pretrained.diffusers.solvers import (
    ALGORITHMS,
    GROUPED,
    SOLVER,
    SOLVER_RULES,
    SOLVERS,
    deis,
    dpm_solver,
    singlestep,
    unipc,
)

USUAL_STEPS = 50
"""Number of steps of diffusers' pipelines, DDPM's apart, which takes all levels."""
VARIANCES = {
    "fixed_small": "posterior", "fixed_small_log": "posterior", "fixed_large": "kernel",
    "fixed_large_log": "kernel", "learned_range": "learned",
}  # fmt: skip


def _ddim(c: Json) -> Overrides:
    return {"sampling.predictor": "ddim", **even(c), **limits(c)}


def _ddpm(c: Json) -> Overrides:
    return {
        "sampling.predictor": "ancestral",
        "sampling.ancestral_variance": VARIANCES[c["variance_type"]],
        **grid(c, True, WHOLE),
        **limits(c),
        "sampling.num_steps": 0,
    }


def _unclip(c: Json) -> Overrides:
    return _ddpm({**c, "timestep_spacing": "linspace", "thresholding": False}) | {
        "sampling.num_steps": 25
    }


def _pndm(c: Json) -> Overrides:
    return {
        "sampling.predictor": "plms",
        "sampling.form": "angle" if c["prediction_type"] == "v_prediction" else "noise",
        "sampling.plms_start": "improved" if c["skip_prk_steps"] else "runge_kutta",
        **even(c),
    }


def _euler(c: Json) -> Overrides:
    ending = "denoiser" if c["final_sigmas_type"] == "zero" else "unscaled"
    return {"sampling.predictor": "euler", **on_sigmas(c), "sampling.ending": ending}


def _lms(c: Json) -> Overrides:
    return {
        "sampling.predictor": "lms",
        "sampling.order": 4,
        "sampling.high_order_start": False,
        "sampling.ending": "clean",
        **on_sigmas(c),
    }


def _kdpm2(c: Json) -> Overrides:
    return {"sampling.predictor": "dpm_solver", "sampling.order": 2, **on_sigmas(c)}


def _euler_ancestral(c: Json) -> Overrides:
    grid = on_sigmas({**SIGMAS, **c})
    return {"sampling.predictor": "ddim", "sampling.eta": 1.0, **grid}


def _heun(c: Json) -> Overrides:
    return {"sampling.predictor": "heun", **on_sigmas(c), **limited(c, False)}


def _kdpm2_ancestral(c: Json) -> Overrides:
    return {"sampling.predictor": "dpm2_ancestral", **on_sigmas(c)}


def _dpm_sde(c: Json) -> Overrides:
    return {"sampling.predictor": "brownian_dpm", **on_sigmas(c)}


def _lcm(c: Json) -> Overrides:
    return {
        "sampling.predictor": "consistency",
        "sampling.timestep_scaling": float(c["timestep_scaling"]),
        "sampling.ending": "clean",
        **distilled(c),
        **limits(c),
    }


def _tcd(c: Json) -> Overrides:
    return {
        "sampling.predictor": "tcd",
        "sampling.eta": 0.3,
        "sampling.ending": "lowest",
        **distilled(c),
    }


class SchedulerRow(NamedTuple):
    """A scheduler's own keys with diffusers' defaults, their rules, and the settings they mean.

    noiseless: whether with zero terminal SNR its last alpha is 0, and not 2^-12.
    model: defaults of diffusers for keys of the noise levels, where they differ from those of most.
    """

    keys: Overrides
    rules: Mapping[str, JsonRule]
    settings: Callable[[Json], Overrides]
    noiseless: bool = False
    model: Overrides = {}


K_DIFFUSION: Overrides = {"beta_start": 0.00085, "beta_end": 0.012}
DISTILLED: Overrides = {
    "original_inference_steps": 50, "set_alpha_to_one": True, "steps_offset": 0,
    "timestep_spacing": "leading",
}  # fmt: skip
"""Keys of schedulers of distilled models; the last three change nothing."""
DISTILLED_RULES: dict[str, JsonRule] = {"original_inference_steps": integer_in(1, 1_000_000)}
LEADING = {**OF_THE_GRID, "timestep_spacing": "leading"}

DDIM_ROW = SchedulerRow(
    {"set_alpha_to_one": True, **LIMITS, **LEADING},
    {"set_alpha_to_one": FLAG, **LIMIT_RULES, **GRID_RULES},
    _ddim,
    noiseless=True,
)
DDPM_ROW = SchedulerRow(
    {"variance_type": "fixed_small", **LIMITS, **LEADING},
    {"variance_type": one_of(*VARIANCES), **LIMIT_RULES, **GRID_RULES},
    _ddpm,
    noiseless=True,
)
SCHEDULERS: dict[str, SchedulerRow] = {
    "DDIMScheduler": DDIM_ROW,
    "DDIMParallelScheduler": DDIM_ROW,
    "DDPMScheduler": DDPM_ROW,
    "DDPMParallelScheduler": DDPM_ROW,
    "UnCLIPScheduler": SchedulerRow(
        {"variance_type": "fixed_small_log", **LIMITS, "steps_offset": 0},
        {"variance_type": one_of("fixed_small_log", "learned_range"), **LIMIT_RULES},
        _unclip,
        model={"beta_schedule": "squaredcos_cap_v2"},
    ),
    "PNDMScheduler": SchedulerRow(
        {"skip_prk_steps": False, "set_alpha_to_one": False, **LEADING},
        {
            "skip_prk_steps": FLAG,
            "set_alpha_to_one": FLAG,
            "prediction_type": one_of("epsilon", "v_prediction"),
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
        {"clip_sample": FLAG, "clip_sample_range": number_in(1e-6, 1e6), **SIGMA_RULES,
         **GRID_RULES},
        _heun,
        model=K_DIFFUSION,
    ),
    "LMSDiscreteScheduler": SchedulerRow(
        {**SIGMAS, **OF_THE_GRID}, {**SIGMA_RULES, **GRID_RULES}, _lms
    ),
    "KDPM2DiscreteScheduler": SchedulerRow(
        {**SIGMAS, **OF_THE_GRID}, {**SIGMA_RULES, **GRID_RULES}, _kdpm2, model=K_DIFFUSION
    ),
    "KDPM2AncestralDiscreteScheduler": SchedulerRow(
        {**SIGMAS, **OF_THE_GRID}, {**SIGMA_RULES, **GRID_RULES}, _kdpm2_ancestral,
        model=K_DIFFUSION,
    ),
    "DPMSolverSDEScheduler": SchedulerRow(
        {"noise_sampler_seed": None, **SIGMAS, **OF_THE_GRID}, {**SIGMA_RULES, **GRID_RULES},
        _dpm_sde, model=K_DIFFUSION,
    ),
    "LCMScheduler": SchedulerRow(
        {**DISTILLED, **LIMITS, "clip_sample": False, "timestep_scaling": 10.0},
        {**DISTILLED_RULES, **LIMIT_RULES, "timestep_scaling": number_in(1e-6, 1e6)},
        _lcm,
        noiseless=True,
        model={"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"},
    ),
    "TCDScheduler": SchedulerRow(
        {**DISTILLED, "timestep_scaling": 10.0},
        DISTILLED_RULES,
        _tcd,
        noiseless=True,
        model={"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"},
    ),
    "DPMSolverSinglestepScheduler": SchedulerRow(
        {
            "algorithm_type": "dpmsolver++", "solver_type": "midpoint",
            "lambda_min_clipped": float("-inf"), "variance_type": None, **SOLVER,
            "lower_order_final": False,
        },
        {
            "algorithm_type": one_of(*GROUPED), "solver_type": one_of(*SOLVERS),
            "lambda_min_clipped": one_of(float("-inf")), "variance_type": one_of(None),
            **{key: rule for key, rule in SOLVER_RULES.items() if key not in GRID_RULES},
        },
        singlestep,
    ),
    "DPMSolverMultistepScheduler": SchedulerRow(
        {
            "algorithm_type": "dpmsolver++", "solver_type": "midpoint", "euler_at_final": False,
            "lambda_min_clipped": float("-inf"), "variance_type": None, **SOLVER,
        },
        {
            "algorithm_type": one_of(*ALGORITHMS), "solver_type": one_of(*SOLVERS),
            "euler_at_final": FLAG, "lambda_min_clipped": one_of(float("-inf")),
            "variance_type": one_of(None), **SOLVER_RULES,
        },
        dpm_solver,
    ),
    "DEISMultistepScheduler": SchedulerRow(
        {"algorithm_type": "deis", "solver_type": "logrho", **SOLVER},
        {"algorithm_type": one_of("deis", "dpmsolver++"), **SOLVER_RULES},
        deis,
    ),
    "UniPCMultistepScheduler": SchedulerRow(
        {
            "predict_x0": True, "solver_type": "bh2", "disable_corrector": [], "solver_p": None,
            "sigma_min": None, "sigma_max": None, "shift_terminal": None, **SOLVER,
        },
        {
            "predict_x0": FLAG, "solver_type": one_of("bh1", "bh2", "midpoint", "heun", "logrho"),
            "disable_corrector": one_of([]), "solver_p": one_of(None), "sigma_min": one_of(None),
            "sigma_max": one_of(None), "shift_terminal": one_of(None), **SOLVER_RULES,
        },
        unipc,
    ),
}  # fmt: skip
"""Schedulers whose runs have a counterpart here, by their class."""
OTHERS = ("DDIMInverseScheduler", "SASolverScheduler")
"""Further schedulers of models of the same noise levels, whose runs have none."""
INSTEAD: Overrides = {
    "sampling.predictor": "dpm_solver_pp", "sampling.high_order_start": False,
    "sampling.grid": "published", "sampling.spacing": "linspace_open",
    "sampling.noise_removal": True,
}  # fmt: skip
"""The settings for a run without a counterpart: DPM-Solver++ (2M)."""


def sampling_settings(scheduler: Json, model: Json) -> Overrides:
    """The sampling settings of a scheduler of `SCHEDULERS`; model: its keys of the noise levels.

    Raises:
      PretrainedError: a value has no counterpart; it names the key.
    """
    row = SCHEDULERS[scheduler["_class_name"]]
    own = {key: scheduler.get(key, default) for key, default in row.keys.items()}
    c = {**model, **own}
    check(FILE, c, row.rules)
    found = {"sampling.num_steps": USUAL_STEPS, **row.settings(c)}
    if found["sampling.num_steps"]:
        most = max(model["num_train_timesteps"] // 2, 1)
        found["sampling.num_steps"] = min(found["sampling.num_steps"], most)
    return found
