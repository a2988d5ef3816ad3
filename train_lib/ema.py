"""Exponential moving averages of the parameters, several rates at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Params = Any


@dataclass(frozen=True)
class EMA:
    """ema <- r ema + (1 - r) params after every update.

    With warmup=True r = min(rate, (1 + n) / (10 + n)) after n updates, as in score_sde's PyTorch
    code; its JAX code has the constant rate. rampup > 0 limits the half-life to rampup times the
    number of updates before, as in EDM (Karras et al. 2022, arXiv:2206.00364, appendix F.2).
    """

    rates: tuple[float, ...] = (0.9999,)
    warmup: bool = field(default=False)
    rampup: float = 0.0

    def init(self, params: Params) -> tuple[Params, ...]:
        """A copy of the parameters per rate, in buffers of its own (the state is donated)."""
        return tuple(jax.tree.map(jnp.copy, params) for _ in self.rates)

    def rate(self, rate: float, step: Int[Array, ""]) -> Float[Array, ""]:
        """The rate r at the update after which `step` updates are made."""
        n = step.astype(jnp.float32)
        r = jnp.minimum(rate, (1 + n) / (10 + n)) if self.warmup else jnp.float32(rate)
        if not self.rampup:
            return r
        # 2^(-1 / half-life); nothing is kept of what was there before the first update.
        return jnp.minimum(r, jnp.exp2(-1 / jnp.maximum(self.rampup * (n - 1), 1e-8)))

    def update(
        self, averages: tuple[Params, ...], params: Params, step: Int[Array, ""]
    ) -> tuple[Params, ...]:
        """The averages after an update, the `step`-th."""

        def blend(rate: float, average: Params) -> Params:
            r = self.rate(rate, step)
            return jax.tree.map(lambda a, p: r * a + (1 - r) * p, average, params)

        return tuple(map(blend, self.rates, averages))
