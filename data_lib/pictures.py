"""From a Pillow image of any size and mode to the array of a config."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

_MODES = {1: "L", 3: "RGB"}
_WHITE = (255, 255, 255, 255)

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
"""Of resizing, by data.filter; Pillow widens each when it shrinks a picture (antialiasing)."""


def fit(
    image: Image.Image, size: int, channels: int, *, crop: int = 0, filter: str = "bilinear"
) -> UInt8[np.ndarray, "size size channels"]:
    """Grey (1 channel) or RGB (3), its central square of side `crop`, resized to `size`.

    crop: in pixels of the picture; 0 for the largest square, whose side is the shorter one's.
    filter: a name in `FILTERS`.

    EXIF rotation is applied; transparent pixels are laid over white; 16-bit grey loses its low
    byte. A picture whose square fits already is not changed. Raises ValueError for a picture
    smaller than the crop.
    """
    image = _to_mode(ImageOps.exif_transpose(image), _MODES[channels])
    image = _central_square(image, crop or min(image.size))
    if image.size != (size, size):
        image = image.resize((size, size), FILTERS[filter])
    return np.asarray(image).reshape(size, size, channels)


def from_array(pixels: UInt8[np.ndarray, "h w c"]) -> Image.Image:
    """The Pillow image of an array of 1, 3 or 4 channels."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image)
    return image if image.mode == mode else image.convert(mode)


def _central_square(image: Image.Image, side: int) -> Image.Image:
    if side > min(image.size):
        raise ValueError(
            f"data.crop must not exceed a picture of {image.width}x{image.height}, got {side}: "
            "0 takes the largest square of every picture"
        )
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))
