"""The way of arrays through the modes: train, sample, evaluate, likelihood, codes, from Python."""

import contextlib
import io
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import main
from configs import arrays
from data_lib.codec import Standardize
from modes.model import Model, fit, load
from tests import stored
from tests.slow import but_slow

pytestmark = pytest.mark.usefixtures("as_main_runs")


RNG = np.random.default_rng(0)
SHAPES = [(12, 2), (5, 8, 2), (4, 4, 4, 1), (9, 7, 3)]
CONFIG = Path(__file__).parents[2] / "configs" / "arrays.py"


def save(folder: Path, **rows: np.ndarray) -> Path:
    path = folder / "data.npz"
    np.savez(path, **rows)
    return path


def run(mode: str, folder: Path, data: Path, **settings: object) -> int:
    given = {
        "data.dataset": "array",
        "data.data_dir": data,
        "model.nf": 16,
        "optim.schedule": "constant",
        "optim.warmup": 0,
    } | {name.replace("__", "."): value for name, value in settings.items()}
    texts = [f"--config.{name}={value}" for name, value in given.items()]
    place = ["--config", f"{CONFIG}:smoke", "--mode", mode, "--workdir", str(folder / "run")]
    return main.main([*place, *texts])


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory, as_main_runs: None) -> tuple[Path, Path]:
    """(folder, data) of a model of 3 numbers given 2, trained for some updates."""
    folder = tmp_path_factory.mktemp("vectors")
    condition = RNG.normal(size=(120, 2))
    data = condition @ RNG.normal(size=(2, 3)) * 5 + 100
    path = save(folder, data=data + RNG.normal(size=data.shape), condition=condition)
    assert run("train", folder, path, model__condition="vector") == 0
    return folder, path


def test_samples_of_several_conditions_are_together_and_in_the_units_of_the_data(vectors) -> None:
    folder, path = vectors
    np.save(folder / "two.npy", np.asarray([[0.0, 1.0], [np.nan, -1.0]]))
    two = {"sampling__condition": folder / "two.npy", "sampling__num_samples": 3}
    assert run("sample", folder, path, model__condition="vector", **two) == 0
    found = stored.arrays(folder / "run" / "samples" / "samples.npz")
    assert found["samples"].shape == (2, 3, 3)
    assert np.isfinite(found["samples"]).all()
    assert np.abs(found["samples"] - 100).max() < 100
    assert "range" not in found
    report = json.loads((folder / "run" / "samples" / "samples.json").read_text())
    assert report["conditions"] == 2
    # Sample k of a condition does not depend on how many there are.
    np.save(folder / "one.npy", np.asarray([0.0, 1.0]))
    model = load(folder / "run", log=lambda line: None)
    alone = model.sample(1, condition=np.asarray([0.0, 1.0]))
    np.testing.assert_allclose(alone[0], found["samples"][0, 0], rtol=1e-5)


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        (None, "sampling.condition must be a .npy or .npz file: the model is given a condition of"),
        (np.zeros(3), "sampling.condition must hold a condition of 2 features, or several"),
        (np.asarray([np.inf, 0.0]), "sampling.condition must hold finite numbers"),
        (np.asarray(["a", "b"]), "must be real numbers"),
    ],
)
def test_a_bad_condition_is_one_line(vectors, capsys, condition, told: str) -> None:
    folder, path = vectors
    given = {}
    if condition is not None:
        np.save(folder / "bad.npy", condition)
        given["sampling__condition"] = folder / "bad.npy"
    assert run("sample", folder, path, model__condition="vector", **given) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_the_posterior_is_evaluated_against_held_out_conditions(vectors) -> None:
    folder, path = vectors
    few = {"eval__num_samples": 24, "eval__conditions": 6, "sampling__batch_size": 24}
    metrics = {"eval__metrics": "sliced,marginals,crps,intervals"}
    assert run("eval", folder, path, model__condition="vector", **few, **metrics) == 0
    place = folder / "run" / "evaluation" / "report"
    report = json.loads((place / "report.json").read_text())
    (name,) = (name for name in report["numbers"] if name.startswith("step"))
    assert {"crps", "interval_90", "sliced_wasserstein"} <= set(report["numbers"][name])
    assert {"ranks.png", "coverage.png", "samples.png", "report.md"} <= {
        file.name for file in place.iterdir()
    }


def test_log_densities_are_of_the_data_as_given(vectors) -> None:
    folder, path = vectors
    few = {"eval__num_images": 4, "eval__trace": "exact"}
    assert run("likelihood", folder, path, model__condition="vector", **few) == 0
    report = json.loads((folder / "run" / "likelihood" / "likelihood.json").read_text())
    assert "bits_per_dim" not in report
    found = stored.arrays(folder / "run" / "likelihood" / "likelihood.npz")["log_prob"]
    model = load(folder / "run", {"eval.trace": "exact"}, log=lambda line: None)
    assert isinstance(model.codec, Standardize)
    rows = np.load(path)
    assert found.shape == (4, 1, 1)
    assert np.isfinite(found).all()
    with pytest.raises(ValueError, match=r"the model needs a condition|condition"):
        model.sample(2)
    x, condition = rows["data"][:4], rows["condition"][:4]
    own = model.log_prob(x, condition)
    assert own.shape == (4,)
    alone = [model.log_prob(x[k : k + 1], condition[k])[0] for k in range(4)]
    # The adaptive solver's tolerance: 1e-4 of a step.
    np.testing.assert_allclose(own, alone, atol=0.02)


def test_codes_are_decoded_again(vectors) -> None:
    folder, path = vectors
    few = {"eval__num_images": 4, "eval__rtol": 1e-6, "eval__atol": 1e-6}
    assert run("encode", folder, path, model__condition="vector", **few) == 0
    found = stored.arrays(folder / "run" / "latents" / "latents.npz")
    # Values of about 100 in float32.
    np.testing.assert_allclose(found["decoded"], found["images"], rtol=0, atol=5e-3)


@pytest.mark.parametrize(
    ("mode", "settings", "told"),
    [
        ("sample", {"sampling__labels": "3"}, "sampling.labels must be empty: the model has no"),
        ("eval", {"eval__samples": "x.npz"}, "eval.samples='x.npz' has no effect"),
        ("eval", {"eval__extractor": "pca"}, "eval.extractor='pca' has no effect"),
    ],
)
def test_a_setting_that_arrays_do_not_read_is_refused(
    vectors, capsys, mode, settings, told
) -> None:
    folder, path = vectors
    if mode == "sample":
        np.save(folder / "one.npy", np.zeros(2))
        settings = settings | {"sampling__condition": folder / "one.npy"}
    assert run(mode, folder, path, model__condition="vector", **settings) == 2
    assert told in capsys.readouterr().err


class Plain(NamedTuple):
    """A model of 2 numbers that is given none of the conditions beside them."""

    folder: Path
    data: Path
    said: str


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, as_main_runs: None) -> Plain:
    folder = tmp_path_factory.mktemp("plain")
    path = save(folder, data=RNG.normal(size=(40, 2)), condition=RNG.normal(size=(40, 3)))
    few = {"training__n_iters": 2, "training__eval_freq": 1, "training__snapshot_sampling": False}
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert run("train", folder, path, **few) == 0
    return Plain(folder, path, said.getvalue())


def test_a_condition_for_a_model_that_is_given_none_is_refused(plain, capsys) -> None:
    given = {"sampling__condition": plain.data}
    assert run("sample", plain.folder, plain.data, **given) == 2
    assert "sampling.condition must be empty: the model is given no" in capsys.readouterr().err


def test_what_is_asked_of_a_model_in_python_is_checked(vectors) -> None:
    model, quiet = load(vectors[0] / "run", log=lambda line: None), np.zeros(2)
    with pytest.raises(ValueError, match="the model needs a condition"):
        model.log_prob(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="the model is of examples of 3 features, those of x are"):
        model.log_prob(np.zeros((2, 4)), quiet)
    with pytest.raises(ValueError, match=r"sampling.labels must be empty"):
        model.sample(2, quiet, labels=(1,))
    with pytest.raises(ValueError, match=r"together=True needs several conditions"):
        model.sample(2, quiet, together=True)


def test_another_evaluation_sets_the_report_aside_and_the_same_one_replaces_it(vectors) -> None:
    folder, path = vectors
    few = {"eval__num_samples": 24, "eval__conditions": 4, "sampling__batch_size": 24}
    place = folder / "run" / "evaluation"
    for metrics in ("sliced", "marginals", "marginals"):
        asked = few | {"eval__metrics": metrics}
        assert run("eval", folder, path, model__condition="vector", **asked) == 0
    reports = [json.loads(p.read_text())["metrics"] for p in sorted(place.glob("report*/*.json"))]
    assert ["sliced"] in reports
    assert reports.count(["marginals"]) == 1


def test_several_observations_of_one_example_are_given_together(tmp_path, capsys) -> None:
    theta = RNG.normal(size=(200, 2))
    path = save(tmp_path, data=theta, condition=theta + 0.5 * RNG.normal(size=theta.shape))
    np.save(tmp_path / "seen.npy", np.asarray([[0.3, 0.1], [0.5, -0.2], [0.4, 0.0]]))
    of = {
        "model__condition": "vector",
        "training__n_iters": 4,
        "training__snapshot_sampling": False,
    }
    seen = {"sampling__condition": tmp_path / "seen.npy", "sampling__together": True}
    assert run("train", tmp_path, path, **of, model__condition_dropout=0.2) == 0
    assert run("sample", tmp_path, path, **of, model__condition_dropout=0.2, **seen) == 0
    samples = stored.arrays(tmp_path / "run" / "samples" / "samples.npz")["samples"]
    assert samples.shape == (4, 2)
    assert np.isfinite(samples).all()
    report = json.loads((tmp_path / "run" / "samples" / "samples.json").read_text())
    assert report["nfe"] % 4 == 0
    assert run("sample", tmp_path, path, **of, model__condition_dropout=0.2, **seen,
               sampling__guidance=2) == 2  # fmt: skip
    assert "sampling.guidance must be 1" in capsys.readouterr().err


def test_conditions_that_the_model_is_not_given_are_said_to_be_unused(plain) -> None:
    assert "the conditions of the data are not used, as model.condition" in plain.said


def test_names_of_columns_go_from_the_table_to_the_samples(tmp_path: Path) -> None:
    rows = RNG.normal(size=(60, 2)) * 2 + 30
    path = tmp_path / "table.csv"
    path.write_text("height,width\n" + "\n".join(f"{a},{b}" for a, b in rows) + "\n")
    few = {"data__dataset": "table", "training__n_iters": 1, "training__snapshot_sampling": False}
    assert run("train", tmp_path, path, **few) == 0
    assert run("sample", tmp_path, path, data__dataset="table", training__n_iters=1) == 0
    found = stored.arrays(tmp_path / "run" / "samples" / "samples.npz")
    assert found["names"].tolist() == ["height", "width"]
    assert found["samples"].shape[1:] == (2,)


def test_missing_values_are_masked_in_training_and_said_in_evaluation(tmp_path, capsys) -> None:
    x = RNG.normal(size=(80, 3)) * 4 + 1
    x[RNG.random(x.shape) < 0.2] = np.nan
    path = save(tmp_path, data=x)
    assert run("train", tmp_path, path) == 2
    assert "are not finite: mend them, or set data.missing=mask" in capsys.readouterr().err
    assert run("train", tmp_path, path, data__missing="mask") == 0
    assert run("sample", tmp_path, path, data__missing="mask") == 0
    samples = stored.arrays(tmp_path / "run" / "samples" / "samples.npz")["samples"]
    assert np.isfinite(samples).all()
    few = {"eval__num_samples": 8, "eval__metrics": "sliced"}
    assert run("eval", tmp_path, path, data__missing="mask", **few) == 0
    assert "have missing values and are left out" in capsys.readouterr().out


def test_samples_fill_in_the_values_that_are_missing(vectors, capsys) -> None:
    folder, path = vectors
    np.save(folder / "partial.npy", np.asarray([[100.0, np.nan, 99.0], [np.nan, np.nan, 101.0]]))
    np.save(folder / "one.npy", np.asarray([0.0, 1.0]))
    given = {"sampling__condition": folder / "one.npy", "model__condition": "vector"}
    given |= {"sampling__impute": folder / "partial.npy", "sampling__num_samples": 3}
    assert run("sample", folder, path, **given) == 0
    found = stored.arrays(folder / "run" / "samples" / "samples.npz")["samples"]
    assert found.shape == (2, 3, 3)
    np.testing.assert_array_equal(found[0][:, [0, 2]], [[100.0, 99.0]] * 3)
    np.testing.assert_array_equal(found[1][:, 2], [101.0] * 3)
    assert np.isfinite(found).all()
    for rows, told in (
        (np.zeros((2, 4)), "3 features"),
        (np.asarray([np.inf, 0.0, np.nan]), "finite numbers"),
        (np.asarray(["a", "b", "c"]), "cannot be read"),
    ):
        np.save(folder / "partial.npy", rows)
        capsys.readouterr()
        assert run("sample", folder, path, **given) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert "sampling.impute" in error
        assert told in error


@pytest.mark.parametrize("shape", but_slow(SHAPES, *SHAPES))
def test_any_shape_trains_and_is_sampled(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = save(tmp_path, data=RNG.normal(size=(24, *shape)).astype(np.float32))
    small = {"model__ch_mult": "1,1", "model__num_res_blocks": 1}
    more = {"training__n_iters": 2, "training__snapshot_sampling": False}
    assert run("train", tmp_path, path, **small, **more) == 0
    assert run("sample", tmp_path, path, **small, sampling__num_steps=2) == 0
    samples = stored.arrays(tmp_path / "run" / "samples" / "samples.npz")["samples"]
    assert samples.shape[1:] == shape


@pytest.mark.parametrize(
    ("rows", "settings", "told"),
    [
        ({"data": np.ones((20, 2))}, {}, "column 0 of the training data is always 1"),
        ({"data": np.ones((20, 2), complex)}, {}, "must be real numbers, got complex128"),
        ({"data": RNG.normal(size=(20, 2))}, {"data__codec": "levels"}, "must have shape [N, H"),
        ({"data": RNG.normal(size=(20, 2))}, {"data__shape": "3"}, "data.shape must be 2 as in"),
        ({"data": RNG.normal(size=(20, 2))}, {"data__random_flip": "True"}, "data.random_flip"),
        ({"data": RNG.normal(size=(20, 2)), "condition": np.ones((19, 2))}, {}, "must have a cond"),
    ],
)
def test_bad_arrays_are_one_line(tmp_path, capsys, rows, settings, told: str) -> None:
    assert run("train", tmp_path, save(tmp_path, **rows), **settings) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_bits_per_dimension_of_real_numbers_are_one_line(plain, capsys) -> None:
    assert run("likelihood", plain.folder, plain.data, eval__units="bits_per_dim") == 2
    error = capsys.readouterr().err
    assert "eval.units" in error
    assert error.count("\n") == 1


def test_from_python_data_go_in_and_a_model_comes_out(tmp_path: Path) -> None:
    x = RNG.normal(size=(60, 2)) * 3 + 10
    settings = {"training.n_iters": 3, "model.nf": 16, "model.num_res_blocks": 1}
    told = {
        "training.snapshot_sampling": False,
        "sampling.num_steps": 4,
        "optim.schedule": "constant",
        "optim.warmup": 0,
    }
    model = fit(x, workdir=tmp_path / "run", config=arrays.get_config("smoke"),
                settings=settings | told, log=lambda line: None)  # fmt: skip
    assert isinstance(model, Model)
    samples = model.sample(5, seed=1)
    assert samples.shape == (5, 2)
    np.testing.assert_array_equal(samples[:3], model.sample(3, seed=1, batch=3))
    assert np.abs(samples - 10).max() < 30
    again = load(tmp_path / "run", log=lambda line: None)
    np.testing.assert_array_equal(again.sample(5, seed=1), samples)
    with pytest.raises(ValueError, match="the model takes no condition"):
        model.sample(2, condition=np.zeros(2))


def test_a_model_is_given_several_kinds_of_condition_at_once(tmp_path: Path) -> None:
    data = RNG.normal(size=(120, 8))
    parts = {"condition_vector": RNG.normal(size=(120, 2)), "condition_image": data[:, ::2]}
    path = save(tmp_path, data=data, **parts)
    several = {"model__condition": "vector+image", "training__n_iters": 2}
    assert run("train", tmp_path, path, **several) == 0
    np.savez(tmp_path / "told.npz", condition_vector=np.zeros(2), condition_image=data[:3, ::2])
    few = {"sampling__num_samples": 2, "sampling__num_steps": 2, "sampling__batch_size": 6}
    given = {"sampling__condition": tmp_path / "told.npz", **few}
    assert run("sample", tmp_path, path, **several, **given) == 0
    found = stored.arrays(tmp_path / "run" / "samples" / "samples.npz")["samples"]
    assert found.shape == (3, 2, 8)
    with pytest.raises(ValueError, match=r"condition must have shape \(6,\)"):
        load(tmp_path / "run").sample(2, np.zeros(5))
