"""Samplers of the reverse process; and how a config names them.

A new predictor, corrector or grid is one class and one line in a table below.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from samplers.base import Sampler, Samples, State, count_evaluations, sample, sample_keys
from samplers.correctors import BatchMean, Langevin, NoCorrector, NoiseLevel, NormRatio, PerSample
from samplers.grids import Grid, Karras, LogSNR, Power, Uniform
from samplers.pc import PredictorCorrector
from samplers.predictors import (
    Ancestral,
    EulerMaruyama,
    Heun,
    NoPredictor,
    ReverseDiffusion,
)
from sde_lib import SDE, choose

__all__ = [
    "Ancestral", "BatchMean", "EulerMaruyama", "Heun", "Karras", "Langevin", "LogSNR",
    "NoCorrector", "NoPredictor", "NoiseLevel", "PerSample", "Power", "PredictorCorrector",
    "ReverseDiffusion", "Sampler", "Samples", "State", "Uniform", "build", "build_times",
    "count_evaluations", "sample", "sample_keys",
]  # fmt: skip

Section = Any
"""The `sampling` section of an ml_collections ConfigDict."""

VARIANCES = {"posterior": 0.0, "kernel": 1.0}
NORMS: dict[str, Callable[[], NormRatio]] = {
    "noise_level": NoiseLevel,
    "sample": PerSample,
    "batch": BatchMean,
}
PC_ORDERS = {"corrector_first": True, "predictor_first": False}

PREDICTORS: dict[str, Callable[[Section], Sampler]] = {
    "euler_maruyama": lambda c: EulerMaruyama(),
    "reverse_diffusion": lambda c: ReverseDiffusion(),
    "ancestral": lambda c: Ancestral(
        choose("sampling.ancestral_variance", c.ancestral_variance, VARIANCES)
    ),
    "heun": lambda c: Heun(),
    "none": lambda c: NoPredictor(),
}
PROBABILITY_FLOW: dict[str, Callable[[Section], Sampler]] = {
    "euler_maruyama": lambda c: EulerMaruyama(probability_flow=True),
    "reverse_diffusion": lambda c: ReverseDiffusion(probability_flow=True),
    "heun": lambda c: Heun(),
    "none": lambda c: NoPredictor(),
}
CORRECTORS: dict[str, Callable[[Section], Sampler]] = {
    "langevin": lambda c: Langevin(c.snr, c.n_steps_each, choose("sampling.norm", c.norm, NORMS)()),
    "ald": lambda c: Langevin(c.snr, c.n_steps_each, NoiseLevel()),
    "none": lambda c: NoCorrector(),
}
GRIDS: dict[str, Callable[[Section], Grid]] = {
    "uniform": lambda c: Uniform(),
    "quadratic": lambda c: Power(2.0),
    "log_snr": lambda c: LogSNR(),
    "karras": lambda c: Karras(c.rho),
}
PUBLISHED_NAMES = {"ancestral_sampling": "ancestral"}
"""score_sde's names for the same predictors."""


def _predictor(config: Section) -> Sampler:
    name = PUBLISHED_NAMES.get(config.predictor, config.predictor)
    stochastic = choose("sampling.predictor", name, PREDICTORS)
    if not config.probability_flow:
        return stochastic(config)
    key = "sampling.predictor with sampling.probability_flow=True"
    return choose(key, name, PROBABILITY_FLOW)(config)


def build(config: Section) -> Sampler:
    """The sampler of a `sampling` section."""
    predictor = _predictor(config)
    corrector = choose("sampling.corrector", config.corrector, CORRECTORS)(config)
    if predictor.evaluations + corrector.evaluations == 0:
        raise ValueError(
            "sampling.predictor and sampling.corrector are both 'none': nothing would move; "
            "choose at least one"
        )
    first = choose("sampling.pc_order", config.pc_order, PC_ORDERS)
    return PredictorCorrector(predictor, corrector, first)


def build_times(config: Section, sde: SDE, num_scales: int) -> Float[Array, " n"]:
    """The time grid: `num_steps` steps (0: `num_scales`) from T to `eps` (0: the SDE's own)."""
    steps = config.num_steps or num_scales
    end = config.eps or sde.t_min_sampling
    if not end < sde.T:
        raise ValueError(f"sampling.eps must be below T = {sde.T:g}, got {end:g}")
    grid = choose("sampling.grid", config.grid, GRIDS)(config)
    return jnp.asarray(grid(sde, steps, sde.T, end), jnp.float32)
