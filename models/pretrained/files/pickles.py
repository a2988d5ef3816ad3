"""A pickle machine that cannot run anything.

A pickle is a program for a stack machine, and Python's own runs whatever that program names. This
one knows containers, numbers and texts; a name is looked up in a table of our own functions, and
whatever is not there ends the reading. It calls no method of any object, sets no attribute and
imports nothing. What it makes is counted (`pickle_stream.Budget`): instructions, and what our own
functions copy, which a loop over remembered values could otherwise repeat without end. No value is
compared, hashed, printed or walked through before it is known to be small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from models.pretrained.files.pickle_stream import Window, instructions
from models.pretrained.files.tensors import PretrainedError
from untrusted import limits, plain, shown

Allowed = Mapping[tuple[str, str], Any]
"""(module, name) -> its replacement: a function of ours that is called with the given
arguments, in time and memory of no more than their lengths (`_length`), a value that only other
functions of ours use, or a text, which stands for a class that is a key."""


@dataclass(frozen=True, eq=False)
class Global:
    """A name in the pickle, with its replacement."""

    name: str
    value: Any


class Object(dict[str, Any]):
    """An object of a foreign class, as {"class_name": ..., "state": ...}."""


@dataclass(eq=False)
class NumberType:
    """NumPy's dtype while it is being rebuilt."""

    code: str
    big: bool = False


_MARK = object()
_EMPTY = "its pickle takes from an empty stack: damaged or forged"


class _Machine:
    def __init__(self, allowed: Allowed, persistent: Callable[[Any], Any] | None, stream: Window):
        self.allowed, self.persistent, self.budget = allowed, persistent, stream.budget
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise PretrainedError(_EMPTY)
        return self.stack.pop()

    def top(self) -> Any:
        self.stack.append(value := self.pop())
        return value

    def pop_mark(self) -> list[Any]:
        found: list[Any] = []
        while self.stack and self.stack[-1] is not _MARK:
            found.append(self.stack.pop())
        if not self.stack:
            raise PretrainedError(_EMPTY)
        self.stack.pop()
        return found[::-1]

    def look_up(self, module: Any, name: Any) -> None:
        texts = isinstance(module, str) and isinstance(name, str)
        value = self.allowed.get((module, name)) if texts else None
        if value is None:
            raise PretrainedError(
                f"it asks for {plain(module)}.{plain(name)}, and only tensors and plain containers "
                "are admitted: refused"
            )
        self.stack.append(value if type(value) is str else Global(f"{module}.{name}", value))

    def call(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Global) or not callable(function.value):
            raise PretrainedError("it calls what is no function: refused")
        if not isinstance(arguments, tuple):
            raise PretrainedError("it calls a function without arguments: refused")
        for argument in arguments:
            self.charge(argument)
        try:
            self.stack.append(function.value(*arguments))
        except TypeError as error:
            raise PretrainedError(
                f"it calls {plain(function.name)} with arguments that are none of its own: refused"
            ) from error

    def charge(self, value: Any) -> None:
        """Pay for a copy of a value."""
        if isinstance(value, str):
            self.budget.spend(characters=len(value))
        elif isinstance(value, dict | list | tuple | set):
            self.budget.spend(entries=len(value))

    def build(self) -> None:
        state, target = self.pop(), self.top()
        if isinstance(target, Object):
            target["state"] = state
        elif isinstance(target, NumberType):
            target.big |= isinstance(state, tuple) and state[1:2] == (">",)
        elif not isinstance(target, dict):
            raise PretrainedError("it changes the state of an object: refused")

    def put(self, index: int) -> None:
        self.memo[index] = self.top()

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise PretrainedError("its pickle recalls what was never stored: damaged or forged")
        self.stack.append(self.memo[index])

    def set_items(self, items: list[Any]) -> None:
        target = self.top()
        if not isinstance(target, dict) or len(items) % 2:
            raise PretrainedError("its pickle sets items of what is no dictionary: refused")
        target.update(pairs(zip(items[::2], items[1::2], strict=True)))

    def append(self, items: list[Any]) -> None:
        target = self.top()
        if not isinstance(target, list):
            raise PretrainedError("its pickle appends to what is no list: refused")
        target.extend(items)

    def add(self, items: list[Any]) -> None:
        target = self.top()
        if not isinstance(target, set):
            raise PretrainedError("its pickle adds to what is no set: refused")
        target.update(keys(items))

    def recall_persistent(self) -> None:
        if self.persistent is None:
            raise PretrainedError("its pickle refers to data outside of it: refused")
        self.stack.append(self.persistent(self.pop()))

    def tuple_of(self, n: int) -> None:
        self.stack.append(tuple([self.pop() for _ in range(n)][::-1]))

    def new(self, value: Any) -> None:
        self.stack.append(value)


def keys(items: Iterable[Any]) -> list[Any]:
    """Keys of a dictionary: texts and short numbers, which can be hashed and compared quickly."""
    found = list(items)
    for item in found:
        # Hashing nested tuples takes time that doubles with each level.
        if item is not None and type(item) not in (str, int, float, bool, bytes):
            raise PretrainedError(f"its keys must be texts or numbers, one is {shown(item)}")
        if isinstance(item, str | bytes) and len(item) > limits.NAME_CHARACTERS:
            raise PretrainedError(f"it has a name of {len(item):,} characters: refused")
        # Integers that differ by multiples of 2^61 - 1 share a hash: many would take for ever.
        if type(item) is int and item.bit_length() > 60:
            raise PretrainedError(f"it has the key {shown(item)}: refused")
    return found


def pairs(items: Iterable[Any]) -> dict[Any, Any]:
    """A dictionary of (key, value) pairs; keys are texts or numbers."""
    items = list(items)
    if not all(isinstance(item, tuple | list) and len(item) == 2 for item in items):
        raise PretrainedError("its pickle makes a dictionary of what is no list of pairs: refused")
    return dict(zip(keys(key for key, _ in items), [value for _, value in items], strict=True))


def _stack_global(m: _Machine, _: Any) -> None:
    name, module = m.pop(), m.pop()
    m.look_up(module, name)


def _set_item(m: _Machine, _: Any) -> None:
    value, key = m.pop(), m.pop()
    m.set_items([key, value])


_LITERALS = (
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINSTRING", "SHORT_BINSTRING",
    "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
)  # fmt: skip
_OPERATIONS: dict[str, Callable[[_Machine, Any], object]] = {
    **dict.fromkeys(_LITERALS, _Machine.new),
    "PROTO": lambda m, a: None,
    "FRAME": lambda m, a: None,
    "NONE": lambda m, a: m.new(None),
    "NEWTRUE": lambda m, a: m.new(True),
    "NEWFALSE": lambda m, a: m.new(False),
    "EMPTY_LIST": lambda m, a: m.new([]),
    "EMPTY_DICT": lambda m, a: m.new({}),
    "EMPTY_TUPLE": lambda m, a: m.new(()),
    "EMPTY_SET": lambda m, a: m.new(set()),
    "MARK": lambda m, a: m.new(_MARK),
    "TUPLE": lambda m, a: m.new(tuple(m.pop_mark())),
    "TUPLE1": lambda m, a: m.tuple_of(1),
    "TUPLE2": lambda m, a: m.tuple_of(2),
    "TUPLE3": lambda m, a: m.tuple_of(3),
    "FROZENSET": lambda m, a: m.new(set(keys(m.pop_mark()))),
    "APPEND": lambda m, a: m.append([m.pop()]),
    "APPENDS": lambda m, a: m.append(m.pop_mark()),
    "SETITEM": _set_item,
    "SETITEMS": lambda m, a: m.set_items(m.pop_mark()),
    "ADDITEMS": lambda m, a: m.add(m.pop_mark()),
    "POP": lambda m, a: m.stack.pop() if m.stack else m.pop(),
    "POP_MARK": lambda m, a: m.pop_mark(),
    "DUP": lambda m, a: m.new(m.top()),
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": lambda m, a: m.put(len(m.memo)),
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": lambda m, names: m.look_up(*names),
    "STACK_GLOBAL": _stack_global,
    "REDUCE": lambda m, a: m.call(),
    "NEWOBJ": lambda m, a: m.call(),
    "BUILD": lambda m, a: m.build(),
    "BINPERSID": lambda m, a: m.recall_persistent(),
}
_KNOWN = frozenset(_OPERATIONS)


def load(stream: Window, allowed: Allowed, persistent: Callable[[Any], Any] | None = None) -> Any:
    """The value of the pickle at the stream's position, which is then behind it.

    Args:
      stream: long texts of bytes are returned as views of it; its budget is spent.
      allowed: every name that the pickle may use.
      persistent: makes the value of a persistent id; None if there must not be any.

    Raises:
      PretrainedError: it asks for anything else, is damaged, or is a bomb: too many operations,
        too deep, or larger than any checkpoint if shared values are written out.
    """
    machine = _Machine(allowed, persistent, stream)
    try:
        for name, argument in instructions(stream, _KNOWN):
            _OPERATIONS[name](machine, argument)
    except UnicodeError as error:
        raise PretrainedError("its pickle is damaged: a text in it is none") from error
    value = machine.pop()
    _measure(value, {}, 0)
    return value


def _measure(value: Any, sizes: dict[int, int], depth: int) -> int:
    """Number of entries of a value with all shared values written out."""
    if not isinstance(value, dict | list | tuple):
        return 1
    if depth > limits.PICKLE_DEPTH:
        raise PretrainedError(
            f"its containers are nested more than {limits.PICKLE_DEPTH} deep: refused"
        )
    known = sizes.get(id(value))
    if known is not None:
        if known < 0:
            raise PretrainedError("a container in its pickle holds itself: refused")
        return known
    sizes[id(value)] = -1
    members = value.values() if isinstance(value, dict) else value
    total = 1 + sum(_measure(member, sizes, depth + 1) for member in members)
    if total > limits.PICKLE_ENTRIES:
        raise PretrainedError(
            f"its containers hold more than {limits.PICKLE_ENTRIES:,} entries when written out: "
            "refused"
        )
    sizes[id(value)] = total
    return total
