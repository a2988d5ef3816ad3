"""Functions that stay functions in the compiled program."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import jax
from jax.experimental.xla_metadata import set_xla_metadata
from jaxtyping import Array

from models.layers.cpu.switch import TUNED


def called(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """`jax.jit(function, **options)` that XLA does not inline, nor its derivatives.

    What goes in and comes out is made once. XLA otherwise repeats cheap operations in each of
    their consumers on a CPU: along a chain of residual sums each one would compute all sums
    before it again, those of the gradient above all. `lax.optimization_barrier` does not help,
    XLA drops it before it fuses.
    """
    jitted = jax.jit(function, **options)

    @wraps(function)
    def call(*args: Any, **static: Any) -> Any:
        with set_xla_metadata(inlineable="false"):
            return jitted(*args, **static)

    return call


def outlined(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """`called` in a program for CPUs; elsewhere `function`, whose operations may then be fused.

    Keyword arguments are static. The platform is the one the program is lowered for, which may be
    another than that of this machine.
    """
    apart = called(function, **options)

    @wraps(function)
    def call(*args: Any, **static: Any) -> Any:
        cpu, default = partial(apart, **static), partial(function, **static)
        if not TUNED.value:
            return default(*args)
        return jax.lax.platform_dependent(*args, cpu=cpu, default=default)

    return call


@outlined
def once(x: Array) -> Array:
    """x, which XLA then does not work out anew for each of its uses on a CPU."""
    return x
