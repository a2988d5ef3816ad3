"""A battery over operators of every kind: each against its own matrix, in dense algebra."""

from __future__ import annotations

import math
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sde_lib.measurements.base import Decomposed, Operator
from sde_lib.measurements.named import OPERATORS
from tests.sde_lib.operators import CASES, PLAIN

pytestmark = pytest.mark.usefixtures("float64", "quick")

VARIANCE, NOISE = 0.7, 0.3
TRACED: dict[str, int] = {}
EXACT = 1e-9
"""Round-off of sums of some hundred numbers, with singular values down to a hundredth."""
DECOMPOSED = [name for name in CASES if name not in PLAIN]


def results(operator: Operator, x: jnp.ndarray, u: jnp.ndarray, c: jnp.ndarray, noise: jnp.ndarray):
    """Everything that an operator says of examples x, measurements u and coordinates c."""
    like = jnp.zeros((len(u), *x.shape[1:]))
    found = {
        "A": operator(x),
        "A^T": operator.transpose(u, like),
        "pseudo_inverse": operator.pseudo_inverse(u, like),
        "solve": operator.solve(VARIANCE, noise, u, like),
        "observed": operator.observed(u),
    }
    if isinstance(operator, Decomposed):
        s, measured = operator.singular_values(), operator.measured()
        found |= {
            "V^T": operator.analyse(x),
            "V": operator.synthesise(c),
            "U^T": operator.analyse_measurement(u),
            "U": operator.synthesise_measurement(jnp.where(measured, c, 0)),
            "S": s * jnp.ones_like(c),
            "measured": jnp.where(measured, jnp.ones_like(c), 0),
        }
    return found


@cache
def operator_of(name: str, seed: int) -> Operator:
    return CASES[name][1](seed)


@cache
def program(name: str):
    """`results` as a program, whose compilations are counted."""

    def counted(*told):
        TRACED[name] = TRACED.get(name, 0) + 1
        return results(*told)

    return jax.jit(counted)


def coordinates(operator: Operator, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of an example's coordinates."""
    if not isinstance(operator, Decomposed):
        return shape
    return jax.eval_shape(lambda x: operator.analyse(x), jnp.zeros((1, *shape))).shape[1:]


def measurement(operator: Operator, shape: tuple[int, ...]) -> tuple[int, ...]:
    return jax.eval_shape(lambda x: operator(x), jnp.zeros((1, *shape))).shape[1:]


def eye(shape: tuple[int, ...]) -> jnp.ndarray:
    """The unit vectors of arrays of a shape."""
    return jnp.eye(math.prod(shape)).reshape(-1, *shape)


@cache
def matrices(name: str, seed: int = 0, noise: float = NOISE) -> dict[str, np.ndarray]:
    """Matrices of everything that an operator says; S and `measured` as rows."""
    shape, operator = CASES[name][0], operator_of(name, seed)
    units = (eye(shape), eye(measurement(operator, shape)), eye(coordinates(operator, shape)))
    found = program(name)(operator, *units, jnp.asarray(noise))
    flat = {key: np.asarray(value).reshape(len(value), -1) for key, value in found.items()}
    alone = ("S", "measured")
    return {key: value[0] if key in alone else value.T for key, value in flat.items()}


def close(found: np.ndarray, expected: np.ndarray, atol: float = EXACT) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def test_every_row_has_a_case() -> None:
    assert {name.split(" of ")[0] for name in CASES} >= OPERATORS.keys()
    for name in CASES:
        assert isinstance(operator_of(name, 0), Decomposed) == (name not in PLAIN)


@pytest.mark.parametrize("name", CASES)
def test_the_transpose_is_the_adjoint(name: str) -> None:
    found = matrices(name)
    assert np.abs(found["A"]).max() > 0.1
    close(found["A^T"], found["A"].T, 1e-12)


@pytest.mark.parametrize("name", CASES)
def test_the_pseudo_inverse_is_that_of_the_matrix(name: str) -> None:
    found = matrices(name)
    close(found["pseudo_inverse"], np.linalg.pinv(found["A"], rcond=1e-5))
    close(found["A"] @ found["pseudo_inverse"] @ found["A"], found["A"])


@pytest.mark.parametrize("name", CASES)
def test_systems_are_solved_as_those_of_the_matrix(name: str) -> None:
    found = matrices(name)
    gram = VARIANCE * found["A"] @ found["A"].T
    close(found["solve"], np.linalg.inv(gram + NOISE * np.eye(len(gram))), 1e-7)
    # Without noise only this is determined: A^T takes what no example explains to nothing.
    found = found["A^T"] @ matrices(name, noise=0.0)["solve"]
    close(found, np.linalg.pinv(matrices(name)["A"], rcond=1e-5) / VARIANCE, 1e-7)


@pytest.mark.parametrize("name", CASES)
def test_what_is_not_observed_has_no_part(name: str) -> None:
    found = matrices(name)
    observed = found["observed"]
    close(observed @ found["A"], found["A"], 0)
    close(observed, np.diag(np.diag(observed)), 0)
    assert set(np.diag(observed)) <= {0, 1}


@pytest.mark.parametrize("name", DECOMPOSED)
def test_the_decomposition_is_one(name: str) -> None:
    found = matrices(name)
    u, s, vt, measured = (found[key] for key in ("U", "S", "V^T", "measured"))
    numbers = math.prod(CASES[name][0])
    assert vt.shape == (numbers, numbers)
    close(vt @ vt.T, np.eye(numbers), 1e-12)
    close(found["V"], vt.T, 1e-12)
    assert (s >= 0).all()
    assert set(measured) <= {0, 1}
    close(s[measured == 0], np.zeros((measured == 0).sum()), 1e-12)
    close(u @ (s[:, None] * vt), found["A"], 1e-12)
    close(u.T @ u, np.diag(measured), 1e-12)
    close(found["U^T"], u.T, 1e-12)
    assert measured.sum() == np.linalg.matrix_rank(found["A"], 1e-5)


@pytest.mark.parametrize("name", CASES)
def test_examples_are_measured_alone_each_by_its_own_operator(name: str) -> None:
    shape, (one, other) = CASES[name][0], (operator_of(name, seed) for seed in (0, 1))
    both: Operator = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), one, other)
    rng = np.random.default_rng(0)
    draw = lambda shape: jnp.asarray(rng.normal(size=(2, *shape)))
    x, u = draw(shape), draw(measurement(one, shape))
    c = draw(coordinates(one, shape))
    found = program(name)(both, x, u, c, jnp.asarray(NOISE))
    given = {"A": x, "V^T": x, "V": c, "U": c}
    for seed in (0, 1):
        for key, matrix in matrices(name, seed).items():
            value = np.asarray(found[key])[seed].reshape(-1)
            rows = np.asarray(given.get(key, u))[seed].reshape(-1)
            close(value, matrix if matrix.ndim == 1 else matrix @ rows, 1e-7)


@pytest.mark.parametrize("name", CASES)
def test_other_masks_kernels_and_weights_compile_nothing(name: str) -> None:
    matrices(name, 0)
    told = TRACED[name]
    matrices(name, 1)
    assert TRACED[name] == told
