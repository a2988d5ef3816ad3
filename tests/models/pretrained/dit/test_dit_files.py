"""DiT against its authors' network and diffusers', from their files, and files that are refused."""

from __future__ import annotations

import argparse
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
import sde_lib
from configs import dit, schema
from models.pretrained import PretrainedError, load, open_checkpoint
from models.pretrained.base import MismatchError
from models.pretrained.files import torch_files
from models.pretrained.opening import params_of
from sde_lib.combinations import FirstChannels, Mixed
from sde_lib.guidance import ClassifierFree
from tests.models.cases import QUICK
from tests.models.pretrained.writing import saved, write_zip

GOLDEN = Path(__file__).parents[3] / "golden" / "latent"
FILE, FOLDER = GOLDEN / "dit.pt", GOLDEN / "dit_diffusers"
ARGUMENTS = json.loads((GOLDEN / "dit.json").read_text())["arguments"]


@functools.cache
def arrays(case: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{case}.npz") as found:
        return dict(found)


def with_heads(config: Any) -> None:
    config.model.num_heads = ARGUMENTS["num_heads"]


def opened(path: Path) -> Any:
    """A checkpoint, with the number of heads if the file does not say it."""
    if path.is_dir():
        return open_checkpoint(path)
    return open_checkpoint(path, None, with_heads, ("model.num_heads",))


@functools.cache
def network_of(path: Path) -> tuple[Any, Any]:
    found = opened(path)
    return models.build(found.config), params_of(found, True)


def relative(found: Any, expected: Any) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("case, path", [("dit", FILE), ("dit_diffusers", FOLDER)])
def test_the_network_gives_the_output_of_the_original(case, path):
    network, params = network_of(path)
    given = arrays(case)
    with jax.default_matmul_precision("highest"):
        apply = jax.jit(network.apply, compiler_options=QUICK)
        found = apply({"params": params}, given["x"], np.float32(given["t"]), given["label"])
    # Measured: 3e-7. With the exact GELU it is 2e-5.
    assert relative(np.asarray(found), given["out"]) < 5e-6


def test_no_class_is_the_last_row_however_it_is_said():
    network, params = network_of(FILE)
    x, t = arrays("dit")["x"][:1], np.float32([10])
    apply = jax.jit(network.apply, compiler_options=QUICK)
    last = apply({"params": params}, x, t, np.int32([ARGUMENTS["num_classes"]]))
    for none in (np.int32([-1]), np.zeros((1, ARGUMENTS["num_classes"]), np.float32)):
        np.testing.assert_array_equal(last, apply({"params": params}, x, t, none))


@pytest.fixture(scope="module")
def score() -> Any:
    config = opened(FILE).config
    return load(FILE, config)


@pytest.mark.parametrize("combination, channels", [(FirstChannels(3), 4), (Mixed(), 3)])
def test_guidance_of_three_channels_is_the_authors(score, combination, channels):
    given = arrays("dit")
    labels = jnp.asarray(given["cfg_labels"])
    guided = ClassifierFree(score, labels[:2], labels[2:], np.float32(4), combination=combination)
    t = jnp.full(2, 500 / 999, jnp.float32)
    with jax.default_matmul_precision("highest"):
        noise = np.asarray(jax.jit(lambda x: guided.predict(x, t).noise)(given["cfg_x"]))
    expected = given["cfg_out"][:2, ..., :4]
    assert relative(noise[..., :channels], expected[..., :channels]) < 5e-6
    # All channels guided, the fourth is another.
    other = relative(noise[..., 3:], expected[..., 3:])
    assert (other < 5e-6) == isinstance(combination, FirstChannels)


COUNTS = {"S_2": (32_963_360, 32_865_056), "B_4": (130_475_648, 130_426_496),
          "XL_2": (675_129_632, 674_834_720)}  # fmt: skip
"""Parameters with the fixed places, as the authors' files have them, and those that are trained."""


@pytest.mark.parametrize("name", COUNTS)
def test_published_models_have_their_number_of_parameters(name):
    config = dit.get_config(name)
    schema.check(config)
    network = models.build(config)
    shapes = jax.eval_shape(lambda key: models.init(network, key, config), jax.random.key(0))
    total = models.count(shapes)
    assert (total, total - models.count(shapes["places"])) == COUNTS[name]


def tensors() -> dict[str, np.ndarray]:
    return {name: np.asarray(tensor) for name, tensor in torch_files.read(FILE).items()}


def stored(weights: dict[str, np.ndarray], mark: str = "") -> dict[str, Any]:
    return {name: saved(array, f"{mark}{k}") for k, (name, array) in enumerate(weights.items())}


def trained(path: Path, args: Any) -> None:
    """A training's file, whose raw weights are twice the averaged ones."""
    ema = tensors()
    raw = {name: 2 * array for name, array in ema.items()}
    content = {
        "model": stored(raw, "r"),
        "ema": stored(ema, "e"),
        "opt": {"state": {}},
        "args": args,
    }
    write_zip(path, content)


def test_a_trainings_file_has_both_weights_its_update_and_the_heads_of_its_model(tmp_path):
    path = tmp_path / "0050000.pt"
    trained(path, argparse.Namespace(model="DiT-L/2", lr=1e-4))
    found = open_checkpoint(path)
    assert found.checkpoint.step == 50_000
    assert found.config.model.num_heads == dit.SIZES["L"].heads
    raw, ema = (params_of(found, ema=ema) for ema in (False, True))
    _, expected = network_of(FILE)
    for a, b, c in zip(*map(jax.tree.leaves, (raw, ema, expected)), strict=True):
        np.testing.assert_array_equal(b, c)
        np.testing.assert_array_equal(a, 2 * c)


@pytest.mark.parametrize("model", ["DiT-B/2", "UNet", "", None])
def test_a_model_that_does_not_divide_the_features_says_no_heads(tmp_path, model):
    trained(tmp_path / "0000010.pt", argparse.Namespace(model=model))
    with pytest.raises(PretrainedError, match="num_heads"):
        open_checkpoint(tmp_path / "0000010.pt")


def test_an_object_of_another_class_in_a_trainings_file_is_refused(tmp_path):
    trained(tmp_path / "0000010.pt", argparse.ArgumentTypeError("x"))
    with pytest.raises(PretrainedError, match="ArgumentTypeError"):
        open_checkpoint(tmp_path / "0000010.pt")


def test_heads_that_no_file_says_are_asked_for():
    with pytest.raises(PretrainedError, match=r"set model\.num_heads") as refused:
        open_checkpoint(FILE)
    assert "\n" not in str(refused.value)


def test_a_config_of_another_network_is_refused():
    config = schema.get_default()
    with_heads(config)
    with pytest.raises(PretrainedError, match=r"model\.name=dit"):
        params_of(open_checkpoint(FILE, config), True)


# diffusers ---------------------------------------------------------------------------------------


def copied(path: Path) -> Path:
    """The directory as converters write it: one embedding, a copy in every block."""
    shutil.copytree(FOLDER, path)
    weights = load_file(path / "diffusion_pytorch_model.safetensors")
    first = "transformer_blocks.0.norm1.emb."
    same = {name.replace("blocks.0", "blocks.1"): array
            for name, array in weights.items() if name.startswith(first)}  # fmt: skip
    save_file(weights | same, path / "diffusion_pytorch_model.safetensors")
    return path


def test_copies_of_the_embeddings_are_kept_once(tmp_path):
    found = opened(copied(tmp_path / "transformer"))
    assert not found.config.model.own_embeddings
    network, params = models.build(found.config), params_of(found, True)
    own = opened(FOLDER).config
    assert own.model.own_embeddings
    repeated = models.build(own)
    same = {**params, **{f"told_{i}": params["told"] for i in (0, 1)}}
    del same["told"]
    given = arrays("dit_diffusers")
    one, other = (
        jax.jit(net.apply, compiler_options=QUICK)(
            {"params": p}, given["x"], np.float32(given["t"]), given["label"]
        )
        for net, p in ((network, params), (repeated, same))
    )
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def changed(path: Path, **keys: Any) -> Path:
    shutil.copytree(FOLDER, path)
    content = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(content | keys))
    return path


@pytest.mark.parametrize(
    "keys, said",
    [
        ({"activation_fn": "gelu"}, "activation_fn"),
        ({"norm_elementwise_affine": True}, "norm_elementwise_affine"),
        ({"attention_bias": False}, "attention_bias"),
        ({"caption_channels": 12}, "caption_channels"),
        ({"auto_map": {}}, "the key auto_map"),
        ({"patch_size": 3}, "patch_size"),
    ],
)
def test_options_without_a_counterpart_are_refused_in_one_line(tmp_path, keys, said):
    with pytest.raises(PretrainedError, match=said) as refused:
        open_checkpoint(changed(tmp_path / "transformer", **keys))
    assert "\n" not in str(refused.value)


def test_another_number_of_blocks_is_told_by_tensor(tmp_path):
    found = open_checkpoint(changed(tmp_path / "transformer", num_layers=3))
    with pytest.raises(MismatchError, match="missing"):
        params_of(found, True)


def test_noise_levels_of_another_process_are_refused(tmp_path):
    shutil.copytree(FOLDER, tmp_path / "transformer")
    scheduler = tmp_path / "scheduler" / "scheduler_config.json"
    scheduler.parent.mkdir()
    content = {"_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear"}
    scheduler.write_text(json.dumps(content))
    with pytest.raises(PretrainedError, match="beta_schedule"):
        open_checkpoint(tmp_path)
    scheduler.write_text(json.dumps(content | {"beta_schedule": "linear"}))
    assert sde_lib.build(open_checkpoint(tmp_path).config).T > 0
