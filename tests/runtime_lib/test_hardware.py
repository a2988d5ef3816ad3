"""Rates are the operations that were done over the shortest time that they took."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from runtime_lib import hardware

DEVICES = jax.local_device_count()
LOOKS = [0.0, 0.0, 0.0, 0.5, 0.5, 0.5, 0.75, 0.75, 0.75, 1.5, 10.0]
"""Times on the clock: when to stop is worked out, three runs of 0.5, 0.25 and 0.75 s, the end."""
# Of a sum of k products k are multiplications, and (counted so) as many additions.
MEASURED = {
    "matrix products": (
        lambda: hardware.measured_operations(size=16, seconds=10.0), (16, 16), 2 * 16 * 16**2),
    "3x3 convolutions": (
        lambda: hardware.measured_convolutions(batch=2, size=6, channels=4, seconds=10.0),
        (2, 6, 6, 4), 2 * (9 * 4) * (2 * 6 * 6 * 4)),
}  # fmt: skip
"""Measurements, with the shape on each device and the number of operations."""


@pytest.mark.parametrize("name", MEASURED)
def test_a_rate_is_of_the_best_of_several_runs(name: str, monkeypatch) -> None:
    measure, _, operations = MEASURED[name]
    clock = iter(LOOKS)
    monkeypatch.setattr(hardware, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert measure() == DEVICES * operations / 0.25


@pytest.mark.parametrize("name", MEASURED)
def test_what_is_timed_is_that_work(name: str, monkeypatch) -> None:
    """Products of ones that are scaled to leave them as they are, but at an image's border."""
    measure, shape, operations = MEASURED[name]
    asked = []
    monkeypatch.setattr(hardware, "_best_rate", lambda *given: asked.append(given) or 7.0)
    assert measure() == 7.0
    work, *told = asked[0]
    assert told == [shape, operations, 10.0]
    ones = jnp.ones((DEVICES, *shape))
    done = np.asarray(work(ones))
    assert done.shape == ones.shape
    if len(shape) == 4:
        np.testing.assert_allclose(done[:, :, 0, 0], 4 / 9, rtol=1e-6)  # four of nine products
        done = done[:, :, 1:-1, 1:-1]
    np.testing.assert_allclose(done, 1.0, rtol=1e-6)
