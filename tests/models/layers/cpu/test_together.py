"""Gathered trees: nothing is lost, and updates and norms are those of the arrays one by one."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import vp_digits
from models.layers.cpu.switch import TUNED
from models.layers.cpu.together import SMALL, Gathering, Together, together
from train_lib import optimizer

WIDTH = 128
assert WIDTH**2 == SMALL  # a kernel stays alone, by no number too many


def tree(seed=0, scale=1.0):
    """A kernel of SMALL numbers, one of a column less, another kernel, biases and a scalar."""
    rng = np.random.default_rng(seed)
    draw = lambda *shape: jnp.asarray(scale * rng.normal(size=shape), jnp.float32)
    return {
        "first": {"kernel": draw(WIDTH, WIDTH), "bias": draw(WIDTH)},
        "less": [draw(WIDTH, WIDTH - 1), draw()],
        "last": {"kernel": draw(WIDTH, WIDTH), "bias": draw(3)},
    }


def test_gathering_joins_what_is_small_and_scattering_undoes_it():
    params = tree()
    gathering = Gathering.of(params)
    given = {"params": params, "state": (tree(1), jnp.int32(3), [tree(2)]), "other": jnp.ones(3)}
    gathered = gathering.gather(given)
    together = gathered["params"]
    assert isinstance(together, Together)
    assert together.small.shape == (WIDTH * WIDTH + 4,)  # 128 + 128 x 127 + 1 + 3
    assert [x.shape for x in together.large] == [(WIDTH, WIDTH)] * 2
    assert len(jax.tree.leaves(gathered)) == 3 * 3 + 2
    back = gathering.scatter(gathered)
    assert jax.tree.structure(back) == jax.tree.structure(given)
    jax.tree.map(np.testing.assert_array_equal, back, given)


def test_by_default_no_array_that_is_gathered_is_divided_among_devices():
    assert vp_digits.get_config().mesh.smallest == SMALL


def test_trees_of_other_shapes_or_types_are_left_alone():
    params = {"a": jnp.ones(2), "b": jnp.ones(3, jnp.bfloat16)}
    gathering = Gathering.of(params)
    other = {"a": jnp.ones(2), "b": jnp.ones(4)}
    assert jax.tree.structure(gathering.gather(other)) == jax.tree.structure(other)
    together = gathering.gather(params)
    assert [x.dtype for x in together.large] == [jnp.bfloat16]
    none_small = {"a": jnp.ones(SMALL)}
    back = Gathering.of(none_small).scatter(Gathering.of(none_small).gather(none_small))
    np.testing.assert_array_equal(back["a"], none_small["a"])


def test_arrays_of_one_shape_are_cut_out_by_one_kernel():
    """XLA's compiler takes 1.2 MiB for each kernel that is not like another."""

    def scattered(vector):
        gathering = Gathering.of([jnp.zeros(5)] * 40)
        return gathering.scatter(Together(vector, []))

    lowered = jax.jit(scattered).lower(jnp.arange(200.0))
    text = lowered.compile().as_text()
    assert len(re.findall(r" dynamic-slice\(", text)) == 40
    assert not re.findall(r" slice\(", text)


@pytest.mark.parametrize("tuned", [True, False])
@pytest.mark.parametrize("name", list(optimizer.OPTIMIZERS))
def test_an_update_of_gathered_trees_is_that_of_each_array(name, tuned):
    config = vp_digits.get_config().optim
    config.update(optimizer=name, grad_clip=1.0, warmup=0, lr=0.1)
    config.weight_decay = 0.1 if name == "AdamW" else 0.0
    optimize, params, seen = optimizer.build(config, 10), tree(), []

    def update(gradient, state, params):
        seen.append(type(params))
        change, state = optimize.update(gradient, state, params)
        return optax.apply_updates(params, change), state, optax.tree.norm(gradient)

    def run(update):
        state, p = optimize.init(params), params
        for seed, scale in ((1, 1.0), (2, 1e-3)):  # above and below the clipping's limit
            p, state, norm = jax.jit(update)(tree(seed, scale), state, p)
        return p, state, norm

    with jax.numpy_dtype_promotion("standard"):  # optax's own
        expected = run(update)
        seen.clear()
        with TUNED(tuned):
            found = run(together(update))
    assert (Together in seen) is tuned
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    # Norms are sums of the same squares in another order.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), found, expected
    )
