"""Masks: patterns by name, and the arrays of users."""

import jax.numpy as jnp
import numpy as np
import pytest

from configs import schema
from sde_lib.measurements.named import MASKED, OPERATORS
from sde_lib.measurements.patterns import MASKS, fitted
from sde_lib.tables import made

pytestmark = pytest.mark.usefixtures("float64")


def section(**settings):
    """The section `inverse` of a config with some settings."""
    inverse = schema.get_default().inverse
    inverse.update(settings)
    return inverse


def masked(name: str, shape: tuple[int, ...], **settings) -> np.ndarray:
    return made(MASKS[name], section(**settings), shape=shape)


@pytest.mark.parametrize("shape", [(6, 8, 2), (7, 3), (5,), (4, 3, 5, 1)])
@pytest.mark.parametrize("name", MASKS)
def test_a_pattern_measures_some_of_the_places(name: str, shape: tuple[int, ...]) -> None:
    found = fitted(masked(name, shape), shape)
    jnp.broadcast_shapes(found.shape, (1, *shape))
    assert 0 < found.mean() < 1


def test_patterns_are_those_of_their_names() -> None:
    shape = (4, 6, 1)
    assert masked("left", shape).tolist() == [[True] * 3 + [False] * 3] * 4
    assert masked("top", shape).tolist() == [[True] * 6] * 2 + [[False] * 6] * 2
    box = np.ones((4, 6), bool)
    box[1:3, 2:5] = False
    np.testing.assert_array_equal(masked("outside", shape), box)
    places = np.argwhere(masked("every", shape, factor=2))
    assert places.tolist() == [[i, j] for i in (1, 3) for j in (1, 3, 5)]
    drawn = masked("random", (40, 50, 1), share=0.3, mask_seed=1)
    assert drawn.sum() == 600
    assert (drawn != masked("random", (40, 50, 1), share=0.3, mask_seed=2)).any()
    assert abs(drawn[:20].mean() - 0.3) < 0.1  # five standard deviations of the share of a half


@pytest.mark.parametrize("name", ["random_lines", "even_lines"])
def test_lines_are_as_many_as_the_acceleration_leaves_and_those_in_the_middle(name: str) -> None:
    found = masked(name, (3, 40, 2), acceleration=4.0, centre=0.1)
    assert (found == found[:1]).all()
    assert found[0].sum() == 10
    assert found[0, 18:22].all()
    gaps = np.diff(np.flatnonzero(found[0]))
    assert gaps.max() <= (7 if name == "even_lines" else 40)
    # More lines in the middle than the acceleration leaves are all measured.
    assert masked(name, (1, 40, 1), acceleration=20.0, centre=0.2)[0].sum() == 8
    assert masked(name, (1, 40, 1), acceleration=100.0, centre=0.0)[0].sum() == 1


def test_masks_fit_with_and_without_channels_and_one_or_several() -> None:
    shape, mask = (4, 6, 3), masked("left", (4, 6, 3))
    expected = np.broadcast_to(mask[None, ..., None], (2, *shape))
    whole = np.broadcast_to(mask[..., None], shape)
    for given in (mask, 255 * mask.astype(np.uint8), mask[..., None], whole):
        for several in (given, np.stack([given, given])):
            found = fitted(several, shape)
            np.testing.assert_array_equal(jnp.broadcast_to(found, (2, *shape)), expected)
    one = fitted(np.array([1, 0, 0]), (3,))
    assert one.tolist() == [[1, 0, 0]]


REFUSED = {
    "another size": (np.ones((5, 6)), "inverse.mask must be of 4x6, .* got 5x6"),
    "other channels": (np.ones((4, 6, 2)), "got 4x6x2"),
    "nothing": (np.zeros((4, 6)), "it has no white"),
    "nothing of one": (np.stack([np.ones((4, 6)), np.zeros((4, 6))]), "mask 1 of 2 has no white"),
    "none": (np.ones((0, 4, 6)), "something to measure"),
    "a number": (np.ones(()), "got no axes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_mask_that_does_not_fit_is_refused_in_one_line(name: str) -> None:
    mask, words = REFUSED[name]
    with pytest.raises(ValueError, match=words) as raised:
        fitted(mask, (4, 6, 3))
    assert "\n" not in str(raised.value)


def test_every_masked_operator_has_a_pattern_of_its_own() -> None:
    assert MASKED.keys() <= OPERATORS.keys()
    assert set(MASKED.values()) <= MASKS.keys()
