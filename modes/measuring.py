"""Operators and measurements of a mode, with the files and functions that settings name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from configs.command_line import reason
from configs.names import choose, did_you_mean
from configs.shapes import in_words, shape_of
from data_lib import Codec, codec
from modes.array_files import is_array, read_array, read_gray
from runtime_lib.own_code import own_function
from sde_lib.measurements.base import Measurement, Operator
from sde_lib.measurements.encoded import ThroughDecoder, encoded
from sde_lib.measurements.named import MASKED, OPERATORS
from sde_lib.measurements.own import own_operator, without_constant
from sde_lib.measurements.patterns import MASKS
from sde_lib.tables import made, parameters

WANTED = "a function of x [b, ...] that gives what is measured of each example, [b, ...]"
NOT_LINEAR = "choose a method for any function, such as inverse.method=dps"

Shape = tuple[int, ...]


def operator_of(config: Any) -> tuple[Operator, dict[str, Any]]:
    """(the operator of `inverse.measure`, in the units of the data, words and hashes of it).

    Raises ValueError, in one line, for a name, file or function that does not do.
    """
    inverse, shape = config.inverse, shape_of(config)
    if ":" in inverse.measure:
        return _own(inverse.measure, shape)
    row = choose("inverse.measure", inverse.measure, OPERATORS)
    told = {name: read(config) for name, read in READ.items() if name in parameters(row)}
    operator = made(row, inverse, shape=shape, **told)
    return operator, {"measure": inverse.measure, "operator_sha256": _digest(operator)}


def _digest(operator: Operator) -> str:
    """A hash of an operator's numbers, as a file may change and keep its name."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(operator):
        found.update(np.asarray(leaf, np.float32).tobytes())
    return found.hexdigest()[:16]


# Files --------------------------------------------------------------------------------------------


def _mask(config: Any) -> np.ndarray:
    """The pattern or the file of `inverse.mask`."""
    inverse = config.inverse
    return mask_of(config, inverse.mask or MASKED[inverse.measure], "inverse.mask")


def mask_of(config: Any, name: str, key: str) -> np.ndarray:
    """The mask of a pattern's name or of a file, that setting `key` gave; True: measured."""
    if name in MASKS:
        return np.asarray(made(MASKS[name], config.inverse, shape=shape_of(config)))
    path = Path(name)
    if not path.suffix and not path.exists():
        raise ValueError(
            f"{key} must be one of {', '.join(sorted(MASKS))}, or a .png, .npy or .npz file, "
            f"got {name!r}{did_you_mean(name, MASKS)}"
        )
    if not is_array(path):
        return read_gray(path, key) >= 0.5
    return _finite(read_array(path, key, ("mask",)), key) != 0


def _kernel(config: Any) -> np.ndarray:
    """The file of `inverse.kernel`: an array as it is, or a picture divided by its sum."""
    text = _path(config.inverse.kernel, "inverse.kernel", "a .png, .npy or .npz file of a kernel")
    if is_array(Path(text)):
        found = _finite(read_array(Path(text), "inverse.kernel", ("kernel",)), "inverse.kernel")
    else:
        gray = read_gray(Path(text), "inverse.kernel")
        found = gray / (gray.sum() or 1.0)
    if not found.any():
        raise ValueError(
            "inverse.kernel must have numbers that are not 0: it would measure nothing"
        )
    return found


def _coils(config: Any) -> np.ndarray:
    """The file of `inverse.coils`, complex numbers."""
    text = _path(config.inverse.coils, "inverse.coils", "a .npy file of complex sensitivities")
    found = read_array(Path(text), "inverse.coils", ("coils",), _as_complex)
    return _finite(found, "inverse.coils")


READ: dict[str, Callable[[Any], np.ndarray]] = {"mask": _mask, "kernel": _kernel, "coils": _coils}
"""Parameter of operators -> the array in place of the setting of that name."""


def _path(text: str, setting: str, what: str) -> str:
    if not text:
        raise ValueError(f"{setting} must be {what}")
    return text


def _finite(values: np.ndarray, setting: str) -> np.ndarray:
    if not np.isfinite(values).all():
        raise ValueError(f"{setting} must hold finite numbers")
    return values


def _as_complex(values: np.ndarray, what: str) -> np.ndarray:
    """Real or complex numbers as complex ones."""
    if values.dtype.kind not in "fciub":
        raise ValueError(f"{what} must be complex numbers, got {values.dtype}")
    return values.astype(np.complex128)


# A user's own function ----------------------------------------------------------------------------


def _own(text: str, shape: Shape) -> tuple[Operator, dict[str, Any]]:
    function, words = own_function("inverse.measure", text, WANTED)
    _try(function, shape, text)
    return own_operator(function, shape), {"measure": words}


def _try(function: Callable[[Array], Array], shape: Shape, text: str) -> None:
    """Raise ValueError unless a function measures each example alone, in finite numbers."""
    x = 0.5 + 0.25 * jax.random.normal(jax.random.key(0), (3, *shape))
    told = f"inverse.measure={text}"
    found = _called(function, x, told)
    dtype, got = getattr(found, "dtype", None), getattr(found, "shape", ())
    if dtype != x.dtype or got[:1] != (3,) or not found.size:
        raise ValueError(f"{told} must be {WANTED}, of type {x.dtype}; of x {list(x.shape)} it "
                         f"gives {list(got)} of {dtype or type(found).__name__}")  # fmt: skip
    slope = _called(jax.jit(jax.grad(lambda x: jnp.sum(function(x)))), x, told)
    if not (np.isfinite(found).all() and np.isfinite(slope).all()):
        raise ValueError(f"{told} gives values or derivatives on noise that are not finite")
    alone = _called(function, x[1:2], told)
    if alone.shape != (1, *got[1:]) or not _alike(alone[0], found[1]):
        raise ValueError(f"{told} must measure each example alone, by the same rule: what it gives "
                         "for one depends on the others, or on chance")  # fmt: skip


def _alike(one: Array, other: Array) -> bool:
    """True for equal numbers, to round-off of sums of many in single precision."""
    return bool(np.abs(one - other).max() <= 1e-3 * np.abs(other).max())


def _called(function: Callable[[Array], Array], x: Array, told: str) -> Array:
    """The result of a function of the user's; ValueError if it fails."""
    try:
        return function(x)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # it is the user's program
        raise ValueError(f"{told} fails on x {list(x.shape)}, must be written with jax.numpy and "
                         f"differentiable: {reason(error)}") from error  # fmt: skip


# Measurements -------------------------------------------------------------------------------------


def measured_shape(operator: Operator, shape: Shape) -> Shape:
    """The shape of what is measured of one example."""
    like = jax.ShapeDtypeStruct((1, *shape), jnp.zeros(()).dtype)
    alone = jax.tree.map(lambda leaf: leaf[:1], operator)
    return tuple(jax.eval_shape(lambda x: alone(x), like).shape[1:])


def given(
    values: np.ndarray, operator: Operator, shape: Shape, what: str
) -> Float[np.ndarray, "n *m"]:
    """Measurements y that a user gives, one or several [n, *m], as an operator measures them.

    Complex numbers become pairs of channels, numbers that are no part of the measurement 0, and
    what an affine function adds is taken off. Raises ValueError for another shape, and for NaN.
    """
    wanted = measured_shape(operator, shape)
    if values.dtype.kind == "c":
        values = np.stack([values.real, values.imag], axis=-1)
        values = values.reshape(*values.shape[:-2], -1)
    if wanted not in (values.shape, values.shape[1:]) or not len(values):
        raise ValueError(
            f"{what} must hold measurements of {in_words(wanted)}, one or several [n, "
            f"{', '.join(map(str, wanted))}], got {values.shape}"
        )
    rows = jnp.asarray(values if values.shape != wanted else values[None], jnp.zeros(()).dtype)
    found = np.asarray(operator.observed(rows))
    if wrong := np.flatnonzero(~np.isfinite(found.reshape(len(found), -1)).all(axis=1)).tolist():
        raise ValueError(f"{what} must hold finite numbers where something was measured, "
                         f"measurement {wrong[0]} has NaN or infinity")  # fmt: skip
    return np.asarray(without_constant(operator, jnp.asarray(found)))


def check_linear(config: Any, operator: Operator, asked: str) -> None:
    """Raise ValueError unless what is measured is linear in what is diffused.

    asked: the words that say what needs it, such as "inverse.method='ddrm'".
    """
    if not operator.linear:
        raise ValueError(f"{asked} needs a linear measurement, and inverse.measure="
                         f"{config.inverse.measure} is not linear: {NOT_LINEAR}")  # fmt: skip
    if config.data.codec == "autoencoder" or codec.build(config.data).affine() is None:
        raise ValueError(
            f"{asked} needs data that are linear in what is diffused, which data.codec="
            f"{config.data.codec!r} bends: {NOT_LINEAR}"
        )


def diffused(measurement: Measurement, of: Codec, shape: Shape) -> Measurement:
    """A measurement of data as one of the arrays that are diffused, linear if it can be."""
    affine = of.affine()
    if affine is None or not measurement.operator.linear:
        operator = ThroughDecoder(measurement.operator, of.decode)
        return Measurement(operator, measurement.y, measurement.deviation)
    scale, centre = (np.asarray(row) for row in affine)
    return encoded(measurement, scale, centre, shape)
