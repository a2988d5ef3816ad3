"""ADM's guided steps and chains, by its own network and classifier: what its code gave."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import models
from configs import schema
from models.pretrained.files import torch_files
from models.pretrained.openai import layout, state_dict
from models.score import template
from samplers import DDIM, Ancestral
from sde_lib.classifier import Classifier, picked
from sde_lib.clipping import Clipped
from sde_lib.likelihood_guidance import LikelihoodGuidance, MeanShift
from sde_lib.pytree import pytree
from tests.models.cases import QUICK
from tests.samplers.test_published_chains import GOLDEN, Case, apart, chain


@cache
def case() -> Case:
    return Case("adm_64_style.ema_0.9999_012345")


@cache
def classifier() -> tuple[Classifier, Any]:
    """The golden classifier, and (gradient, log p) of scaled examples, labels and classes."""
    weights = torch_files.read(GOLDEN / "adm_classifier_attention.pt")
    found = layout.infer({key: tuple(value.shape) for key, value in weights.items()})
    config = schema.get_default()
    config.update_from_flattened_dict({
        **found.settings, "data.image_size": 8, "data.centered": True, "model.dropout": 0.0,
        "model.attn_resolutions": tuple(8 >> k for k in found.attention),
        "model.attention_order": "heads_first", "model.attention_head_dim": 16,
        "sde.name": "iddpm", "sde.schedule": "cosine", "sde.num_scales": 1000,
        "training.continuous": False,
        "training.objective": "classification",
    })  # fmt: skip
    network, model = models.build_any(config), template(config)
    params = state_dict.params(weights, network, config)
    apply = lambda _, x, label, *others: network.apply({"params": params}, x, label, None)
    found = Classifier(replace(model, apply=apply), shape=(8, 8, 3))

    def total(x: Any, label: Any, y: Any) -> Any:
        each = picked(apply(None, x, label), y)
        return each.sum(), each

    return found, jax.jit(jax.grad(total, has_aux=True), compiler_options=QUICK)


@pytree
class Quick:
    """log p(y | x_t) and its gradient from one program, which is quickly compiled."""

    def __call__(self, x: Any, t: Any, y: Any) -> Any:
        found, both = classifier()
        scaled, label = found.model.parametrization.inputs(found.model.sde, x, t)

        @jax.custom_vjp
        def density(x: Any) -> Any:
            return both(x, label, y)[1]

        density.defvjp(
            lambda x: both(x, label, y)[::-1],
            lambda gradient, seed: (gradient * seed[:, None, None, None],),
        )
        return density(scaled)


def guided(weight: float = 1.5) -> LikelihoodGuidance:
    c = case()
    labels = jnp.asarray(c.arrays.get("guidance_y", c.arrays["y"]))
    return LikelihoodGuidance(Clipped(c.score), c.condition, Quick(), labels, jnp.float32(weight))


def test_the_gradient_is_theirs() -> None:
    c = case()
    t = c.times(c.arrays["respaced_steps"][c.arrays["step_index"]])
    found = guided().gradient(c["step_x"], t)
    assert apart(found, c["guided_gradient"]) < 1e-4


def run(score: Any, sampler: Any, steps: str, noise: str) -> jax.Array:
    c = case()
    return chain(score, sampler, c.times(c.arrays[steps]), c["chain_z"], c[noise])


def test_single_guided_steps_are_theirs() -> None:
    c = case()
    found = c.step(Ancestral(learned=True), "respaced_steps", "step_index", MeanShift(guided()))
    assert apart(found, c["guided_step_ancestral"]) < 1e-5
    found = c.step(DDIM(), "ddim_steps", "ddim_step_index", guided())
    assert apart(found, c["guided_step_ddim"]) < 1e-5
    t = c.times(c.arrays["ddim_steps"][c.arrays["ddim_step_index"]])
    found = guided().predict(c["step_x"], t)
    assert apart(found.x0, c["guided_step_ddim_pred_xstart"]) < 1e-5


def test_an_ancestral_chain_whose_mean_is_moved_ends_where_theirs_does() -> None:
    found = run(MeanShift(guided()), Ancestral(learned=True), "respaced_steps", "chain_noise")
    assert apart(found, case()["guided_ancestral_x"]) < 1e-5


def test_a_chain_of_ddim_ends_where_theirs_does() -> None:
    found = run(guided(), DDIM(), "ddim_steps", "ddim_noise")
    assert apart(found, case()["guided_ddim_x"]) < 1e-4


def test_guidance_of_no_weight_is_the_chain_without() -> None:
    found = run(MeanShift(guided(0.0)), Ancestral(learned=True), "respaced_steps", "chain_noise")
    np.testing.assert_allclose(found, case()["ancestral_x"], atol=2e-5)
