"""Small operators of every kind, by name, for the battery of tests/sde_lib/test_measurements.py."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from configs import schema
from sde_lib.measurements.base import Measurement, Operator
from sde_lib.measurements.dense import dense
from sde_lib.measurements.encoded import encoded
from sde_lib.measurements.masks import Diagonal
from sde_lib.measurements.named import MASKED, OPERATORS
from sde_lib.measurements.noise import Weighted, weighted
from sde_lib.measurements.own import own_operator
from sde_lib.measurements.patterns import MASKS
from sde_lib.tables import made

Shape = tuple[int, ...]


def section(**settings: Any) -> Any:
    """The section `inverse` of a config with some settings."""
    inverse = schema.get_default().inverse
    inverse.update(settings)
    return inverse


def pattern(name: str, shape: Shape, **settings: Any) -> np.ndarray:
    return made(MASKS[name], section(**settings), shape=shape)


def built(measure: str, shape: Shape, seed: int = 0, **settings: Any) -> Operator:
    """The operator of a row, its arrays drawn with a seed."""
    rng, axes = np.random.default_rng(seed), shape[:-1]
    told: dict[str, Any] = {}
    if measure in MASKED:
        name = settings.pop("mask", "random")
        told["mask"] = pattern(name, shape, mask_seed=seed, share=0.6, acceleration=1.5)
    if measure == "kernel_blur":
        told["kernel"] = rng.normal(size=[n - 1 for n in axes])
    if measure == "coils":
        told["coils"] = rng.normal(size=(3, *axes)) + 1j * rng.normal(size=(3, *axes))
    return made(OPERATORS[measure], section(**settings), shape=shape, **told)


def affine(x: jnp.ndarray) -> jnp.ndarray:
    """Differences along rows, and 1."""
    return x[:, 1:] - 2 * x[:, :-1] + 1


def weights(seed: int, *shape: int) -> jnp.ndarray:
    return jnp.asarray(np.random.default_rng(seed).uniform(0.3, 2.0, shape))


def _scaled(operator: Operator, scale: jnp.ndarray, shape: Shape) -> Operator:
    y = operator(jnp.zeros((1, *shape)))
    one = jnp.ones(())
    return encoded(Measurement(operator, y, one), np.asarray(scale), np.zeros(()), shape).operator


P = (4, 5, 2)
CASES: dict[str, tuple[Shape, Any]] = {
    "inpaint": (P, lambda seed: built("inpaint", P, seed)),
    "inpaint of vectors": ((7,), lambda seed: built("inpaint", (7,), seed)),
    "gray": ((3, 4, 3), lambda seed: built("gray", (3, 4, 3))),
    "colorize": ((3, 2, 4), lambda seed: built("colorize", (3, 2, 4))),
    "average": ((4, 6, 2), lambda seed: built("average", (4, 6, 2), factor=2)),
    "average of volumes": ((2, 4, 2, 1), lambda seed: built("average", (2, 4, 2, 1), factor=2)),
    "bicubic": ((6, 9, 1), lambda seed: built("bicubic", (6, 9, 1), factor=3)),
    "gaussian_blur": (P, lambda seed: built("gaussian_blur", P, blur_std=0.6 + 0.2 * seed)),
    "motion_blur": (
        (7, 8, 1), lambda seed: built("motion_blur", (7, 8, 1), blur_length=2.2, blur_angle=30.0),
    ),
    "kernel_blur": (P, lambda seed: built("kernel_blur", P, seed)),
    "kernel_blur of volumes": (
        (3, 4, 2, 1), lambda seed: built("kernel_blur", (3, 4, 2, 1), seed),
    ),
    "fourier": (P, lambda seed: built("fourier", P, seed)),
    "fourier of complex": (P, lambda seed: built("fourier", P, seed, complex=True)),
    "fourier of signals": ((9, 2), lambda seed: built("fourier", (9, 2), seed)),
    "coils": ((3, 4, 2), lambda seed: built("coils", (3, 4, 2), seed)),
    "coils of complex": ((3, 4, 2), lambda seed: built("coils", (3, 4, 2), seed, complex=True)),
    "radon": ((3, 4, 1), lambda seed: built("radon", (3, 4, 1), angles=7)),
    "a function": ((4, 3), lambda seed: own_operator(affine, (4, 3))),
    "a matrix": ((4, 3), lambda seed: dense(own_operator(affine, (4, 3)), (4, 3))),
    "a matrix of coils": ((3, 2, 1), lambda seed: dense(built("coils", (3, 2, 1), seed),
                                                        (3, 2, 1))),
    "weights": (P, lambda seed: Diagonal(weights(seed, 1, *P) - 1)),
    "a weighted mask": (P, lambda seed: weighted(built("inpaint", P, seed), weights(seed, 1, *P))),
    "a weighted blur": (
        (3, 4, 1), lambda seed: Weighted(built("gaussian_blur", (3, 4, 1), blur_std=0.5),
                                         weights(seed, 1, 3, 4, 1)),
    ),
    "scaled pixels": (P, lambda seed: _scaled(built("inpaint", P, seed), weights(seed, *P), P)),
    "scaled channels": (
        P, lambda seed: _scaled(built("fourier", P, seed), weights(seed, 2), P),
    ),
    "scaled colours": (
        (2, 2, 3), lambda seed: _scaled(built("gray", (2, 2, 3)), weights(seed, 3), (2, 2, 3)),
    ),
}  # fmt: skip
"""Name -> (shape of an example, seed -> operator of these examples)."""
PLAIN = {"coils", "coils of complex", "radon", "a function", "a weighted blur",
         "scaled colours"}  # fmt: skip
"""Operators without a decomposition."""
