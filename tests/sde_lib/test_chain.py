"""Terms of a chain's bound: numbers without Monte Carlo, and the Gaussians they are of."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sde_lib import VE, VP
from sde_lib.bins import CDFS, Bins
from sde_lib.chain import GaussianDecoder, LevelDecoder, Link, decoder_deviation
from sde_lib.iddpm import iddpm

pytestmark = pytest.mark.usefixtures("float64")

LINEAR = iddpm("linear", 1000)
BIT = math.log(2)


def at(i: int):
    return jnp.asarray(i / 999)


STEPS = {1: (0.0933178595942, -9.265098000953), 500: (2.00072492452e-5, -4.599449388105),
         999: (3.68049395197e-5, -3.912023252530)}  # fmt: skip
"""Index of t -> bits and log Sigma of Improved DDPM, for eps 0.3, its prediction 0.25, v' 0.4."""


@pytest.mark.parametrize("i", STEPS)
def test_a_step_costs_what_improved_ddpm_says(i: int) -> None:
    link, v = Link.of(LINEAR, at(i - 1), at(i)), 0.7
    bits = link.divergence(v, jnp.asarray([0.25 - 0.3]))[0] / BIT
    assert float(bits) == pytest.approx(STEPS[i][0], rel=1e-9)
    _, b = LINEAR.transition(at(i - 1), at(i))
    log_variance = v * jnp.log(b) + (1 - v) * (jnp.log(b) - link.gap)
    assert float(log_variance) == pytest.approx(STEPS[i][1], abs=1e-9)


@pytest.mark.parametrize("v, bits", [(0.0, 0.0), (0.5, 0.004327339723), (1.0, 0.016694543355)])
def test_a_wrong_variance_costs_bits_though_the_mean_is_right(v: float, bits: float) -> None:
    link = Link(jnp.asarray(math.log(0.01 / 0.008)), jnp.asarray(3.0))
    assert float(link.divergence(v, jnp.zeros(1))[0]) / BIT == pytest.approx(bits, abs=5e-13)


@pytest.mark.parametrize("sde", [VP(), VE(0.05, 20.0), LINEAR], ids=["vp", "ve", "levels"])
@pytest.mark.parametrize("v", [0.0, 0.3, 1.0, -2.0])
def test_the_divergence_is_that_of_two_gaussians(sde, v: float) -> None:
    s, t, x0, eps, eps_hat = jnp.asarray(0.4), jnp.asarray(0.45), 0.7, 0.3, -0.2
    (alpha, sigma), (alpha_s, sigma_s) = (map(float, sde.marginal(u)) for u in (t, s))
    b = float(sde.transition(s, t)[1])
    small = b * sigma_s**2 / sigma**2
    guess = (alpha * x0 + sigma * eps - sigma * eps_hat) / alpha
    gap = alpha_s * b / sigma**2 * (x0 - guess)
    variance = math.exp(v * math.log(b) + (1 - v) * math.log(small))
    expected = 0.5 * (math.log(variance / small) + (small + gap**2) / variance - 1)
    found = Link.of(sde, s, t).divergence(v, jnp.asarray([eps_hat - eps]))
    assert float(found[0]) == pytest.approx(expected, rel=1e-8)


def test_a_step_is_finite_however_wide_the_network_spreads() -> None:
    """|v'| up to 10, in float32, on every level of the cosine."""
    sde = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), iddpm("cosine", 4000))
    i = jnp.arange(1, 4000, dtype=jnp.float32)
    link = Link.of(sde, (i - 1) / 3999, i / 3999)
    for v in (-4.5, 5.5):
        slope = jax.grad(lambda v: jnp.sum(link.divergence(v, jnp.ones_like(i))))(jnp.float32(v))
        assert bool(jnp.isfinite(link.divergence(v, jnp.ones_like(i))).all())
        assert bool(jnp.isfinite(slope))


@pytest.mark.parametrize("schedule, n, expected", [
    ("cosine", 1000, -10.734082532465), ("cosine", 4000, -12.204537145970),
])  # fmt: skip
def test_the_decoders_variance_lies_between_those_published(schedule, n, expected) -> None:
    sde, ends = iddpm(schedule, n), (jnp.zeros(()), jnp.asarray(1 / (n - 1)))
    log_variance = lambda v: 2 * float(jnp.log(decoder_deviation(sde, *ends, v)))
    assert log_variance(0.0) == pytest.approx(expected, abs=1e-9)
    own = 2 * float(sde.log_sigma(ends[0]))
    assert log_variance(1.0) == pytest.approx(own, abs=1e-9)
    assert log_variance(0.25) == pytest.approx(0.25 * own + 0.75 * expected, abs=1e-9)


DISCRETIZED = [
    (128, 0.1, -2, 5.799559660041, 5.798370040155),
    (128, 128 / 127.5 - 0.997, -5, 1.314427099882, 1.313857511359),
    (0, -0.997, -5, 0.851016396872, 0.851014233951),
    (255, 1.003, -5, 0.238389433458, 0.238120646924),
    (0, 0.1, -2, 39.863137138649, 51.680453015036),
    (255, 0.1, -2, 39.863137138649, 35.707883015632),
]
"""Level of 256, mean, log deviation, bits by the approximation and exactly."""


@pytest.mark.parametrize("v, mean, log_deviation, tanh, exact", DISCRETIZED)
def test_gray_levels_cost_what_improved_ddpm_says(v, mean, log_deviation, tanh, exact) -> None:
    for cdf, expected in (("tanh", tanh), ("exact", exact)):
        decoder = LevelDecoder(Bins.of("nearest", 256, True, cdf))
        deviation = jnp.full(1, math.exp(log_deviation))
        center = jnp.asarray([float(mean)])
        found = decoder.log_prob(jnp.asarray([v]), center, center, deviation)
        assert -float(found[0]) / BIT == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("cdf", CDFS)
def test_gray_levels_have_gradients_at_both_ends_and_far_away(cdf: str) -> None:
    bins, v = Bins.of("nearest", 17, True, cdf), jnp.asarray([0, 8, 16, 0, 16])
    mean, deviation = jnp.asarray([-1.0, 0.1, 1.1, 30.0, -30.0]), jnp.full(5, 0.02)
    run = lambda mean, deviation: jnp.sum(bins.log_prob(v, mean, deviation))
    for slope in jax.grad(run, (0, 1))(mean, deviation):
        assert bool(jnp.isfinite(slope).all())


def test_values_belong_to_the_gray_level_in_whose_bin_they_lie() -> None:
    for layout in ("equal", "nearest"):
        bins, v = Bins.of(layout, 17, True), jnp.arange(17)
        for shift in (-0.49, 0.0, 0.49):
            x = bins.center(v) + shift * bins.spacing
            np.testing.assert_array_equal(bins.nearest(x), v)
    np.testing.assert_array_equal(bins.nearest(jnp.asarray([-3.0, 3.0])), [0, 16])


def test_a_density_is_the_normals() -> None:
    x, mean, deviation = (jnp.asarray([v]) for v in (0.3, 0.1, 0.4))
    found = GaussianDecoder().log_prob(x, x, mean, deviation)
    expected = jax.scipy.stats.norm.logpdf(x, mean, deviation)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
