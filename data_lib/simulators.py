"""Simulators: a prior of parameters theta, and what is observed, x, given them.

The tasks and their numbers are those of Lueckmann et al. 2021, "Benchmarking Simulation-Based
Inference" (arXiv:2101.04653, appendix T); two_moons is of Greenberg et al. 2019
(arXiv:1905.07488). Each is two functions of a generator; a new one is two functions and a row.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Rng = np.random.Generator
Draw = Callable[[str], Rng]
"""A generator for each of the random quantities that have a name."""
Rows = Float[np.ndarray, "n d"]
Observed = Float[np.ndarray, "n k"]


class Simulator(NamedTuple):
    """prior(rng, n) draws theta [n, d]; observe(draw, theta) draws x [n, k] given each."""

    prior: Callable[[Rng, int], Rows]
    observe: Callable[[Draw, Rows], Observed]


def box(half: float, d: int) -> Callable[[Rng, int], Rows]:
    """The uniform law on [-half, half]^d."""
    return lambda rng, n: rng.uniform(-half, half, (n, d))


def normal(variance: float, d: int) -> Callable[[Rng, int], Rows]:
    """N(0, variance I)."""
    return lambda rng, n: np.sqrt(variance) * rng.standard_normal((n, d))


def two_moons(draw: Draw, theta: Rows) -> Observed:
    """A crescent, moved by theta: its posterior is two crescents.

    x = (r cos a + 1/4, r sin a) + (-|theta_1 + theta_2|, -theta_1 + theta_2) / sqrt(2), with
    a ~ U(-pi/2, pi/2), r ~ N(0.1, 0.01^2).
    """
    n = len(theta)
    a = draw("angle").uniform(-np.pi / 2, np.pi / 2, n)
    r = 0.1 + 0.01 * draw("radius").standard_normal(n)
    moved = np.stack([-np.abs(theta[:, 0] + theta[:, 1]), theta[:, 1] - theta[:, 0]], axis=1)
    return np.stack([r * np.cos(a) + 0.25, r * np.sin(a)], axis=1) + moved / np.sqrt(2)


def gaussian_linear(draw: Draw, theta: Rows) -> Observed:
    """x ~ N(theta, 0.1 I); with the prior N(0, 0.1 I) the posterior is N(x / 2, 0.05 I)."""
    return theta + np.sqrt(0.1) * draw("noise").standard_normal(theta.shape)


def gaussian_mixture(draw: Draw, theta: Rows) -> Observed:
    """x ~ 1/2 N(theta, I) + 1/2 N(theta, 0.1^2 I)."""
    wide = draw("component").random(len(theta)) < 0.5
    noise = draw("noise").standard_normal(theta.shape)
    return theta + np.where(wide, 1.0, 0.1)[:, None] * noise


def slcp(draw: Draw, theta: Rows) -> Observed:
    """Four points of N(m, S): a simple likelihood whose posterior is complex.

    m = (theta_1, theta_2), deviations theta_3^2 and theta_4^2, correlation tanh(theta_5).
    """
    z = draw("noise").standard_normal((len(theta), 4, 2))
    s1, s2, rho = theta[:, 2, None] ** 2, theta[:, 3, None] ** 2, np.tanh(theta[:, 4, None])
    first = theta[:, 0, None] + s1 * z[..., 0]
    mixed = rho * z[..., 0] + np.sqrt(1 - rho**2) * z[..., 1]
    return np.stack([first, theta[:, 1, None] + s2 * mixed], axis=2).reshape(len(theta), 8)


SIMULATORS: dict[str, Simulator] = {
    "two_moons": Simulator(box(1.0, 2), two_moons),
    "gaussian_linear": Simulator(normal(0.1, 10), gaussian_linear),
    "gaussian_mixture": Simulator(box(10.0, 2), gaussian_mixture),
    "slcp": Simulator(box(3.0, 5), slcp),
}
"""Value of data.task -> the simulator."""
