"""model.dtype='bfloat16': what is rounded and what is not, in every network."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from models.layers.dense import shifted
from tests.models.every import IMAGES, NETWORKS, training
from tests.slow import but_slow

LOW, EXACT = jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float32)
BLURRED = {"exp", "exp2", "log", "log1p", "sqrt", "rsqrt", "sin", "cos", "cumsum", "iota"}
"""Operations in float32 only: softmax, statistics, schedules, places and their embeddings."""
TERMS = 16
"""Longest sum that may be taken in bfloat16: of resampling's few pixels."""
ENDS = ("conditioning", "stem", "output", "output_conv", "told", "HideRows_0")


def equations(jaxpr):
    """All equations of a jaxpr and of those within it."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from equations(inner)


def hazards(jaxpr):
    """Names of the operations on bfloat16 that lose what 8 bits cannot hold."""
    for equation in equations(jaxpr):
        avals = [v.aval for v in (*equation.invars, *equation.outvars)]
        if any(getattr(aval, "dtype", None) == LOW for aval in avals):
            name = equation.primitive.name
            long = name == "reduce_sum" and avals[0].size > TERMS * avals[-1].size
            if name in BLURRED or long:
                yield name


SHOWN = ("ncsnpp", "adm")


@pytest.mark.parametrize("case", but_slow(NETWORKS, *NETWORKS.keys() - SHOWN))
def test_only_activations_are_bfloat16(case):
    low = training(case, dtype="bfloat16")
    shapes = low.shapes()
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {EXACT}

    derivative = jax.value_and_grad(low.loss, (0, 1), has_aux=True)
    jaxpr, ((_, seen), found) = jax.make_jaxpr(derivative, return_shape=True)(shapes, IMAGES)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {EXACT}
    assert not list(hazards(jaxpr.jaxpr))
    assert seen.pop("__call__")[0].dtype == EXACT
    for name, given in seen.items():
        if not name.endswith(("_input", "_output")):  # pyramids have an image beside features
            wanted = EXACT if name in ENDS else LOW
            assert {leaf.dtype for leaf in jax.tree.leaves(given["__call__"])} == {wanted}, name


def test_hazards_of_sums_and_of_softmax_are_seen():
    def blurred(x):
        return jax.nn.softmax(x), jax.vjp(lambda b: x + b, x[:1])[1](x)

    jaxpr = jax.make_jaxpr(blurred)(jnp.ones((32, 4), jnp.bfloat16)).jaxpr
    assert {"exp", "reduce_sum"} <= set(hazards(jaxpr))


def test_gradients_are_those_of_float32_but_for_rounding():
    exact, low = (training("ncsnpp small", dtype=dtype) for dtype in ("float32", "bfloat16"))
    quick = {"xla_backend_optimization_level": 0}
    params = jax.jit(exact.params, compiler_options=quick)(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), IMAGES.shape)

    def derivative(of):
        found = jax.jit(jax.value_and_grad(lambda p: of.loss(p, x)[0]), compiler_options=quick)(
            params
        )
        return found[0], np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(found[1])])

    (value, gradient), (low_value, low_gradient) = derivative(exact), derivative(low)
    assert np.isfinite(low_gradient).all()
    # bfloat16 has 8 bits: 0.4 % per operation, some twenty of them each way.
    assert abs(low_value / value - 1) < 0.02
    assert 1e-4 < np.linalg.norm(low_gradient - gradient) / np.linalg.norm(gradient) < 0.05


def test_the_gradient_of_a_shift_is_a_sum_over_all_pixels():
    h, shift = jnp.zeros((1, 64, 64, 2), jnp.bfloat16), jnp.zeros((1, 1, 1, 2))
    total = jax.grad(lambda s: shifted(h, s).astype(jnp.float32).sum())
    np.testing.assert_array_equal(total(shift)[0, 0, 0], 64 * 64)
