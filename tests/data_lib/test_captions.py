"""Captions as numbers of words."""

import dataclasses

import numpy as np
import pytest

from configs.glyphs import get_config
from data_lib import captions
from data_lib.base import Images, Splits

KNOWN = "a bold letter q serif slanted"


def test_words_are_lower_case_without_what_is_between_them():
    said = captions.words("A bold,  well-lit 'Q', o'clock: 7!")
    assert said == ["bold", "well-lit", "q", "o'clock", "7"]


def test_an_article_is_dropped_at_the_beginning_only():
    assert captions.words("The letter a") == ["letter", "a"]
    assert captions.words("a") == ["a"]


def test_vocabulary_has_every_word_once_in_order():
    assert captions.vocabulary(["b a", "an a C"]) == "a b c"


def test_words_are_numbered_and_places_after_the_last_are_empty():
    rows = captions.numbered(["a bold letter a", "Q"], KNOWN, 4, "x")
    np.testing.assert_array_equal(rows, [[1, 2, 0, -1], [3, -1, -1, -1]])


def test_unknown_word_is_refused_with_the_nearest_known():
    with pytest.raises(
        ValueError, match=r"^x must .*6, got 'slantd' \(did you mean 'slanted'\?\)$"
    ):
        captions.numbered(["letter q", "slantd q"], KNOWN, 4, "x")


def test_longer_captions_than_the_model_reads_are_refused():
    with pytest.raises(ValueError, match=r"at most 2 words.*got 3: bold letter q"):
        captions.numbered(["bold letter q"], KNOWN, 2, "x")


def splits(said):
    images = Images(np.zeros((len(said), 1)), None, None, captions=np.asarray(said))
    return Splits(images, images, "d")


def test_data_leave_out_what_the_model_does_not_know_and_say_so():
    data = get_config().data
    data.words, data.condition = KNOWN, (2,)
    lines = []
    told = captions.told(splits(["bold new q", "serif letter q"]), data, lines.append)
    np.testing.assert_array_equal(told.test.condition, [[1, 3], [4, 2]])
    assert len(lines) == 2
    assert lines[0].startswith("2 of 6 words")


def test_captions_are_no_conditions_without_a_vocabulary():
    data = get_config().data
    given = splits(["a q"])
    assert captions.told(given, data, print).train.condition is None


def test_captions_are_part_of_the_content_and_go_with_their_examples():
    one = splits(["a q", "a b"]).train
    other = dataclasses.replace(one, captions=np.asarray(["a q", "a c"]))
    assert one.content()[0] == other.content()[0] != one.content()[1] != other.content()[1]
    assert one.take(slice(1, None)).captions.tolist() == ["a b"]
