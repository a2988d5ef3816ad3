"""Correctors: Markov chains that leave the marginal at a fixed time unchanged.

Most are unadjusted Langevin dynamics, x <- x + epsilon score + sqrt(2 epsilon) z (Song et al. 2021,
arXiv:2011.13456, alg. 4 and 5), or an exact relaxation; they differ in the law of the step size.
A corrector acts at t; the neighbour s enters only through

    A = (alpha_larger_time / alpha_smaller_time)^2,

which is DDPM's alpha_i = 1 - beta_i on its levels and 1 under VE: the published factor, defined
for every SDE.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from samplers.base import Method, Plan, State
from sde_lib import Score, expand
from sde_lib.base import Number, Time
from sde_lib.pytree import pytree, static


def squared_mean_ratio(score: Score, t: Time, s: Time) -> Time:
    """A of the module docstring, at most 1."""
    earlier, later = jnp.minimum(t, s), jnp.maximum(t, s)
    return jnp.exp(2 * score.sde.log_alpha_change(earlier, later))


def _norms(x: Float[Array, "b *d"]) -> Float[Array, " b"]:
    return jnp.sqrt(jnp.sum(x.reshape(x.shape[0], -1) ** 2, axis=1))


class NormRatio(Protocol):
    """An estimate of |z| / |score|, which adapts Langevin's step to the scale of x_t."""

    def __call__(
        self, z: Float[Array, "b *d"], gradient: Float[Array, "b *d"], alpha: Time, sigma: Time
    ) -> Float[Array, "*b"]:
        """The ratio, per sample or for the batch."""


@pytree
class NoiseLevel:
    """sigma(t), the ratio for data of a single point: independent of batch, devices and x.

    A step size that does not depend on x leaves the marginal unchanged up to O(epsilon).
    """

    def __call__(self, z: Array, gradient: Array, alpha: Time, sigma: Time) -> Array:
        return jnp.broadcast_to(sigma, z.shape[:1])


@pytree
class PerSample:
    """sqrt(d) / |score| of each sample alone: independent of the batch and of the devices.

    A step that depends on x samples p / epsilon instead of p: with d dimensions the variance grows
    by about 2 / d (12% at d = 16, 3% at 64; 0.07% at CIFAR-10's 3072), so this is for images,
    not for small problems. The expected |z| replaces |z|, so that the step does not depend on the
    noise it scales. By the Cramer-Rao inequality |score|^2 averages at least
    d / (alpha^2 + sigma^2) for data of unit variance or less; that floor keeps the step finite.
    """

    def __call__(self, z: Array, gradient: Array, alpha: Time, sigma: Time) -> Array:
        dims = z[0].size
        floor = jnp.sqrt(dims / (alpha**2 + sigma**2))
        return jnp.sqrt(float(dims)) / jnp.maximum(_norms(gradient), floor)


@pytree
class BatchMean:
    """mean |z| / mean |score| over the whole batch on all devices, as published."""

    def __call__(self, z: Array, gradient: Array, alpha: Time, sigma: Time) -> Array:
        return jnp.broadcast_to(jnp.mean(_norms(z)) / jnp.mean(_norms(gradient)), z.shape[:1])


class AtFixedTime(Method):
    """A corrector whose row is a time t and its neighbour s. Holds no state."""

    order, stochastic, adaptive = 0, True, False
    steps: int
    """Number of moves at each time."""

    @abc.abstractmethod
    def step(self, score: Score, state: State, row: dict[str, Time]) -> State:
        """The state after `steps` moves at row["t"]."""

    def at(self, score: Score, t: Float[Array, " n"], neighbour: Float[Array, " n"]) -> Plan:
        return Plan.of_steps(self, t, neighbour, len(t) * self.steps)

    def plan(self, score: Score, times: Float[Array, " n"]) -> Plan:
        return self.at(score, times[:-1], times[1:])

    def _repeat(self, move: Callable[[State], State], state: State) -> State:
        if self.steps == 1:
            return move(state)
        return jax.lax.fori_loop(0, self.steps, lambda _, state: move(state), state)


@pytree
class Langevin(AtFixedTime):
    """Langevin steps of epsilon = 2 A (snr ratio)^2, `steps` times (alg. 4 and 5).

    `ratio` is `BatchMean` in the published `langevin`, and `NoiseLevel`, the default, in the
    published `ald` (annealed Langevin dynamics, Song & Ermon 2019, arXiv:1907.05600, alg. 1). On a
    Gaussian of variance v the chain's variance is v / (1 - epsilon / (2 v)), at most snr^2 above v.
    """

    snr: Number = 0.16
    steps: int = static(default=1)
    ratio: NormRatio = NoiseLevel()

    def step(self, score: Score, state: State, row: dict[str, Time]) -> State:
        t, s = row["t"], row["s"]
        factor = 2 * squared_mean_ratio(score, t, s) * self.snr**2
        alpha, sigma = score.marginal(t)

        def move(state: State) -> State:
            gradient = score(state.x, t)
            state, z = state.normal()
            epsilon = factor * self.ratio(z, gradient, alpha, sigma) ** 2
            epsilon = expand(epsilon, state.x)
            return replace(state, x=state.x + epsilon * gradient + jnp.sqrt(2 * epsilon) * z)

        return self._repeat(move, state)


@pytree
class Posterior(AtFixedTime):
    """x <- alpha x_0 + sqrt(1 - delta) (x - alpha x_0) + sqrt(delta) sigma z, `steps` times.

    An Ornstein-Uhlenbeck step of any length delta in (0, 1] towards the denoised x_0 = E[x_0 | x]:
    exact if the posterior of x_0 is a point, and Langevin's with epsilon = delta sigma^2 / 2 as
    delta falls. No snr has to be tuned for a dataset: delta is the share of the noise that is
    renewed. On N(m, v I) the chain's variance is delta sigma^2 / (1 - c^2), with the gain
    c = sqrt(1 - delta) + (1 - sqrt(1 - delta)) alpha^2 v / (alpha^2 v + sigma^2).
    """

    delta: Number = 0.1
    steps: int = static(default=1)

    def step(self, score: Score, state: State, row: dict[str, Time]) -> State:
        alpha, sigma = score.marginal(row["t"])
        kept = jnp.sqrt(1 - self.delta)

        def move(state: State) -> State:
            centre = alpha * score.denoise(state.x, row["t"])
            state, z = state.normal()
            noise = jnp.sqrt(self.delta) * sigma * z
            return replace(state, x=centre + kept * (state.x - centre) + noise)

        return self._repeat(move, state)
