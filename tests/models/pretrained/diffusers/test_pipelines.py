"""Whole pipelines of diffusers by their own directories: from the captions to the pictures."""

from __future__ import annotations

import json
import re
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
import samplers
import sde_lib
from configs.kinds import of_config
from data_lib.conditions import build_condition
from models.pretrained import PretrainedError, open_checkpoint, params_of
from models.pretrained.diffusers import pipelines
from models.score import template
from modes import texts
from sde_lib.condition import Contrasted, assembled

GOLDEN = Path(__file__).parents[3] / "golden" / "latent"
NAMES = ["sd2_v_euler", "sdxl_euler"]
LATENTS = (8, 8, 4)


@pytest.fixture(autouse=True)
def _full_precision():
    with jax.default_matmul_precision("highest"):
        yield


class Case:
    """A pipeline's directory, the call whose results are known, and our model of it."""

    def __init__(self, name: str) -> None:
        self.call = json.loads((GOLDEN / f"{name}.json").read_text())["call"]
        with np.load(GOLDEN / f"{name}.npz") as arrays:
            self.arrays = dict(arrays)
        opened = open_checkpoint(GOLDEN / name)
        self.config = opened.config
        prompts = self.call["prompt"]
        self.told = texts.text_rows(self.config, prompts)
        negative = self.call.get("negative_prompt", [])
        untold = texts.negative_rows(self.config, negative, len(prompts))
        self.untold = np.broadcast_to(untold, self.told.shape)
        plain = self.config.copy_and_resolve_references()
        plain.data.update({"codec": "identity", "shape": LATENTS})
        weights = params_of(opened._replace(config=plain), True)
        self.score = template(plain).with_params(weights)

    def parts(self, name: str) -> np.ndarray:
        """A part of the conditions, those without the prompt first."""
        kinds = of_config(self.config)
        return np.concatenate([kinds.parted(rows)[name] for rows in (self.untold, self.told)])

    def condition(self, rows: np.ndarray) -> Any:
        encoded = build_condition(self.config).encode(rows.astype(np.float32))
        return assembled(of_config(self.config), None, jnp.asarray(encoded))

    def both(self) -> Any:
        return self.condition(np.concatenate([self.untold, self.told]))


case = cache(Case)


def relative(found: Any, wanted: np.ndarray) -> float:
    return float(np.abs(np.asarray(found) - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("name", NAMES)
def test_captions_are_read_as_the_pipeline_does(name: str) -> None:
    known = case(name)
    np.testing.assert_allclose(known.parts("tokens"), known.arrays["text_states"], atol=1e-5)
    if "text_embeds" in known.arrays:
        vector = known.parts("vector")
        np.testing.assert_allclose(vector[:, :-6], known.arrays["text_embeds"], atol=1e-5)
        np.testing.assert_array_equal(vector[:, -6:], known.arrays["time_ids"])


@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_those_of_the_pipeline(name: str) -> None:
    """From the same noise: the network's first output, every state, and the decoded picture."""
    known, arrays = case(name), case(name).arrays
    label = jnp.full(len(arrays["unet_in"]), float(arrays["model_timesteps"][0]))
    score, config = known.score, known.config.copy_and_resolve_references()
    raw = jax.jit(score.apply)(score.params, jnp.asarray(arrays["unet_in"]), label, known.both())
    assert relative(raw, arrays["unet_out"]) < 5e-6
    config.sampling.guidance = known.call["guidance_scale"]
    config.sampling.num_steps = known.call["num_inference_steps"]
    contrasted = Contrasted(known.condition(known.told), known.condition(known.untold))
    guided = sde_lib.build_guidance(config)(score, contrasted)
    times = samplers.build_times(config.sampling, guided, config.sde.num_scales)
    start = samplers.start_scale(config.sampling, guided, times) * jnp.asarray(arrays["latents"])
    keys = samplers.sample_keys(jax.random.key(0), jnp.arange(len(start)))
    drawn = samplers.sample(
        guided, samplers.build(config.sampling), times, keys, shape=LATENTS, start=start,
        denoise=config.sampling.noise_removal, frames=len(times) - 1,
    )  # fmt: skip
    assert drawn.evaluations.tolist() == [2 * len(arrays["trajectory"])] * len(start)
    states = [x / guided.sde.alpha(t) for x, t in zip(drawn.frames, times[1:], strict=True)]
    for found, wanted in zip([*states, drawn.x], arrays["trajectory"], strict=True):
        assert relative(found, wanted) < 1e-4
    decoder = open_checkpoint(GOLDEN / name / "vae")
    data = known.config.data
    z = np.asarray(drawn.x) / np.asarray(data.latent_scale) + np.asarray(data.latent_shift)
    network = models.build_autoencoder(decoder.config)
    x = network.apply({"params": params_of(decoder, True)}, jnp.float32(z), method="decode")
    np.testing.assert_allclose(np.clip(x / 2 + 0.5, 0, 1), arrays["images"], atol=1e-4)


def test_a_pipeline_says_how_it_is_sampled() -> None:
    config = case("sdxl_euler").config
    data, sampling = config.data, config.sampling
    assert (data.codec, data.image_size, tuple(data.latent_shape)) == ("autoencoder", 16, LATENTS)
    assert (data.text_layer, data.text_normed, data.text_nothing) == (-2, False, "zeros")
    assert (sampling.predictor, sampling.spacing, sampling.steps_offset) == ("euler", "leading", 1)
    assert (sampling.num_steps, sampling.guidance, sampling.noise_removal) == (50, 5.0, True)
    assert config.model.condition == "tokens+vector"
    assert tuple(data.condition) == (77, 40, 26)


# What is refused ----------------------------------------------------------------------------------


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / "sd2_v_euler", tmp_path / "pipeline"))


def change(folder: Path, file: str, **entries: Any) -> None:
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def refused(folder: Path) -> str:
    """The one line with which a directory is refused."""
    with pytest.raises(PretrainedError) as error:
        open_checkpoint(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


INDEX = pipelines.INDEX


@pytest.mark.parametrize("entries, words", [
    ({"_class_name": "os.system"}, "_class_name = 'os.system', must be one of StableDiffusionPipe"),
    ({"unet": ["diffusers", "FluxTransformer2DModel"]}, "unet = .* must be UNet2DConditionModel"),
    ({"unet": ["custom_module", "UNet2DConditionModel"]}, "unet = .*custom_module"),
    ({"vae": [None, None]}, "must have a part vae"),
    ({"tokenizer_2": ["transformers", "CLIPTokenizer"]}, "names a part tokenizer_2"),
    ({"prior": ["diffusers", "PriorTransformer"]}, "part 'prior', which is not known"),
])  # fmt: skip
def test_an_index_that_is_not_known_is_refused(copied: Path, entries, words) -> None:
    change(copied, INDEX, **entries)
    assert re.search(words, refused(copied))


def test_weights_that_are_pickled_code_are_refused(copied: Path) -> None:
    weights = copied / "unet" / "diffusion_pytorch_model"
    weights.with_suffix(".safetensors").unlink()
    weights.with_suffix(".bin").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert "diffusion_pytorch_model.bin" in refused(copied)


def test_an_index_of_files_elsewhere_is_refused(copied: Path) -> None:
    weights = copied / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_name("part.safetensors"))
    index = {"weight_map": {"conv_in.weight": "../vae/diffusion_pytorch_model.safetensors"}}
    weights.with_name(weights.name + ".index.json").write_text(json.dumps(index))
    assert "must be one beside it" in refused(copied)


def test_an_autoencoder_of_other_latents_is_refused(copied: Path) -> None:
    change(copied, "vae/config.json", latent_channels=5)
    assert "latents of 5 channels, and its network takes 4" in refused(copied)


def test_readers_of_another_model_are_refused(copied: Path) -> None:
    config = case("sd2_v_euler").config.copy_and_resolve_references()
    config.data.text_encoder = str(GOLDEN / "sdxl_euler")
    with pytest.raises(ValueError, match="has 40 features of a token, and the network is given 24"):
        texts.text_rows(config, ["a"])
    config.data.text_encoder = str(copied)
    config.data.text_encoder_hash = "0" * 16
    with pytest.raises(ValueError, match="other files than the readers that the model was made"):
        texts.text_rows(config, ["a"])
    config.data.text_encoder_hash = ""
    change(copied, "tokenizer/tokenizer_config.json", model_max_length=99)
    texts._read.cache_clear()
    with pytest.raises(ValueError, match="the tokenizer is of another model"):
        texts.text_rows(config, ["a"])


def test_a_safety_checker_is_left_out_and_said(copied: Path) -> None:
    change(copied, INDEX, safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"])
    assert "not checked" in open_checkpoint(copied).checkpoint.note


def test_negative_captions_are_one_or_as_many_as_there_are() -> None:
    config = case("sd2_v_euler").config
    assert texts.negative_rows(config, [], 3).shape == (1, 77, 24)
    with pytest.raises(ValueError, match=r"sampling.negative must have one .* for each of 3"):
        texts.negative_rows(config, ["a", "b"], 3)
