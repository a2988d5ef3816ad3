"""Settings that a command gives and nothing reads are refused, whatever their section."""

from __future__ import annotations

import numpy as np
import pytest

import main
from configs import defaults, schema
from configs.recorded import Recorded
from eval_lib.likelihood import estimators, evaluator
from eval_lib.likelihood.estimators import ESTIMATORS
from modes import reading
from sde_lib import VP
from tests import tiny

IDLE = {
    "a solver without noise": (
        "sample", {"sampling.predictor": "heun", "sampling.eta": 0.5},
        "sampling.eta=0.5 has no effect with sampling.predictor='heun'",
    ),
    "an order of a tableau": (
        "sample", {"sampling.predictor": "heun", "sampling.order": 3}, "sampling.predictor='heun'",
    ),
    "a grid without an exponent": (
        "sample", {"sampling.grid": "uniform", "sampling.rho": 3.0},
        "sampling.rho=3.0 has no effect with sampling.grid='uniform'",
    ),
    "no corrector": (
        "sample", {"sampling.corrector": "none", "sampling.pc_order": "nonsense"},
        "sampling.pc_order='nonsense' has no effect with sampling.corrector='none'",
    ),
    "no corrector, its step": (
        "train", {"sampling.corrector": "none", "sampling.snr": 0.1}, "sampling.corrector='none'",
    ),
    "steps beside a budget": (
        "sample", {"sampling.nfe": 9, "sampling.num_steps": 9}, "sampling.num_steps=9 has no",
    ),
    "no guidance": (
        "sample", {"sampling.guidance_kind": "none", "sampling.guidance_max": 9.0},
        "with sampling.guidance_kind='none'",
    ),
    "metrics in training": (
        "train", {"eval.metrics": "nonsense"}, "eval.metrics='nonsense' has no effect with --mode "
        "train",
    ),
    "an extractor for codes": ("encode", {"eval.extractor": "pca"}, "with --mode encode"),
    "probes of a bound": (
        "likelihood", {"eval.likelihood": "bound", "eval.num_probes": 3},
        "eval.num_probes=3 has no effect with eval.likelihood='bound'",
    ),
    "a filter of another network": (
        "train", {"model.name": "ddpm", "model.nf": 32, "model.fir": True},
        "model.fir=True has no effect with model.name='ddpm'",
    ),
    "bounds of another SDE": (
        "train", {"sde.name": "vp", "sde.sigma_max": 9.0},
        "sde.sigma_max=9.0 has no effect with sde.name='vp'",
    ),
    "a law's numbers": (
        "train", {"training.time_law": "uniform", "training.sigma_mean": 1.0},
        "training.sigma_mean=1.0 has no effect with training.time_law='uniform'",
    ),
    "two at once": (
        "sample", {"sampling.predictor": "heun", "sampling.eta": 0.5, "eval.split": "train"},
        "eval.split='train' has no effect with --mode sample",
    ),
    "samples of an export": ("export", {"sampling.num_samples": 3}, "with --mode export"),
}  # fmt: skip


@pytest.mark.parametrize("name", IDLE)
def test_a_setting_that_nothing_reads_is_an_error(tmp_path, capsys, name):
    mode, settings, words = IDLE[name]
    arguments = ["--config", str(tiny.CONFIG), "--mode", mode, "--workdir", str(tmp_path / "run")]
    if mode == "export":
        arguments += ["--export_to", str(tmp_path / "x"), "--export_as", "safetensors"]
    arguments += [f"--config.{key}={value}" for key, value in settings.items()]
    assert main.main(arguments) == 2
    told = capsys.readouterr().err
    assert words in told
    assert len(told.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_metrics_are_looked_up_before_anything_is_loaded(tmp_path, capsys):
    arguments = ["--config", str(tiny.CONFIG), "--mode", "eval", "--workdir", str(tmp_path / "run")]
    assert main.main([*arguments, "--config.eval.metrics=nonsense"]) == 2
    assert "eval.metrics must be one of" in capsys.readouterr().err


def test_every_listed_setting_and_every_choice_exists():
    for mode, names in reading.READS.items():
        for name in (*reading.OF_THE_RUN, *names):
            found = [key for key in defaults.SETTINGS if reading._matches(key, name)]
            assert found, (mode, name)
    for by, keys in defaults.CHOICES.items():
        assert by in defaults.SETTINGS
        assert all(f"{by.partition('.')[0]}.{key}" in defaults.SETTINGS for key in keys)
    modes = {row.removesuffix(" of arrays") for row in reading.READS}
    assert modes == set(main.MODES) - {"import"}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_likelihoods_are_told_apart_by_every_setting_that_they_read(name):
    config = schema.get_default()
    config.eval.likelihood, config.training.continuous = name, name != "discrete_bound"
    config = Recorded.of(config)
    estimators.build(config, VP(), 256, (np.zeros(1), np.ones(1)))
    read = {key.removeprefix("eval.") for key in config.record.names if key.startswith("eval.")}
    assert read <= set(evaluator.SETTINGS)
    assert len(set(evaluator.SETTINGS)) == len(evaluator.SETTINGS)


def test_a_record_has_what_is_asked_for_by_name_and_no_more():
    config = Recorded.of(schema.get_default())
    schema.check(config)
    copy, flat = config.copy_and_resolve_references(), schema.flatten(config)
    assert config.record.names == set()
    assert copy.sampling.eta == flat["sampling.eta"]
    assert config.record.names == set()
    assert config.sampling.eta == config["sampling"]["eta"] == config.get("sampling").get("eta")
    assert config.seed == 42
    assert config.record.names == {"sampling.eta", "seed"}
    assert config.is_locked
    assert schema.flatten(copy) == flat
