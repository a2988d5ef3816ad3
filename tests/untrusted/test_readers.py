"""Content of sound files, and values of any size in messages."""

from __future__ import annotations

import json
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from untrusted import (
    UntrustedError,
    limits,
    parse_json,
    plain,
    read_arrays,
    read_headers,
    read_json,
    shown,
    zips,
)
from untrusted.pictures import _Room, open_picture

RNG = np.random.default_rng(0)
SOUND = {
    "images": RNG.integers(0, 255, (5, 4, 3, 1), np.uint8),
    "float": RNG.standard_normal((3, 4)),
    "fortran": np.asfortranarray(RNG.standard_normal((3, 4)).astype(np.float16)),
    "big": RNG.standard_normal(7).astype(">f4"),
    "complex": np.array([1 + 2j]),
    "flags": np.array([True, False]),
    "text": np.asarray("é and more"),
    "bytes": np.asarray(b"abc"),
    "none": np.zeros((0, 3)),
    "scalar": np.asarray(3),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_those_that_numpy_saved(tmp_path, save):
    save(tmp_path / "a.npz", **SOUND)
    found = read_arrays(tmp_path / "a.npz")
    assert list(found) == list(SOUND)
    for name, array in SOUND.items():
        np.testing.assert_array_equal(found[name], array, strict=True)
    headers = read_headers(tmp_path / "a.npz")
    assert {k: (v.shape, v.dtype) for k, v in headers.items()} == {
        k: (v.shape, v.dtype) for k, v in SOUND.items()
    }
    assert list(read_arrays(tmp_path / "a.npz", {"float", "absent"})) == ["float"]


@pytest.mark.parametrize("name", SOUND)
def test_the_array_of_a_npy_file_is_that_which_numpy_saved(tmp_path, monkeypatch, name):
    np.save(tmp_path / "a.npy", SOUND[name])
    (found,) = read_arrays(tmp_path / "a.npy").values()
    np.testing.assert_array_equal(found, SOUND[name], strict=True)
    assert read_arrays(tmp_path / "a.npy", ["other"]) == {}
    monkeypatch.setattr(limits, "MAPPED_BYTES", -1)
    (mapped,) = read_arrays(tmp_path / "a.npy").values()
    np.testing.assert_array_equal(mapped, SOUND[name], strict=True)
    assert found.flags.writeable
    assert not mapped.flags.writeable


def test_a_file_may_unpack_to_fifty_times_its_size_and_a_small_one_to_the_least(
    tmp_path, monkeypatch
):
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(1000), b=np.zeros(10_000))
    size = (tmp_path / "a.npz").stat().st_size
    monkeypatch.setattr(limits, "UNPACKED_BYTES", 0)
    assert 8128 < limits.UNPACKED_TIMES * size < 80_000
    assert list(read_arrays(tmp_path / "a.npz", ["a"])) == ["a"]
    with pytest.raises(UntrustedError, match=r"a\.npz: its arrays unpack to 88,256 .* np.save"):
        read_arrays(tmp_path / "a.npz")
    monkeypatch.setattr(limits, "UNPACKED_BYTES", 88_256)
    assert len(read_arrays(tmp_path / "a.npz")) == 2


def test_an_entry_that_is_no_array_matters_only_to_who_wants_all(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.zeros(3))
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("README", "hello")
    assert list(read_arrays(tmp_path / "a.npz", ["a"])) == ["a"]
    assert list(read_headers(tmp_path / "a.npz")) == ["a"]
    with pytest.raises(UntrustedError, match="README is no array"):
        read_arrays(tmp_path / "a.npz")


def test_entries_of_a_zip_are_those_that_python_finds(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = b"a comment"
        archive.writestr("a/b", b"x" * 100_000)
        archive.writestr("ä", b"y", zipfile.ZIP_STORED)
        with archive.open("c", "w", force_zip64=True) as file:
            file.write(b"z" * 5000)
    found = zips.entries(memoryview((tmp_path / "a.zip").read_bytes()))
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        for info in archive.infolist():
            entry = found.pop(info.filename)
            assert (entry.size, entry.crc) == (info.file_size, info.CRC)
            assert len(entry.packed) == info.compress_size
            assert b"".join(entry.unpacked()) == archive.read(info)
    assert not found


def test_json_is_what_pythons_own_reader_finds(tmp_path):
    value = {"a": [1, 2.5, None, True, {"b": "é\n"}], "long": 2**120, "deep": [[[]]]}
    (tmp_path / "a.json").write_text(json.dumps(value))
    assert read_json(tmp_path / "a.json") == value
    assert parse_json("{}") == {}
    at_most = '{"a":' * limits.JSON_DEPTH + "1" + "}" * limits.JSON_DEPTH
    assert parse_json(at_most)
    with pytest.raises(UntrustedError, match="nested at most"):
        parse_json(f'{{"a":{at_most}}}')


@pytest.mark.parametrize("form", limits.PICTURE_FORMATS)
def test_pictures_of_the_stated_formats_are_opened_whatever_their_name(tmp_path, form):
    image = Image.fromarray(np.arange(600, dtype=np.uint8).reshape(10, 20, 3))
    options = {"lossless": True} if form == "WEBP" else {"quality": 100, "subsampling": 0}
    image.save(tmp_path / "a", form, **options)
    (tmp_path / "a").rename(tmp_path / "a.eps")
    with open_picture(tmp_path / "a.eps") as found:
        close = np.abs(np.asarray(found.convert("RGB"), int) - np.asarray(image, int)).max()
        assert found.size == (20, 10)
    # JPEG loses a little, and GIF has 256 colours for 200.
    assert close <= (4 if form == "JPEG" else 0)


def test_the_first_frame_of_an_animation_is_the_picture(tmp_path):
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue", "lime")]
    for form in ("GIF", "WEBP", "TIFF", "PNG"):
        frames[0].save(tmp_path / form, form, save_all=True, append_images=frames[1:])
        with open_picture(tmp_path / form) as image:
            red, _, blue = image.convert("RGB").getpixel((4, 4))
            assert red > 200 > 50 > blue


def test_a_picture_has_as_many_pixels_as_its_file_bears_out(tmp_path, monkeypatch):
    Image.new("L", (200, 100)).save(tmp_path / "a.png")
    size = (tmp_path / "a.png").stat().st_size
    monkeypatch.setattr(limits, "PICTURE_SMALL", 0)
    monkeypatch.setattr(limits, "PICTURE_TIMES", 20_000 // size + 1)
    with open_picture(tmp_path / "a.png") as image:
        assert image.size == (200, 100)
    monkeypatch.setattr(limits, "PICTURE_TIMES", 20_000 // size)
    with pytest.raises(UntrustedError, match=f"200 x 100 pixels, must have .* in {size} bytes"):
        open_picture(tmp_path / "a.png").__enter__()
    monkeypatch.setattr(limits, "PICTURE_SMALL", 20_000)
    with open_picture(tmp_path / "a.png") as image:
        assert image.size == (200, 100)


def test_pictures_decoded_at_once_wait_for_room(tmp_path):
    """Threads hold no more than the room has, and all of them come through."""
    from concurrent.futures import ThreadPoolExecutor

    room, held, most = _Room(10), [0], [0]

    def hold(pixels: int) -> None:
        with room.taken(pixels):
            held[0] += pixels
            most[0] = max(most[0], held[0])
            time.sleep(0.002)
            held[0] -= pixels

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(hold, [4, 4, 4, 10, 1, 7, 3, 9] * 3))
    assert 4 < most[0] <= 10
    assert held == [0]


# Messages ----------------------------------------------------------------------------------------


def doubled(times: int, make) -> object:
    value = make([1])
    for _ in range(times):
        value = make([value, value])
    return value


ENDLESS: list = [1]
ENDLESS.append(ENDLESS)
LARGE = {
    "lists": doubled(34, list), "tuples": doubled(34, tuple), "an endless list": ENDLESS,
    "dictionaries": {"a": {"b": {"c": {"d": 1}}}}, "a long text": "x" * 10**6,
    "a long integer": 1 << 10**6, "bytes": bytes(10**6), "many": list(range(10**6)),
    "a set": set(range(1000)), "an array": np.zeros(10), "a line break": "a\nb\x1b[2J\ud800",
    "keys": {(): 1, (1,) * 5: 2}, "a type": dict, "many keys": dict.fromkeys(range(10**5)),
}  # fmt: skip


@pytest.mark.parametrize("case", LARGE)
@pytest.mark.parametrize("tell", [shown, plain])
def test_a_message_repeats_little_of_any_value_and_takes_no_time(case, tell):
    start = time.process_time()
    told = tell(LARGE[case])
    assert time.process_time() - start < 0.1
    assert 0 < len(told) <= limits.SHOWN
    assert told.isprintable()


def test_small_values_are_shown_as_they_are():
    for value in (1, -2.5, None, True, "a", b"b", [1, [2]], (1,), (), {"a": (1, 2)}, {3}):
        assert shown(value) == repr(value)
    assert shown([1, 2, 3, 4, 5, 6, 7]) == "[1, 2, 3, 4, 5, 6, ...]"
    assert shown([[[1]]]) == "[[a list]]"
    assert plain("conv.weight") == "conv.weight"
    assert plain("a\nb") == "a?b"
