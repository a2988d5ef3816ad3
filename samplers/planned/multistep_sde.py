"""Multistep methods of `samplers.planned.multistep` on reverse SDEs: the same with noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from samplers.planned.forms import DATA, FORMS, VARIABLES
from samplers.planned.levels import Levels, Numbers, Schedule
from samplers.planned.linear import LinearSampler, Row
from samplers.planned.multistep import (
    SHORTCUTS,
    THIRD_ORDERS,
    MultistepMethod,
    Orders,
    multistep,
)
from sde_lib.base import Number
from sde_lib.pytree import pytree, static

LogPhi = Callable[[Numbers], Numbers]
"""log phi as a function of log r."""


def extended(
    log_phi: LogPhi, slope: LogPhi, variable: str, shortcut: str = "exact", third: str = "exact"
) -> MultistepMethod:
    """The family of reverse SDEs whose exact step is, with P = phi(r_B) / phi(r_A),

        x_B / alpha_B = P x_A / alpha_A + phi(r_B) * integral of x_0 d(1 / phi)
                        + sqrt(r_B^2 - P^2 r_A^2) z,

    the marginals being the flow's for every phi that grows at least as r (Cui et al. 2023,
    arXiv:2309.06169, eq. 11 and 13). phi = r is the flow, r^2 the reverse SDE with eta = 1, and
    r^(1 + tau^2) the one whose noise is tau times that.

    slope: d log phi / d log r.
    """

    def deviation(t: Levels, s: Levels) -> Numbers:
        log_p = log_phi(s.log_ratio) - log_phi(t.log_ratio)
        # 1 - P^2 r_A^2 / r_B^2 without cancellation, nor a trace below 0 where P = r_B / r_A.
        exponent = 2 * (log_p + t.log_ratio - s.log_ratio)
        return s.sigma * np.sqrt(np.maximum(-np.expm1(exponent), 0.0))

    return MultistepMethod(
        scale=lambda at: np.exp(-log_phi(at.log_ratio)) / at.alpha,
        coordinate=lambda at: np.exp(-log_phi(at.log_ratio)),
        slope=DATA.slope,
        measure=lambda x: -slope(x) * np.exp(-log_phi(x)),
        variable=VARIABLES[variable],
        shortcut=SHORTCUTS[shortcut],
        curvature=THIRD_ORDERS[third],
        deviation=deviation,
    )


def _reversed_in_data(eta: float, shortcut: str, third: str) -> MultistepMethod:
    power = 1 + eta
    slope = lambda x: np.full_like(x, power)
    return extended(lambda x: power * x, slope, "log_snr", shortcut, third)


def _reversed_in_noise(eta: float, shortcut: str, third: str) -> MultistepMethod:
    """d(x / alpha) = (1 + eta) eps dr plus noise of variance eta (r_A^2 - r_B^2)."""
    return MultistepMethod(
        scale=FORMS["noise"].scale,
        coordinate=lambda at: (1 + eta) * at.ratio,
        slope=FORMS["noise"].slope,
        measure=lambda x: (1 + eta) * np.exp(x),
        variable=VARIABLES["log_snr"],
        shortcut=SHORTCUTS[shortcut],
        curvature=THIRD_ORDERS[third],
        deviation=lambda t, s: s.alpha * np.sqrt(eta * (t.ratio**2 - s.ratio**2)),
    )


REVERSED = {"data": _reversed_in_data, "noise": _reversed_in_noise}
"""Reverse SDEs whose noise is eta^(1/2) times the published, by the form of the polynomial."""


@pytree
class SDEDPMSolverPP(LinearSampler):
    """SDE-DPM-Solver++ of 1 to 3 steps: phi = r^(1 + eta) and x_0 a polynomial in the log-SNR.

    Lu et al. 2022, arXiv:2211.01095, section 5 (eta = 1); noise as k-diffusion's 2M-SDE has it:
    variance 1 - exp(-2 eta h) of the level's. eta = 0 is DPM-Solver++ multistep. `second` is
    'midpoint' or 'exact' (k-diffusion's 'heun'), `third` 'exact' or 'shifted' (diffusers', which is
    of no order). Weak order 2 with two steps or more on Gaussian data, where the noise enters
    linearly; 1 in general. The ends as in `AdamsBashforth`. With form 'noise' the noise eps is the
    polynomial in place of x_0 (SDE-DPM-Solver).
    """

    eta: Number = 1.0
    degree: int = static(default=2)
    second: str = static(default="midpoint")
    third: str = static(default="exact")
    low_order_end: int = static(default=0)
    euler_end: bool = static(default=False)
    form: str = static(default="data")
    stochastic, by_levels = True, True

    @property
    def order(self) -> int:
        return min(self.degree, 2) if self.third == "exact" or self.degree < 3 else 0

    def rows(self, schedule: Schedule, levels: Levels) -> list[Row]:
        method = REVERSED[self.form](float(self.eta), self.second, self.third)
        orders = Orders(self.degree, len(levels) - 1 < self.low_order_end, self.euler_end)
        return multistep(schedule, levels, method, orders)


@pytree
class ERSDE(LinearSampler):
    """Extended reverse-time SDE solvers of 1 to 3 steps: x_0 a polynomial in r.

    Cui et al. 2023, arXiv:2309.06169, algorithms 2 to 5, with phi = r (exp(r^0.3) + 10), the
    paper's choice (ER-SDE 4) for both VE and VP. The paper expands x_0 in a Taylor series with
    differences for derivatives; here it is the polynomial through the same values: equal for two
    steps, and of third order in the integral for three. Weak order as for `SDEDPMSolverPP`.
    """

    degree: int = static(default=3)
    stochastic = True

    @property
    def order(self) -> int:
        return min(self.degree, 2)

    def rows(self, schedule: Schedule, levels: Levels) -> list[Row]:
        def log_phi(x: Numbers) -> Numbers:
            # exp(r^0.3) itself overflows at large r.
            power = np.exp(0.3 * x)
            return x + np.logaddexp(power, np.log(10.0))

        def slope(x: Numbers) -> Numbers:
            power = np.exp(0.3 * x)
            return 1 + 0.3 * power / (1 + 10 * np.exp(-power))

        return multistep(schedule, levels, extended(log_phi, slope, "noise"), Orders(self.degree))


@pytree
class SASolver(LinearSampler):
    """Stochastic Adams: predictor and corrector on the reverse SDE with noise tau(r).

    Xue et al. 2023, arXiv:2309.05019, algorithm 1: phi = r exp(integral of tau^2 d log r), tau
    constant on tau_min <= r <= tau_max and 0 outside; x_0 a polynomial in the log-SNR. The
    corrector (`correct` nodes, 0: none) keeps the predictor's noise. tau = 0 gives exponential
    Adams methods (order `degree`, or one more if corrected), tau = 1 with one step ancestral
    sampling.
    """

    tau: Number = 1.0
    tau_min: Number = 0.05
    tau_max: Number = 1.0
    degree: int = static(default=3)
    correct: int = static(default=4)
    stochastic = True

    @property
    def order(self) -> int:
        return min(max(self.degree, self.correct), 2)

    def rows(self, schedule: Schedule, levels: Levels) -> list[Row]:
        tau, low, high = float(self.tau), np.log(float(self.tau_min)), np.log(float(self.tau_max))

        def log_phi(x: Numbers) -> Numbers:
            return x + tau**2 * (np.clip(x, low, high) - low)

        def slope(x: Numbers) -> Numbers:
            return 1 + tau**2 * ((x >= low) & (x <= high))

        method = extended(log_phi, slope, "log_snr")
        method = replace(method, kinks=(low, high))
        more = self.correct - self.degree if self.correct else None
        return multistep(schedule, levels, method, Orders(self.degree), more=more)
