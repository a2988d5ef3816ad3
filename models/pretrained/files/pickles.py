"""A pickle machine that cannot run anything.

A pickle is a program for a stack machine, and Python's own runs whatever that program names. This
one knows containers, numbers and texts; a name is looked up in a table of our own functions, and
whatever is not there ends the reading. It calls no method of any object, sets no attribute and
imports nothing. `pickletools` decodes the instructions and checks their lengths.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any, cast

from models.pretrained.files.tensors import PretrainedError

MOST_OPERATIONS = 250_000
"""Of all pickles in one file; the largest published checkpoint takes some 120,000."""
MOST_ENTRIES = 2_000_000
"""In all containers, what is shared counted as often as it is met."""
DEEPEST = 100
LONGEST_INTEGER = 512
"""In bits."""
SMALL = 1 << 16
"""Bytes up to which an argument is copied out of the file."""
Allowed = Mapping[tuple[str, str], Any]
"""(module, name) -> what stands for it: a function of ours that is called with the arguments
given for it, or a value that only other functions of ours look at."""


@dataclass
class Budget:
    """Operations that may still be done for one file."""

    left: int = MOST_OPERATIONS

    def spend(self) -> None:
        """Count one; PretrainedError when none is left."""
        self.left -= 1
        if self.left < 0:
            raise PretrainedError(
                f"its pickle has more than {MOST_OPERATIONS:,} operations, which no published "
                "checkpoint needs: refused"
            )


class Window:
    """A buffer read like a file; long pieces come as views of it."""

    def __init__(self, data: bytes | memoryview):
        self.data, self.at = data, 0

    def tell(self) -> int:
        """The position."""
        return self.at

    def read(self, size: int) -> Any:
        """The next `size` bytes, or as many as are left."""
        piece = self.data[self.at : self.at + size]
        self.at += len(piece)
        return piece if len(piece) > SMALL else bytes(piece)

    def readline(self) -> bytes:
        """Up to the next newline; at most SMALL bytes."""
        line = bytes(self.data[self.at : self.at + SMALL])
        line = line[: line.find(b"\n") + 1] or line
        self.at += len(line)
        return line


@dataclass(frozen=True)
class Global:
    """A name in the pickle, with what stands for it."""

    name: str
    value: Any


class Object(dict[str, Any]):
    """An object of a foreign class, as {"class_name": ..., "state": ...}."""


@dataclass
class NumberType:
    """NumPy's dtype while it is being rebuilt."""

    code: str


_MARK = object()


class _Machine:
    def __init__(self, allowed: Allowed, persistent: Callable[[Any], Any] | None):
        self.allowed, self.persistent = allowed, persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise PretrainedError("its pickle takes from an empty stack: damaged or forged")
        return self.stack.pop()

    def top(self) -> Any:
        self.stack.append(value := self.pop())
        return value

    def pop_mark(self) -> list[Any]:
        found: list[Any] = []
        while self.stack and self.stack[-1] is not _MARK:
            found.append(self.stack.pop())
        if not self.stack:
            raise PretrainedError("its pickle takes from an empty stack: damaged or forged")
        self.stack.pop()
        return found[::-1]

    def look_up(self, module: Any, name: Any) -> None:
        value = self.allowed.get((module, name)) if _atomic(module) and _atomic(name) else None
        if value is None:
            raise PretrainedError(
                f"it asks for {str(module)[:80]}.{str(name)[:80]}, and only tensors and plain "
                "containers are admitted: refused"
            )
        self.stack.append(Global(f"{module}.{name}", value))

    def call(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Global) or not callable(function.value):
            raise PretrainedError("it calls what is no function: refused")
        if not isinstance(arguments, tuple):
            raise PretrainedError("it calls a function without arguments: refused")
        self.stack.append(function.value(*arguments))

    def build(self) -> None:
        state, target = self.pop(), self.top()
        if isinstance(target, Object):
            target["state"] = state
        elif isinstance(target, NumberType):
            order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
            target.code = ">" + target.code if order == ">" else target.code
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
        target.update(_keys(items))

    def recall_persistent(self) -> None:
        if self.persistent is None:
            raise PretrainedError("its pickle refers to data outside of it: refused")
        self.stack.append(self.persistent(self.pop()))

    def tuple_of(self, n: int) -> None:
        self.stack.append(tuple([self.pop() for _ in range(n)][::-1]))

    def new(self, value: Any) -> None:
        self.stack.append(value)


def _atomic(value: Any) -> bool:
    return value is None or type(value) in (str, int, float, bool, bytes)


def _keys(items: Any) -> Any:
    for item in items:
        # Hashing nested tuples takes time that doubles with each level.
        if not _atomic(item):
            raise PretrainedError(
                f"its keys must be texts or numbers, one is {type(item)}: refused"
            )
        yield item


def pairs(items: Any = ()) -> dict[Any, Any]:
    """A dictionary of (key, value) pairs, as OrderedDict is pickled; keys are texts or numbers."""
    items = list(items)
    if not all(isinstance(item, tuple | list) and len(item) == 2 for item in items):
        raise PretrainedError("its pickle makes a dictionary of what is no list of pairs: refused")
    return dict(zip(_keys(key for key, _ in items), [value for _, value in items], strict=True))


def _find(m: _Machine, argument: str) -> None:
    module, _, name = argument.partition(" ")
    m.look_up(module, name)


def _stack_global(m: _Machine, _: Any) -> None:
    name, module = m.pop(), m.pop()
    m.look_up(module, name)


def _set_item(m: _Machine, _: Any) -> None:
    value, key = m.pop(), m.pop()
    m.set_items([key, value])


def _dictionary(m: _Machine, _: Any) -> None:
    items = m.pop_mark()
    m.new({})
    m.set_items(items)


def _pop_mark(m: _Machine, _: Any) -> None:
    m.pop_mark()


def _literal(m: _Machine, argument: Any) -> None:
    if type(argument) is int and argument.bit_length() > LONGEST_INTEGER:
        raise PretrainedError(f"it has an integer of {argument.bit_length():,} bits: refused")
    m.new(argument)


_LITERALS = (
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE",
    "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
)  # fmt: skip
_OPERATIONS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(_LITERALS, _literal),
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
    "LIST": lambda m, a: m.new(m.pop_mark()),
    "DICT": _dictionary,
    "FROZENSET": lambda m, a: m.new(set(_keys(m.pop_mark()))),
    "APPEND": lambda m, a: m.append([m.pop()]),
    "APPENDS": lambda m, a: m.append(m.pop_mark()),
    "SETITEM": _set_item,
    "SETITEMS": lambda m, a: m.set_items(m.pop_mark()),
    "ADDITEMS": lambda m, a: m.add(m.pop_mark()),
    "POP": lambda m, a: m.stack.pop() if m.stack else m.pop(),
    "POP_MARK": _pop_mark,
    "DUP": lambda m, a: m.new(m.top()),
    "PUT": lambda m, a: m.put(a),
    "BINPUT": lambda m, a: m.put(a),
    "LONG_BINPUT": lambda m, a: m.put(a),
    "MEMOIZE": lambda m, a: m.put(len(m.memo)),
    "GET": lambda m, a: m.get(a),
    "BINGET": lambda m, a: m.get(a),
    "LONG_BINGET": lambda m, a: m.get(a),
    "GLOBAL": _find,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": lambda m, a: m.call(),
    "NEWOBJ": lambda m, a: m.call(),
    "BUILD": lambda m, a: m.build(),
    "BINPERSID": lambda m, a: m.recall_persistent(),
}


def load(
    stream: Window,
    allowed: Allowed,
    persistent: Callable[[Any], Any] | None = None,
    budget: Budget | None = None,
) -> Any:
    """The value of the pickle at the stream's position, which is then behind it.

    Args:
      stream: long texts of bytes are returned as views of it.
      allowed: every name that the pickle may use.
      persistent: makes a value of a persistent id; None where there are to be none.
      budget: shared by all pickles of a file.

    Raises:
      PretrainedError: it asks for anything else, is damaged, or is a bomb: too many operations,
        too deep, or larger than any checkpoint when what is shared is written out.
    """
    machine, budget = _Machine(allowed, persistent), budget or Budget()
    operations = pickletools.genops(cast(IO[bytes], stream))
    try:
        for opcode, argument, _ in operations:
            budget.spend()
            if opcode.name == "STOP":
                break
            if opcode.name == "FRAME" and (argument or 0) > len(stream.data) - stream.at:
                raise PretrainedError("its pickle ends too early: truncated")
            if opcode.name not in _OPERATIONS:
                raise PretrainedError(
                    f"its pickle uses {opcode.name}, which no checkpoint needs: refused"
                )
            _OPERATIONS[opcode.name](machine, argument)
    except PretrainedError:
        raise
    except (ValueError, TypeError, OverflowError, MemoryError) as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise PretrainedError(f"its pickle is damaged or truncated ({first[:120]})") from error
    value = machine.pop()
    _measure(value, {}, 0)
    return value


def _measure(value: Any, sizes: dict[int, int], depth: int) -> int:
    """How many entries a value has when everything shared is written out."""
    if not isinstance(value, dict | list | tuple):
        return 1
    if depth > DEEPEST:
        raise PretrainedError(f"its containers are nested more than {DEEPEST} deep: refused")
    known = sizes.get(id(value))
    if known is not None:
        if known < 0:
            raise PretrainedError("a container in its pickle holds itself: refused")
        return known
    sizes[id(value)] = -1
    members = value.values() if isinstance(value, dict) else value
    total = 1 + sum(_measure(member, sizes, depth + 1) for member in members)
    if total > MOST_ENTRIES:
        raise PretrainedError(
            f"its containers hold more than {MOST_ENTRIES:,} entries when written out: refused"
        )
    sizes[id(value)] = total
    return total
