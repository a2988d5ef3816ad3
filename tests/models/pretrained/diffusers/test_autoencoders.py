"""Directories of diffusers' autoencoders: older names, other settings, and what is refused."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import models
from configs import schema
from models.pretrained import PretrainedError, open_checkpoint, params_of
from models.pretrained.base import paths_and_shapes
from models.pretrained.diffusers import autoencoders
from models.pretrained.diffusers.names import OLD

GOLDEN = Path(__file__).parents[3] / "golden" / "latent"
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(GOLDEN / "vae_kl_f4", tmp_path / "vae_kl_f4"))


def changed(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def same(one, other):
    equal = jax.tree.map(lambda a, b: bool(np.array_equal(a, b)), one, other)
    return all(jax.tree.leaves(equal))


def test_attention_by_its_old_names_is_the_same(folder):
    now = params_of(open_checkpoint(folder), ema=True)
    weights = load_file(folder / WEIGHTS)
    renamed = {}
    for name, weight in weights.items():
        for old, new in OLD.items():
            name = name.replace(f".attentions.0.{new}.", f".attentions.0.{old}.")
        renamed[name] = weight
    assert sorted(renamed) != sorted(weights)
    save_file(renamed, folder / WEIGHTS)
    assert same(params_of(open_checkpoint(folder), ema=True), now)


def test_the_autoencoder_of_a_pipeline_is_found(folder, tmp_path):
    pipeline = tmp_path / "pipeline"
    shutil.copytree(folder, pipeline / "vae")
    assert open_checkpoint(pipeline).checkpoint.family == autoencoders.FAMILY


def test_half_precision_is_read(folder):
    half = {name: weight.astype(np.float16) for name, weight in load_file(folder / WEIGHTS).items()}
    (folder / WEIGHTS).unlink()
    save_file(half, folder / "diffusion_pytorch_model.fp16.safetensors")
    found = params_of(open_checkpoint(folder), ema=True)["quant"]["kernel"]
    assert np.array_equal(found, half["quant_conv.weight"][:, :, 0, 0].T.astype(np.float32))


def test_weights_in_several_files_are_read(folder):
    whole = params_of(open_checkpoint(folder), ema=True)
    weights = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    parts = [f"diffusion_pytorch_model-0000{k}-of-00002.safetensors" for k in (1, 2)]
    places = {name: parts[name < "encoder"] for name in weights}
    for part in parts:
        save_file({n: w for n, w in weights.items() if places[n] == part}, folder / part)
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": places}))
    assert same(params_of(open_checkpoint(folder), ema=True), whole)


def test_latents_with_a_mean_and_a_deviation_for_each_channel(folder):
    """Decoding is z = latent std / scale + mean."""
    changed(folder, latents_mean=[1, 2, 3, 4], latents_std=[2, 4, 8, 16], scaling_factor=0.5)
    data = open_checkpoint(folder).config.data
    assert data.latent_shift == (1, 2, 3, 4)
    assert data.latent_scale == (0.25, 0.125, 0.0625, 0.03125)


def test_attention_at_resolutions_has_names_of_its_own(folder):
    """KL-f16's kind: every parameter of ours has one name there, and no two the same."""
    down, up = "DownEncoderBlock2D", "UpDecoderBlock2D"
    changed(folder, down_block_types=[down, down, f"Attn{down}"],
            up_block_types=[f"Attn{up}", up, up])  # fmt: skip
    found, attention = autoencoders.settings(json.loads((folder / "config.json").read_text()))
    assert attention == (2,)
    config = schema.get_default()
    config.update_from_flattened_dict(found | {"model.attn_resolutions": (8,)})
    paths = ["/".join(path) for path in paths_and_shapes(models.build_any(config), config)]
    names = autoencoders.names(paths, 3)
    assert len(set(names.values())) == len(paths)
    for theirs in ("encoder.down_blocks.2.attentions.0.to_q.weight",
                   "decoder.up_blocks.0.attentions.1.group_norm.bias"):  # fmt: skip
        assert theirs in names.values()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"act_fn": "relu"}, "act_fn = 'relu'"),
        ({"out_channels": 1}, "out_channels = 1, must be in_channels"),
        ({"down_block_types": ["DownBlock2D"] * 3}, "down_block_types"),
        ({"up_block_types": ["AttnUpDecoderBlock2D"] * 3}, "mirror image"),
        ({"latents_mean": [1.0]}, "latents_mean and latents_std of latent_channels = 4"),
        ({"latent_channels": True}, "latent_channels = True"),
        ({"_class_name": "AsymmetricAutoencoderKL"}, "no known format"),
        ({"_class_name": []}, "no known format"),
    ],
)
def test_options_without_a_counterpart_are_refused(folder, values, told):
    changed(folder, **values)
    with pytest.raises(PretrainedError, match=told) as caught:
        open_checkpoint(folder)
    assert "\n" not in str(caught.value)


def test_a_pickle_that_would_run_code_is_refused(folder):
    (folder / WEIGHTS).unlink()
    target = folder / "ran"

    class Hostile:
        def __reduce__(self):
            return Path.touch, (target,)

    (folder / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps({"encoder": Hostile()}))
    with pytest.raises(PretrainedError) as caught:
        open_checkpoint(folder)
    assert "\n" not in str(caught.value)
    assert not target.exists()
