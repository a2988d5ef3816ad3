"""The held-out part, of each image alone; the identity of a dataset, which tells what changed."""

import numpy as np
import pytest

from data_lib import Identity, Images, Splits, digests
from data_lib.base import held_out, hold_out

SHAPE = (4, 4, 1)


def pictures(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *SHAPE), dtype=np.uint8)


def split(pixels, labels=None, fraction=0.1, levels=256):
    return hold_out(Images(pixels.copy(), labels, levels), fraction, "x")


def rows(images):
    return {image.tobytes() for image in images.pixels}


@pytest.mark.parametrize("n, more", [(100, 10), (1000, 1), (1000, 100)])
@pytest.mark.parametrize("where", ["after", "before", "between"])
def test_images_that_are_added_move_no_other(n, more, where):
    old, new = pictures(n), pictures(more, seed=1)
    at = {"after": n, "before": 0, "between": n // 2}[where]
    before, now = split(old), split(np.insert(old, at, new, axis=0))
    assert rows(before.test) <= rows(now.test)
    assert rows(before.train) <= rows(now.train)


def test_images_that_are_taken_away_move_no_other():
    old = pictures(1000)
    before, now = split(old), split(old[::2])
    assert rows(now.test) <= rows(before.test)
    assert rows(now.train) <= rows(before.train)


def test_a_copy_goes_where_the_image_is():
    old = pictures(200)
    now = split(np.concatenate([old, old[::-1]]))
    assert not rows(now.train) & rows(now.test)


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5, 0.9])
def test_so_many_are_held_out_as_a_binomial_law_says(fraction):
    n = 20_000
    count = len(held_out(n, fraction)[1])
    # four standard deviations: of four fixed sets of hashes, one would fail once in 4,000 choices
    assert abs(count - fraction * n) < 4 * np.sqrt(n * fraction * (1 - fraction))


def test_a_larger_fraction_holds_out_more_beside_the_same():
    few, many = (set(held_out(1000, f)[1].tolist()) for f in (0.1, 0.2))
    assert few < many


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("fraction", [0.001, 0.999])
@pytest.mark.parametrize("same", [True, False])
def test_of_few_images_there_is_one_at_least_on_each_side(n, fraction, same):
    pixels = np.repeat(pictures(1), n, axis=0) if same else pictures(n)
    found = split(pixels, fraction=fraction)
    assert min(len(found.train), len(found.test)) == 1
    assert len(found.train) + len(found.test) == n


def test_one_image_is_refused():
    with pytest.raises(ValueError, match=r"data\.test_fraction must leave examples .* 0\.1 of 1 "):
        split(pictures(1))


@pytest.mark.parametrize("writeable", [True, False])
def test_pixels_labels_and_hashes_stay_together_and_in_order(writeable):
    n = 5000  # of blocks of 1,024 that are moved
    pixels, labels = pictures(n), np.arange(n, dtype=np.int32)
    pixels.flags.writeable = writeable
    original = pixels.copy()
    found = hold_out(Images(pixels, labels, 256), 0.3, "x")
    for part in (found.train, found.test):
        assert (np.diff(part.labels) > 0).all()
        np.testing.assert_array_equal(part.pixels, original[part.labels])
        np.testing.assert_array_equal(part.digests, digests.of_rows(part.pixels))
    assert np.shares_memory(found.train.pixels, pixels) == writeable
    both = np.concatenate([found.train.labels, found.test.labels])
    np.testing.assert_array_equal(np.sort(both), labels)


def test_hashes_are_of_content_and_the_same_everywhere():
    x = np.arange(6, dtype=np.uint8).reshape(2, 3)
    # BLAKE2b of 8 bytes, little-endian
    assert digests.of_rows(x).tolist() == [0x36A4A06801C279E8, 0xE960CDAFA0482554]
    np.testing.assert_array_equal(digests.of_rows(np.asfortranarray(x)), digests.of_rows(x))


def test_a_files_hash_is_that_of_its_bytes(tmp_path):
    x = np.arange(6, dtype=np.uint8).reshape(2, 3)
    (tmp_path / "x").write_bytes(x[1].tobytes())
    assert digests.of_file(tmp_path / "x") == digests.of_rows(x)[1]


# Identity -----------------------------------------------------------------------------------------


def identity(train, test, labels=None, labelled=True, levels=256):
    """Identity of some of 40 images, by their numbers; a label is the number unless given."""
    every = pictures(40)
    images = [
        Images(
            every[part], np.asarray((labels or (lambda k: k))(np.asarray(part)), np.int32), levels
        )
        for part in (train, test)
    ]
    return Identity.of(Splits(*images, "x"), labelled=labelled)


TRAIN, TEST = list(range(10)), [10, 11, 12]
CHANGES = {
    "nothing": ((TRAIN, TEST), ""),
    "the order": ((TRAIN[::-1], TEST[::-1]), ""),
    "added": (([*TRAIN, 20, 21], TEST), "examples: 2 added"),
    "added to both": (([*TRAIN, 20], [*TEST, 21]), "examples: 2 added"),
    "removed": ((TRAIN[1:], TEST), "examples: 1 removed"),
    "exchanged": (([20, *TRAIN[1:]], TEST), "examples: 1 added, 1 removed"),
    "a copy": (([*TRAIN, 3], TEST), "examples: 1 added"),
    "held out, trained on": (([*TRAIN, 10], TEST[1:]),
                             "examples: 1 held out before and trained on now"),
    "trained on, held out": ((TRAIN[1:], [*TEST, 0]),
                             "examples: 1 trained on before and held out now"),
    "others": (([30], [31]), "examples: 2 added, 13 removed"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_the_difference_of_two_datasets_is_counted(name):
    now, expected = CHANGES[name]
    assert identity(TRAIN, TEST).changes(identity(*now)) == expected


def test_copies_that_were_there_before_are_no_change():
    copied = identity([0, 1, 2], [2, 3])
    assert copied.changes(identity([0, 1, 2], [2, 3])) == ""
    assert copied.changes(identity([0, 1, 2, 4], [2, 3])) == "examples: 1 added"


def test_labels_count_where_they_matter_and_levels_always():
    other = lambda k: k // 2
    told = "the same examples have other labels, or another number of levels"
    assert identity(TRAIN, TEST).changes(identity(TRAIN, TEST, other)) == told
    quiet = [identity(TRAIN, TEST, labels, labelled=False) for labels in (None, other)]
    assert quiet[0].changes(quiet[1]) == ""
    assert identity(TRAIN, TEST).changes(identity(TRAIN, TEST, levels=17)) == told


def test_an_identity_comes_back_from_its_arrays():
    before = identity(TRAIN, TEST)
    assert before.changes(Identity.from_arrays(before.arrays())) == ""
    for broken in ({}, {**before.arrays(), "test": np.arange(3)}, {"train": before.train}):
        with pytest.raises(ValueError, match="does not say which examples"):
            Identity.from_arrays(broken)
