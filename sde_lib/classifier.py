"""Classifiers of noisy examples: log p(y | x_t), whose gradient guides sampling.

Dhariwal & Nichol, 2021, arXiv:2105.05233, section 4; Song et al., 2021, arXiv:2011.13456, appendix
I. A classifier stands where a model's network stands: it is given the noisy example in the same
scale and the same label of the noise level, and returns logits [b, classes].
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sde_lib.base import SDE, Time, expand
from sde_lib.pytree import pytree
from sde_lib.score import ModelScore


def logits(model: ModelScore, x: Float[Array, "b *d"], t: Time) -> Float[Array, "b k"]:
    """The logits of a classifier that stands in the place of a model's network, in float32."""
    scaled, label = model.parametrization.inputs(model.sde, x, t)
    label = jnp.broadcast_to(label, x.shape[:1])
    raw = model.apply(model.params, scaled, label, None, model.dropout_key)
    return raw.astype(jnp.float32)


def picked(logits: Float[Array, "b k"], label: Int[Array, " b"]) -> Float[Array, " b"]:
    """log softmax(logits)[label] of every row."""
    log_probs = jax.nn.log_softmax(logits, axis=-1)
    return jnp.take_along_axis(log_probs, label[:, None], axis=-1)[:, 0]


@pytree
class Classifier:
    """log p(y | x_t) for examples x_t of `sde`; trained on its own SDE, `model.sde`.

    The two may differ: x_t is known up to its scale by its signal-to-noise ratio, so a classifier
    is given (alpha' / alpha) x_t at the time t' of its own SDE that has the ratio of t.
    """

    model: ModelScore
    sde: SDE | None = None
    """None: that of the classifier."""

    def logits(self, x: Float[Array, "b *d"], t: Time) -> Float[Array, "b k"]:
        """The logits of all classes; t is one time or one for each example."""
        t = jnp.broadcast_to(t, x.shape[:1])
        if self.sde is None:
            return logits(self.model, x, t)
        own = self.model.sde
        there = own.time_of_log_snr(self.sde.log_snr(t))
        ratio = own.marginal(there)[0] / self.sde.marginal(t)[0]
        return logits(self.model, expand(ratio, x) * x, there)

    def log_prob(
        self, x: Float[Array, "b *d"], t: Time, label: Int[Array, " b"]
    ) -> Float[Array, " b"]:
        """log p(label | x_t) of every example."""
        return picked(self.logits(x, t), label)

    def on(self, sde: SDE) -> Classifier:
        """The classifier for examples of another SDE, or of its own."""
        same = type(sde) is type(self.model.sde) and _equal(sde, self.model.sde)
        return replace(self, sde=None if same else sde)


def _equal(one: SDE, other: SDE) -> bool:
    """True if two SDEs have the same structure and numbers."""
    forms: list[Any] = [jax.tree.structure(sde) for sde in (one, other)]
    if forms[0] != forms[1]:
        return False
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(jnp.shape(a) == jnp.shape(b) and bool(jnp.all(a == b)) for a, b in pairs)
