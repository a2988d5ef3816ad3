"""Pictures for people: sample grids, animations, curves."""

from __future__ import annotations

import io
import math

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from data_lib.transforms import to_uint8
from eval_lib.plotting import COMMENT, png, pyplot
from untrusted import ours

PADDING = 2
"""White pixels between images of a grid."""
LEAST_SIDE = 32
"""Smallest side in pixels; smaller images are enlarged by a whole factor to be visible."""


def grid(images: Float[np.ndarray, "n h w c"], columns: int = 0) -> UInt8[np.ndarray, "gh gw c"]:
    """The images, in [0, 1], as one picture in reading order: nearly square, or of `columns`."""
    n, height, width, channels = images.shape
    zoom = math.ceil(LEAST_SIDE / max(height, width))
    tiles = to_uint8(images).repeat(zoom, axis=1).repeat(zoom, axis=2)
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    step_y, step_x = height * zoom + PADDING, width * zoom + PADDING
    shape = rows * step_y + PADDING, columns * step_x + PADDING, channels
    canvas = np.full(shape, 255, np.uint8)
    for k, tile in enumerate(tiles):
        y, x = (k // columns) * step_y + PADDING, (k % columns) * step_x + PADDING
        canvas[y : y + height * zoom, x : x + width * zoom] = tile
    return canvas


def _as_picture(canvas: UInt8[np.ndarray, "h w c"]) -> Image.Image:
    return Image.fromarray(canvas[..., 0] if canvas.shape[-1] == 1 else canvas)


def grid_png(images: Float[np.ndarray, "n h w c"]) -> bytes:
    """`grid` as a PNG file."""
    return _png(_as_picture(grid(images)))


def rows_png(images: Float[np.ndarray, "r c h w k"]) -> bytes:
    """Rows of images as a PNG file."""
    flat = images.reshape(-1, *images.shape[2:])
    return _png(_as_picture(grid(flat, columns=images.shape[1])))


def _png(picture: Image.Image) -> bytes:
    told, buffer = PngInfo(), io.BytesIO()
    told.add_text(COMMENT, ours.MARK)
    picture.save(buffer, "PNG", pnginfo=told)
    return buffer.getvalue()


def animation_gif(frames: Float[np.ndarray, "f n h w c"], seconds: float = 4.0) -> bytes:
    """The grids of successive frames as an endless GIF; the last one stays for a second."""
    pictures = [_as_picture(grid(frame)) for frame in frames]
    each = [max(20, round(1000 * seconds / len(pictures)))] * (len(pictures) - 1) + [1000]
    buffer = io.BytesIO()
    first, *rest = pictures
    first.save(buffer, "GIF", save_all=True, append_images=rest, duration=each, loop=0,
               comment=ours.MARK.encode())  # fmt: skip
    return buffer.getvalue()


def loss_curve_png(curves: dict[str, tuple[list[float], list[float]]]) -> bytes:
    """Losses against updates, one line per name -> (updates, losses)."""
    figure, axes = pyplot().subplots(figsize=(7, 4), layout="constrained")
    for name, (steps, values) in curves.items():
        axes.plot(steps, values, label=name, marker="o" if len(steps) < 30 else None, markersize=3)
    positive = all(v > 0 for _, values in curves.values() for v in values)
    axes.set(xlabel="updates", ylabel="loss", yscale="log" if positive else "linear")
    axes.grid(alpha=0.3, which="both")
    axes.legend(loc="upper right")
    return png(figure, dpi=120)
