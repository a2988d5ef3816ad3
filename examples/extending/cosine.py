"""The cosine schedule (Nichol & Dhariwal 2021, arXiv:2102.09672) in continuous time."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from sde_lib.base import SDE, Time
from sde_lib.pytree import pytree

LAST = 0.999 * jnp.pi / 2
"""The angle at t = 1, where a thousandth of the way is left so that alpha is not 0."""


@pytree
class Cosine(SDE):
    """alpha = cos(LAST t) and sigma = sin(LAST t), without the published offset at t = 0."""

    def log_alpha(self, t: Time) -> Time:
        return jnp.log(jnp.cos(LAST * t))

    def sigma(self, t: Time) -> Time:
        return jnp.sin(LAST * t)

    @property
    def prior_std(self) -> Float[Array, ""]:
        return jnp.ones(())
