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


def config_of(schedule: str = "cosine", num_scales: int = 1000, continuous: bool = False, **others):
    config = get_default()
    config.sde.update(name="iddpm", schedule=schedule, num_scales=num_scales, **others)
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
@pytest.mark.parametrize("schedule", [name for name in SCHEDULES if name != "table"])
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
        (
            {"schedule": "scaled_linear", "beta_min": 30.0},
            r"beta_min must be at most .* = 20 .*got 30",
        ),
        ({"schedule": "table", "betas": (0.1,)}, r"sde\.betas must have one .* = 1000 .* got 1"),
        (
            {"zero_terminal_snr": True, "terminal_alpha": 0.5},
            r"sde\.terminal_alpha must be below .* got 0\.5",
        ),
        ({"schedule": "cosin"}, r"sde\.schedule must be one of .* \(did you mean 'cosine'\?\)"),
    ],
)
def test_bad_schedules_are_refused_in_one_line(settings, words) -> None:
    with pytest.raises(ValueError, match=words) as error:
        build(config_of(**settings))
    assert "\n" not in str(error.value)


STABLE = {"schedule": "scaled_linear", "beta_min": 0.85, "beta_max": 12.0, "num_scales": 1000}


def stable(**changes):
    config = config_of()
    config.sde.update(STABLE | {"name": "levels"} | changes)
    return config


@pytest.mark.usefixtures("float64")
def test_the_levels_of_stable_diffusion_are_the_published_ones() -> None:
    sde = build(stable())
    alpha, sigma = (np.asarray(v) for v in sde.marginal(jnp.arange(1000) / 999))
    # Rombach et al. 2022: computed in float64 from its constants; the last digit is rounded.
    assert alpha[[0, 999]] ** 2 == pytest.approx([0.99915, 0.00466009851], rel=1e-9)
    assert (sigma / alpha)[[0, 999]] == pytest.approx([0.0291671583, 14.6146412], rel=6e-9)


@pytest.mark.usefixtures("float64")
def test_with_zero_terminal_snr_the_last_level_has_no_signal() -> None:
    config = stable(zero_terminal_snr=True, terminal_alpha=1e-8)
    config.model.prediction = "v"
    alpha, sigma = (np.asarray(v) for v in build(config).marginal(jnp.arange(1000) / 999))
    known = {0: 0.99915, 1: 0.998233446, 500: 0.241018783, 998: 1.96788806e-7}
    # Lin et al. 2024, arXiv:2305.08891, in float64; the last digit is rounded.
    assert alpha[list(known)] ** 2 == pytest.approx(list(known.values()), rel=5e-9)
    assert alpha[999] == pytest.approx(1e-8, rel=1e-12)
    np.testing.assert_allclose(alpha**2 + sigma**2, 1.0, rtol=1e-14)


@pytest.mark.parametrize("prediction", ["noise", "score", "published", "unit_noise"])
def test_noise_cannot_be_predicted_where_there_is_nothing_else(prediction: str) -> None:
    config = stable(zero_terminal_snr=True)
    config.model.prediction = prediction
    with pytest.raises(
        ValueError, match=r"sde\.zero_terminal_snr=True needs model\.prediction='v'"
    ):
        build_parametrization(config)
    for able in ("v", "data", "velocity"):
        config.model.prediction = able
        build_parametrization(config)


@pytest.mark.usefixtures("float64")
def test_a_table_of_betas_gives_its_levels() -> None:
    betas = (0.1, 0.3, 0.2, 0.9)
    sde = build(stable(schedule="table", num_scales=4, betas=betas))
    np.testing.assert_allclose(sde.alpha(jnp.arange(4) / 3) ** 2, np.cumprod(1 - np.array(betas)))


def test_the_network_is_told_of_noise_between_the_levels() -> None:
    made, t = build_parametrization(stable()), jnp.asarray([0.0, 978.612, 999.0]) / 999
    np.testing.assert_allclose(made.conditioning.label(None, t), [0, 978.612, 999], rtol=1e-6)
    np.testing.assert_array_equal(made.rounding.snap(t), t)
