"""model.remat: the same function, the same draws, less memory from forward to backward pass."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from runtime_lib.cost import operations
from tests.models.every import IMAGES, LABELS, NETWORKS, training
from tests.slow import but_slow, slow

SHOWN = ("ncsnpp small",)


def kept_bytes(of):
    """(bytes that the backward pass needs of the forward pass, without parameters; parameters)."""
    params = of.shapes()

    def backward(p, x):
        return jax.vjp(lambda p: of.loss(p, x)[0], p)[1]

    size = lambda tree: sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
    return size(jax.eval_shape(backward, params, IMAGES)) - size(params), params


@pytest.mark.parametrize("case", but_slow(NETWORKS, *NETWORKS.keys() - SHOWN))
def test_parameters_stay_and_memory_falls(case):
    (none, params), (products, same), (blocks, again) = (
        kept_bytes(training(case, remat=remat)) for remat in ("none", "products", "blocks")
    )
    assert params == same == again
    assert blocks < 0.8 * none
    assert blocks < products < none


def test_products_are_not_computed_twice():
    def of(remat):
        case = training("ncsnpp small", remat=remat)
        gradient = jax.grad(lambda p, x: case.loss(p, x)[0])
        return operations(jax.make_jaxpr(gradient)(case.shapes(), IMAGES).jaxpr)

    assert of("none") == of("products") < of("blocks")


@cache
def found(name, sampling):
    """Loss and gradient in training; output and derivatives along two directions in sampling."""
    x, v = (jax.random.normal(jax.random.key(seed), IMAGES.shape) for seed in range(2))
    quick = {"xla_backend_optimization_level": 0}
    of = training("ncsnpp small", remat=name, dropout=0.5)
    still = lambda params, x: of.network.apply({"params": params}, x, LABELS)
    # As eval_lib.likelihood.divergence does: several directions, one pass.
    push = lambda p: jax.vmap(lambda v: jax.jvp(lambda x: still(p, x), (x,), (v,)))(
        jnp.stack([v, x])
    )
    trained = jax.value_and_grad(lambda p: of.loss(p, x)[0])
    params = jax.jit(of.params, compiler_options=quick)(jax.random.key(0))
    return jax.tree.leaves(jax.jit(push if sampling else trained, compiler_options=quick)(params))


@slow
@pytest.mark.parametrize("name", ["blocks", "products"])
@pytest.mark.parametrize("sampling", [False, True], ids=["training", "sampling"])
def test_what_is_computed_is_the_same_up_to_round_off(name, sampling):
    for ours, plain in zip(found(name, sampling), found("none", sampling), strict=True):
        assert np.any(ours)
        # Programs of different fusions: some float32 round-offs of the largest number.
        np.testing.assert_allclose(ours, plain, atol=1e-5 * max(1, np.abs(plain).max()), rtol=0)
