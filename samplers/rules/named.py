"""Methods for inverse problems by their names in configs.

A method changes the score, the sampler or both for a measurement: one class in a file of its kind
and one row of `METHODS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from samplers.base import Sampler
from samplers.rules.base import StepRule, with_rule
from samplers.rules.daps import DAPS
from samplers.rules.ddrm import DDRM
from samplers.rules.filtering import FPS
from samplers.rules.gradient import MisfitDescent
from samplers.rules.particles import TwistedSMC
from samplers.rules.projection import Projection
from samplers.rules.pseudo_inverse import PseudoInverseStep
from samplers.rules.repaint import RePaint
from samplers.rules.variational import RedDiff
from sde_lib import Score, choose
from sde_lib.measurements.base import Measurement
from sde_lib.measurements.solve import SOLVERS
from sde_lib.posteriors.base import MeasuredScore
from sde_lib.posteriors.moments import MomentMatching, PointLikelihood, PseudoInverse, RowSums
from sde_lib.posteriors.proximal import Proximal
from sde_lib.tables import made

Section = Any
"""The `inverse` section of an ml_collections ConfigDict."""
Reconstructor = Callable[[Score, Sampler, Measurement], tuple[Score, Sampler]]
"""(score, sampler, measurement) -> the score and the sampler that are told of the measurement."""


def _score(change: Callable[[Score, Measurement], MeasuredScore]) -> Reconstructor:
    """A method that changes the score alone, for any sampler."""
    return lambda score, sampler, measurement: (change(score, measurement), sampler)


def _rule(rule: Callable[[Measurement], StepRule]) -> Reconstructor:
    """A method that changes the steps alone, with any score."""
    return lambda score, sampler, measurement: (score, with_rule(sampler, rule(measurement)))


def _number(value: float, usual: float = 0.0) -> Any:
    """The number as an array, so that another needs no other program; below 0: the usual one."""
    return jnp.asarray(value if value >= 0 else usual, jnp.float32)


def _mmps(iterations: int, solver: str) -> Reconstructor:
    solve = choose("inverse.solver", solver, SOLVERS)
    return _score(lambda score, known: MomentMatching(score, known, iterations, solve))


def _pigdm(data_variance: float) -> Reconstructor:
    return _score(lambda score, known: PseudoInverse(score, known, _number(data_variance, 1.0)))


def _diffpir(weight: float) -> Reconstructor:
    return _score(lambda score, known: Proximal(score, known, _number(weight, 10.0)))


def _dps(weight: float, squared: bool) -> Reconstructor:
    return _rule(lambda known: MisfitDescent(known, _number(weight, 1.0), squared))


def _pigdm_step(weight: float) -> Reconstructor:
    return _rule(lambda known: PseudoInverseStep(known, _number(weight, 1.0)))


def _ilvr(stop: float) -> Reconstructor:
    return _rule(lambda known: Projection(known, _number(stop), ends=False))


def _repaint(jump_length: int, jump_n_sample: int) -> Reconstructor:
    def tell(score: Score, sampler: Any, known: Measurement) -> tuple[Score, Sampler]:
        return score, RePaint(known, sampler, jump_length, jump_n_sample)

    return tell


def _ddrm(eta: float, eta_b: float) -> Reconstructor:
    numbers = _number(eta), _number(eta_b)
    return lambda score, sampler, known: (score, DDRM(known, *numbers))


def _daps(
    flow_steps: int, flow_end: float, data_variance: float, langevin: int, langevin_step: float,
    langevin_end: float, tau: float,
) -> Reconstructor:  # fmt: skip
    variance = data_variance if data_variance >= 0 else jnp.inf
    numbers = flow_steps, flow_end, variance, langevin, langevin_step, langevin_end, tau
    return lambda score, sampler, known: (score, DAPS(known, *numbers))


def _tds(particles: int, resample: float, data_variance: float) -> Reconstructor:
    variance = data_variance if data_variance >= 0 else jnp.inf

    def tell(score: Score, sampler: Any, known: Measurement) -> tuple[Score, Sampler]:
        return score, TwistedSMC(known, particles, sampler, variance, _number(resample))

    return tell


def _fps(particles: int, resample: float, data_variance: float) -> Reconstructor:
    numbers = particles, data_variance if data_variance >= 0 else 1.0
    return lambda score, sampler, known: (score, FPS(known, *numbers, share=_number(resample)))


def _red_diff(weight: float, lr: float) -> Reconstructor:
    numbers = _number(weight, 0.25), _number(lr)
    return lambda score, sampler, known: (score, RedDiff(known, *numbers))


@dataclass(frozen=True)
class MethodRow:
    """A method, and what it asks of a problem.

    Attributes:
      make: its constructor, whose parameters are settings of the section `inverse`.
      linear: whether the operator must be linear.
      decomposed: whether the operator must have a singular value decomposition.
      noisy: whether the noise must have a variance, by which it divides.
      conditional: whether the model must have been trained with the measurement as its condition.
    """

    make: Callable[..., Reconstructor]
    linear: bool = True
    decomposed: bool = False
    noisy: bool = False
    conditional: bool = False


METHODS: dict[str, MethodRow] = {
    "mmps": MethodRow(_mmps),
    "pigdm": MethodRow(_pigdm),
    "tmpd": MethodRow(lambda: _score(RowSums), noisy=True),
    "likelihood": MethodRow(lambda: _score(PointLikelihood), linear=False, noisy=True),
    "diffpir": MethodRow(_diffpir),
    "dps": MethodRow(_dps, linear=False),
    "pigdm_step": MethodRow(_pigdm_step),
    "projection": MethodRow(lambda: _rule(Projection)),
    "ilvr": MethodRow(_ilvr),
    "repaint": MethodRow(_repaint),
    "ddrm": MethodRow(_ddrm, decomposed=True),
    "daps": MethodRow(_daps, linear=False),
    "tds": MethodRow(_tds),
    "fps": MethodRow(_fps),
    "red_diff": MethodRow(_red_diff, linear=False),
    "trained": MethodRow(
        lambda: lambda score, sampler, known: (score, sampler), linear=False, conditional=True
    ),
}


def chosen_method(config: Section) -> MethodRow:
    """The row of the method of an `inverse` section; ValueError for an unknown name."""
    return choose("inverse.method", config.method, METHODS)


def build_method(config: Section) -> Reconstructor:
    """The method of an `inverse` section; ValueError for an unknown name."""
    return made(chosen_method(config).make, config)


def check_noise(config: Section, noisy: bool) -> None:
    """Raise ValueError for a method that divides by the noise where there is none."""
    if not noisy and chosen_method(config).noisy:
        others = [name for name, row in METHODS.items() if not row.noisy]
        raise ValueError(
            f"inverse.method={config.method!r} divides by the noise: set inverse.noise above 0, or "
            f"choose one of {', '.join(others)}"
        )
