"""The divergence of a function of x, exactly or by random probes, from one pass through it.

The probability flow needs the value f(x) and the trace of its Jacobian at the same x. Both come
from one linearization: the network is evaluated once, and its derivative is pushed along each
probe beside it, in forward mode, so that nothing of the pass has to be kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from sde_lib.pytree import pytree, static

Function = Callable[[Float[Array, "b *d"]], Float[Array, "b *d"]]
"""A function of each example alone: f(x)[i] depends on x[i] only."""


class Trace(Protocol):
    """A method for the trace of the Jacobian, with one or several independent estimates."""

    @property
    def estimates(self) -> int:
        """The number of independent estimates."""

    def draw(self, keys: PRNGKeyArray, x: Float[Array, "b *d"]) -> Any:
        """Random draws of the method from one key per example: a pytree, fixed while solving."""

    def __call__(
        self, f: Function, x: Float[Array, "b *d"], probes: Any
    ) -> tuple[Float[Array, "b *d"], Float[Array, "b p"]]:
        """(f(x), the estimates of the trace for each example)."""


def _per_example(x: Float[Array, "b *d"]) -> Float[Array, "b d"]:
    return x.reshape(x.shape[0], -1)


@pytree
class Hutchinson:
    """trace J = E[v^T J v] for E[v v^T] = I (Skilling 1989; Hutchinson 1990), `probes` times.

    law: 'rademacher' (signs; no variance from J's diagonal) or 'gaussian'. Unbiased; the variance
    of one probe is sum over i != j of J_ij (J_ij + J_ji), and twice J's squared diagonal more for
    'gaussian' with a symmetric J.
    """

    law: str = static(default="rademacher")
    probes: int = static(default=1)

    @property
    def estimates(self) -> int:
        return self.probes

    def draw(self, keys: PRNGKeyArray, x: Float[Array, "b *d"]) -> Float[Array, "p b *d"]:
        shape = (self.probes, *x.shape[1:])
        draw = PROBES[self.law]
        return jax.vmap(lambda key: draw(key, shape, x.dtype), out_axes=1)(keys)

    def __call__(
        self, f: Function, x: Float[Array, "b *d"], probes: Float[Array, "p b *d"]
    ) -> tuple[Float[Array, "b *d"], Float[Array, "b p"]]:
        push = jax.vmap(lambda v: jax.jvp(f, (x,), (v,)), out_axes=(None, 0))
        value, pushed = push(probes)
        axes = tuple(range(2, probes.ndim))
        return value, jnp.sum(probes * pushed, axis=axes).T


PROBES: dict[str, Callable[..., Array]] = {
    "rademacher": jax.random.rademacher,
    "gaussian": jax.random.normal,
}


@pytree
class Exact:
    """Exact trace, by one derivative per dimension: for data of few dimensions."""

    estimates = 1

    def draw(self, keys: PRNGKeyArray, x: Float[Array, "b *d"]) -> None:
        return None

    def __call__(
        self, f: Function, x: Float[Array, "b *d"], probes: None
    ) -> tuple[Float[Array, "b *d"], Float[Array, "b 1"]]:
        value, push = jax.linearize(f, x)
        d = x[0].size

        def entry(i: Array) -> Float[Array, " b"]:
            unit = jax.nn.one_hot(i, d, dtype=x.dtype).reshape(x.shape[1:])
            return _per_example(push(jnp.broadcast_to(unit, x.shape)))[:, i]

        return value, jnp.sum(jax.lax.map(entry, jnp.arange(d)), axis=0)[:, None]


TRACES: dict[str, Callable[[str, int], Trace]] = {
    "hutchinson": Hutchinson,
    "exact": lambda law, probes: Exact(),
}
