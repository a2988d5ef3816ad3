"""The bytes of a pickle as instructions and their arguments, within a budget.

Only the instructions that PyTorch (protocol 2) and EDM (protocols 2 to 5) write are known. The
length that an instruction declares is checked before anything of that length is made.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from models.pretrained.files.tensors import PretrainedError
from untrusted import limits, plain

SMALL = 1 << 10
"""Bytes up to which a piece is copied out of the file."""
_NAMES = {ord(known.code): known.name for known in pickletools.opcodes}


@dataclass
class Budget:
    """The remaining budget of one file: instructions, entries of containers, bytes."""

    operations: int = limits.PICKLE_OPERATIONS
    entries: int = limits.PICKLE_ENTRIES
    characters: int = limits.PICKLE_TEXT_BYTES

    def spend(self, operations: int = 0, entries: int = 0, characters: int = 0) -> None:
        """Deduct from the budget; PretrainedError if it is exceeded."""
        self.operations -= operations
        self.entries -= entries
        self.characters -= characters
        if min(self.operations, self.entries, self.characters) < 0:
            raise PretrainedError(
                f"its pickle has more than {limits.PICKLE_OPERATIONS:,} operations, makes more "
                f"than {limits.PICKLE_ENTRIES:,} entries of containers or more than "
                f"{limits.PICKLE_TEXT_BYTES:,} bytes of texts, which no published checkpoint "
                "needs: refused"
            )


class Window:
    """A buffer that is read from the start; long pieces are returned as views of it."""

    def __init__(self, data: bytes | memoryview, budget: Budget | None = None):
        self.data, self.at, self.budget = memoryview(data), 0, budget or Budget()

    def take(self, size: int) -> memoryview:
        """The next `size` bytes."""
        piece = self.data[self.at : self.at + size]
        if size < 0 or len(piece) < size:
            raise PretrainedError("its pickle is damaged or truncated: it ends within a value")
        self.at += size
        return piece

    def number(self, layout: str) -> Any:
        """The next number, of the type given in `struct`'s notation."""
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def text(self, layout: str, encoding: str = "utf-8") -> str:
        """A text, preceded by its length."""
        return str(self._small(self.number(layout)), encoding)

    def bytes(self, layout: str) -> bytes | memoryview:
        """Bytes, preceded by their number."""
        size = self.number(layout)
        return self.take(size) if size > SMALL else bytes(self._small(size))

    def integer(self, layout: str) -> int:
        """An integer of any length, preceded by the number of its bytes."""
        size = self.number(layout)
        if 8 * size > limits.INTEGER_BITS:
            raise PretrainedError(f"it has an integer of {8 * size:,} bits: refused")
        return int.from_bytes(self.take(size), "little", signed=True)

    def line(self) -> str:
        """A text up to the next newline."""
        start = bytes(self.data[self.at : self.at + limits.NAME_CHARACTERS])
        line, newline, _ = start.partition(b"\n")
        if not newline:
            raise PretrainedError(f"it asks for {plain(str(line, 'latin1'))}..., no name: refused")
        self.at += len(line) + 1
        return str(line, "utf-8")

    def _small(self, size: int) -> memoryview:
        self.budget.spend(characters=max(size, 0))
        return self.take(size)


def _frame(stream: Window) -> None:
    if stream.number("<Q") > len(stream.data) - stream.at:
        raise PretrainedError("its pickle ends too early: truncated")


def _global(stream: Window) -> tuple[str, str]:
    return stream.line(), stream.line()


_ARGUMENTS: dict[str, Callable[[Window], Any]] = {
    "PROTO": lambda s: s.number("B"),
    "FRAME": _frame,
    "GLOBAL": _global,
    "BININT": lambda s: s.number("<i"),
    "BININT1": lambda s: s.number("B"),
    "BININT2": lambda s: s.number("<H"),
    "LONG1": lambda s: s.integer("B"),
    "LONG4": lambda s: s.integer("<i"),
    "BINFLOAT": lambda s: s.number(">d"),
    "BINSTRING": lambda s: s.text("<i", "latin1"),
    "SHORT_BINSTRING": lambda s: s.text("B", "latin1"),
    "BINUNICODE": lambda s: s.text("<I"),
    "SHORT_BINUNICODE": lambda s: s.text("B"),
    "BINUNICODE8": lambda s: s.text("<Q"),
    "BINBYTES": lambda s: s.bytes("<I"),
    "SHORT_BINBYTES": lambda s: s.bytes("B"),
    "BINBYTES8": lambda s: s.bytes("<Q"),
    "BINPUT": lambda s: s.number("B"),
    "LONG_BINPUT": lambda s: s.number("<I"),
    "BINGET": lambda s: s.number("B"),
    "LONG_BINGET": lambda s: s.number("<I"),
}
"""Instructions with an argument -> the argument's reader."""


def instructions(stream: Window, known: frozenset[str]) -> Iterator[tuple[str, Any]]:
    """(name, argument) of each instruction before the end.

    Raises:
      PretrainedError: an instruction is not among `known`, has an invalid argument, or the budget
        is spent.
    """
    while True:
        stream.budget.spend(operations=1)
        name = _NAMES.get(stream.number("B"), "an instruction that is none")
        if name == "STOP":
            return
        if name not in known:
            raise PretrainedError(f"its pickle uses {name}, which no checkpoint needs: refused")
        yield name, _ARGUMENTS[name](stream) if name in _ARGUMENTS else None
