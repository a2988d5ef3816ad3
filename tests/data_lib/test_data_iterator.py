"""Batches: pure functions of (seed, position), for any batch size and process count."""

import itertools

import numpy as np
import pytest

from data_lib import Batches, Images, epoch_batches
from data_lib.base import hold_out
from data_lib.codec import AsGiven, GrayLevels, Standardize

N = 37  # prime, so that no batch size divides it


def tagged(n=N, shape=(4, 4, 3), labels=True):
    """Images whose first pixel and label say which they are."""
    pixels = np.random.default_rng(0).integers(0, 256, (n, *shape), dtype=np.uint8)
    return Images(pixels, np.arange(n, dtype=np.int32) if labels else None, 256)


def batches(images=None, **changes):
    options = {"batch_size": 8, "seed": 3, "flip": True, "dequantize": True,
               "codec": GrayLevels(True)}  # fmt: skip
    return Batches(tagged() if images is None else images, **(options | changes))


def take(iterator, count):
    """`count` batches joined into one."""
    parts = list(itertools.islice(iterator, count))
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def assert_same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key])


def test_batches_have_the_stated_shapes_types_and_range():
    batch = next(batches())
    assert batch["image"].shape == (8, 4, 4, 3)
    assert batch["image"].dtype == np.float32
    assert batch["label"].shape == (8,)
    assert batch["label"].dtype == np.int32
    assert -1 <= batch["image"].min() < -0.5
    assert 0.5 < batch["image"].max() <= 1
    assert "label" not in next(batches(tagged(labels=False)))


def test_without_options_a_batch_is_the_pixels_over_255():
    images = tagged()
    batch = next(batches(images, flip=False, dequantize=False, codec=GrayLevels(False)))
    expected = images.pixels[batch["label"]] / np.float32(255)
    np.testing.assert_array_equal(batch["image"], expected)


def test_same_seed_same_stream_and_another_seed_another_stream():
    assert_same(take(batches(), 6), take(batches(), 6))
    one, other = take(batches(), 6), take(batches(seed=4), 6)
    assert (one["label"] != other["label"]).any()


@pytest.mark.parametrize("k", [1, 4, 5, 23])
def test_resuming_at_step_k_is_bitwise_the_uninterrupted_stream(k):
    whole = batches()
    for _ in range(k):
        next(whole)
    resumed = batches(start_step=k)
    assert whole.step == resumed.step == k
    assert_same(take(whole, 9), take(resumed, 9))
    assert whole.step == resumed.step == k + 9


@pytest.mark.parametrize("count", [2, 4, 8])
@pytest.mark.parametrize("shape", [(4, 4, 3), (3, 3, 1)])  # odd sizes: draws come in pairs
def test_processes_together_get_the_batches_of_one_process(count, shape):
    images = tagged(shape=shape)
    shards = [batches(images, process_index=p, process_count=count) for p in range(count)]
    for whole in itertools.islice(batches(images), 12):
        parts = [next(shard) for shard in shards]
        assert all(len(part["image"]) == 8 // count for part in parts)
        assert_same(whole, {key: np.concatenate([part[key] for part in parts]) for key in whole})


def test_the_stream_of_examples_does_not_depend_on_the_batch_size():
    assert_same(take(batches(batch_size=6), 20), take(batches(batch_size=40), 3))


def test_a_batch_larger_than_a_block_is_put_together_like_small_ones():
    images = tagged(n=11, shape=(96, 96, 3))  # 9 of them make a block of 2**18 values
    assert_same(take(batches(images, batch_size=24), 1), take(batches(images, batch_size=4), 6))


@pytest.mark.parametrize("batch_size", [1, 8, 100])
def test_every_epoch_is_a_fresh_permutation_of_all_images(batch_size):
    steps = -(-3 * N // batch_size)
    stream = take(batches(batch_size=batch_size), steps)["label"][: 3 * N].reshape(3, N)
    for epoch in stream:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(N))
    assert (stream[0] != stream[1]).any()
    assert (stream[1] != stream[2]).any()


def test_flips_are_fair_independent_of_the_order_and_fresh_each_epoch():
    pixels = np.zeros((N, 1, 2, 1), np.uint8)
    pixels[:, :, 0] = 255  # bright on the left, on the right once flipped
    images = Images(pixels, np.arange(N, dtype=np.int32), 256)
    stream = take(batches(images, batch_size=N, dequantize=False, codec=GrayLevels(False)), 200)
    flipped = stream["image"][:, 0, 1, 0] == 1
    # 7400 fair coins: a share off by 4 standard deviations (0.0058) comes once in 16,000 seeds
    assert abs(flipped.mean() - 0.5) < 4 * 0.5 / np.sqrt(flipped.size)
    share = np.array([flipped[stream["label"] == i].mean() for i in range(N)])
    assert share.min() > 0
    assert share.max() < 1


def test_dequantization_noise_is_uniform_on_each_level():
    images = Images(np.full((64, 8, 8, 1), 5, np.uint8), None, 17)
    x = take(batches(images, batch_size=64, codec=GrayLevels(False)), 20)["image"].astype(
        np.float64
    )
    u = np.sort((x * 17 - 5).ravel())
    assert u[0] >= 0
    assert u[-1] <= 1
    # Kolmogorov-Smirnov on 81,920 draws: 2 / sqrt(n) is exceeded with probability 7e-4
    assert np.abs(u - (np.arange(u.size) + 0.5) / u.size).max() < 2 / np.sqrt(u.size)
    # float32 has 2**21 values between 5 and 6, so 2 % of the draws tie by chance;
    # the same noise for each epoch would leave 5 % of them
    assert len(np.unique(u)) > 0.95 * u.size


@pytest.mark.parametrize("batch_size", [1, 8, N, 64])
@pytest.mark.parametrize("count", [1, 2])
def test_epoch_batches_give_every_image_exactly_once_in_order(batch_size, count):
    if batch_size % count:
        batch_size *= count
    images = tagged()
    shards = [
        list(
            epoch_batches(
                images,
                batch_size=batch_size,
                codec=GrayLevels(False),
                process_index=p,
                process_count=count,
            )
        )
        for p in range(count)
    ]
    assert {len(shard) for shard in shards} == {-(-N // batch_size)}
    parts = [part for step in zip(*shards, strict=True) for part in step]
    assert {part["image"].shape for part in parts} == {(batch_size // count, 4, 4, 3)}
    mask = np.concatenate([part["mask"] for part in parts])
    assert mask.dtype == np.float32
    assert mask.sum() == N
    real = {key: np.concatenate([part[key] for part in parts])[mask == 1] for key in parts[0]}
    np.testing.assert_array_equal(real["label"], np.arange(N))
    np.testing.assert_array_equal(real["image"], images.pixels / np.float32(255))


def test_evaluation_noise_of_an_image_does_not_depend_on_the_batch_size():
    def epoch(size, seed):
        parts = list(
            epoch_batches(tagged(), batch_size=size, codec=GrayLevels(True), dequantize_seed=seed)
        )
        return np.concatenate([part["image"] for part in parts])[:N]

    np.testing.assert_array_equal(epoch(5, 1), epoch(16, 1))
    assert (epoch(5, 1) != epoch(5, 2)).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 7, "process_count": 2}, "training.batch_size must be divisible by"),
        ({"batch_size": 0}, "training.batch_size must be positive"),
        ({"seed": -1}, "seed must not be negative"),
        ({"start_step": -1}, "the step to resume at must not be negative"),
        ({"process_index": 2, "process_count": 2}, "process index 2 is not one of 2"),
    ],
)
def test_options_that_cannot_be_met_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        batches(**changes)


def test_dequantization_of_continuous_images_is_refused():
    images = Images(np.zeros((4, 2, 2, 1), np.float32), None, None)
    with pytest.raises(ValueError, match=r"data.uniform_dequantization must be False"):
        batches(images)
    with pytest.raises(ValueError, match=r"data.uniform_dequantization must be False"):
        epoch_batches(images, batch_size=2, codec=GrayLevels(False), dequantize_seed=0)


def vectors(n=N):
    """Vectors whose condition says which they are, one value of each of them missing."""
    values = np.random.default_rng(0).normal(5.0, 2.0, size=(n, 3))
    values[:, 1] = np.nan
    return Images(values, None, None, condition=np.arange(2.0 * n).reshape(n, 2))


PLAIN = {"flip": False, "dequantize": False, "codec": Standardize((5.0,) * 3, (2.0,) * 3),
         "condition_codec": Standardize((1.0, 0.0), (4.0, 2.0)), "missing": True}  # fmt: skip


def test_conditions_go_with_their_examples_and_missing_values_are_told():
    images = vectors()
    found = take(batches(images, batch_size=N, **PLAIN), 1)
    number = np.rint((found["condition"][:, 0] * 4 + 1) / 2).astype(int)
    assert sorted(number) == list(range(N))
    np.testing.assert_allclose(found["condition"][:, 1] * 2, 2 * number + 1)
    expected = (images.pixels[number] - 5) / 2
    np.testing.assert_allclose(found["image"][:, [0, 2]], expected[:, [0, 2]], rtol=1e-6)
    assert (found["image"][:, 1] == 0).all()
    np.testing.assert_array_equal(found["observed"], np.tile([1, 0, 1], (N, 1)))
    assert {rows.dtype for rows in found.values()} == {np.dtype(np.float32)}


def test_an_evaluation_goes_through_conditions_in_their_order():
    plain = {k: v for k, v in PLAIN.items() if k not in ("flip", "dequantize")}
    found = [*epoch_batches(vectors(), batch_size=10, **plain)]
    first = np.concatenate([part["condition"] for part in found])[:N, 0]
    np.testing.assert_allclose(first * 4 + 1, 2 * np.arange(N))
    assert (found[-1]["observed"][:, 1] == 0).all()


def test_the_part_that_is_held_out_keeps_its_conditions():
    values = np.random.default_rng(1).normal(size=(60, 2))
    splits = hold_out(Images(values.copy(), None, None, condition=values * 3), 0.3, "x")
    for part in (splits.train, splits.test):
        np.testing.assert_array_equal(part.condition, part.pixels * 3)
    assert len(splits.train) + len(splits.test) == 60


def test_numbers_beyond_float32_are_encoded_before_they_are_rounded():
    images = Images(np.asarray([[1e9], [1e9 + 1]]), None, None)
    own = PLAIN | {"codec": Standardize((1e9,), (1.0,)), "missing": False,
                   "condition_codec": AsGiven()}  # fmt: skip
    found = next(batches(images, batch_size=2, **own))
    assert sorted(found["image"][:, 0]) == [0.0, 1.0]


def test_pieces_of_a_condition_are_exchanged_fairly_and_with_their_example():
    n, pieces = 2400, np.arange(6.0).reshape(3, 2)  # three pieces of two numbers
    images = Images(np.arange(float(n))[:, None], None, None,
                    condition=np.tile(pieces.reshape(6), (n, 1)))  # fmt: skip
    own = PLAIN | {"codec": AsGiven(), "condition_codec": AsGiven(), "missing": False}
    own["exchangeable"] = 3
    found = next(batches(images, batch_size=n, **own))["condition"]
    seen, counts = np.unique(found.reshape(-1, 3, 2)[:, :, 0], axis=0, return_counts=True)
    # All six orders, each n / 6 = 400 times within five standard deviations of 18.3.
    assert len(seen) == 6
    assert np.abs(counts - n / 6).max() < 5 * 18.3
    np.testing.assert_array_equal(found.reshape(-1, 3, 2)[:, :, 1], found[:, ::2] + 1)
    # The order belongs to the example's position in the stream, whatever the batches.
    small = take(batches(images, batch_size=10, **own), 3)
    np.testing.assert_array_equal(small["condition"], found[:30])


def test_an_evaluation_leaves_the_pieces_of_a_condition_in_place():
    plain = {k: v for k, v in PLAIN.items() if k not in ("flip", "dequantize")}
    part = next(epoch_batches(vectors(), batch_size=10, **plain))
    np.testing.assert_allclose(part["condition"][:, 1] * 2, part["condition"][:, 0] * 4 + 2)
