"""Samplers of the reverse process; and how a config names them.

A new predictor, corrector or grid is one class and one line in a table below.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from samplers.adaptive_adams import AdaptiveAdams
from samplers.adaptive_sde import AdaptiveSDE
from samplers.base import Corrector, Plan, Sampler, Samples, State, run, sample, sample_keys
from samplers.correctors import BatchMean, Langevin, NoiseLevel, NormRatio, PerSample, Posterior
from samplers.forms import FORMS, MEASURES
from samplers.grids import IDDPM, Borrowed, Flow, Grid, Karras, Levels, LogSNR, Power, Uniform
from samplers.integrate import INTEGRATORS
from samplers.linear import LinearSampler
from samplers.multistep import ERSDE, HIGHEST, AdamsBashforth, SASolver, SDEDPMSolverPP, UniPC
from samplers.ode import CLOCKS, AdaptiveODE
from samplers.pc import PredictorCorrector
from samplers.predictors import (
    DDIM,
    Accelerated,
    Ancestral,
    EulerMaruyama,
    Idle,
    ReverseDiffusion,
)
from samplers.restart import Restart
from samplers.runge_kutta import Churn, RungeKutta
from samplers.singlestep import SEEDS, DPMSolver
from sde_lib import Score, choose

__all__ = [
    "Accelerated", "AdamsBashforth", "AdaptiveAdams", "AdaptiveODE", "AdaptiveSDE", "Ancestral",
    "BatchMean", "Borrowed", "BudgetError", "Churn", "Corrector", "DDIM", "DPMSolver", "ERSDE",
    "EulerMaruyama", "Flow", "IDDPM", "Idle", "Karras", "Langevin", "Levels", "LogSNR",
    "NoiseLevel", "PerSample", "Plan", "Posterior", "Power", "PredictorCorrector", "Restart",
    "ReverseDiffusion", "RungeKutta", "SASolver", "SDEDPMSolverPP", "SEEDS", "Sampler",
    "Samples", "State", "UniPC", "Uniform", "build", "build_times", "only_ends", "run",
    "sample", "sample_keys",
]  # fmt: skip

Section = Any
"""The `sampling` section of an ml_collections ConfigDict."""


class BudgetError(ValueError):
    """`sampling.nfe` is too small for one step of the sampler."""


VARIANCES = {"posterior": 0.0, "kernel": 1.0}
NORMS: dict[str, Callable[[], NormRatio]] = {
    "noise_level": NoiseLevel,
    "sample": PerSample,
    "batch": BatchMean,
}
PC_ORDERS = {"corrector_first": True, "predictor_first": False}
STEP_CONTROLS = {"sample": False, "batch": True}
SECOND_ORDERS = {"published": "midpoint", "exact": "exact"}


def _order(c: Section, usual: int, highest: int) -> int:
    order = c.order or usual
    if order > highest:
        raise ValueError(
            f"sampling.order must be at most {highest} with sampling.predictor={c.predictor!r}, "
            f"got {order}"
        )
    return order


def _runge_kutta(tableau: str) -> Callable[[Section], Sampler]:
    def build(c: Section) -> Sampler:
        choose("sampling.form", c.form, FORMS)
        return RungeKutta(tableau, c.form)

    return build


def _adams(
    usual: int, form: str, variable: str, published: bool = False
) -> Callable[[Section], Sampler]:
    def build(c: Section) -> Sampler:
        second = choose("sampling.second_order", c.second_order, SECOND_ORDERS)
        order = _order(c, usual, HIGHEST)
        rule = second if published else "exact"
        return AdamsBashforth(order, form, variable, rule, c.high_order_start)

    return build


def _plain_adams(c: Section) -> Sampler:
    choose("sampling.form with sampling.predictor='adams_bashforth'", c.form, MEASURES)
    order = _order(c, 2, HIGHEST)
    return AdamsBashforth(order, c.form, c.form, "exact", c.high_order_start)


def _unipc(c: Section) -> Sampler:
    second = choose("sampling.second_order", c.second_order, {"published": "bh2", "exact": "exact"})
    return UniPC(_order(c, 2, HIGHEST - 1), second, c.high_order_start)


def _ddim(c: Section) -> Sampler:
    if c.eta > 1:
        raise ValueError(
            f"sampling.eta must be at most 1 with sampling.predictor='ddim', got {c.eta:g}"
        )
    return DDIM(max(c.eta, 0.0))


def _sa_solver(c: Section) -> Sampler:
    if c.tau_min >= c.tau_max:
        raise ValueError(
            f"sampling.tau_min must be below sampling.tau_max = {c.tau_max:g}, got {c.tau_min:g}"
        )
    order = _order(c, 3, HIGHEST - 1)
    return SASolver(c.tau, c.tau_min, c.tau_max, order, order + 1)


def _sde_dpm_solver_pp(c: Section) -> Sampler:
    second = choose("sampling.second_order", c.second_order, SECOND_ORDERS)
    return SDEDPMSolverPP(c.eta if c.eta >= 0 else 1.0, _order(c, 2, 3), second)


def _restart(c: Section) -> Sampler:
    key = "sampling.restart_solver"
    others = {name: make for name, make in PREDICTORS.items() if name != "restart"}
    solver = choose(key, c.restart_solver, others)(c)
    if not isinstance(solver, LinearSampler) or solver.stirs:
        raise ValueError(f"{key} must be a solver of fixed steps, got {c.restart_solver!r}")
    return Restart(solver, c.restart_min, c.restart_max, c.restart_steps, c.restart_times)


def _ode(c: Section) -> Sampler:
    clock = choose("sampling.ode_clock", c.ode_clock, CLOCKS)()
    choose("sampling.ode_solver", c.ode_solver, INTEGRATORS)
    shared = choose("sampling.step_control", c.step_control, STEP_CONTROLS)
    rtol, atol = c.rtol or 1e-5, c.atol or 1e-5
    return AdaptiveODE(rtol, atol, c.ode_solver, clock, shared, c.max_steps)


STOCHASTIC: dict[str, Callable[[Section], Sampler]] = {
    "euler_maruyama": lambda c: EulerMaruyama(),
    "reverse_diffusion": lambda c: ReverseDiffusion(),
    "ancestral": lambda c: Ancestral(
        choose("sampling.ancestral_variance", c.ancestral_variance, VARIANCES)
    ),
    "edm": lambda c: Churn(c.s_churn, c.s_min, c.s_max, c.s_noise),
    "sde_dpm_solver_pp": _sde_dpm_solver_pp,
    "er_sde": lambda c: ERSDE(_order(c, 3, 3)),
    "sa_solver": _sa_solver,
    "seeds": lambda c: SEEDS(_order(c, 3, 3)),
    "restart": _restart,
    "adaptive_sde": lambda c: AdaptiveSDE(c.rtol or 0.02, c.atol or 0.0078, c.max_steps),
}
DETERMINISTIC: dict[str, Callable[[Section], Sampler]] = {
    "ddim": _ddim,
    "accelerated": lambda c: Accelerated(c.gamma, c.mu),
    "euler": _runge_kutta("euler"),
    "heun": _runge_kutta("heun"),
    "midpoint": _runge_kutta("midpoint"),
    "ralston": _runge_kutta("ralston"),
    "kutta3": _runge_kutta("kutta3"),
    "rk4": _runge_kutta("rk4"),
    "dpm_solver": lambda c: DPMSolver(_order(c, 3, 3), "noise"),
    "dpm_solver_pp_single": lambda c: DPMSolver(_order(c, 2, 3), "data"),
    "dpm_solver_multistep": _adams(2, "noise", "log_snr", published=True),
    "dpm_solver_pp": _adams(2, "data", "log_snr", published=True),
    "deis": _adams(3, "noise", "time"),
    "lms": _adams(4, "noise", "noise"),
    "adams_bashforth": _plain_adams,
    "unipc": _unipc,
    "ode": _ode,
    "adaptive_adams": lambda c: AdaptiveAdams(c.rtol or 3e-4, c.atol or 3e-4, c.max_steps),
    "none": lambda c: Idle(),
}
"""Solvers of the probability flow (ddim and accelerated: unless asked for noise)."""
PREDICTORS = {**STOCHASTIC, **DETERMINISTIC}
PROBABILITY_FLOW: dict[str, Callable[[Section], Sampler]] = {
    "euler_maruyama": lambda c: EulerMaruyama(probability_flow=True),
    "reverse_diffusion": lambda c: ReverseDiffusion(probability_flow=True),
    **DETERMINISTIC,
}
CHOOSE_THEIR_STEPS = ("ode", "adaptive_adams", "adaptive_sde")

CORRECTORS: dict[str, Callable[[Section], Corrector]] = {
    "langevin": lambda c: Langevin(c.snr, c.n_steps_each, choose("sampling.norm", c.norm, NORMS)()),
    "ald": lambda c: Langevin(c.snr, c.n_steps_each, NoiseLevel()),
    "posterior": lambda c: Posterior(c.delta, c.n_steps_each),
    "none": lambda c: Idle(),
}
GRIDS: dict[str, Callable[[Section, int], Grid]] = {
    "uniform": lambda c, levels: Uniform(),
    "quadratic": lambda c, levels: Power(2.0),
    "log_snr": lambda c, levels: LogSNR(),
    "exponential": lambda c, levels: LogSNR(),
    "ve": lambda c, levels: LogSNR(),
    "karras": lambda c, levels: Karras(c.rho),
    "edm": lambda c, levels: Karras(7.0),
    "vp": lambda c, levels: Borrowed(),
    "iddpm": lambda c, levels: IDDPM(),
    "flow": lambda c, levels: Flow(c.shift),
    "trailing": lambda c, levels: Levels(levels),
    "leading": lambda c, levels: Levels(levels, trailing=False),
}
PUBLISHED_NAMES = {"ancestral_sampling": "ancestral"}
"""score_sde's names for the same predictors."""


def _name(config: Section) -> str:
    return PUBLISHED_NAMES.get(config.predictor, config.predictor)


def _predictor(config: Section) -> Sampler:
    name = _name(config)
    stochastic = choose("sampling.predictor", name, PREDICTORS)
    if not config.probability_flow:
        return stochastic(config)
    key = "sampling.predictor with sampling.probability_flow=True"
    return choose(key, name, PROBABILITY_FLOW)(config)


def build(config: Section) -> Sampler:
    """The sampler of a `sampling` section."""
    predictor = _predictor(config)
    corrector = choose("sampling.corrector", config.corrector, CORRECTORS)(config)
    if config.corrector == "none":
        if _name(config) == "none":
            raise ValueError(
                "sampling.predictor and sampling.corrector are both 'none': nothing would move; "
                "choose at least one"
            )
        return predictor
    first = choose("sampling.pc_order", config.pc_order, PC_ORDERS)
    return PredictorCorrector(predictor, corrector, first)


def build_times(config: Section, score: Score, num_scales: int) -> Float[Array, " n"]:
    """The time grid from T to `eps` (0: the SDE's own).

    As many steps as `nfe` evaluations allow, or `num_steps` (0: `num_scales`). Solvers that choose
    their own steps stop on the way only for the corrector, `num_steps` times, and for frames.
    Raises ValueError for a grid that there cannot be.
    """
    sde = score.sde
    end = config.eps or sde.t_min_sampling
    if not end < sde.T:
        raise ValueError(f"sampling.eps must be below T = {sde.T:g}, got {end:g}")
    grid = choose("sampling.grid", config.grid, GRIDS)(config, num_scales)

    def times(steps: int) -> Float[Array, " n"]:
        return jnp.asarray(grid(sde, steps, sde.T, end), jnp.float32)

    adaptive = _name(config) in CHOOSE_THEIR_STEPS
    if config.nfe and adaptive:
        raise ValueError(
            f"sampling.nfe must be 0 with sampling.predictor={config.predictor!r}, which takes as "
            f"many evaluations as its tolerance asks for, got {config.nfe}"
        )
    if config.nfe:
        return _within_budget(config, score, times)
    if adaptive and config.corrector == "none":
        _check_ends(config, grid)
        return times(max(config.frames, 1))
    return times(config.num_steps or num_scales)


def only_ends(config: Section) -> bool:
    """Whether a `sampling` section asks for no time between the first and the last."""
    adaptive = _name(config) in CHOOSE_THEIR_STEPS
    return adaptive and config.corrector == "none" and config.frames <= 1


def _check_ends(config: Section, grid: Grid) -> None:
    if isinstance(grid, Levels):
        raise ValueError(
            f"sampling.grid={config.grid!r} has levels to evaluate a model at and not the ends of "
            f"time: sampling.predictor={config.predictor!r}, which chooses its own steps, needs "
            "another grid, such as 'uniform'"
        )


def _within_budget(
    config: Section, score: Score, times: Callable[[int], Array]
) -> Float[Array, " n"]:
    """The finest grid whose run, the denoised end included, takes at most `nfe` evaluations."""
    sampler = build(config)

    def cost(steps: int) -> int:
        return sampler.plan(score, times(steps)).nfe + int(config.noise_removal)

    low, high = 0, config.nfe
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if cost(middle) <= config.nfe else (low, middle - 1)
    if not low:
        raise BudgetError(
            f"sampling.nfe must be at least {cost(1)} with these settings, got {config.nfe}"
        )
    return times(low)
