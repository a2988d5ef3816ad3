"""Exact problems that the whole library is held against."""

from __future__ import annotations

import jax.numpy as jnp

from sde_lib import SDE, VE, VP, Gaussian, KarrasVE, Mixture, SubVP

SDES: dict[str, SDE] = {
    "vp": VP(),
    "subvp": SubVP(),
    "ve": VE(),
    "edm": KarrasVE(),
    "ddpm": VP().discrete(1000),
}

MEAN, VARIANCE, DIMS = 0.7, 0.25, 16


def isotropic(sde: SDE) -> Gaussian:
    """x_0 ~ N(0.7, 0.25 I) in 16 dimensions."""
    return Gaussian.isotropic(sde, jnp.full((DIMS,), MEAN), VARIANCE)


def correlated(sde: SDE) -> Gaussian:
    """A Gaussian with full covariance in 3 dimensions."""
    root = jnp.asarray([[1.0, 0.2, 0.0], [0.3, 0.5, -0.4], [0.0, 0.1, 0.3]])
    return Gaussian.of(sde, jnp.asarray([0.5, -1.0, 0.2]), root @ root.T)


def mixture_1d(sde: SDE) -> Mixture:
    """The non-linear problem on which orders of convergence are measured."""
    return Mixture(
        sde,
        jnp.asarray([0.3, 0.5, 0.2]),
        jnp.asarray([[-1.0], [0.4], [1.3]]),
        jnp.asarray([0.25, 0.15, 0.3]) ** 2,
    )


def mixture_2d(sde: SDE) -> Mixture:
    """Two blobs of different width in the plane."""
    means = jnp.asarray([[-1.0, 0.5], [0.8, -0.6]])
    return Mixture(sde, jnp.asarray([0.4, 0.6]), means, jnp.asarray([0.04, 0.2]))
