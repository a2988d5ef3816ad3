"""Captions as conditions: their order, masks, nulls, and the file that keeps them."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from models.pretrained.files.tensors import PretrainedError
from models.text_encoders import conditions
from models.text_encoders.conditions import (
    TextSettings,
    read_text_encoder,
    stored_conditions,
    text_conditions,
)
from tests.models.text_encoders.towers import written

TOKENIZER = Path(__file__).parents[2] / "golden" / "latent" / "clip_tokenizer"
CAPTIONS = ["a bold red letter", "digit 7", ""]
N = 12
SETTINGS = TextSettings(length=N, pooled=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A pipeline of two readers, of 8 and 6 features, whose second projects to 4."""
    path = tmp_path_factory.mktemp("pipeline")
    written(path / "text_encoder")
    written(path / "text_encoder_2", seed=1, hidden_size=6, intermediate_size=12)
    for name in ("tokenizer", "tokenizer_2"):
        shutil.copytree(TOKENIZER, path / name)
    return path


@pytest.fixture(scope="module")
def encoder(folder):
    return read_text_encoder(folder, SETTINGS)


@pytest.fixture(scope="module")
def hidden(encoder):
    """All features of the captions, by each reader."""

    @jax.jit
    def read(ids, params):
        return [t.described.network.apply({"params": p}, x)
                for t, x, p in zip(encoder.towers, ids, params, strict=True)]  # fmt: skip

    ids = [tower.tokenizer(CAPTIONS, N)[0] for tower in encoder.towers]
    return read(ids, [tower.params for tower in encoder.towers])


def split(rows):
    return rows[:, : N * 14].reshape(len(rows), N, 14), rows[:, N * 14 :]


def test_features_of_two_readers_stand_side_by_side_and_the_pooled_are_the_seconds(encoder, hidden):
    tokens, pooled = split(text_conditions(CAPTIONS, encoder, SETTINGS))
    assert encoder.shape(SETTINGS) == (N, 14, 4)
    one, other = hidden
    # Another size of batch, and so another order of sums.
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)
    close(tokens[..., :8], one.normed[-1])
    close(tokens[..., 8:], other.normed[-1])
    close(pooled, other.pooled)


@pytest.mark.parametrize("normed", [False, True])
def test_the_layer_and_its_norm_are_as_set(encoder, hidden, normed):
    settings = dataclasses.replace(SETTINGS, layer=-2, normed=normed)
    tokens, pooled = split(text_conditions(CAPTIONS, encoder, settings))
    expected = (hidden[0].normed if normed else hidden[0].states)[-2]
    np.testing.assert_allclose(tokens[..., :8], expected, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(pooled, hidden[1].pooled, rtol=2e-5, atol=1e-6)


def test_a_condition_does_not_depend_on_the_others(encoder):
    alone = text_conditions(CAPTIONS[1:2], encoder, SETTINGS)
    many = text_conditions(["a letter"] * 40 + CAPTIONS, encoder, SETTINGS)
    np.testing.assert_array_equal(many[41:42], alone)


def test_padding_is_not_shown_to_the_network_if_so_set(encoder):
    settings = dataclasses.replace(SETTINGS, mask="network")
    shown = np.isfinite(split(text_conditions(CAPTIONS, encoder, settings))[0]).all(-1)
    there = encoder.towers[0].tokenizer(CAPTIONS, N)[1]
    np.testing.assert_array_equal(shown, there)
    assert np.isfinite(text_conditions(CAPTIONS, encoder, SETTINGS)).all()


def test_padding_hidden_from_the_other_tokens_changes_nothing_before_it(encoder):
    # The reader is causal: what comes after a token does not reach it.
    settings = dataclasses.replace(SETTINGS, mask="encoder")
    there = encoder.towers[0].tokenizer(CAPTIONS, N)[1]
    one, other = (split(text_conditions(CAPTIONS, encoder, s))[0] for s in (SETTINGS, settings))
    np.testing.assert_allclose(one[there], other[there], rtol=2e-5, atol=1e-6)
    assert np.abs(one[~there] - other[~there]).max() > 1e-2


@pytest.mark.parametrize("nothing", conditions.NOTHING)
def test_no_text_is_what_the_setting_says(encoder, nothing):
    settings = dataclasses.replace(SETTINGS, nothing=nothing)
    none, empty = text_conditions([None, ""], encoder, settings)
    assert np.isfinite(empty).all()
    expected = {"empty": empty, "zeros": np.zeros_like(empty)}
    if nothing == "masked":
        assert np.isnan(none).all()
    else:
        np.testing.assert_array_equal(none, expected[nothing])


def test_conditions_are_computed_once_and_kept_beside_the_data(encoder, tmp_path, monkeypatch):
    captions = [*CAPTIONS, CAPTIONS[0], None]
    said: list[str] = []
    first = stored_conditions(captions, encoder, SETTINGS, tmp_path, said.append)
    np.testing.assert_array_equal(first, text_conditions(captions, encoder, SETTINGS))
    assert "4 different captions of 5" in said[0]
    monkeypatch.setattr(conditions, "text_conditions", None)
    again = stored_conditions(captions, encoder, SETTINGS, tmp_path, said.append)
    np.testing.assert_array_equal(again, first)
    assert len(said) == len(list(tmp_path.iterdir())) == 1


def test_other_captions_settings_or_files_have_another_identity(encoder, folder, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other")
    (other / "text_encoder" / "notes.txt").write_text("changed")
    changed = read_text_encoder(other, SETTINGS)
    settings = dataclasses.replace(SETTINGS, layer=-2)
    found = {
        conditions.identity(*given)
        for given in [
            (CAPTIONS, encoder, SETTINGS), (CAPTIONS[:2], encoder, SETTINGS),
            (CAPTIONS, encoder, settings), (CAPTIONS, changed, SETTINGS),
            (["", "x"], encoder, SETTINGS), ([None, "x"], encoder, SETTINGS),
        ]
    }  # fmt: skip
    assert len(found) == 6


@pytest.mark.parametrize(
    "change, said",
    [
        ({"layer": -4}, "data.text_layer must be from -3"),
        ({"layer": 0}, "data.text_layer must be from -3"),
        ({"length": 100}, "takes 77 tokens"),
    ],
)
def test_settings_that_the_readers_cannot_have_are_refused(folder, change, said):
    with pytest.raises(PretrainedError, match=said):
        read_text_encoder(folder, dataclasses.replace(SETTINGS, **change))


def test_a_caption_longer_than_the_context_is_refused_or_truncated(encoder):
    long = ["a bold red letter " * 5]
    with pytest.raises(ValueError, match="at most 12 tokens"):
        text_conditions(long, encoder, SETTINGS)
    settings = dataclasses.replace(SETTINGS, truncate=True)
    assert np.isfinite(text_conditions(long, encoder, settings)).all()
