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
from samplers.base import denoised
from sde_lib.bins import Bins
from sde_lib.chain import LevelDecoder
from sde_lib.clipping import Clipped
from sde_lib.pytree import pytree
from tests.models.cases import QUICK
from tests.slow import but_slow
from train_lib.chain import ChainObjective
from train_lib.times import UniformLevel

GOLDEN = Path(__file__).parents[1] / "golden" / "control"
CASES = [
    "iddpm_cifar_style",  # learned variance, cosine levels, rescaled labels
    "adm_plain_fixed_variance",  # on linear levels
    "adm_128_style",  # classes, a chain of sections
    "adm_upsampler_64_256_style",  # classes and a small picture
    "adm_64_style.ema_0.9999_012345",
]
ALIKE = CASES[3:]
"""Cases whose chains, losses and bounds repeat what those of the others show."""
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

    def __init__(self, file: str) -> None:
        name = file.partition(".")[0]
        about = json.loads((GOLDEN / f"{name}.json").read_text())
        with np.load(GOLDEN / f"{name}.npz") as arrays:
            self.arrays = dict(arrays)
        told, net = about["diffusion"], about.get("network") or about["flags"]
        new = net.get("use_new_attention_order", False)
        self.levels, self.learned = told["steps"], told["learn_sigma"]
        self.respacing = told["respacing"], told["ddim_respacing"]
        weights = torch_files.read(GOLDEN / f"{file}.pt")
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
            **({"data.condition": self.arrays["low_res"].shape[1:]} if "low_res" in self.arrays
               else {}),
        })  # fmt: skip
        score, network = template(config), models.build(config)
        params = state_dict.params(weights, network, config)
        told = {"label": "y", "image": "low_res"}
        known = {part: self[name] for part, name in told.items() if name in self.arrays}
        self.condition = known or None
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
        score = Clipped(self.score)
        return chain(score, sampler, self.times(self.arrays[steps]), self["chain_z"], self[noise])

    def step(self, sampler: Any, steps: str, index: str, score: Any = None) -> jax.Array:
        """Each image of `step_x` after its own step of the clamped run down the levels `steps`."""
        score, times = score or Clipped(self.score), self.times(self.arrays[steps])
        own = [
            chain(score, sampler, times, self["step_x"], self["step_noise"][None], only=i)[k]
            for k, i in enumerate(self.arrays[index])
        ]
        return jnp.stack(own)


def chain(
    score: Any, sampler: Any, times: jax.Array, x: Any, noises: Any, only: int | None = None
) -> jax.Array:
    """x led down rising times to x_0 with given noises, or by the step from times[only] alone."""
    program = sampler.plan(score, times[::-1]).program
    state = program.method.init(Given(x, noises))
    for i in range(len(times) - 1, 0, -1):
        if only in (None, i):
            row = jax.tree.map(
                lambda leaf, i=i: jnp.asarray(leaf[len(times) - 1 - i]), program.rows
            )
            state = program.method.step(score, state, row)
    return state.x if only else denoised(score, program, state, times[0])


case = cache(Case)
pytestmark = pytest.mark.parametrize("name", but_slow(CASES, *ALIKE))


def apart(found: Any, expected: Any) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def ancestral(c: Case) -> Ancestral:
    """The authors' default variances."""
    return Ancestral(learned=True) if c.learned else Ancestral(large=1.0)


def test_the_network_is_told_its_level_and_its_prediction_understood(name) -> None:
    c = case(name)
    found = c.score.predict(c["x"], c.times(c["t"]))
    output = c["model_output" if "model_output" in c.arrays else "model_output_ema"]
    assert apart(found.noise, output[..., :3]) < 1e-5
    assert apart(found.x0, c["p_pred_xstart"]) < 1e-5
    if c.learned:
        np.testing.assert_allclose(2 * found.fraction - 1, output[..., 3:], atol=1e-5)


def test_respaced_levels_are_theirs(name) -> None:
    c = case(name)
    for respacing, steps in zip(c.respacing, ("respaced_steps", "ddim_steps"), strict=True):
        np.testing.assert_array_equal(respaced(c.levels, respacing, "key"), c[steps])


def test_ancestral_chains_end_where_theirs_do(name) -> None:
    c = case(name)
    assert apart(c.chain(ancestral(c), "respaced_steps", "chain_noise"), c["ancestral_x"]) < 1e-5


@pytest.mark.parametrize("clamped", but_slow([True, False], False))
def test_the_law_of_a_step_is_theirs(name, clamped) -> None:
    """Mean and variance in the full chain; of level 0 in the step to x_0."""
    c, end = case(name), "_clipped" if clamped else ""
    score, quiet = Clipped(c.score) if clamped else c.score, jnp.zeros((1, *c["x"].shape))
    fraction = c.score.predict(c["x"], c.times(c["t"])).fraction
    for k, t in enumerate(c.arrays["t"]):
        low = max(t - 1, 0)
        times = c.times([low, low + 1])
        mean = chain(score, ancestral(c), times, c["x"], quiet, only=t - low)[k]
        assert apart(mean, c[f"p_mean{end}"][k]) < 1e-5
        program = ancestral(c).plan(score, times[::-1]).program
        variance, spread = program.last.variance, program.last.spread
        if t:
            variance = program.rows["z"][0, 0] ** 2
            spread = program.rows["spread"][0] if c.learned else 0.0
        found = np.log(variance) + 2 * spread * (fraction[k] if c.learned else 0 * mean)
        np.testing.assert_allclose(found, c["p_log_variance"][k], atol=1e-5)


@pytest.mark.parametrize(
    "expected, sampler",
    [("step_ddim", DDIM()), ("step_ddim_eta05", DDIM(0.5)), ("step_ancestral", None)],
)
def test_single_steps_are_theirs(name, expected, sampler) -> None:
    c = case(name)
    told = ("ddim_steps", "ddim_step_index") if sampler else ("respaced_steps", "step_index")
    assert apart(c.step(sampler or ancestral(c), *told), c[expected]) < 1e-5


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
