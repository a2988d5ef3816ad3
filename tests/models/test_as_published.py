"""A network that is given its condition as published."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import build, inputs
from models.as_published import AsPublished
from models.build import NetworkRow
from tests.models.cases import config_of

X = jnp.ones((64, 3))


class Told(nn.Module):
    """A network that keeps what it was told."""

    @nn.compact
    def __call__(self, x: Any, label: Any, condition: Any = None, *, train: bool = False) -> Any:
        self.sow("seen", "condition", condition)
        return x


def told(condition: Any, taken: inputs.Inputs, train: bool = False) -> Any:
    network = AsPublished(Told(), taken)
    rngs = {"dropout": jax.random.key(0)}
    _, seen = network.apply({}, X, X[:, 0], condition, train=train, rngs=rngs, mutable=["seen"])
    return seen["seen"]["condition"][0]


def tokens() -> dict[str, jax.Array]:
    values = jax.random.normal(jax.random.key(1), (64, 5, 2))
    return {"tokens": values, "label": jnp.arange(64)}


GIVEN = {"condition": "tokens", "condition_dropout": 0.5, "data__condition": (5, 2)}
INPUTS = inputs.read(config_of("mlp", (3,), **GIVEN))


def test_parts_are_given_as_they_are_and_absent_ones_stay_absent():
    found = told(tokens(), INPUTS)
    assert set(found) == {"tokens", "label"}
    np.testing.assert_array_equal(found["tokens"], tokens()["tokens"])
    assert told(None, INPUTS) is None


def test_while_training_all_parts_of_some_examples_are_their_nulls():
    given, found = tokens(), told(tokens(), INPUTS, train=True)
    hidden = ~np.asarray(found["mask"]).any(1)
    assert 10 < hidden.sum() < 54
    np.testing.assert_array_equal(found["mask"], np.repeat(~hidden[:, None], 5, axis=1))
    np.testing.assert_array_equal(
        found["tokens"], np.where(hidden[:, None, None], 0, given["tokens"])
    )
    np.testing.assert_array_equal(found["label"], given["label"])


def test_nothing_is_hidden_without_training():
    assert "mask" not in told(tokens(), INPUTS)


def test_a_part_that_the_network_does_not_take_is_refused():
    with pytest.raises(ValueError, match=r"model\.condition must be 'image'"):
        told({"image": X}, INPUTS)


def test_missing_values_are_refused(monkeypatch):
    row = NetworkRow(lambda config: Told(), kinds=("tokens",), raw=True)
    monkeypatch.setitem(build.__globals__["NETWORKS"], "told", row)
    plain = config_of("mlp", (3,), **GIVEN)
    plain.model.name = "told"
    assert isinstance(build(plain), AsPublished)
    plain.data.missing = "mask"
    with pytest.raises(ValueError, match=r"data\.missing must be 'refuse'"):
        build(plain)
