"""The grids of published samplers: which levels they visit, and what they refuse."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import betainc

import samplers
from configs.schema import get_default
from samplers import DDIM, PLMS, AdamsBashforth, SpacedLevels, build_times
from samplers.build import start_scale
from samplers.spacing import SPACINGS, WARPS
from sde_lib import VP
from tests.samplers.exact import Isotropic

N = 1000
SDE = VP().discrete(N)
VISITED = {
    "leading": (50, 1, [981, 961, 941], [41, 21, 1]),
    "leading_open": (50, 1, [951, 932, 913], [58, 39, 20]),  # a stride of floor(1000 / 51)
    "trailing": (50, 0, [999, 979, 959], [59, 39, 19]),
    "linspace": (50, 0, [999, 978.6122, 958.2245], [40.7755, 20.3878, 0]),
    "linspace_whole": (50, 0, [999, 979, 958], [41, 20, 0]),
    "linspace_open": (20, 0, [999, 949, 899], [150, 100, 50]),
    "distilled": (7, 0, [999, 859, 719], [439, 299, 159]),
}
"""Spacing -> (n, offset, the first levels, the last ones), as diffusers 0.42.1 has them."""


def levels_of(n: int, sde: object = SDE, **settings: object) -> np.ndarray:
    return np.asarray(SpacedLevels(N, **settings)(sde, n, 1.0, 0.0)) * (N - 1)


def test_every_spacing_is_here() -> None:
    assert set(VISITED) == set(SPACINGS)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_the_levels_are_the_published_ones(spacing: str) -> None:
    n, offset, first, last = VISITED[spacing]
    found = levels_of(n, spacing=spacing, steps_offset=offset)
    assert len(found) == n
    np.testing.assert_allclose(found[:3], first, atol=2e-4)
    np.testing.assert_allclose(found[-3:], last, atol=2e-4)


def test_level_0_follows_unless_the_sample_without_noise_does() -> None:
    shifted = {"spacing": "leading", "steps_offset": 1}
    np.testing.assert_allclose(levels_of(4, **shifted), [751, 501, 251, 1], rtol=1e-6)
    np.testing.assert_allclose(
        levels_of(4, **shifted, noise_removal=False), [751, 501, 251, 1, 0], rtol=1e-6
    )
    once = levels_of(4, spacing="linspace", noise_removal=False)
    np.testing.assert_allclose(once, [999, 666, 333, 0], rtol=1e-6)


def test_an_offset_moves_leading_levels_alone() -> None:
    for spacing in SPACINGS:
        moved = levels_of(5, spacing=spacing, steps_offset=3) - levels_of(5, spacing=spacing)
        np.testing.assert_allclose(moved, 3.0 if "leading" in spacing else 0.0, atol=2e-4)


def test_warps_are_even_in_their_variable_between_the_ends() -> None:
    assert set(WARPS) == {"none", "karras", "exponential", "beta"}
    plain = levels_of(9, spacing="leading", steps_offset=1)
    for warp, variable in (("karras", lambda x: np.exp(x / 5)), ("exponential", lambda x: x)):
        found = levels_of(9, spacing="leading", steps_offset=1, warp=warp, rho=5.0)
        np.testing.assert_array_equal(found[[0, -1]], plain[[0, -1]])
        log_ratio = -0.5 * np.asarray(SDE.log_snr(jnp.asarray(found / (N - 1), jnp.float32)))
        gaps = np.diff(variable(log_ratio))
        # A rounding of the time in float32 is 1e-4 of the gap between two levels.
        np.testing.assert_allclose(gaps, gaps.mean(), rtol=2e-3)


def test_a_beta_warp_has_the_quantiles_of_its_law() -> None:
    """Their distribution function is even: Beta(0.6, 0.6), of which 1/2 is the median."""
    found = levels_of(9, spacing="linspace", warp="beta") / (N - 1)
    ratio = np.exp(-0.5 * np.asarray(SDE.log_snr(jnp.asarray(found, jnp.float32))))
    share = (ratio - ratio[-1]) / (ratio[0] - ratio[-1])
    # The rounding of a time, at the noisiest end 1e-5 of sigma / alpha.
    np.testing.assert_allclose(betainc(0.6, 0.6, share), np.linspace(1, 0, 9), atol=1e-4)
    assert share[4] == pytest.approx(0.5, abs=1e-4)


REFUSED = {
    (1000, "leading", 1): r"steps_offset=1 begins at level 1000, .* is 999: take fewer steps",
    (1000, "leading_open", 0): "visits one of sde.num_scales = 1000 levels twice",
    (1001, "trailing", 0): "twice: take fewer steps",
    (1200, "linspace_whole", 0): "twice: take fewer steps",
    (3, "leading", 999): r"begins at level 1665, and the last of sde.num_scales = 1000 levels",
}


@pytest.mark.parametrize("n, spacing, offset", REFUSED)
def test_levels_that_there_are_not_are_refused_in_one_line(n, spacing, offset) -> None:
    with pytest.raises(ValueError, match=REFUSED[n, spacing, offset]) as error:
        levels_of(n, spacing=spacing, steps_offset=offset)
    assert str(error.value).startswith(f"sampling.num_steps={n}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("setting", ["spacing", "warp", "start"])
def test_unknown_names_are_refused(setting: str) -> None:
    config = get_default().sampling
    config.grid, config.num_steps = "published", 5
    config[setting] = "nothing"
    with pytest.raises(ValueError, match=f"sampling.{setting} must be one of"):
        start_scale(config, Isotropic(SDE), build_times(config, Isotropic(SDE), N))


def test_one_step_is_the_denoiser_at_the_first_level() -> None:
    config = get_default().sampling
    config.update({"grid": "published", "num_steps": 1, "spacing": "trailing", "predictor": "ddim"})
    score = Isotropic(SDE, 0.3)
    times = build_times(config, score, N)
    z, keys = jnp.asarray([[0.4, -1.2]]), samplers.sample_keys(jax.random.key(0), jnp.arange(1))
    drawn = samplers.sample(score, DDIM(), times, keys, shape=(2,), start=z)
    np.testing.assert_allclose(drawn.x, score.denoise(z, jnp.ones(1)), rtol=1e-6)
    assert drawn.evaluations.tolist() == [1]


def test_a_run_begins_with_the_deviation_that_is_asked_for() -> None:
    config = get_default().sampling
    score, times = Isotropic(SDE), jnp.asarray([0.6, 0.3])
    assert start_scale(config, score, times) == 1.0
    config.start = "marginal"
    scale = start_scale(config, score, times)
    assert scale == pytest.approx(float(SDE.sigma(times[0])), rel=1e-6)
    assert scale < 0.9999
    keys = samplers.sample_keys(jax.random.key(0), jnp.arange(3))
    own = {"shape": (2,), "denoise": False, "frames": 0}
    plain, scaled = (
        samplers.sample(score, samplers.Idle(), times, keys, scale=by, **own).x
        for by in (1.0, scale)
    )
    np.testing.assert_allclose(scaled, scale * plain, rtol=1e-6)


def evaluations(sampler, n: int) -> int:
    return sampler.plan(Isotropic(SDE), jnp.linspace(1.0, 0.0, n + 1)).nfe


def test_plms_evaluates_one_level_twice() -> None:
    assert [evaluations(PLMS(), n) for n in (2, 5, 9)] == [3, 6, 10]


def test_a_model_that_was_distilled_with_fewer_levels_says_so() -> None:
    with pytest.raises(ValueError, match=r"sampling.distilled_steps must be at least .*got 50"):
        levels_of(60, spacing="distilled")


def test_short_runs_end_at_low_order_and_long_ones_do_not() -> None:
    def last(sampler, n: int) -> list[int]:
        """Numbers of evaluations that the last steps weigh."""
        rows = sampler.plan(Isotropic(SDE), jnp.linspace(1.0, 0.0, n + 1)).program.rows["f"]
        return [int((np.abs(row) > 0).sum()) for row in rows[-3:]]

    third = lambda end: AdamsBashforth(3, "data", "log_snr", "exact", False, end)
    assert last(third(0), 8) == [3, 3, 3]
    assert last(third(9), 8) == [3, 2, 1]
    assert last(third(8), 8) == [3, 3, 3]
