"""The typed objects of a run, made from a config and checked before anything is compiled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray
from optax import GradientTransformation

import models
import samplers
import sde_lib
from configs import schema
from configs.kinds import of_config, with_coarse
from configs.shapes import diffused_shape, in_words, shape_of
from data_lib import Codec, Splits, codec
from data_lib.conditions import condition_codecs
from models.score import network_of, template
from modes import sizes, texts
from modes.autoencoders import codec_of
from runtime_lib import hardware, sharding
from sde_lib import SDE, Conditional, Guidance, ModelScore, Score, Told, coarse
from sde_lib.clipping import Limit, build_limit
from sde_lib.condition import Condition
from sde_lib.guides import ALONE
from train_lib import augment, objective, optimizer
from train_lib.ema import EMA
from train_lib.guard import Guard
from train_lib.state import TrainState
from train_lib.step import Recipe

PARAMS_STREAM, TRAIN_STREAM, SAMPLE_STREAM, LIKELIHOOD_STREAM, MEASURE_STREAM = 0, 1, 2, 3, 4
COARSE_STREAM, STAGE_STREAM = 5, 6
"""Numbers folded into the seed's key, to keep parameters, training noise, samples, draws of
likelihoods, the noise of measurements and of coarse pictures, and earlier stages independent."""


@dataclass(frozen=True)
class Experiment:
    """A checked config and the objects that it describes."""

    config: Any
    sde: SDE
    score: ModelScore
    """A template: its parameters are None."""
    recipe: Recipe
    guidance: Guidance
    """Guidance in every mode, `guidance(score, labels)`; labels are None without classes."""
    sampler: samplers.Sampler
    times: Any
    layout: sharding.Layout
    splits: Splits | None = None
    """The data, if they had to be loaded already."""
    told: Told = ALONE
    """Models and functions that guide."""
    limit: Limit | None = None
    """The map to a score whose x_0 stays in the range of the data; None if there is none."""

    @classmethod
    def of(cls, config: Any, splits: Splits | None = None, told: Told = ALONE) -> Experiment:
        """Build every object of `config`; ValueError, in the user's terms, for a bad setting."""
        schema.check(config)
        _check_codec(config)
        if texts.reads_texts(config):
            texts.text_settings(config)
        score = template(config)
        training, model, mesh = config.training, config.model, config.mesh
        layout = sharding.Layout(sharding.device_mesh(mesh.data, mesh.fsdp), mesh.smallest)
        _check_division(config)
        sizes.check_batches(config)
        recipe = Recipe(
            score,
            objective.build(config),
            _optimizer(config),
            EMA((model.ema_rate, *model.extra_ema_rates), training.ema_warmup, training.ema_rampup),
            training.accumulate,
            labelled=model.num_classes > 0,
            condition=of_config(config),
            coarse=coarse.build(config),
            augment=augment.build(config),
            guard=Guard(training.patience, training.explosion),
            apart=_is_judged(config),
        )
        guidance, sampler = sde_lib.build_guidance(config, told), samplers.build(config.sampling)
        followed = guidance(score, _an_example(config, _classes(config, guidance, told)))
        times = samplers.build_times(config.sampling, followed, config.sde.num_scales)
        # Refuses, before training, what sampling could not do after it.
        samplers.check_memory(followed, sampler.plan(followed, times))
        samplers.start_scale(config.sampling, followed, times)
        made = cls(config, score.sde, score, recipe, guidance, sampler, times, layout)
        limit = build_limit(config.sampling, partial(codec.gray_range, config.data))
        return replace(made, splits=splits, told=told, limit=limit)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of what is diffused of one example."""
        return diffused_shape(self.config)

    @property
    def example(self) -> tuple[int, ...]:
        """Shape of one example of the data."""
        return shape_of(self.config)

    @property
    def codec(self) -> Codec:
        """The map between data and what is diffused.

        Raises ValueError for an autoencoder that is not there, or not the model's.
        """
        return codec_of(self.config)

    @property
    def classifies(self) -> bool:
        """True if the network is a classifier of noisy examples."""
        return models.is_classifier(self.config)

    @property
    def autoencodes(self) -> bool:
        """True if the network is an autoencoder, which has no score."""
        return models.is_autoencoder(self.config)

    def condition(self, labels: Any, rows: Any, keys: Any = None) -> Condition:
        """The condition of examples, of their classes and encoded conditions [b, ...].

        keys: one for each row, of the noise in its coarse picture; None: the seed's.
        """
        if self.recipe.coarse is not None and rows is not None and keys is None:
            keys = samplers.sample_keys(self.key(COARSE_STREAM), jnp.arange(len(rows)))
        return self.assembly(labels, rows, keys)

    @property
    def assembly(self) -> coarse.Assembly:
        """The maker of conditions outside of training."""
        return coarse.Assembly(self.recipe.coarse, with_coarse(self.config))

    @property
    def guidance_settings(self) -> dict[str, Any] | None:
        """Settings that the guidance reads, recorded with results; None without guidance."""
        return sde_lib.guidance_settings(self.config, self.told)

    @property
    def guided_by(self) -> dict[str, Any]:
        """{"guided_by": hashes of the models and functions that guide}, on which samples depend
        beside settings; {} without any."""
        return {"guided_by": dict(self.told.identity)} if self.told.identity else {}

    @property
    def classes(self) -> int:
        """Number of classes among which samples choose: the model's, or its guide's; 0: none."""
        return _classes(self.config, self.guidance, self.told)

    def sampled(self, score: Score, condition: Condition) -> Score:
        """The score that samples follow: guided, and in the data's range if it is limited."""
        if self.limit is None:
            return self.guidance(score, condition)
        if self.told.log_density is not None:  # published for ADM: what guides may leave the range
            return self.guidance(self.limit(score), condition)
        return self.limit(self.guidance(score, condition))

    def followed(self, score: Score) -> Score:
        """`score` under the guidance, given one example, for planning a sampler's grid."""
        return self.guidance(score, _an_example(self.config, self.classes))

    def key(self, stream: int) -> PRNGKeyArray:
        """The key of one of the seed's streams."""
        return jax.random.fold_in(jax.random.key(self.config.seed), stream)

    def _fresh_state(self) -> TrainState:
        network = network_of(self.score)
        params = self.sde.join(models.init(network, self.key(PARAMS_STREAM), self.config))
        key = self.key(TRAIN_STREAM)
        return TrainState.create(
            params, self.recipe.optimizer, self.recipe.ema, key, self.recipe.law
        )

    def init_state(self) -> TrainState:
        """The state before the first update, distributed over the devices; safe to donate."""
        placed = self.layout.shardings(self.abstract_state())
        # Run once: optimizing this program would take several times as long as running it.
        quick = {"xla_backend_optimization_level": 0}
        make: Any = jax.jit(self._fresh_state, out_shardings=placed, compiler_options=quick)
        state = jax.block_until_ready(make())
        make.clear_cache()
        hardware.give_back_memory()
        return state

    def abstract_params(self) -> Any:
        """Shapes and types of the parameters, the SDE's included."""
        network = network_of(self.score)
        key = self.key(PARAMS_STREAM)
        return jax.eval_shape(lambda: self.sde.join(models.init(network, key, self.config)))

    def an_example(self, count: int) -> Condition:
        """The condition of `count` examples, for planning; None for a model that is given none."""
        one = _an_example(self.config, self.classes)
        return jax.tree.map(lambda part: jnp.repeat(part, count, axis=0), one)

    def abstract_state(self) -> Any:
        """Shapes and types of the state, without computing it."""
        return jax.eval_shape(self._fresh_state)


def _is_judged(config: Any) -> bool:
    """True if a discriminator is trained beside an autoencoder, by an optimizer of its own."""
    return models.is_autoencoder(config) and config.model.discriminator > 0


def _optimizer(config: Any) -> GradientTransformation:
    optim, updates = config.optim, config.training.n_iters
    if _is_judged(config):
        return optimizer.apart(optim, updates, "discriminator")
    return optimizer.build(optim, updates)


def _classes(config: Any, guidance: Guidance, told: Told) -> int:
    """Number of classes of the model, or else of what guides it."""
    return int(config.model.num_classes) or (0 if guidance is Conditional else told.classes)


def _an_example(config: Any, classes: int) -> Condition:
    """The condition of one example; None for a model that is given none."""
    labels, made = jnp.zeros(1, jnp.int32) if classes else None, coarse.assembly(config)
    rows = jnp.zeros((1, *made.kinds.stored)) if made.kinds.names else None
    return made(labels, rows, jax.random.split(jax.random.key(0), 1))


def _check_codec(config: Any) -> None:
    """Raise ValueError for settings of the data that do not fit their shape."""
    data, shape = config.data, shape_of(config)
    codec.build(data)
    if data.random_flip and len(shape) != 3:
        raise ValueError(f"data.random_flip must be False for data that are no pictures, "
                         f"whose shape is {in_words(shape)}")  # fmt: skip
    pictures = codec.of_pictures(data)
    if data.codec == "autoencoder":
        _check_latents(config)
    if pictures and len(shape) != 3:
        raise ValueError(
            f"data.codec must be standardize, bounded or identity for data of {in_words(shape)}: "
            "gray levels are those of pictures"
        )
    if pictures and data.missing != "refuse":
        raise ValueError(
            f"data.missing must be refuse with data.codec={data.codec}, which has no NaN"
        )
    codec.check_rows(data, diffused_shape(config)[-1])
    condition_codecs(config)


def _check_latents(config: Any) -> None:
    """Raise ValueError for settings that a model in an autoencoder's latents cannot have."""
    data = config.data
    for key in ("autoencoder", "tile"):  # which the codec reads when it is first asked for
        data[key]
    if models.is_autoencoder(config):
        raise ValueError(
            f"data.codec must be levels with model.name={config.model.name!r}, got 'autoencoder'"
        )
    for key, why in (("random_flip", "latents are computed once, of pictures as they are"),
                     ("uniform_dequantization", "latents are continuous already")):  # fmt: skip
        if data[key]:
            raise ValueError(f"data.{key} must be False with data.codec='autoencoder': {why}")


def _check_division(config: Any) -> None:
    training, devices = config.training, jax.device_count()
    share = training.accumulate * devices
    if training.batch_size % share:
        raise ValueError(
            f"training.batch_size must be a multiple of training.accumulate x devices = "
            f"{training.accumulate} x {devices} = {share}, got {training.batch_size}"
        )
