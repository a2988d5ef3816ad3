"""The digest is the sum its docstring states, and no change of one element escapes it."""

import jax.numpy as jnp
import numpy as np
import pytest

from runtime_lib.checkpoints.integrity import digests


def reference(words: list[int]) -> str:
    """The definition in Python's integers."""
    total = 0
    for position, word in enumerate(words):
        z = (position << 32) + word
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        total += z ^ (z >> 31)
    return f"{total % 2**64:016x}"


def digest(array) -> str:
    return digests({"x": array})["x"]


@pytest.mark.parametrize(
    "dtype, word",
    [("float32", "<u4"), ("bfloat16", "<u2"), ("int8", "u1"), ("bool", "u1"), ("complex64", "<u4")],
)
def test_digest_is_the_stated_sum(dtype, word):
    # 300 x 300 is more than one block.
    array = np.asarray(jnp.asarray(np.random.default_rng(0).integers(0, 2, (300, 300)), dtype))
    words = np.frombuffer(array.tobytes(), word).tolist()
    assert digest(array) == digest(jnp.asarray(array)) == reference(words)
    assert digest(np.asfortranarray(array)) == reference(words)


def test_every_flip_of_one_bit_and_every_swap_changes_the_digest():
    array = np.arange(1, 33, dtype=np.uint32)
    changed = [
        array ^ (np.eye(32, dtype=np.uint32)[i] << bit) for i in range(32) for bit in range(32)
    ]
    changed += [np.roll(array, shift) for shift in range(1, 32)]
    found = {digest(each) for each in [array, *changed]}
    assert len(found) == 1 + len(changed)
