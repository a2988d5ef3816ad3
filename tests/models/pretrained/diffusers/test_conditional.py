"""diffusers' UNet2DConditionModel against ours, read from directories that it wrote."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import models
from configs import schema, stable_diffusion
from models.pretrained import open_checkpoint, params_of
from models.pretrained.base import MismatchError
from models.pretrained.diffusers import conditional, directory
from models.pretrained.diffusers.condition_config import settings
from models.pretrained.diffusers.condition_rules import DEFAULTS, HARMLESS, RULES
from models.pretrained.files.tensors import PretrainedError
from tests.models.cases import QUICK
from tests.slow import but_slow

GOLDEN = Path(__file__).parents[3] / "golden" / "latent"
CASES = ("unet_eps", "unet_sd1", "unet_sdxl", "unet_x4", "unet_if_base")
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(autouse=True)
def _full_precision():
    with jax.default_matmul_precision("highest"):
        yield


@functools.cache
def arrays(case: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{case}.npz") as found:
        return dict(found)


def unet_of(case: str) -> dict[str, Any]:
    return json.loads((GOLDEN / case / "config.json").read_text())


def condition(case: str, channels: int) -> dict[str, Any]:
    """Parts of a case's condition, with a mask that shows all tokens."""
    z = arrays(case)
    parts: dict[str, Any] = {"tokens": z["text"], "mask": np.ones(z["text"].shape[:2], bool)}
    if "time_ids" in z:
        parts["vector"] = np.concatenate([z["text_embeds"], z["time_ids"]], axis=1)
    if "class_labels" in z:
        parts |= {"image": z["x"][..., channels:], "level": z["class_labels"].astype(np.float32)}
    return parts


@pytest.fixture
def copied(tmp_path) -> Path:
    return Path(shutil.copytree(GOLDEN / "unet_eps", tmp_path / "unet"))


@pytest.mark.parametrize("case", CASES)
def test_a_directory_gives_the_output_of_diffusers(case):
    z, opened = arrays(case), open_checkpoint(GOLDEN / case)
    network, params = models.build(opened.config), params_of(opened, ema=True)
    own = opened.config.data.num_channels
    x, told = jnp.asarray(z["x"][..., :own]), condition(case, own)

    @functools.partial(jax.jit, compiler_options=QUICK)
    def output(t, told):
        return network.apply({"params": params}, x, t, told)

    found = {
        "out": output(z["t"].astype(np.float32), told),
        "out_fractional": output(z["t_fractional"], told),
    }
    if "text_mask" in z:
        masked = {**told, "mask": z["text_mask"].astype(bool)}
        found["out_masked"] = output(z["t"].astype(np.float32), masked)
        none = output(z["t"].astype(np.float32), {**told, "mask": np.zeros_like(masked["mask"])})
        assert np.isfinite(none).all()
    for name, value in found.items():
        # Round-off is 1e-6; the least of the mistakes that these files show makes 1.3e-5.
        assert np.abs(value - z[name]).max() < 5e-6 * np.abs(z[name]).max(), name


def test_a_weight_of_guidance_is_added_to_the_waves_of_the_time(copied):
    """W_0 (waves + v) + b is W_0 waves + (b + W_0 v): a network without a weight says the rest.

    The waves of the weight, less one and times 1000, are as the pipeline of LCM makes them.
    """
    told, weight, features = load_file(copied / WEIGHTS), 8.5, 7
    config = json.loads((copied / "config.json").read_text()) | {"time_cond_proj_dim": features}
    (copied / "config.json").write_text(json.dumps(config))
    angles = 1000 * (weight - 1) * np.exp(np.arange(3) * -(np.log(1e4) / 2))
    waves = np.concatenate([np.sin(angles), np.cos(angles), [0]])
    bias, kernel = (f"time_embedding.linear_1.{leaf}" for leaf in ("bias", "weight"))
    project = np.random.default_rng(0).normal(size=(told[kernel].shape[1], features))
    added = {"time_embedding.cond_proj.weight": project.astype(np.float32)}
    save_file(told | added, copied / WEIGHTS)
    opened, plain = open_checkpoint(copied), open_checkpoint(GOLDEN / "unet_eps")
    moved = told | {bias: (told[bias] + told[kernel] @ (project @ waves)).astype(np.float32)}
    x, t = jnp.asarray(arrays("unet_eps")["x"]), jnp.asarray(arrays("unet_eps")["t_fractional"])
    parts = condition("unet_eps", x.shape[-1])

    def output(opened, params, parts):
        network = models.build(opened.config)
        run = jax.jit(network.apply, compiler_options=QUICK)
        return run({"params": params}, x, t, parts)

    found = output(opened, params_of(opened, ema=True),
                   parts | {"guidance": np.full(len(x), weight - 1, np.float32)})  # fmt: skip
    network = models.build(plain.config)
    wanted = output(plain, conditional.params(moved, network, plain.config), parts)
    assert np.abs(found - wanted).max() < 5e-6 * np.abs(wanted).max()
    assert np.abs(found - arrays("unet_eps")["out_fractional"]).max() > 1e-3
    with pytest.raises(ValueError, match="guidance"):
        network.apply({"params": {}}, x, t, parts | {"guidance": t})


# Files -------------------------------------------------------------------------------------------


def shard(folder: Path, half: str = "") -> Path:
    """The weights in two files and an index."""
    weights = load_file(folder / WEIGHTS)
    names = sorted(weights)
    stem = WEIGHTS.removesuffix(".safetensors")
    places = {n: f"{stem}-0000{k % 2 + 1}-of-00002{half}.safetensors" for k, n in enumerate(names)}
    for file in set(places.values()):
        save_file({n: weights[n] for n in names if places[n] == file}, folder / file)
    (folder / WEIGHTS).unlink()
    index = folder / f"{WEIGHTS}.index{half}.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


@pytest.mark.parametrize("half", ["", ".fp16"])
def test_weights_in_several_files_are_those_of_one(copied, half):
    whole = conditional.read(copied).ema
    shard(copied, half)
    parted = conditional.read(copied).ema
    assert set(whole) == set(parted)
    assert all(np.array_equal(whole[name], parted[name]) for name in whole)


@pytest.mark.parametrize("half", ["fp16", "bf16"])
def test_half_precision_is_read_where_there_is_no_other(copied, half):
    whole = load_file(copied / WEIGHTS)
    kind = np.float16 if half == "fp16" else jnp.bfloat16
    (copied / WEIGHTS).unlink()
    halves = {name: array.astype(kind) for name, array in whole.items()}
    save_file(halves, copied / f"diffusion_pytorch_model.{half}.safetensors")
    found = conditional.read(copied).ema
    assert all(np.allclose(found[name].astype(np.float32), whole[name], rtol=1e-2, atol=1e-6)
               for name in whole)  # fmt: skip


def missing(folder: Path) -> None:
    shard(folder)
    next(folder.glob("*-00002-of-*")).unlink()


def elsewhere(folder: Path) -> None:
    index = shard(folder)
    index.write_text(index.read_text().replace("diffusion_pytorch_model-00002", "../a-00002"))


def other_class(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "_class_name": "UNet2DModel"}))


def forged(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text()) | {"layers_per_block": 64}
    (folder / "config.json").write_text(json.dumps(config))


def runs_a_command(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    pickled = b"cposix\nsystem\n(S'touch executed'\ntR."
    (folder / "diffusion_pytorch_model.bin").write_bytes(pickled)


DAMAGED = {
    "a file of several is missing": (missing, "00002-of-00002.*which is not there"),
    "an index that names a file elsewhere": (elsewhere, r"must be one beside it"),
    "another class": (other_class, "must be a directory with the config.json of a UNet2DCond"),
    "more blocks than weights": (forged, "forged or mixed"),
    "a pickle that runs a command": (runs_a_command, "diffusion_pytorch_model.bin"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), "there is none of"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_directory_is_refused_in_one_line(copied, monkeypatch, name):
    monkeypatch.chdir(copied)
    damage, words = DAMAGED[name]
    damage(copied)
    with pytest.raises(PretrainedError, match=words) as caught:
        conditional.read(copied)
    assert "\n" not in str(caught.value)
    assert not (copied / "executed").exists()


def test_directories_are_told_apart(copied):
    assert conditional.recognises(copied)
    assert not directory.recognises(copied)
    other_class(copied)
    assert not conditional.recognises(copied)
    assert not conditional.recognises(copied / "nothing")


def test_weights_of_another_network_are_listed(copied):
    opened = open_checkpoint(copied)
    opened.config.model.transformer_depth = (2, 0)
    with pytest.raises(MismatchError, match=r"transformer_blocks\.1\.attn1\.to_q\.weight: missing"):
        params_of(opened, ema=True)


# Options -----------------------------------------------------------------------------------------


def test_every_key_is_read_or_known_to_change_nothing():
    assert set(RULES) | {"mid_block_type"} == set(DEFAULTS)
    assert set(HARMLESS) < set(RULES)


SDXL = {"addition_embed_type": "text_time", "addition_time_embed_dim": 256}
JOINT = {
    "down_block_types": ["ResnetDownsampleBlock2D", *3 * ["SimpleCrossAttnDownBlock2D"]],
    "up_block_types": [*3 * ["SimpleCrossAttnUpBlock2D"], "ResnetUpsampleBlock2D"],
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
}  # fmt: skip
PUBLISHED: dict[str, dict[str, Any]] = {
    "v1": {"cross_attention_dim": 768, "sample_size": 64},
    "v1_inpainting": {"cross_attention_dim": 768, "sample_size": 64, "in_channels": 9},
    "v2": {"cross_attention_dim": 1024, "sample_size": 96, "attention_head_dim": [5, 10, 20, 20],
           "use_linear_projection": True, "upcast_attention": True},
    "xl": {"cross_attention_dim": 2048, "sample_size": 128, "attention_head_dim": [5, 10, 20],
           "block_out_channels": [320, 640, 1280], "transformer_layers_per_block": [1, 2, 10],
           "down_block_types": ["DownBlock2D", *2 * ["CrossAttnDownBlock2D"]],
           "up_block_types": [*2 * ["CrossAttnUpBlock2D"], "UpBlock2D"],
           "projection_class_embeddings_input_dim": 2816, "use_linear_projection": True, **SDXL},
    "xl_refiner": {"cross_attention_dim": 1280, "sample_size": 128,
                   "attention_head_dim": [6, 12, 24, 24],
                   "block_out_channels": [384, 768, 1536, 1536], "transformer_layers_per_block": 4,
                   "down_block_types": ["DownBlock2D", *2 * ["CrossAttnDownBlock2D"],
                                        "DownBlock2D"],
                   "up_block_types": ["UpBlock2D", *2 * ["CrossAttnUpBlock2D"], "UpBlock2D"],
                   "projection_class_embeddings_input_dim": 2560, **SDXL},
    "x4": {"cross_attention_dim": 1024, "sample_size": 128, "in_channels": 7,
           "block_out_channels": [256, 512, 512, 1024], "num_class_embeds": 1000,
           "down_block_types": ["DownBlock2D", *3 * ["CrossAttnDownBlock2D"]],
           "up_block_types": [*3 * ["CrossAttnUpBlock2D"], "UpBlock2D"],
           "only_cross_attention": [True, True, True, False]},
}  # fmt: skip
"""Values of the published config.json beside the defaults of diffusers."""
THE_SAME = ("model.num_heads", "model.attention_head_dim", "model.level_heads")


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_files_are_our_configs(name):
    config = stable_diffusion.get_config(name)
    found, ours = settings(PUBLISHED[name]), schema.flatten(config)
    differ = {key: (value, ours[key]) for key, value in found.items()
              if value != ours[key] and key not in THE_SAME}  # fmt: skip
    assert not differ
    theirs = config.copy_and_resolve_references()
    theirs.update_from_flattened_dict(found)
    attended = lambda network: [f.heads for f in network.floors if any(f.down)]
    one, other = models.build(config).network, models.build(theirs).network
    assert attended(one) == attended(other)
    assert one.middle == other.middle


COUNTED = [n for n in stable_diffusion.RELEASES if n != "v2_base"]


@pytest.mark.parametrize("name", but_slow(COUNTED, "v1_inpainting", "xl_refiner"))
def test_networks_have_the_published_number_of_parameters(name):
    config = stable_diffusion.get_config(name)
    network = models.build(config)
    shapes = jax.eval_shape(lambda key: models.init(network, key, config), jax.random.key(0))
    assert models.count(shapes) == stable_diffusion.RELEASES[name].parameters


READ: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "heads of each resolution": (
        {"attention_head_dim": [2, 4, 8, 8]}, {"model.level_heads": (2, 4, 8, 8)}),
    "layers of each resolution": (
        {"layers_per_block": [1, 2, 3, 4]}, {"model.level_blocks": (1, 2, 3, 4)}),
    "transformers of each layer, another way up": (
        {"transformer_layers_per_block": [[1, 2], 1, 1, 1],
         "reverse_transformer_layers_per_block": [1, [3, 2, 1], 1, 1]},
        {"model.transformer_depth": (1, 2, 1, 1, 1, 1, 0, 0), "model.middle_depth": 1,
         "model.transformer_depth_up": (0, 0, 0, 3, 2, 1, 1, 1, 1, 1, 1, 1)}),
    "middle without attention": ({"mid_block_type": "UNetMidBlock2D"}, {"model.middle": "block"}),
    "no middle": ({"mid_block_type": None}, {"model.middle": "none"}),
    "text alone, also in the middle": (
        {**JOINT, "only_cross_attention": True},
        {"model.cross_levels": (1, 2, 3), "model.middle_cross": True,
         "model.attention_head_dim": 8, "model.resblock_updown": True}),
    "image embeddings": (
        {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 2048},
        {"model.condition": "tokens+vector", "data.condition": (77, 1280, 2048),
         "model.vector_embedding": "projection"}),
    "embedding given": (
        {"class_embed_type": "identity"}, {"data.condition": (77, 1280, 1280)}),
    "classes": ({"num_class_embeds": 10}, {"model.num_classes": 10, "model.level_rows": 0}),
    "IF's second stage": (
        {**JOINT, "in_channels": 6, "out_channels": 6, "class_embed_type": "timestep",
         "resnet_skip_time_act": True, "resnet_out_scale_factor": 1.4142, "sample_size": 256,
         "encoder_hid_dim": 4096, "addition_embed_type": "text", "act_fn": "gelu",
         "cross_attention_norm": "group_norm", "resnet_time_scale_shift": "scale_shift"},
        {"data.num_channels": 3, "model.learn_variance": True, "model.level_embedding": "waves",
         "model.condition": "tokens+image+level", "data.condition": (77, 4096, 256, 256, 3),
         "model.token_features": 1280, "model.pool_heads": 64, "model.token_norm": "group",
         "model.activate_embedding": False, "model.residual_divisor": 1.4142,
         "data.codec": "levels"}),
    "old names of blocks": (
        {"down_block_types": [*3 * ["UNetResCrossAttnDownBlock2D"], "UNetResDownBlock2D"],
         "up_block_types": ["UNetResUpBlock2D", *3 * ["UNetResCrossAttnUpBlock2D"]]},
        {"model.transformer_depth": (1, 1, 1, 0)}),
    "guidance told": (
        {"time_cond_proj_dim": 256},
        {"model.guidance_features": 256, "sampling.guidance_kind": "embedded"}),
    "not square": ({"sample_size": [32, 64]}, {"data.shape": (32, 64, 4)}),
    "norm of tokens before transformers": (
        {"cross_attention_norm": "layer_norm"}, {"model.token_norm": "none"}),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_an_option_is_a_setting_of_ours(name):
    change, expected = READ[name]
    found = settings(change)
    assert {key: found[key] for key in expected} == expected
    config = schema.get_default()
    config.update_from_flattened_dict(found)
    schema.check(config)
    models.build(config)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown key": ({"guess_mode": True}, "guess_mode"),
    "two attentions": ({"dual_cross_attention": True}, "dual_cross_attention"),
    "boxes": ({"attention_type": "gated"}, "attention_type"),
    "image prompts": ({"encoder_hid_dim_type": "image_proj", "encoder_hid_dim": 8},
                      "encoder_hid_dim_type"),
    "added images": ({"addition_embed_type": "image"}, "addition_embed_type"),
    "heads by their other name": ({"num_attention_heads": 8}, "num_attention_heads"),
    "guidance told by nothing": ({"time_cond_proj_dim": 0}, "time_cond_proj_dim"),
    "classes beside": ({"class_embeddings_concat": True}, "class_embeddings_concat"),
    "fourier": ({"time_embedding_type": "fourier"}, "time_embedding_type"),
    "no groups": ({"norm_num_groups": None}, "norm_num_groups"),
    "self-attention alone": ({"down_block_types": 4 * ["AttnDownBlock2D"]}, "AttnDownBlock2D"),
    "blocks of both kinds": ({"mid_block_type": "UNetMidBlock2DSimpleCrossAttn"}, "mid_block_type"),
    "even kernels": ({"conv_in_kernel": 4}, "conv_in_kernel"),
    "widths of text": ({"cross_attention_dim": [8, 16, 8, 8]}, "cross_attention_dim"),
    "depths without their way up": (
        {"transformer_layers_per_block": [[1, 2], 1, 1, 1]}, "reverse_transformer"),
    "too few depths": ({"transformer_layers_per_block": [1, 2]}, "one for each of block_out"),
    "lists of depths that are too short": (
        {"transformer_layers_per_block": [[1], 1, 1, 1],
         "reverse_transformer_layers_per_block": 1}, "transformer_layers_per_block"),
    "widths of heads in another order on the way up": (
        {**JOINT, "attention_head_dim": [8, 8, 16, 32]}, "attention_head_dim"),
    "levels of no image": ({"class_embed_type": "timestep"}, "class_embed_type"),
    "channels": ({"out_channels": 5}, "out_channels"),
    "centred latents": ({"center_input_sample": True}, "center_input_sample"),
    "sizes of no length": ({"addition_embed_type": "text_time"}, "projection_class_embeddings"),
    "projections of no length": ({"class_embed_type": "projection"}, "projection_class_embed"),
    "words for numbers": ({"block_out_channels": "abcd"}, "block_out_channels"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_an_option_without_counterpart_is_named(name):
    change, words = REFUSED[name]
    with pytest.raises(PretrainedError, match=words) as caught:
        settings(change)
    assert "\n" not in str(caught.value)
