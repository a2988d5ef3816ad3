"""Cascades: a stage that draws coarse pictures, and one that makes them fine."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

import main
from configs import cascade_digits
from configs.changed import with_settings
from modes.generator import NOTHING, make_generator
from modes.model import load
from modes.sample import _beside
from modes.stages import Handed, _ending, _passed
from sde_lib.coarse import COARSE_SCHEDULES
from sde_lib.measurements.masks import Mask
from tests import stored
from tests.modes import known
from tests.slow import but_slow, slow

pytestmark = pytest.mark.usefixtures("as_main_runs")
CONFIG = Path(__file__).parents[2] / "configs" / "cascade_digits.py"
TINY = {"model.nf": 8, "model.ch_mult": "(1,)", "model.attn_resolutions": "()",
        "training.n_iters": 4, "training.snapshot_sampling": False, "sampling.predictor": "ddim",
        "sampling.num_steps": 2, "sampling.batch_size": 4}  # fmt: skip
OF_MODES = {"sample": {"sampling.num_samples": 5}, "eval": {"eval.num_samples": 6},
            "samplers": {"eval.num_samples": 6}}  # fmt: skip


class Cascade(NamedTuple):
    """Workdirs of both stages."""

    base: Path
    upsample: Path


def run(variant: str, mode: str, folder: Path, **settings: object) -> int:
    given = (
        TINY
        | OF_MODES.get(mode, {})
        | {name.replace("__", "."): value for name, value in settings.items()}
    )
    texts = [f"--config.{name}={value}" for name, value in given.items()]
    place = ["--config", f"{CONFIG}:{variant},smoke", "--mode", mode, "--workdir", str(folder)]
    return main.main([*place, *texts])


@pytest.fixture(scope="module")
def cascade(tmp_path_factory: pytest.TempPathFactory, as_main_runs: None) -> Cascade:
    folder = tmp_path_factory.mktemp("cascade")
    found = Cascade(folder / "base", folder / "upsample")
    assert run("base", "train", found.base) == 0
    assert run("upsample", "train", found.upsample) == 0
    return found


def samples(folder: Path) -> dict[str, np.ndarray]:
    return stored.arrays(folder / "samples" / "samples.npz")


def test_a_chain_draws_each_stage_once_and_tells_what_it_handed_on(cascade, capsys) -> None:
    base, upsample = cascade
    assert run("upsample", "sample", upsample, sampling__base=base) == 0
    found = samples(upsample)
    assert found["samples"].shape == (5, 8, 8, 1)
    assert found["coarse"].shape == (5, 4, 4, 1)
    report = json.loads((upsample / "samples" / "samples.json").read_text())
    assert (report["base"]["stage"], report["base"]["seed"]) == (0, 42)
    # Neither the batch nor another level draws the first stage again, or changes it.
    made = sorted((upsample / "stages").rglob("0*.npz"))
    before = [path.stat().st_mtime_ns for path in made]
    other = {"sampling__coarse_level": 0.7, "sampling__batch_size": 3}
    assert run("upsample", "sample", upsample, sampling__base=base, **other) == 0
    again = samples(upsample)
    np.testing.assert_array_equal(again["coarse"], found["coarse"])
    np.testing.assert_array_equal(again["labels"], found["labels"])
    assert np.abs(again["samples"] - found["samples"]).max() > 1e-4
    assert [path.stat().st_mtime_ns for path in made] == before
    # In Python, given these coarse pictures and classes, the samples are the same.
    model = load(upsample, {"sampling.coarse_level": 0.7}, lambda line: None)
    same = model.sample(5, coarse=found["coarse"], labels=found["labels"].tolist())
    np.testing.assert_allclose(same, again["samples"], atol=1e-5)


def test_captions_of_an_earlier_stage_are_beside_the_samples() -> None:
    pictures = Handed(np.zeros((4, 4, 4, 1)), (), False, {}, np.asarray(["a", "b"]))
    assert _beside(NOTHING, pictures, 4)["captions"].tolist() == ["a", "b"]
    own = replace(NOTHING, captions=np.asarray(["c"]))
    assert _beside(own, pictures, 4)["captions"].tolist() == ["c"]
    assert "captions" not in _beside(NOTHING, None, 4)


def test_an_earlier_stage_has_noise_of_its_own(cascade) -> None:
    base, upsample = cascade
    assert run("base", "sample", base) == 0
    assert run("upsample", "sample", upsample, sampling__base=base) == 0
    assert np.abs(samples(base)["samples"] - samples(upsample)["coarse"]).max() > 0.1


def test_a_file_of_coarse_pictures_is_given_in_turn(cascade, tmp_path) -> None:
    low = np.linspace(0, 1, 32).reshape(2, 4, 4, 1).astype(np.float32)
    np.savez(tmp_path / "low.npz", samples=low, range=np.asarray([0.0, 1.0]))
    settings = {"sampling__base": tmp_path / "low.npz", "sampling__labels": (3,)}
    assert run("upsample", "sample", cascade.upsample, **settings) == 0
    np.testing.assert_array_equal(samples(cascade.upsample)["coarse"], low[[0, 1, 0, 1, 0]])


def test_the_level_that_is_told_changes_what_is_drawn(cascade) -> None:
    """A stage that ignores its level is a bug: only the level differs, not the picture."""
    made = load(cascade.upsample, log=lambda line: None)
    leaves, tree = jax.tree.flatten(made.score.params)
    keys = jax.random.split(jax.random.key(0), len(leaves))
    # Fresh networks give nearly nothing, whatever they are told.
    moved = [x + 0.1 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    score = made.score.with_params(jax.tree.unflatten(tree, moved))
    x, image = jax.random.normal(jax.random.key(1), (2, 1, 8, 8, 1))
    told = lambda s: {"image": image, "level": jnp.full(1, s)}
    denoise = jax.jit(lambda s: score.denoise(x, jnp.full(1, 0.5), told(s)))
    found = [denoise(s) for s in (0.1, 0.12, 0.9)]
    assert np.abs(found[0] - found[1]).max() > 1e-4
    assert np.abs(found[0] - found[2]).max() > 1e-3


def test_a_stage_is_measured_on_real_coarse_pictures_and_in_the_chain(cascade) -> None:
    metrics = {"eval__metrics": "fid", "eval__held_out": False}
    numbers = []
    for settings in ({}, {"sampling__base": cascade.base}):
        assert run("upsample", "eval", cascade.upsample, **metrics, **settings) == 0
        report = cascade.upsample / "evaluation" / "report" / "report.json"
        numbers.append(json.loads(report.read_text())["cells"][0]["metrics"])
    assert set(numbers[0]) == {"fid", "coarse_error", "psnr"}
    assert set(numbers[1]) == {"fid", "coarse_error"}
    assert numbers[0]["coarse_error"]["mean"] != numbers[1]["coarse_error"]["mean"]


def test_the_chain_is_compared_at_several_levels(cascade) -> None:
    levels = {"eval__samplers": "ddim coarse_level=0; ddim coarse_level=0.6",
              "eval__sampler_nfe": "(3,)"}  # fmt: skip
    assert run("upsample", "samplers", cascade.upsample, sampling__base=cascade.base, **levels) == 0
    table = json.loads((cascade.upsample / "comparison" / "table.json").read_text())
    assert len({cell["distance"] for cell in table["cells"]}) == 2
    assert table["base"]["stage"] == 0


def test_the_likelihood_is_that_given_the_coarse_picture(cascade, capsys) -> None:
    few = {"eval__num_images": 2, "eval__likelihood": "bound", "eval__bound_draws": 2}
    assert run("upsample", "likelihood", cascade.upsample, **few) == 0
    report = cascade.upsample / "likelihood" / "likelihood.json"
    assert json.loads(report.read_text())["coarse_level"] == 0.1
    assert "given its own coarse picture with noise of level 0.1" in capsys.readouterr().out


REFUSED = {
    "no stage": ({}, "must be the workdir of the stage that draws coarse pictures, or a file of"),
    "another size": (
        {"sampling__base": "{upsample}"},
        "draws pictures of 8x8x1, and the coarse pictures of the stage after it are of 4x4x1",
    ),
    "nothing there": ({"sampling__base": "nowhere"}, "sampling.base: nowhere holds no trained mod"),
    "a level that was not trained": (
        {"sampling__base": "{base}", "training__coarse_level": 0.05}, "at most training.coarse_l"
    ),
    "truncated after the filter": (
        {"sampling__base": "{base}", "sampling__base_truncated": True},
        "needs data.coarse_noise='coarse'",
    ),
    "truncated without a stage": ({"sampling__base_truncated": True}, "needs sampling.base"),
    "a condition": ({"sampling__condition": "x.npy"}, "sampling.condition must be empty"),
    "a condition that no stage takes": (
        {"sampling__base": "{base}", "sampling__condition": "x.npy"},
        "sampling.condition must be empty: no stage of the cascade takes it",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_stages_that_do_not_fit_are_refused_in_one_line(cascade, case, capsys) -> None:
    settings, told = REFUSED[case]
    named = {key: str(value).format(**cascade._asdict()) for key, value in settings.items()}
    capsys.readouterr()
    assert run("upsample", "sample", cascade.upsample, **named) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert told in error[-1]


def test_a_base_has_no_stage_before_it(cascade, capsys) -> None:
    assert run("base", "sample", cascade.base, sampling__base=cascade.base) == 2
    assert "sampling.base must be empty for a model without data.coarse" in capsys.readouterr().err
    with pytest.raises(ValueError, match="coarse must be left out for a model without data"):
        load(cascade.base, log=lambda line: None).sample(1, coarse=np.zeros((2, 2, 1)))


def test_a_truncated_stage_ends_at_the_level_of_the_next_one(cascade) -> None:
    """Its pictures are alpha(s) x_0 + sigma(s) n, those that the next stage was trained with."""
    model = load(cascade.base, log=lambda line: None)
    own = load(cascade.upsample, {"sampling.coarse_level": 0.4}, lambda line: None)
    generator = make_generator(model.experiment, model.score)
    coarse = own.experiment.recipe.coarse
    assert coarse is not None
    ended, factor = _ending(generator, coarse, model.experiment)
    alpha, sigma = (float(c[0]) for c in COARSE_SCHEDULES["cosine"](jnp.asarray([0.4])))
    t = ended.times[-1]
    sde = model.score.sde
    assert factor * float(sde.alpha(t)) == pytest.approx(alpha, rel=1e-4)
    assert factor * float(sde.sigma(t)) == pytest.approx(sigma, rel=1e-4)
    assert not ended.denoise
    assert (np.diff(ended.times) < 0).all()


def test_a_setting_goes_to_the_stages_that_take_it() -> None:
    """condition: a stage with `names` takes it; one before is given it, if none after it did."""
    data = lambda **own: ConfigDict({"condition": (), **own})
    taking = SimpleNamespace(
        sampling={"condition": "c.npy"}, model=ConfigDict({"condition": "vector"}), data=data()
    )
    coarse = SimpleNamespace(
        sampling={"condition": "c.npy"}, model=ConfigDict({"condition": "image"}),
        data=data(coarse=(2,)),
    )  # fmt: skip
    assert _passed("condition", taking, coarse, []) == ""
    assert _passed("condition", coarse, taking, []) == "c.npy"
    assert _passed("condition", coarse, coarse, [Path("earlier")]) == "c.npy"
    assert _passed("condition", taking, coarse, [Path("earlier")]) == ""
    with pytest.raises(ValueError, match="no stage of the cascade takes it"):
        _passed("condition", coarse, coarse, [])


@pytest.fixture(scope="module")
def known_stage() -> tuple[ConfigDict, np.ndarray, np.ndarray]:
    """(a config of the second stage, coarse pictures, and m, what they are in its network)."""
    told = {"data.coarse_filter": "nearest", "sampling.coarse_level": 0.0}
    config = with_settings(cascade_digits.get_config("upsample,smoke"), told)
    low = np.random.default_rng(0).random((4, 4, 4, 1), np.float32)
    return config, low, np.kron(2 * low - 1, np.ones((1, 2, 2, 1), np.float32))


SLOW = (
    *known.LONG, "fixed steps", "multistep", "steps of an SDE", "worse model", "first channels",
    "embedded",
)  # fmt: skip


@pytest.mark.parametrize("case", but_slow(known.CASES, *SLOW))
def test_any_sampler_and_guidance_draws_a_stage(known_stage, case) -> None:
    """Five deviations of 256 numbers each, and a hundredth for finite steps."""
    config, low, m = known_stage
    row = known.CASES[case]
    made, labels = row.model(config), (0, 1, 0, 1)
    wanted = row.drawn(made, m, labels)
    x = 2 * made.sample(4, coarse=low, labels=labels) - 1
    np.testing.assert_allclose(x, wanted, atol=5 * known.DEVIATION)
    along = np.sum((x - wanted) * wanted) / np.sqrt(np.sum(wanted**2) * np.sum(m**2))
    assert abs(along) < 0.03


@slow
def test_thresholded_guidance_draws_a_stage(known_stage) -> None:
    """3 m, divided by the largest of its absolute values in a picture."""
    config, low, m = known_stage
    row = known.guided("thresholded", 1.0, 3.0, guidance_quantile=1.0)
    wanted = 3 * m / np.maximum(1, np.abs(3 * m).max((1, 2, 3), keepdims=True))
    x = 2 * row.model(config).sample(4, coarse=low) - 1
    np.testing.assert_allclose(x, wanted, atol=5 * known.DEVIATION)


@slow
def test_a_function_of_pictures_leads_a_stage(known_stage) -> None:
    """The law times exp(a sum x) is the same law, a times the variance of x away."""
    config, low, m = known_stage
    variance = (known.DEVIATION / 2) ** 2
    x = known.led(config, 0.25 / variance, num_steps=60).sample(4, coarse=low)
    np.testing.assert_allclose(x, (m + 1) / 2 + 0.25, atol=5 * known.DEVIATION)


INVERSE = {
    "dps": known.inverse("dps") | known.DDIM,
    "red_diff": known.inverse("red_diff", lr=0.05),
    "mmps": known.inverse("mmps"),
    "diffpir": known.inverse("diffpir") | known.DDIM,
    "projection": known.inverse("projection") | known.DDIM,
    "repaint": known.inverse("repaint", jump_length=2, jump_n_sample=2) | known.ANCESTRAL,
    "ddrm": known.inverse("ddrm"),
    "daps": known.inverse("daps"),
    "tds": known.inverse("tds") | known.ANCESTRAL,
    "fps": known.inverse("fps"),
}


@pytest.mark.parametrize("case", but_slow(INVERSE, *(set(INVERSE) - {"dps", "red_diff"})))
def test_any_inverse_method_is_given_a_coarse_picture(known_stage, case) -> None:
    """The known half is half a unit above the coarse picture, to which the other half keeps.

    Exactly the posterior is 0.45 above; the least of the methods, with its defaults, 0.36.
    """
    config, low, m = known_stage
    own = {"model.sigma_data": 0.3, "sampling.batch_size": 16, **INVERSE[case]}
    y = (((m + 1) / 2 + 0.5) * known.LEFT).astype(np.float32)
    made = known.model(config, own)
    found = made.reconstruct(y, Mask(known.LEFT), 16, noise=0.05, coarse=low)
    apart = found.mean(axis=1) - (m + 1) / 2
    assert 0.34 < apart[:, :, :4].mean() < 0.51
    assert abs(apart[:, :, 4:].mean()) < 0.02


def test_an_inverse_method_and_an_edit_are_given_coarse_pictures(cascade, tmp_path) -> None:
    low = np.full((2, 4, 4, 1), 0.5, np.float32)
    np.savez(tmp_path / "low.npz", samples=low, range=np.asarray([0.0, 1.0]))
    few = {"eval__num_images": 2, "sampling__labels": (3,)}
    inverse = {"inverse__measure": "inpaint", "inverse__mask": "left", "inverse__samples": 1}
    base = {"sampling__base": tmp_path / "low.npz", "inverse__method": "pigdm"}
    assert run("upsample", "reconstruct", cascade.upsample, **few, **inverse, **base) == 0
    found = stored.arrays(cascade.upsample / "reconstructions" / "reconstructions.npz")
    assert np.isfinite(found["samples"]).all()
    assert run("upsample", "edit", cascade.upsample, **few) == 0
    edits = stored.arrays(cascade.upsample / "edits" / "edits.npz")
    assert all(np.isfinite(rows).all() for rows in edits.values() if rows.dtype.kind == "f")
