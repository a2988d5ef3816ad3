"""Denoising score matching: law of t x weighting lambda(t) -> one loss per example.

Every published loss is a weighted error of the noise prediction eps_hat = -sigma score,

    loss = w(t) reduce(|eps_hat(x_t, t) - eps|^2),   x_t = alpha x_0 + sigma eps,

    weight     w(t)                  published as
    noise      1                     score_sde's lambda = sigma^2; DDPM's L_simple; SMLD (Song & Ermon 2019)
    likelihood g^2 / sigma^2         lambda = g^2 (Song et al. 2021, arXiv:2101.09258, thm. 1)
    edm        1 + snr_d             Karras et al. 2022, arXiv:2206.00364, table 1

so SDEs, parametrizations, discrete and continuous training all share one expression.
A new law or weighting is one class and one line in a table below.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

import models
import sde_lib
from configs.shapes import shape_of
from sde_lib import SDE, ModelScore, choose
from sde_lib.base import Number, Time, time_derivative
from sde_lib.condition import Condition
from sde_lib.learned import Pinned
from sde_lib.pytree import pytree, static
from sde_lib.tables import made
from train_lib import autoencoding, chain
from train_lib.classification import Classification
from train_lib.loss import TimedLoss, TrainingLoss, draw, half_sum, known, mean
from train_lib.times import (
    ImportanceTime,
    LogNormalSigma,
    TimeLaw,
    UniformLevel,
    UniformTime,
)


class Weighting(Protocol):
    """w(t) on the squared error of the noise prediction."""

    def __call__(self, sde: SDE, t: Time) -> Time:
        """The weight, like t."""


@pytree
class NoiseWeight:
    """w = 1."""

    def __call__(self, sde: SDE, t: Time) -> Time:
        return jnp.ones_like(t)


@pytree
class LikelihoodWeight:
    """w = g^2 / sigma^2: the loss bounds the negative log-likelihood."""

    def __call__(self, sde: SDE, t: Time) -> Time:
        return (sde.diffusion(t) / sde.sigma(t)) ** 2


@pytree
class DataWeight:
    """w = sigma^2 / alpha^2: the squared error of x_0 itself, as a prior over embeddings has it
    (Ramesh et al. 2022, arXiv:2204.06125, equation 2)."""

    def __call__(self, sde: SDE, t: Time) -> Time:
        return jnp.exp(-sde.log_snr(t))


@pytree
class EDMWeight:
    """w = 1 + sigma^2 / (alpha sigma_data)^2: EDM's raw output has unit loss at every level."""

    sigma_data: Number = 0.5

    def __call__(self, sde: SDE, t: Time) -> Time:
        return 1 + jnp.exp(-sde.log_snr(t)) / self.sigma_data**2


@pytree
class Objective(TimedLoss):
    """Law of t, weighting, and reduction of errors, squared or absolute, over an example's axes.

    `reduce_mean` averages; otherwise half the sum, as published. `stratified` spreads a batch's
    times evenly over the law (Kingma et al. 2021, arXiv:2107.00630, appendix I.1): the same
    expectation with less variance.
    """

    law: TimeLaw
    weighting: Weighting
    reduce_mean: bool = static(default=True)
    stratified: bool = static(default=False)
    absolute: bool = static(default=False)

    def at(
        self,
        score: ModelScore,
        x0: Float[Array, "b *d"],
        noise: Float[Array, "b *d"],
        t: Float[Array, " b"],
        condition: Condition = None,
    ) -> Float[Array, " b"]:
        """The losses for given noise and times."""
        predicted = score.noise(score.sde.perturb(x0, noise, t), t, condition)
        reduce = mean if self.reduce_mean else half_sum
        weight = self.weighting(score.sde, t) * self.law.correction(score.sde, t)
        error = known(condition, predicted - noise)
        return weight * reduce(jnp.abs(error) if self.absolute else error**2)


@jax.custom_vjp
def _weighed_later(
    level: Float[Array, " b"], rate: Float[Array, " b"], token: Float[Array, " b"]
) -> tuple[Array, Array, Array]:
    """The arguments unchanged; gradients of the first two are multiplied by that of `token`.

    So a factor can depend on what is computed from them afterwards, without a second pass.
    """
    return level, rate, token


def _weighed_forward(
    level: Array, rate: Array, token: Array
) -> tuple[tuple[Array, Array, Array], None]:
    return (level, rate, token), None


def _weighed_backward(_: None, gradients: tuple[Array, ...]) -> tuple[Array, ...]:
    level, rate, token = gradients
    n = token.shape[0]
    return level * token * n, rate * token * n, jnp.zeros_like(token)


_weighed_later.defvjp(_weighed_forward, _weighed_backward)


@pytree
class VariationalObjective:
    """The diffusion term of the likelihood's bound, in nats per dimension, and its schedule.

        loss = -dlambda/dt |eps_hat(x_t, t) - eps|^2 / (2 d),   t ~ U(0, T) spread evenly,

    for an SDE whose schedule is learned. The network descends the loss. The mean of the loss is the
    same for every schedule between the same ends, so the schedule descends the mean of its square,
    and with it its variance (Kingma et al. 2021, arXiv:2107.00630, eq. 18 and appendix I.2).
    """

    trains_schedule: ClassVar[bool] = True

    @property
    def law(self) -> TimeLaw:
        """Distribution of the training times."""
        return UniformTime(0.0)

    @property
    def stratified(self) -> bool:
        """True: times are spread evenly."""
        return True

    def __call__(
        self,
        score: ModelScore,
        key: PRNGKeyArray,
        x0: Float[Array, "b *d"],
        condition: Condition = None,
        *,
        train: bool,
    ) -> Float[Array, " b"]:
        """Losses of a batch at random times and noises; with dropout if `train`."""
        t, noise, dropout_key = draw(self, score.sde, key, x0, train)
        level = score.sde.log_snr(t)
        rate = -time_derivative(score.sde.log_snr, t)
        token = jnp.zeros_like(t)
        level, rate, token = _weighed_later(level, rate, token)
        pinned = replace(score, sde=Pinned(level), dropout_key=dropout_key)
        predicted = pinned.noise(pinned.sde.perturb(x0, noise, t), t, condition)
        loss = rate * half_sum(known(condition, predicted - noise) ** 2) / x0[0].size
        # The token is 0. What reaches it is the batch's 1 / n times twice the loss, which turns
        # the schedule's gradient of the loss into that of its square.
        return loss + token * jax.lax.stop_gradient(2 * loss)


LAWS: dict[str, Callable[[Any], TimeLaw]] = {
    "uniform": lambda c: UniformTime(c.training.eps),
    "importance": lambda c: ImportanceTime(c.training.eps),
    "level": lambda c: UniformLevel(c.sde.num_scales),
    "lognormal_sigma": lambda c: LogNormalSigma(c.training.sigma_mean, c.training.sigma_std),
}
ERRORS = {"squared": False, "absolute": True}
"""Name of an error -> whether it is the absolute one."""
WEIGHTINGS: dict[str, Callable[[Any], Weighting]] = {
    "noise": lambda c: NoiseWeight(),
    "likelihood": lambda c: LikelihoodWeight(),
    "data": lambda c: DataWeight(),
    "edm": lambda c: EDMWeight(c.model.sigma_data),
}


def _denoising(config: Any) -> Objective:
    """The objective of a config, score_sde's settings included.

    `training.continuous=False` makes the levels the law of t, `training.likelihood_weighting`
    selects the likelihood weight; ValueError for combinations that score_sde does not define
    either.
    """
    training = config.training
    if training.likelihood_weighting and not training.continuous:
        raise ValueError(
            "training.likelihood_weighting=True needs training.continuous=True: g(t) is not "
            "defined for discrete levels"
        )
    weighting = "likelihood" if training.likelihood_weighting else training.weighting
    return Objective(
        _law(config),
        choose("training.weighting", weighting, WEIGHTINGS)(config),
        reduce_mean=training.reduce_mean,
        stratified=training.stratified_times,
        absolute=choose("training.error", training.error, ERRORS),
    )


def _law(config: Any) -> TimeLaw:
    law = config.training.time_law if config.training.continuous else "level"
    return choose("training.time_law", law, LAWS)(config)


def _classification(config: Any) -> Classification:
    if config.training.snapshot_sampling:
        raise ValueError(
            "training.snapshot_sampling must be False with training.objective='classification': a "
            "classifier draws no samples"
        )
    crop = config.training.random_crop
    if crop < 1 and len(shape_of(config)) != 3:
        raise ValueError(
            f"training.random_crop must be 1 for data that are no pictures, got {crop}"
        )
    return Classification(_law(config), config.training.stratified_times, crop)


OBJECTIVES: dict[str, Callable[[Any], TrainingLoss]] = {
    "denoising": _denoising,
    "variational": lambda config: VariationalObjective(),
    "hybrid": chain.hybrid,
    "vlb": chain.vlb,
    "classification": _classification,
    "autoencoder": autoencoding.build,
}


def build(config: Any) -> TrainingLoss:
    """The objective of a config; ValueError, in the user's terms, for inconsistent settings."""
    name, sde = config.training.objective, config.sde.name
    if models.is_classifier(config) != (name.lower() == "classification"):
        raise ValueError(
            f"a classifier, model.name={' or '.join(models.CLASSIFIERS)}, and training.objective="
            f"'classification' need each other, got {config.model.name!r} with {name!r}"
        )
    if models.is_autoencoder(config) != (name.lower() == "autoencoder"):
        raise ValueError(
            f"an autoencoder, model.name={' or '.join(models.AUTOENCODERS)}, and "
            f"training.objective='autoencoder' need each other, got {config.model.name!r} with "
            f"{name!r}"
        )
    found = choose("training.objective", name, OBJECTIVES)(config)
    if sde_lib.build(config).learned != found.trains_schedule:
        raise ValueError(
            "an SDE that learns its schedule (sde.name=learned) and an objective that trains it "
            f"(training.objective=variational) need each other, got {sde!r} with {name!r}: set "
            "both or neither (the bound of a fixed schedule is training.weighting=likelihood)"
        )
    if config.model.learn_variance and not isinstance(found, chain.ChainObjective):
        raise ValueError(
            "model.learn_variance=True needs an objective that trains the variance, "
            f"training.objective=hybrid or vlb, got {name!r}"
        )
    if found.trains_schedule:
        _check_label(config)
    return found


def _check_label(config: Any) -> None:
    """Raise ValueError for a label that does not follow a schedule while it is trained."""
    if sde_lib.build_parametrization(config).conditioning.of_log_sigma:
        return
    rows = sde_lib.CONDITIONINGS.items()
    fitting = [name for name, row in rows if made(row, config.sde).of_log_sigma]
    raise ValueError(
        f"model.conditioning must be one of {', '.join(('published', *fitting))} for a learned "
        f"schedule, which changes the noise level of a time; got {config.model.conditioning!r}"
    )
