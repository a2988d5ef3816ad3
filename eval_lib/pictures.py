"""Pictures for people: sample grids, animations, curves."""

from __future__ import annotations

import io
import math

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from data_lib.transforms import to_uint8
from eval_lib.plotting import COMMENT, png, pyplot
from untrusted import ours

PADDING = 2
"""White pixels between images of a grid."""
LEAST_SIDE = 32
"""Smallest side in pixels; smaller images are enlarged by a whole factor to be visible."""
FONT_SIZE = 16
"""Height in pixels of the class before a row."""
MOST_COLUMNS = 16
"""Most images of a class in a row."""


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


def classes_png(images: Float[np.ndarray, "n h w c"], labels: Int[np.ndarray, " n"]) -> bytes:
    """A row of images for each class, which is written before it, as a PNG file."""
    classes, counts = np.unique(labels, return_counts=True)
    columns = min(int(counts.max()), MOST_COLUMNS)
    blank = np.ones((columns, *images.shape[1:]), images.dtype)
    rows = [np.concatenate([images[labels == c], blank])[:columns] for c in classes]
    body = _as_picture(grid(np.concatenate(rows), columns)).convert("RGB")
    height = (body.height - PADDING) / len(classes)
    font = ImageFont.load_default(size=min(FONT_SIZE, height))
    margin = PADDING + max(math.ceil(font.getlength(str(c))) for c in classes)
    whole = Image.new("RGB", (margin + body.width, body.height), "white")
    whole.paste(body, (margin, 0))
    draw = ImageDraw.Draw(whole)
    for row, c in enumerate(classes):
        middle = PADDING / 2 + (row + 0.5) * height
        draw.text((margin, middle), str(c), fill="black", font=font, anchor="rm")
    return _png(whole)


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
    if curves:
        axes.legend(loc="upper right")
    return png(figure, dpi=120)
