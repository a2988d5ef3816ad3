"""The refusal of a stranger's file, and what its message may repeat of the file."""

from __future__ import annotations

from typing import Any

from untrusted import limits

_CONTAINERS: dict[type, tuple[str, str]] = {
    list: ("[", "]"), tuple: ("(", ")"), set: ("{", "}"), frozenset: ("{", "}"), dict: ("{", "}"),
}  # fmt: skip
_FEW, _DEEP = 6, 2


class UntrustedError(ValueError):
    """A file that is damaged, hostile or of another kind; the message, one line, says why."""


def shown(value: Any, most: int = limits.SHOWN) -> str:
    """A value out of a stranger's file for a message: one line of at most `most` characters.

    It takes no longer for a value that is large, deep or refers to itself: of containers a few
    members are shown, of anything but plain values the type.
    """
    return _cut(_told(value, most, _DEEP), most)


def plain(text: Any, most: int = limits.SHOWN) -> str:
    """A name out of a stranger's file as `shown` gives it, but without quotes."""
    if not isinstance(text, str):
        return shown(text, most)
    return _cut("".join(c if c.isprintable() else "?" for c in text[: most + 1]), most)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


def _told(value: Any, most: int, depth: int) -> str:
    kind = type(value)
    if value is None or kind in (bool, float):
        return repr(value)
    if kind is int:
        bits = value.bit_length()
        return repr(value) if bits <= 128 else f"an integer of {bits:,} bits"
    if kind in (str, bytes):
        return repr(value[:most]) if len(value) <= most else f"{value[:most]!r}..."
    if kind not in _CONTAINERS or (value and not depth):
        return f"a {kind.__name__}"
    left, right = _CONTAINERS[kind]
    items = [item for item, _ in zip(value, range(_FEW), strict=False)]
    inner = [_told(item, most, depth - 1) for item in items]
    if kind is dict:
        inner = [f"{key}: {_told(value[k], most, depth - 1)}"
                 for k, key in zip(items, inner, strict=True)]  # fmt: skip
    more = ", ..." if len(value) > _FEW else "," if kind is tuple and len(value) == 1 else ""
    return f"{left}{', '.join(inner)}{more}{right}"
