"""JSON files from strangers."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from pathlib import Path
from typing import Any

from untrusted import limits
from untrusted.errors import UntrustedError, plain, shown
from untrusted.opening import read_bytes


def read_json(
    path: Path | str, most: int = limits.JSON_BYTES, *, named: bool = False, endless: bool = False
) -> dict[str, Any]:
    """The object in a JSON file of at most `most` bytes.

    endless: whether numbers may be infinite.

    Raises:
      UntrustedError: not a regular file, or refused by `parse_json`; the message names the file.
      OSError: there is no such file, or it cannot be read.
    """
    content = read_bytes(path, most, named=named)
    try:
        return parse_json(content, endless=endless)
    except UntrustedError as error:
        raise UntrustedError(f"{plain(os.path.basename(path))}: {error}") from error


def parse_json(
    content: bytes | str, items: int = limits.JSON_ITEMS, *, endless: bool = False
) -> dict[str, Any]:
    """The object in a JSON text, of finite and shallow values without repeated keys.

    items: largest number of values and keys. endless: whether Infinity and -Infinity are numbers.

    Raises:
      UntrustedError: not JSON in UTF-8, or beyond a limit; the message says which.
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8")
        if sum(map(text.count, ",[{")) > items:
            raise UntrustedError(f"it must have at most {items:,} items: refused")
        value = json.loads(text, object_pairs_hook=_pairs, parse_int=_integer, parse_float=_float,
                           parse_constant=_endless if endless else _constant)  # fmt: skip
        _check_depth(value)
    except UntrustedError:
        raise
    except UnicodeError as error:
        raise UntrustedError(f"it must be text in UTF-8 ({error})") from error
    except RecursionError as error:
        raise UntrustedError(_TOO_DEEP) from error
    except ValueError as error:
        raise UntrustedError(f"it is no JSON, but damaged or cut off ({error})") from error
    if not isinstance(value, dict):
        raise UntrustedError(f"it must be a JSON object, it is {shown(value)}")
    return value


_TOO_DEEP = f"its values must be nested at most {limits.JSON_DEPTH} deep: refused"


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise UntrustedError(f"it has the key {shown(twice)} twice: refused")
    return found


def _integer(text: str) -> int:
    if len(text) > limits.JSON_DIGITS:
        raise UntrustedError(f"it has an integer of {len(text):,} digits: refused")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise UntrustedError(f"it has the number {plain(text)}, beyond any that is used: refused")
    return value


def _constant(text: str) -> Any:
    raise UntrustedError(f"it has {text} for a number: refused")


def _endless(text: str) -> Any:
    return _constant(text) if text == "NaN" else float(text)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(limits.JSON_DEPTH + 1):
        texts = [member for member in level if isinstance(member, str)]
        "".join(texts).encode()  # half of a character cannot be printed
        level = [
            member
            for container in level
            if isinstance(container, dict | list)
            for member in (
                (*container, *container.values()) if isinstance(container, dict) else container
            )
        ]
    if level:
        raise UntrustedError(_TOO_DEEP)
