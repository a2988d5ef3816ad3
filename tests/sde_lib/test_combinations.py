"""Combinations of two predictions that are not linear, against values in closed form.

With a condition the prediction is (1, 2, 4, -1), without (0.5, 1, 1, 0), as x_0 or as noise.
"""

import numpy as np
import pytest

from sde_lib.combinations import (
    FirstChannels,
    Mixed,
    Point,
    Projected,
    Renoised,
    Rescaled,
    Thresholded,
)
from sde_lib.parametrization import V

pytestmark = pytest.mark.usefixtures("float64")

WITH, WITHOUT = np.asarray([[1.0, 2.0, 4.0, -1.0]]), np.asarray([[0.5, 1.0, 1.0, 0.0]])
AT = Point(np.asarray([[0.3, -0.2, 0.1, 0.9]]), np.asarray([[0.8]]), np.asarray([[0.6]]))
WEIGHT = np.float64(3.0)


def of_noise(combination, weight=WEIGHT):
    """The combined noise; x_0 is checked to belong to it."""
    told, untold = ((AT.data(e), e) for e in (WITH, WITHOUT))
    x0, noise = combination(weight, told, untold, AT)
    np.testing.assert_allclose(AT.alpha * x0 + AT.sigma * noise, AT.x, atol=1e-12)
    return noise[0]


def of_data(combination, weight=WEIGHT, told=WITH, untold=WITHOUT):
    """The combined x_0; the noise is checked to belong to it."""
    pairs = ((x0, AT.noise(x0)) for x0 in (told, untold))
    x0, noise = combination(weight, *pairs, AT)
    np.testing.assert_allclose(AT.alpha * x0 + AT.sigma * noise, AT.x, atol=1e-12)
    return x0[0]


def test_plain_guidance() -> None:
    np.testing.assert_allclose(of_noise(Mixed()), [2, 4, 10, -3], rtol=1e-12)


def test_channels_beyond_the_first_are_those_with_the_condition() -> None:
    np.testing.assert_allclose(of_noise(FirstChannels(2)), [2, 4, 4, -1], rtol=1e-12)
    np.testing.assert_allclose(of_data(FirstChannels(3)), [2, 4, 10, -1], rtol=1e-12)
    with pytest.raises(ValueError, match="at most the examples' 4 channels"):
        of_noise(FirstChannels(5))


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.7, [1.141957174739, 2.283914349477, 5.709785873693, -1.712935762108]),
        (1.0, [0.774224535341, 1.548449070682, 3.871122676705, -1.161336803011]),
        (0.0, [2, 4, 10, -3]),
    ],
)
def test_rescaled_noise(share: float, expected: list[float]) -> None:
    np.testing.assert_allclose(of_noise(Rescaled(share)), expected, rtol=1e-11)


def test_noise_without_deviation_is_not_rescaled() -> None:
    flat = (AT.data(np.zeros((1, 4))), np.zeros((1, 4)))
    found = Rescaled(0.7)(WEIGHT, flat, flat, AT)[1]
    np.testing.assert_allclose(found, flat[1], atol=1e-15)


def test_what_the_network_says_is_rescaled() -> None:
    v = lambda pair: AT.alpha * pair[1] - AT.sigma * pair[0]
    told, untold = ((AT.data(e), e) for e in (WITH, WITHOUT))
    guided = lambda combination: v(combination(WEIGHT, told, untold, AT))
    plain = guided(Mixed())
    wanted = plain * v(told).std() / plain.std()
    np.testing.assert_allclose(guided(Rescaled(1.0, V())), wanted, rtol=1e-12)
    np.testing.assert_allclose(guided(Rescaled(0.0, V())), plain, rtol=1e-12)


def test_guidance_without_its_part_along_the_example_is_shortened() -> None:
    expected = [0.695081639432, 1.390163278864, 4.271038542727, -1.440437631932]
    np.testing.assert_allclose(of_data(Projected(0.0, 2.5)), expected, rtol=1e-11)
    np.testing.assert_allclose(of_data(Projected(1.0, 1e30)), [2, 4, 10, -3], rtol=1e-11)


VALUES = np.asarray([[0.2, -0.7, 1.3, -2.4, 0.9, 3.1, -1.1, 0.05]])


@pytest.mark.parametrize(("quantile", "bound"), [(0.9, 2.61), (0.995, 3.0755), (0.5, 1.0)])
def test_too_large_values_are_scaled_into_the_range(quantile: float, bound: float) -> None:
    at = Point(VALUES, np.asarray([[0.8]]), np.asarray([[0.6]]))
    expected = np.clip(VALUES, -bound, bound) / bound
    pair = (VALUES, at.noise(VALUES))
    for centre, half in ((0.0, 1.0), (0.5, 0.5)):
        moved = (centre + half * VALUES, at.noise(centre + half * VALUES))
        x0, noise = Thresholded(quantile, centre, half)(WEIGHT, moved, moved, at)
        np.testing.assert_allclose(x0, centre + half * expected, rtol=1e-12)
        np.testing.assert_allclose(at.alpha * x0 + at.sigma * noise, at.x, atol=1e-12)
    # At weight 1 nothing is done, to the last bit.
    np.testing.assert_array_equal(Thresholded()(np.asarray(1.0), pair, pair, at)[0], VALUES)


def test_the_step_of_ddim_is_guided_in_its_data_and_not_in_its_noise() -> None:
    told, untold = ((x0, AT.noise(x0)) for x0 in (WITH, WITHOUT))
    x0, noise = Renoised()(np.asarray(0.6), told, untold, AT)
    np.testing.assert_allclose(x0, WITHOUT + 0.6 * (WITH - WITHOUT), rtol=1e-12)
    np.testing.assert_array_equal(noise, untold[1])
