"""Exact scores: the posterior mean of known data laws, in closed form.

They are Scores like any other: samplers, likelihood and guidance are proven on them, and they
show what a perfect network would do. Data of any shape is treated as a vector of d numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from sde_lib.base import SDE, Time
from sde_lib.parametrization import Predicted
from sde_lib.pytree import pytree
from sde_lib.score import Condition, Score


def _by_vector(
    one: Callable[..., tuple[Array, Array]], score: Score, x: Array, t: Time
) -> Predicted:
    """Apply `one(vector, alpha, sigma)` to every example, whatever its shape."""
    alpha, sigma = score.marginal(jnp.broadcast_to(t, x.shape[:1]))
    x0, noise = jax.vmap(one)(x.reshape(x.shape[0], -1), alpha, sigma)
    return Predicted(x0.reshape(x.shape), noise.reshape(x.shape))


@pytree
class Gaussian(Score):
    """The score when x_0 ~ N(mean, basis diag(variances) basis^T).

    x_t is Gaussian with variances alpha^2 variances + sigma^2 along the same basis.
    """

    sde: SDE
    mean: Float[Array, " d"]
    variances: Float[Array, " d"]
    basis: Float[Array, "d d"]

    @classmethod
    def of(cls, sde: SDE, mean: Float[Array, " d"], covariance: Float[Array, "d d"]) -> Gaussian:
        """A Gaussian of given mean and covariance; ValueError unless positive semi-definite."""
        variances, basis = jnp.linalg.eigh(covariance)
        if float(variances[0]) < -1e-5 * float(variances[-1]):
            raise ValueError("the covariance of a Gaussian oracle has a negative eigenvalue")
        return cls(sde, mean, jnp.maximum(variances, 0.0), basis)

    @classmethod
    def isotropic(cls, sde: SDE, mean: Float[Array, " d"], variance: float) -> Gaussian:
        """x_0 ~ N(mean, variance I)."""
        return cls(sde, mean, jnp.full_like(mean, variance), jnp.eye(mean.size, dtype=mean.dtype))

    def predict(self, x: Float[Array, "b *d"], t: Time, condition: Condition = None) -> Predicted:
        """The linear (Wiener) filter, one scalar problem per eigenvector."""

        def one(v: Array, alpha: Array, sigma: Array) -> tuple[Array, Array]:
            residual = (v - alpha * self.mean) @ self.basis
            gain = 1 / (alpha**2 * self.variances + sigma**2)
            x0 = self.mean + self.basis @ (alpha * self.variances * gain * residual)
            return x0, self.basis @ (sigma * gain * residual)

        return _by_vector(one, self, x, t)

    def sample(self, key: PRNGKeyArray, n: int) -> Float[Array, "n d"]:
        """n draws of x_0."""
        z = jax.random.normal(key, (n, self.mean.size), self.mean.dtype)
        return self.mean[None] + (z * jnp.sqrt(self.variances)[None]) @ self.basis.T

    def log_prob(self, x: Float[Array, "b *d"], t: Time) -> Float[Array, " b"]:
        """Log-density of x_t in nats."""

        def one(v: Array, alpha: Array, sigma: Array) -> Array:
            var = alpha**2 * self.variances + sigma**2
            residual = (v - alpha * self.mean) @ self.basis
            return -0.5 * jnp.sum(residual**2 / var + jnp.log(2 * jnp.pi * var))

        alpha, sigma = self.sde.marginal(jnp.broadcast_to(t, x.shape[:1]))
        return jax.vmap(one)(x.reshape(x.shape[0], -1), alpha, sigma)


@pytree
class Mixture(Score):
    """The score when x_0 is a mixture of K isotropic Gaussians N(means_k, variances_k I)."""

    sde: SDE
    weights: Float[Array, " k"]
    means: Float[Array, "k d"]
    variances: Float[Array, " k"]

    def _component_log_probs(self, v: Array, alpha: Array, sigma: Array) -> Float[Array, " k"]:
        var = alpha**2 * self.variances + sigma**2
        distance = jnp.sum((v[None] - alpha * self.means) ** 2, axis=1)
        d = self.means.shape[1]
        return jnp.log(self.weights) - 0.5 * (distance / var + d * jnp.log(2 * jnp.pi * var))

    def predict(self, x: Float[Array, "b *d"], t: Time, condition: Condition = None) -> Predicted:
        """The average of the components' filters, weighted by their responsibilities."""

        def one(v: Array, alpha: Array, sigma: Array) -> tuple[Array, Array]:
            share = jax.nn.softmax(self._component_log_probs(v, alpha, sigma))
            gain = share / (alpha**2 * self.variances + sigma**2)
            residual = v[None] - alpha * self.means
            x0 = share @ self.means + alpha * (self.variances * gain) @ residual
            return x0, sigma * gain @ residual

        return _by_vector(one, self, x, t)

    def sample(self, key: PRNGKeyArray, n: int) -> Float[Array, "n d"]:
        """n draws of x_0."""
        key_k, key_z = jax.random.split(key)
        k = jax.random.choice(key_k, self.weights.size, (n,), p=self.weights)
        z = jax.random.normal(key_z, (n, self.means.shape[1]), self.means.dtype)
        return self.means[k] + jnp.sqrt(self.variances[k])[:, None] * z

    def log_prob(self, x: Float[Array, "b *d"], t: Time) -> Float[Array, " b"]:
        """Log-density of x_t in nats."""

        def one(v: Array, alpha: Array, sigma: Array) -> Array:
            return jax.nn.logsumexp(self._component_log_probs(v, alpha, sigma))

        alpha, sigma = self.sde.marginal(jnp.broadcast_to(t, x.shape[:1]))
        return jax.vmap(one)(x.reshape(x.shape[0], -1), alpha, sigma)


def empirical(sde: SDE, points: Float[Array, "n *d"]) -> Mixture:
    """The score of the finite dataset `points`: a mixture whose components have no width.

    It is what a network of unlimited capacity would learn: as t -> 0 the denoiser returns the
    nearest data point.
    """
    flat = points.reshape(points.shape[0], -1)
    n = flat.shape[0]
    return Mixture(sde, jnp.full((n,), 1 / n, flat.dtype), flat, jnp.zeros((n,), flat.dtype))
