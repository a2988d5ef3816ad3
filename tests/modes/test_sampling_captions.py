"""Captions that samples are drawn from: a text, a file of several, or those of the data."""

from types import SimpleNamespace

import numpy as np
import pytest

from configs import glyphs
from configs.recorded import Recorded
from modes.array_files import captions_of
from modes.conditions import of_sampling

WORDS = "a bold digit latin letter monospace one regular sans serif slanted small times upright"


def experiment(**sampling):
    config = glyphs.get_config("smoke")
    config.data.words, config.data.condition, config.model.vocabulary = WORDS, (4,), 14
    config.sampling.update(sampling)
    return SimpleNamespace(config=Recorded.of(config), classes=0)


def given(tmp_path, **sampling):
    return of_sampling(experiment(**sampling), tmp_path, lambda line: None)


def test_a_caption_is_the_words_of_its_condition(tmp_path):
    found, several = given(tmp_path, captions="Bold digit one.")
    np.testing.assert_array_equal(found.conditions, [[1, 2, 6, -1]])
    assert found.captions.tolist() == ["Bold digit one."]
    assert not several


@pytest.mark.parametrize("ending", ["txt", "npz"])
def test_a_file_has_several_captions(tmp_path, ending):
    path = tmp_path / f"said.{ending}"
    if ending == "npz":
        np.savez(path, captions=["digit one", "bold digit one"], samples=np.zeros(2))
    else:
        path.write_text("digit one\n\nbold digit one\n")
    found, _ = given(tmp_path, captions=str(path))
    np.testing.assert_array_equal(found.conditions, [[2, 6, -1, -1], [1, 2, 6, -1]])


def test_without_any_those_of_a_split_are_taken(tmp_path):
    config = glyphs.get_config("smoke")
    made = experiment()
    made.config.data.words = (
        "bold capital digit eight five four latin letter monospace nine one regular sans serif "
        "seven six slanted three times two upright zero " + " ".join("abcdefghijklmnopqrstuvwxyz")
    )
    made.config.data.condition, made.config.model.vocabulary = (8,), 48
    assert config.eval.split == "test"
    found, _ = of_sampling(made, tmp_path, lambda line: None)
    assert len(found.captions) == 72  # of 36 glyphs in 16 styles an eighth
    assert (found.conditions[:, 4] >= 0).all()


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ({"captions": "bold digit onee"}, r"got 'onee' \(did you mean 'one'\?\)"),
        ({"captions": "bold slanted serif digit one"}, "at most 4 words"),
        ({"captions": "none.txt"}, "sampling.captions cannot be read: No such file"),
        ({"captions": "digit one", "condition": "c.npy"}, "sampling.captions must be empty"),
        ({"captions": "digit one", "together": True}, "sampling.together must be left out"),
    ],
)
def test_captions_that_cannot_be_read_are_refused(tmp_path, sampling, message):
    with pytest.raises(ValueError, match=message):
        given(tmp_path, **sampling)


def test_captions_are_refused_for_a_model_without_words(tmp_path):
    made = experiment(captions="digit one")
    made.config.data.words = ""
    with pytest.raises(ValueError, match=r"sampling.captions must be empty for a model that was"):
        of_sampling(made, tmp_path, print)


def test_a_file_without_captions_is_refused(tmp_path):
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(ValueError, match=r"sampling.captions must have a caption"):
        captions_of(str(tmp_path / "empty.txt"))
    np.savez(tmp_path / "numbers.npz", captions=np.zeros(2))
    with pytest.raises(ValueError, match=r"cannot be read: its captions must be texts"):
        captions_of(str(tmp_path / "numbers.npz"))
