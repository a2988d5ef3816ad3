"""Hashed keys: bits are uniform, and independent of place, key and width, as far as counted."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.layers.keys import HASHED, hashed, mix

KEY = hashed(jax.random.key(3))


def test_every_bit_is_a_fair_coin():
    bits = np.asarray(jax.random.bits(KEY, (300, 7, 91), jnp.uint32)).ravel()
    heads = [np.mean((bits >> i) & 1) for i in range(32)]
    # 32 means of 191,100 coins, within 4.5 standard deviations: wrongly refused once in 4,600.
    np.testing.assert_allclose(heads, 0.5, atol=4.5 * 0.5 / np.sqrt(bits.size))


@pytest.mark.parametrize("shape", [(65536,), (256, 256), (8, 16, 16, 32)])
def test_uniform_numbers_fill_their_range_evenly(shape):
    counts, _ = np.histogram(jax.random.uniform(KEY, shape), bins=256, range=(0, 1))
    chi = np.sum((counts - 256.0) ** 2 / 256.0)
    # 255 degrees of freedom: five standard deviations of sqrt(2 x 255).
    assert abs(chi - 255) < 5 * np.sqrt(2 * 255)


def streams():
    """Numbers of keys that are near each other: folded in, split, folded in again, other seeds."""
    near = [jax.random.fold_in(KEY, n) for n in (0, 1, 2, 2**31)]
    near += [jax.random.split(KEY, 4)[3], jax.random.fold_in(near[1], 1), KEY]
    near += [hashed(jax.random.key(4))]
    return [np.asarray(jax.random.normal(key, (2**16,))) for key in near]


def test_streams_of_near_keys_and_neighbours_within_one_are_uncorrelated():
    all_streams = streams()
    limit = 5 / np.sqrt(2**16)  # of standard deviations of a correlation
    for one, other in itertools.combinations(all_streams, 2):
        assert abs(np.mean(one * other)) < limit
    for one in all_streams:
        for lag in (1, 2, 3, 64, 256):
            assert abs(np.mean(one[lag:] * one[:-lag])) < limit


def test_keys_that_are_split_off_or_folded_in_are_distinct():
    several = jax.random.key_data(jax.random.split(KEY, (40, 50)))
    assert several.shape == (40, 50, 2)
    folded = jax.vmap(jax.random.fold_in, (None, 0))(KEY, jnp.arange(5000, 7000))
    words = np.concatenate([several.reshape(-1, 2), jax.random.key_data(folded)])
    assert len(np.unique(words[:, 0])) == len(words)
    assert len(np.unique(words, axis=0)) == len(words)


def test_bits_are_those_of_the_key_at_every_width(float64):
    wide = np.asarray(jax.random.bits(KEY, (1000,), jnp.uint64))
    low, high = wide & 0xFFFFFFFF, wide >> 32
    for width in (8, 16, 32):
        narrow = np.asarray(jax.random.bits(KEY, (1000,), f"uint{width}"))
        np.testing.assert_array_equal(narrow, high >> (32 - width))
    correlation = np.corrcoef(low.astype(float), high.astype(float))[0, 1]
    assert abs(correlation) < 5 / np.sqrt(1000)


def test_half_of_64_bits_does_not_tell_the_other(float64):
    keys = (jax.random.wrap_key_data(jnp.array([7, n], jnp.uint32), impl=HASHED) for n in (1, 2))
    one, other = (np.asarray(jax.random.bits(key, (2**18,), jnp.uint64)) for key in keys)
    same, i, j = np.intersect1d(one >> 32, other >> 32, return_indices=True)
    assert len(same) > 2  # 16 expected
    assert not np.any(one[i] == other[j])


def test_every_bit_of_a_word_moves_half_of_the_bits_of_its_mix():
    words = np.random.default_rng(0).integers(0, 2**32, 4096, dtype=np.uint32)
    for i in range(32):
        moved = np.asarray(mix(jnp.asarray(words)) ^ mix(jnp.asarray(words ^ np.uint32(1 << i))))
        # Each of 32 means of 4,096 coins, with room for what mix lacks of a perfect hash.
        shares = [np.mean((moved >> k) & 1) for k in range(32)]
        assert np.mean(shares) == pytest.approx(0.5, abs=0.01)
        assert min(shares) > 0.4
        assert max(shares) < 0.6


def test_keys_of_every_kind_can_be_hashed_and_differ():
    made = [hashed(jax.random.key(1, impl=kind)) for kind in ("threefry2x32", "rbg")]
    made += [hashed(jax.random.key(2)), hashed(hashed(jax.random.key(2)))]
    first = [np.asarray(jax.random.bits(key, (4,), jnp.uint32)) for key in made]
    np.testing.assert_array_equal(first[2], first[3])
    assert not np.array_equal(first[1], first[2])
