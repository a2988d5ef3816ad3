"""Functions that stay functions in the compiled program."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
from jax.experimental.xla_metadata import set_xla_metadata
from jaxtyping import Array


def outlined(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """`jax.jit(function, **options)` that XLA does not inline on a CPU, nor its derivatives.

    What goes in and comes out is made once. XLA otherwise repeats cheap operations in each of
    their consumers on a CPU: along a chain of residual sums each one would compute all sums
    before it again, those of the gradient above all. `lax.optimization_barrier` does not help,
    XLA drops it before it fuses.
    """
    jitted = jax.jit(function, **options)

    @wraps(function)
    def call(*args: Any, **static: Any) -> Any:
        if jax.default_backend() != "cpu":  # there it would keep sums from being fused
            return function(*args, **static)
        with set_xla_metadata(inlineable="false"):
            return jitted(*args, **static)

    return call


@outlined
def once(x: Array) -> Array:
    """x, which XLA then does not work out anew for each of its uses on a CPU."""
    return x
