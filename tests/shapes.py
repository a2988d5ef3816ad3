"""Shapes and types of arrays in the library's signatures, checked by beartype while tests run.

What is checked of a signature are its arrays, and unions and tuples of them: tests give the library
objects of their own, which are of none of its classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import numpy as np
from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray, PRNGKeyArray

F = TypeVar("F", bound=Callable[..., Any])

ROOMS = ["sde_lib", "samplers", "train_lib", "eval_lib", "data_lib", "runtime_lib"]
"""Whose signatures are checked."""
_PLAIN = (NoneType, float, int, bool, str)
_CONTAINERS = (tuple, list, dict, Mapping, Sequence)
_AS_NUMBERS = BeartypeConf(is_pep484_tower=True)
"""An int is a float."""


def _arrays(hint: Any) -> Any:
    """What of a type is checked: `Any` in place of all that is not made of arrays."""
    if hint in get_args(PRNGKeyArray):
        return Any  # jaxtyping's is a single key
    if isinstance(hint, type) and issubclass(hint, (AbstractArray, *_PLAIN)):
        # NumPy's results without axes are no arrays.
        scalar = issubclass(hint, AbstractArray) and hint.array_type is np.ndarray
        return hint | np.generic if scalar and hint.dim_str in ("", "...") else hint
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        parts = [_arrays(arg) for arg in args]
        return Any if Any in parts else Union[tuple(parts)]  # noqa: UP007
    if origin in _CONTAINERS and args:
        return origin[tuple(arg if arg is Ellipsis else _arrays(arg) for arg in args)]
    return Any


def _has_arrays(hint: Any) -> bool:
    if isinstance(hint, type) and not get_args(hint):
        return issubclass(hint, AbstractArray)
    return any(map(_has_arrays, get_args(hint)))


def checked(function: F) -> F:
    """`function` that refuses arguments and results of another shape than it states."""
    if function.__name__ == "__init__":  # of pytrees, which jax fills with what it likes
        return function
    kept = {name: _arrays(hint) for name, hint in function.__annotations__.items()}
    kept = {name: hint if _has_arrays(hint) else Any for name, hint in kept.items()}
    if set(kept.values()) <= {Any}:
        return function
    function.__annotations__ = kept
    return beartype(conf=_AS_NUMBERS)(function)
