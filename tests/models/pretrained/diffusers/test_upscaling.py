"""Pipelines that make a picture finer, of classes and of nothing: from their directories on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import models
from configs import schema
from configs.kinds import of_config
from models.pretrained import PretrainedError, open_checkpoint
from models.pretrained.base import paths_and_shapes
from models.pretrained.diffusers import names
from models.pretrained.diffusers.config import settings
from modes.generator import Given
from modes.model import open_published
from modes.stages import generator_of, handed
from tests.models.pretrained.latent_diffusion.layouts import (
    DDIM,
    VAE,
    kaiming,
    pipeline,
    put,
    theirs,
    vae_weights,
)

GOLDEN = Path(__file__).parents[3] / "golden" / "latent"
UNET = {
    "_class_name": "UNet2DModel", "sample_size": 8, "in_channels": 6, "out_channels": 3,
    "block_out_channels": [32, 32], "layers_per_block": 1, "norm_num_groups": 32,
    "down_block_types": ["DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D"], "attention_head_dim": 32,
}  # fmt: skip
VQ = {"_class_name": "VQModel", "num_vq_embeddings": 16, "latent_channels": 3,
      "norm_num_groups": 32}  # fmt: skip
SEEN = {"sampling.num_steps": 1}


def of_nothing(folder: Path, name: str, given: int) -> Path:
    """A pipeline of latent diffusion's, whose network is given so many channels."""
    unet = UNET | {"in_channels": given}
    config = schema.get_default()
    config.update_from_flattened_dict(settings(unet, None))
    wanted = paths_and_shapes(models.build_any(config), config)
    named = names.names(config, ["/".join(path) for path in wanted])
    weights = kaiming({named["/".join(path)]: theirs(shape, False)
                       for path, shape in wanted.items()}, 5)  # fmt: skip
    put(folder / "unet", unet, weights)
    vq = {k: v for k, v in VAE.items() if k != "scaling_factor"} | VQ
    put(folder / "vqvae", vq, vae_weights(vq))
    return indexed(folder, name, unet=["diffusers", "UNet2DModel"], vqvae=["diffusers", "VQModel"])


def indexed(folder: Path, name: str, schedule: str = "scaled_linear", **parts: Any) -> Path:
    (folder / "scheduler").mkdir()
    ends = {"beta_start": 1e-4, "beta_end": 0.02} if schedule == "linear" else {}
    content = DDIM | {"beta_schedule": schedule, **ends}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(content))
    index = {"_class_name": name, "scheduler": ["diffusers", "DDIMScheduler"], **parts}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture(scope="module")
def low(tmp_path_factory) -> Path:
    """A picture of 8x8 pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    path = tmp_path_factory.mktemp("low") / "low.png"
    Image.fromarray(pixels).save(path)
    return path


def told(folder: Path, low: Path) -> tuple[Any, Any]:
    """(what two samples are told, the picture in the network's units)."""
    asked = {"sampling.base": str(low), **SEEN}
    model = open_published(folder, asked, lambda line: None)
    made = model.experiment
    shape = of_config(made.config).stored
    tokens, nothing = (np.random.default_rng(k).normal(size=(1, *shape)) for k in (0, 1))
    given = Given((), tokens, negative=nothing) if shape else Given()
    pictures = handed(made, 2, lambda *a: given, folder, lambda line: None)
    generator = generator_of(made, model.score, given, pictures, 2)
    x = np.asarray(Image.open(low), np.float32) / 127.5 - 1
    return generator._condition(jnp.arange(2), 0, 2), x


def test_the_upscaler_is_told_a_noisy_picture_and_the_level_of_its_noise(tmp_path, low) -> None:
    """alpha(20) low + sigma(20) n, with the levels of its low_res_scheduler; guidance keeps it."""
    pipeline(tmp_path / "x4", "x4")
    found, x = told(tmp_path / "x4", low)
    betas = np.linspace(1e-4**0.5, 0.02**0.5, 1000) ** 2
    alpha, sigma = np.sqrt(part := np.cumprod(1 - betas)[20]), np.sqrt(1 - part)
    noise = (np.asarray(found.told["image"]) - alpha * x) / sigma
    assert noise.shape == (2, 8, 8, 3)
    # 384 draws: four standard errors of their mean and of their deviation.
    assert abs(noise.mean()) < 4 / 384**0.5
    assert abs(noise.std() - 1) < 4 / 768**0.5
    assert np.abs(noise[0] - noise[1]).max() > 0.1
    np.testing.assert_allclose(found.told["level"], 20, rtol=1e-6)
    for part in ("image", "level"):
        np.testing.assert_array_equal(found.told[part], found.untold[part])
    assert np.abs(np.asarray(found.told["tokens"] - found.untold["tokens"])).max() > 0.1


def test_latent_super_resolution_is_told_the_picture_as_it_is(tmp_path, low) -> None:
    folder = of_nothing(tmp_path / "sr", "LDMSuperResolutionPipeline", 6)
    found, x = told(folder, low)
    np.testing.assert_allclose(found["image"], np.stack([x, x]), atol=1e-6)


@pytest.mark.parametrize("entries, words", [
    ({"beta_start": 0.001}, "its low_res_scheduler has beta_start = 0.001, must be 0.0001"),
    ({}, "max_noise_level = 5, must be an integer from 20 to 999"),
])  # fmt: skip
def test_an_upscaler_of_other_noise_is_refused(tmp_path, entries, words) -> None:
    folder = tmp_path / "x4"
    pipeline(folder, "x4")
    content = {"beta_schedule": "scaled_linear", "beta_start": 1e-4, "beta_end": 0.02,
               "num_train_timesteps": 1000, **entries}  # fmt: skip
    (folder / "low_res_scheduler").mkdir()
    (folder / "low_res_scheduler" / "scheduler_config.json").write_text(json.dumps(content))
    index = json.loads((folder / "model_index.json").read_text())
    index["low_res_scheduler"] = ["diffusers", "DDPMScheduler"]
    index["max_noise_level"] = 350 if entries else 5
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(PretrainedError) as error:
        open_checkpoint(folder)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


# Pipelines of classes and of nothing --------------------------------------------------------------


@pytest.mark.usefixtures("as_main_runs")
def test_pipelines_draw_pictures(tmp_path) -> None:
    """DiT's, of classes, and latent diffusion's, of nothing: from their directory to pictures."""
    dit = tmp_path / "dit"
    shutil.copytree(GOLDEN / "dit_diffusers", dit / "transformer")
    put(dit / "vae", VAE, vae_weights(VAE))
    indexed(dit, "DiTPipeline", "linear", transformer=["diffusers", "DiTTransformer2DModel"],
            vae=["diffusers", "AutoencoderKL"])  # fmt: skip
    guided = SEEN | {"sampling.guidance": 1.0}
    ldm = of_nothing(tmp_path / "ldm", "LDMPipeline", 3)
    for folder, labels in ((dit, [1]), (ldm, [])):
        model = open_published(folder, guided if labels else SEEN, lambda line: None)
        side = 2 * model.experiment.shape[0]
        pictures = model.sample(1, labels=labels)
        assert pictures.shape == (1, side, side, 3)
        assert np.isfinite(pictures).all()
        assert pictures.std() > 0.01
