"""Min-SNR weighting (Hang et al. 2023, arXiv:2303.09556)."""

import jax.numpy as jnp

from sde_lib import SDE
from sde_lib.base import Number, Time
from sde_lib.pytree import pytree


@pytree
class MinSNRWeight:
    """w = min(snr, most) / snr: no noise level weighs more than the data's own error allows."""

    most: Number = 5.0

    def __call__(self, sde: SDE, t: Time) -> Time:
        return jnp.minimum(1.0, self.most * jnp.exp(-sde.log_snr(t)))
