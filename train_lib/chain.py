"""Losses of a discrete model's chain of levels: Improved DDPM's L_hybrid and L_vlb.

(Nichol & Dhariwal 2021, arXiv:2102.09672, sections 3.1 and 3.3.) With vb_i the term of the bound at
level i, in bits per dimension, of `sde_lib.chain`: a divergence, or at level 0 the decoder's,

    L_vlb = N vb_i,      L_hybrid = |eps_hat - eps|^2 / d + lambda N vb_i,

and in L_hybrid vb trains the variance alone: its eps_hat is held fixed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from data_lib import codec
from sde_lib import ModelScore, Predicted, choose
from sde_lib.base import Number
from sde_lib.bins import Bins, check_cdf
from sde_lib.chain import VARIANCES, GaussianDecoder, Link, decoder_deviation
from sde_lib.condition import Condition
from sde_lib.pytree import pytree, static
from train_lib.history import LossSecondMoment
from train_lib.loss import TimedLoss, known, mean
from train_lib.times import TimeLaw, UniformLevel


@pytree
class ChainObjective(TimedLoss):
    """L_hybrid if `hybrid`, else L_vlb; see the module's docstring.

    bins: of gray levels, for the probability of the data; None for a density.
    weight: lambda. fixed: v of a network that says no variance.
    """

    law: TimeLaw
    num_scales: int = static()
    bins: Bins | None
    hybrid: bool = static()
    weight: Number = 0.001
    fixed: Number = 0.0
    stratified: bool = static(default=False)

    def terms(
        self,
        score: ModelScore,
        x0: Float[Array, "b *d"],
        noise: Float[Array, "b *d"],
        t: Float[Array, " b"],
        condition: Condition = None,
    ) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
        """(|eps_hat - eps|^2 / d, vb_i in bits per dimension) for given noise and times."""
        sde, last = score.sde, self.num_scales - 1
        found = score.predict(sde.perturb(x0, noise, t), t, condition)
        x_hat, eps_hat = jax.lax.stop_gradient(found[:2]) if self.hybrid else found[:2]
        told = Predicted(x_hat, eps_hat, found.fraction)
        i = jnp.round(t * last)
        lowest = (i == 0).reshape(-1, *(1,) * (x0.ndim - 1))
        fraction = self.fixed if found.fraction is None else found.fraction
        # Both terms of all examples are finite, so that the one not taken has no gradient.
        link = Link.of(sde, jnp.maximum(i - 1, 0) / last, jnp.maximum(i, 1) / last)
        nats = jnp.where(
            lowest,
            -self._log_prob(score, x0, told._replace(x0=jnp.where(lowest, told.x0, x0))),
            link.divergence(fraction, told.noise - noise),
        )
        error = known(condition, found.noise - noise) ** 2
        return mean(error), mean(known(condition, nats)) / math.log(2)

    def _log_prob(
        self, score: ModelScore, x0: Float[Array, "b *d"], told: Predicted
    ) -> Float[Array, "b *d"]:
        ends = jnp.zeros((), x0.dtype), jnp.full((), 1 / (self.num_scales - 1), x0.dtype)
        fraction = 0.0 if told.fraction is None else told.fraction
        deviation = decoder_deviation(score.sde, *ends, fraction)
        if self.bins is None:
            return GaussianDecoder().log_prob(x0, x0, told.x0, deviation)
        return self.bins.log_prob(self.bins.nearest(x0), told.x0, deviation)

    def at(
        self,
        score: ModelScore,
        x0: Float[Array, "b *d"],
        noise: Float[Array, "b *d"],
        t: Float[Array, " b"],
        condition: Condition = None,
    ) -> Float[Array, " b"]:
        """The losses for given noise and times."""
        error, bits = self.terms(score, x0, noise, t, condition)
        whole = self.num_scales * bits
        loss = error + self.weight * whole if self.hybrid else whole
        return loss * self.law.correction(score.sde, t)


def check_levels(objective: Any, levels: int | None) -> None:
    """Raise ValueError unless the data have the gray levels to which the loss gives probability."""
    bins = objective.bins if isinstance(objective, ChainObjective) else None
    if bins is not None and bins.levels != levels:
        said = "no gray levels" if levels is None else f"{levels} gray levels"
        raise ValueError(
            f"data.gray_levels must be the number that the data have, got {bins.levels}, and they "
            f"have {said}"
        )


LEVEL_LAWS: dict[str, Callable[[int], TimeLaw]] = {
    "uniform": UniformLevel,
    "loss_second_moment": LossSecondMoment.start,
}
"""Laws of the levels of `ChainObjective` by name, functions of their number."""
FIXED = {name: v for name, v in VARIANCES.items() if v is not None}


def hybrid(config: Any) -> ChainObjective:
    """L_hybrid of a config; ValueError for one whose network says no variance."""
    if not config.model.learn_variance:
        raise ValueError(
            "training.objective='hybrid' trains the variance that a network says: set "
            "model.learn_variance=True, or training.objective='denoising'"
        )
    return replace(_chain(config, hybrid=True), weight=config.training.vlb_weight)


def vlb(config: Any) -> ChainObjective:
    """L_vlb of a config, whose variance may be fixed."""
    made = _chain(config, hybrid=False)
    if config.model.learn_variance:
        return made
    name = config.sampling.ancestral_variance
    return replace(made, fixed=choose("sampling.ancestral_variance", name, FIXED))


def _chain(config: Any, hybrid: bool) -> ChainObjective:
    training, n = config.training, config.sde.num_scales
    if training.continuous:
        raise ValueError(
            f"training.objective={training.objective!r} needs training.continuous=False: it is a "
            "loss of the sde.num_scales levels"
        )
    law = choose("training.time_law", training.time_law, LEVEL_LAWS)(n)
    return ChainObjective(law, n, _bins(config), hybrid, stratified=training.stratified_times)


def _bins(config: Any) -> Bins | None:
    data, made = config.data, codec.build(config.data)
    if not made.of_levels:
        return None
    if data.uniform_dequantization:
        raise ValueError(
            f"training.objective={config.training.objective!r} needs "
            "data.uniform_dequantization=False: its decoder gives gray levels a probability itself"
        )
    cdf = check_cdf("training.cdf", config.training.cdf)
    return Bins.of("nearest", data.gray_levels, made.centered, cdf)
