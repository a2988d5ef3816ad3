"""The switch: with it off, programs for CPUs have nothing of their own, and the same results."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.layers.conv import conv2d
from models.layers.cpu.loop import scan
from models.layers.cpu.outline import once
from models.layers.cpu.switch import TUNED

X, KERNEL = (np.random.default_rng(0).normal(size=s) for s in ((8, 8, 8, 64), (3, 3, 64, 32)))
X, KERNEL = (jnp.asarray(x, jnp.float32) for x in (X, KERNEL))

PROGRAMS = {
    "convolutions": (lambda x: conv2d(x, KERNEL), X, "inlineable"),
    "functions of their own": (lambda x: once(x) + 1, X, "inlineable"),
}


def text(jitted, x):
    return jax.export.export(jitted)(x).mlir_module()


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_is_for_cpus_is_in_a_program_for_them_while_the_switch_is_on(name):
    program, x, mark = PROGRAMS[name]
    jitted = jax.jit(program)
    on = text(jitted, x)
    with TUNED(False):
        off, plain = text(jitted, x), jitted(x)
    assert mark in on
    assert mark not in off
    # The error of Winograd's form, relative to the largest entry: see test_conv.
    np.testing.assert_allclose(jitted(x), plain, atol=1e-5 * float(jnp.abs(plain).max()), rtol=0)


def test_the_switch_is_part_of_the_key_of_a_compiled_program():
    traced = []

    @jax.jit
    def program(x):
        traced.append(TUNED.value)
        return x

    program(X), program(X)
    with TUNED(False):
        program(X), program(X)
    program(X)
    assert traced == [True, False]


@pytest.mark.parametrize("tuned", [True, False])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("convolves", [True, False])
def test_a_loop_is_that_of_jax_and_unrolled_on_cpus_if_it_convolves(convolves, count, tuned):
    mean = jnp.full((3, 3, 1, 1), 1 / 9)
    step = lambda carry, x: (carry * 0.5 + (conv2d(x, mean) if convolves else x), carry - x)
    xs = jnp.arange(9.0 * count).reshape(count, 1, 3, 3, 1)
    with TUNED(tuned):
        text = jax.jit(lambda carry, xs: scan(step, carry, xs)).lower(xs[0], xs).as_text()
        found = scan(step, xs[0], xs)
    other = jax.lax.scan(step, xs[0], xs)
    # Convolutions in a loop may sum in another order: units in the last place of numbers up to 20.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5), found, other)
    assert ("while" in text) is (count > 1 and not (tuned and convolves))
