"""Configs of arrays: each passes the schema and has the data that it names."""

from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

import data_lib
from configs import command_line, sbi, schema
from configs.recorded import Recorded
from data_lib import codec
from modes.experiment import Experiment
from modes.from_data import resolved
from train_lib import feed
from train_lib.step import update

FOLDER = Path(schema.__file__).parent
CONFIGS = {
    "arrays": ("breast_cancer", "auto", "none"),
    "fields": ("gaussian_fields", "unet", "image"),
    "sbi": ("simulations", "mlp", "vector"),
    "series": ("signals", "unet", "vector"),
    "series:transformer": ("signals", "transformer", "vector"),
    **{f"sbi:{task}": ("simulations", "mlp", "vector") for task in sbi.TASKS},
}
"""Config -> its data, its network and the kind of its condition."""


def load(name, **settings):
    stem, _, argument = name.partition(":")
    return command_line.load(f"{FOLDER / stem}.py:{argument}", settings)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_and_its_smoke_variant_are_of_its_data_network_and_condition(name):
    for config in (load(name), load(f"{name}{',' if ':' in name else ':'}smoke")):
        schema.check(config)
        found = config.data.dataset, config.model.name, config.model.condition
        assert found == CONFIGS[name]
        assert config.data.codec != "levels"
        assert (config.data.random_flip, config.data.uniform_dequantization) == (False, False)
        assert (config.eval.units, config.sde.name) == ("nats", "edm")
        assert config.training.n_iters % config.training.eval_freq == 0
    assert config.training.n_iters == 8


@pytest.mark.parametrize("name", [n for n in CONFIGS if n != "sbi:bernoulli_glm"])
def test_the_data_of_a_config_are_there_without_a_file_and_fit_it(name):
    config = load(name, **{"data.simulations": "50"})
    splits = data_lib.load(config.data, log=lambda message: None)
    shape = splits.train.pixels.shape[1:]
    assert config.data.shape in (shape, (0,))
    assert (splits.train.condition is not None) == (config.model.condition != "none")
    if config.data.codec == "bounded":
        codec.check_rows(config.data, shape[-1])


TINY = {
    "data.simulations": "40",
    "model.nf": "4",
    "model.num_res_blocks": "1",
    "training.batch_size": "4",
    "optim.warmup": "0",
}
# Name -> further settings. Those of arrays.py itself are trained in tests/modes/test_arrays.py.
UPDATED: dict[str, dict[str, str]] = {
    "sbi:slcp": {},
    "fields": {"data.shape": "8,8,2"},
    "series": {"data.shape": "32,2", "model.ch_mult": "1,1"},
    "series:transformer": {"data.shape": "32,2", "model.nf": "8"},
}


@pytest.mark.parametrize("name", UPDATED)
def test_a_config_is_built_plans_its_sampler_and_takes_an_update(name, tmp_path):
    """With what `--mode train` makes of it and of its data."""
    asked = Recorded.of(load(name, **TINY | UPDATED[name]))
    splits = data_lib.load(asked.data, log=lambda message: None)
    config, _ = resolved(asked, tmp_path, lambda line: None, splits)
    experiment = Experiment.of(config)
    assert experiment.shape == splits.train.pixels.shape[1:]
    plan = experiment.sampler.plan(experiment.followed(experiment.score), experiment.times)
    assert plan.nfe == 2 * 32  # the denoising to 0 is one more
    batch = next(iter(feed.training_batches(splits.train, config, 0)))
    assert np.abs(batch["image"]).max() < 30  # standard deviations
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        before = experiment.init_state()
        after, metrics = jax.jit(partial(update, experiment.recipe))(before, batch)
    assert np.isfinite(metrics.loss)
    # Of standardized data, by EDM's weighting and a network that starts at zero: about 1.
    assert 0.1 < float(metrics.loss) < 10
    assert float(metrics.grad_norm) > 0
    moved = jax.tree.map(lambda a, b: float(abs(a - b).max()), before.params, after.params)
    assert max(jax.tree.leaves(moved)) > 1e-5
    assert int(after.step) == 1


@pytest.mark.parametrize("task", sbi.TASKS)
def test_a_task_fits_its_simulator_and_its_prior(task):
    config = load(f"sbi:{task}", **{"data.simulations": "2000"})
    assert config.data.task == task
    assert config.data.codec == ("bounded" if sbi.TASKS[task].box else "standardize")
    if task not in data_lib.simulators.SIMULATORS:
        return
    theta = data_lib.load(config.data, log=lambda message: None).train.pixels
    if config.data.codec == "bounded":
        # 1,800 uniform draws come within a hundredth of each end, but for 1 in 10,000 seeds
        np.testing.assert_allclose(theta.min(axis=0), config.data.low, rtol=0.02)
        np.testing.assert_allclose(theta.max(axis=0), config.data.high, rtol=0.02)
        z = codec.build(config.data).encode(theta)
        assert np.abs(z.std(axis=0) - 1).max() < 0.1  # model.sigma_data; 1 / sqrt(3,600) each


def test_the_bend_of_a_box_is_as_narrow_as_its_task_asks():
    """The narrower half of gaussian_mixture is 0.1 wide in a box of 20; a longer run has a longer
    average."""
    wide, narrow = load("sbi:slcp"), load("sbi:gaussian_mixture")
    for config, edge, rate in ((wide, 0.05, 0.999), (narrow, 0.02, 0.9995)):
        assert (config.data.edge, config.model.ema_rate) == (edge, rate)
    assert narrow.training.n_iters == 3 * wide.training.n_iters


@pytest.mark.parametrize("name, eta", [("inverse_digits", 1), ("inverse_digits:conditional", 0)])
def test_steps_have_noise_where_the_network_is_not_told_of_the_measurement(name, eta):
    assert load(name).sampling.eta == eta


def test_a_variant_after_a_task_keeps_the_task():
    assert load("sbi:slcp,smoke").data.task == "slcp"


def test_a_file_of_simulations_needs_its_folder_alone(tmp_path):
    np.savez(tmp_path / "bernoulli_glm.npz", theta=np.eye(20)[:, :10], x=np.eye(20)[:, 10:])
    config = load("sbi:bernoulli_glm", **{"data.data_dir": str(tmp_path)})
    splits = data_lib.load(config.data, log=lambda message: None)
    assert len(splits.train) + len(splits.test) == 20
    assert splits.train.condition.shape[1:] == (10,)


def test_names_of_columns_and_tasks_are_given_on_the_command_line():
    config = load("arrays", **{"data.dataset": "table", "data.columns": 'a,"b, c"'})
    assert config.data.columns == 'a,"b, c"'
    with pytest.raises(ValueError, match=r"data\.task must be a name of letters"):
        load("sbi", **{"data.task": "../two_moons"})
