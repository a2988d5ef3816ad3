"""Pytrees: what is data and what is structure, and that a type is structure too."""

import itertools

import jax
import jax.numpy as jnp
import pytest

import samplers
from sde_lib import VP, SubVP, pytree, static


@pytree
class Scale:
    factor: float
    power: int = static(default=1)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.factor * x**self.power


@pytree
class Shift:
    factor: float
    power: int = static(default=1)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.factor + x**self.power


def test_data_and_static_fields_survive_the_round_trip() -> None:
    leaves, structure = jax.tree.flatten(Scale(2.0, 3))
    assert leaves == [2.0]
    assert jax.tree.unflatten(structure, [5.0]) == Scale(5.0, 3)
    (path, _), *_ = jax.tree_util.tree_leaves_with_path(Scale(2.0, 3))
    assert jax.tree_util.keystr(path) == ".factor"


def test_it_is_frozen() -> None:
    with pytest.raises(AttributeError, match="factor"):
        Scale(2.0).factor = 3.0  # type: ignore[misc]


STRUCTURES = [
    Scale(2.0),
    Scale(2.0, 2),
    Shift(2.0),
    VP(),
    SubVP(),
    samplers.EulerMaruyama(),
    samplers.EulerMaruyama(True),
    samplers.ReverseDiffusion(),
    samplers.ReverseDiffusion(True),
    samplers.RungeKutta(),
    samplers.Churn(),
    samplers.Idle(),
    samplers.Uniform(),
    samplers.LogSNR(),
]


@pytest.mark.parametrize("a, b", list(itertools.combinations(STRUCTURES, 2)))
def test_two_types_are_two_structures(a: object, b: object) -> None:
    # JAX's register_dataclass fails this, and jit then runs one sampler's program for another.
    assert jax.tree.structure(a) != jax.tree.structure(b)


def test_data_changes_compile_nothing_and_structure_compiles_anew() -> None:
    traces = 0

    @jax.jit
    def apply(f: Scale | Shift, x: jax.Array) -> jax.Array:
        nonlocal traces
        traces += 1
        return f(x)

    x = jnp.asarray(3.0)
    assert [float(apply(Scale(f), x)) for f in (2.0, 5.0)] == [6.0, 15.0]
    assert traces == 1
    assert float(apply(Scale(2.0, 2), x)) == 18.0
    assert float(apply(Shift(2.0), x)) == 5.0
    assert traces == 3
