"""Stable Diffusion in one file is what it is in diffusers' directory, and what is refused."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from configs import schema, stable_diffusion
from models.pretrained import PretrainedError, open_checkpoint, params_of
from models.pretrained.latent_diffusion import releases
from modes import texts
from modes.autoencoders import load_autoencoder
from modes.parts import noted
from tests.models.pretrained import writing
from tests.models.pretrained.latent_diffusion.layouts import (
    KINDS,
    TOKENIZER,
    VAE,
    pipeline,
    put,
    single,
    vae_file,
    vae_weights,
)

HEADS = {"model.num_heads": 0, "model.level_heads": (2, 4)}
UNSAID: dict[str, Any] = {**HEADS, "data.image_size": 16}
BETAS = {"sde.beta_min": 0.85, "sde.beta_max": 12.0}
SAID = {
    "v1": {**UNSAID, "model.prediction": "published", "data.latent_scale": (0.18215,)},
    "lcm": {**UNSAID, "model.prediction": "published", "data.latent_scale": (0.18215,)},
    "v2": {**UNSAID, "model.prediction": "v", "data.latent_scale": (0.18215,)},
    "xl": {**UNSAID, **BETAS, "model.prediction": "published", "data.latent_scale": (0.13025,)},
    "refiner": {
        **UNSAID,
        **BETAS,
        "model.prediction": "published",
        "data.latent_scale": (0.13025,),
    },
    "x4": {**UNSAID, "model.prediction": "published", "data.latent_scale": (0.18215,)},
}
"""Settings that a file does not say, of models that are none of the published ones."""


def opened(path: Path, said: dict[str, Any]):
    given = {"data.tokenizer": str(TOKENIZER), **said}
    return open_checkpoint(path, None, lambda c: c.update_from_flattened_dict(given), tuple(given))


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """of(kind): a directory, and the tensors of a single file."""
    folder, made = tmp_path_factory.mktemp("both"), {}

    def of(kind: str):
        if kind not in made:
            made[kind] = folder / kind, single(kind, pipeline(folder / kind, kind))
        return made[kind]

    return of


def same(one: Any, other: Any) -> bool:
    equal = jax.tree.map(lambda a, b: bool(np.array_equal(a, b)), one, other)
    return all(jax.tree.leaves(equal))


PLACES = ("data.autoencoder", "data.text_encoder", "data.text_encoder_hash", "data.tokenizer")


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_file_is_the_model_of_the_directory(both, tmp_path, kind: str) -> None:
    """Weights and settings are equal, bit for bit, and so is all that is computed of them."""
    folder, tensors = both(kind)
    file = tmp_path / "model.safetensors"
    save_file(tensors, file)
    one, other = open_checkpoint(folder), opened(file, SAID[kind])
    assert other.checkpoint.family == "latent-diffusion"
    assert same(params_of(one, True), params_of(other, True))
    settings = [schema.flatten(noted(found.config)) for found in (one, other)]
    different = {k for k in settings[0] if settings[0][k] != settings[1][k]} - {*PLACES}
    of_two = kind in ("v2", "x4")  # whose directories have one layer of the reader less
    assert different <= ({"data.text_layer"} if of_two else set())
    coders = [load_autoencoder(found.config.data.autoencoder) for found in (one, other)]
    assert coders[0].identity == coders[1].identity
    told = [texts.encoder_of(found.config) for found in (one, other)]
    assert len(told[0][0].towers) == len(told[1][0].towers)
    for first, second in zip(told[0][0].towers, told[1][0].towers, strict=True):
        assert first.described == second.described
        assert same(first.params, second.params)
        ids = [tower.tokenizer(["bold digit seven"])[0] for tower in (first, second)]
        np.testing.assert_array_equal(*ids)


def test_the_weight_of_guidance_has_diffusers_name_in_converted_files(both, tmp_path) -> None:
    tensors = both("lcm")[1]
    file = tmp_path / "model.safetensors"
    save_file({name.replace("time_embed.cond_", "time_embedding.cond_"): array
               for name, array in tensors.items()}, file)  # fmt: skip
    found = opened(file, SAID["lcm"])
    kernel = params_of(found, True)["conditioning"]["guidance"]["kernel"]
    name = "model.diffusion_model.time_embed.cond_proj.weight"
    np.testing.assert_array_equal(kernel, tensors[name].T)


def test_the_last_layer_of_openclip_is_not_used(both, tmp_path) -> None:
    """diffusers' directory of a 2 leaves it out; a single file has it."""
    folder, tensors = both("v2")
    file = tmp_path / "model.safetensors"
    extra = {name.replace("resblocks.2.", "resblocks.3."): 2 * array
             for name, array in tensors.items() if "resblocks.2." in name}  # fmt: skip
    save_file(tensors | extra, file)
    settings = [open_checkpoint(folder).config, opened(file, SAID["v2"]).config]
    assert [config.data.text_layer for config in settings] == [-1, -2]
    rows = [texts.text_rows(config, ["bold digit seven", ""]) for config in settings]
    np.testing.assert_array_equal(*rows)


def torch_file(path: Path, tensors: dict[str, np.ndarray], **more: Any) -> Path:
    state = {name: writing.saved(array, str(k)) for k, (name, array) in enumerate(tensors.items())}
    return writing.write_zip(path, {"state_dict": state, **more})


@pytest.fixture
def lightning(monkeypatch) -> type:
    """A class by the name of Lightning's, by which its files have the states of callbacks."""
    parts = ["pytorch_lightning", "callbacks", "model_checkpoint"]
    for k in range(len(parts)):
        name = ".".join(parts[: k + 1])
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    made = type("ModelCheckpoint", (), {"__module__": name})
    sys.modules[name].ModelCheckpoint = made  # type: ignore[attr-defined]
    return made


def test_a_checkpoint_of_training_has_two_sets_of_weights_and_a_step(both, tmp_path, lightning):
    """The average is under names without dots; Lightning adds the states of callbacks."""
    tensors = {name: array for name, array in both("v1")[1].items() if "position_ids" not in name}
    start = "model.diffusion_model."
    average = {"model_ema." + name.removeprefix("model.").replace(".", ""): array + 1
               for name, array in tensors.items() if name.startswith(start)}  # fmt: skip
    average |= {"model_ema.decay": np.float32([0.9999]), "model_ema.num_updates": np.float32([5])}
    callbacks = {lightning: {"best_model_path": "", "monitor": "val/loss"}}
    file = torch_file(tmp_path / "a.ckpt", tensors | average, global_step=470000, epoch=1,
                      callbacks=callbacks)  # fmt: skip
    found = opened(file, SAID["v1"])
    assert found.checkpoint.step == 470000
    raw, ema = (params_of(found, kind)["stem"]["kernel"] for kind in (False, True))
    np.testing.assert_array_equal(raw + 1, ema)
    del average["model_ema.diffusion_modelout2weight"]
    torch_file(file, tensors | average)
    assert "its average, model_ema.*, lacks out.2.weight" in refused(file)


@pytest.mark.parametrize("name", stable_diffusion.RELEASES)
def test_shapes_of_published_networks_say_what_files_do_not(name: str) -> None:
    release = stable_diffusion.RELEASES[name]
    flat = schema.flatten(stable_diffusion.get_config(name))
    found = releases.completed(flat, Path("merged.ckpt"))
    twins = name in ("v2", "v2_base")
    asked = {group[0] for group in found.groups}
    assert asked == ({"model.prediction", "data.image_size"} if twins else set())
    if twins:
        published = next(file for file, kind in releases.NAMES.items() if kind == name)
        found = releases.completed(flat, Path(f"{published}.ckpt"))
    assert found.groups == ()
    assert found.assumed["model.prediction"] == release.prediction
    assert found.assumed["data.latent_scale"] == (release.scale,)
    assert found.assumed["data.image_size"] == releases.PIXELS[name]
    assert found.assumed["sde.beta_max"] == release.betas[1]
    heads = "model.num_heads" if release.heads else "model.attention_head_dim"
    assert found.assumed[heads] == (release.heads or 64)
    assert name in found.note or twins
    assert not releases.completed({**flat, "model.nf": 1}, Path("merged.ckpt")).assumed


@pytest.mark.parametrize("name, ends", [
    ("scaled_linear", (0.0015, 0.0195)), ("linear", (1e-4, 0.02)),
])  # fmt: skip
def test_tables_of_noise_levels_are_read(name: str, ends: tuple[float, float]) -> None:
    made = {"scaled_linear": np.linspace(*np.sqrt(ends), 1000) ** 2,
            "linear": np.linspace(*ends, 1000)}[name].astype(np.float32)  # fmt: skip
    assert releases.levels({"betas": made}) == {  # type: ignore[dict-item]
        "num_train_timesteps": 1000, "beta_schedule": name, "beta_start": ends[0],
        "beta_end": ends[1],
    }  # fmt: skip
    other = np.where(np.arange(1000) == 5, 0.5, made)
    assert releases.levels({"betas": other})["trained_betas"] == other.tolist()  # type: ignore[dict-item]


# Autoencoders -------------------------------------------------------------------------------------


@pytest.mark.parametrize("entries", [
    {},
    {"down_block_types": ["DownEncoderBlock2D", "AttnDownEncoderBlock2D"],
     "up_block_types": ["AttnUpDecoderBlock2D", "UpDecoderBlock2D"]},
    {"mid_block_add_attention": False},
    {"_class_name": "VQModel", "num_vq_embeddings": 16, "vq_embed_dim": 4},
])  # fmt: skip
def test_an_autoencoder_alone_is_that_of_its_directory(tmp_path, entries) -> None:
    content = {**VAE, **entries}
    weights = vae_weights(content)
    put(tmp_path / "vae", content, weights)
    loss = {"loss.discriminator.main.0.weight": np.zeros((1, 3, 4, 4), np.float32)}
    file = torch_file(tmp_path / "a.ckpt", vae_file(weights) | loss)
    one, other = open_checkpoint(tmp_path / "vae"), open_checkpoint(file)
    assert other.checkpoint.family == "latent-diffusion-autoencoder"
    assert other.config.data.latent_scale == ()  # measured, as nothing says it
    assert same(params_of(one, True), params_of(other, True))
    names = ("model.", "data.num_channels")
    settings = [{k: v for k, v in schema.flatten(found.config).items() if k.startswith(names)}
                for found in (one, other)]  # fmt: skip
    if "Attn" in str(entries):  # sides of the pictures that each was trained on
        assert settings[0].pop("model.attn_resolutions") == (8,)
        assert settings[1].pop("model.attn_resolutions") == (128,)
    assert settings[0] == settings[1]


# What is refused ----------------------------------------------------------------------------------


def refused(file: Path, **said: Any) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(ValueError, match=r"\S") as error:
        noted(opened(file, said).config)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_no_file_says_is_asked_for_in_one_line(both, tmp_path) -> None:
    _, tensors = both("v1")
    file = tmp_path / "model.safetensors"
    save_file(tensors, file)
    told = refused(file)
    for name in ("model.num_heads or", "model.prediction", "data.latent_scale", "data.image_size"):
        assert name in told
    assert "sde.beta_min" not in told  # of which the file has a table
    said = {name: value for name, value in SAID["v1"].items() if name != "data.image_size"}
    assert "data.image_size" in refused(file, **said)


CHANGES = [
    ("a ControlNet", {"control_model.input_blocks.0.0.weight": (1,)}, "of a part that has no"),
    ("another reader", {"cond_stage_model.embedding.weight": (4, 4)}, "cond_stage_model.emb"),
    ("no way up", {"model.diffusion_model.output_blocks.3.": None}, "3 blocks on the way up, must"),
    ("no transformers", {"transformer_blocks": None}, "none of Stable Diffusion's: it has"),
    ("other channels", {"first_stage_model.decoder.conv_in.weight": (64, 5, 3, 3)}, "latents of 5"),
    ("half an autoencoder", {"first_stage_model.encoder.down": None}, "its autoencoder is none"),
    ("levels", {"betas": (3, 3)}, "its betas must be a row of numbers between 0 and 1"),
    ("a scale", {"scale_factor": (2,)}, "its scale_factor must be one number above 0"),
]  # fmt: skip


@pytest.mark.parametrize("case, changes, words", CHANGES, ids=[case for case, *_ in CHANGES])
def test_other_files_are_refused(both, tmp_path, case, changes, words) -> None:
    tensors = dict(both("v1")[1])
    for name, shape in changes.items():
        if shape is None:
            tensors = {k: v for k, v in tensors.items() if name not in k}
        else:
            tensors[name] = np.full(shape, 0.5, np.float32)
    file = tmp_path / "model.safetensors"
    save_file(tensors, file)
    assert words in refused(file, **SAID["v1"])


def test_a_tokenizer_is_asked_for(both, tmp_path) -> None:
    _, tensors = both("v1")
    file = tmp_path / "model.safetensors"
    save_file(tensors, file)
    asked = "set data.tokenizer to a directory with CLIP's vocab.json and merges.txt"
    assert asked in refused(file, **SAID["v1"], **{"data.tokenizer": ""})
    lost = {"data.tokenizer": str(tmp_path / "nothing")}
    assert "data.tokenizer must be a directory" in refused(file, **SAID["v1"], **lost)
    (tmp_path / "tokenizer").symlink_to(TOKENIZER)
    beside = SAID["v1"] | {"data.tokenizer": ""}
    assert noted(opened(file, beside).config).data.text_encoder_hash


def test_a_pickle_that_would_run_code_is_refused(tmp_path) -> None:
    file = tmp_path / "a.ckpt"
    names = b"model.diffusion_model.input_blocks.0.0.weight"
    program = b"\x80\x02cos\nsystem\n(X\x05\x00\x00\x00false"
    writing.zip_of(file, {"archive/data.pkl": program + names})
    with pytest.raises(PretrainedError, match=r"os\.system") as error:
        open_checkpoint(file)
    assert "\n" not in str(error.value)
