"""Exact problems that the whole library is held against, under every SDE of its table.

A new row of `sde_lib.SDES` is in all of them, with the numbers that the schema has for it; what
repeats at length what two SDEs prove is marked as slow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sde_lib
from configs.schema import get_default
from sde_lib import SDE, Gaussian, Mixture
from tests.slow import slow


def _built(continuous: bool) -> dict[str, SDE]:
    config, found = get_default(), {}
    config.training.continuous = continuous
    for name, family in sde_lib.SDES.items():
        config.sde.name = name
        if continuous or family.discrete:
            found[name] = sde_lib.build(config)
    return found


def _is(one: SDE, other: SDE) -> bool:
    leaves, others = jax.tree.leaves(one), jax.tree.leaves(other)
    alike = jax.tree.structure(one) == jax.tree.structure(other)
    return alike and all(map(np.array_equal, leaves, others))


CONTINUOUS = _built(True)
"""Every row of the table."""
DISCRETE = {
    f"{name} discrete": sde for name, sde in _built(False).items() if not _is(sde, CONTINUOUS[name])
}
"""Every discrete form that is an SDE of its own (NCSN's levels lie on VE)."""
SDES = CONTINUOUS | DISCRETE
REPEATING = set(SDES) - {"vp", "ve"}
"""All but one that keeps the variance and one that keeps the mean."""
FURTHER = REPEATING - {"subvp", "edm", "vp discrete"}
"""Those whose products with other tables are slow but for one: they come last, and cost most."""


def pairs(others: Mapping[str, Any], quick: str) -> list[Any]:
    """(SDE, other) of every SDE and every entry of another table, for `pytest.parametrize`."""
    return [
        pytest.param(
            sde, other, id=f"{name}-{key}", marks=[slow] if name in FURTHER and key != quick else []
        )
        for key, other in others.items()
        for name, sde in SDES.items()
    ]


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
