"""Shapes and types of arrays in the library's signatures, checked by beartype while tests run.

What is checked of a signature are its arrays, and unions and tuples of them: tests give the library
objects of their own, which are of none of its classes. Checked are functions of modules and methods
of their classes; jaxtyping's own hook would also wrap functions within functions, anew at every
call of these (a tenth of a test's time), and the making of pytrees, which JAX fills with what it
likes.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType, NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np
from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray, Float, PRNGKeyArray, jaxtyped

F = TypeVar("F", bound=Callable[..., Any])

ROOMS = ("sde_lib", "samplers", "train_lib", "eval_lib", "data_lib", "runtime_lib")
"""Rooms whose signatures are checked."""
_PLAIN = (NoneType, float, int, bool, str)
_CONTAINERS = (tuple, list, dict, Mapping, Sequence)
_AS_NUMBERS = BeartypeConf(is_pep484_tower=True)
"""An int is a float."""


def _or_numpy(hint: Any) -> Any:
    """An array of JAX's or, as JAX itself takes it, of NumPy's."""
    # NumPy's results without axes are no arrays.
    numbers = hint | np.generic if hint.dim_str in ("", "...") else hint
    return (
        numbers if hint.array_type is np.ndarray else numbers | hint.dtype[np.ndarray, hint.dim_str]
    )


def _arrays(hint: Any) -> Any:
    """The part of a type that is checked: `Any` in place of whatever is not made of arrays."""
    if hint in get_args(PRNGKeyArray):
        return Any  # jaxtyping's is a single key
    if isinstance(hint, type) and issubclass(hint, (AbstractArray, *_PLAIN)):
        return _or_numpy(hint) if issubclass(hint, AbstractArray) else hint
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        parts = [_arrays(arg) for arg in args]
        # On the host the numbers of an SDE are NumPy's.
        parts += [np.generic, Float[np.ndarray, ""]] if float in args else []
        return Any if Any in parts else Union[tuple(parts)]  # noqa: UP007
    if origin in _CONTAINERS and args:
        return origin[tuple(arg if arg is Ellipsis else _arrays(arg) for arg in args)]
    return Any


def _has_arrays(hint: Any) -> bool:
    if isinstance(hint, type) and not get_args(hint):
        return issubclass(hint, AbstractArray)
    return any(map(_has_arrays, get_args(hint)))


def _kept(function: Callable[..., Any]) -> dict[str, Any]:
    """The types of a function that are checked, `Any` for the others."""
    hints = get_type_hints(function, include_extras=True)
    kept = {name: _arrays(hint) for name, hint in hints.items()}
    return {name: hint if _has_arrays(hint) else Any for name, hint in kept.items()}


def _typechecker(function: F) -> F:
    function.__annotations__ = _kept(function)
    return beartype(conf=_AS_NUMBERS)(function)


FIRST = 50
"""Calls of each function that are checked in each test: some tests make a million of one."""


@dataclass
class Turn:
    """The test that runs now, by a number."""

    number: int = 0


TURN = Turn()


def at_first(plain: F, strict: F) -> F:
    """`strict` in the first calls in each test, `plain` in the others."""
    turn, left = TURN.number, FIRST

    @functools.wraps(plain)
    def call(*args: Any, **named: Any) -> Any:
        nonlocal turn, left
        if turn != TURN.number:
            turn, left = TURN.number, FIRST
        if not left:
            return plain(*args, **named)
        left -= 1
        return strict(*args, **named)

    return cast(F, call)


def checked(function: F) -> F:
    """`function`, refusing arrays of other shapes than it states; itself if it states none."""
    inner: Any = getattr(function, "fget", None) or getattr(function, "__func__", function)
    try:
        of_arrays = any(hint is not Any for hint in _kept(inner).values())
    except (NameError, TypeError):  # types for mypy only
        return function
    if not of_arrays:
        return function
    part: Any = at_first(inner, jaxtyped(inner, typechecker=_typechecker))
    if isinstance(function, property):
        return property(part, doc=function.__doc__)
    return type(function)(part) if isinstance(function, (classmethod, staticmethod)) else part


def _check(owner: ModuleType | type, module: str) -> None:
    """Put checked functions in the place of those that a module or a class of it defines."""
    for name, member in list(vars(owner).items()):
        inner = getattr(member, "fget", None) or getattr(member, "__func__", member)
        if inspect.isfunction(inner) and inner.__module__ == module and name != "__init__":
            setattr(owner, name, checked(member))
        elif inspect.isclass(member) and member.__module__ == module and inspect.ismodule(owner):
            _check(member, module)


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        _check(module, module.__name__)


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name.partition(".")[0] not in ROOMS:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def install() -> None:
    """Check every module of `ROOMS` that is imported from now on."""
    sys.meta_path.insert(0, _Finder())
