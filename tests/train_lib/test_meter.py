"""The pace of training, and means of what a log says of it."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from train_lib import meter
from train_lib.buckets import COUNT, Buckets
from train_lib.step import Metrics


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
