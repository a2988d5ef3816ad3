"""The table of samplers: every cell once, kept over kills, and readable."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

import main
import models
from data_lib.codec import GrayLevels
from modes import samplers
from tests import tiny

TABLE = "ddim; heun grid=log_snr; ode rtol=0.1 atol=0.1; rk4"


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    tiny.register()
    folder = tmp_path_factory.mktemp("compare") / "run"
    with jax.numpy_dtype_promotion("standard"):  # optax takes powers of Python and int32 numbers
        assert main.main(tiny.arguments("train", folder, training__n_iters=2)) == 0
    yield folder
    del models.NETWORKS["tiny"]


def run(workdir, **settings):
    given = {"eval__num_samples": 6, "eval__samplers": TABLE, "eval__sampler_nfe": "(4, 9)"}
    given |= {"sampling__num_steps": 0}
    return main.main(tiny.arguments("samplers", workdir, **given | settings))


def test_every_sampler_is_run_at_every_budget(workdir, capsys):
    assert run(workdir) == 0
    folder = workdir / "comparison"
    report = json.loads((folder / "table.json").read_text())
    cells = [(c["sampler"], c["budget"], c["nfe"]) for c in report["cells"]]
    assert cells[:4] == [
        ("ddim", 4, 4), ("ddim", 9, 9), ("heun grid=log_snr", 4, 3), ("heun grid=log_snr", 9, 9),
    ]  # fmt: skip
    assert cells[4][:2] == ("ode rtol=0.1 atol=0.1", 0)
    assert cells[4][2] > 6
    assert cells[5:] == [("rk4", 9, 9)]
    assert "rk4: 4 evaluations per sample are too few" in capsys.readouterr().out
    assert (folder / "table.md").read_text().count("\n| ") == 1 + len(cells)
    for name in ("quality.png", "pictures.png"):
        with Image.open(folder / name) as picture:
            assert min(picture.size) > 200


def test_finished_cells_are_kept_and_belong_to_their_settings(workdir, monkeypatch):
    assert run(workdir) == 0
    drawn = []
    draw = samplers._draw

    def watched(experiment, *others):
        drawn.append(experiment.config.sampling.predictor)
        return draw(experiment, *others)

    monkeypatch.setattr(samplers, "_draw", watched)
    assert run(workdir) == 0
    assert drawn == []
    assert run(workdir, sampling__rho=5.0, eval__samplers="ddim", eval__sampler_nfe="(4,)") == 0
    assert drawn == ["ddim"]
    next(iter((workdir / "comparison" / "cells").glob("ddim_4.npz"))).write_bytes(b"damaged")
    assert run(workdir, sampling__rho=5.0, eval__samplers="ddim", eval__sampler_nfe="(4,)") == 0
    assert drawn == ["ddim", "ddim"]


def test_a_row_says_what_was_run(workdir, monkeypatch):
    """Its own length, however the budgets are; and how many images came to nothing."""
    draw = samplers._draw

    def spoiled(experiment, *others):
        images, nfe, speed = draw(experiment, *others)
        if experiment.config.sampling.predictor == "ddim":
            images = images.copy()
            images[1, 0, 0] = np.nan
        return images, nfe, speed

    monkeypatch.setattr(samplers, "_draw", spoiled)
    table = "heun nfe=6; ddim nfe=5 eta=+0.5; ddim nfe=5 eta=-0.5"
    assert run(workdir, eval__samplers=table, eval__sampler_nfe="(20,)") == 0
    folder = workdir / "comparison"
    lines = (folder / "table.md").read_text().splitlines()
    rows = [line.split(" | ") for line in lines if line.startswith("| ")][1:]
    assert [(row[0].strip("| "), row[1], row[3]) for row in rows] == [
        ("heun nfe=6", "5", "0"), ("ddim nfe=5 eta=+0.5", "5", "1"),
        ("ddim nfe=5 eta=-0.5", "5", "1"),
    ]  # fmt: skip
    # Each cell has files of its own.
    kept = sorted(path.name for path in (folder / "cells").glob("ddim_nfe*.npz"))
    assert kept == ["ddim_nfe=5_eta=+0.5_0.npz", "ddim_nfe=5_eta=-0.5_0.npz"]


BAD = [
    ({"eval__samplers": " ; "}, "eval.samplers must name at least one"),
    ({"eval__samplers": "heun karras"}, "key=value after them, got 'karras'"),
    ({"eval__samplers": "heunn"}, "did you mean 'heun'"),
    ({"eval__samplers": "heun gird=karras"}, "did you mean 'sampling.grid'"),
    ({"eval__samplers": "heun grid=carras"}, "did you mean 'karras'"),
    (
        {"eval__samplers": "ddim; heun order=3"},
        "eval.samplers, 'heun order=3': order changes nothing",
    ),
    ({"eval__samplers": "rk4; heun", "eval__sampler_nfe": "(2,)"}, "(2,) is too few for each"),
    ({"eval__num_samples": 1}, "one sample has no covariance, and so no Frechet distance"),
    ({"eval__sampler_nfe": "(4, -1)"}, "eval.sampler_nfe must be positive integers"),
]


@pytest.mark.parametrize("settings, message", BAD)
def test_bad_tables_are_one_line(workdir, capsys, settings, message):
    assert run(workdir, **settings) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_an_empty_workdir_is_said_to_be_one(workdir, tmp_path, capsys):
    assert run(tmp_path / "nothing") == 2
    assert "nothing" in capsys.readouterr().err


def test_pixel_distance_sees_what_changes_and_no_more():
    rng = np.random.default_rng(1)
    images = rng.uniform(size=(4000, 4, 4, 1)) * np.linspace(0.05, 1, 16).reshape(4, 4, 1)
    images = np.concatenate([images, np.zeros((4000, 4, 1, 1))], axis=2)  # pixels that never vary
    distance = samplers._distance(images, GrayLevels(False))
    assert distance(images) == pytest.approx(0, abs=1e-3)
    same = distance(images[rng.permutation(4000)[:2000]])
    assert same < distance(images * (images < 0.9))
    assert same < distance(0.9 * images)
    # What lies outside of [0, 1] is clipped, as it is when pictures are saved.
    assert distance(images + 5 * (images > 0.99)) == distance(images + (images > 0.99))
    spoiled = images.copy()
    spoiled[:40] = np.nan
    assert same < distance(spoiled) < np.inf
