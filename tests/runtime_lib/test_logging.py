"""The log of a resumed run is that of a run that was never cut short."""

import json
import sys
import time
from functools import partial
from types import ModuleType

import pytest

from runtime_lib.logging import RunLog, WeightsAndBiases, duration, speed


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_what_a_lost_part_of_a_run_logged_is_dropped(tmp_path):
    with RunLog(tmp_path, 0, 10) as log:
        for step in range(1, 6):
            log.write(step, train_loss=step / 2)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "train_lo')  # cut short by a kill
    with RunLog(tmp_path, 3, 10) as log:
        log.write(4, train_loss=20.0)
        log.write(4, eval_loss=7.0)
        curves = log.curves()
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4, 4]
    assert curves == {
        "train_loss": ([1, 2, 3, 4], [0.5, 1.0, 1.5, 20.0]),
        "eval_loss": ([4], [7.0]),
    }


def test_tensorboard_reads_what_was_written(tmp_path):
    with RunLog(tmp_path, 0, 10) as log:
        log.write(1, train_loss=0.5)
        by_time = {"0-0.5": 3.0, "0.5-1": float("nan")}
        log.write(2, train_loss=0.25, by_time=by_time, none=float("inf"))
    from tensorboard.backend.event_processing import event_file_loader as loader

    (file,) = tmp_path.glob("events.out.tfevents.*")
    found = {
        (event.step, value.tag): value.simple_value or value.tensor.float_val[0]
        for event in loader.RawEventFileLoader(str(file)).Load()
        for event in [loader.event_pb2.Event.FromString(event)]
        for value in event.summary.value
    }
    assert found == {(1, "train_loss"): 0.5, (2, "train_loss"): 0.25, (2, "by_time/0-0.5"): 3.0}


class Wandb(ModuleType):
    """Stands for the package: remembers what it is told."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.id, self.told, self.defined = "run7", [], []

    def init(self, **given):
        self.given = given
        return self

    def define_metric(self, *names, **given):
        self.defined.append((names, given))

    def log(self, values):
        self.told.append(values)

    def finish(self):
        self.told.append("finished")


def test_weights_and_biases_is_told_the_same_and_goes_on_with_its_run(tmp_path, monkeypatch):
    wandb = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    for known in (None, "run7"):
        sinks = partial(WeightsAndBiases, "digits", tmp_path, {"seed": 1})
        with RunLog(tmp_path, 0, 10, more=lambda sinks=sinks: [sinks()]) as log:
            log.write(2, train_loss=0.25, by_time={"0-0.5": 3.0})
        assert wandb.given == {"project": "digits", "dir": str(tmp_path), "id": known,
                               "resume": "allow", "config": {"seed": 1}}  # fmt: skip
    assert wandb.told[:2] == [{"step": 2, "train_loss": 0.25, "by_time/0-0.5": 3.0}, "finished"]
    assert wandb.defined[0] == (("*",), {"step_metric": "step"})


def test_without_the_package_it_is_said_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match="install the extra 'wandb'"):
        WeightsAndBiases("digits", tmp_path, {})


def test_the_clock_may_jump(tmp_path, monkeypatch):
    """Times are told and nothing is computed from them."""
    now = iter([5e9, 1e9, 2e9, -1.0, 3e9, 4e9])
    monkeypatch.setattr(time, "time", lambda: next(now, 0.0))
    with RunLog(tmp_path, 0, 10) as log:
        log.write(1, train_loss=0.5)
        log.write(2, train_loss=0.25)
    assert [line["train_loss"] for line in lines(tmp_path)] == [0.5, 0.25]


def test_an_inactive_log_writes_nothing(tmp_path):
    with RunLog(tmp_path / "logs", 0, 10, active=False) as log:
        log.write(1, train_loss=0.5)
        log.advance(1)
        log.say("unheard")
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize(
    "seconds, text", [(0.4, "0s"), (7, "7s"), (65, "1m05s"), (3599.6, "1h00m"), (90061, "25h01m")]
)
def test_durations_are_said_in_two_units(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize("rate, text", [(1234, "1234"), (10, "10"), (2.345, "2.3"), (0.04, "0.04")])
def test_slow_and_fast_are_said_with_the_digits_that_matter(rate, text):
    assert speed(rate) == text
