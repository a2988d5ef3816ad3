"""Posterior scores by the moments of p(x_0 | x_t), whose covariance is V = (sigma^2 / alpha) J."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sde_lib.base import Number
from sde_lib.measurements.base import Measurement
from sde_lib.measurements.solve import Solver, conjugate_gradients
from sde_lib.posteriors.base import Differentiated, Pull
from sde_lib.pytree import pytree, static
from sde_lib.score import Score


@pytree
class MomentMatching(Differentiated):
    """x_0 + V A^T (deviation^2 I + A V A^T)^-1 (y - A x_0), p(x_0 | x_t) taken for a Gaussian.

    The system is solved by `iterations` of `solver`, each a vector-Jacobian product of the network
    (MMPS: Rozet et al. 2024, arXiv:2405.13712); the published product for the result is not needed,
    which is a sum of theirs. Conjugate gradients take the network's Jacobian for symmetric, and go
    astray with several iterations, GMRES does not. Exact for Gaussian data if there are as many
    iterations as numbers in y, an approximation for other data.
    """

    score: Score
    measurement: Measurement
    iterations: int = static(default=5)
    solver: Solver = static(default=conjugate_gradients)

    @property
    def passes(self) -> int:
        """One for each iteration."""
        return self.iterations

    def change(
        self, x0: Float[Array, "b *d"], pull: Pull, alpha: Array, sigma: Array
    ) -> Float[Array, "b *d"]:
        """V A^T u of the solution u."""
        measured = self.measurement

        def product(u: Array) -> tuple[Array, Array]:
            spread = sigma**2 / alpha * pull(measured.operator.transpose(u, x0))
            return measured.variance * u + measured.operator(spread), spread

        return self.solver(product, measured.residual(x0), self.iterations)


@pytree
class PseudoInverse(Differentiated):
    """x_0 + (sigma^2 / alpha) J^T A^T (r^2 A A^T + deviation^2 I)^-1 (y - A x_0).

    The covariance of p(x_0 | x_t) is taken for r^2 I, r^2 = sigma^2 v / (alpha^2 v + sigma^2), that
    of data of variance v alone in each number (PiGDM: Song et al. 2023, "Pseudoinverse-guided
    diffusion models for inverse problems", eq. 7, where v = 1). v = inf: r^2 = sigma^2 / alpha^2.
    Exact for such data.
    """

    score: Score
    measurement: Measurement
    data_variance: Number = 1.0

    def change(
        self, x0: Float[Array, "b *d"], pull: Pull, alpha: Array, sigma: Array
    ) -> Float[Array, "b *d"]:
        """The change of x0."""
        measured = self.measurement
        r2 = sigma**2 / (alpha**2 + sigma**2 / self.data_variance)
        u = measured.operator.solve(r2, measured.variance, measured.residual(x0), x0)
        return sigma**2 / alpha * pull(measured.operator.transpose(u, x0))


@pytree
class RowSums(Differentiated):
    """x_0 + V A^T u, u = (y - A x_0) / (A V A^T 1 + deviation^2), number by number.

    The matrix of `MomentMatching` is taken for the diagonal matrix of its row sums (TMPD: Boys et
    al. 2023, arXiv:2310.06721). Exact for uncorrelated measurements.
    """

    score: Score
    measurement: Measurement

    @property
    def passes(self) -> int:
        """One for the row sums, and one for the result."""
        return 2

    def change(
        self, x0: Float[Array, "b *d"], pull: Pull, alpha: Array, sigma: Array
    ) -> Float[Array, "b *d"]:
        """The change of x0."""
        measured = self.measurement
        spread = lambda u: sigma**2 / alpha * pull(measured.operator.transpose(u, x0))
        residual = measured.residual(x0)
        whole = measured.operator(spread(jnp.ones_like(residual))) + measured.variance
        return spread(residual / whole)


@pytree
class PointLikelihood(Differentiated):
    """x_0 + (sigma^2 / alpha) J^T A^T (y - A x_0) / deviation^2: x_0 is taken for certain.

    It is the gradient of log p(y | x_0 = E[x_0 | x_t]) (the likelihood of Chung et al. 2022,
    arXiv:2209.14687, eq. 11, with its own weight). It overshoots unless noise is low; A need not be
    linear.
    """

    score: Score
    measurement: Measurement

    def change(
        self, x0: Float[Array, "b *d"], pull: Pull, alpha: Array, sigma: Array
    ) -> Float[Array, "b *d"]:
        """The change of x0."""
        found, back = jax.vjp(self.measurement.operator, x0)
        u = (self.measurement.y - found) / self.measurement.variance
        return sigma**2 / alpha * pull(back(u)[0])
