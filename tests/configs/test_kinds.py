"""Kinds of condition: their names joined, their shapes side by side, their numbers in one array."""

import numpy as np
import pytest

from configs.kinds import Kinds, kinds_of


@pytest.mark.parametrize(
    "condition, shape, names, shapes, stored",
    [
        ("none", (), (), (), ()),
        ("vector", (3,), ("vector",), ((3,),), (3,)),
        ("image", (4, 4, 1), ("image",), ((4, 4, 1),), (4, 4, 1)),
        ("tokens+vector", (77, 768, 10), ("tokens", "vector"), ((77, 768), (10,)), (59146,)),
        ("text+image", (5, 4, 4, 1), ("text", "image"), ((5,), (4, 4, 1)), (21,)),
        ("image+level", (4, 2), ("image", "level"), ((4, 2), ()), (9,)),
        ("text+vector+image+level", (5, 2, 6), ("text", "vector", "image", "level"),
         ((5,), (2,), (6,), ()), (14,)),
    ],
)  # fmt: skip
def test_shapes_stand_side_by_side(condition, shape, names, shapes, stored):
    found = Kinds.of(condition, shape)
    assert (found.names, found.shapes, found.stored) == (names, shapes, stored)
    assert found.words == condition


def test_the_numbers_of_a_part_are_those_of_its_place():
    found = Kinds.of("tokens+vector", (2, 2, 3)).parted(np.arange(14).reshape(2, 7))
    np.testing.assert_array_equal(found["tokens"][1], [[7, 8], [9, 10]])
    np.testing.assert_array_equal(found["vector"][0], [4, 5, 6])
    with pytest.raises(ValueError, match=r"tokens\+vector must be 7 numbers each, got \(8,\)"):
        Kinds.of("tokens+vector", (2, 2, 3)).parted(np.zeros((2, 8)))


@pytest.mark.parametrize(
    "condition, message",
    [
        (
            "vectr",
            r"model\.condition must be none, one of text, .* got 'vectr' \(did you mean 'vector'",
        ),
        ("none+image", "got 'none\\+image'"),
        ("image+text", "in the order text, .*: 'text\\+image', got 'image\\+text'"),
        ("image+image", "each kind once"),
        ("text+tokens", "one of text and tokens"),
        ("level", "an image whose noise the level is"),
        ("vector+level", "an image whose noise the level is"),
        ("", "got ''"),
    ],
)
def test_kinds_that_do_not_go_together_are_refused(condition, message):
    with pytest.raises(ValueError, match=message):
        kinds_of(condition)


@pytest.mark.parametrize("shape", [(77,), (77, 768), (77, 768, 10, 3)])
def test_shapes_of_another_rank_are_refused(shape):
    with pytest.raises(ValueError, match=r"data\.condition must be the shapes of tokens\+vector"):
        Kinds.of("tokens+vector", shape)
    with pytest.raises(ValueError, match=r"data\.condition must be the shapes of text\+image"):
        Kinds.of("text+image", (5,))
