"""Edits: where they begin, and the laws of examples that got noise and were sampled again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_lib.codec import AsGiven
from modes.edit import Edited, Inverted, Noised, cut
from modes.generator import Generator
from samplers import AdaptiveODE, Ancestral, Karras, RungeKutta, Sampler
from sde_lib import Gaussian
from sde_lib.karras import KarrasVE

SIGMA, VARIANCE, GUIDE = 0.5, 0.25, 1.0


def test_strength_is_a_part_of_the_grid() -> None:
    times = jnp.linspace(1.0, 0.0, 11)
    np.testing.assert_array_equal(cut(times, 1.0), times)
    np.testing.assert_allclose(cut(times, 0.5), times[5:], atol=1e-7)
    np.testing.assert_allclose(cut(times, 0.55), [0.55, *times[5:]], atol=1e-7)
    # However weak, there is a step, from where there is some noise.
    np.testing.assert_allclose(cut(times, 0.01), [0.01, 0.0], atol=1e-7)


def generator(sampler: Sampler, steps: int) -> Generator:
    sde = KarrasVE(1e-3, SIGMA)
    times = Karras()(sde, steps, SIGMA, 1e-3)
    score = Gaussian.isotropic(sde, jnp.zeros(1), VARIANCE)
    return Generator(score, sampler, times, jax.random.key(0), (1,), AsGiven())


@pytest.mark.parametrize(
    ("sampler", "steps", "mean", "variance"),
    [
        # By the flow and by the reverse SDE: sqrt(k), v (1 - k) and k, k s^2 + k^2 s^2 with
        # k = v / (v + s^2) = 1 / 2.
        (RungeKutta("heun"), 16, 0.707106781187, 0.125),
        (Ancestral(), 256, 0.5, 0.1875),
    ],
    ids=["flow", "sde"],
)
def test_sdedit_has_its_law(sampler: Sampler, steps: int, mean: float, variance: float) -> None:
    n = 20_000
    made = generator(sampler, steps)
    guide = np.full((1, 1), GUIDE, np.float32)
    begun = Edited(guide, Noised(made.times[0]))
    drawn = Generator(made.score, sampler, made.times, made.key, (1,), AsGiven(), start=begun).draw(
        0, n
    )["samples"]
    # Five standard errors, and what so many steps leave.
    assert abs(drawn.mean() - mean) < 5 * (variance / n) ** 0.5 + 2e-3
    assert abs(drawn.var() - variance) < 5 * variance * (2 / n) ** 0.5 + 2e-3


def test_the_flow_leads_up_and_down_again() -> None:
    made = generator(RungeKutta("rk4"), 40)
    x = np.asarray([[0.3], [-1.0]], np.float32)
    up = Inverted(made.times[::-1], AdaptiveODE(1e-6, 1e-6), lambda rows: None)
    begun = Edited(x, up)
    one = Generator(
        made.score, made.sampler, made.times, made.key, (1,), AsGiven(), start=begun, denoise=False
    )
    drawn = one.draw(0, 4)["samples"]
    # Sample k is of example k % 2; the start differs from the prior.
    np.testing.assert_allclose(drawn, np.tile(x, (2, 1)), atol=2e-4)
