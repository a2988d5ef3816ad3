"""Pictures show every image, in order, pixel by pixel."""

import io

import numpy as np
import pytest
from PIL import Image

from data_lib.transforms import to_uint8
from eval_lib import pictures


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 9, 10])
@pytest.mark.parametrize("side, channels", [(32, 3), (8, 1), (48, 1)])
def test_a_grid_has_every_image_in_reading_order(n, side, channels):
    images = np.random.default_rng(n).random((n, side, side, channels))
    canvas = pictures.grid(images)
    columns = int(np.ceil(np.sqrt(n)))
    zoom, pad = max(1, 32 // side), pictures.PADDING
    for k in range(n):
        y = (k // columns) * (side * zoom + pad) + pad
        x = (k % columns) * (side * zoom + pad) + pad
        tile = canvas[y : y + side * zoom : zoom, x : x + side * zoom : zoom]
        assert np.array_equal(tile, to_uint8(images[k]))
    assert (canvas[:pad] == 255).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_gives_the_grid_back(channels):
    images = np.random.default_rng(0).random((3, 8, 8, channels))
    with opened(pictures.grid_png(images)) as picture:
        pixels = np.asarray(picture).reshape(*picture.size[::-1], channels)
    assert np.array_equal(pixels, pictures.grid(images))


def test_an_animation_has_every_frame_and_rests_on_the_last():
    frames = np.linspace(0, 1, 5).reshape(5, 1, 1, 1, 1) * np.ones((5, 2, 8, 8, 1))
    with opened(pictures.animation_gif(frames)) as film:
        assert film.n_frames == 5
        levels = []
        for k in range(5):
            film.seek(k)
            levels.append(np.asarray(film.convert("L"))[4, 4])
        assert film.info["duration"] == 1000
    assert levels == sorted(set(levels))


@pytest.mark.parametrize("values", [[1.0, 0.5], [0.5, -0.5], [1.0]])
def test_a_loss_curve_is_a_picture(values):
    curves = {"train_loss": (list(range(1, len(values) + 1)), values)}
    with opened(pictures.loss_curve_png(curves)) as picture:
        assert picture.size == (840, 480)


def test_each_class_has_a_row_with_its_name_before_it() -> None:
    images = np.stack([np.full((8, 8, 1), level, np.float32) for level in (0.2, 0.4, 0.6)])
    found = np.asarray(opened(pictures.classes_png(images, np.asarray([7, 3, 7]))))
    body = pictures.grid(np.stack([images[1], images[1] * 0 + 1, images[0], images[2]]), columns=2)
    margin = found.shape[1] - body.shape[1]
    np.testing.assert_array_equal(found[:, margin:], np.repeat(body, 3, axis=2))
    rows = found[: body.shape[0] // 2, :margin], found[body.shape[0] // 2 :, :margin]
    assert all((row < 128).any() for row in rows)
    assert not np.array_equal(*(row[:30] for row in rows))


def test_without_a_loss_yet_there_are_axes_and_no_warning() -> None:
    assert opened(pictures.loss_curve_png({})).size[0] > 100
