"""Noise of measurements, and measurements of data as those of what is diffused."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_lib.bounds import Bounded
from data_lib.codec import AsGiven, GrayLevels, Standardize
from sde_lib.measurements.base import Decomposed, Measurement, Operator
from sde_lib.measurements.encoded import (
    ScaledChannels,
    ScaledOperator,
    ThroughDecoder,
    encoded,
    scaled,
)
from sde_lib.measurements.masks import Diagonal, Mask
from sde_lib.measurements.noise import Weighted, poisson, simulate, simulate_poisson, weighted
from sde_lib.measurements.own import own_operator
from tests.sde_lib.operators import built, weights

pytestmark = pytest.mark.usefixtures("float64", "quick")
SHAPE = (4, 5, 2)
KEY = jax.random.key(3)


def close(found, expected, atol: float = 1e-12) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=0, atol=atol)


def examples(n: int, seed: int = 0) -> jnp.ndarray:
    return jnp.asarray(np.random.default_rng(seed).uniform(size=(n, *SHAPE)))


# Noise --------------------------------------------------------------------------------------------


def test_noise_is_of_its_deviation_and_where_something_is_measured() -> None:
    mask, x = built("inpaint", SHAPE), examples(500)
    noise = np.asarray(simulate(mask, x, 0.3, KEY) - mask(x))
    kept = np.broadcast_to(np.asarray(mask.kept) > 0, noise.shape)
    assert (noise[~kept] == 0).all()
    # 12,000 numbers: the error of a mean is 0.003, of a deviation 0.002; four times that.
    assert abs(noise[kept].mean()) < 0.011
    assert abs(noise[kept].std() - 0.3) < 0.008
    close(simulate(mask, x, 0.0, KEY), mask(x), 0)


COUNTED = (40, 50, 1)
"""The shape of all examples whose counts are drawn, for which one program is compiled."""


def levels(*values: float) -> jnp.ndarray:
    """Examples of one level each."""
    return jnp.asarray(values).reshape(-1, 1, 1, 1) * jnp.ones((1, *COUNTED))


@pytest.mark.parametrize("draw", [simulate, simulate_poisson])
def test_noise_of_an_example_is_its_own(draw) -> None:
    everything, x = Mask(jnp.ones((1, *COUNTED))), levels(0.3, 0.8, 0.8)
    first, last = draw(everything, x[:2], 9.0, KEY), draw(everything, x[1:], 9.0, KEY, 1)
    close(first[1], last[0], 0)
    assert (last[0] != last[1]).any()
    assert (draw(everything, x[1:], 9.0, jax.random.key(4), 1) != last).any()


def test_counts_have_the_mean_and_the_variance_of_poissons_law() -> None:
    everything, x, rate = Mask(jnp.ones((1, *COUNTED))), levels(0.3, 0.8), 8.0
    y = np.asarray(simulate_poisson(everything, x, rate, KEY)).reshape(2, -1)
    close(rate * y, np.round(rate * y), 1e-9)
    # Of 2000 draws of variance x / rate: errors of 0.008 of means, of 4% of variances.
    close(y.mean(axis=1), [0.3, 0.8], 0.03)
    np.testing.assert_allclose(y.var(axis=1), [0.3 / rate, 0.8 / rate], rtol=0.15)
    half = Mask(jnp.zeros((1, *COUNTED)).at[:, :20].set(1))
    assert (simulate_poisson(half, x, rate, KEY)[:, 20:] == 0).all()
    assert (simulate_poisson(everything, -x, rate, KEY) == 0).all()


def test_poissons_law_is_taken_for_a_gaussian_of_its_variance() -> None:
    blur, x = built("gaussian_blur", SHAPE, blur_std=0.5), examples(2)
    y = blur(x) - 0.5
    found = poisson(Measurement(blur, y, jnp.asarray(0.1)), 20.0)
    variance = np.maximum(np.asarray(y), 1 / 20) / 20 + 0.01
    assert 0.1 < (y < 1 / 20).mean() < 0.9
    close(found.residual(x), (y - blur(x)) / np.sqrt(variance), 1e-10)
    assert float(found.deviation) == 1.0


def test_weights_keep_the_decomposition_of_masks_and_what_is_linear() -> None:
    weight, x = weights(0, 2, *SHAPE), examples(2)
    mask = built("inpaint", SHAPE)
    once = weighted(mask, weight)
    twice = weighted(once, weight)
    assert isinstance(once, Diagonal)
    assert isinstance(twice, Diagonal)
    close(twice(x), weight**2 * mask(x))
    close(once.observed(x), mask.observed(x), 0)
    bent = own_operator(jnp.square, SHAPE)
    assert not weighted(bent, weight).linear
    assert Weighted(mask, weight).linear
    close(Weighted(mask, weight).observed(x), mask.observed(x), 0)


def test_numbers_of_very_different_weights_are_all_measured() -> None:
    operator = Diagonal(jnp.asarray([[1e-7, 1e3, 0.0]]))
    close(operator.pseudo_inverse(jnp.asarray([[1e-7, 1e3, 5.0]]), jnp.zeros((1, 3))), [[1, 1, 0]])


# Codecs -------------------------------------------------------------------------------------------

CODECS = {
    "gray levels": GrayLevels(True),
    "gray levels of [0, 1]": GrayLevels(False),
    "as given": AsGiven(),
    "one scale": Standardize((0.2,), (0.7,)),
    "one scale and two centres": Standardize((0.2, -0.4), (0.7, 0.7)),
    "two scales": Standardize((0.2, -0.4), (0.7, 1.9)),
}


def operator_of(name: str) -> Operator:
    return built(name.removeprefix("complex "), SHAPE, complex=name.startswith("complex"))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("name", ["inpaint", "gray", "gaussian_blur", "fourier", "complex fourier"])
def test_the_misfit_in_units_of_the_noise_is_that_of_the_data(name: str, codec: str) -> None:
    operator, of = operator_of(name), CODECS[codec]
    data = examples(3)
    y, deviation = simulate(operator, data, 0.2, KEY), jnp.asarray(0.2)
    scale, centre = (np.asarray(row) for row in of.affine())
    found = encoded(Measurement(operator, y, deviation), scale, centre, SHAPE)
    z = jnp.asarray(of.encode(np.asarray(examples(3, 1))))
    expected = (y - operator(jnp.asarray(of.decode(np.asarray(z))))) / deviation
    close(found.residual(z) / found.deviation, expected)
    if len(set(scale.tolist())) == 1:
        assert found.operator is operator
    # Gray mixes channels, and complex numbers have two of them.
    several = name not in ("gray", "complex fourier")
    assert isinstance(found.operator, Decomposed) == (several or found.operator is operator)


def test_each_number_may_have_a_scale_of_its_own() -> None:
    scale, x = weights(0, *SHAPE), examples(2)
    for name, kind in (("inpaint", Diagonal), ("gaussian_blur", ScaledOperator)):
        operator = operator_of(name)
        found = scaled(operator, scale[None])
        assert isinstance(found, kind)
        close(found(x), operator(scale[None] * x))
        close(found.observed(x), operator.observed(x), 0)
        close(scaled(Diagonal(x[:1]), scale[None])(x), x[:1] * scale[None] * x)


def test_channels_of_very_different_scales_are_all_measured() -> None:
    blur = operator_of("gaussian_blur")
    scale = jnp.asarray([1e-7, 1e3]).reshape(1, 1, 1, 2)
    found, x = scaled(blur, scale), examples(2)
    assert isinstance(found, ScaledChannels)
    close(found.pseudo_inverse(found(x), x), x, 1e-9)
    close(found.observed(x), x, 0)


def test_data_that_are_bent_are_measured_through_the_decoder() -> None:
    codec, mask = Bounded((0.0,), (1.0,)), built("inpaint", SHAPE)
    assert codec.affine() is None
    operator, x = ThroughDecoder(mask, codec.decode), examples(2)
    assert not operator.linear
    close(operator(codec.encode(x)), mask(x))
    close(operator.observed(x), mask.observed(x), 0)


@pytest.mark.parametrize("codec", CODECS)
def test_scale_and_centre_are_those_of_the_decoder(codec: str) -> None:
    of, z = CODECS[codec], np.asarray(examples(2))
    scale, centre = (np.asarray(row) for row in of.affine())
    close(centre + scale * z, of.decode(z))
