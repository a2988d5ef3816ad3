"""The grids and limits of diffusers' schedulers as settings: what many of them have in common.

Keys of their files with diffusers' defaults, the values that have a counterpart here, and functions
of the checked values `c`.
"""

from __future__ import annotations

from collections.abc import Mapping

from models.pretrained.base import Overrides
from models.pretrained.diffusers.rules import (
    FLAG,
    Json,
    JsonRule,
    integer_in,
    number_in,
    one_of,
    or_none,
)
from models.pretrained.diffusers.truncated import first_is_below

FILE = "scheduler_config.json"
FEW_STEPS = 4
"""Number of steps of pipelines with consistency models."""

SPACING = one_of("leading", "trailing", "linspace")
SIGMAS: Overrides = {
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
OF_THE_GRID: Overrides = {"timestep_spacing": "linspace", "steps_offset": 0}
GRID_RULES = {"timestep_spacing": SPACING, "steps_offset": integer_in(0, 1000)}
LIMITS: Overrides = {
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
KARRAS = ("use_karras_sigmas",)
BELOW = {False: "index_below", True: "index_strictly_below"}
"""model.conditioning by the truncation of the first level."""


def warp_of(c: Json) -> str:
    """Our name of the spacing of sigma."""
    return next((name for key, name in WARPS.items() if c.get(key)), "none")


def grid(c: Json, last_is_zero: bool, names: Mapping[str, str] = {}) -> Overrides:
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


def even(c: Json) -> Overrides:
    """The grid of DDIM and PNDM, whose steps go down by as many levels whatever the spacing."""
    return {
        **grid(c, True, WHOLE),
        "sampling.even_steps": True,
        "sampling.ending": "clean" if c["set_alpha_to_one"] else "lowest",
    }


def on_sigmas(c: Json, last_is_zero: bool = True) -> Overrides:
    """The grid of Euler's method and its like, and its first state.

    In a leading grid it is of variance 1, in others of the variance of the first level's noise.
    """
    start = "prior" if c["timestep_spacing"] == "leading" else "marginal"
    return {
        **grid(c, last_is_zero),
        "sampling.warp": warp_of(c),
        "sampling.start": start,
    }


def distilled(c: Json) -> Overrides:
    """The grid of consistency models."""
    return {
        "sampling.grid": "published",
        "sampling.spacing": "distilled",
        "sampling.distilled_steps": c["original_inference_steps"],
        "sampling.noise_removal": True,
        "sampling.num_steps": FEW_STEPS,
    }


def on_levels(c: Json, nearest: tuple[str, ...]) -> Overrides:
    """The grid of the multistep solvers, which tell the network a whole level for a warped one.

    A warped grid lies between the ends of all levels, and the least of these is its last, so that
    the step from there to sigma_min is none. nearest: keys of warps whose levels are rounded, and
    not truncated.
    """
    last_is_zero = c["final_sigmas_type"] == "zero"
    warp = warp_of(c)
    if warp == "none":
        ending = "clean" if last_is_zero else "lowest"
        return {**grid(c, True, OPEN), "sampling.ending": ending}
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


def limits(c: Json) -> Overrides:
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


def limited(c: Json, in_data: bool) -> Overrides:
    """The limits of a solver; one of the noise takes that which goes with the limited x_0."""
    found = limits({**LIMITS, "clip_sample": False, **c})
    return found if in_data or not found else {**found, "sampling.clip_noise": True}
