"""OpenAI's chains, losses and bounds, by their own weights: what their code gave, to round-off."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from configs import schema
from eval_lib.likelihood.bounds import chain_terms
from models.pretrained.files import torch_files
from models.pretrained.openai import layout, state_dict
from models.score import template
from samplers import DDIM, Ancestral, respaced
from sde_lib.bins import Bins
from sde_lib.chain import LevelDecoder
from sde_lib.clipping import Clipped
from sde_lib.pytree import pytree
from tests.models.cases import QUICK
from tests.slow import but_slow
from train_lib.chain import ChainObjective
from train_lib.times import UniformLevel

GOLDEN = Path(__file__).parents[1] / "golden" / "control"
CASES = ["iddpm_cifar_style", "adm_plain_fixed_variance"]
"""Learned variance, cosine levels and rescaled labels; and a fixed variance on linear levels."""
ORDERS = {False: "heads_first", True: "parts_first"}
BITS = 8 * 8 * 3 * np.log(2)
TANH = Bins.of("nearest", 256, True, "tanh")


@pytree
class Given:
    """A state whose noises are given."""

    x: Any
    noises: Any
    draws: Any = 0
    history: Any = None

    def normal(self):
        return replace(self, draws=self.draws + 1), self.noises[self.draws]


class Case:
    """A golden case and the score of its weights; the network is compiled once, all else is not."""

    def __init__(self, name: str, kind: str = "") -> None:
        about = json.loads((GOLDEN / f"{name}.json").read_text())
        with np.load(GOLDEN / f"{name}.npz") as arrays:
            self.arrays = dict(arrays)
        told, net = about["diffusion"], about.get("network") or about["flags"]
        new = net.get("use_new_attention_order", False)
        self.levels, self.learned = told["steps"], told["learn_sigma"]
        self.respacing = told["respacing"], told["ddim_respacing"]
        weights = torch_files.read(GOLDEN / f"{name}{kind}.pt")
        found = layout.infer({key: tuple(value.shape) for key, value in weights.items()})
        config = schema.get_default()
        config.update_from_flattened_dict({
            **found.settings, "data.image_size": 8, "data.centered": True, "model.dropout": 0.0,
            "model.attn_resolutions": tuple(8 >> k for k in found.attention),
            "model.num_heads": net["num_heads"], "model.attention_order": ORDERS[new],
            "model.attention_head_dim": max(net.get("num_head_channels", -1), 0),
            "model.rescale_timesteps": told.get("rescale", False), "sde.name": "iddpm",
            "sde.schedule": told["schedule"], "sde.num_scales": self.levels,
            "training.continuous": False,
        })  # fmt: skip
        score, network = template(config), models.build(config)
        params = state_dict.params(weights, network, config)
        self.condition = self["y"] if about["classes"] else None
        run = lambda x, label: network.apply({"params": params}, x, label, self.condition)
        with jax.default_matmul_precision("highest"):
            lowered = jax.jit(run).lower(jnp.zeros((3, 8, 8, 3)), jnp.zeros(3))
            run = lowered.compile(compiler_options=QUICK)
        self.score = replace(score, apply=lambda params, x, label, *others: run(x, label))

    def times(self, indices: Any) -> jax.Array:
        return jnp.asarray(np.asarray(indices) / (self.levels - 1), jnp.float32)

    def __getitem__(self, name: str) -> jax.Array:
        return jnp.asarray(self.arrays[name])

    def chain(self, sampler: Any, steps: str, noise: str) -> jax.Array:
        """The end of a clamped run down the levels `steps`, from `chain_z`."""
        score, times = Clipped(self.score), self.times(self.arrays[steps][::-1])
        program = sampler.plan(score, times).program
        state = program.method.init(Given(self["chain_z"], self[noise]))
        for k in range(len(times) - 1):
            row = jax.tree.map(lambda leaf, k=k: jnp.asarray(leaf[k]), program.rows)
            state = program.method.step(score, state, row)
        return score.denoise(state.x, times[-1])


case = cache(Case)
pytestmark = pytest.mark.parametrize("name", CASES)


def apart(found: Any, expected: Any) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def test_the_network_is_told_its_level_and_its_prediction_understood(name) -> None:
    c = case(name)
    found = c.score.predict(c["x"], c.times(c["t"]))
    assert apart(found.noise, c["model_output"][..., :3]) < 1e-5
    assert apart(found.x0, c["p_pred_xstart"]) < 1e-5
    if c.learned:
        np.testing.assert_allclose(2 * found.fraction - 1, c["model_output"][..., 3:], atol=1e-5)


def test_respaced_levels_are_theirs(name) -> None:
    c = case(name)
    for respacing, steps in zip(c.respacing, ("respaced_steps", "ddim_steps"), strict=True):
        np.testing.assert_array_equal(respaced(c.levels, respacing, "key"), c[steps])


def test_ancestral_chains_end_where_theirs_do(name) -> None:
    c = case(name)
    sampler = Ancestral(learned=True) if c.learned else Ancestral(large=1.0)
    assert apart(c.chain(sampler, "respaced_steps", "chain_noise"), c["ancestral_x"]) < 1e-5


@pytest.mark.parametrize("eta, expected", [(0.0, "ddim_x"), (1.0, "ddim_eta1_x")])
def test_ddim_chains_end_where_theirs_do(name, eta, expected) -> None:
    c = case(name)
    assert apart(c.chain(DDIM(eta), "ddim_steps", "ddim_noise"), c[expected]) < 1e-5


def test_a_ddim_step_upwards_is_theirs(name) -> None:
    """To the next level of the short chain; the last one goes to pure noise."""
    c = case(name)
    steps = np.append(c.arrays["ddim_steps"], c.levels)
    index = c.arrays["ddim_reverse_index"]
    t = c.times(steps[index])
    found = c.score.predict(c["step_x"], t)
    upper = np.minimum(steps[index + 1], c.levels - 1)
    alpha, sigma = (np.asarray(v) for v in c.score.sde.marginal(c.times(upper)))
    last = steps[index + 1] == c.levels
    alpha, sigma = np.where(last, 0.0, alpha), np.where(last, 1.0, sigma)
    moved = alpha[:, None, None, None] * found.x0 + sigma[:, None, None, None] * found.noise
    assert apart(moved, c["step_ddim_reverse"]) < 1e-5


def test_losses_are_theirs(name) -> None:
    c = case(name)
    loss = ChainObjective(UniformLevel(c.levels), c.levels, TANH, hybrid=True, fixed=1.0)
    given = c["x_start"], c["noise"], c.times(c["t"])
    error, bits = loss.terms(c.score, *given)
    np.testing.assert_allclose(error, c["losses_MSE_mse"], rtol=1e-5)
    np.testing.assert_allclose(bits, c["losses_KL_loss"], rtol=1e-4)
    alone = replace(loss, hybrid=False).at(c.score, *given)
    np.testing.assert_allclose(alone, c["losses_RESCALED_KL_loss"], rtol=1e-4)
    if c.learned:
        hybrid = loss.at(c.score, *given)
        np.testing.assert_allclose(hybrid, c["losses_RESCALED_MSE_loss"], rtol=1e-4)
        plain = replace(loss, weight=1 / c.levels).at(c.score, *given)
        np.testing.assert_allclose(plain, c["losses_MSE_loss"], rtol=1e-4)


@pytest.mark.parametrize("clamped", but_slow([True, False], False))
def test_bounds_are_theirs(name, clamped, monkeypatch) -> None:
    c, end = case(name), "" if clamped else "_unclipped"
    noises, x = c["bpd_noise"][::-1], c["x_start"]
    score = Clipped(c.score) if clamped else c.score
    monkeypatch.setattr(jax.lax, "map", lambda f, xs: jnp.stack([f(x) for x in xs]))
    terms = chain_terms(
        score, x, TANH.nearest(x), lambda i: noises[i], c.times(c["respaced_steps"]),
        LevelDecoder(TANH), None if c.learned else 1.0, True,
    )  # fmt: skip
    # The original's own differences keep four digits at the noisiest level.
    np.testing.assert_allclose(terms.steps[::-1].T / BITS, c[f"bpd_vb{end}"][:, :-1], rtol=2e-4)
    np.testing.assert_allclose(terms.decoder / BITS, c[f"bpd_vb{end}"][:, -1], rtol=1e-4)
    np.testing.assert_allclose(terms.prior / BITS, c[f"bpd_prior_bpd{end}"], rtol=1e-4)
    total = (terms.prior + terms.decoder + terms.steps.sum(axis=0)) / BITS
    np.testing.assert_allclose(total, c[f"bpd_total_bpd{end}"], rtol=1e-4)
