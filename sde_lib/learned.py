"""A variance-preserving SDE whose noise schedule is learned with the network.

The log-SNR falls from a fixed first to a fixed last value along a monotone function of t (Kingma et
al. 2021, arXiv:2107.00630, appendix H):

    log_snr(t) = high + (low - high) (h(t) - h(0)) / (h(1) - h(0)),
    h(t) = e^a t + sum over k of e^(c_k) sigmoid(e^(w_k) t + b_k) / K,

alpha^2 = sigmoid(log_snr), sigma^2 = 1 - alpha^2. The bound on the likelihood depends on the ends
alone; what the schedule between them decides is the variance of its estimate.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sde_lib.base import SDE, Number, Time
from sde_lib.pytree import pytree

UNITS = 16
"""Number K of sigmoids in the schedule."""

Shape = dict[str, Float[Array, "..."]]
"""Parameters of h: a [], w [K], b [K], c [K]."""


class _OfLogSNR(SDE):
    """A variance-preserving SDE given by its log-SNR alone. Holds no state."""

    def log_alpha(self, t: Time) -> Time:
        """log sigmoid(log_snr) / 2."""
        return 0.5 * jax.nn.log_sigmoid(self.log_snr(t))

    def log_sigma(self, t: Time) -> Time:
        """log sigmoid(-log_snr) / 2."""
        return 0.5 * jax.nn.log_sigmoid(-self.log_snr(t))

    def sigma(self, t: Time) -> Time:
        """exp(log sigma)."""
        return jnp.exp(self.log_sigma(t))

    def log_alpha_change(self, s: Time, t: Time) -> Time:
        """log a, where a^-2 = 1 + sigma_s^2 (e^(lambda_s - lambda_t) - 1)."""
        rise = jnp.expm1(-self.log_snr_change(s, t))
        return -0.5 * jnp.log1p(self.sigma(s) ** 2 * rise)

    @property
    def prior_std(self) -> Float[Array, ""]:
        """1; sigma(T) differs from it by exp(log_snr(T)) / 2."""
        return jnp.ones(())


@pytree
class Pinned(_OfLogSNR):
    """The SDE at fixed times: `log_snr` of each example, whatever time is asked for."""

    levels: Float[Array, " b"]

    def log_snr(self, t: Time) -> Time:
        """`self.levels`, whatever t is."""
        return self.levels


@pytree
class LearnedVP(_OfLogSNR):
    """The SDE of the module's docstring. `shape` is trained, with the network's parameters."""

    log_snr_max: Number = 13.0
    log_snr_min: Number = -10.0
    shape: Shape | None = None

    # Its first level carries noise already.
    t_min = 0.0
    t_min_sampling = 0.0
    learned = True

    def initial_shape(self) -> Shape:
        """Initial parameters, for which the log-SNR is nearly linear in t."""
        spread = jnp.linspace(0.0, 1.0, UNITS)
        return {
            "a": jnp.zeros(()),
            "w": jnp.full(UNITS, jnp.log(10.0)),
            "b": -10.0 * spread,
            "c": jnp.full(UNITS, jnp.log(0.1)),
        }

    def _rise(self, s: Time, t: Time) -> Time:
        """h(t) - h(s) of the trained shape, or of the initial one if there is no trained one.

        sigmoid(x) - sigmoid(y) = sigmoid(x) sigmoid(-y) (1 - e^(y - x)).
        """
        shape = self.initial_shape() if self.shape is None else self.shape
        shape = jax.tree.map(lambda x: x.astype(t.dtype), shape)
        w, b, c = (shape[k].reshape((1,) * t.ndim + (-1,)) for k in "wbc")
        at = lambda t: jnp.exp(w) * t[..., None] + b
        gaps = -jnp.expm1(-jnp.exp(w) * (t - s)[..., None])
        bends = jnp.exp(c) * jax.nn.sigmoid(at(t)) * jax.nn.sigmoid(-at(s)) * gaps
        return jnp.exp(shape["a"]) * (t - s) + jnp.mean(bends, axis=-1)

    def _part(self, s: Time, t: Time) -> Time:
        """(h(t) - h(s)) / (h(1) - h(0))."""
        return self._rise(s, t) / self._rise(jnp.zeros((), t.dtype), jnp.ones((), t.dtype))

    def log_snr(self, t: Time) -> Time:
        """high + (low - high) (h(t) - h(0)) / (h(1) - h(0))."""
        part = self._part(jnp.zeros_like(t), t)
        return self.log_snr_max + (self.log_snr_min - self.log_snr_max) * part

    def log_snr_change(self, s: Time, t: Time) -> Time:
        """(low - high) (h(t) - h(s)) / (h(1) - h(0))."""
        return (self.log_snr_min - self.log_snr_max) * self._part(s, t)

    def split(self, params: Any) -> tuple[SDE, Any]:
        """(this SDE with the trained shape, the network's parameters)."""
        return LearnedVP(self.log_snr_max, self.log_snr_min, params["schedule"]), params["network"]

    def join(self, network: Any) -> Any:
        """A network's parameters and the initial shape."""
        return {"network": network, "schedule": self.initial_shape()}
