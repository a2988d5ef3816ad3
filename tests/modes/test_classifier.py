"""A classifier through the commands: trained, logged, loaded, and refused where none is of use."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import main
import models
from modes import model
from modes.classifier import load_classifier
from runtime_lib.workdir import WorkdirError
from sde_lib import VE
from tests import tiny


class TinyClassifier(nn.Module):
    """One layer."""

    @nn.compact
    def __call__(self, x, label, condition=None, *, train=False):
        h = nn.Dense(10)(x.reshape(x.shape[0], -1))
        return h + nn.Dense(10)(label[:, None])


SETTINGS = {
    "model.name": "tiny_classifier",
    "training.objective": "classification",
    "training.time_law": "uniform",
    "optim.warmup": 0,
    "optim.lr": 0.02,
    "training.n_iters": 60,
    "training.batch_size": 64,
    "training.log_freq": 30,
    "training.eval_freq": 60,
    "training.snapshot_freq": 60,
    "training.snapshot_freq_for_preemption": 60,
    "training.snapshot_sampling": False,
}


def command(mode, folder, **settings):
    given = {**SETTINGS, **{name.replace("__", "."): value for name, value in settings.items()}}
    run = ["--config", f"{tiny.CONFIG}:smoke", "--mode", mode, "--workdir", str(folder)]
    return [*run, *(f"--config.{name}={value}" for name, value in given.items())]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    models.CLASSIFIERS["tiny_classifier"] = lambda config: TinyClassifier()
    made = tmp_path_factory.mktemp("classifier") / "run"
    with jax.numpy_dtype_promotion("standard"):  # as main.py runs
        assert main.main(command("train", made)) == 0
    yield made
    del models.CLASSIFIERS["tiny_classifier"]


def test_loss_and_accuracy_are_logged_by_noise_level_and_held_out(folder):
    lines = [json.loads(line) for line in (folder / "logs/metrics.jsonl").read_text().splitlines()]
    trained = [line for line in lines if "train_loss" in line]
    assert trained[-1]["train_loss"] < 2.3  # ln 10 is chance
    by_time = list(trained[-1]["accuracy_by_time"].values())
    assert len(by_time) == 8
    assert by_time[0] > 0.4 > by_time[-1]
    number = np.mean(by_time)
    assert trained[-1]["accuracy"] == pytest.approx(number, abs=0.03)  # ranges differ by a draw
    (held,) = [line for line in lines if "eval_loss" in line]
    assert 0.1 < held["eval_accuracy"] < 0.8


def test_parts_of_a_batch_are_measured_together(folder, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    settings = {"training__n_iters": 1, "training__log_freq": 1, "training__eval_freq": 0}
    with jax.numpy_dtype_promotion("standard"):
        assert main.main(command("train", one, **settings)) == 0
        assert main.main(command("train", two, training__accumulate=2, **settings)) == 0
    for run in (one, two):
        (line,) = (run / "logs/metrics.jsonl").read_text().splitlines()
        found = json.loads(line)
        assert found["accuracy"] * 64 == pytest.approx(round(found["accuracy"] * 64), abs=1e-4)


def test_it_is_loaded_by_its_folder(folder, capsys):
    found = load_classifier(folder, shape=(8, 8, 1), classes=10)
    assert "classifier of 10 classes, step 60" in capsys.readouterr().out
    x, t = jnp.zeros((2, 8, 8, 1)), jnp.array([0.1, 0.5])
    log_probs = jnp.stack([found.log_prob(x, t, jnp.full(2, k)) for k in range(10)])
    np.testing.assert_allclose(jnp.exp(log_probs).sum(0), 1.0, rtol=1e-5)
    gradient = jax.grad(lambda x: found.log_prob(x, t, jnp.zeros(2, int)).sum())(x)
    assert float(jnp.abs(gradient).max()) > 0
    assert isinstance(load_classifier(folder, VE()).sde, VE)


def test_what_does_not_fit_it_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="knows 10 classes, and the model has 11"):
        load_classifier(folder, classes=11)
    with pytest.raises(ValueError, match=r"classifies .*, and the examples are"):
        load_classifier(folder, shape=(4, 4, 1))
    with pytest.raises(WorkdirError, match="holds no trained classifier"):
        load_classifier(tmp_path)
    with pytest.raises(WorkdirError, match="holds a classifier, which draws no samples"):
        model.load(folder)


@pytest.mark.parametrize("mode", ["sample", "likelihood", "eval", "encode", "samplers"])
def test_modes_of_models_of_the_data_say_that_it_is_none(folder, capsys, mode):
    assert main.main(command(mode, folder)) == 2
    told = capsys.readouterr().err
    assert f"--mode {mode} needs a model of the data" in told
    assert len(told.splitlines()) == 1


def test_a_model_of_the_data_is_no_classifier(tmp_path):
    tiny.register()
    with jax.numpy_dtype_promotion("standard"):  # as main.py runs
        assert main.main(tiny.arguments("train", tmp_path / "run", training__n_iters=1)) == 0
    del models.NETWORKS["tiny"]
    with pytest.raises(WorkdirError, match=r"holds a model of the data, model.name='tiny', and no"):
        load_classifier(tmp_path / "run")
