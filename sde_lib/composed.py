"""Composition: the score given several observations from the score given one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sde_lib.base import Time, expand
from sde_lib.condition import Condition
from sde_lib.parametrization import Predicted
from sde_lib.pytree import pytree
from sde_lib.score import Score, Wrapped


@pytree
class Composed(Wrapped):
    """The score of p(x_0 | y_1, ..., y_n), y_i independent given x_0, from that of p(x_0 | y_i).

    As p(x_0 | y_1, ..., y_n) is proportional to p(x_0)^(1 - n) prod_i p(x_0 | y_i), the denoisers
    D_i, and D of no observation, are combined with the precisions of their own laws,

        D = Lambda^-1 (sum_i P_i D_i - (n - 1) P D_0),   Lambda = sum_i P_i - (n - 1) P,
        P_i = Sigma_i^-1 + (alpha / sigma)^2 I,

    where Sigma_i is the covariance of p(x_0 | y_i) (Linhart et al. 2024, arXiv:2404.07593, eq. 12
    and 13). Exact for Gaussian laws, an approximation for others, the better the more noise.

    Attributes:
      conditions: of the n observations, first axis n.
      null: the condition that says nothing, first axis 1.
      precisions: the inverses of Sigma_i.
      prior: the inverse covariance of p(x_0).
    """

    score: Score
    conditions: Condition
    null: Condition
    precisions: Float[Array, "n d d"]
    prior: Float[Array, "d d"]

    @property
    def evaluations(self) -> int:
        """One evaluation for each observation, and one for none."""
        return (len(self.precisions) + 1) * self.score.evaluations

    @property
    def says_variance(self) -> bool:
        """False: several variances do not make one."""
        return False

    def predict(self, x: Float[Array, "b *d"], t: Time, condition: Condition = None) -> Predicted:
        """The composed predictions; `condition` is ignored, as the observations are fixed."""
        n, b, d = len(self.precisions), len(x), x[0].size
        every = jnp.broadcast_to(t, (b,))
        rows = lambda told, none: jnp.repeat(jnp.concatenate([told, none]), b, axis=0)
        told = jax.tree.map(rows, self.conditions, self.null)
        several = lambda y: jnp.tile(y, (n + 1,) + (1,) * (y.ndim - 1))
        means = self.score.predict(several(x), several(every), told).x0.reshape(n + 1, b, d)
        alpha, sigma = self.marginal(every)
        snr = ((alpha / sigma) ** 2)[:, None, None] * jnp.eye(d, dtype=x.dtype)[None]
        weights = jnp.concatenate([jnp.ones(n, x.dtype), jnp.full(1, 1.0 - n, x.dtype)])
        all_of = jnp.concatenate([self.precisions, self.prior[None]]).astype(x.dtype)
        precision = weights[:, None, None, None] * (all_of[:, None] + snr[None])
        total = jnp.einsum("nbij,nbj->bi", precision, means, precision="highest")
        found = jnp.linalg.solve(precision.sum(axis=0), total[..., None])[..., 0]
        x0 = found.reshape(x.shape)
        return Predicted(x0, (x - expand(alpha, x) * x0) / expand(sigma, x))
