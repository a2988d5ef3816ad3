"""Schedules of discrete-time models: the published numbers, and the SDE through the levels."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from configs.schema import get_default
from sde_lib import build, build_parametrization
from sde_lib.iddpm import SCHEDULES

TABLE = {
    ("cosine", 1000): {
        "beta": {0: 4.128422482e-5, 1: 4.614175274e-5, 500: 3.155691442e-3},
        "alpha_bar": {
            0: 0.999958715775, 500: 0.492285172449, 998: 2.428766907e-6, 999: 2.428766907e-9,
        },
    },
    ("cosine", 4000): {
        "beta": {0: 9.865818814e-6, 1: 1.016941488e-5, 2000: 7.889355535e-4},
        "alpha_bar": {
            0: 0.999990134181, 2000: 0.493453979674, 3998: 1.517980469e-7, 3999: 1.517980469e-10,
        },
    },
    ("linear", 1000): {
        "beta": {0: 1e-4, 999: 0.02},
        "alpha_bar": {0: 0.9999, 500: 0.077796658365, 999: 4.035829765e-5},
    },
    ("linear", 4000): {
        "beta": {0: 2.5e-5, 3999: 0.005},
        "alpha_bar": {0: 0.999975, 2000: 0.078746475224, 3999: 4.246652276e-5},
    },
}  # fmt: skip
"""Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 17, computed in float64."""


def config_of(schedule: str = "cosine", num_scales: int = 1000, continuous: bool = False):
    config = get_default()
    config.sde.update(name="iddpm", schedule=schedule, num_scales=num_scales)
    config.training.continuous = continuous
    return config


@pytest.mark.parametrize("schedule, n", TABLE)
def test_schedules_are_the_published_ones_to_every_digit(schedule: str, n: int) -> None:
    betas = SCHEDULES[schedule](n)
    found = {"beta": betas, "alpha_bar": np.cumprod(1 - betas)}
    for name, entries in TABLE[schedule, n].items():
        for i, expected in entries.items():
            # The last digit given is rounded.
            assert found[name][i] == pytest.approx(expected, rel=5e-10), (name, i)
    clipped = np.flatnonzero(betas >= 0.999)
    assert clipped.tolist() == ([n - 1] if schedule == "cosine" else [])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_sde_runs_through_the_levels(schedule: str, continuous: bool) -> None:
    sde = build(config_of(schedule, 50, continuous))
    t = jnp.arange(50) / 49
    betas = SCHEDULES[schedule](50)
    np.testing.assert_allclose(sde.alpha(t) ** 2, np.cumprod(1 - betas), rtol=1e-12)
    a, b = sde.transition(t[:-1], t[1:])
    np.testing.assert_allclose(b, betas[1:], rtol=1e-10)
    np.testing.assert_allclose(a**2, 1 - betas[1:], rtol=1e-9)


@pytest.mark.parametrize("n", [1000, 4000, 9999])
@pytest.mark.parametrize("rescale", [False, True])
def test_the_network_is_told_the_index_or_a_thousandth_of_the_way(n: int, rescale: bool) -> None:
    config = config_of(num_scales=n)
    config.model.rescale_timesteps = rescale
    made, i = build_parametrization(config), np.arange(n)
    t = jnp.asarray(i / (n - 1), jnp.float32)
    told = i.astype(np.float32) * np.float32(1000 / n) if rescale else i
    np.testing.assert_array_equal(made.conditioning.label(None, t), told)
    # Between two levels it is the nearer one, in level and label alike.
    between = jnp.clip(t + 0.3 / (n - 1), 0.0, 1.0)
    np.testing.assert_array_equal(made.conditioning.label(None, between), told)
    np.testing.assert_allclose(made.rounding.snap(between), t, rtol=2.5e-7)  # two roundings
    assert type(made.prediction).__name__ == "Noise"


@pytest.mark.parametrize(
    "settings, words",
    [
        (
            {"schedule": "linear", "num_scales": 20},
            r"above 20 with sde\.schedule='linear'.* 20",
        ),
        ({"schedule": "cosin"}, r"sde\.schedule must be one of .* \(did you mean 'cosine'\?\)"),
    ],
)
def test_bad_schedules_are_refused_in_one_line(settings, words) -> None:
    with pytest.raises(ValueError, match=words) as error:
        build(config_of(**settings))
    assert "\n" not in str(error.value)
