"""Samples in batches: all of them, each once, whatever was drawn before."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.schema import get_default
from data_lib.codec import GrayLevels, Standardize
from modes.generate import generate
from modes.generator import Generator, Given
from modes.observed import imputed
from samplers import Karras, RungeKutta, Uniform
from sde_lib import VP, Gaussian, KarrasVE, Predicted, Score, build_guidance, expand, pytree

IDENTITY = {"step": 3, "sampling": {"snr": 0.1, "norms": (1, 2)}}


class Counter:
    """Draws sample k as a picture of level k / 100, and keeps account."""

    shape = example = (8, 8, 1)
    classes, codec = 100, GrayLevels(False)

    def __init__(self, frames: int = 0, scale: float = 1.0):
        self.calls: list[tuple[int, int]] = []
        self.frames, self.scale = frames, scale

    def draw(self, first: int, count: int) -> dict[str, np.ndarray]:
        self.calls.append((first, count))
        levels = self.scale * np.arange(first, first + count, dtype=np.float32) / 100
        samples = np.ones((count, 8, 8, 1), np.float32) * levels[:, None, None, None]
        drawn = {"samples": samples, "labels": np.arange(first, first + count)}
        drawn["evaluations"] = np.full(count, 5)
        if self.frames:
            drawn["frames"] = np.stack([samples] * self.frames)
        return drawn


class Interrupted(Counter):
    """Is killed at its second batch."""

    def draw(self, first: int, count: int) -> dict[str, np.ndarray]:
        if self.calls:
            raise KeyboardInterrupt
        return super().draw(first, count)


def run(generator, folder: Path, total: int, batch: int, identity=IDENTITY) -> tuple[dict, list]:
    lines: list[str] = []
    return generate(generator, total, batch, folder, identity, log=lines.append), lines


def levels(folder: Path) -> list[int]:
    with np.load(folder / "samples.npz") as file:
        assert (file["labels"] == np.round(100 * file["samples"][:, 0, 0, 0])).all()
        return file["labels"].tolist()


@pytest.mark.parametrize("total, batch", [(1, 1), (5, 5), (5, 2), (4, 2), (3, 8)])
def test_every_sample_is_drawn_once_in_whole_batches(tmp_path, total, batch):
    generator = Counter()
    report, _ = run(generator, tmp_path / "samples", total, batch)
    assert generator.calls == [(first, batch) for first in range(0, total, batch)]
    assert levels(tmp_path / "samples") == list(range(total))
    assert (report["num_samples"], report["nfe"], report["step"]) == (total, 5, 3)
    assert report["images_per_second_includes_compilation"] == (total <= batch)
    assert json.loads((tmp_path / "samples" / "samples.json").read_text())["nfe"] == 5


def test_an_interrupted_run_goes_on_after_its_finished_batches(tmp_path):
    folder = tmp_path / "samples"
    with pytest.raises(KeyboardInterrupt):
        run(Interrupted(), folder, 6, 2)
    assert not (folder / "samples.npz").exists()
    generator = Counter()
    _, lines = run(generator, folder, 6, 2)
    assert generator.calls == [(2, 2), (4, 2)]
    assert levels(folder) == list(range(6))
    assert any("1 of 3 batches" in line for line in lines)
    assert not (folder / "parts").exists()


def test_with_all_batches_drawn_before_no_speed_is_made_up(tmp_path):
    folder = tmp_path / "samples"
    with pytest.raises(KeyboardInterrupt):
        run(Interrupted(), folder, 6, 2)
    report, _ = run(Counter(), folder, 2, 2)
    assert report["images_per_second"] is None
    assert not report["images_per_second_includes_compilation"]
    assert levels(folder) == [0, 1]


@pytest.mark.parametrize("change", [{"step": 4}, {"sampling": {"snr": 0.2}}, {"batch": 3}])
def test_batches_of_other_settings_are_never_mixed_in(tmp_path, change):
    folder = tmp_path / "samples"
    with pytest.raises(KeyboardInterrupt):
        run(Interrupted(scale=0.5), folder, 6, 2)
    batch = change.pop("batch", 2)
    run(Counter(), folder, 6, batch, {**IDENTITY, **change})
    assert levels(folder) == list(range(6))


def test_a_damaged_batch_is_drawn_again(tmp_path):
    folder = tmp_path / "samples"
    with pytest.raises(KeyboardInterrupt):
        run(Interrupted(), folder, 6, 2)
    part = folder / "parts" / "00000000.npz"
    part.write_bytes(part.read_bytes()[:100])
    run(Counter(), folder, 6, 2)
    assert levels(folder) == list(range(6))


def test_finished_samples_of_other_settings_are_moved_aside(tmp_path):
    folder = tmp_path / "samples"
    run(Counter(frames=2), folder, 4, 2)
    for n in (1, 2):
        _, lines = run(Counter(), folder, 4, 2, {"step": 10 + n})
        assert any(f"moved to {folder}_{n}" in line for line in lines)
    found = [json.loads((tmp_path / name / "samples.json").read_text())["step"]
             for name in ("samples_1", "samples_2", "samples")]  # fmt: skip
    assert found == [3, 11, 12]
    assert (tmp_path / "samples_1" / "trajectory.gif").exists()
    assert not (folder / "trajectory.gif").exists()


def test_more_of_the_same_samples_replace_fewer_but_fewer_do_not_replace_more(tmp_path):
    folder = tmp_path / "samples"
    run(Counter(), folder, 4, 2)
    run(Counter(), folder, 6, 2)
    assert not (tmp_path / "samples_1").exists()
    run(Counter(), folder, 2, 2)
    assert levels(tmp_path / "samples_1") == list(range(6))
    assert levels(folder) == [0, 1]


@pytree
class ClassMean(Score):
    """The exact score of a point mass at 0.1 x class."""

    sde: VP

    def predict(self, x, t, condition=None):
        x0 = jnp.broadcast_to(expand(0.1 * condition.astype(x.dtype), x), x.shape)
        alpha, sigma = self.marginal(jnp.broadcast_to(t, x.shape[:1]))
        return Predicted(x0, (x - expand(alpha, x) * x0) / expand(sigma, x))


def test_every_run_of_samples_has_every_class_once_whatever_the_batches() -> None:
    sde = VP()
    generator = Generator(
        ClassMean(sde),
        RungeKutta(),
        Uniform()(sde, 4, 1.0, 0.1),
        jax.random.key(0),
        (2, 2, 1),
        GrayLevels(False),
        classes=4,
    )
    drawn = [generator.draw(first, count) for first, count in ((0, 12), (0, 5), (5, 7))]
    labels = drawn[0]["labels"].reshape(3, 4)
    assert (np.sort(labels) == np.arange(4)).all()
    assert len({tuple(row) for row in labels}) > 1
    # The network is told the same class as is reported; a point mass is denoised to itself.
    for part in drawn:
        values = np.broadcast_to(0.1 * part["labels"][:, None, None, None], part["samples"].shape)
        np.testing.assert_allclose(part["samples"], values, atol=1e-6)
    np.testing.assert_array_equal(
        drawn[0]["labels"], np.concatenate([part["labels"] for part in drawn[1:]])
    )


def test_guidance_goes_from_no_class_through_the_class_and_beyond() -> None:
    """No class is class -1: a point mass at -0.1, from which weight 3 goes three times as far."""
    sde = VP()
    grid = Uniform()(sde, 3, 1.0, 0.1)
    config = get_default()
    config.model.num_classes, config.model.label_dropout = 4, 0.1
    for weight, multiplier in ((0.0, 2), (1.0, 1), (3.0, 2)):
        config.sampling.guidance = weight
        generator = Generator(
            ClassMean(sde), RungeKutta(), grid, jax.random.key(0), (2, 2, 1), GrayLevels(False),
            classes=4, guidance=build_guidance(config),
        )  # fmt: skip
        drawn = generator.draw(0, 4)
        expected = -0.1 + weight * 0.1 * (drawn["labels"] + 1)
        np.testing.assert_allclose(drawn["samples"][:, 0, 0, 0], expected, atol=1e-6)
        # Three steps of Heun, and one to denoise: of the network, as is planned.
        assert drawn["evaluations"].tolist() == [7 * multiplier] * 4
        assert generator.planned_evaluations == 7 * multiplier


def test_samples_that_an_adaptive_solver_gave_up_are_told(tmp_path):
    class GaveUp(Counter):
        def draw(self, first: int, count: int) -> dict[str, np.ndarray]:
            drawn = super().draw(first, count)
            drawn["samples"][0] = np.nan
            return drawn

    _, lines = run(GaveUp(), tmp_path / "samples", 4, 2)
    assert any("2 of 4 samples are not finite" in line for line in lines)
    _, lines = run(Counter(), tmp_path / "others", 4, 2)
    assert not any("finite" in line for line in lines)


def test_partial_examples_are_filled_in_as_their_law_says() -> None:
    """Gaussian numbers of means (10, 20, 30) and deviations (1, 2, 4), of which some are known."""
    sde, n = KarrasVE(0.002, 20.0), 4000
    codec = Standardize((10.0, 20.0, 30.0), (1.0, 2.0, 4.0))
    correlation = jnp.asarray([[1.0, 0.8, -0.5], [0.8, 1.0, 0.0], [-0.5, 0.0, 1.0]])
    partial = np.asarray([[11.0, np.nan, np.nan], [np.nan, 18.0, 34.0]])
    generator = Generator(
        Gaussian.of(sde, jnp.zeros(3), correlation), RungeKutta(), Karras()(sde, 24, 20.0, 0.002),
        jax.random.key(0), (3,), codec, given=Given(observed=imputed(partial, codec, 3)),
    )  # fmt: skip
    drawn = generator.draw(0, 2 * n)["samples"].reshape(n, 2, 3)
    known = np.isfinite(partial)
    np.testing.assert_array_equal(drawn[:, known], np.tile(partial[known], (n, 1)))
    # Row 0: x_0 is one deviation above its mean, so the others are 0.8 and -0.5 of theirs.
    np.testing.assert_allclose(drawn[:, 0, 1:].mean(axis=0), [21.6, 28.0], atol=0.2)
    np.testing.assert_allclose(drawn[:, 0, 1:].std(axis=0), [1.2, 4 * 0.75**0.5], rtol=0.05)
    # Row 1: -1 and 1 deviations of two that are uncorrelated, -0.8 - 0.5 of the first's.
    np.testing.assert_allclose(drawn[:, 1, 0].mean(), 8.7, atol=0.03)
    np.testing.assert_allclose(drawn[:, 1, 0].std(), (1 - 0.64 - 0.25) ** 0.5, rtol=0.05)
    # A step of Heun is two predictions; each has one evaluation and three backward passes.
    assert generator.planned_evaluations == (2 * 24 + 1) * 4


def test_captions_that_samples_have_in_turn_are_in_the_file(tmp_path):
    said = np.array(["a", "b"])
    generate(Counter(), 5, 2, tmp_path / "samples", IDENTITY, beside={"captions": said}, log=print)
    with np.load(tmp_path / "samples" / "samples.npz") as file:
        assert file["captions"].tolist() == ["a", "b", "a", "b", "a"]
