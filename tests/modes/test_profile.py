"""--mode profile writes a trace, and says how fast updates are and where their time goes."""

import json

import jax
import pytest

import main
import models
from modes import profile
from tests import tiny


@pytest.fixture
def tiny_network():
    tiny.register()
    yield
    del models.NETWORKS["tiny"]


def test_a_profile_has_a_trace_a_table_and_numbers(tiny_network, tmp_path, capsys):
    arguments = tiny.arguments("profile", tmp_path, training__profile_steps=2)
    with jax.numpy_dtype_promotion("standard"):  # as main.py runs
        assert main.main(arguments) == 0
    told = capsys.readouterr().out.splitlines()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["profile"]
    assert len(list(tmp_path.rglob("*.xplane.pb"))) == len(list(tmp_path.rglob("*.json.gz"))) == 1
    found = json.loads((tmp_path / "profile" / "summary.json").read_text())
    assert found["parameters"] == 85
    assert 0 < found["seconds_per_update"] < found["first_update_seconds"]
    rate = found["images_per_second"] * OPERATIONS
    assert found["flops_per_second"] == pytest.approx(rate, rel=1e-6)
    shares = [operation["share"] for operation in found["operations"]]
    assert sum(shares) == pytest.approx(1)
    assert shares == sorted(shares, reverse=True)
    assert len(told) == 4 + min(len(shares), 15) + (len(shares) > 15)


CONVOLUTION, LAYER = 2 * 64 * 9 * 4, 2 * 4
OPERATIONS = 5 * CONVOLUTION + 2 * LAYER
"""Operations of an update of the tiny network per 8x8 image: two convolutions, from 1 to 4 channels
and back, and a layer; forward, for kernels, and for the one input that depends on parameters."""


def test_kinds_are_names_without_their_numbers(tmp_path, monkeypatch):
    class Event:
        def __init__(self, name, duration_ns):
            self.stats, self.duration_ns = [("hlo_op", name)] if name else [], duration_ns

    def named(**values):
        return type("Named", (), values)

    events = [Event("dot.12", 3e9), Event("dot", 1e9), Event("loop_fusion.1.2", 1e9),
              Event("", 9e9)]  # fmt: skip
    data = named(planes=[named(lines=[named(events=events[:2]), named(events=events[2:])])])
    reader = named(from_file=staticmethod(lambda path: data))
    monkeypatch.setattr(jax.profiler, "ProfileData", reader)
    assert profile.seconds_by_operation([tmp_path]) == [
        {"kind": "dot", "seconds": 4.0, "share": 0.8},
        {"kind": "loop_fusion", "seconds": 1.0, "share": 0.2},
    ]
