"""Every row of the samplers' tables gives the object that is meant, with usual and odd settings.

A row is added here with what it stands for; what that does is proven by the other files.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

import samplers
from configs.schema import get_default
from samplers import (
    DDIM,
    ERSDE,
    IDDPM,
    MEASURES,
    PLMS,
    SEEDS,
    Accelerated,
    AdamsBashforth,
    AdaptiveAdams,
    AdaptiveODE,
    AdaptiveSDE,
    Ancestral,
    AncestralDPM2,
    BatchMean,
    Borrowed,
    BrownianDPM,
    Churn,
    Consistency,
    DPMSolver,
    Ended,
    EulerMaruyama,
    Flow,
    GroupedDPMSolver,
    Idle,
    Indices,
    Karras,
    Langevin,
    LogSNR,
    NoiseLevel,
    PerSample,
    Posterior,
    Power,
    PredictorCorrector,
    Respaced,
    Restart,
    ReverseDiffusion,
    RungeKutta,
    SASolver,
    SDEDPMSolverPP,
    SpacedLevels,
    StochasticHeun,
    TrajectoryConsistency,
    Uniform,
    UniPC,
)
from samplers.adaptive.ode import InLogSNR, InSigma, InTime
from samplers.planned.forms import FORMS
from sde_lib import VP
from sde_lib.tables import made

MULTISTEP = {"order": 4, "high_order_start": False}
EXACT = {"second_order": "exact"}
ENDS = {"third_order": "published", "low_order_end": 9, "euler_end": True}
TOLERANCES = {"rtol": 0.25, "atol": 0.5, "max_steps": 77}
PREDICTORS = {
    "euler_maruyama": [
        ({}, EulerMaruyama()), ({"probability_flow": True}, EulerMaruyama(probability_flow=True))],
    "reverse_diffusion": [
        ({}, ReverseDiffusion()), ({"probability_flow": True}, ReverseDiffusion(True))],
    "ancestral": [({}, Ancestral(0.0)), ({"ancestral_variance": "kernel"}, Ancestral(1.0))],
    "ddim": [({}, DDIM(0.0)), ({"eta": 0.0}, DDIM(0.0)), ({"eta": 0.4}, DDIM(0.4)),
             ({"eta": 1.0}, DDIM(1.0)), ({"even_steps": True}, DDIM(0.0, True)),
             ({"ending": "lowest"}, Ended(DDIM(0.0), "lowest"))],
    "accelerated": [({}, Accelerated(2.0, 0.0)),
                    ({"gamma": 1.5, "mu": 0.3}, Accelerated(1.5, 0.3))],
    "stochastic_heun": [({}, StochasticHeun(1.0)), ({"tau": 0.3}, StochasticHeun(0.3))],
    "edm": [({}, Churn(0.0, 0.0, 1e30, 1.0)),
            ({"s_churn": 3.0, "s_min": 0.1, "s_max": 9.0, "s_noise": 1.1},
             Churn(3.0, 0.1, 9.0, 1.1))],
    "sde_dpm_solver_pp": [
        ({}, SDEDPMSolverPP(1.0, 2, "midpoint")), ({"eta": 0.0}, SDEDPMSolverPP(0.0)),
        ({"eta": 0.3, "order": 3, **EXACT}, SDEDPMSolverPP(0.3, 3, "exact")),
        (ENDS, SDEDPMSolverPP(1.0, 2, "midpoint", "shifted", 9, True))],
    "sde_dpm_solver": [({}, SDEDPMSolverPP(form="noise"))],
    "sde_dpm_solver_pp_grouped": [
        ({}, GroupedDPMSolver(2, "data", "midpoint", 1.0, False, False)),
        ({"order": 3, "low_order_end": 9, "euler_end": True},
         GroupedDPMSolver(3, "data", "midpoint", 1.0, True, True))],
    "dpm2_ancestral": [({}, AncestralDPM2())],
    "brownian_dpm": [({}, BrownianDPM())],
    "consistency": [({}, Consistency(10.0)), ({"timestep_scaling": 3.0}, Consistency(3.0))],
    "tcd": [({}, TrajectoryConsistency(0.3)), ({"eta": 0.0}, TrajectoryConsistency(0.0))],
    "er_sde": [({}, ERSDE(3)), ({"order": 2}, ERSDE(2))],
    "sa_solver": [({}, SASolver(1.0, 0.05, 1.0, 3, 4)),
                  ({"tau": 0.4, "tau_min": 0.1, "tau_max": 2.0, "order": 2},
                   SASolver(0.4, 0.1, 2.0, 2, 3)), ({"order": 5}, SASolver(degree=5, correct=6))],
    "seeds": [({}, SEEDS(3)), ({"order": 1}, SEEDS(1))],
    "restart": [
        ({}, Restart(RungeKutta("heun", "noise"), 0.05, 0.3, 5, 1)),
        ({"restart_solver": "unipc", "restart_min": 0.1, "restart_max": 0.7, "restart_steps": 4,
          "restart_times": 2, "order": 1}, Restart(UniPC(1), 0.1, 0.7, 4, 2))],
    "adaptive_sde": [({}, AdaptiveSDE(0.02, 0.0078, 2000)),
                     (TOLERANCES, AdaptiveSDE(0.25, 0.5, 77))],
    "dpm_solver": [({}, DPMSolver(3, "noise")), ({"order": 2}, DPMSolver(2, "noise"))],
    "dpm_solver_pp_single": [({}, DPMSolver(2, "data")), ({"order": 3}, DPMSolver(3, "data"))],
    "dpm_solver_multistep": [
        ({}, AdamsBashforth(2, "noise", "log_snr", "midpoint", True)),
        ({**MULTISTEP, **EXACT}, AdamsBashforth(4, "noise", "log_snr", "exact", False))],
    "dpm_solver_pp": [
        ({}, AdamsBashforth(2, "data", "log_snr", "midpoint", True)),
        ({"order": 6, **EXACT}, AdamsBashforth(6, "data", "log_snr", "exact", True)),
        ({"low_order_end": 15}, AdamsBashforth(2, "data", "log_snr", "midpoint", True, 15)),
        (ENDS, AdamsBashforth(2, "data", "log_snr", "midpoint", True, 9, True, "halved"))],
    "dpm_solver_grouped": [({}, GroupedDPMSolver(2, "noise", "midpoint", 0.0, False, False))],
    "dpm_solver_pp_grouped": [
        ({}, GroupedDPMSolver(2, "data", "midpoint", 0.0, False, False)),
        (EXACT, GroupedDPMSolver(2, "data", "exact", 0.0, False, False))],
    "deis": [({}, AdamsBashforth(3, "noise", "time", "exact", True)),
             (MULTISTEP, AdamsBashforth(4, "noise", "time", "exact", False))],
    "lms": [({}, AdamsBashforth(4, "noise", "noise", "exact", True)),
            ({"order": 6}, AdamsBashforth(6, "noise", "noise", "exact", True))],
    "adams_bashforth": [
        ({}, AdamsBashforth(2, "noise", "noise", "exact", True)),
        *(({**MULTISTEP, "form": form}, AdamsBashforth(4, form, form, "exact", False))
          for form in MEASURES)],
    "unipc": [({}, UniPC(2, "bh2", True)), ({**MULTISTEP, **EXACT}, UniPC(4, "exact", False)),
              ({"order": 5}, UniPC(5)), ({"second_order": "bh1"}, UniPC(2, "bh1")),
              ({"low_order_end": 9}, UniPC(2, "bh2", True, 9))],
    "unipc_noise": [({}, UniPC(2, "bh2", True, 0, "noise"))],
    "ode": [
        ({}, AdaptiveODE(1e-5, 1e-5, "dopri5", InLogSNR(), False, 2000)),
        ({**TOLERANCES, "ode_solver": "bosh3", "ode_clock": "sigma", "step_control": "batch"},
         AdaptiveODE(0.25, 0.5, "bosh3", InSigma(), True, 77)),
        ({"ode_clock": "time"}, AdaptiveODE(clock=InTime(), max_steps=2000))],
    "plms": [({}, PLMS()),
             ({"form": "angle", "plms_start": "runge_kutta", "even_steps": True},
              PLMS("angle", True, True))],
    "adaptive_adams": [({}, AdaptiveAdams(3e-4, 3e-4, 2000)),
                       (TOLERANCES, AdaptiveAdams(0.25, 0.5, 77))],
    "none": [({"corrector": "ald"}, PredictorCorrector(Idle(), Langevin(0.16, 1, NoiseLevel())))],
    **{name: [({}, RungeKutta(name, "noise")),
              *(({"form": form}, RungeKutta(name, form)) for form in FORMS)]
       for name in ("euler", "heun", "midpoint", "ralston", "kutta3", "rk4")},
}  # fmt: skip
CORRECTORS = {
    "langevin": [
        ({}, Langevin(0.16, 1, NoiseLevel())),
        ({"snr": 0.3, "n_steps_each": 4, "norm": "sample"}, Langevin(0.3, 4, PerSample())),
        ({"norm": "batch"}, Langevin(0.16, 1, BatchMean()))],
    "ald": [({"snr": 0.3, "n_steps_each": 4, "norm": "batch"}, Langevin(0.3, 4, NoiseLevel()))],
    "posterior": [({}, Posterior(0.1, 1)), ({"delta": 0.4, "n_steps_each": 2}, Posterior(0.4, 2))],
}  # fmt: skip
GRIDS = {
    "uniform": Uniform(), "quadratic": Power(2.0), "log_snr": LogSNR(), "exponential": LogSNR(),
    "ve": LogSNR(), "karras": Karras(5.0), "edm": Karras(7.0), "vp": Borrowed(VP()),
    "iddpm": IDDPM(), "flow": Flow(3.0), "trailing": Indices(50, True),
    "leading": Indices(50, False), "respaced": Respaced(50, "10"),
    "published": SpacedLevels(50, "leading", 1, "karras", 5.0),
}  # fmt: skip
"""With rho = 5, shift = 3, an offset of 1, a warp and 50 levels."""


def built(**settings: object) -> samplers.Sampler:
    config = get_default().sampling
    config.update(settings)
    return samplers.build(config)


def test_every_row_is_here() -> None:
    assert set(PREDICTORS) == set(samplers.PREDICTORS)
    assert {*CORRECTORS, "none"} == set(samplers.CORRECTORS)
    assert set(GRIDS) == set(samplers.GRIDS)


@pytest.mark.parametrize("name", PREDICTORS)
def test_a_predictor_is_the_object_that_is_meant(name: str) -> None:
    for settings, expected in PREDICTORS[name]:
        assert built(predictor=name, **settings) == expected, settings


OWN = (
    "euler_maruyama", "reverse_diffusion", "ancestral", "ddim", "accelerated", "stochastic_heun",
    "sde_dpm_solver_pp", "er_sde", "sa_solver", "seeds", "adaptive_sde", "dpm_solver", "heun",
    "unipc", "adaptive_adams",
)  # fmt: skip
"""Predictors whose class says the usual settings too."""


def test_a_class_has_the_defaults_of_its_row() -> None:
    for usual in [*(PREDICTORS[n][0][1] for n in OWN), Langevin(0.16, 1), Posterior(0.1, 1)]:
        assert type(usual)() == usual
    assert AdamsBashforth() == AdamsBashforth(2, "data", "log_snr", "exact", True)
    assert Churn() == Churn(0.0, 0.0, math.inf, 1.0, "heun")
    assert Restart(DDIM()) == Restart(DDIM(), 0.05, 0.3, 5, 1)
    ode = AdaptiveODE(1e-5, 1e-5, "dopri5", InLogSNR(), False)
    assert replace(AdaptiveODE(), max_steps=1) == replace(ode, max_steps=1)
    assert (Karras(), Power(), Flow()) == (Karras(7.0), Power(2.0), Flow(1.0))
    assert SpacedLevels(9) == SpacedLevels(9, "leading", 0, "none", 7.0, True)


@pytest.mark.parametrize("name", CORRECTORS)
def test_a_corrector_is_the_object_that_is_meant(name: str) -> None:
    for settings, expected in CORRECTORS[name]:
        for first, order in ((True, "corrector_first"), (False, "predictor_first")):
            found = built(predictor="heun", corrector=name, pc_order=order, **settings)
            assert found == PredictorCorrector(RungeKutta(), expected, first), settings


@pytest.mark.parametrize("name", GRIDS)
def test_a_grid_is_the_object_that_is_meant(name: str) -> None:
    config = get_default().sampling
    config.update({"rho": 5.0, "shift": 3.0, "respacing": "10", "warp": "karras"})
    config.steps_offset = 1
    assert made(samplers.GRIDS[name], config, num_scales=50) == GRIDS[name]


@pytest.mark.parametrize("settings, allowed", [
    ({"predictor": "dpm_solver"}, 3), ({"predictor": "dpm_solver_pp_single"}, 3),
    ({"predictor": "sde_dpm_solver_pp"}, 3), ({"predictor": "er_sde"}, 3),
    ({"predictor": "dpm_solver_pp_grouped"}, 3),
    ({"predictor": "seeds"}, 3), ({"predictor": "sa_solver"}, 5), ({"predictor": "unipc"}, 5),
    ({"predictor": "dpm_solver_pp"}, 6), ({"predictor": "dpm_solver_multistep"}, 6),
    ({"predictor": "deis"}, 6), ({"predictor": "lms"}, 6), ({"predictor": "adams_bashforth"}, 6),
])  # fmt: skip
def test_an_order_is_allowed_up_to_the_highest_there_is(settings, allowed: int) -> None:
    built(**settings, order=allowed)
    with pytest.raises(ValueError, match=f"at most {allowed} .* got {allowed + 1}"):
        built(**settings, order=allowed + 1)
