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
from models.pretrained.diffusers.truncated import first_is_below
from models.pretrained.files.tensors import PretrainedError
from untrusted import shown

FILE = "scheduler_config.json"
Settings = dict[str, Any]
USUAL_STEPS, FEW_STEPS = 50, 4
"""Number of steps of diffusers' pipelines, DDPM's apart, which takes all levels, and of pipelines
with consistency models."""
ALWAYS, SHORT = 10_000, 15
"""sampling.low_order_end for last steps of falling order in every run, and in those of fewer steps
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
    "use_beta_sigmas": or_none(FLAG),
    "use_lu_lambdas": or_none(FLAG),
    "use_flow_sigmas": OFF,
}
WARPS = {
    "use_karras_sigmas": "karras", "use_lu_lambdas": "exponential",
    "use_exponential_sigmas": "exponential", "use_beta_sigmas": "beta",
}  # fmt: skip
"""Keys of spacings of sigma, of which diffusers takes the first -> our name."""
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
    "sde-dpmsolver": "sde_dpm_solver",
}

GROUPED = {
    "dpmsolver++": "dpm_solver_pp_grouped",
    "dpmsolver": "dpm_solver_grouped",
    "sde-dpmsolver++": "sde_dpm_solver_pp_grouped",
}


def _warp(c: Json) -> str:
    return next((name for key, name in WARPS.items() if c.get(key)), "none")


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


def _limited(c: Json, in_data: bool) -> Settings:
    """The limits of a solver; one of the noise takes that which goes with the limited x_0."""
    found = _limits({**LIMITS, "clip_sample": False, **c})
    return found if in_data or not found else {**found, "sampling.clip_noise": True}


def _even(c: Json) -> Settings:
    """The grid of DDIM and PNDM, whose steps go down by as many levels whatever the spacing."""
    return {
        **_grid(c, True, WHOLE),
        "sampling.even_steps": True,
        "sampling.ending": "clean" if c["set_alpha_to_one"] else "lowest",
    }


def _ddim(c: Json) -> Settings:
    return {"sampling.predictor": "ddim", **_even(c), **_limits(c)}


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
    return {
        "sampling.predictor": "plms",
        "sampling.form": "angle" if c["prediction_type"] == "v_prediction" else "noise",
        "sampling.plms_start": "improved" if c["skip_prk_steps"] else "runge_kutta",
        **_even(c),
    }


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
    ending = "denoiser" if c["final_sigmas_type"] == "zero" else "unscaled"
    return {"sampling.predictor": "euler", **_on_sigmas(c), "sampling.ending": ending}


def _lms(c: Json) -> Settings:
    return {
        "sampling.predictor": "lms",
        "sampling.order": 4,
        "sampling.high_order_start": False,
        "sampling.ending": "clean",
        **_on_sigmas(c),
    }


def _kdpm2(c: Json) -> Settings:
    return {"sampling.predictor": "dpm_solver", "sampling.order": 2, **_on_sigmas(c)}


def _euler_ancestral(c: Json) -> Settings:
    grid = _on_sigmas({**SIGMAS, **c})
    return {"sampling.predictor": "ddim", "sampling.eta": 1.0, **grid}


def _heun(c: Json) -> Settings:
    return {"sampling.predictor": "heun", **_on_sigmas(c), **_limited(c, False)}


def _kdpm2_ancestral(c: Json) -> Settings:
    return {"sampling.predictor": "dpm2_ancestral", **_on_sigmas(c)}


def _dpm_sde(c: Json) -> Settings:
    return {"sampling.predictor": "brownian_dpm", **_on_sigmas(c)}


def _distilled(c: Json) -> Settings:
    return {
        "sampling.grid": "published",
        "sampling.spacing": "distilled",
        "sampling.distilled_steps": c["original_inference_steps"],
        "sampling.noise_removal": True,
        "sampling.num_steps": FEW_STEPS,
    }


def _lcm(c: Json) -> Settings:
    return {
        "sampling.predictor": "consistency",
        "sampling.timestep_scaling": float(c["timestep_scaling"]),
        "sampling.ending": "clean",
        **_distilled(c),
        **_limits(c),
    }


def _tcd(c: Json) -> Settings:
    return {
        "sampling.predictor": "tcd",
        "sampling.eta": 0.3,
        "sampling.ending": "lowest",
        **_distilled(c),
    }


def _on_levels(c: Json, nearest: tuple[str, ...]) -> Settings:
    """The grid of the multistep solvers, which tell the network a whole level for a warped one.

    A warped grid lies between the ends of all levels, and the least of these is its last, so that
    the step from there to sigma_min is none. nearest: keys of warps whose levels are rounded, and
    not truncated.
    """
    last_is_zero = c["final_sigmas_type"] == "zero"
    warp = _warp(c)
    if warp == "none":
        ending = "clean" if last_is_zero else "lowest"
        return {**_grid(c, True, OPEN), "sampling.ending": ending}
    key = next(key for key in WARPS if c.get(key))
    told = "index" if key in nearest else BELOW[first_is_below(c)]
    return {
        "sampling.grid": "published",
        "sampling.spacing": "linspace",
        "sampling.noise_removal": True,
        "sampling.ending": "clean" if last_is_zero else "still",
        "sampling.warp": warp,
        "model.conditioning": told,
    }


KARRAS = ("use_karras_sigmas",)
BELOW = {False: "index_below", True: "index_strictly_below"}
"""model.conditioning by the truncation of the first level."""


def _dpm_solver(c: Json) -> Settings:
    predictor = PREDICTORS[c["algorithm_type"]]
    stochastic = predictor.startswith("sde")
    cosine = c["beta_schedule"] == "squaredcos_cap_v2"
    return {
        "sampling.predictor": predictor,
        "sampling.order": c["solver_order"],
        **({} if stochastic else {"sampling.high_order_start": False}),
        "sampling.low_order_end": SHORT if c["lower_order_final"] else 0,
        "sampling.euler_end": c["euler_at_final"] or c["final_sigmas_type"] == "zero",
        "sampling.second_order": SOLVERS[c["solver_type"]],
        "sampling.third_order": "published",
        **_on_levels(c, () if cosine else (*KARRAS, "use_lu_lambdas")),
        **_limited(c, c["algorithm_type"].endswith("++")),
    }


def _singlestep(c: Json) -> Settings:
    algorithm, order = c["algorithm_type"], c["solver_order"]
    if algorithm.startswith("sde") and order == 3 and c["solver_type"] == "heun":
        raise PretrainedError(
            f"its {FILE} has solver_type = 'heun', must be 'midpoint' with solver_order = 3 and "
            f"algorithm_type = {shown(algorithm)} to have a counterpart here"
        )
    to_zero = c["final_sigmas_type"] == "zero"
    return {
        "sampling.predictor": GROUPED[algorithm],
        "sampling.order": order,
        "sampling.low_order_end": ALWAYS if c["lower_order_final"] or to_zero else 0,
        "sampling.euler_end": to_zero,
        "sampling.second_order": SOLVERS[c["solver_type"]],
        **_on_levels({**c, "timestep_spacing": "linspace"}, KARRAS),
        **_limited(c, algorithm.endswith("++")),
    }


def _deis(c: Json) -> Settings:
    return {
        "sampling.predictor": "dpm_solver_multistep",
        "sampling.order": c["solver_order"],
        "sampling.high_order_start": False,
        "sampling.low_order_end": SHORT if c["lower_order_final"] else 0,
        "sampling.second_order": "exact",
        **_on_levels({**c, "final_sigmas_type": "sigma_min"}, KARRAS),
        **_limited(c, False),
    }


def _unipc(c: Json) -> Settings:
    return {
        "sampling.predictor": "unipc" if c["predict_x0"] else "unipc_noise",
        "sampling.order": c["solver_order"],
        "sampling.high_order_start": False,
        "sampling.low_order_end": ALWAYS if c["lower_order_final"] else 0,
        "sampling.second_order": "published" if c["solver_type"] == "bh2" else "bh1",
        **_on_levels(c, KARRAS),
        **(_limited(c, True) if c["predict_x0"] else {}),
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
    "solver_order": one_of(1, 2, 3), "thresholding": FLAG,
    "dynamic_thresholding_ratio": number_in(1e-6, 1), "sample_max_value": number_in(1, 1e6),
    "lower_order_final": FLAG, "final_sigmas_type": FINAL, "use_dynamic_shifting": one_of(False),
    **SIGMA_RULES, **GRID_RULES,
}  # fmt: skip
K_DIFFUSION: Settings = {"beta_start": 0.00085, "beta_end": 0.012}
DISTILLED: Settings = {
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
        _singlestep,
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
    "DEISMultistepScheduler": SchedulerRow(
        {"algorithm_type": "deis", "solver_type": "logrho", **SOLVER},
        {"algorithm_type": one_of("deis", "dpmsolver++"), **SOLVER_RULES},
        _deis,
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
        _unipc,
    ),
}  # fmt: skip
"""Schedulers whose runs have a counterpart here, by their class."""
OTHERS = ("DDIMInverseScheduler", "SASolverScheduler")
"""Further schedulers of models of the same noise levels, whose runs have none."""
INSTEAD: Settings = {
    "sampling.predictor": "dpm_solver_pp", "sampling.high_order_start": False,
    "sampling.grid": "published", "sampling.spacing": "linspace_open",
    "sampling.noise_removal": True,
}  # fmt: skip
"""The settings for a run without a counterpart: DPM-Solver++ (2M)."""


def sampling_settings(scheduler: Json, model: Json) -> Settings:
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
