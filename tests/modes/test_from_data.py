"""Settings from the data: measured once, said, saved with the workdir, and taken from there."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import models
from configs import arrays
from configs.recorded import Recorded
from data_lib import Images, Splits
from data_lib.arrays import joined
from data_lib.conditions import build_condition
from modes.from_data import resolved
from modes.images import chosen
from runtime_lib import workdir

RNG = np.random.default_rng(0)
VALUES = RNG.normal((3.0, -1.0), (2.0, 0.5), size=(200, 2))
CONDITIONS = RNG.normal(7.0, 4.0, size=(200, 3))


def splits(values: np.ndarray = VALUES, condition: np.ndarray | None = None) -> Splits:
    images = Images(values, None, None, condition=condition)
    return Splits(images.take(slice(0, 150)), images.take(slice(150, None)), "x")


def config(**settings: object) -> Recorded:
    found = arrays.get_config()
    found.data.dataset = "array"
    found.update_from_flattened_dict(settings)
    return Recorded.of(found)


def known(asked: Recorded, folder: Path, data: Splits | None, lines: list[str] | None = None):
    log = (lines if lines is not None else []).append
    return resolved(asked, folder, log, data)[0]


def test_shape_and_moments_are_those_of_the_training_data_and_are_said(tmp_path: Path) -> None:
    lines: list[str] = []
    found = known(config(), tmp_path, splits(), lines)
    assert found.data.shape == (2,)
    np.testing.assert_allclose(found.data.mean, VALUES[:150].mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.data.std, VALUES[:150].std(axis=0), rtol=1e-12)
    assert any(line.startswith("data.shape=2, taken from the training data") for line in lines)
    assert found.data.condition == ()


def test_a_workdir_keeps_what_was_measured_whatever_the_data_are_now(tmp_path: Path) -> None:
    first = known(config(), tmp_path, splits())
    workdir.claim(tmp_path, first)
    assert known(config(), tmp_path, None).data.to_dict() == first.data.to_dict()
    assert known(config(), tmp_path, splits(VALUES * 10)).data.mean == first.data.mean


def test_as_many_complete_examples_are_measured_as_asked_for(tmp_path: Path) -> None:
    values = VALUES.copy()
    values[150:158, 0] = np.nan  # the first held-out ones
    data, lines = splits(values), []
    asked = config(**{"data.missing": "mask", "eval.num_images": 4})
    found, _ = chosen(known(asked, tmp_path, data), data, lines.append)
    np.testing.assert_array_equal(found.pixels, values[158:162])
    assert lines == ["8 of 50 examples of x (test) have missing values and are left out"]


def test_a_stated_value_is_not_measured(tmp_path: Path) -> None:
    stated = {"data.mean": (0.0, 0.0), "data.std": (1.0, 1.0), "data.shape": (2,)}
    assert known(config(**stated), tmp_path, None).data.mean == (0.0, 0.0)


def test_conditions_are_measured_if_the_model_is_given_them(tmp_path: Path) -> None:
    asked = config(**{"model.condition": "vector"})
    found = known(asked, tmp_path, splits(condition=CONDITIONS))
    assert found.data.condition == (3,)
    np.testing.assert_allclose(found.data.condition_mean, CONDITIONS[:150].mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.data.condition_std, CONDITIONS[:150].std(axis=0), rtol=1e-12)
    with pytest.raises(ValueError, match=r"model.condition='vector' needs data with a condition"):
        known(asked, tmp_path, splits())


def test_auto_noise_and_scale_are_the_largest_distance_and_the_deviation(tmp_path: Path) -> None:
    auto = {"sde.sigma_max": 0.0, "model.sigma_data": 0.0, "data.codec": "identity"}
    found = known(config(**auto), tmp_path, splits())
    x = VALUES[:150]
    distances = np.sqrt(((x[:, None] - x[None]) ** 2).sum(axis=-1))
    assert found.sde.sigma_max == pytest.approx(distances.max(), rel=1e-9)
    assert found.model.sigma_data == pytest.approx(x.std(), rel=1e-9)
    assert found.data.mean == ()


def test_what_was_read_before_stays_read(tmp_path: Path) -> None:
    asked = config()
    _ = asked.optim.lr
    assert "optim.lr" in known(asked, tmp_path, splits()).record.names


CAPTIONS = np.array(["a b c", "the b"] * 100)


def test_words_of_captions_and_their_number_are_measured_and_become_conditions(
    tmp_path: Path,
) -> None:
    asked = config(**{"model.condition": "text", "data.condition_codec": "identity"})
    data = dataclasses.replace(splits().train, captions=CAPTIONS[:150])
    found, told = resolved(asked, tmp_path, print, Splits(data, data, "x"))
    assert (found.data.words, found.data.condition, found.model.vocabulary) == ("b c", (2,), 2)
    assert told is not None
    np.testing.assert_array_equal(told.test.condition[:2], [[0, 1], [0, -1]])
    workdir.claim(tmp_path, found)
    again = known(asked, tmp_path, None)
    assert (again.data.words, again.model.vocabulary) == ("b c", 2)


def test_texts_without_captions_need_the_size_of_their_vocabulary(tmp_path: Path) -> None:
    asked = {"model.condition": "text", "data.condition_codec": "identity"}
    found = known(config(**asked), tmp_path, splits(condition=CONDITIONS))
    assert (found.data.words, found.model.vocabulary) == ("", 0)
    with pytest.raises(ValueError, match=r"model.vocabulary must be set .* without captions"):
        models.check(found)
    stated = config(**asked, **{"model.vocabulary": 9})
    assert known(stated, tmp_path, splits(condition=CONDITIONS)).data.condition == (3,)


def test_the_shapes_of_several_kinds_stand_side_by_side_and_their_scales_too(tmp_path: Path):
    texts = RNG.integers(0, 9, size=(200, 4)).astype(float)
    rows, shapes = joined([texts, CONDITIONS, RNG.normal(size=(200, 5, 2)) * (1, 3)])
    images = Images(VALUES[:, None], None, None, condition=rows, condition_shapes=shapes)
    data = Splits(images.take(slice(0, 150)), images.take(slice(150, None)), "x")
    found = known(config(**{"model.condition": "text+vector+image"}), tmp_path, data)
    assert found.data.condition == (4, 3, 5, 2)
    mean = [*rows[:150, 4:7].mean(axis=0), *rows[:150, 7:].reshape(-1, 2).mean(axis=0)]
    np.testing.assert_allclose(found.data.condition_mean, mean, rtol=1e-6)
    made = build_condition(found).encode(rows[:150])
    np.testing.assert_array_equal(made[:, :4], texts[:150])
    np.testing.assert_allclose(made[:, 4:7].std(axis=0), 1, rtol=1e-6)
    np.testing.assert_allclose(made[:, 7:].reshape(-1, 2).std(axis=0), 1, rtol=1e-6)
    found.data.condition_codec = "identity+identity+standardize"
    found.data.condition_mean, found.data.condition_std = (1.0, 2.0), (2.0, 4.0)
    np.testing.assert_allclose(build_condition(found).encode(rows)[:, 8], (rows[:, 8] - 2) / 4)
    found.data.condition_codec = "standardize+identity+identity"
    with pytest.raises(ValueError, match=r"identity with model\.condition='text'"):
        build_condition(found)
    found.data.condition_codec = "identity+identity"
    with pytest.raises(ValueError, match=r"one for each kind of text\+vector\+image"):
        build_condition(found)


def test_one_array_of_several_kinds_needs_their_shapes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the shapes of text, vector side by side"):
        known(config(**{"model.condition": "text+vector"}), tmp_path, splits(condition=CONDITIONS))
