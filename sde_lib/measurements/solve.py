"""Solution of linear systems for each example alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sde_lib.base import expand

FLATTEST = 10.0
"""Slope of a direction, in round-off of the steepest, below which a system maps it to nothing."""


Product = Callable[[Array], tuple[Array, Array]]
"""u [b, *m] -> (M u [b, *m], L u [b, *d]), two linear maps of each example."""
Solver = Callable[[Product, Array, int], Array]
"""(u -> (M u, L u), right, iterations) -> L u of u with M u about `right`."""


def inner(a: Float[Array, "b *m"], b: Float[Array, "b *m"]) -> Float[Array, "b *_"]:
    """The inner product of each example, [b, 1, ...]."""
    return expand(jnp.sum((a * b).reshape(len(a), -1), axis=1), a)


def _length(a: Float[Array, "b *m"]) -> Float[Array, "b *_"]:
    return jnp.sqrt(inner(a, a))


def _over(a: Array, b: Array, above: Array | float = 0.0) -> Array:
    """a / b, 0 where b is not above a bound."""
    return jnp.where(b > above, a / jnp.where(b > above, b, 1), 0)


def conjugate_gradients(
    product: Product, right: Float[Array, "b *m"], iterations: int
) -> Float[Array, "b *d"]:
    """L u of u with M u = right for each example, after some iterations from 0.

    M is symmetric and positive (Hestenes & Stiefel 1952). Nothing moves along directions that it
    maps to nothing, to round-off, and not once the residual is round-off of `right`: in a singular
    system such steps have no bounds. L u is a sum of the L of the directions.
    """
    eps = float(jnp.finfo(right.dtype).eps)
    least = eps**2 * inner(right, right)

    def step(_: int, state: tuple[Array, ...]) -> tuple[Array, ...]:
        found, residual, direction, square, steepest = state
        moved, image = product(direction)
        slope, size = inner(direction, moved), inner(direction, direction)
        steepest = jnp.maximum(steepest, _over(slope, size))
        length = _over(square, slope, FLATTEST * eps * steepest * size)
        length = jnp.where(square > least, length, 0)
        residual = residual - length * moved
        left = inner(residual, residual)
        found = found + expand(length.reshape(-1), found) * image
        return found, residual, residual + _over(left, square) * direction, left, steepest

    none = jnp.zeros_like(least)
    start = _nothing(product, right), right, right, inner(right, right), none
    return jax.lax.fori_loop(0, iterations, step, start)[0]


def _nothing(product: Product, right: Array) -> Float[Array, "b *d"]:
    """Zeros like L u."""
    image = jax.eval_shape(product, right)[1]
    return jnp.zeros(image.shape, image.dtype)


class Krylov(NamedTuple):
    """An orthonormal basis of the span of r, M r, M (M r), ... for each example, M V = V H.

    basis: V [k + 1, b, *m], 0 from where M maps the span to itself; images: L V [k, b, *d];
    matrix: H [k + 1, k, b].
    """

    basis: Float[Array, "n b *m"]
    images: Float[Array, "k b *d"]
    matrix: Float[Array, "n k b"]

    def with_product(self, j: Array | int, product: Product) -> Krylov:
        """The space with the direction that M basis[j] adds (Arnoldi 1951)."""
        moved, image = product(self.basis[j])
        shares, left = jnp.zeros_like(self.matrix[:, 0]), moved
        # Twice, since once leaves a part along the basis as large as the round-off of `moved`.
        for _ in range(2):
            share = jax.vmap(inner, (0, None))(self.basis, left)
            left = left - jnp.sum(share * self.basis, axis=0)
            shares = shares + share.reshape(shares.shape)
        least = FLATTEST * float(jnp.finfo(left.dtype).eps) * _length(moved)
        length = jnp.where(_length(left) > least, _length(left), 0)
        return Krylov(
            self.basis.at[j + 1].set(_over(left, length)),
            self.images.at[j].set(image),
            self.matrix.at[:, j].set(shares.at[j + 1].set(length.reshape(-1))),
        )


def minimal_residual(
    product: Product, right: Float[Array, "b *m"], iterations: int
) -> Float[Array, "b *d"]:
    """L u of that u in the span of r, M r, ... for which |r - M u| is least, of each example.

    r is `right`. GMRES (Saad & Schultz 1986, SIAM J. Sci. Stat. Comput. 7, 856): M need not be
    symmetric, and more iterations never leave more of r. L u needs no product of its own, as it is
    a sum of those that come with M V.
    """
    size, none = _length(right), _nothing(product, right)
    start = Krylov(
        jnp.zeros((iterations + 1, *right.shape), right.dtype).at[0].set(_over(right, size)),
        jnp.zeros((iterations, *none.shape), none.dtype),
        jnp.zeros((iterations + 1, iterations, len(right)), right.dtype),
    )
    found = jax.lax.fori_loop(0, iterations, lambda j, made: made.with_product(j, product), start)
    # The pseudo-inverse, as a basis that ends early has columns of zeros.
    flattest = FLATTEST * float(jnp.finfo(right.dtype).eps)
    inverse = jnp.linalg.pinv(jnp.moveaxis(found.matrix, 2, 0), rtol=flattest)
    weights = inverse[:, :, 0] * size.reshape(-1, 1)
    return jnp.sum(jax.vmap(expand, (1, None))(weights, none) * found.images, axis=0)


SOLVERS: dict[str, Solver] = {"cg": conjugate_gradients, "gmres": minimal_residual}
