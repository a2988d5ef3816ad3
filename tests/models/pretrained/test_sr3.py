"""SR3 against Janspiry's code: its network, its chain, and files that are refused."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from configs import schema
from models.pretrained import PretrainedError, open_checkpoint
from models.pretrained.files import torch_files
from models.pretrained.opening import params_of
from models.score import template
from samplers import Ancestral
from samplers.base import denoised
from sde_lib import Conditional
from sde_lib.clipping import Clipped
from tests.models.cases import QUICK
from tests.models.pretrained.writing import saved, write_zip
from tests.samplers.test_published_chains import Given

GOLDEN = Path(__file__).parents[2] / "golden" / "latent"
FILE = GOLDEN / "sr3_gen.pth"
SAID = ("data.image_size", "data.condition", "model.norm_num_groups")


def say(config: Any) -> None:
    config.data.image_size = 16
    config.data.condition = (16, 16, 3)
    config.model.norm_num_groups = 4


@functools.cache
def given() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "sr3.npz") as arrays:
        return dict(arrays)


@functools.cache
def loaded() -> tuple[Any, Any]:
    """The config, and the score whose network is compiled once."""
    found = open_checkpoint(FILE, None, say, SAID)
    params, network = params_of(found, True), models.build(found.config)
    with jax.default_matmul_precision("highest"):
        run = (
            jax.jit(
                lambda x, label, condition: network.apply({"params": params}, x, label, condition),
                compiler_options=QUICK,
            )
            .lower(given()["x"], given()["gamma"], {"image": given()["condition"]})
            .compile()
        )
    return found.config, run


def relative(found: Any, expected: Any) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def test_the_network_gives_the_output_of_the_original():
    _, run = loaded()
    found = run(given()["x"], given()["gamma"], {"image": given()["condition"]})
    # Measured: 5e-7.
    assert relative(np.asarray(found), given()["out"]) < 5e-6


def test_its_chain_is_that_of_the_original():
    config, run = loaded()
    told = lambda params, x, label, condition, *_: run(x, label, condition)
    score = replace(template(config), apply=told)
    image = {"image": jnp.asarray(given()["condition"])}
    guided = Clipped(Conditional(score, image))
    start, *noises = given()["noises"]
    times = jnp.linspace(0, 1, len(given()["noises"]))
    program = Ancestral().plan(guided, times[::-1]).program
    state = program.method.init(Given(jnp.asarray(start), jnp.asarray(np.stack(noises))))
    for k in range(len(times) - 1):
        row = jax.tree.map(lambda leaf, k=k: jnp.asarray(leaf[k]), program.rows)
        state = program.method.step(guided, state, row)
        assert relative(state.x, given()["trajectory"][k + 1]) < 1e-4
    end = denoised(guided, program, state, times[0])
    # Measured: 2e-7.
    assert relative(end, given()["trajectory"][-1]) < 1e-4


def test_what_no_file_says_is_asked_for():
    with pytest.raises(PretrainedError) as refused:
        open_checkpoint(FILE)
    assert "\n" not in str(refused.value)
    for name in SAID:
        assert name in str(refused.value)


def weights() -> dict[str, np.ndarray]:
    return {name: np.asarray(tensor) for name, tensor in torch_files.read(FILE).items()}


def with_a_stranger(found):
    return found | {"optimizer": np.zeros(3)}


def without_a_block(found):
    return {k: v for k, v in found.items() if not k.startswith("denoise_fn.downs.1.")}


def without_levels(found):
    return {k: v for k, v in found.items() if k != "betas"}


@pytest.mark.parametrize("change", [with_a_stranger, without_a_block, without_levels])
def test_a_damaged_file_is_refused_in_one_line(tmp_path, change):
    path = tmp_path / "broken_gen.pth"
    write_zip(path, {k: saved(v, str(i)) for i, (k, v) in enumerate(change(weights()).items())})
    with pytest.raises(PretrainedError, match="broken_gen") as refused:
        open_checkpoint(path, None, say, SAID)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"data.condition": (8, 8, 3)}, "height and width"),
        ({"model.condition": "vector", "data.condition": (4,)}, "image"),
        (
            {"data.image_size": 18, "data.condition": (18, 18, 3), "model.ch_mult": (1, 2, 2)},
            "size",
        ),
    ],
)
def test_a_condition_or_size_that_does_not_fit_is_refused(changes, said):
    config = schema.get_default()
    config.update_from_flattened_dict({
        "model.name": "sr3", "model.condition": "image", "data.image_size": 16,
        "data.condition": (16, 16, 3), "model.attn_resolutions": (), **changes,
    })  # fmt: skip
    with pytest.raises(ValueError, match=said):
        models.build(config)


def test_the_picture_stands_before_the_example_and_no_picture_is_zeros():
    config = open_checkpoint(FILE, None, say, SAID).config
    _, run = loaded()
    x, gamma = given()["x"], given()["gamma"]
    unknown = run(x, gamma, {"image": np.full_like(x, np.nan)})
    np.testing.assert_array_equal(unknown, run(x, gamma, {"image": np.zeros_like(x)}))
    swapped = run(given()["condition"], gamma, {"image": x})
    assert relative(swapped, given()["out"]) > 1e-2
    assert config.model.conditioning == "alpha"
