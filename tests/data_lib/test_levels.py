"""Meaning of values: known from the type or a setting, asked for if there is doubt.

The arrays here hold a chequered ramp, so that no image is of one value.
"""

import struct
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageOps

import data_lib
from data_lib import levels
from data_lib.levels import Stated
from data_lib.pictures import fit
from data_lib.transforms import to_unit

ASKED = Stated(None, "data.range")


def ramp(top, kind, bottom=0):
    """Four images of 6x6 in which every pixel differs from its neighbours."""
    values = np.linspace(bottom, top, 144).reshape(4, 6, 6, 1)
    return (np.rint(values) if np.issubdtype(kind, np.integer) else values).astype(kind)


def unit(values, range=None, **options):
    return levels.unit(values, "x", Stated(range, "data.range", **options))


def pixels(values, kind=np.uint8):
    """One image of 6x6 of these values in turn."""
    return np.resize(np.asarray(values, kind), (1, 6, 6, 1))


# (values, range) -> (levels, what value the first and the last pixel have in [0, 1])
KNOWN = {
    "bytes": (ramp(255, np.uint8), None, 256, 0, 1),
    "dark bytes, said to be": (ramp(100, np.uint8), (0, 255), 256, 0, 100 / 255),
    "masks, said to be": (ramp(1, np.uint8), (0, 1), 2, 0, 1),
    "digits": (ramp(16, np.uint8), (0, 16), 17, 0, 1),
    "digits of 64 bits": (ramp(16, np.int64), (0, 16), 17, 0, 1),
    "signed": (ramp(1, np.int8, -1), (-1, 1), 3, 0, 1),
    "all of int8": (ramp(127, np.int8, -128), (-128, 127), 256, 0, 1),
    "12 bits": (ramp(4095, np.uint16), (0, 4095), 4096, 0, 1),
    "16 bits": (ramp(65535, np.uint16), (0, 65535), 65536, 0, 1),
    "from 1 to 10": (ramp(10, np.int32, 1), (1, 10), 10, 0, 1),
    "masks of bool": (ramp(1, np.uint8).astype(bool), None, 2, 0, 1),
    "masks of 0 and 255": (ramp(1, np.uint8) * np.uint8(255), None, 256, 0, 1),
    "three levels": (ramp(2, np.uint8) * np.uint8(127), None, 256, 0, 254 / 255),
    "inside, edge and outside": (
        np.asarray([0, 127, 255] * 12, np.uint8).reshape(1, 6, 6, 1),
        None,
        256,
        0,
        1,
    ),
    "floats": (ramp(1, np.float64), None, None, 0, 1),
    "half floats": (ramp(1, np.float16), None, None, 0, 1),
    "floats in [-1, 1]": (ramp(1, np.float32, -1), (-1, 1), None, 0, 1),
    "floats in [0, 255]": (ramp(255, np.float32), (0, 255), None, 0, 1),
    "half floats in [0, 255]": (ramp(255, np.float16), (0, 255), None, 0, 1),
    "dark floats": (ramp(0.25, np.float32), (0, 1), None, 0, 0.25),
    "masks and one bright": (pixels([0, 1, 254]), None, 256, 0, 254 / 255),
    "two values and 255 for none": (pixels([0, 2, 255]), None, 256, 0, 1),
    "floats to the middle": (ramp(0.5, np.float64), None, None, 0, 0.5),
    "floats from 1 to 3": (ramp(3, np.float64, 1), (1, 3), None, 0, 1),
    "as large as floats hold": (
        ramp(9, np.int64) + 2**53 - 9,
        (2**53 - 9, 2**53),
        10,
        0,
        1,
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_values_become_levels_or_lie_in_the_unit_interval(name):
    values, range, number, first, last = KNOWN[name]
    pixels, found = unit(values, range)
    assert found == number
    x = to_unit(pixels, found)
    assert x.dtype == np.float32
    # one float32 division and, of half floats, one rounding of 2^-12 before it
    np.testing.assert_allclose([x.flat[0], x.flat[-1]], [first, last], atol=3e-4)
    spread = (values.astype(float) - values.min()) / (float(values.max()) - values.min())
    np.testing.assert_allclose((x - first) / (last - first), spread, atol=3e-4)


# (values, range, what the message must say)
REFUSED = {
    "masks": (ramp(143, np.uint8) % np.uint8(2), None, "above 1: set data.range=0,1 or 0,255"),
    "digits": (ramp(16, np.uint8), None, "above 16: set data.range=0,16 or 0,255"),
    "7 bits": (ramp(127, np.uint8), None, "above 127: set data.range=0,127 or 0,255"),
    "classes and 255 for none": (np.where(ramp(20, np.uint8) > 18, np.uint8(255),
                                          ramp(20, np.uint8)), None, "above 18 but 255"),
    "12 bits": (ramp(4095, np.uint16), None, "uint16 from 0 to 4095: set data.range=0,4095"),
    "10 bits": (ramp(1000, np.int32), None, "0 to 1000: set data.range=0,1000 or 0,1023"),
    "bytes of 64 bits": (ramp(255, np.int64), None, "0 to 255: set data.range=0,255"),
    "signed": (ramp(1, np.int8, -1), None, "int8 from -1 to 1: set data.range=-1,1"),
    "[-1, 1]": (ramp(1, np.float32, -1), None, "run from -1 to 1: scale it, or set "
                                               "data.range=-1,1"),
    "[0, 255]": (ramp(255, np.float32), None, "run from 0 to 255: scale it, or set "
                                              "data.range=0,255"),
    "darker floats": (ramp(0.49, np.float64), None, "0 to 0.49: set data.range=0,0.49 or 0,1"),
    "digits as floats": (ramp(16, np.float64), None, "set data.range=0,16 or 0,255"),
    "divided twice": (ramp(1 / 255, np.float64), None, "0 to 0.00392157: set data.range=0,0.00392"
                                                       " or 0,1"),
    "normalized": (ramp(2.5, np.float32, -2), None, "set data.range=-2,2.5"),
    "NaN": (np.full((2, 4, 4, 1), np.nan), None, "without NaN"),
    "infinite": (np.where(ramp(1, np.float32) > 0.5, np.inf, 0.5), None, "without NaN"),
    "beyond a range": (ramp(255, np.uint8), (0, 16), "must lie in data.range=0,16, values run"),
    "floats beyond a range": (ramp(255, np.float32), (-1, 1), "data.range=-1,1 without NaN"),
    "a range between integers": (ramp(1, np.uint8), (0, 1.5), "two integers"),
    "a range of too many": (ramp(255, np.int32), (0, 65536), "at most 65,535 apart"),
    "a range beyond floats": (ramp(9, np.int64) + 2**60, (2**60, 2**60 + 9), "two integers"),
    "masks and 255 for none": (pixels([0, 1, 255]), None, "no value is above 1 but 255: set "
                                                           "data.range=0,1 or 0,255"),
    "5 to 100": (ramp(100, np.int32, 5), None, "set data.range=0,127 or 0,255 or 5,100"),
    "below a range": (ramp(10, np.int32, -3), (0, 10), "data.range=0,10, values run from -3 to 10"),
    "floats, -0.5 to 0.7": (ramp(0.7, np.float64, -0.5), None, "or set data.range=-1,1"),
    "floats, -1 to 0.7": (ramp(0.7, np.float64, -1), None, "or set data.range=-1,1"),
    "floats, -0.5 to 1": (ramp(1, np.float64, -0.5), None, "or set data.range=-1,1"),
    "floats, 0 to 254.5": (ramp(254.5, np.float64), None, "or set data.range=0,255"),
    "floats, 0.5 to 255": (ramp(255, np.float64, 0.5), None, "or set data.range=0,255"),
    "floats, -0.5 to 1.5": (ramp(1.5, np.float64, -0.5), None, "or set data.range=-0.5,1.5"),
    "floats, -0.5 to 200": (ramp(200, np.float64, -0.5), None, "or set data.range=-0.5,200"),
    "a range just beyond floats": (ramp(9, np.int64) + 2**53 - 8, (2**53 - 8, 2**53 + 1),
                                   "two integers"),
    "a range as far below 0": (ramp(9, np.int64) - 2**53 - 1, (-(2**53) - 1, 8 - 2**53),
                               "two integers"),
    "black of 16 bits": (np.zeros((2, 4, 4, 1), np.uint16), None, "0 to 0: set data.range=0,255"),
    "complex": (ramp(1, np.complex64), None, "uint8 or float in [0, 1], got complex64"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_doubt_is_one_line_that_names_the_setting_and_the_choices(name):
    values, range, message = REFUSED[name]
    with pytest.raises(ValueError, match=r"\A.*\bx\b.+\Z") as info:
        unit(values, range)
    said = str(info.value)
    assert said.endswith(message) if "set data.range" in message else message in said


@pytest.mark.parametrize("top, kind", [(255, np.uint8), (256, np.uint16), (65535, np.uint16)])
def test_levels_are_kept_in_the_smallest_type(top, kind):
    for bottom in (0, 7):
        found, levels = unit(ramp(top + bottom, np.int64, bottom), (bottom, top + bottom))
        assert (found.dtype, levels) == (kind, top + 1)


@pytest.mark.parametrize("kind, value", [(np.uint8, 3), (np.uint8, 0), (np.float32, 0.2)])
def test_images_of_one_value_each_say_nothing_of_their_range(kind, value):
    values = np.full((3, 4, 4, 3), value, kind)
    values[..., 1] += kind(1) / 4 if kind is np.float32 else 2
    pixels, _ = unit(values)
    np.testing.assert_array_equal(pixels, values)


def test_values_are_looked_at_a_block_at_a_time(monkeypatch):
    monkeypatch.setattr(levels, "_BLOCK_VALUES", 100)
    values = ramp(16, np.uint8).repeat(3, axis=0)
    assert [len(block) for block in levels._blocks(values)] == [2] * 6
    np.testing.assert_array_equal(np.concatenate(list(levels._blocks(values))), values)
    assert [len(block) for block in levels._blocks(values.reshape(2, 12, 18, 1))] == [1, 1]
    assert list(levels._blocks(values[:0])) == []


def test_one_bright_pixel_anywhere_settles_it():
    values = ramp(100, np.uint8).repeat(100_000, axis=0)
    values[-1, -1, -1] = 128
    assert unit(values)[1] == 256
    values[-1, -1, -1] = 127
    with pytest.raises(ValueError, match="no value is above 127"):
        unit(values)


def test_only_where_asked_floats_outside_of_a_stated_range_are_let_pass():
    values = ramp(1.2, np.float32, -0.1)
    pixels, _ = unit(values, (0, 1), clip=True)
    np.testing.assert_array_equal(pixels, values)
    for range, clip in (((0, 1), False), (None, True)):
        with pytest.raises(ValueError, match=r"values run from -0\.1 to 1\.2"):
            unit(values, range, clip=clip)


@pytest.mark.parametrize("value", [(1,), (1, 0), (0, 0), (0, 1, 2), (0, float("nan")), ("0", "1"),
                                   (0, float("inf")), (False, True)])  # fmt: skip
def test_a_range_is_two_ascending_numbers(value):
    with pytest.raises(ValueError, match=r"\Adata\.range must be two ascending numbers"):
        levels.check_range(value, "data.range")


# Arrays in files ----------------------------------------------------------------------------------


def load(kind, path, **keys):
    config = {"dataset": kind, "image_size": 6, "num_channels": 1, "data_dir": str(path)}
    return data_lib.load(SimpleNamespace(**config | {"cache": False} | keys), log=lambda m: None)


def test_the_range_of_a_file_is_the_settings_else_its_own(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, images=ramp(16, np.uint8), range=[0, 16])
    assert load("array", path).train.levels == 17
    assert load("array", path, range=(0, 31)).train.levels == 32
    np.savez(path, images=ramp(16, np.uint8), range=[16, 0])
    with pytest.raises(ValueError, match=r"x\.npz\[range\] must be two ascending numbers"):
        load("array", path)


def test_held_out_images_are_of_the_training_images_range(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, x_train=ramp(255, np.uint8), x_test=ramp(100, np.uint8))
    assert load("array", path).test.levels == 256
    np.savez(path, x_train=ramp(16, np.uint8), x_test=ramp(12, np.uint8))
    assert load("array", path, range=(0, 16)).test.levels == 17


@pytest.mark.parametrize("dataset, size", [("digits", 8), ("CIFAR10", 32)])
def test_a_range_for_data_that_needs_none_is_refused(dataset, size):
    with pytest.raises(ValueError, match=r"data\.range is for data\.dataset=folder or array"):
        load(dataset, "", image_size=size, range=(0, 255))


# Pictures -----------------------------------------------------------------------------------------

BYTES = np.broadcast_to(np.arange(6, dtype=np.uint8) * 48, (6, 6))  # 0..240
WIDE = BYTES.astype(np.uint16) * 257
CLASSES = np.broadcast_to(np.arange(6, dtype=np.uint8), (6, 6))


def write_ppm(path, array):
    top = np.iinfo(array.dtype).max
    path.write_bytes(b"P5\n6 6\n%d\n" % top + array.astype(array.dtype.newbyteorder(">")).tobytes())


def write(path, array):
    if path.suffix in (".ppm", ".pgm"):
        write_ppm(path, array)
    else:
        array.save(path) if isinstance(array, Image.Image) else Image.fromarray(array).save(path)


def palette(array):
    image = Image.fromarray(array).convert("P")
    image.putpalette([n for k in range(256) for n in (k * 48 % 256,) * 3])
    return image


# (content, suffix, range) -> the first row of the bytes, or what the message must say
PICTURES = {
    "8 bits": (BYTES, ".png", None, BYTES[0]),
    "16 bits, png": (WIDE, ".png", None, BYTES[0]),
    "16 bits, tiff": (WIDE, ".tif", None, BYTES[0]),
    "16 bits, ppm": (WIDE, ".ppm", None, BYTES[0]),
    "16 bits, pgm": (WIDE, ".pgm", None, BYTES[0]),
    "floats": ((BYTES / np.float32(255)), ".tif", None, BYTES[0]),
    "1 bit": (Image.fromarray(BYTES > 100), ".png", None, [0, 0, 0, 255, 255, 255]),
    "a palette": (palette(CLASSES), ".png", None, BYTES[0]),
    "black": (CLASSES * np.uint8(0), ".png", None, [0] * 6),
    "masks, said to be": (BYTES // np.uint8(129), ".png", (0, 1), [0, 0, 0, 255, 255, 255]),
    "classes, said to be": (CLASSES, ".png", (0, 5), [0, 51, 102, 153, 204, 255]),
    "dark, said to be": (CLASSES, ".png", (0, 255), CLASSES[0]),
    "12 of 16 bits, said to be": (BYTES.astype(np.uint16) * 16, ".png", (0, 4095), BYTES[0]),
    "32 bits, said to be": (WIDE.astype(np.int32), ".tif", (0, 65535), BYTES[0]),
    "floats in [0, 255], said to be": (BYTES.astype(np.float32), ".tif", (0, 255), BYTES[0]),
    "floats in [-1, 1], said to be": (BYTES / np.float32(127.5) - 1, ".tif", (-1, 1), BYTES[0]),
    "masks": (BYTES // np.uint8(129), ".png", None, "no value is above 1: set data.range=0,1 or"),
    "classes": (CLASSES, ".png", None, "no value is above 5: set data.range=0,5 or 0,255"),
    "classes in colours": (np.stack([CLASSES] * 3, -1), ".png", None, "no value is above 5"),
    "12 of 16 bits": (BYTES.astype(np.uint16) * 16, ".png", None, "set data.range=0,4095 or "),
    "12 of 16 bits, ppm": (BYTES.astype(np.uint16) * 16, ".ppm", None, "0,4095 or 0,65535"),
    "15 of 16 bits": (np.full((6, 6), 32767, np.uint16), ".tif", None, "0,32767 or 0,65535"),
    "32 bits": (WIDE.astype(np.int32), ".tif", None, "0 to 61680: set data.range=0,65535"),
    "floats in [0, 255]": (BYTES.astype(np.float32), ".tif", None, "lie in 0,1, values run from"),
    "floats in [-1, 1]": (BYTES / np.float32(127.5) - 1, ".tif", None, "lie in 0,1, values"),
    "floats, NaN": (np.full((6, 6), np.nan, np.float32), ".tif", None, "nan to nan"),
    "dark floats": (BYTES / np.float32(1000), ".tif", None, "above 0.24: set data.range=0,0.24"),
    "beyond the range": (BYTES, ".png", (0, 16), "data.range=0,16, values run from 0 to 240"),
    "a range beyond the type": (BYTES, ".png", (0, 4095), "beyond its type, whose white is 255"),
    "other colours": (Image.fromarray(BYTES).convert("CMYK"), ".tif", (0, 100), "it is CMYK"),
}  # fmt: skip


@pytest.mark.parametrize("name", PICTURES)
def test_a_pictures_values_are_known_or_asked_for(tmp_path, name):
    content, suffix, range, expected = PICTURES[name]
    for k in (0, 1):
        write(tmp_path / f"{k}{suffix}", content)
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=r"\A.+\Z") as info:
            load("folder", tmp_path, range=range)
        assert expected in str(info.value)
        return
    got = load("folder", tmp_path, range=range).train.pixels[0, 0, :, 0]
    np.testing.assert_array_equal(got, expected)


def test_transparency_is_of_no_range(tmp_path):
    clear = np.stack([CLASSES, np.where(CLASSES < 3, 255, 0).astype(np.uint8)], -1)
    for k in (0, 1):
        Image.fromarray(clear).save(tmp_path / f"{k}.png")
    got = load("folder", tmp_path, range=(0, 5)).train.pixels[0, 0, :, 0]
    np.testing.assert_array_equal(got, [0, 51, 102, 255, 255, 255])


def test_turned_pictures_of_16_bits_are_turned_back(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    for k in (0, 1):
        Image.fromarray(WIDE).save(tmp_path / f"{k}.png", exif=exif)
    got = load("folder", tmp_path).train.pixels[0, :, 0, 0]
    np.testing.assert_array_equal(got, BYTES[0])


def test_bytes_among_pictures_of_one_bit_are_looked_at_alone(tmp_path):
    Image.fromarray(BYTES > 100).save(tmp_path / "0.png")
    Image.fromarray(CLASSES).save(tmp_path / "1.png")
    with pytest.raises(ValueError, match="no value is above 5"):
        load("folder", tmp_path)


def test_a_cache_is_of_one_range(tmp_path):
    for k in (0, 1):
        Image.fromarray(CLASSES).save(tmp_path / f"{k}.png")
    found = [load("folder", tmp_path, range=r, cache=True).train.pixels.max()
             for r in ((0, 5), (0, 255), (0, 5))]  # fmt: skip
    assert found == [255, 5, 255]


def test_damaged_exif_data_are_named(tmp_path, monkeypatch):
    """Pillow raises struct.error, TypeError and others for an orientation that is no number."""

    def damaged(image):
        raise struct.error("required argument is not a float")

    monkeypatch.setattr(ImageOps, "exif_transpose", damaged)
    with pytest.raises(ValueError, match="its EXIF data are damaged"):
        fit(Image.fromarray(WIDE), (8, 8), 1)
