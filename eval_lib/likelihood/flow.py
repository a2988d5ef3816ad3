"""Exact likelihood and latent codes by the probability-flow ODE.

The model of data x is the law of x_eps / alpha(eps), eps being the smallest time. Along the flow
in a clock q of `samplers.adaptive.ode`, y = c x, dy/dq = F(y, q) (Song et al. 2021,
arXiv:2011.13456, (39))

    log p(x) = log N(z; 0, prior_std^2 I) + integral over [q_eps, q_T] of div F dq
               + d log(alpha(eps) c(eps) / c(T)),                                            (1)

where z = x_T is the latent code of x. F and its divergence come from one pass through the network.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from eval_lib.likelihood.divergence import Trace
from samplers.adaptive.integrate import INTEGRATORS, Integrator, Tolerance
from samplers.adaptive.ode import FlowClock, FlowField, InLogSNR
from sde_lib import SDE, Score, expand
from sde_lib.base import Number
from sde_lib.pytree import pytree, static


@pytree
class Encoded:
    """z [b, ...]: x_T, of standard deviation prior_std; evaluations [b] of the score."""

    z: Float[Array, "b *d"]
    evaluations: Int[Array, " b"]


@pytree
class Density:
    """log_prob [b, p]: nats per example, by each of the trace's p estimates, which share the rest.

    z, evaluations as in `Encoded`; an example on which the solver gave up is NaN.
    """

    log_prob: Float[Array, "b p"]
    z: Float[Array, "b *d"]
    evaluations: Int[Array, " b"]


@pytree
class DensityField:
    """d/dq of (y, the integral in (1) per dimension [b, p]), for `Trace.draw`'s probes."""

    clock: FlowClock
    score: Score
    trace: Trace
    probes: Any

    def __call__(self, q: Float[Array, " b"], y: tuple[Array, Array]) -> tuple[Array, Array]:
        slope, divergence = self.trace(
            lambda y: FlowField(self.clock, self.score)(q, y), y[0], self.probes
        )
        return slope, divergence / slope[0].size


@pytree
class ProbabilityFlow:
    """The probability flow between data and latent codes, solved to a tolerance.

    solver: one of `samplers.adaptive.integrate.INTEGRATORS`; clock: one of
    `samplers.adaptive.ode.CLOCKS`. The tolerance applies to the error of x, root mean square, and
    to that of the log-likelihood in nats per dimension.
    """

    tolerance: Tolerance = Tolerance()
    solver: str = static(default="adams")
    clock: FlowClock = InLogSNR()

    @property
    def _integrator(self) -> Integrator:
        return INTEGRATORS[self.solver](self.tolerance)

    def _ends(self, sde: SDE, eps: Number) -> tuple[Array, Array]:
        return jnp.asarray(eps, float), jnp.asarray(sde.T, float)

    def encode(self, score: Score, x: Float[Array, "b *d"], eps: Number) -> Encoded:
        """The latent code x_T of data x = x_eps / alpha(eps)."""
        sde, clock = score.sde, self.clock
        start, end = self._ends(sde, eps)
        y = x * sde.alpha(start) * clock.scale(sde, start)
        q = clock.coordinate(sde, start), clock.coordinate(sde, end)
        solved = self._integrator(FlowField(clock, score), y, *q)
        return Encoded(solved.y / clock.scale(sde, end), solved.evaluations)

    def decode(self, score: Score, z: Float[Array, "b *d"], eps: Number) -> Encoded:
        """The data of a latent code, the inverse of `encode`, in the field z of `Encoded`."""
        sde, clock = score.sde, self.clock
        end, start = self._ends(sde, eps)
        y = z * clock.scale(sde, start)
        q = clock.coordinate(sde, start), clock.coordinate(sde, end)
        solved = self._integrator(FlowField(clock, score), y, *q)
        return Encoded(solved.y / (sde.alpha(end) * clock.scale(sde, end)), solved.evaluations)

    def density(
        self,
        score: Score,
        x: Float[Array, "b *d"],
        eps: Number,
        keys: PRNGKeyArray,
        trace: Trace,
    ) -> Density:
        """log p(x) of (1), with one key per example for the trace's probes."""
        sde, clock, d = score.sde, self.clock, x[0].size
        start, end = self._ends(sde, eps)
        scales = clock.scale(sde, start), clock.scale(sde, end)
        q = clock.coordinate(sde, start), clock.coordinate(sde, end)
        probes = trace.draw(keys, x)
        field = DensityField(clock, score, trace, probes)
        none = jnp.zeros((len(x), trace.estimates), x.dtype)
        solved = self._integrator(field, (x * sde.alpha(start) * scales[0], none), *q)
        y, integral = solved.y
        z = y / scales[1]
        volume = sde.log_alpha(start) + jnp.log(scales[0]) - jnp.log(scales[1])
        log_prob = sde.prior_log_prob(z)[:, None] + d * (integral + volume)
        return Density(log_prob, z, solved.evaluations)


def prior_mismatch(
    sde: SDE,
    z: Float[Array, "b *d"],
    mean: Float[Array, "*d"],
    variances: Float[Array, "*d"] | Float[Array, " k"],
    basis: Float[Array, "k k"] | None = None,
) -> Float[Array, " b"]:
    """log prior(z) - log p_T(z) in nats, the prior mismatch at T.

    p_T is approximated by the Gaussian with the data's `mean` and `variances` along the columns of
    `basis`, by default along the coordinates; hardly anything else of the data's law is left at T.
    Exact for Gaussian data; without the basis, it is too near to 0 for correlated data.

    With w = z - alpha m and s = alpha^2 v + sigma^2 along the basis, it is half the sum of
    w^2 (1 / s - 1 / prior^2) + (w^2 - z^2) / prior^2 + log(s / prior^2), so that no large terms
    cancel.
    """
    alpha, sigma = sde.marginal(jnp.asarray(sde.T, float))
    prior, shift = sde.prior_std, alpha * mean[None]
    w = (z - shift).reshape(len(z), -1)
    if basis is not None:
        w = jnp.matmul(w, basis, precision=jax.lax.Precision.HIGHEST)
    excess = (alpha**2 * variances + (sigma - prior) * (sigma + prior)).ravel() / prior**2
    squares = jnp.sum(w**2 * (-excess / (1 + excess))[None], axis=1)
    moved = jnp.sum((shift * (shift - 2 * z)).reshape(len(z), -1), axis=1)
    return 0.5 * (squares + moved) / prior**2 + 0.5 * jnp.sum(jnp.log1p(excess))


def truncation(
    score: Score, x: Float[Array, "b *d"], eps: Number, keys: PRNGKeyArray, trace: Trace
) -> Float[Array, " b"]:
    """log p(x) - log p_0(x) in nats, the effect of stopping at t = eps, to first order in r^2.

    x_eps / alpha is data with noise of deviation r = sigma / alpha added, so that the heat equation
    d p / d(r^2) = (Laplacian of p) / 2 gives, in terms of the expected noise at eps,

        log p - log p_0 = (|eps_hat|^2 - sigma div eps_hat) / 2.
    """
    t = jnp.broadcast_to(jnp.asarray(eps, float), x.shape[:1])
    alpha, sigma = score.sde.marginal(t)
    at = expand(alpha, x) * x
    noise, divergence = trace(lambda x: score.noise(x, t), at, trace.draw(keys, at))
    squares = jnp.sum(noise.reshape(len(x), -1) ** 2, axis=1)
    return 0.5 * (squares - sigma * jnp.mean(divergence, axis=1))


def slerp(
    a: Float[Array, "b *d"], b: Float[Array, "b *d"], part: Float[Array, " n"]
) -> Float[Array, "n b *d"]:
    """Spherical interpolation from a (part 0) to b (part 1), suitable for Gaussian codes.

    sin((1 - part) w) / sin w a + sin(part w) / sin w b, with w the angle between a and b
    (Shoemake 1985); a straight line if they are nearly parallel.
    """
    flat_a, flat_b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    length = lambda v: jnp.sqrt(jnp.sum(v**2, axis=1))
    cosine = jnp.sum(flat_a * flat_b, axis=1) / (length(flat_a) * length(flat_b))
    angle = jnp.arccos(jnp.clip(cosine, -1.0, 1.0))[None]
    part = part[:, None]
    sine = jnp.sin(angle)
    straight = jnp.abs(sine) < 1e-4
    weights = (
        jnp.where(straight, p, jnp.sin(p * angle) / jnp.where(straight, 1.0, sine))
        for p in (1 - part, part)
    )
    one, other = (w.reshape(w.shape + (1,) * (a.ndim - 1)) for w in weights)
    return one * a[None] + other * b[None]
