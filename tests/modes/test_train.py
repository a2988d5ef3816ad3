"""The parts of the training loop; whole runs are in tests/test_main.py."""

import os
import signal
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from data_lib import Images, Splits
from runtime_lib import sharding, signals
from tests.train_lib.test_step import RECIPE, NoNoise, fresh
from train_lib import feed, held_out, meter, periods
from train_lib.buckets import COUNT, Buckets
from train_lib.guard import all_finite
from train_lib.step import Metrics


@pytest.mark.parametrize(
    "step, total, every, expected",
    [
        (0, 100, (10, 7), 7),
        (7, 100, (10, 7), 10),
        (10, 100, (10, 7), 14),
        (98, 99, (10,), 99),
        (0, 100, (0, 50), 50),
        (0, 5, (0,), 5),
    ],
)
def test_the_next_stop_is_the_first_step_at_which_something_is_due(step, total, every, expected):
    assert periods.next_stop(step, total, *every) == expected
    due = [s for s in range(step + 1, total + 1) if any(periods.is_due(s, p, total) for p in every)]
    if any(every):
        assert due[0] == expected


def test_nothing_with_period_zero_is_ever_due():
    assert not periods.is_due(10, 0, 10)
    assert periods.is_due(10, 3, 10)


@dataclass
class Result:
    """Stands for what the devices are working on."""

    ready: bool

    def is_ready(self) -> bool:
        return self.ready


def test_the_pace_counts_from_the_last_start_and_waiting_is_what_keeps_devices_idle(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(meter.time, "perf_counter", lambda: now[0])

    def pass_by(seconds: float) -> None:
        now[0] += seconds

    clock = meter.Clock(3)
    clock.fetch(lambda: pass_by(50))  # and compiling
    clock.start(4)
    assert clock.lap(4) is None
    clock.working_on(Result(ready=False))
    clock.fetch(lambda: pass_by(2))
    assert clock.seconds == 2
    assert clock.lap(14) == meter.Pace(5, 0)
    clock.working_on(Result(ready=True))
    clock.fetch(lambda: pass_by(1))
    pass_by(3)
    assert clock.lap(15) == meter.Pace(0.25, 0.25)


def test_refused_updates_count_in_no_mean():
    def metrics(good, loss):
        one = jnp.ones(len(loss))
        first = jnp.zeros((len(loss), COUNT)).at[:, 0]
        buckets = Buckets(first.set(jnp.asarray(loss)), first.set(1.0))
        return Metrics(jnp.asarray(good), jnp.asarray(loss), 2 * one, 3 * one, buckets)

    log = meter.Meter()
    log.add(metrics([True, False], [1.0, jnp.nan]))
    log.add(metrics([False, True], [jnp.inf, 4.0]))
    found = log.summary()
    assert found[:4] == (2.5, 2.0, 3.0, 2)
    np.testing.assert_array_equal(found.loss_by_time, [2.5] + [np.nan] * (COUNT - 1))
    log.add(metrics([True, False], [1.0, jnp.inf]))
    log.add(metrics([False], [jnp.nan]))
    assert log.first_refused() == (np.inf, 2.0)
    log.add(metrics([False], [jnp.nan]))
    assert np.isnan(log.summary().loss)


def test_a_state_is_finite_if_all_its_numbers_are():
    state = fresh(RECIPE).as_dict()
    assert all_finite(state)
    for bad in (jnp.nan, jnp.inf):
        assert not all_finite({**state, "ema": {"w": jnp.asarray([1.0, bad])}})


def test_why_there_are_no_labels_is_told_to_who_needs_them():
    pixels = np.zeros((2, 4, 4, 1), np.uint8)
    images = Images(pixels, None, 256, unlabelled="1.png lies outside of the folders of classes")
    splits = Splits(images, images, "photos")
    with pytest.raises(ValueError, match=r"\A.+\Z") as info:
        feed.check_labels(splits, 2)
    assert "model.num_classes=2 needs labelled data, and photos has no labels (1.png" in str(
        info.value
    )


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_once_and_the_next_one_has_its_usual_effect(signum):
    usual = signal.getsignal(signum)
    with signals.stop_on_signals() as stop:
        assert not stop
        os.kill(os.getpid(), signum)
        assert stop
        assert stop.signum == signum
        assert signal.getsignal(signum) == usual
    assert signal.getsignal(signum) == usual


@pytest.mark.parametrize("batch_size", [1, 4, 7, 100])
def test_the_held_out_loss_is_the_mean_over_all_images_once(batch_size):
    pixels = np.random.default_rng(0).integers(0, 17, (10, 4, 4, 1)).astype(np.uint8)
    recipe = replace(RECIPE, objective=NoNoise())
    config = ConfigDict(
        {
            "eval": {"batch_size": batch_size},
            "data": {"centered": True, "uniform_dequantization": False},
        }
    )
    params = fresh(recipe).params
    loss = held_out.loss(
        held_out.make_eval(recipe), params, Images(pixels, None, 17), config, sharding.device_mesh()
    )
    score = replace(recipe.score, params=params)
    x = jnp.asarray(2 * (pixels / 16) - 1, jnp.float32)
    expected = jnp.mean(recipe.objective(score, jax.random.key(0), x, train=False))
    # Sums of ten numbers in another order.
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_batches_are_stacked_in_the_order_in_which_they_come():
    batches = ({"image": np.full((2, 3), k)} for k in range(10))
    for first in (0, 4):
        stacked = feed.stack_batches(batches, 4, sharding.device_mesh())["image"]
        assert stacked.shape == (4, 2, 3)
        assert stacked[:, 0, 0].tolist() == list(range(first, first + 4))


@pytest.mark.parametrize(
    "labels, message",
    [(None, "has no labels: use model.num_classes=0"), ([0, 3], "labels run from 0 to 3")],
)
def test_a_model_of_classes_needs_their_labels(labels, message):
    pixels = np.zeros((2, 8, 8, 1), np.uint8)
    images = Images(pixels, None if labels is None else np.array(labels), 256)
    with pytest.raises(ValueError, match=message):
        feed.check_labels(Splits(images, images, "data"), 3)
    feed.check_labels(Splits(images, images, "data"), 0)
