"""Samplers, correctors and grids by their names in configs.

A row is a class or a function, whose parameters are the settings that it takes
(`sde_lib.tables.made`). Three parameters have other values: `predictor`, the row's own name;
`section`, all settings; and `num_scales`, the number of times of a discrete model.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping
from typing import Any

from configs.names import PUBLISHED_PREDICTORS
from samplers.adaptive.adams import AdaptiveAdams
from samplers.adaptive.integrate import INTEGRATORS
from samplers.adaptive.ode import CLOCKS, AdaptiveODE
from samplers.adaptive.sde import AdaptiveSDE
from samplers.base import Corrector, Sampler
from samplers.correctors import BatchMean, Langevin, NoiseLevel, NormRatio, PerSample, Posterior
from samplers.grids import IDDPM, Borrowed, Flow, Grid, Indices, Karras, LogSNR, Power, Uniform
from samplers.planned.forms import FORMS, MEASURES
from samplers.planned.grouped import GroupedDPMSolver
from samplers.planned.linear import LinearSampler
from samplers.planned.multistep import HIGHEST, AdamsBashforth, UniPC
from samplers.planned.multistep_sde import ERSDE, SASolver, SDEDPMSolverPP
from samplers.planned.plms import COMBINED, PLMS
from samplers.planned.restart import Restart
from samplers.planned.runge_kutta import Churn, RungeKutta
from samplers.planned.singlestep import SEEDS, AncestralDPM2, BrownianDPM, DPMSolver, StochasticHeun
from samplers.predictors import (
    DDIM,
    Accelerated,
    Ancestral,
    Consistency,
    EulerMaruyama,
    Idle,
    ReverseDiffusion,
    TrajectoryConsistency,
)
from samplers.respacing import Respaced
from samplers.spacing import SPACINGS, SpacedLevels
from sde_lib import choose
from sde_lib.tables import made, parameters

VARIANCES: dict[str, dict[str, Any]] = {
    "posterior": {"large": 0.0},
    "kernel": {"large": 1.0},
    "learned": {"learned": True},
}
"""Variances of ancestral sampling by name, as arguments of `Ancestral`."""
NORMS: dict[str, Callable[[], NormRatio]] = {
    "noise_level": NoiseLevel,
    "sample": PerSample,
    "batch": BatchMean,
}
PC_ORDERS = {"corrector_first": True, "predictor_first": False}
STEP_CONTROLS = {"sample": False, "batch": True}
SECOND_ORDERS = {"published": "midpoint", "exact": "exact"}
BH = {"published": "bh2", "exact": "exact", "bh1": "bh1"}
THIRD_ORDERS = {"exact": "exact", "published": "halved"}
SDE_THIRD_ORDERS = {"exact": "exact", "published": "shifted"}
PLMS_STARTS = {"improved": False, "runge_kutta": True}


def _degree(predictor: str, order: int, usual: int, highest: int) -> int:
    """`sampling.order`, or the `usual` order if it is 0."""
    if order > highest:
        raise ValueError(
            f"sampling.order must be at most {highest} with sampling.predictor={predictor!r}, "
            f"got {order}"
        )
    return order or usual


def _grouped(form: str, eta: float) -> Callable[..., Sampler]:
    def row(
        predictor: str, order: int, second_order: str, low_order_end: int, euler_end: bool
    ) -> Sampler:
        second = choose("sampling.second_order", second_order, SECOND_ORDERS)
        degree = _degree(predictor, order, 2, 3)
        return GroupedDPMSolver(degree, form, second, eta, low_order_end > 0, euler_end)

    return row


def _tcd(eta: float) -> Sampler:
    if eta > 1:
        raise ValueError(
            f"sampling.eta must be at most 1 with sampling.predictor='tcd', got {eta:g}"
        )
    return TrajectoryConsistency(eta if eta >= 0 else 0.3)


def _ancestral(ancestral_variance: str) -> Sampler:
    return Ancestral(**choose("sampling.ancestral_variance", ancestral_variance, VARIANCES))


def _edm(s_churn: float, s_min: float, s_max: float, s_noise: float) -> Sampler:
    return Churn(s_churn, s_min, s_max, s_noise)


def _sde_dpm_solver(form: str) -> Callable[..., Sampler]:
    def row(
        predictor: str, order: int, eta: float, second_order: str, third_order: str,
        low_order_end: int, euler_end: bool,
    ) -> Sampler:  # fmt: skip
        second = choose("sampling.second_order", second_order, SECOND_ORDERS)
        third = choose("sampling.third_order", third_order, SDE_THIRD_ORDERS)
        degree = _degree(predictor, order, 2, 3)
        scale = eta if eta >= 0 else 1.0
        return SDEDPMSolverPP(scale, degree, second, third, low_order_end, euler_end, form)

    return row


def _er_sde(predictor: str, order: int) -> Sampler:
    return ERSDE(_degree(predictor, order, 3, 3))


def _sa_solver(predictor: str, order: int, tau: float, tau_min: float, tau_max: float) -> Sampler:
    if tau_min >= tau_max:
        raise ValueError(
            f"sampling.tau_min must be below sampling.tau_max = {tau_max:g}, got {tau_min:g}"
        )
    degree = _degree(predictor, order, 3, HIGHEST - 1)
    return SASolver(tau, tau_min, tau_max, degree, degree + 1)


def _seeds(predictor: str, order: int) -> Sampler:
    return SEEDS(_degree(predictor, order, 3, 3))


def _restart(
    section: Any, restart_solver: str, restart_min: float, restart_max: float, restart_steps: int,
    restart_times: int,
) -> Sampler:  # fmt: skip
    others = {name: row for name, row in PREDICTORS.items() if name != "restart"}
    row = choose("sampling.restart_solver", restart_solver, others)
    solver = made(row, section, predictor=restart_solver)
    if not isinstance(solver, LinearSampler):
        raise ValueError(
            f"sampling.restart_solver must be a solver with a fixed number of steps, got "
            f"{restart_solver!r}"
        )
    return Restart(solver, restart_min, restart_max, restart_steps, restart_times)


def _adaptive_sde(rtol: float, atol: float, max_steps: int) -> Sampler:
    return AdaptiveSDE(rtol or 0.02, atol or 0.0078, max_steps)


def _ddim(eta: float, even_steps: bool) -> Sampler:
    if eta > 1:
        raise ValueError(
            f"sampling.eta must be at most 1 with sampling.predictor='ddim', got {eta:g}"
        )
    return DDIM(max(eta, 0.0), even_steps)


def _plms(form: str, plms_start: str, even_steps: bool) -> Sampler:
    choose("sampling.form with sampling.predictor='plms'", form, COMBINED)
    start = choose("sampling.plms_start", plms_start, PLMS_STARTS)
    return PLMS(form, start, even_steps)


def _runge_kutta(tableau: str) -> Callable[..., Sampler]:
    def row(form: str) -> Sampler:
        choose("sampling.form", form, FORMS)
        return RungeKutta(tableau, form)

    return row


def _dpm_solver(usual: int, form: str) -> Callable[..., Sampler]:
    return lambda predictor, order: DPMSolver(_degree(predictor, order, usual, 3), form)


def _adams(usual: int, form: str, variable: str) -> Callable[..., Sampler]:
    def row(predictor: str, order: int, high_order_start: bool) -> Sampler:
        degree = _degree(predictor, order, usual, HIGHEST)
        return AdamsBashforth(degree, form, variable, "exact", high_order_start)

    return row


def _dpm_solver_multistep(form: str) -> Callable[..., Sampler]:
    def row(
        predictor: str, order: int, second_order: str, third_order: str, high_order_start: bool,
        low_order_end: int, euler_end: bool,
    ) -> Sampler:  # fmt: skip
        second = choose("sampling.second_order", second_order, SECOND_ORDERS)
        third = choose("sampling.third_order", third_order, THIRD_ORDERS)
        degree = _degree(predictor, order, 2, HIGHEST)
        ends = (high_order_start, low_order_end, euler_end)
        return AdamsBashforth(degree, form, "log_snr", second, *ends, third)

    return row


def _adams_bashforth(predictor: str, order: int, form: str, high_order_start: bool) -> Sampler:
    choose("sampling.form with sampling.predictor='adams_bashforth'", form, MEASURES)
    return _adams(2, form, form)(predictor, order, high_order_start)


def _unipc(form: str) -> Callable[..., Sampler]:
    def row(
        predictor: str, order: int, second_order: str, high_order_start: bool, low_order_end: int
    ) -> Sampler:
        variant = choose("sampling.second_order", second_order, BH)
        degree = _degree(predictor, order, 2, HIGHEST - 1)
        return UniPC(degree, variant, high_order_start, low_order_end, form)

    return row


def _ode(
    ode_solver: str, ode_clock: str, rtol: float, atol: float, max_steps: int, step_control: str
) -> Sampler:
    clock = choose("sampling.ode_clock", ode_clock, CLOCKS)()
    choose("sampling.ode_solver", ode_solver, INTEGRATORS)
    shared = choose("sampling.step_control", step_control, STEP_CONTROLS)
    return AdaptiveODE(rtol or 1e-5, atol or 1e-5, ode_solver, clock, shared, max_steps)


def _adaptive_adams(rtol: float, atol: float, max_steps: int) -> Sampler:
    return AdaptiveAdams(rtol or 3e-4, atol or 3e-4, max_steps)


STOCHASTIC: dict[str, Callable[..., Sampler]] = {
    "euler_maruyama": EulerMaruyama,
    "reverse_diffusion": ReverseDiffusion,
    "ancestral": _ancestral,
    "stochastic_heun": StochasticHeun,
    "edm": _edm,
    "sde_dpm_solver": _sde_dpm_solver("noise"),
    "sde_dpm_solver_pp": _sde_dpm_solver("data"),
    "er_sde": _er_sde,
    "sa_solver": _sa_solver,
    "seeds": _seeds,
    "sde_dpm_solver_pp_grouped": _grouped("data", 1.0),
    "dpm2_ancestral": AncestralDPM2,
    "brownian_dpm": BrownianDPM,
    "consistency": lambda timestep_scaling: Consistency(timestep_scaling),
    "tcd": _tcd,
    "restart": _restart,
    "adaptive_sde": _adaptive_sde,
}
DETERMINISTIC: dict[str, Callable[..., Sampler]] = {
    "ddim": _ddim,
    "accelerated": Accelerated,
    "euler": _runge_kutta("euler"),
    "heun": _runge_kutta("heun"),
    "midpoint": _runge_kutta("midpoint"),
    "ralston": _runge_kutta("ralston"),
    "kutta3": _runge_kutta("kutta3"),
    "rk4": _runge_kutta("rk4"),
    "dpm_solver": _dpm_solver(3, "noise"),
    "dpm_solver_pp_single": _dpm_solver(2, "data"),
    "dpm_solver_grouped": _grouped("noise", 0.0),
    "dpm_solver_pp_grouped": _grouped("data", 0.0),
    "dpm_solver_multistep": _dpm_solver_multistep("noise"),
    "dpm_solver_pp": _dpm_solver_multistep("data"),
    "deis": _adams(3, "noise", "time"),
    "lms": _adams(4, "noise", "noise"),
    "adams_bashforth": _adams_bashforth,
    "unipc": _unipc("data"),
    "unipc_noise": _unipc("noise"),
    "plms": _plms,
    "ode": _ode,
    "adaptive_adams": _adaptive_adams,
    "none": Idle,
}
"""Solvers of the probability flow (ddim and accelerated only without noise)."""
PREDICTORS: Mapping[str, Callable[..., Sampler]] = ChainMap(DETERMINISTIC, STOCHASTIC)
"""All predictors, deterministic and stochastic."""
PUBLISHED_NAMES = PUBLISHED_PREDICTORS
"""score_sde's names for the same predictors."""


def _langevin(snr: float, n_steps_each: int, norm: str) -> Corrector:
    return Langevin(snr, n_steps_each, choose("sampling.norm", norm, NORMS)())


def _published(section: Any, num_scales: int, spacing: str, warp: str, noise_removal: bool) -> Grid:
    row = choose("sampling.spacing", spacing, SPACINGS)
    offset = section.steps_offset if "steps_offset" in parameters(row) else 0
    rho = section.rho if warp == "karras" else 7.0
    distilled = section.distilled_steps if "distilled_steps" in parameters(row) else 50
    return SpacedLevels(num_scales, spacing, offset, warp, rho, noise_removal, distilled)


CORRECTORS: dict[str, Callable[..., Corrector]] = {
    "langevin": _langevin,
    "ald": lambda snr, n_steps_each: Langevin(snr, n_steps_each, NoiseLevel()),
    "posterior": lambda delta, n_steps_each: Posterior(delta, n_steps_each),
    "none": Idle,
}
GRIDS: dict[str, Callable[..., Grid]] = {
    "uniform": Uniform,
    "quadratic": lambda: Power(2.0),
    "log_snr": LogSNR,
    "exponential": LogSNR,
    "ve": LogSNR,
    "karras": Karras,
    "edm": lambda: Karras(7.0),
    "vp": Borrowed,
    "iddpm": IDDPM,
    "flow": Flow,
    "trailing": lambda num_scales: Indices(num_scales),
    "leading": lambda num_scales: Indices(num_scales, trailing=False),
    "respaced": Respaced,
    "published": _published,
}
