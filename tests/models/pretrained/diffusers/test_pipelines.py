"""Whole pipelines of diffusers by their own directories: from the captions to the pictures."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import samplers
from configs.kinds import of_config
from models.pretrained import PretrainedError, open_checkpoint
from models.pretrained.diffusers import pipelines
from modes import export, texts
from modes.generator import Given, make_generator
from modes.model import open_published
from sde_lib import Conditional

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
        call = json.loads((GOLDEN / f"{name}.json").read_text())["call"]
        with np.load(GOLDEN / f"{name}.npz") as arrays:
            self.arrays = dict(arrays)
        settings = {
            "sampling.guidance": call["guidance_scale"],
            "sampling.num_steps": call["num_inference_steps"],
        }
        self.model = open_published(GOLDEN / name, settings)
        prompts = call["prompt"]
        self.count = len(prompts)
        told = self.model._conditions(self.model._said(prompts, None), self.count)
        unlike = self.model._unlike(call.get("negative_prompt", ()), self.count)
        given = Given((), told, negative=unlike)
        self.generator = make_generator(self.model.experiment, self.model.score, given)

    @property
    def rows(self) -> np.ndarray:
        """Conditions, those without the prompt first."""
        given = self.generator.given
        return np.concatenate([np.broadcast_to(given.negative, given.conditions.shape),
                               given.conditions])  # fmt: skip

    def parts(self, name: str) -> np.ndarray:
        return of_config(self.model.experiment.config).parted(self.rows)[name]


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
    generator, score = known.generator, known.model.score
    label = jnp.full(len(arrays["unet_in"]), float(arrays["model_timesteps"][0]))
    both = known.model.experiment.condition(None, jnp.asarray(known.rows))
    raw = jax.jit(score.apply)(score.params, jnp.asarray(arrays["unet_in"]), label, both)
    assert relative(raw, arrays["unet_out"]) < 5e-6
    numbers = jnp.arange(known.count)
    guided, sampler = generator._followed(score, numbers, 0, known.count)
    drawn = samplers.sample(
        guided, sampler, generator.times, samplers.sample_keys(generator.key, numbers),
        shape=LATENTS, start=generator.scale * jnp.asarray(arrays["latents"]),
        denoise=generator.denoise, frames=len(generator.times) - 1,
    )  # fmt: skip
    assert drawn.evaluations.tolist() == [2 * len(arrays["trajectory"])] * known.count
    times = generator.times[1:]
    states = [x / guided.sde.alpha(t) for x, t in zip(drawn.frames, times, strict=True)]
    for found, wanted in zip([*states, drawn.x], arrays["trajectory"], strict=True):
        assert relative(found, wanted) < 1e-4
    pictures = np.clip(known.model.codec.decode(np.asarray(drawn.x)), 0, 1)
    np.testing.assert_allclose(pictures, arrays["images"], atol=1e-4)


def test_a_pipeline_says_how_it_is_sampled() -> None:
    config = case("sdxl_euler").model.experiment.config
    data, sampling = config.data, config.sampling
    assert (data.codec, data.image_size, tuple(data.latent_shape)) == ("autoencoder", 16, LATENTS)
    assert (data.text_layer, data.text_normed, data.text_nothing) == (-2, False, "zeros")
    assert (sampling.predictor, sampling.spacing, sampling.steps_offset) == ("euler", "leading", 1)
    settings = open_checkpoint(GOLDEN / "sdxl_euler").config.sampling
    assert (settings.num_steps, settings.guidance, settings.noise_removal) == (50, 5.0, True)
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
    config = open_checkpoint(GOLDEN / "sd2_v_euler").config
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


def test_an_index_that_names_another_scheduler_is_said(copied: Path) -> None:
    assert "scheduler" not in open_checkpoint(copied).checkpoint.note
    change(copied, INDEX, scheduler=["diffusers", "PNDMScheduler"])
    found = open_checkpoint(copied)
    assert "'PNDMScheduler', and the file of EulerDiscreteScheduler is" in found.checkpoint.note
    assert found.config.sampling.predictor == "euler"


def distil(folder: Path, features: int | None) -> None:
    """Make it the pipeline of a consistency model whose network is told the weight of guidance."""
    change(folder, INDEX, _class_name="LatentConsistencyModelPipeline")
    change(folder, "scheduler/scheduler_config.json", _class_name="LCMScheduler")
    change(folder, "unet/config.json", time_cond_proj_dim=features)
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    width = weights["time_embedding.linear_1.weight"].shape[1]
    save_file(weights | {"time_embedding.cond_proj.weight": np.ones((width, 4), np.float32)}, path)


def test_a_consistency_model_is_told_its_guidance_in_one_evaluation(copied: Path) -> None:
    distil(copied, 4)
    model = open_published(copied, {"sampling.batch_size": 2})
    sampling = model.experiment.config.sampling
    assert (sampling.guidance_kind, sampling.guidance) == ("embedded", 8.5)
    assert (sampling.predictor, sampling.num_steps) == ("consistency", 4)
    told = model._conditions(model._said(["a", "a"], None), 2)
    generator = make_generator(model.experiment, model.score, Given((), told))
    assert generator.given.negative is None
    guided, _ = generator._followed(model.score, jnp.arange(2), 0, 2)
    assert guided.evaluations == 1
    with pytest.raises(ValueError, match="guidance_kind='embedded', which compares with no other"):
        model._unlike("a", 2)
    distil(copied, None)
    assert "time_cond_proj_dim = None, must be a number in a LatentCons" in refused(copied)


def test_a_consistency_model_is_the_same_after_an_export(copied: Path, tmp_path: Path) -> None:
    """Its file has the network and what it is told; readers and autoencoder stay where they are."""
    distil(copied, 4)
    few: dict[str, Any] = {"sampling.batch_size": 2, "sampling.num_steps": 1}
    model = open_published(copied, few)
    target, params = tmp_path / "exported.safetensors", model.score.params
    export.LAYOUTS["safetensors"](model.experiment.config, export.Parameters(3, params, params),
                                  target)  # fmt: skip
    places = {"data.autoencoder": str(copied), "data.text_encoder": str(copied)}
    again = open_published(target, few | places)
    sampling = again.experiment.config.sampling
    assert (sampling.guidance_kind, sampling.guidance) == ("embedded", 8.5)
    pictures = [made.sample(2, captions="a", seed=1) for made in (model, again)]
    np.testing.assert_array_equal(*pictures)


def test_negative_captions_are_one_or_as_many_as_there_are() -> None:
    model = case("sd2_v_euler").model
    assert model._unlike("a", 3).shape == (1, 77, 24)
    assert model._unlike((), 3) is None
    with pytest.raises(ValueError, match=r"negative must have one caption, or one for each of 3"):
        model._unlike(["a", "b"], 3)
    plain = replace(model, experiment=replace(model.experiment, guidance=Conditional))
    with pytest.raises(ValueError, match="negative must be empty without guidance"):
        plain._unlike("a", 3)


def test_pictures_of_a_size_that_the_autoencoder_cannot_code_are_refused() -> None:
    with pytest.raises(ValueError, match=r"sides that are multiples of 2, .* 17") as error:
        open_published(GOLDEN / "sd2_v_euler", {"data.image_size": 17})
    assert "\n" not in str(error.value)
