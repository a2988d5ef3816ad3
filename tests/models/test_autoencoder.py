"""The autoencoders against the original implementations, and their published sizes."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from configs import schema
from models import tiles
from models.autoencoder import LatentGaussian
from models.pretrained import open_checkpoint, params_of

GOLDEN = Path(__file__).parents[1] / "golden" / "latent"
CLOSE = 5e-6
"""Largest relative error: the originals' own second evaluation differs by 1e-6."""


@pytest.fixture(autouse=True)
def _full_precision():
    with jax.default_matmul_precision("highest"):
        yield


class Case:
    """A golden autoencoder, its arrays, and its methods compiled."""

    def __init__(self, name: str) -> None:
        opened = open_checkpoint(GOLDEN / name)
        self.config, self.params = opened.config, params_of(opened, ema=True)
        self.network = models.build_autoencoder(self.config)
        with np.load(GOLDEN / f"{name}.npz") as arrays:
            self.arrays = dict(arrays)

        self._compiled: dict[Any, Any] = {}

    def __call__(self, method: str, *args: Any, **options: Any) -> Any:
        key = method, *options.items()
        if key not in self._compiled:
            apply = functools.partial(self.network.apply, method=method, **options)
            self._compiled[key] = jax.jit(apply)
        return self._compiled[key]({"params": self.params}, *args)


case = functools.cache(Case)


@pytest.fixture(params=["vae_kl_f4", "vae_kl_f2_tiled"])
def gaussian(request):
    return case(request.param)


@pytest.fixture
def codes():
    return case("vq_f4")


def error(found, wanted):
    return float(np.abs(np.asarray(found) - wanted).max() / np.abs(wanted).max())


def test_posterior_and_all_made_of_it_equal_the_original(gaussian):
    a, data = gaussian.arrays, gaussian.config.data
    found = gaussian("posterior", a["x"])
    assert error(found.mean, a["mean"]) < CLOSE
    assert error(found.logvar, a["logvar"]) < CLOSE
    assert error(found.sample(a["noise"]), a["posterior_sample"]) < CLOSE
    assert error(found.kl(), a["kl"]) < CLOSE
    latents = (found.mean - jnp.asarray(data.latent_shift)[None, None, None]) * jnp.asarray(
        data.latent_scale
    )[None, None, None]
    assert error(latents, a["latents"]) < CLOSE


def test_decoded_pictures_equal_the_original(gaussian):
    assert error(gaussian("decode", gaussian.arrays["z"]), gaussian.arrays["decoded"]) < CLOSE


def test_tiles_are_blended_as_in_the_original():
    whole = case("vae_kl_f2_tiled")
    a = whole.arrays
    moments = tiles.tiled(functools.partial(whole, "moments"), a["x_tiled"], 16, 8)
    assert error(LatentGaussian.of(jnp.asarray(moments)).mean, a["mean_tiled"]) < CLOSE
    decoded = tiles.tiled(functools.partial(whole, "decode"), a["z_tiled"], 8, 16)
    assert error(decoded, a["decoded_tiled"]) < CLOSE


def test_codes_equal_the_original(codes):
    a = codes.arrays
    h = codes("moments", a["x"])
    assert error(h, a["h"]) < CLOSE
    quantized, indices = codes("quantize", a["h"])
    assert np.array_equal(indices, a["indices"])
    assert error(quantized, a["quantized"]) < CLOSE
    assert error(codes("decode", a["z"]), a["decoded"]) < CLOSE
    assert error(codes("decode", a["z"], rounded=True), a["decoded_raw"]) < CLOSE


SD = {"ch_mult": (1, 2, 4, 4), "num_res_blocks": 2}
F4 = {"ch_mult": (1, 2, 4), "num_res_blocks": 2}
PUBLISHED = {
    83_653_863: SD,
    83_819_683: SD | {"latent_channels": 16, "quant_conv": False, "post_quant_conv": False},
    55_325_927: F4,
    55_322_782: F4 | {"name": "vq_autoencoder", "codes": 8192, "latent_channels": 3},
}
"""Number of parameters (stable diffusion's, of 16 channels, its upscaler's, VQ-f4) -> settings."""


def config_of(**model):
    config = schema.get_default()
    settings = {"name": "autoencoder", "nf": 128, "attn_resolutions": ()} | model
    for key, value in settings.items():
        config.model[key] = value
    schema.check(config)
    return config


@pytest.mark.parametrize("count", PUBLISHED)
def test_parameter_counts_are_the_published_ones(count):
    config = config_of(**PUBLISHED[count])
    network = models.build_autoencoder(config)
    shapes = jax.eval_shape(lambda key: models.init(network, key, config), jax.random.key(0))
    assert models.count(shapes) == count


def test_attention_follows_every_block_of_its_resolutions():
    config = config_of(nf=32, ch_mult=(1, 1), num_res_blocks=1, attn_resolutions=(16,))
    network = models.build_autoencoder(config)
    shapes = jax.eval_shape(lambda key: models.init(network, key, config), jax.random.key(0))
    named = [
        name for half in ("encoder", "decoder") for name in shapes[half] if "attention" in name
    ]
    assert sorted(named) == ["down_1_attention_0", *2 * ["middle_attention"], "up_1_attention_0",
                             "up_1_attention_1"]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"norm_num_groups": 24}, "model.norm_num_groups must divide the channels"),
        ({"name": "vq_autoencoder", "code_channels": 3, "quant_conv": False}, "code_channels must"),
        ({"ch_mult": (1,) * 8}, "must be a multiple of 128"),
        ({"attn_resolutions": (12,)}, "model.attn_resolutions must be among"),
    ],
)
def test_settings_that_do_not_fit_are_named(settings, told):
    with pytest.raises(ValueError, match=told):
        models.build_any(config_of(**settings))


def test_an_autoencoder_is_no_network_of_the_data():
    with pytest.raises(ValueError, match="is an autoencoder, which has a config of its own"):
        models.build(config_of())
