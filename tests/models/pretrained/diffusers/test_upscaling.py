"""Pipelines that make a picture finer, of classes and of nothing: from their directories on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

import main
import models
from configs import schema
from configs.kinds import of_config
from data_lib import Images
from models.pretrained import PretrainedError, open_checkpoint, params_of
from models.pretrained.base import paths_and_shapes
from models.pretrained.diffusers import names
from models.pretrained.diffusers.config import settings
from models.pretrained.latent_diffusion import releases
from modes.conditions import of_edited
from modes.generator import Given, compared
from modes.model import open_published
from modes.parts import noted
from modes.stages import generator_of, handed
from tests.models.pretrained.latent_diffusion.layouts import (
    DDIM,
    VAE,
    WEIGHTS,
    kaiming,
    pipeline,
    plain_file,
    prefixed,
    put,
    theirs,
    vae_file,
    vae_weights,
)
from tests.slow import slow

GOLDEN = Path(__file__).parents[3] / "golden" / "latent"
UNET = {
    "_class_name": "UNet2DModel", "sample_size": 8, "in_channels": 6, "out_channels": 3,
    "block_out_channels": [32, 32], "layers_per_block": 1, "norm_num_groups": 32,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"], "attention_head_dim": 16,
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


@pytest.mark.parametrize("given, name", [(6, "LDMSuperResolutionPipeline"), (3, "LDMPipeline")])
def test_a_single_file_of_no_text_is_the_model_of_the_directory(tmp_path, given, name) -> None:
    """Bit for bit; the file says neither heads nor sizes, and the factor of its latents is 1."""
    folder, file = of_nothing(tmp_path / "ldm", name, given), tmp_path / "model.safetensors"
    network, coder = (load_file(folder / part / WEIGHTS) for part in ("unet", "vqvae"))
    tensors = prefixed("model.diffusion_model.", plain_file(network, 16))
    tensors |= prefixed("first_stage_model.", vae_file(coder))
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    save_file(tensors | {"betas": betas.astype(np.float32)}, file)
    said = {"model.attention_head_dim": 16, "model.prediction": "published",
            "data.latent_scale": (1.0,), "data.image_size": 16}  # fmt: skip
    with pytest.raises(PretrainedError, match=r"set model.num_heads or .*, data.image_size"):
        open_checkpoint(file)
    one = open_checkpoint(folder)
    other = open_checkpoint(file, None, lambda c: c.update_from_flattened_dict(said), tuple(said))
    for found in (one, other):
        assert "data.text_encoder" not in found.checkpoint.note
    configs = [schema.flatten(noted(found.config)) for found in (one, other)]
    assert {k for k in configs[0] if configs[0][k] != configs[1][k]} == {"data.autoencoder"}
    made = [params_of(found._replace(config=noted(found.config)), True) for found in (one, other)]
    jax.tree.map(np.testing.assert_array_equal, *made)


def test_the_published_network_says_what_its_file_does_not() -> None:
    shapes = {**releases.FINER_SHAPES, "model.name": "ddpm_ho"}
    found = releases.completed(shapes, Path("model.ckpt"))
    assert found.groups == ()
    assert found.assumed["model.attention_head_dim"] == 32
    assert releases.completed({**shapes, "model.nf": 32}, Path("model.ckpt")).assumed == {}


def test_attention_stays_at_its_level_in_pictures_of_another_size(tmp_path, low) -> None:
    folder = of_nothing(tmp_path / "sr", "LDMSuperResolutionPipeline", 6)
    model = open_published(folder, {**SEEN, "data.image_size": 32}, lambda line: None)
    assert model.experiment.config.model.attn_resolutions == (8,)
    assert model.experiment.config.data.coarse == (16, 16)


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


def test_a_refiner_is_told_a_score_and_guidance_compares_with_a_low_one(tmp_path) -> None:
    """Sizes of the pictures, no crop, and 6; 2.5 for no text and for what is not wanted."""
    pipeline(tmp_path / "refiner", "refiner")
    asked: dict[str, Any] = {"sampling.captions": "a", "sampling.negative": "b"}
    model = open_published(tmp_path / "refiner", asked, lambda line: None)
    pictures = Images(np.zeros((2, 16, 16, 3), np.float32), None, None)
    given = of_edited(model.experiment, pictures, tmp_path, lambda line: None)
    kinds = of_config(model.experiment.config)
    numbers = lambda rows: kinds.parted(rows)["vector"][0, -5:].tolist()
    assert numbers(given.conditions) == [16, 16, 0, 0, 6]
    assert numbers(given.negative) == [16, 16, 0, 0, 2.5]
    without = compared(model.experiment, replace(given, negative=None))
    assert numbers(without) == [16, 16, 0, 0, 2.5]
    assert np.abs(without - given.negative).max() > 0.1
    own = {**asked, "sampling.sizes": (32, 8, 1, 2, 9, 1)}
    model = open_published(tmp_path / "refiner", own, lambda line: None)
    given = of_edited(model.experiment, pictures, tmp_path, lambda line: None)
    assert numbers(given.conditions) == [32, 8, 1, 2, 9]
    assert numbers(given.negative) == [32, 8, 1, 2, 1]
    three = Images(np.zeros((3, 16, 16, 3), np.float32), None, None)
    (tmp_path / "two.txt").write_text("a\nb\n")
    own = {"sampling.captions": str(tmp_path / "two.txt")}
    model = open_published(tmp_path / "refiner", own, lambda line: None)
    with pytest.raises(ValueError, match="one for each of 3 examples, got 2"):
        of_edited(model.experiment, three, tmp_path, lambda line: None)


@slow
@pytest.mark.usefixtures("as_main_runs")
def test_a_refiner_edits_the_samples_of_another_model(tmp_path) -> None:
    """Given their pictures, and another picture of each for another caption."""
    folder, run = tmp_path / "refiner", tmp_path / "run"
    pipeline(folder, "refiner")
    given = ["--mode", "import", "--import_from", str(folder), "--workdir", str(run)]
    assert main.main(given) == 0
    drawn = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
    np.savez(tmp_path / "samples.npz", samples=drawn, range=np.asarray([0.0, 1.0]))

    def edits(caption: str) -> np.ndarray:
        few = {"sampling.num_steps": 2, "sampling.batch_size": 2, "edit.samples": 1,
               "edit.input": tmp_path / "samples.npz", "sampling.captions": caption}  # fmt: skip
        texts = [f"--config.{name}={value}" for name, value in few.items()]
        place = ["--config", str(run / "config.py"), "--mode", "edit", "--workdir", str(run)]
        assert main.main([*place, *texts]) == 0
        with np.load(run / "edits" / "edits.npz") as found:
            np.testing.assert_allclose(found["examples"], drawn, atol=1e-6)
            edited: np.ndarray = found["edits"]
        return edited

    one = edits("a")
    assert one.shape == (2, 1, 16, 16, 3)
    assert np.abs(edits("b") - one).max() > 1e-4


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
