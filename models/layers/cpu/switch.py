"""The switch for what only CPUs need: on unless the setting `cpu_tuned` says otherwise."""

from __future__ import annotations

import jax

TUNED = jax.make_user_context(True)
"""Part of the key under which JAX keeps a traced or compiled program: `with TUNED(False):` makes
programs without any of it. `TUNED.value` is the state of the current thread."""
