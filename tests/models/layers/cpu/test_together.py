"""Gathered trees: nothing is lost, and updates and norms are those of the arrays one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import vp_digits
from models.layers.cpu.together import SMALL, Gathering, Together, norm
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


@pytest.mark.parametrize("scale", [1e-3, 1.0])  # below and above the clipping's limit
@pytest.mark.parametrize("name", list(optimizer.OPTIMIZERS))
def test_updates_of_gathered_trees_are_those_of_optax_array_by_array(name, scale):
    config = vp_digits.get_config().optim
    config.update(optimizer=name, grad_clip=1.0, warmup=0, lr=0.1)
    config.weight_decay = 0.1 if name == "AdamW" else 0.0
    rate = optimizer.learning_rate(config, 10)
    plain = optax.chain(optax.clip_by_global_norm(1.0), optimizer.OPTIMIZERS[name](config, rate))
    ours, params = optimizer.build(config, 10), tree()
    gathering = Gathering.of(params)

    def run(optimizer, gather, scatter):
        state, p = optimizer.init(params), params
        for seed in (1, 2):
            change, state = optimizer.update(*gather((tree(seed, scale), state, p)))
            change, state = scatter((change, state))
            p = optax.apply_updates(p, change)
        return p, state

    with jax.numpy_dtype_promotion("standard"):  # optax's own
        found = run(ours, gathering.gather, gathering.scatter)
        expected = run(plain, lambda x: x, lambda x: x)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    # Clipping multiplies by one factor here and divides and multiplies in optax.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), found, expected
    )


def test_the_norm_of_arrays_of_several_shapes_is_that_of_all_numbers():
    numbers = np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree())]).astype(np.float64)
    # Sums of 16,384 squares in float32.
    np.testing.assert_allclose(norm(tree()), np.linalg.norm(numbers), rtol=1e-5)
    assert not np.isfinite(norm({"a": jnp.ones(3), "b": jnp.array([1.0, jnp.nan])}))
