"""Letters and digits of the fonts that matplotlib ships, with captions that name all about them.

    bold slanted serif latin capital letter q, red on white

A composition is a pair (g, k): the glyph numbered g, and the style k = 4 family + 2 weight + slant
of 16. It is held out of training if (g + 5 k) mod 8 == 0, so that a model sees every glyph and
every style, and never these pairs of them.

Pictures are drawn in a frame of 64 pixels, ink centred from left to right on a common baseline,
and averaged over squares to fewer pixels: those of 16 are exactly the averages of those of 64, but
for the rounding to gray levels.
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt8

from configs.names import choose
from data_lib.base import Images, Log, Splits
from data_lib.config import DataConfig
from data_lib.rows import Rows

FRAME = 64
BASELINE = round(0.77 * FRAME)
LARGE, SMALL = 48, 40
"""Sizes of the font; accents reach higher than letters, and need the smaller one."""
FONTS: dict[str, tuple[str, str, str, str]] = {
    "sans serif": ("DejaVuSans", "DejaVuSans-Oblique",
                   "DejaVuSans-Bold", "DejaVuSans-BoldOblique"),
    "monospace": ("DejaVuSansMono", "DejaVuSansMono-Oblique",
                  "DejaVuSansMono-Bold", "DejaVuSansMono-BoldOblique"),
    "serif": ("DejaVuSerif", "DejaVuSerif-Italic", "DejaVuSerif-Bold", "DejaVuSerif-BoldItalic"),
    "times": ("STIXGeneral", "STIXGeneralItalic", "STIXGeneralBol", "STIXGeneralBolIta"),
}  # fmt: skip
"""Family -> files of its regular upright, regular slanted, bold upright and bold slanted font."""
FAMILIES, WEIGHTS, SLANTS = tuple(FONTS), ("regular", "bold"), ("upright", "slanted")
STYLES = 16
PALETTE: dict[str, tuple[int, int, int]] = {
    "black": (0, 0, 0), "white": (255, 255, 255), "red": (220, 30, 30), "green": (30, 160, 40),
    "blue": (40, 70, 220), "yellow": (240, 210, 40), "orange": (240, 140, 20),
    "purple": (140, 50, 180), "cyan": (40, 190, 200), "grey": (128, 128, 128),
}  # fmt: skip
SEED = 0
"""Seed of all draws: the data are the same for every seed of training."""

BLOCK = 1024
"""Pictures that are coloured at a time."""

Picture = UInt8[np.ndarray, "height width"]
Pairs = Int[np.ndarray, "n 2"]
"""Compositions (g, k)."""


def load(config: DataConfig, log: Log) -> Splits:
    """The compositions of a tier: those trained on, data.draws times each, and those held out.

    The first draw of every composition has a caption that says all, in the order of parts that
    held-out ones have; the others have one of three orders, and leave each part but the name out
    with probability data.left_out. Every draw has colours of its own if data.colours says so.
    Raises ValueError, naming the key, for pictures that the frame cannot be averaged to.
    """
    tier = choose("data.glyphs", config.glyphs, TIERS)
    colours = choose("data.colours", config.colours, COLOURS)
    px = _pixels(config)
    glyphs = tier.glyphs()
    cover = coverage(glyphs, tier.size, px)
    pairs = np.stack(np.divmod(np.arange(len(glyphs) * STYLES), STYLES), axis=1)
    out, rng = held_out(*pairs.T), np.random.default_rng(SEED)
    train, test = (rng.permutation(pairs[part]) for part in (~out, out))
    draw = partial(_draw, rng, glyphs, cover, colours, config)
    several = np.tile(train, (config.draws, 1))
    whole = np.arange(len(several)) < len(train)
    name = f"glyphs ({config.glyphs})"
    return Splits(draw(several, whole), draw(test, np.ones(len(test), bool)), name)


def held_out(g: Int[np.ndarray, " n"], k: Int[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """True for compositions that are held out of training."""
    return (g + 5 * k) % 8 == 0


def _pixels(config: DataConfig) -> int:
    height, width = config.size
    if height != width or height < 8 or FRAME % height:
        raise ValueError(
            f"data.image_size must be 8, 16, 32 or {FRAME} for data.dataset='glyphs', got "
            f"{height}x{width}"
        )
    coloured = config.colours != "none"
    if config.channels not in ((3,) if coloured else (1, 3)):
        raise ValueError(
            f"data.num_channels must be {'3' if coloured else '1 or 3'} with data.colours="
            f"{config.colours!r}, got {config.channels}"
        )
    return height


# Glyphs -------------------------------------------------------------------------------------------


class Tier(NamedTuple):
    """A set of glyphs: the size of the font, and the characters, whose places are their numbers."""

    size: int
    glyphs: Callable[[], str]


LATIN = string.digits + string.ascii_uppercase + string.ascii_lowercase


def name_of(glyph: str) -> str:
    """The name of a character, in lower case."""
    return unicodedata.name(glyph).lower()


def _common(size: int, kinds: tuple[str, ...], accents: bool) -> str:
    """Characters of these kinds that every font has, the Latin ones first.

    Left out are those that leave the frame, that are the same in two styles, or that look in some
    font like one before: A is there, and Alpha is not.
    """
    from matplotlib.ft2font import FT2Font

    maps = [set(FT2Font(str(_path(k))).get_charmap()) for k in range(STYLES)]
    found, seen = "", set[tuple[int, bytes]]()
    others = (chr(code) for code in sorted(set.intersection(*maps)))
    for glyph in (*LATIN, *(other for other in others if other not in LATIN)):
        named = unicodedata.name(glyph, "")
        kind = unicodedata.category(glyph).startswith(kinds)
        plain = " WITH " not in named and not unicodedata.decomposition(glyph)
        if not named or not kind or not (accents or plain):
            continue
        pictures = [(k, drawn(glyph, k, size).tobytes()) for k in range(STYLES)]
        differ = len({picture for _, picture in pictures}) == STYLES
        if differ and _fits(glyph, size) and seen.isdisjoint(pictures):
            found += glyph
        seen.update(pictures)
    return found


TIERS: dict[str, Tier] = {
    "latin": Tier(LARGE, lambda: LATIN),
    "capitals": Tier(LARGE, lambda: LATIN[:36]),
    "letters": Tier(LARGE, partial(_common, LARGE, ("Lu", "Ll", "Nd"), False)),
    "all": Tier(SMALL, partial(_common, SMALL, ("L", "N", "P", "S"), True)),
}
"""data.glyphs -> glyphs."""


def _path(style: int) -> Path:
    import matplotlib

    file = f"{FONTS[FAMILIES[style // 4]][style % 4]}.ttf"
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / file


@cache
def _font(style: int, size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.truetype(str(_path(style)), size, layout_engine=ImageFont.Layout.BASIC)


def _place(glyph: str, style: int, size: int) -> tuple[int, tuple[int, int, int, int]]:
    """(horizontal origin, box of the ink from the origin: left, top, right, bottom)."""
    left, top, right, bottom = _font(style, size).getbbox(glyph, anchor="ls")
    return round((FRAME - right - left) / 2), (left, top, right, bottom)


def _fits(glyph: str, size: int) -> bool:
    for k in range(STYLES):
        x, (left, top, right, bottom) = _place(glyph, k, size)
        if min(x + left, BASELINE + top) < 0 or max(x + right, BASELINE + bottom) > FRAME:
            return False
    return True


def drawn(glyph: str, style: int, size: int) -> Picture:
    """The share of each pixel of the frame that the glyph covers, from 0 to 255."""
    from PIL import Image, ImageDraw

    x, _ = _place(glyph, style, size)
    picture, font = Image.new("L", (FRAME, FRAME)), _font(style, size)
    ImageDraw.Draw(picture).text((x, BASELINE), glyph, 255, font=font, anchor="ls")
    return np.asarray(picture)


def coverage(glyphs: str, size: int, px: int) -> np.ndarray:
    """Shares of pixels that glyphs cover, [n, 16, px, px] in [0, 1], averaged over squares."""
    found = np.asarray([[drawn(glyph, k, size) for k in range(STYLES)] for glyph in glyphs])
    side = FRAME // px
    squares = found.reshape(len(glyphs), STYLES, px, side, px, side)
    return (squares.mean(axis=(3, 5)) / 255).astype(np.float32)


# Draws --------------------------------------------------------------------------------------------


def _black_on_white(rng: np.random.Generator, count: int) -> Int[np.ndarray, "n 2"] | None:
    return None


def _any_two(rng: np.random.Generator, count: int) -> Int[np.ndarray, "n 2"] | None:
    """Numbers of different colours, in front and behind."""
    front = rng.integers(len(PALETTE), size=count)
    return np.stack([front, (front + rng.integers(1, len(PALETTE), size=count)) % len(PALETTE)], 1)


COLOURS: dict[str, Callable[[np.random.Generator, int], Int[np.ndarray, "n 2"] | None]] = {
    "none": _black_on_white,
    "palette": _any_two,
}
"""data.colours -> how the colours of pictures are drawn; None: black on white, not said."""


def _draw(
    rng: np.random.Generator,
    glyphs: str,
    cover: np.ndarray,
    colours: Callable[[np.random.Generator, int], Int[np.ndarray, "n 2"] | None],
    config: DataConfig,
    pairs: Pairs,
    whole: Bool[np.ndarray, " n"],
) -> Images:
    """Pictures and captions of compositions; those that are `whole` leave nothing out."""
    shown = colours(rng, len(pairs))
    orders = np.where(whole, 0, rng.integers(len(ORDERS), size=len(pairs)))
    said = whole[:, None] | (rng.random((len(pairs), 4)) >= config.left_out)
    texts = list(_captions(glyphs, pairs, shown, orders, said))
    pixels = _pictures(cover, pairs, shown, config.channels)
    labels = pairs[:, 0].astype(np.int32)
    return Images(pixels, labels, 256, captions=np.asarray(texts))  # type: ignore[arg-type]


def _pictures(
    cover: np.ndarray, pairs: Pairs, shown: Int[np.ndarray, "n 2"] | None, channels: int
) -> Any:
    """Pictures of gray levels; those in black on white are kept once for all draws."""
    if shown is None:
        white = np.rint(255 * (1 - cover)).astype(np.uint8)[..., None]
        white = np.repeat(white.reshape(-1, *white.shape[2:]), channels, axis=-1)
        return Rows(white, pairs @ np.array([STYLES, 1]))
    levels = np.array(list(PALETTE.values()), np.float32)[shown][:, :, None, None]
    pixels = np.empty((len(pairs), *cover.shape[2:], channels), np.uint8)
    for at in range(0, len(pairs), BLOCK):
        rows = slice(at, at + BLOCK)
        share, (front, back) = cover[tuple(pairs[rows].T)][..., None], levels[rows].swapaxes(0, 1)
        pixels[rows] = np.rint(back + share * (front - back))
    return pixels


ORDERS = (
    "{weight} {slant} {family} {name}, {colours}",
    "{name}, {family} {slant} {weight}, {colours}",
    "{colours}, {slant} {name}, {weight} {family}",
)
"""Orders of the parts of a caption; that of tests is the first."""


def _captions(
    glyphs: str,
    pairs: Pairs,
    shown: Int[np.ndarray, "n 2"] | None,
    orders: Int[np.ndarray, " n"],
    said: Bool[np.ndarray, "n 4"],
) -> Iterator[str]:
    """Captions; `said`: whether weight, slant, family and colours are named."""
    names, colours = [name_of(glyph) for glyph in glyphs], list(PALETTE)
    for i, (g, k) in enumerate(pairs):
        both = "" if shown is None else " on ".join(colours[c] for c in shown[i])
        parts = {"weight": WEIGHTS[k // 2 % 2], "slant": SLANTS[k % 2],
                 "family": FAMILIES[k // 4], "colours": both}  # fmt: skip
        left = dict(zip(parts, said[i], strict=True))
        told = {part: text if left[part] else "" for part, text in parts.items()}
        yield _tidy(ORDERS[orders[i]].format(name=names[g], **told))


def _tidy(caption: str) -> str:
    """A caption without the spaces and commas around parts that are left out."""
    clauses = (" ".join(clause.split()) for clause in caption.split(","))
    return ", ".join(clause for clause in clauses if clause)
