"""Conversion of a Pillow image of any size and mode to the array of a config.

A picture's file gives the range of its numbers for one bit, palettes and colours, and for grey of 8
or 16 bits. TIFF's 32-bit integers and floats have no convention, so that data.range must be given
for them, except for floats in [0, 1].
"""

from enum import Enum, auto

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image, ImageOps

from data_lib.levels import Range, text

_MODES = {1: "L", 3: "RGB"}
_WHITE = (255, 255, 255, 255)

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
"""Filters of resizing, by data.filter; Pillow widens each to shrink a picture (antialiasing)."""


class Depth(Enum):
    """The form in which a picture stores its values."""

    KNOWN = auto()
    """One bit, or a palette, whose range is certain."""
    BYTES = auto()
    SHORT = auto()
    """Grey of 16 bits."""
    LONG = auto()
    """Integers of 32 bits, whose range is unknown."""
    FLOAT = auto()

    @classmethod
    def of(cls, image: Image.Image) -> "Depth":
        """The depth of a picture as it was opened."""
        if image.mode == "I" and image.format in _WIDENED:
            return cls.SHORT
        return _DEPTHS.get(image.mode, cls.BYTES)


WHITE: dict[Depth, float] = {Depth.BYTES: 255, Depth.SHORT: 65535, Depth.FLOAT: 1}
"""Values of white that a type determines; black is 0."""
_DEPTHS = {
    **dict.fromkeys(("1", "P", "PA"), Depth.KNOWN),
    **dict.fromkeys(("I;16", "I;16L", "I;16B", "I;16N"), Depth.SHORT),
    "I": Depth.LONG,
    "F": Depth.FLOAT,
}
_WIDENED = ("PPM", "PNG")
"""Formats whose 16-bit values Pillow gives, or gave, as 32-bit integers."""


def fit(
    image: Image.Image,
    size: tuple[int, int],
    channels: int,
    *,
    crop: int = 0,
    filter: str = "bilinear",
    range: Range | None = None,
) -> UInt8[np.ndarray, "height width channels"]:
    """The central part of a picture, resized to `size`, in grey (1 channel) or RGB (3).

    size: (height, width), whose proportions the part has.
    crop: side of the part, a square, in pixels of the picture; 0 for the largest part.
    filter: a name in `FILTERS`.
    range: values of black and white; None: given by the picture's `Depth`.

    EXIF rotation is applied; transparent pixels are laid over white; of more than 256 levels the
    high byte is taken. A picture of the right size is not changed. Raises ValueError for a picture
    smaller than the crop, and for values that are outside of their range or need one.
    """
    depth = Depth.of(image)
    image = _to_bytes(_upright(image), depth, range)
    image = _to_mode(image, _MODES[channels])
    height, width = size
    image = _central(image, *((crop, crop) if crop else _largest(image, height, width)))
    if image.size != (width, height):
        image = image.resize((width, height), FILTERS[filter])
    return np.asarray(image).reshape(height, width, channels)


def from_array(pixels: UInt8[np.ndarray, "h w c"]) -> Image.Image:
    """The Pillow image of an array of 1, 3 or 4 channels."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


# Values to bytes ----------------------------------------------------------------------------------


def _upright(image: Image.Image) -> Image.Image:
    """The picture rotated as its EXIF data say; ValueError if they are damaged."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception as error:  # damaged data may raise anything
        raise ValueError(f"its EXIF data are damaged ({type(error).__name__})") from error


def _to_bytes(image: Image.Image, depth: Depth, range: Range | None) -> Image.Image:
    """The picture with its values scaled to 0..255."""
    if depth is Depth.KNOWN or (depth is Depth.BYTES and range in (None, (0, 255))):
        return image
    if depth is Depth.BYTES and image.mode not in _ALPHA:
        raise ValueError(f"data.range is for grey and RGB pictures, it is {image.mode}")
    if image.has_transparency_data and image.mode in _ALPHA:
        image = image.convert(_ALPHA[image.mode])
    values = np.asarray(image)
    if not image.mode.endswith("A"):
        return Image.fromarray(_spread(values, _range(values, depth, range)))
    colours, alpha = values[..., :-1], values[..., -1:]
    spread = _spread(colours, _range(colours, depth, range))
    return Image.fromarray(np.concatenate([spread, alpha], axis=2))


_ALPHA = {"L": "LA", "LA": "LA", "RGB": "RGBA", "RGBA": "RGBA"}
"""Modes of bytes that may have another range, and the same modes with transparency."""


def _range(values: Shaped[np.ndarray, "..."], depth: Depth, stated: Range | None) -> Range:
    """The range of the values; ValueError unless they are within it."""
    least, most = values.min().item(), values.max().item()
    run = f"values run from {least:.12g} to {most:.12g}"
    white = WHITE.get(depth)
    if stated and depth is not Depth.FLOAT and white and stated[1] > white:
        raise ValueError(f"data.range={text(stated)} is beyond its type, whose white is {white}")
    if not stated and white is None:
        raise ValueError(f"the value of white is unknown for 32-bit integers, {run}: "
                         "set data.range=0,65535 or their actual range")  # fmt: skip
    range = stated or (0, white or 0)
    if not (range[0] <= least and most <= range[1]):  # also for NaN
        told = f"data.range={text(range)}, {run}" if stated else (
            f"{text(range)}, {run}: set data.range=0,255 or what they are")  # fmt: skip
        raise ValueError(f"its values must lie in {told}")
    return range


def _spread(values: Shaped[np.ndarray, "*shape"], range: Range) -> UInt8[np.ndarray, "*shape"]:
    """Values scaled to 0..255: the high byte of more than 256 levels, else the nearest."""
    black, white = range
    levels = white - black + 1
    if values.dtype.kind != "f" and levels > 256:
        return np.floor((values.astype(float) - black) * (256 / levels)).astype(np.uint8)
    return np.rint((values.astype(float) - black) * (255 / (white - black))).astype(np.uint8)


# Geometry -----------------------------------------------------------------------------------------


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image)
    return image if image.mode == mode else image.convert(mode)


def _largest(image: Image.Image, height: int, width: int) -> tuple[int, int]:
    """(height, width) of the largest part with the proportions of `height` and `width`."""
    if image.height * width <= image.width * height:
        return image.height, max(1, round(image.height * width / height))
    return max(1, round(image.width * height / width)), image.width


def _central(image: Image.Image, height: int, width: int) -> Image.Image:
    if height > image.height or width > image.width:
        raise ValueError(
            f"data.crop must not exceed a picture of {image.width}x{image.height}, got {height}: "
            "0 takes the largest part of every picture"
        )
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
