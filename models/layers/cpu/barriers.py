"""Barriers that stay in the compiled program: without them XLA undoes rematerialization."""

from __future__ import annotations

import jax

from models.layers.cpu.switch import TUNED


def compiler_options() -> dict[str, str]:
    """Options of `jax.jit` under which a gradient on a CPU recomputes what it is told to.

    XLA's CPU compiler of jax 0.10 otherwise drops the barriers of `jax.checkpoint`, finds the same
    operations twice, and keeps their first results.
    """
    if not TUNED.value or jax.default_backend() != "cpu":
        return {}
    return {"xla_disable_hlo_passes": "cse_barrier_expander"}
