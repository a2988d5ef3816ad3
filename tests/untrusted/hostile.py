"""Files that an attacker would write: small ones that hang, fill memory, run, or lead elsewhere."""

from __future__ import annotations

import io
import json
import os
import pickle
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.models.pretrained import writing

Write = Callable[[Path], object]
TIMES = 34
"""A list that holds the one before twice, so often: 10^10 entries when written out."""

# Pickles -----------------------------------------------------------------------------------------

LOAD = b"\x80\x02"
TUPLES = b"K\x01" + b"2\x86" * TIMES
LISTS = b"]q\x00" + b"".join(b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(TIMES))


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + b"(" + b"".join(arguments) + b"tR"


def many(body: bytes, times: int = 20_000, *, start: bytes = b"") -> bytes:
    """Make a value again and again, and keep every one in the memo."""
    return start + b"N" + b"".join(b"0" + body + b"r" + struct.pack("<I", 1000 + i)
                                   for i in range(times))  # fmt: skip


LONG = text("x" * 60_000) + b"q\x010"
PAIRS = b"](" + b"".join(b"K%cN\x86" % i for i in range(200)) + b"eq\x010"
NUMBERS = b"](" + b"K\x01" * 5000 + b"eq\x010"
STORAGE = (b"(" + text("storage") + name("torch", "FloatStorage") + text("0") + text("cpu")
           + b"K\x01tQ")  # fmt: skip
REBUILD = name("torch._utils", "_rebuild_tensor_v2")


def tensor(size: bytes, stride: bytes, offset: bytes = b"K\x00") -> bytes:
    return call(REBUILD, STORAGE, offset, size, stride, b"\x89", b"N")


def persistent(*items: bytes) -> bytes:
    """An object of EDM's."""
    meta = b"}(" + b"".join(items) + b"u"
    return call(name("torch_utils.persistence", "_reconstruct_persistent_obj"), meta)


def state(*items: bytes) -> bytes:
    return text("state") + b"}(" + b"".join(items) + b"u"


def ema(made: bytes) -> bytes:
    return b"}" + text("ema") + made + b"s"


def module(depth: int) -> bytes:
    """Modules, each with the one before under two names: 2^depth tensors."""
    empty = text("_buffers") + b"}" + text("_parameters") + b"}"
    made = persistent(text("class_name") + text("M"), state(empty, text("_modules") + b"}"))
    for k in range(depth):
        inside = text("_modules") + b"}(" + text("a") + b"h%c" % k + text("b") + b"h%cu" % k
        made += b"q%c0" % k + persistent(text("class_name") + text("M"), state(empty, inside))
    return made


BODIES: dict[str, bytes] = {
    "a device of doubled lists": call(name("torch", "device"), LISTS),
    "a device's index": call(name("torch", "device"), text("cpu"), LISTS),
    "a module's name": LISTS + text("x") + b"\x93",
    "a global's name": text("x") + TUPLES + b"\x93",
    "a dtype": call(name("numpy", "dtype"), LISTS),
    "a dtype with fields": call(name("numpy", "dtype"), text("f,f")),
    "a dtype's order": name("numpy", "dtype") + b"(" + text("f4") + b"tR(K\x03" + TUPLES + b"tb",
    "a scalar": call(name("numpy.core.multiarray", "scalar"), TUPLES, TUPLES),
    "a key": b"}" + TUPLES + b"K\x01s",
    "an OrderedDict's key": call(name("collections", "OrderedDict"), b"]" + TUPLES + b"N\x86a"),
    "a member of a set": call(name("builtins", "set"), b"]" + TUPLES + b"a"),
    "a member of a frozenset": b"(" + TUPLES + b"\x91",
    "a member added": b"\x8f(" + TUPLES + b"\x90",
    "a persistent id": TUPLES + b"Q",
    "a persistent id of five": b"(" + 5 * TUPLES + b"tQ",
    "a storage's type": b"(" + text("storage") + TUPLES + text("0") + text("cpu") + b"K\x01tQ",
    "a storage's key": b"(" + text("storage") + name("torch", "FloatStorage") + TUPLES + text("x")
    + b"K\x01tQ",
    "a storage's size": b"(" + text("storage") + name("torch", "FloatStorage") + text("0")
    + text("x") + TUPLES + b"tQ",
    "a storage's view": b"(" + text("storage") + name("torch", "FloatStorage") + text("0")
    + text("x") + b"K\x01" + TUPLES + b"tQ",
    "an encoding": call(name("_codecs", "encode"), text("x"), TUPLES),
    "a text to encode": call(name("_codecs", "encode"), LISTS, text("latin1")),
    "a size": call(name("torch", "Size"), TUPLES),
    "arguments": name("torch", "Size") + TUPLES + b"R",
    "a tensor's size": tensor(TUPLES, b")"),
    "a tensor's dimensions": tensor(b"(" + TUPLES * 2 + b"t", b"(" + b"K\x01" * 2 + b"t"),
    "a tensor's offset": tensor(b")", b")", TUPLES),
    "a hundred thousand dimensions": tensor(b"(" + b"K\x01" * 100_000 + b"t",
                                            b"(" + b"K\x01" * 100_000 + b"t"),
    "a state": name("collections", "OrderedDict") + b")R" + LISTS + b"b",
    "texts encoded and kept": many(call(name("_codecs", "encode"), b"h\x01", text("latin1")),
                                   start=LONG),
    "dictionaries copied and kept": many(call(name("collections", "OrderedDict"), b"h\x01"),
                                         start=PAIRS),
    "sets copied and kept": many(call(name("builtins", "set"), b"h\x01"), start=NUMBERS),
    "sizes copied and kept": many(call(name("torch", "Size"), b"h\x01"), start=NUMBERS),
    "numbers that share a hash": b"}(" + b"".join(
        b"\x8a\x20" + ((2**61 - 1) * (i + 1)).to_bytes(32, "little") + b"N" for i in range(60_000)
    ) + b"u",
    "a long text": b"X" + struct.pack("<I", 20 << 20) + b"x" * (20 << 20),
    "a long integer": b"\x8b" + struct.pack("<I", 20 << 20) + b"\x01" * (20 << 20),
    "bytes that can be changed": b"\x96" + struct.pack("<Q", 1 << 40),
    "long bytes taken apart": call(name("torch", "Size"),
                                   b"\x8e" + struct.pack("<Q", 30 << 20) + bytes(30 << 20)),
    "long names": b"}(" + b"".join(text(f"{i:05}" * 300) + b"N" for i in range(2000)) + b"u",
    "line breaks in a name": name("os\x1b[2J", "x"),
    "a deep nest": b"]" * 100_000 + b"a" * 99_999,
    "as many operations as it likes": b"N0" * 400_000,
    "a text that is none": b"X\x02\x00\x00\x00\xff\xfe",
    "half of a character": b"X\x03\x00\x00\x00\xed\xa0\x80",
}  # fmt: skip
SNAPSHOTS: dict[str, bytes] = {
    "a class": ema(persistent(text("class_name") + LISTS, state())),
    "a long class": ema(persistent(text("class_name") + text("M" * 100_000), state())),
    "an object's state": ema(persistent(text("class_name") + text("M"), text("state") + TUPLES)),
    "an object": ema(call(name("torch_utils.persistence", "_reconstruct_persistent_obj"), TUPLES)),
    "doubled modules": ema(module(30)),
    "modules within modules": ema(module(14)),
    "EasyDicts copied and kept": many(call(name("dnnlib", "EasyDict"), b"h\x01"), start=PAIRS),
    "tensors that are none": ema(call(name("torch.storage", "_load_from_bytes"), LISTS)),
    "a list of modules": ema(name("torch.nn.modules.container", "ModuleList") + b")R" + LISTS
                             + b"b"),
}  # fmt: skip
NETWORK = {"img_resolution": 8, "in_channels": 1, "out_channels": 1}


def arguments(items: bytes, place: str = "_init_kwargs") -> bytes:
    """A snapshot whose network was made with what is on the stack."""
    empty = text("_buffers") + b"}" + text("_parameters") + b"}"
    given = b"}(" + b"".join(text(k) + b"K%c" % v for k, v in NETWORK.items()) + b"u"
    network = persistent(
        text("class_name") + text("SongUNet"),
        state(empty, text("_modules") + b"}", text("_init_kwargs") + given, text(place) + items),
    )
    outer = b"}(" + text("img_resolution") + b"K\x08" + text("img_channels") + b"K\x01u"
    return ema(persistent(text("class_name") + text("EDMPrecond"), state(
        empty, text("_init_kwargs") + outer, text("_modules") + b"}" + text("model") + network
        + b"s")))  # fmt: skip


SNAPSHOTS |= {
    "arguments' values": arguments(b"}" + text("num_blocks") + LISTS + b"s"),
    "arguments in a list": arguments(b"](" + TUPLES + b"N\x86e"),
    "arguments by place": arguments(TUPLES, "_init_args"),
    "an argument that is none": arguments(b"}" + text("dropout") + text("nan") + b"s"),
    "an argument that is no number": arguments(b"}" + text("dropout") + b"G\x7f\xf8" + bytes(6)
                                               + b"s"),
    "an encoder of doubled lists": arguments(b"}" + text("encoder_type") + LISTS + b"s"),
    "a number in a list": arguments(b"}" + text("channel_mult") + b"K\x02s"),
}  # fmt: skip


def zipped(body: bytes) -> Write:
    return lambda path: writing.zip_of(
        path, {"a/data.pkl": LOAD + body + b".", "a/data/0": bytes(4)}
    )


def legacy(body: bytes) -> Write:
    start = writing.MAGIC + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
    return lambda path: path.write_bytes(start + LOAD + body + b"." + pickle.dumps(["0"], 2)
                                         + struct.pack("<qf", 1, 1.0))  # fmt: skip


def plain(body: bytes) -> Write:
    return lambda path: path.write_bytes(LOAD + body + b".")


# Zips --------------------------------------------------------------------------------------------


def changed(write: Write, change: Callable[[bytearray], object]) -> Write:
    """A function that writes like `write`, with some bytes changed."""

    def made(path: Path) -> None:
        write(path)
        data = bytearray(path.read_bytes())
        change(data)
        path.write_bytes(bytes(data))

    return made


def small(path: Path) -> None:
    tensors = {"model": {"w": writing.saved(np.arange(64.0), "0")}, "step": 1}
    writing.write_zip(path, tensors, byteorder=b"little")


def in_directory(entry: bytes, at: int, value: bytes) -> Callable[[bytearray], None]:
    """Put bytes at a place of the directory's line of the entry whose name ends so."""

    def change(data: bytearray) -> None:
        start = data.rfind(b"PK\x01\x02", 0, data.rfind(entry))
        data[start + at : start + at + len(value)] = value

    return change


def at_the_end(at: int, value: bytes) -> Callable[[bytearray], None]:
    """Put bytes at a place of the record that ends a zip."""

    def change(data: bytearray) -> None:
        start = data.rfind(b"PK\x05\x06")
        data[start + at : start + at + len(value)] = value

    return change


def flip(entry: bytes) -> Callable[[bytearray], None]:
    """Change a bit of the numbers of an entry."""

    def change(data: bytearray) -> None:
        at = data.find(entry)
        data[at + len(entry) + 8] ^= 1

    return change


def crowded(path: Path) -> None:
    """Three hundred thousand entries of nothing."""
    local = b"PK\x03\x04" + bytes(22) + struct.pack("<HH", 1, 0) + b"a"
    entry = b"PK\x01\x02" + bytes(24) + struct.pack("<HHH", 1, 0, 0) + bytes(12) + b"a"
    n = 300_000
    end = b"PK\x05\x06" + bytes(4) + struct.pack("<HHLLH", 0xFFFF, 0xFFFF, n * len(entry),
                                                 len(local), 0)  # fmt: skip
    path.write_bytes(local + entry * n + end)


def crowded_64(path: Path) -> None:
    """The same, said in 64 bits."""
    crowded(path)
    data = path.read_bytes()
    body, n = data[:-22], 300_000
    record = b"PK\x06\x06" + struct.pack("<QHHLLQQQQ", 44, 45, 45, 0, 0, n, n, n * 47, 31)
    locator = b"PK\x06\x07" + struct.pack("<LQL", 0, len(body), 1)
    end = b"PK\x05\x06" + bytes(4) + b"\xff" * 12 + bytes(2)
    path.write_bytes(body + record + locator + end)


ZIPS: dict[str, Write] = {
    "a flipped bit": changed(small, flip(b"archive/data/0")),
    "a flipped bit of the pickle": changed(small, flip(b"archive/data.pkl")),
    "another checksum": changed(small, in_directory(b"data/0", 16, b"abcd")),
    "300,000 entries": crowded,
    "300,000 entries in 64 bits": crowded_64,
    "an encrypted entry": changed(small, in_directory(b"data/0", 8, b"\x01\x00")),
    "an unknown method": changed(small, in_directory(b"data/0", 10, b"\x63\x00")),
    "a size in 64 bits that is not there": changed(
        small, in_directory(b"data/0", 20, b"\xff" * 8)),
    "entries within each other": changed(small, in_directory(b"data/0", 42, bytes(4))),
    "another name in the entry": changed(small, lambda data: data.__setitem__(
        slice(data.find(b"data/0"), data.find(b"data/0") + 6), b"data/1")),
    "two disks": changed(small, at_the_end(4, b"\x01\x00")),
    "one entry fewer": changed(small, at_the_end(8, b"\x01\x00\x01\x00")),
    "a directory elsewhere": changed(small, at_the_end(16, b"\x01\x00\x00\x00")),
    "a comment longer than it is": changed(small, at_the_end(20, b"\x09\x00")),
    "half of it": changed(small, lambda data: data.__delitem__(slice(len(data) // 2, None))),
}  # fmt: skip


# Msgpack -----------------------------------------------------------------------------------------


def packed(*body: bytes) -> Write:
    return lambda path: path.write_bytes(b"\x82\xa4step\x01\xaaparams_ema" + b"".join(body))


def extension(body: bytes, kind: bytes = b"\x01") -> bytes:
    return b"\xc9" + struct.pack(">I", len(body)) + kind + body


def shaped(*shape: bytes, kind: bytes = b"\xa7float32", count: bytes | None = None) -> bytes:
    head = count or b"\xdd" + struct.pack(">I", len(shape))
    return extension(b"\x93" + head + b"".join(shape) + kind + b"\xc4\x04" + bytes(4))


PACKS: dict[str, Write] = {
    "a hundred thousand dimensions": packed(shaped(*[b"\xcf" + b"\xff" * 8] * 100_000)),
    "thousands of dimensions": packed(shaped(*[b"\x01"] * 5000)),
    "a shape of lists": packed(shaped(b"\x91\x01")),
    "a dtype that is a list": packed(shaped(b"\x01", kind=b"\x91\x01")),
    "a dtype that is a map": packed(shaped(b"\x01", kind=b"\x80")),
    "a long name": packed(b"\xdb" + struct.pack(">I", 30 << 20) + b"x" * (30 << 20)),
    "a long key": packed(b"\x81\xdb" + struct.pack(">I", 30 << 20) + b"x" * (30 << 20) + b"\x01"),
    "many arrays of many entries": packed(
        b"\xdc\x10\x00", *[extension(b"\xdc\x10\x00" + b"\xc0" * 4096)] * 4096
    ),
    "numbers of many entries": packed(
        b"\xdc\x10\x00", *[extension(b"\x93\xdc\x10\x00" + b"\x01" * 4096, b"\x03")] * 4096
    ),
    "a key twice": packed(b"\x82\xa1a\xc0\xa1a\xc0"),
    "a name within names": packed(*[b"\x81\xda\x03\x00" + b"x" * 768] * 30, shaped(b"\x01")),
}


# Safetensors -------------------------------------------------------------------------------------


def headed(header: Any, data: bytes = b"", length: int | None = None) -> Write:
    said = header if isinstance(header, bytes) else json.dumps(header).encode()
    start = struct.pack("<Q", len(said) if length is None else length)
    return lambda path: path.write_bytes(start + said + data)


def listed(**changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **changes}


def empty_tensors(n: int) -> bytes:
    one = ':{"dtype":"F32","shape":[0],"data_offsets":[0,0]},'
    return b"{" + "".join(f'"{i:06}"{one}' for i in range(n)).encode()[:-1] + b"}"


SAFETENSORS: dict[str, Write] = {
    "a million empty tensors": lambda path: headed(empty_tensors(1_000_000))(path),
    "as many as fit into 8 MiB": lambda path: headed(empty_tensors(130_000))(path),
    "more than there are": lambda path: headed(empty_tensors(25_000))(path),
    "lists in a list": headed(b'{"a":[' + b"[]," * 2_000_000 + b"[]]}"),
    "a deep header": headed(b'{"a":' * 100_000),
    "a long integer": headed(b'{"a":' + b"9" * 1_000_000 + b"}"),
    "a number that is none": headed(b'{"a": NaN}'),
    "a tensor twice": headed(b'{"a":' + json.dumps(listed()).encode() + b',"a":'
                             + json.dumps(listed()).encode() + b"}", bytes(4)),
    "thousands of dimensions": headed({"a": listed(shape=[1] * 50_000)}, bytes(4)),
    "giant dimensions": headed({"a": listed(shape=[10**30] * 30)}, bytes(4)),
    "a shape of texts": headed({"a": listed(shape=["1"])}, bytes(4)),
    "a shape that is none": headed({"a": listed(shape={})}, bytes(4)),
    "a type that is a list": headed({"a": listed(dtype=[["F32"]])}, bytes(4)),
    "a place that is true": headed({"a": listed(data_offsets=[False, 4])}, bytes(4)),
    "a tensor that is a text": headed({"a": "F32"}, bytes(4)),
    "texts that are numbers": headed({"__metadata__": {"a": 1}, "b": listed()}, bytes(4)),
    "texts that are none": headed({"__metadata__": ["a"], "b": listed()}, bytes(4)),
    "a long name": headed({"x" * 100_000: listed()}, bytes(4)),
    "a header beyond the file": headed({}, length=1 << 40),
    "not in UTF-8": headed(b'{"\xff": 1}'),
}  # fmt: skip


# Arrays ------------------------------------------------------------------------------------------


def npy(header: bytes, numbers: bytes = b"", version: bytes = b"\x02\x00") -> bytes:
    return b"\x93NUMPY" + version + struct.pack("<I", len(header)) + header + numbers


def said(descr: str = "'<f4'", shape: str = "(1,)", order: str = "False") -> bytes:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}\n".encode()


def members(compression: int = zipfile.ZIP_STORED, **entries: bytes) -> Write:
    named = {key.replace("__", "."): value for key, value in entries.items()}
    return lambda path: writing.zip_of(path, named, compression)


def deflated(start: bytes, mebibytes: int, end: bytes = b"") -> bytes:
    """Deflated `start`, so many MiB of zeros and `end`; only one MiB is really deflated."""
    packer = lambda data: (made := zlib.compressobj(9, zlib.DEFLATED, -15)).compress(
        data) + made.flush(zlib.Z_FULL_FLUSH)  # fmt: skip
    last = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = packer(bytes(1 << 20)) * mebibytes
    return packer(start) + zeros + last.compress(end) + last.flush()


def zeros(sizes: dict[str, int]) -> Write:
    """A .npz of arrays of zeros, of so many MiB."""

    def write(path: Path) -> None:
        body, directory = b"", b""
        for key, mebibytes in sizes.items():
            start = npy(said("'|u1'", f"({mebibytes << 20},)"))
            data = deflated(start, mebibytes)
            sizes_said = struct.pack("<LLL", 0, len(data), len(start) + (mebibytes << 20))
            common = struct.pack("<HHHHH", 20, 0, 8, 0, 0) + sizes_said
            entry = f"{key}.npy".encode()
            length = struct.pack("<HH", len(entry), 0)
            directory += (b"PK\x01\x02" + struct.pack("<H", 20) + common + length + bytes(10)
                          + struct.pack("<L", len(body)) + entry)  # fmt: skip
            body += b"PK\x03\x04" + common + length + entry + data
        end = struct.pack("<HHHHLLH", 0, 0, len(sizes), len(sizes), len(directory), len(body), 0)
        path.write_bytes(body + directory + b"PK\x05\x06" + end)

    return write


ONE = npy(said(), bytes(4))
ARRAYS: dict[str, Write] = {
    "3 GiB of zeros": zeros({"images": 3000}),
    "3 GiB beside a small one": zeros({"images": 1, "other": 3000}),
    "objects": lambda path: np.savez(path, a=np.array([{}], object)),
    "objects in a .npy": lambda path: path.write_bytes(npy(said("'|O'"), pickle.dumps([1]))),
    "an encrypted entry": changed(members(a__npy=ONE), in_directory(b"a.npy", 8, b"\x01\x00")),
    "an unknown method": changed(members(a__npy=ONE), in_directory(b"a.npy", 10, b"\x63\x00")),
    "a method of others": members(zipfile.ZIP_LZMA, a__npy=ONE),
    "an entry that is no array": members(a__npy=ONE, readme__txt=b"hello"),
    "an array that is none": members(a__npy=b"hello" * 5),
    "an empty array": members(a__npy=b""),
    "a name twice": changed(members(a__npy=ONE, b__npy=ONE), lambda data: data.__setitem__(
        slice(None), data.replace(b"b.npy", b"a.npy"))),
    "a flipped bit": changed(members(a__npy=npy(said(shape="(99,)"), bytes(396))),
                             flip(b"'shape': (99,)}")),
    "a flipped bit, compressed": changed(
        members(zipfile.ZIP_DEFLATED, a__npy=npy(said(shape="(99,)"), bytes(range(99)) * 4)),
        flip(b"a.npy")),
    "thousands of dimensions": members(a__npy=npy(said(shape=f"({'1,' * 3000})"), bytes(4))),
    "sixty dimensions": members(a__npy=npy(said(shape=f"({'1,' * 60})"), bytes(4))),
    "giant dimensions": members(a__npy=npy(said(shape="(10**9,)"), bytes(4))),
    "a giant number": members(a__npy=npy(said(shape=f"({'9' * 9000},)"), bytes(4))),
    "a giant of nothing": members(a__npy=npy(said(shape=f"(0, {2**62}, {2**62})"))),
    "a negative dimension": members(a__npy=npy(said(shape="(-1,)"), bytes(4))),
    "a giant number of few digits": members(a__npy=npy(said(shape=f"({'9' * 900},)"), bytes(4))),
    "brackets": members(a__npy=npy(b"(" * 999)),
    "signs": members(a__npy=npy(b"-" * 999)),
    "brackets in a shape": members(a__npy=npy(said(shape="[" * 190 + "]" * 190), bytes(4))),
    "a header beyond any": members(a__npy=npy(said() + b" " * 100_000, bytes(4))),
    "a header beyond the array": members(a__npy=b"\x93NUMPY\x02\x00\xff\xff\xff\x7f"),
    "a header that runs": members(a__npy=npy(said(shape="__import__('os').system('x')"))),
    "a dtype of fields": members(a__npy=npy(said("[('a', '<f4')]"), bytes(4))),
    "a dtype of a giant": members(a__npy=npy(said("'<U999999999'"), bytes(4))),
    "a dtype that is none": members(a__npy=npy(said("'<f3'"), bytes(4))),
    "a dtype of fields in a text": members(a__npy=npy(said("'f4,f4'"), bytes(8))),
    "an order that is none": members(a__npy=npy(said(order="[]"), bytes(4))),
    "a version that is none": members(a__npy=npy(said(), bytes(4), b"\x09\x00")),
    "too few numbers": lambda path: path.write_bytes(npy(said(shape="(5,)"), bytes(4))),
    "too many numbers": lambda path: path.write_bytes(npy(said(shape="(1,)"), bytes(8))),
    "a terabyte": lambda path: path.write_bytes(npy(said(shape=f"({2**38},)"), bytes(8))),
    "nothing": lambda path: path.write_bytes(b""),
    "a pickle": lambda path: path.write_bytes(pickle.dumps([1])),
    "many arrays of long headers": members(zipfile.ZIP_DEFLATED, **{
        f"{k}__npy": npy(said(shape=f"({'1, ' * 30}{' ' * 800})"), bytes(4 if k < 1999 else 3))
        for k in range(2000)}),
    "many arrays": members(**{f"{k}__npy": ONE for k in range(2001)}),
    "half of it": changed(members(a__npy=ONE), lambda data: data.__delitem__(slice(60, None))),
    "300,000 entries": crowded,
}  # fmt: skip


# JSON --------------------------------------------------------------------------------------------

JSON: dict[str, bytes] = {
    "deep lists": b"[" * 100_000, "deep objects": b'{"a":' * 100_000,
    "40 deep": b'{"a":' + b"[" * 40 + b"]" * 40 + b"}", "no object": b"[1]", "cut off": b'{"a": ',
    "NaN": b'{"a": NaN}', "infinite": b'{"a": -Infinity}', "beyond any": b'{"a": 1e999}',
    "a long integer": b'{"a": ' + b"9" * 5000 + b"}", "a key twice": b'{"a": 1, "a": 2}',
    "not in UTF-8": b'{"\xff": 1}', "in UTF-16": '{"a": 1}'.encode("utf-16"),
    "half of a character": b'{"a": "\\ud800"}', "in a key": b'{"\\ud800": 1}',
    "too long": b'{"a": "' + b"x" * (2 << 20) + b'"}', "nothing": b"",
    "too many": b'{"a": [' + b"[]," * 300_000 + b"[]]}",
}  # fmt: skip


# Pictures ----------------------------------------------------------------------------------------


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *chunks: bytes, pixels: bytes = b"") -> bytes:
    start = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = zlib.compress(pixels or bytes(min(1 << 16, height * (3 * width + 1))), 1)
    return b"\x89PNG\r\n\x1a\n" + start + b"".join(chunks) + chunk(b"IDAT", data) + chunk(b"IEND")


def saved(kind: str, size: tuple[int, int] = (20, 10), **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (200, 100, 50)).save(file, kind, **options)
    return file.getvalue()


def tiff(*tags: tuple[int, int, int, int], tail: bytes = b"") -> bytes:
    """(tag, type, count, value or place) of a picture of 10 x 10."""
    known = {256: (3, 1, 10), 257: (3, 1, 10), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1),
             273: (4, 1, 8), 277: (3, 1, 1), 279: (4, 1, 100)}  # fmt: skip
    all_tags = sorted((known | {tag: rest for tag, *rest in tags}).items())
    body = b"".join(struct.pack("<HHII", tag, *rest) for tag, rest in all_tags)
    return b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", len(all_tags)) + body + bytes(4) + tail


ZLIB = b"\x78\x9c"
"""First bytes of deflated data in a PNG."""


def jpeg_scans(n: int) -> bytes:
    """A progressive JPEG of 4,000 x 4,000 that is gone over n times, a few bytes each."""
    whole = saved("JPEG", (16, 16), progressive=True)
    frame = whole.find(b"\xff\xc2") + 5
    whole = whole[:frame] + struct.pack(">HH", 4000, 4000) + whole[frame + 4 :]
    scan = b"\xff\xda" + struct.pack(">HB", 8, 1) + b"\x01\x00\x05\x3f\x10" + b"\x00" * 4
    return whole[:-2] + scan * n + b"\xff\xd9"


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) run showpage\n%%EOF\n"
OTHERS = {"PSD": b"8BPS\0\1" + bytes(6) + b"\0\3" + struct.pack(">II", 9, 9) + b"\0\x08\0\3",
          "ICNS": b"icns" + struct.pack(">I", 8), "a page": b"<svg xmlns='x'/>"}  # fmt: skip
PICTURES: dict[str, bytes] = {
    "13,000 x 13,000": png(13_000, 13_000),
    "6,000 x 6,000 in few bytes": png(6000, 6000),
    "2^31 x 1": png(2**31 - 1, 1),
    "no pixels": png(0, 5),
    "a text that unpacks to a gigabyte": png(
        4, 4, *[chunk(b"zTXt", b"a%d\0\0" % i + ZLIB + deflated(b"", 5)) for i in range(200)]),
    "a profile that unpacks to 256 MiB": png(
        4, 4, chunk(b"iCCP", b"a\0\0" + ZLIB + deflated(b"", 256))),
    "a million chunks": png(4, 4, chunk(b"tEXt", b"a\0") * 500_000),
    "EXIF of a megabyte": png(4, 4, chunk(b"eXIf", b"II*\0\x08\0\0\0" + bytes(1 << 20))),
    "PNG of 100 MiB beside its pixels": png(4, 4, chunk(b"prVt", bytes(100 << 20))),
    "JPEG of profiles": b"\xff\xd8" + (b"\xff\xe2\xff\xff" + b"ICC_PROFILE\0\1\1"
                                      + bytes(65_519)) * 1500,
    "WEBP of 100 MiB": b"RIFF" + struct.pack("<I", 100 << 20) + b"WEBPVP8L" + struct.pack(
        "<I", 100 << 20) + b"\x2f" + bytes(100 << 20),
    "TIFF of giant rows in a strip": tiff((278, 4, 1, 2**32 - 1), (259, 3, 1, 5),
                                          (279, 4, 1, 2**31 - 1), tail=bytes(99)),
    "EPS": EPS,
    "EPS of DOS": b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 32, len(EPS)) + bytes(20) + EPS,
    **{name: data + bytes(99) for name, data in OTHERS.items()},
    "GIF of 60,000 x 60,000": b"GIF89a" + struct.pack("<HHBBB", 60_000, 60_000, 0, 0, 0)
    + b"," + struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0) + b"\x08\x01\x00\x00;",
    "GIF with a frame of 60,000 x 60,000": b"GIF89a" + struct.pack("<HHBBB", 9, 9, 0, 0, 0)
    + b"," + struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0) + b"\x08\x01\x00\x00;",
    "GIF of comments": b"GIF89a" + struct.pack("<HHBBB", 9, 9, 0, 0, 0)
    + b"!\xfe" + b"\x01a" * 3_000_000 + b"\0;",
    "JPEG of empty segments": b"\xff\xd8" + b"\xff\xfe\x00\x02" * 1_000_000,
    "JPEG of filling": b"\xff\xd8" + b"\xff" * 10_000_000,
    "JPEG of junk": b"\xff\xd8\xff\xfe\x00\x02" + b"\x00" * 10_000_000,
    "JPEG of many EXIF": b"\xff\xd8" + (b"\xff\xe1\xff\xff" + b"Exif\0\0II*\0\x08\0\0\0"
                                        + bytes(65_519)) * 50,
    "JPEG of 500 scans": jpeg_scans(500),
    "PPM of a long comment": b"P5 #" + b"x" * 20_000_000 + b"\n4 4 255\n" + bytes(16),
    "PPM of a comment at the end": b"P5 4 4 255#" + b"x" * 20_000_000 + b"\n" + bytes(16),
    "PPM of blanks": b"P5" + b" " * 20_000_000 + b"4 4 255\n" + bytes(16),
    "PPM of 90,000 x 90,000": b"P5 90000 90000 255\n" + bytes(100),
    "BMP of 90,000 x 90,000": b"BM" + struct.pack("<IHHI", 100, 0, 0, 54) + struct.pack(
        "<IiiHHIIiiII", 40, 90_000, 90_000, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(50),
    "WEBP of 16,000 x 16,000": b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8L" + struct.pack(
        "<I", 10) + b"\x2f" + struct.pack("<I", 15_999 | 15_999 << 14) + bytes(5),
    "WEBP with a canvas of 16,000 x 16,000": b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X"
    + struct.pack("<I", 10) + bytes(4) + 2 * (15_999).to_bytes(3, "little"),
    "TIFF of 90,000 x 90,000": tiff((256, 4, 1, 90_000), (257, 4, 1, 90_000)),
    "TIFF of tags that take the file again and again": tiff(
        *[(tag, 1, 5_000_000, 8) for tag in range(40_000, 40_500)], tail=bytes(5_000_000)),
    "TIFF of a million strips": tiff((273, 4, 1_000_000, 200), (279, 4, 1_000_000, 200),
                                     tail=bytes(4_000_200)),
    "TIFF whose tags begin nowhere": b"II*\0\xff\xff\xff\x7f" + bytes(99),
    "BigTIFF of 2^40 tags": b"II\x2b\0\x08\0\0\0\x10\0\0\0\0\0\0\0" + struct.pack("<Q", 1 << 40),
    "half of a PNG": png(200, 200, pixels=os.urandom(200 * 601))[:5000],
    "half of a JPEG": saved("JPEG", (200, 200))[:400],
    "half of a GIF": saved("GIF", (200, 200))[:200],
    "half of a WEBP": saved("WEBP", (200, 200))[:50],
    "half of a TIFF": saved("TIFF", (200, 200))[:5000],
    "half of a BMP": saved("BMP", (200, 200))[:5000],
    "half of a PPM": saved("PPM", (200, 200))[:5000],
    "nothing": b"",
}  # fmt: skip


def six_giants(path: Path) -> None:
    path.mkdir()
    data = png(13_000, 13_000, pixels=bytes(1 << 25))
    for k in range(6):
        (path / f"{k}.png").write_bytes(data)


# Tables ------------------------------------------------------------------------------------------


def described(body: bytes, said: int | None = None) -> bytes:
    """A Parquet file of a description alone, which says that it has `said` bytes."""
    size = len(body) if said is None else said
    return b"PAR1" + body + struct.pack("<I", size) + b"PAR1"


def compact(n: int) -> bytes:
    """A number as Parquet's description has it."""
    return bytes([n & 127 | 128]) + compact(n >> 7) if n > 127 else bytes([n])


GROUP, COLUMN = b"\x35\x02\x18\x01a\x15\x02\x00", b"\x15\x02\x25\x02\x18\x01b\x00"
"""A column with another one in it, and a column of numbers."""


def columns(within: int, beside: int) -> bytes:
    """A Parquet file of a column within others, and of columns beside it; of no rows."""
    root = b"\x48\x01r\x15" + compact(2 * (beside + 1)) + b"\x00"
    items = root + GROUP * within + COLUMN * (beside + 1)
    count = b"\x19\xfc" + compact(2 + within + beside)
    return described(b"\x15\x02" + count + items + b"\x16\x00\x19\x0c\x00")


def repeated(path: Path) -> None:
    """Thirty million rows, all alike."""
    import pyarrow
    from pyarrow import parquet

    zeros = pyarrow.array(np.zeros(30_000_000, np.int8))
    parquet.write_table(pyarrow.table({"a": zeros, "b": zeros}), path)


TABLES: dict[str, bytes] = {
    "a million columns": b"a," * 1_000_000 + b"a\n",
    "a million columns in a row": b"a,b\n" + b"1," * 1_000_000 + b"\n",
    "a name of 20 MiB": b"a" * (20 << 20),
    "a value of 20 MiB": b"a,b\n" + b"1" * (20 << 20) + b",x\n",
    "a number of a million digits": b"a,b\n" + b"1" * 1_000_000 + b"x,x\n",
    "a quote that does not end": b'a,b\n"' + b"1,2\n" * 3_000_000,
    "a million quotes": b'a,b\n' + b'"' * 999_999 + b",1\n",
    "rows of other lengths": b"a,b\n1,2\n3\n",
    "bytes that are no text": b"a,b\n1,\xff\xfe\n",
    "control characters": b"a,b\n\x1b[2J\x07,1\n",
    "zeros": bytes(1_000_000),
    "a zip": b"PK\x03\x04" + bytes(100),
    "nothing": b"",
    "Parquet without a description": b"PAR1" + bytes(8) + b"PAR1",
    "Parquet of a description longer than it is": described(b"x" * 100, 1 << 30),
    "Parquet of a description of 20 MiB": described(bytes(20 << 20)),
    "Parquet of a description of nonsense": described(b"\x15" * 100_000),
    "Parquet of half a million columns": columns(0, 500_000),
    "Parquet of two billion columns": described(b"\x15\x02\x19\xfc\xff\xff\xff\xff\x07"),
    "Parquet of 100,000 columns within each other": columns(100_000, 0),
    "half of a Parquet": b"PAR1" + bytes(100),
}  # fmt: skip


# In place of a file ------------------------------------------------------------------------------


def bound(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the name of a socket may have 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


PLACES: dict[str, Callable[[Path], object]] = {
    "a named pipe": os.mkfifo,
    "a socket": bound,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to a pipe": lambda path: (os.mkfifo(path.with_name("pipe")), path.symlink_to("pipe")),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to a folder": lambda path: path.symlink_to(path.parent),
}
LINKS: dict[str, Callable[[Path], object]] = {
    "a link to a file": lambda path: (path.with_name("other").write_bytes(b"{}"),
                                      path.symlink_to("other")),
    "a link out of the folder": lambda path: path.symlink_to("/etc/passwd"),
}  # fmt: skip
UNET = {"_class_name": "UNet2DModel"}


def directory(file: str, put: Callable[[Path], object]) -> Write:
    """A directory of diffusers with something else in place of one of its files."""

    def write(path: Path) -> None:
        for name in ("unet", "scheduler"):
            (path / name).mkdir(parents=True)
        known = json.loads((GOLDEN / "ve/unet/config.json").read_text())
        (path / "unet/config.json").write_text(json.dumps(known))
        (path / "scheduler/scheduler_config.json").write_text(
            (GOLDEN / "ve/scheduler/scheduler_config.json").read_text()
        )
        weights = "unet/diffusion_pytorch_model.safetensors"
        (path / weights).write_bytes((GOLDEN / "ve" / weights).read_bytes())
        place = path / file
        if place.is_dir():
            place.rename(path / "moved")
        place.unlink(missing_ok=True)
        put(place)

    return write


GOLDEN = Path(__file__).parents[1] / "golden" / "diffusers"
DIRECTORY_FILES = ("unet/config.json", "scheduler/scheduler_config.json",
                   "unet/diffusion_pytorch_model.safetensors")  # fmt: skip


def written(data: bytes) -> Write:
    return lambda path: path.write_bytes(data)


def with_setting(key: str, value: bytes) -> Write:
    config = json.dumps({**json.loads((GOLDEN / "ve/unet/config.json").read_text()), key: 0})
    body = config.encode().replace(f'"{key}": 0'.encode(), f'"{key}": '.encode() + value)
    return directory("unet/config.json", written(body))


CONFIG_KEYS = ("sample_size", "block_out_channels", "down_block_types", "layers_per_block",
               "out_channels", "time_embedding_type", "norm_eps", "dropout", "num_class_embeds",
               "attention_head_dim", "norm_num_groups", "mid_block_scale_factor")  # fmt: skip
CONFIG_VALUES = {
    "lists in lists": b"[" * 30 + b"]" * 30,
    "a long text": b'"' + b"x" * 900_000 + b'"',
    "an object": b'{"a": {"b": [1]}}',
    "a giant": b"9" * 39,
    "a list": b"[[], {}]",
}


# All ---------------------------------------------------------------------------------------------


def _all() -> dict[str, tuple[str, str, Write]]:
    found: dict[str, tuple[str, str, Write]] = {}

    def add(kind: str, reader: str, file: str, table: dict[str, Write]) -> None:
        found.update({f"{kind}: {name}": (reader, file, write) for name, write in table.items()})

    add("pickle in a zip", "checkpoint", "a.pth", {k: zipped(v) for k, v in BODIES.items()})
    few = ("a device of doubled lists", "a key", "a storage's key", "texts encoded and kept",
           "a hundred thousand dimensions", "a persistent id")  # fmt: skip
    add("pickle in a stream", "checkpoint", "a.pth", {k: legacy(BODIES[k]) for k in few})
    add("snapshot", "checkpoint", "a.pkl", {k: plain(v) for k, v in SNAPSHOTS.items()})
    add("zip", "checkpoint", "a.pth", ZIPS)
    add("msgpack", "checkpoint", "checkpoint_8", PACKS)
    add("safetensors", "checkpoint", "a.safetensors", SAFETENSORS)
    add("features", "features", "a.npz", {k: ARRAYS[k] for k in ("3 GiB of zeros", "objects")})
    add("arrays", "arrays", "a.npz", ARRAYS)
    add("table", "columns", "a.csv", {k: written(v) for k, v in TABLES.items()})
    add("table", "columns", "a.parquet", {"30 million equal rows in little": repeated})
    add("JSON", "settings", "a.json", {k: written(v) for k, v in JSON.items()})
    add("picture", "picture", "a.png", {k: written(v) for k, v in PICTURES.items()})
    add("pictures", "pictures", "a", {"six of 13,000 x 13,000": six_giants})
    for reader in ("checkpoint", "features", "arrays", "columns", "settings", "picture"):
        add(f"{reader} from", reader, "a.npz", PLACES)
    for file in DIRECTORY_FILES:
        add(f"{file} from", "checkpoint", "a", {
            k: directory(file, put) for k, put in {**PLACES, **LINKS}.items()})  # fmt: skip
    away = lambda place: place.symlink_to("moved")
    folders = {f"{name}/ is a link": directory(name, away) for name in ("unet", "scheduler")}
    add("diffusers", "checkpoint", "a", folders)
    add("config.json", "checkpoint", "a", {
        f"{key} is {what}": with_setting(key, value)
        for key in CONFIG_KEYS for what, value in CONFIG_VALUES.items()})  # fmt: skip
    return found


HOSTILE = _all()
"""Description -> (reader in `benchmarks.watched`, name of the file, function that writes it)."""
