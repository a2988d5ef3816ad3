"""Barriers that stay in the compiled program: without them XLA undoes rematerialization."""

from __future__ import annotations

import os

import jax

from models.layers.cpu.switch import TUNED

FLAGS, LEFT_OUT = "XLA_FLAGS", "xla_disable_hlo_passes"


def compiler_options() -> dict[str, str]:
    """Options of `jax.jit` under which a gradient on a CPU recomputes what it is told to.

    XLA's CPU compiler of jax 0.10 otherwise drops the barriers of `jax.checkpoint`, finds the same
    operations twice, and keeps their first results. Passes that the user leaves out by XLA_FLAGS
    stay the user's: an option would replace them.
    """
    if not TUNED.value or jax.default_backend() != "cpu" or LEFT_OUT in os.environ.get(FLAGS, ""):
        return {}
    return {LEFT_OUT: "cse_barrier_expander"}
