"""The inverse problem of `--mode reconstruct`: an operator, measurements, the truth if known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from configs.kinds import of_config
from configs.shapes import in_words
from data_lib import Splits
from data_lib.base import Log
from data_lib.conditions import build_condition
from eval_lib import restoration
from modes.array_files import read_array
from modes.experiment import MEASURE_STREAM, Experiment
from modes.images import chosen
from modes.inputs import MEASUREMENTS, examples, numbers
from modes.measuring import check_linear, diffused, given, measured_shape, operator_of
from modes.observed import Observed, Place, check_guidance, digest
from samplers.rules.named import build_method, check_noise, chosen_method
from sde_lib import expand
from sde_lib.measurements.base import Measurement, Operator
from sde_lib.measurements.dense import dense
from sde_lib.measurements.noise import poisson, simulate, simulate_poisson
from sde_lib.measurements.solve import inner
from untrusted import plain


@dataclass(frozen=True, eq=False)
class Problem:
    """Measurements y = A x + noise of examples x in the units of the data.

    y [n, *m]; noise: the standard deviation of its Gaussian part; rate: counts for each unit, of
    Poisson noise, 0 for none; truth [n, *d]: the examples, None if they are not known; name: where
    the measurements come from; words: the operator, for JSON.
    """

    operator: Operator
    y: Float[np.ndarray, "n *m"]
    noise: float
    rate: float
    truth: Float[np.ndarray, "n *d"] | None
    name: str
    words: dict[str, Any]

    def __len__(self) -> int:
        return len(self.y)

    @property
    def identity(self) -> dict[str, Any]:
        """Facts on which the results depend beside settings, for JSON."""
        return {**self.words, "measurements": len(self), "of": self.name,
                "y_sha256": digest(self.y)}  # fmt: skip

    @property
    def exact(self) -> Float[np.ndarray, "n *d"] | None:
        """Values of the examples that are known exactly, NaN elsewhere; None for none."""
        return None if self.noise or self.rate else self.operator.values(self.y)

    def residual(self, x: Float[np.ndarray, "n *d"], batch: int) -> Float[np.ndarray, "n *m"]:
        """y - A x, `batch` examples at a time; 0 where nothing was measured."""
        return self.y - measured(self.operator, x, batch)

    def misfit(self, x: Float[np.ndarray, "n *d"], batch: int) -> Float[np.ndarray, " n"]:
        """Root mean square of y - A x over the numbers that were measured of each example."""
        there = np.asarray(self.operator.observed(jnp.ones(self.y.shape, self.y.dtype))) > 0
        return restoration.misfit(self.residual(x, batch), there)

    def of_rows(self, rows: np.ndarray, place: Place) -> Measurement:
        """The measurements of some examples, in the units of the data."""
        own = _of(self.operator, rows)
        measurement = Measurement(own, place(self.y[rows]), jnp.float32(self.noise))
        return poisson(measurement, jnp.float32(self.rate)) if self.rate else measurement


@jax.jit
def _apply(operator: Operator, x: Float[Array, "b *d"]) -> Float[Array, "b *m"]:
    return operator(x)


def _of(operator: Operator, rows: slice | np.ndarray) -> Operator:
    """The operator of some examples, of one that has numbers for each."""
    return jax.tree.map(lambda leaf: leaf if len(leaf) == 1 else leaf[rows], operator)


def measured(
    operator: Operator, x: Float[np.ndarray, "n *d"], batch: int
) -> Float[np.ndarray, "n *m"]:
    """A x, `batch` examples at a time."""
    parts = [slice(k, k + batch) for k in range(0, len(x), batch)]
    return np.concatenate([np.asarray(_apply(_of(operator, rows), x[rows])) for rows in parts])


def shown(
    operator: Operator, y: Float[np.ndarray, "n *m"], shape: tuple[int, ...], batch: int
) -> Float[np.ndarray, "n *s"] | None:
    """Measurements as something that looks like examples of a shape; None if nothing does.

    y itself, NaN where nothing was measured, if it has the axes and channels of an example; else
    c A^T y, the first step of conjugate gradients towards A^+ y.
    """
    values = operator.values(y)
    if values is not None:
        return values
    if y.ndim == len(shape) + 1 and y.shape[-1] == shape[-1]:
        return y
    if not operator.linear:
        return None
    parts = [slice(k, k + batch) for k in range(0, len(y), batch)]
    like = lambda rows: jnp.zeros((len(y[rows]), *shape), y.dtype)
    return np.concatenate(
        [np.asarray(_back(_of(operator, rows), y[rows], like(rows))) for rows in parts]
    )


@jax.jit
def _back(operator: Operator, y: Array, like: Array) -> Array:
    x = operator.transpose(y, like)
    moved = operator(x)
    square = inner(moved, moved).reshape(-1)
    return inner(x, x) / expand(jnp.where(square > 0, square, 1), x) * x


def observed(problem: Problem, experiment: Experiment) -> Observed:
    """The measurements of encoded examples, and the method that uses them.

    Raises ValueError for a method that the operator, the noise or the codec does not allow.
    """
    config, made = experiment.config, experiment.codec
    method = chosen_method(config.inverse)
    check_guidance(config, "--mode reconstruct")
    if method.linear:
        check_linear(config, problem.operator, f"inverse.method={config.inverse.method!r}")
    check_noise(config.inverse, bool(problem.noise or problem.rate))

    def of(rows: np.ndarray, place: Place) -> Measurement:
        found = diffused(problem.of_rows(rows, place), made, experiment.shape)
        if not method.decomposed:
            return found
        return replace(found, operator=dense(found.operator, experiment.shape))

    return Observed(len(problem), of, build_method(config.inverse), problem.exact)


def trained_on(problem: Problem, experiment: Experiment) -> Float[np.ndarray, "n *c"]:
    """The measurements as the condition of a model that was trained with them, encoded.

    Raises ValueError for a model that is given no condition, or one of another shape.
    """
    config = experiment.config
    seen = shown(problem.operator, problem.y, experiment.example, config.sampling.batch_size)
    asked = f"inverse.method={config.inverse.method!r}"
    if config.model.condition == "none":
        raise ValueError(f"{asked} needs a model whose condition is the measurement, and this one "
                         "is given none (model.condition=none)")  # fmt: skip
    wanted = of_config(config).stored
    if seen is None or seen.shape[1:] != wanted:
        got = "nothing that looks like one" if seen is None else in_words(seen.shape[1:])
        raise ValueError(f"{asked} needs a model of this measurement: its condition is of "
                         f"{in_words(wanted)}, inverse.measure gives {got}")  # fmt: skip
    found: np.ndarray = build_condition(config).encode(seen).astype(np.float32)
    return found


def problem_of(experiment: Experiment, splits: Splits, log: Log) -> Problem:
    """The problem that the `inverse` section asks for.

    Measurements are those of `inverse.input`; without it they are made, with noise, of the examples
    of `inverse.truth`, or of `eval.split` or `eval.images`. Raises ValueError, in the user's terms,
    for what cannot be read or does not fit.
    """
    config = experiment.config
    inverse, levels = config.inverse, splits.train.levels
    operator, words = operator_of(config)
    problem = partial(
        Problem, operator, noise=float(inverse.noise), rate=float(inverse.rate), words=words
    )
    truth, name = None, plain(Path(inverse.truth).name)
    if inverse.truth:
        truth = numbers(examples(Path(inverse.truth), "inverse.truth", config, levels, log))
    if inverse.input:
        y, name = _given(operator, experiment, levels, log)
        if truth is not None and len(truth) != len(y):
            raise ValueError(f"inverse.truth must hold one example for each of {len(y)} "
                             f"measurements, got {len(truth)}")  # fmt: skip
        return problem(y, truth=truth, name=name)
    if truth is None:
        found, name = chosen(config, splits, log)
        truth = numbers(found)
    log(f"measuring {len(truth):,} examples of {name} with {noise_in_words(inverse)}")
    key, batch = experiment.key(MEASURE_STREAM), config.sampling.batch_size
    return problem(made_of(operator, truth, inverse, key, batch), truth=truth, name=name)


def noise_in_words(inverse: Any) -> str:
    """The noise of measurements that are made."""
    parts = [f"noise of {inverse.noise:g}"] if inverse.noise else []
    parts += [f"Poisson noise at {inverse.rate:g} counts a unit"] if inverse.rate else []
    return " and ".join(parts) or "no noise"


def _check_masks(operator: Operator, count: int) -> None:
    """Raise ValueError unless there is one mask for all of `count` examples, or one for each."""
    sizes = {len(leaf) for leaf in jax.tree.leaves(operator)} - {1, count}
    if sizes:
        raise ValueError(f"inverse.mask must hold one mask, or one for each of {count} examples, "
                         f"got {sizes.pop()}")  # fmt: skip


def made_of(
    operator: Operator, x: Float[np.ndarray, "n *d"], inverse: Any, key: PRNGKeyArray, batch: int
) -> Float[np.ndarray, "n *m"]:
    """Measurements of examples, with the noise that the `inverse` section says, drawn by number.

    Raises ValueError for masks that are not one for all or one for each.
    """
    _check_masks(operator, len(x))

    def one(first: int) -> np.ndarray:
        rows = slice(first, first + batch)
        own, few = _of(operator, rows), jnp.asarray(x[rows])
        gaussian, counts = jax.random.split(key)
        if not inverse.rate:
            return np.asarray(simulate(own, few, inverse.noise, gaussian, first))
        y = simulate_poisson(own, few, inverse.rate, counts, first)
        noise = simulate(own, few, inverse.noise, gaussian, first) - own.observed(own(few))
        return np.asarray(y + noise)

    return np.concatenate([one(first) for first in range(0, len(x), batch)])


def _given(
    operator: Operator, experiment: Experiment, levels: int | None, log: Log
) -> tuple[Float[np.ndarray, "n *m"], str]:
    """(measurements of `inverse.input`, its name).

    What is measured as it is may be read from whole examples, and NaN stand for the rest of them.
    """
    config, shape = experiment.config, experiment.example
    path = Path(config.inverse.input)
    as_it_is = operator.values(np.zeros((1, *measured_shape(operator, shape)), np.float32))
    if as_it_is is not None:
        found = examples(path, "inverse.input", config, levels, log, missing=True)
        values = numbers(found)
    else:
        values = read_array(path, "inverse.input", MEASUREMENTS)
    _check_masks(operator, 1 if values.shape == measured_shape(operator, shape) else len(values))
    y = given(values, operator, shape, f"inverse.input={plain(str(path))}")
    return y, plain(path.name)
