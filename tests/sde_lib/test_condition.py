"""Conditions: the parts of each kind, the null of each part."""

import jax.numpy as jnp
import numpy as np

from configs.kinds import RANKS, Kinds
from sde_lib.condition import CONDITIONS, assembled, null_of, with_part


def test_labels_alone_stay_an_array() -> None:
    labels = jnp.arange(3)
    assert assembled(Kinds(), labels, None) is labels
    assert assembled(Kinds(), None, None) is None


def test_each_kind_has_its_parts() -> None:
    labels, values = jnp.arange(2), jnp.ones((2, 4))
    assert set(assembled(Kinds.of("vector"), labels, values)) == {"label", "vector"}
    assert set(assembled(Kinds.of("image"), None, jnp.ones((2, 4, 4, 1)))) == {"image"}
    assert set(assembled(Kinds.of("vector"), None, values, values)) == {"vector", "observed"}


def test_tokens_with_a_nan_are_not_there() -> None:
    values = jnp.asarray([[[1.0, 2.0], [jnp.nan, 3.0]]])
    found = assembled(Kinds.of("tokens"), None, values)
    np.testing.assert_array_equal(found["mask"], [[True, False]])
    np.testing.assert_array_equal(found["tokens"], [[[1, 2], [0, 0]]])


def test_words_of_a_text_are_numbers_and_others_are_not_there() -> None:
    found = assembled(
        Kinds.of("text"), jnp.arange(2), jnp.asarray([[3.0, 0.0, -1.0], [7.0, jnp.nan, 2.0]])
    )
    np.testing.assert_array_equal(found["mask"], [[True, True, False], [True, False, True]])
    np.testing.assert_array_equal(found["tokens"], [[3, 0, 0], [7, 0, 2]])
    assert found["tokens"].dtype == jnp.int32
    null = null_of(found)
    assert not null["mask"].any()
    assert null["tokens"].dtype == jnp.int32


def test_the_null_says_nothing() -> None:
    condition = {"label": jnp.arange(2), "vector": jnp.ones((2, 3)), "mask": jnp.ones((2, 4), bool),
                 "augment": jnp.ones((2, 5)), "observed": jnp.zeros((2, 3)),
                 "image": None}  # fmt: skip
    null = null_of(condition)
    np.testing.assert_array_equal(null["label"], [-1, -1])
    assert null["label"].dtype == condition["label"].dtype
    assert bool(jnp.isnan(null["vector"]).all())
    assert not null["mask"].any()
    assert not null["augment"].any()
    assert bool((null["observed"] == 1).all())
    assert null["image"] is None
    np.testing.assert_array_equal(null_of(jnp.arange(2)), [-1, -1])
    assert null_of(None) is None


def test_a_part_is_added_to_labels_or_to_parts() -> None:
    labels = jnp.arange(2)
    assert set(with_part(labels, "augment", labels)) == {"label", "augment"}
    assert set(with_part({"vector": labels}, "augment", labels)) == {"vector", "augment"}


def test_every_kind_has_a_rank_and_parts() -> None:
    assert set(CONDITIONS) == {"none", *RANKS}


def test_several_kinds_are_parted_from_one_array() -> None:
    kinds = Kinds.of("text+image+level", (2, 3, 1, 1))
    assert kinds.stored == (6,)
    values = jnp.asarray([[4.0, -1, 0.1, 0.2, jnp.nan, 0.7]])
    found = assembled(kinds, None, values)
    assert set(found) == {"tokens", "mask", "image", "level"}
    np.testing.assert_array_equal(found["tokens"], [[4, 0]])
    np.testing.assert_array_equal(found["mask"], [[True, False]])
    np.testing.assert_array_equal(found["image"], values[:, 2:5].reshape(1, 3, 1, 1))
    np.testing.assert_array_equal(found["level"], values[:, 5])
    null = null_of(found)
    assert bool(jnp.isnan(null["level"]).all())
    assert bool(jnp.isnan(null["image"]).all())
    assert not null["mask"].any()


def test_parts_that_are_kept_stay_in_the_null() -> None:
    condition = {"vector": jnp.ones((2, 3)), "level": jnp.ones(2), "label": jnp.arange(2)}
    null = null_of(condition, ("level",))
    np.testing.assert_array_equal(null["level"], 1)
    assert bool(jnp.isnan(null["vector"]).all())
    np.testing.assert_array_equal(null["label"], [-1, -1])
