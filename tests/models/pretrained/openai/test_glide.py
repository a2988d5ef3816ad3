"""GLIDE's network of texts: outputs of the original, from the command's importer, and samples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import main
from configs import schema
from models.layers.text import TextReader
from models.pretrained.files import torch_files
from models.pretrained.openai import layout
from modes.experiment import Experiment
from modes.model import Model, load
from tests import stored
from tests.models.cases import QUICK

GOLDEN = Path(__file__).parents[3] / "golden" / "control"
FILE = GOLDEN / "glide_text2im.pt"
UNSAID = {
    "model.attention_head_dim": 16, "model.text_heads": 2, "data.image_size": 8,
    "sde.schedule": "cosine", "sde.num_scales": 1000, "model.rescale_timesteps": False,
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def as_main_runs() -> Iterator[None]:
    """Promotions of types and ranks as in a command, and products of full precision."""
    with (
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        jax.default_matmul_precision("highest"),
    ):
        yield


def run(mode: str, folder: Path, *more: str, **given: object) -> int:
    texts = [f"--config.{name.replace('__', '.')}={value}" for name, value in given.items()]
    return main.main(["--mode", mode, "--workdir", str(folder), *more, *texts])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The imported golden file."""
    place = tmp_path_factory.mktemp("glide") / "run"
    assert run("import", place, "--import_from", str(FILE), **UNSAID) == 0
    return place


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return load(folder, log=lambda line: None)


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "glide_text2im.npz") as found:
        return dict(found)


def apart(found: object, expected: np.ndarray) -> float:
    return float(np.linalg.norm(np.asarray(found) - expected) / np.linalg.norm(expected))


def test_the_network_gives_what_the_original_gives(model: Model, arrays) -> None:
    """A full text, half a one and none."""
    told = {"tokens": jnp.asarray(arrays["tokens"], jnp.int32), "mask": jnp.asarray(arrays["mask"])}
    run = jax.jit(model.score.apply, compiler_options=QUICK)
    x, label = jnp.asarray(arrays["x"]), jnp.asarray(arrays["t"], jnp.float32)
    found = run(model.score.params, x, label, told, None)
    assert apart(found, arrays["model_output"]) < 1e-5
    # Nothing but the mask tells that there is no text.
    nothing = {"tokens": told["tokens"][::-1], "mask": jnp.zeros_like(told["mask"])}
    again = run(model.score.params, x, label, nothing, None)
    assert apart(again[2], arrays["model_output"][2]) < 1e-5


def test_the_text_is_read_as_the_original_reads_it(model: Model, arrays) -> None:
    reader, params = TextReader(model.score.apply.network.inputs.text), model.score.params
    found = reader.apply({"params": params["text"]}, arrays["tokens"], arrays["mask"])
    assert apart(found, np.moveaxis(arrays["text_features"], 1, 2)) < 1e-5
    project = params["conditioning"]["text"]
    last = found[:, -1] @ project["kernel"] + project["bias"]
    assert apart(last, arrays["text_projection"]) < 1e-5


def test_an_imported_workdir_draws_samples_of_texts(folder: Path, arrays, capsys) -> None:
    config = ["--config", str(folder / "config.py")]
    few = {"sampling__num_samples": 2, "sampling__respacing": "ddim2",
           "sampling__predictor": "ddim", "sampling__guidance": 3.0}  # fmt: skip
    texts = np.where(arrays["mask"], arrays["tokens"], -1)
    np.save(folder / "texts.npy", texts)
    told = {"sampling__condition": folder / "texts.npy"}
    assert run("sample", folder, *config, **few, **told) == 0
    found = stored.arrays(folder / "samples" / "samples.npz")["samples"]
    assert found.shape == (3, 2, 8, 8, 3)
    assert np.isfinite(found).all()
    for wrong, words in ((texts + 3, "below model.vocabulary = 60, or -1 where there is none, got"),
                         (texts + 0.5, "must be whole numbers")):  # fmt: skip
        np.save(folder / "texts.npy", wrong)
        capsys.readouterr()
        assert run("sample", folder, *config, **few, **told) == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1


def test_what_the_file_does_not_say_is_asked_for(tmp_path: Path, capsys) -> None:
    assert run("import", tmp_path / "run", "--import_from", str(FILE)) == 2
    error = capsys.readouterr().err
    assert (
        "set model.num_heads or model.attention_head_dim, sde.schedule, sde.num_scales, "
        "model.rescale_timesteps, data.image_size, model.text_heads (" in error
    )
    assert error.count("\n") == 1


def shapes() -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in torch_files.read(FILE).items()}


@pytest.mark.parametrize("channels", [6, 7], ids=["upsampler", "inpainting"])
def test_a_text_beside_pictures_is_refused(channels: int) -> None:
    found = layout.infer({**shapes(), "input_blocks.0.0.weight": (32, channels, 3, 3)})
    assert "pictures beside a text" in found.unknown
    assert not found.settings


def test_texts_are_not_standardized() -> None:
    config = schema.get_default()
    told = layout.infer(shapes()).settings
    config.update_from_flattened_dict({**told, **UNSAID, "model.attn_resolutions": (4,)})
    config.data.condition_codec = "standardize"
    with pytest.raises(ValueError, match=r"data\.condition_codec must be identity"):
        Experiment.of(config)
