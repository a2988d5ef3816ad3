"""The sampling settings of diffusers' multistep solvers and of DPM-Solver's single steps."""

from __future__ import annotations

from typing import NamedTuple

from models.pretrained.base import Overrides
from models.pretrained.diffusers.grids import (
    FILE,
    FINAL,
    GRID_RULES,
    KARRAS,
    OF_THE_GRID,
    SIGMA_RULES,
    SIGMAS,
    limited,
    on_levels,
)
from models.pretrained.diffusers.rules import FLAG, Json, JsonRule, number_in, one_of
from models.pretrained.files.tensors import PretrainedError
from untrusted import shown

ALWAYS, SHORT = 10_000, 15
"""sampling.low_order_end for last steps of falling order in every run, and in those of fewer steps
than diffusers takes for short."""

SOLVERS = {"midpoint": "published", "heun": "exact"}


class Algorithm(NamedTuple):
    """An `algorithm_type`: its predictors, and whether it draws noise and predicts the data."""

    multistep: str
    grouped: str
    stochastic: bool
    of_data: bool


ALGORITHMS = {
    "dpmsolver++": Algorithm("dpm_solver_pp", "dpm_solver_pp_grouped", False, True),
    "dpmsolver": Algorithm("dpm_solver_multistep", "dpm_solver_grouped", False, False),
    "sde-dpmsolver++": Algorithm("sde_dpm_solver_pp", "sde_dpm_solver_pp_grouped", True, True),
    "sde-dpmsolver": Algorithm("sde_dpm_solver", "", True, False),
}
GROUPED = [name for name, algorithm in ALGORITHMS.items() if algorithm.grouped]
"""Algorithms of which there are single steps."""

SOLVER: Overrides = {
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


def dpm_solver(c: Json) -> Overrides:
    """DPM-Solver, DPM-Solver++ and their SDEs, multistep."""
    algorithm = ALGORITHMS[c["algorithm_type"]]
    cosine = c["beta_schedule"] == "squaredcos_cap_v2"
    return {
        "sampling.predictor": algorithm.multistep,
        "sampling.order": c["solver_order"],
        **({} if algorithm.stochastic else {"sampling.high_order_start": False}),
        "sampling.low_order_end": SHORT if c["lower_order_final"] else 0,
        "sampling.euler_end": c["euler_at_final"] or c["final_sigmas_type"] == "zero",
        "sampling.second_order": SOLVERS[c["solver_type"]],
        "sampling.third_order": "published",
        **on_levels(c, () if cosine else (*KARRAS, "use_lu_lambdas")),
        **limited(c, algorithm.of_data),
    }


def singlestep(c: Json) -> Overrides:
    """DPM-Solver and DPM-Solver++ in single steps through the levels of the grid."""
    algorithm, order = ALGORITHMS[c["algorithm_type"]], c["solver_order"]
    if algorithm.stochastic and order == 3 and c["solver_type"] == "heun":
        raise PretrainedError(
            f"its {FILE} has solver_type = 'heun', must be 'midpoint' with solver_order = 3 and "
            f"algorithm_type = {shown(c['algorithm_type'])} to have a counterpart here"
        )
    to_zero = c["final_sigmas_type"] == "zero"
    return {
        "sampling.predictor": algorithm.grouped,
        "sampling.order": order,
        "sampling.low_order_end": ALWAYS if c["lower_order_final"] or to_zero else 0,
        "sampling.euler_end": to_zero,
        "sampling.second_order": SOLVERS[c["solver_type"]],
        **on_levels({**c, "timestep_spacing": "linspace"}, KARRAS),
        **limited(c, algorithm.of_data),
    }


def deis(c: Json) -> Overrides:
    """DEIS in log rho, which is multistep DPM-Solver with exact weights."""
    return {
        "sampling.predictor": "dpm_solver_multistep",
        "sampling.order": c["solver_order"],
        "sampling.high_order_start": False,
        "sampling.low_order_end": SHORT if c["lower_order_final"] else 0,
        "sampling.second_order": "exact",
        **on_levels({**c, "final_sigmas_type": "sigma_min"}, KARRAS),
        **limited(c, False),
    }


def unipc(c: Json) -> Overrides:
    """UniPC on x_0 or on the noise."""
    return {
        "sampling.predictor": "unipc" if c["predict_x0"] else "unipc_noise",
        "sampling.order": c["solver_order"],
        "sampling.high_order_start": False,
        "sampling.low_order_end": ALWAYS if c["lower_order_final"] else 0,
        "sampling.second_order": "published" if c["solver_type"] == "bh2" else "bh1",
        **on_levels(c, KARRAS),
        **(limited(c, True) if c["predict_x0"] else {}),
    }
