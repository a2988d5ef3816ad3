"""The prior over embeddings against diffusers', and its null; directories that are refused."""

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
from configs import prior_digits, schema
from data_lib import codec
from models.pretrained import PretrainedError, open_checkpoint
from models.pretrained.opening import params_of
from tests.models import cases
from tests.models.cases import QUICK

GOLDEN = Path(__file__).parents[2] / "golden" / "latent"
FOLDER = GOLDEN / "prior"


@functools.cache
def loaded() -> tuple[Any, Any, Any]:
    """The config, the compiled network and its parameters."""
    found = open_checkpoint(FOLDER)
    apply = jax.jit(models.build(found.config).apply, compiler_options=QUICK)
    return found.config, apply, params_of(found, True)


@functools.cache
def given() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "prior.npz") as arrays:
        return dict(arrays)


def output(**changes: Any) -> np.ndarray:
    _, apply, params = loaded()
    told = {"tokens": given()["text_states"], "mask": given()["text_mask"] > 0,
            "vector": given()["text_embeds"], **changes}  # fmt: skip
    with jax.default_matmul_precision("highest"):
        return np.asarray(apply({"params": params}, given()["x"], np.float32(given()["t"]), told))


def relative(found: Any, expected: Any) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def test_the_prior_gives_the_embedding_of_diffusers():
    # Measured: 6e-7.
    assert relative(output(), given()["out"]) < 5e-6


def test_its_moments_are_the_codec_of_embeddings():
    config, *_ = loaded()
    assert relative(codec.build(config.data).decode(output()), given()["unnormalized"]) < 5e-6


def test_tokens_that_are_not_there_have_no_influence():
    there = given()["text_mask"] > 0
    assert not there.all()
    noise = np.where(there[..., None], given()["text_states"], np.float32(7))
    np.testing.assert_array_equal(output(tokens=noise), output())
    assert relative(output(mask=np.ones_like(there)), output()) > 1e-3


def test_nothing_known_gives_a_finite_embedding_of_its_own():
    nothing = output(
        tokens=np.zeros_like(given()["text_states"]),
        mask=np.zeros(given()["text_mask"].shape, bool),
        vector=np.full_like(given()["text_embeds"], np.nan),
    )
    assert np.isfinite(nothing).all()
    _, apply, params = loaded()
    with jax.default_matmul_precision("highest"):
        absent = apply({"params": params}, given()["x"], np.float32(given()["t"]), None)
    np.testing.assert_allclose(nothing, absent, rtol=1e-5, atol=1e-6)
    assert relative(nothing, output()) > 1e-2


def test_the_published_prior_has_its_number_of_parameters():
    config = loaded()[0].copy_and_resolve_references()
    config.data.shape, config.data.condition = (768,), (77, 768, 768)
    config.model.nf, config.model.num_heads, config.model.num_res_blocks = 2048, 32, 20
    network = models.build(config)
    shapes = jax.eval_shape(lambda key: models.init(network, key, config), jax.random.key(0))
    # The file counts the mean and the deviation of embeddings, too.
    assert models.count(shapes) + 2 * 768 == 1_022_030_080


def changed(path: Path, **keys: Any) -> Path:
    shutil.copytree(FOLDER, path)
    content = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(content | keys))
    return path


@pytest.mark.parametrize(
    "keys, said",
    [
        ({"norm_in_type": "layer"}, "norm_in_type"),
        ({"added_emb_type": None}, "added_emb_type"),
        ({"clip_embed_dim": 7}, "clip_embed_dim"),
        ({"embedding_dim": 11}, "clip_mean"),
        ({"trust": 1}, "the key trust"),
    ],
)
def test_options_without_a_counterpart_are_refused_in_one_line(tmp_path, keys, said):
    with pytest.raises(PretrainedError, match=said) as refused:
        open_checkpoint(changed(tmp_path / "prior", **keys))
    assert "\n" not in str(refused.value)


def test_moments_that_are_not_numbers_are_refused(tmp_path):
    folder = changed(tmp_path / "prior")
    file = folder / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    save_file(weights | {"clip_std": weights["clip_std"] * np.float32(np.nan)}, file)
    with pytest.raises(PretrainedError, match="clip_std"):
        open_checkpoint(folder)


def test_a_prior_is_told_a_class_alone():
    config = prior_digits.get_config()
    config.model.nf = 8
    config.data.mean = config.data.std = (1.0,) * 60
    schema.check(config)
    network = models.build(config)
    apply = jax.jit(network.apply, compiler_options=QUICK)
    params, x = cases.params_of(network, config), jax.random.normal(jax.random.key(0), (4, 60))
    found = apply({"params": params}, x[:1].repeat(4, 0), jnp.ones(4), jnp.array([0, 1, 10, -1]))
    assert np.abs(found[0] - found[1]).max() > 1e-3
    np.testing.assert_array_equal(found[2], found[3])
