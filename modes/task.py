"""The task of `--mode reconstruct`: an operator, measurements, and the truth where it is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from configs.shapes import shape_of
from data_lib import Splits, codec
from data_lib.base import Log
from modes.experiment import MEASURE_STREAM, Experiment
from modes.images import chosen
from modes.inputs import examples, measurements, numbers
from modes.measuring import operator_of
from modes.observed import Observed, Place, digest
from samplers.rules.named import build_method, check_method
from sde_lib.measurements.base import Measurement, Operator
from sde_lib.measurements.encoding import encoded
from untrusted import plain


@dataclass(frozen=True, eq=False)
class Task:
    """Measurements y = A x + noise n of examples x in the units of the data.

    y [n, *m]; noise: its standard deviation; truth [n, *d]: the examples, None if they are not
    known; exact [n, *d]: values that are known exactly, NaN elsewhere, None for none; name: where
    the measurements come from.
    """

    operator: Operator
    y: Float[np.ndarray, "n *m"]
    noise: float
    truth: Float[np.ndarray, "n *d"] | None
    exact: Float[np.ndarray, "n *d"] | None
    name: str

    def __len__(self) -> int:
        return len(self.y)

    @property
    def identity(self) -> dict[str, Any]:
        """What the results depend on beside settings, for JSON."""
        told = {"measurements": len(self), "of": self.name, "y_sha256": digest(self.y)}
        leaves = jax.tree.leaves(self.operator)
        return told | {"operator_sha256": [digest(np.asarray(leaf)) for leaf in leaves]}

    def residual(self, x: Float[np.ndarray, "n *d"], batch: int) -> Float[np.ndarray, "n *m"]:
        """y - A x, `batch` examples at a time."""
        return self.y - measured(self.operator, x, batch)

    def observed(self, config: Any) -> Observed:
        """The measurements of encoded examples, and the method that uses them.

        Raises ValueError for a method that the operator, the noise or the codec does not allow.
        """
        inverse, made = config.inverse, codec.build(config.data)
        check_method(inverse.method, linear=self.operator.linear, noise=self.noise)
        noise = jnp.float32(self.noise)

        def of(rows: np.ndarray, place: Place) -> Measurement:
            measurement = Measurement(self.operator, place(self.y[rows]), noise)
            return encoded(measurement, made, shape_of(config))

        of(np.zeros(1, int), jnp.asarray)
        return Observed(len(self), of, build_method(inverse), self.exact)


@jax.jit
def _apply(operator: Operator, x: Float[Array, "b *d"]) -> Float[Array, "b *m"]:
    return operator(x)


def measured(
    operator: Operator, x: Float[np.ndarray, "n *d"], batch: int
) -> Float[np.ndarray, "n *m"]:
    """A x, `batch` examples at a time."""
    parts = [_apply(operator, x[k : k + batch]) for k in range(0, len(x), batch)]
    return np.concatenate([np.asarray(part) for part in parts])


def task_of(experiment: Experiment, splits: Splits, log: Log) -> Task:
    """The task that the `inverse` section asks for.

    Measurements are those of `inverse.input`; without it they are made, with noise, of the examples
    of `inverse.truth`, or of `eval.split` or `eval.images`. Raises ValueError, in the user's terms,
    for what cannot be read or does not fit.
    """
    config = experiment.config
    inverse, levels = config.inverse, splits.train.levels
    operator = operator_of(config, log)
    truth, name = None, ""
    if inverse.truth:
        found = examples(Path(inverse.truth), "inverse.truth", config, levels, log)
        truth, name = numbers(found), plain(Path(inverse.truth).name)
    elif not inverse.input:
        found, name = chosen(config, splits, log)
        truth = numbers(found)
    if not inverse.input and truth is not None:
        log(f"measuring {len(truth):,} examples of {name} with noise of {inverse.noise:g}")
        clean = measured(operator, truth, config.sampling.batch_size)
        z = jax.random.normal(experiment.key(MEASURE_STREAM), clean.shape)
        y = np.asarray(clean + inverse.noise * z, np.float32)
        return _task(operator, y, inverse, truth, name)
    path = Path(inverse.input)
    if inverse.measure == "inpaint":
        x = numbers(examples(path, "inverse.input", config, levels, log))
        y = measured(operator, x, config.sampling.batch_size)
    else:
        wanted = jax.eval_shape(operator, jax.ShapeDtypeStruct((1, *experiment.shape), jnp.float32))
        y = measurements(path, "inverse.input", wanted.shape[1:])
    if truth is not None and len(truth) != len(y):
        raise ValueError(f"inverse.truth must hold one example for each of {len(y)} measurements, "
                         f"got {len(truth)}")  # fmt: skip
    return _task(operator, y, inverse, truth, plain(path.name))


def _task(
    operator: Operator, y: np.ndarray, inverse: Any, truth: np.ndarray | None, name: str
) -> Task:
    exact = operator.values(y) if inverse.noise == 0 else None
    return Task(operator, y, float(inverse.noise), truth, exact, name)
