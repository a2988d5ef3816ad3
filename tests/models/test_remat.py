"""model.remat: the same function, the same draws, less memory from forward to backward pass."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from models.layers.cpu.barriers import compiler_options
from models.layers.cpu.switch import TUNED
from models.layers.remat import REMATS, joining
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


class Skipping(nn.Module):
    """Blocks of 8 channels, four down and four up, which see the results of the way down."""

    remat: str

    @nn.compact
    def __call__(self, x):
        remat, steps = REMATS[self.remat], 4
        block = lambda name: nn.Sequential([nn.silu, nn.Dense(8), nn.silu, nn.Dense(8)], name=name)
        skips = [x]
        for i in range(steps):
            skips.append(remat(block(f"down_{i}"))(skips[-1]))
        h = skips[-1]
        for i in range(steps):
            h = remat(block(f"up_{i}"), joining)(h, skips.pop())
        return h


def skipping(remat):
    """(the network's gradient by x, its backward pass, parameters and x as shapes)."""
    net, x = Skipping(remat), jax.ShapeDtypeStruct((4096, 8), jnp.float32)
    params = jax.eval_shape(net.init, jax.random.key(0), x)
    back = lambda params, x: jax.vjp(lambda x: net.apply(params, x), x)[1]
    gradient = lambda params, x: back(params, x)(x)[0]
    return gradient, back, (params, x)


def test_of_a_block_that_sees_a_skip_both_are_kept_and_not_what_is_joined():
    _, back, given = skipping("blocks")
    kept = [leaf.shape for leaf in jax.tree.leaves(jax.eval_shape(back, *given)) if leaf.ndim == 2]
    assert sum(shape == (4096, 8) for shape in kept) == 8
    assert not any(shape == (4096, 16) for shape in kept)


def test_gradients_of_skips_are_parted_from_those_of_what_is_joined_at_once():
    gradient, _, given = skipping("blocks")
    # By this pass jax 0.10 undoes remat on a CPU.
    kept = {"xla_disable_hlo_passes": "cse_barrier_expander"}

    def needed(tuned):
        with TUNED(tuned):
            compiled = jax.jit(lambda *args: gradient(*args), compiler_options=kept).lower(*given)
        return compiled.compile().memory_analysis().temp_size_in_bytes

    # 13 and 28 times x: nothing of two widths is kept.
    assert needed(True) < 0.6 * needed(False)


@pytest.mark.parametrize(
    "tuned, backend, same",
    [(True, "cpu", "products"), (True, "gpu", "none"), (False, "cpu", "none")],
)
def test_by_default_products_alone_are_kept_on_cpus(tuned, backend, same, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)

    def of(remat):
        _, back, given = skipping(remat)
        with TUNED(tuned):
            kept = jax.tree.leaves(jax.eval_shape(back, *given))
        return sorted(str(leaf.shape) for leaf in kept)

    assert of("auto") == of(same)
    assert of("none") != of("products")


def test_options_for_barriers_are_those_of_programs_for_cpus(monkeypatch):
    assert list(compiler_options()) == ["xla_disable_hlo_passes"]
    with TUNED(False):
        assert compiler_options() == {}
    with monkeypatch.context() as own:
        own.setenv("XLA_FLAGS", "--xla_disable_hlo_passes=algsimp")
        assert compiler_options() == {}
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert compiler_options() == {}


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
