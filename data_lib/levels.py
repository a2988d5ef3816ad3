"""The meaning of the numbers in an array or a picture: the values of black and white.

A range (black, white) is stated by a setting, or known from the type: floats are in [0, 1], uint8
is 0..255, bool is black and white. If the values make that doubtful, the user is asked: numbers
that leave the brighter half of their range unused may well have another range.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped, UInt8

Range = tuple[float, float]

MOST = 2**16
"""Largest number of levels that are kept as integers."""
_BLOCK_VALUES = 2**20
_EXACT = 2**53


@dataclass(frozen=True)
class Stated:
    """The user's statement on the values, and the setting that makes it.

    range: black and white; None: given by the type.
    setting: the setting that states it, for messages.
    clip: whether floats outside of a stated range, and those that are not finite, are accepted,
      for the caller to clip and count.
    doubt: whether to ask if the values may have another range than their type's.
    raw: whether the values are taken as they are, whatever their range.
    """

    range: Range | None
    setting: str
    clip: bool = False
    doubt: bool = True
    raw: bool = False

    def ask(self, *ranges: Range) -> str:
        """'set data.range=0,16 or 0,255'."""
        return f"set {self.setting}=" + " or ".join(text(range) for range in ranges)


def check_range(value: Sequence[float], setting: str) -> Range | None:
    """A setting's value as a range, None for (); ValueError unless black and white ascend."""
    if not len(value):
        return None
    numbers = all(type(number) in (int, float) for number in value)
    if not numbers or len(value) != 2 or not -np.inf < value[0] < value[1] < np.inf:
        raise ValueError(
            f"{setting} must be two ascending numbers, the values of black and white, or (), "
            f"got {tuple(value)}"
        )
    return value[0], value[1]


def text(range: Range) -> str:
    """A range as the user types it: '0,255'."""
    return f"{range[0]:.12g},{range[1]:.12g}"


def unit(
    values: Shaped[np.ndarray, "n *d"], what: str, stated: Stated
) -> tuple[Shaped[np.ndarray, "n *d"], int | None]:
    """(integers in 0..levels-1, levels), or (float32 in [0, 1], None).

    Raises ValueError, in one line, for values outside of their range, for a type that needs a
    range, and for values that may be of another range than their type says.
    """
    kind = values.dtype.kind
    if stated.raw:
        return as_numbers(values, what), None
    if kind == "f":
        return _continuous(values, what, stated), None
    if kind == "b" and stated.range is None:
        return values.view(np.uint8), 2
    if kind not in "biu" or (stated.range is None and values.dtype != np.uint8):
        raise ValueError(_unknown(values, what, stated))
    if stated.range is None:
        if stated.doubt:
            check_bytes(values, what, stated)
        return values, 256
    return _integers(values, what, stated.range, stated.setting)


def as_numbers(values: Shaped[np.ndarray, "*shape"], what: str) -> Shaped[np.ndarray, "*shape"]:
    """Real numbers as float32, or float64 where they are that or need it; ValueError for others."""
    if values.dtype.kind not in "fbiu":
        raise ValueError(f"{what} must be real numbers, got {values.dtype}: complex ones are two "
                         "channels, and texts are numbered")  # fmt: skip
    wide = values.dtype == np.float64 or (values.dtype.kind in "iu" and values.dtype.itemsize > 2)
    return values.astype(np.float64 if wide else np.float32, copy=False)


def _unknown(values: np.ndarray, what: str, stated: Stated) -> str:
    told = f"{what} must be uint8 or float in [0, 1], got {values.dtype}"
    if values.dtype.kind not in "iu":
        return told
    low, high = int(values.min()), int(values.max())
    deep: Range = (0, 2 ** max(high.bit_length(), 1) - 1)
    choices: set[Range] = {(low, high), deep, (0, 255)} if low >= 0 else {(low, high)}
    fitting: list[Range] = sorted(c for c in choices if c[0] <= low < high <= c[1])
    return f"{told} from {low} to {high}: " + stated.ask(*(fitting or [(0, 255)]))


def _continuous(values: np.ndarray, what: str, stated: Stated) -> np.ndarray:
    black, white = stated.range or (0.0, 1.0)
    known = values[np.isfinite(values)] if stated.clip else values
    least, most = (float(known.min()), float(known.max())) if known.size else (np.nan, np.nan)
    inside = black <= least and most <= white  # also false for NaN
    if not inside and not (stated.clip and stated.range):
        raise ValueError(_outside(what, least, most, stated))
    if stated.range is None and stated.doubt and 0 < most < 0.5 and _varied(values):
        raise ValueError(
            f"{what} may not be in [0, 1], values run from {least:g} to {most:g}: "
            + stated.ask((0, float(f"{most:.3g}")), (0, 1))
        )
    if (black, white) != (0.0, 1.0):
        wide = np.promote_types(values.dtype, np.float32)
        values = (values.astype(wide) - wide.type(black)) / wide.type(white - black)
    return values.astype(np.float32, copy=False)


def _outside(what: str, least: float, most: float, stated: Stated) -> str:
    run = f"values run from {least:g} to {most:g}"
    if stated.range is not None:
        return f"{what} must lie in {stated.setting}={text(stated.range)} without NaN, {run}"
    told = f"{what} must lie in [0, 1] without NaN, {run}"
    if not np.isfinite([least, most]).all():
        return told
    fits: list[Range] = [r for r in ((-1, 1), (0, 255)) if r[0] <= least and most <= r[1]]
    if least.is_integer() and most.is_integer() and (least, most) not in fits:
        fits.insert(0, (least, most))
    clipped = ", or 0,1 to clip it" if stated.clip else ""
    return f"{told}: scale it, or {stated.ask(*(fits or [(least, most)]))}{clipped}"


def _integers(values: np.ndarray, what: str, range: Range, setting: str) -> tuple[np.ndarray, int]:
    black, white = int(range[0]), int(range[1])
    levels = white - black + 1
    if (black, white) != range or levels > MOST or max(-black, white) > _EXACT:
        raise ValueError(
            f"{setting} must be two integers at most {MOST - 1:,} apart for {what}, which is "
            f"{values.dtype}, got {text(range)}"
        )
    least, most = int(values.min()), int(values.max())
    if least < black or most > white:
        raise ValueError(
            f"{what} must lie in {setting}={text(range)}, values run from {least} to {most}"
        )
    kind = np.uint8 if levels <= 256 else np.uint16
    if not black:
        return values.astype(kind, copy=False), levels
    return (values.astype(np.int64) - black).astype(kind), levels


# Whether values use their range -------------------------------------------------------------------


def check_bytes(pixels: UInt8[np.ndarray, "n h w c"], what: str, stated: Stated) -> None:
    """Raise ValueError if these bytes may not have 256 levels.

    That is so if they leave the brighter half unused, or all of it but 255, which then marks pixels
    without a class while the others count 0, 1, ... Images of a single value are not considered.
    """
    top = _doubted(pixels)
    if top:
        raise ValueError(
            f"{what} may not be of 256 levels, no value is above {top}"
            f"{' but 255' if (pixels == 255).any() else ''}: " + stated.ask((0, top), (0, 255))
        )


def _doubted(pixels: UInt8[np.ndarray, "n h w c"]) -> int:
    """The largest value below 128 if the range is doubtful, else 0."""
    top, one, white, varied = 0, False, False, False
    for block in _blocks(pixels):
        bright = block >= 128
        if bright.any():
            if (bright & (block < 255)).any():
                return 0
            white = True
            block = np.where(bright, 0, block)
        top, one = max(top, int(block.max())), one or bool((block == 1).any())
        varied = varied or white or _varied(block)
    return top if varied and (one or not white) else 0


def _blocks(values: Shaped[np.ndarray, "n h w c"]) -> Iterator[Shaped[np.ndarray, "m h w c"]]:
    step = max(1, _BLOCK_VALUES * len(values) // max(values.size, 1))
    for start in range(0, len(values), step):
        yield values[start : start + step]


def _varied(values: Shaped[np.ndarray, "n h w c"]) -> bool:
    """True if an image has two values in one of its channels."""
    return any((block != block[:, :1, :1]).any() for block in _blocks(values))
