"""The loss of autoencoders against latent-diffusion's, and what its parts do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from safetensors.numpy import load_file

import sde_lib
from configs import schema
from configs.changed import with_settings
from configs.recorded import Recorded
from models.apply import Apply
from models.autoencoder import LatentGaussian
from models.layers.conv import Conv
from models.patches import PatchJudge
from modes.experiment import Experiment
from runtime_lib.checkpoints.store import Checkpoints
from sde_lib import ModelScore
from tests.models.features.test_lpips import state_dict
from train_lib.autoencoding import Adversary, Autoencoding, build, codebook_loss, deviations
from train_lib.state import TrainState
from train_lib.step import make_step

GOLDEN = Path(__file__).parents[1] / "golden" / "latent"
CLOSE = 5e-6


@pytest.fixture(autouse=True)
def _full_precision():
    with jax.default_matmul_precision("highest"):
        yield


class Given(nn.Module):
    """An autoencoder of which all but the last layer and the discriminator is given."""

    mean: tuple
    h: tuple
    centered: bool = True

    def setup(self):
        self.last = Conv(3, use_bias=False)
        self.discriminator = PatchJudge(8)

    def posterior(self, x):
        return LatentGaussian(*map(jnp.asarray, self.mean))

    def features(self, z, rounded=False):
        return jnp.asarray(self.h)

    def picture(self, h):
        return self.last(h)

    def discriminate(self, x):
        return self.discriminator(x)


def nested(array):
    return tuple(map(nested, array)) if np.ndim(array) else float(array)


@pytest.fixture(scope="module")
def golden():
    told = json.loads((GOLDEN / "vae_gan_loss.json").read_text())
    with np.load(GOLDEN / "vae_gan_loss.npz") as arrays:
        a = dict(arrays)
    weights = load_file(GOLDEN / "vae_gan_loss_discriminator.safetensors")
    kernel = lambda n: weights[f"main.{n}.weight"].transpose(2, 3, 1, 0)
    judge = {
        "conv_0": {"kernel": kernel(0), "bias": weights["main.0.bias"]},
        "output": {"kernel": kernel(11), "bias": weights["main.11.bias"]},
    }
    for k, (conv, norm) in enumerate(((2, 3), (5, 6), (8, 9)), start=1):
        judge[f"conv_{k}"] = {"kernel": kernel(conv)}
        judge[f"norm_{k}"] = {"scale": weights[f"main.{norm}.weight"],
                              "bias": weights[f"main.{norm}.bias"]}  # fmt: skip
    params = {"last": {"kernel": a["last_layer"]}, "discriminator": judge}
    network = Given((nested(a["mean"]), nested(a["logvar"])), nested(a["h"]))
    return told, a, network, jax.tree.map(jnp.asarray, params)


def score_of(network, params):
    config = schema.get_default()
    parametrization = sde_lib.build_parametrization(config)
    return ModelScore(Apply(network), params, sde_lib.build(config), parametrization)


PUBLISHED = Autoencoding(
    kl_weight=1e-6,
    adversary=Adversary(0.5, 50_001),
    reduce_mean=False,
    step=jnp.asarray(60_000),
)


def measured(objective, network, params, x):
    score = score_of(network, params)
    losses, told = objective.measured(score, jax.random.key(0), jnp.asarray(x), train=True)
    return jnp.mean(losses), {name: jnp.mean(value) for name, value in told.items()}


@pytest.fixture(scope="module")
def gradients(golden):
    """A function of the number of updates: ((loss, measurements), gradient by all parameters)."""
    _, a, network, params = golden

    def loss(params, step):
        return measured(replace(PUBLISHED, step=step), network, params, a["x"])

    run = jax.jit(jax.value_and_grad(loss, has_aux=True))
    return lambda step: run(params, jnp.asarray(step))


def close(found, wanted):
    return np.abs(np.asarray(found) - wanted).max() <= CLOSE * np.abs(wanted).max()


def test_every_term_and_the_last_layers_gradient_equal_the_original(golden, gradients):
    told, a, network, params = golden
    (total, found), gradient = gradients(60_000)
    wanted = told["scalars"]
    assert close(found["nll"], wanted["nll_loss"])
    assert close(found["kl"], wanted["kl_loss"])
    assert close(found["adversary_weight"], wanted["d_weight"])
    assert close(found["generator_loss"], wanted["g_loss"])
    assert close(found["discriminator_loss"], wanted["disc_loss"])
    assert close(total, wanted["total_loss"] + wanted["disc_loss"])
    assert close(gradient["last"]["kernel"], a["last_layer_gradient"])
    for name, x in (("logits_real", a["x"]), ("logits_fake", a["reconstruction"])):
        logits = network.apply({"params": params}, jnp.asarray(x), method="discriminate")
        assert close(logits, a[name])


def test_the_adversary_waits_for_its_start(golden, gradients):
    _, a, network, params = golden
    assert np.any(gradients(50_001)[1]["discriminator"]["output"]["kernel"])
    _, gradient = gradients(50_000)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(gradient["discriminator"]))
    plain = replace(PUBLISHED, adversary=None)
    alone = jax.jit(jax.grad(lambda params: measured(plain, network, params, a["x"])[0]))(params)
    assert close(gradient["last"]["kernel"], alone["last"]["kernel"])


def test_means_are_sums_divided_by_their_numbers_of_values(golden):
    told, a, network, params = golden
    mean = replace(PUBLISHED, adversary=None, reduce_mean=True)
    _, found = jax.jit(lambda p: measured(mean, network, p, a["x"]))(params)
    assert close(found["nll"] * a["x"][0].size, told["scalars"]["nll_loss"])
    assert close(found["kl"] * a["mean"][0].size, told["scalars"]["kl_loss"])


def test_a_file_of_lpips_is_added_to_the_error_of_every_value(golden, tmp_path):
    np.savez(tmp_path / "lpips.npz", **state_dict("vgg"))
    told = {"training.lpips": str(tmp_path / "lpips.npz"), "training.lpips_weight": 0.7}
    config = with_settings(schema.get_default(), SMALLEST | {"data.image_size": 16} | told)
    perceptual = build(Recorded.of(config)).perceptual
    x, again = (jnp.asarray(golden[1][name][:, :16, :16]) for name in ("x", "reconstruction"))
    plain = replace(PUBLISHED, reduce_mean=True)
    found = jax.jit(replace(plain, perceptual=perceptual)._nll)(x, again)
    apart = perceptual[0]((x + 1) / 2, (again + 1) / 2)
    assert float(apart.min()) > 0
    assert close(found, np.asarray(plain._nll(x, again) + 0.7 * apart))
    with pytest.raises(ValueError, match="of 16 pixels a side at least, got 8x8x1"):
        build(Recorded.of(with_settings(schema.get_default(), SMALLEST | told)))


def test_codebook_loss_is_the_shipped_one_only_if_asked():
    with np.load(GOLDEN / "vq_f4.npz") as a:
        h, q, wanted = jnp.asarray(a["h"]), jnp.asarray(a["quantized"]), a["codebook_loss"]
    assert close(codebook_loss(h, q, 0.25, legacy=True).mean(), wanted)
    # The two terms have equal values: what differs is whose gradient beta scales.
    of = lambda legacy, k: jax.grad(
        lambda *both: codebook_loss(*both, 0.25, legacy).sum(), argnums=k
    )(h, q)
    assert close(of(False, 0), 0.25 * np.asarray(of(True, 0)))
    assert close(of(True, 1), 0.25 * np.asarray(of(False, 1)))


SMALLEST = {
    "data.image_size": 8, "data.num_channels": 1, "data.random_flip": False, "data.centered": True,
    "model.name": "vq_autoencoder", "model.nf": 4, "model.ch_mult": (1, 1), "model.codes": 8,
    "model.num_res_blocks": 1, "model.norm_num_groups": 2, "model.add_attention": False,
    "model.attn_resolutions": (), "model.latent_channels": 2, "model.discriminator": 2,
    "model.discriminator_layers": 1, "training.objective": "autoencoder",
    "training.adversary_start": 1, "training.batch_size": 4, "optim.warmup": 0,
}  # fmt: skip


def bits(state):
    state = {**state, "key": jax.random.key_data(state["key"])}
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]


def test_a_discriminator_and_codes_are_trained_beside_the_network(as_main_runs, tmp_path):
    """By one step; the discriminator by an optimizer of its own, and not before its start.

    Going on from a checkpoint gives the same bits.
    """
    experiment = Experiment.of(Recorded.of(with_settings(schema.get_default(), SMALLEST)))
    state, step = experiment.init_state(), make_step(experiment.recipe)
    x = np.random.default_rng(0).uniform(-1, 1, (1, 4, 8, 8, 1)).astype(np.float32)
    seen = [jax.tree.map(np.asarray, state.params)]
    with Checkpoints(tmp_path) as checkpoints:
        for k in range(2):
            state, metrics = step(state, {"image": jnp.asarray(x)})
            seen.append(jax.tree.map(np.asarray, state.params))
            checkpoints.save(k + 1, state.as_dict(), {}, wait=True)
        abstract = experiment.abstract_state().as_dict()
        kept = [checkpoints.restore(abstract, step=k + 1).state for k in range(2)]
    again, _ = step(TrainState(**kept[0]), {"image": jnp.asarray(x)})
    assert bits(again.as_dict()) == bits(kept[1])
    change = lambda k, name: max(
        np.abs(a - b).max()
        for a, b in zip(*(jax.tree.leaves(seen[i][name]) for i in (k, k + 1)), strict=True)
    )
    assert change(0, "discriminator") == 0 < change(1, "discriminator")
    assert min(change(0, name) for name in ("encoder", "decoder", "codebook", "last")) > 0
    assert {"adversary_weight", "codebook", "psnr"} <= metrics.buckets.others.keys()
    moments = jax.tree.leaves(state.opt_state)
    assert len(moments) == 2 * len(jax.tree.leaves(state.params)) + 2 * 2  # and counts


def test_deviations_follow_from_moments():
    found = deviations({"psnr": 1.0, "latent_0": 3.0, "latent_square_0": 13.0})
    assert found == {"psnr": 1.0, "latent_std_0": 2.0}
