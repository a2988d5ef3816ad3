"""Changes to files, which the readers of their formats must recognize.

A mutation is a function of (a generator of random numbers, the bytes of a file) that gives other
bytes. `BYTES` suit any format; `FORMATS` has those that keep the rest of a file's structure sound,
so that a reader gets beyond its first checks.
"""

from __future__ import annotations

import io
import json
import pickletools
import random
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

Mutation = Callable[[random.Random, bytes], bytes]

# Of any bytes ------------------------------------------------------------------------------------

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1,
           (1 << 64) - 1)  # fmt: skip
"""Numbers at which lengths and counts tend to fail."""


def flip(random: random.Random, data: bytes) -> bytes:
    """Change a few bytes."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8))):
        if changed:
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def number(random: random.Random, data: bytes) -> bytes:
    """Put a number that is at some limit into the place of a possible length."""
    value, size = random.choice(NUMBERS), random.choice((1, 2, 4, 8))
    order = random.choice(("little", "big"))
    piece = (value & (1 << 8 * size) - 1).to_bytes(size, order)  # type: ignore[arg-type]
    at = random.randrange(max(1, min(len(data), random.choice((64, 512, len(data) or 1)))))
    return data[:at] + piece + data[at + size :]


def cut(random: random.Random, data: bytes) -> bytes:
    """Keep only the start of the file."""
    return data[: random.randrange(len(data) + 1)]


def remove(random: random.Random, data: bytes) -> bytes:
    """Remove a piece of the file."""
    at, length = random.randrange(len(data) + 1), random.choice((1, 4, 100, 5000))
    return data[:at] + data[at + length :]


def repeat(random: random.Random, data: bytes) -> bytes:
    """Repeat a piece of the file, in another place or many times."""
    at, length = random.randrange(len(data) + 1), random.choice((1, 4, 50, 2000))
    place, times = random.randrange(len(data) + 1), random.choice((1, 2, 1000))
    return data[:place] + data[at : at + length] * times + data[place:]


def noise(random: random.Random, data: bytes) -> bytes:
    """Insert random bytes."""
    at, piece = random.randrange(len(data) + 1), random.randbytes(random.choice((1, 4, 64)))
    return data[:at] + piece + data[at + random.choice((0, len(piece))) :]


BYTES: tuple[Mutation, ...] = (flip, flip, number, number, cut, remove, repeat, noise)


def of_bytes(random: random.Random, data: bytes) -> bytes:
    """Apply one or a few of `BYTES`."""
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        data = random.choice(BYTES)(random, data)
    return data


# Pickles -----------------------------------------------------------------------------------------

_PIECES = (
    b"2\x86" * 34, b"]", b"}", b")", b"(", b"N", b"0", b"1", b"t", b"e", b"u", b"s", b"a", b"R",
    b"b", b"Q", b"\x81", b"\x85", b"\x86", b"\x87", b"\x8f", b"\x90", b"\x91", b"\x93", b"\x94",
    b"h\x00", b"h\x01", b"j\x02\x00\x00\x00", b"q\x00", b"q\x01", b"K\x01", b"M\xff\xff",
    b"J\xff\xff\xff\x7f", b"G\x7f\xf8\x00\x00\x00\x00\x00\x00", b"X\x01\x00\x00\x00x",
    b"\x8a\x08" + b"\xff" * 8, b"\x8c\x01a", b"C\x02ab", b"B\x03\x00\x00\x00abc", b"\x88", b"\x89",
    b"cos\nsystem\n", b"cbuiltins\neval\n", b"cposix\nsystem\n(X\x02\x00\x00\x00lstR",
    b"ctorch\ndevice\n", b"ctorch\nSize\n", b"ctorch\nFloatStorage\n", b"c_codecs\nencode\n",
    b"ccollections\nOrderedDict\n", b"cnumpy\ndtype\n", b"cnumpy.core.multiarray\nscalar\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch._utils\n_rebuild_parameter\n",
    b"ctorch.storage\n_load_from_bytes\n", b"cbuiltins\nset\n", b"cdnnlib.util\nEasyDict\n",
    b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n",
    b"ctorch.nn.modules.container\nModuleList\n", b"\x8e" + b"\xff" * 8, b"\x82\x01", b"\x97", b".",
)  # fmt: skip
"""Instructions, alone or with an argument."""


def _places(data: bytes) -> list[int]:
    """Positions of the instructions of a pickle, as far as it can be read."""
    found = []
    try:
        for _, _, at in pickletools.genops(data):
            found.append(at or 0)
    except Exception:  # what else it raises does not matter: it has been changed
        pass
    return found or [0]


def instructions(random: random.Random, data: bytes) -> bytes:
    """Instructions put in, taken out, doubled or moved."""
    for _ in range(random.choice((1, 1, 2, 5))):
        places = _places(data)
        at = random.choice(places)
        begin, end = sorted((random.choice(places), random.choice(places)))
        piece = data[begin : min(end, begin + 2000)]
        data = random.choice((
            lambda at=at, data=data: data[:at] + random.choice(_PIECES) + data[at:],
            lambda at=at, data=data: data[:at] + b"".join(random.choices(_PIECES, k=9)) + data[at:],
            lambda at=at, data=data, piece=piece: data[:at] + piece + data[at:],
            lambda begin=begin, end=end, data=data: data[:begin] + data[end:],
        ))()  # fmt: skip
    return data


def pickled(random: random.Random, data: bytes) -> bytes:
    """A stream of pickles: instructions of the first ones, or bytes anywhere."""
    return random.choice((instructions, instructions, of_bytes))(random, data)


# Zips --------------------------------------------------------------------------------------------


def rebuilt(inner: Callable[[str], Mutation]) -> Mutation:
    """The entries of a zip changed by `inner(name)`, and the zip around them sound again."""

    def change(random: random.Random, data: bytes) -> bytes:
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                entries = [(info.filename, archive.read(info)) for info in archive.infolist()]
        except Exception:  # it has been changed before
            return of_bytes(random, data)
        chosen = random.randrange(len(entries)) if entries else 0
        if entries and random.random() < 0.05:
            entries.append(random.choice(entries))
        file = io.BytesIO()
        method = random.choice((zipfile.ZIP_STORED,) * 9 + (zipfile.ZIP_DEFLATED,))
        with warnings.catch_warnings(), zipfile.ZipFile(file, "w", method) as archive:
            warnings.simplefilter("ignore")  # of a name that is there twice
            for k, (name, content) in enumerate(entries):
                wanted = k == chosen or name.endswith("data.pkl")
                changed = inner(name)(random, content) if wanted else content
                info = zipfile.ZipInfo(_renamed(random, name))  # of no date: the same each time
                info.compress_type = method
                archive.writestr(info, changed)
        return file.getvalue()

    return change


def _renamed(random: random.Random, name: str) -> str:
    odd = ("../" + name, "/" + name, name + "\\x", name + "é", "data.pkl", "x" * 3000, "/")
    return random.choice(odd) if random.random() < 0.02 else name


def directory(random: random.Random, data: bytes) -> bytes:
    """A number in the directory of a zip, or in a header, changed."""
    marks = [m.start() for m in re.finditer(rb"PK(\x01\x02|\x03\x04|\x05\x06|\x06\x06)", data)]
    if not marks:
        return of_bytes(random, data)
    at = random.choice(marks) + random.randrange(4, 46)
    size = random.choice((1, 2, 4, 8))
    value = random.choice((*NUMBERS, len(data), random.randrange(len(data))))
    piece = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
    return data[:at] + piece + data[at + size :]


def torch_zip(random: random.Random, data: bytes) -> bytes:
    """A zip of PyTorch's: its pickle, its directory, or any bytes."""
    pickle = rebuilt(lambda name: instructions if name.endswith("data.pkl") else of_bytes)
    return random.choice((pickle, pickle, directory, of_bytes))(random, data)


_HEADER = re.compile(rb"\{'descr': '([^']*)', 'fortran_order': (\w+), 'shape': (\([^)]*\)), \} *\n")
_TYPES = (b"|O", b"<f8", b"<f4", b">i2", b"|u1", b"<U9", b"|S3", b"<M8[s]", b"<f3", b"|V8", b"<c16",
          b"f4,f4", b"<U999999999", b"")  # fmt: skip
_SHAPES = (b"()", b"(0,)", b"(-1,)", b"(1,)", b"(10, 10)", b"(2048, 2048)", b"(99999999999,)",
           b"(" + b"1," * 70 + b")", b"(1.5,)", b"None", b"((1,),)")  # fmt: skip


def npy(random: random.Random, data: bytes) -> bytes:
    """The header of an array changed, its length made to fit."""
    match = _HEADER.search(data)
    if not match or random.random() < 0.3:
        return of_bytes(random, data)
    kind, order, shape = match.groups()
    which = random.randrange(3)
    kind = random.choice(_TYPES) if which == 0 else kind
    shape = random.choice(_SHAPES) if which == 1 else shape
    order = random.choice((b"True", b"False", b"1", b"[]")) if which == 2 else order
    text = b"{'descr': '" + kind + b"', 'fortran_order': " + order + b", 'shape': " + shape + b"}\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data[match.end() :]


def npz(random: random.Random, data: bytes) -> bytes:
    """A zip of arrays: a header or numbers of one, its directory, or any bytes."""
    inner = rebuilt(lambda name: npy)
    return random.choice((inner, inner, directory, of_bytes))(random, data)


# Safetensors and JSON ----------------------------------------------------------------------------

_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 1 << 20, 1 << 40, 1 << 70, 0.5, 1e300, "", "x", "é\n", "x" * 5000, [], {},
    [[]], [1, 2], ["a"], {"a": 1}, [0, 4], "F32", "I64", "BOOL", "UNet2DModel", float("nan"),
)  # fmt: skip


def value(random: random.Random, tree: Any) -> Any:
    """A JSON value with something in it replaced, taken out or put in."""
    if isinstance(tree, dict) and tree and random.random() < 0.85:
        key = random.choice(list(tree))
        return random.choice((
            lambda: {**tree, key: value(random, tree[key])},
            lambda: {**tree, key: value(random, tree[key])},
            lambda: {k: v for k, v in tree.items() if k != key},
            lambda: {**tree, random.choice(("", "x", "é", key + "x")): tree[key]},
        ))()  # fmt: skip
    if isinstance(tree, list) and tree and random.random() < 0.85:
        at = random.randrange(len(tree))
        return random.choice((
            lambda: [*tree[:at], value(random, tree[at]), *tree[at + 1 :]],
            lambda: tree[:at] + tree[at + 1 :],
            lambda: tree + tree,
        ))()  # fmt: skip
    return random.choice(_VALUES)


def structured(random: random.Random, data: bytes) -> bytes:
    """JSON changed as a value or as bytes."""
    try:
        tree = json.loads(data)
    except ValueError:
        return of_bytes(random, data)
    if random.random() < 0.2:
        return of_bytes(random, data)
    for _ in range(random.choice((1, 1, 2, 4))):
        tree = value(random, tree)
    return json.dumps(tree).encode()


def safetensors(random: random.Random, data: bytes) -> bytes:
    """Its header changed and its length made to fit, or any bytes."""
    length = int.from_bytes(data[:8], "little")
    if random.random() < 0.25 or not 0 < length < len(data):
        return of_bytes(random, data)
    header = structured(random, data[8 : 8 + length])
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


# Pictures ----------------------------------------------------------------------------------------


def png(random: random.Random, data: bytes) -> bytes:
    """Chunks changed, doubled or taken out, their checksums made to fit."""
    if random.random() < 0.25:
        return of_bytes(random, data)
    at, chunks = 8, []
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    if not chunks:
        return of_bytes(random, data)
    k = random.randrange(len(chunks))
    kind, body = chunks[k]
    chunks[k : k + 1] = random.choice((
        lambda: [(kind, of_bytes(random, body))],
        lambda: [(kind, number(random, body))],
        lambda: [(kind, body)] * random.choice((0, 2, 50)),
        lambda: [(random.choice((b"tEXt", b"zTXt", b"iCCP", b"eXIf", b"acTL", b"fcTL", b"tRNS",
                                 b"PLTE", b"IDAT", b"IEND", b"iTXt")), body), (kind, body)],
    ))()  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


FORMATS: dict[str, Mutation] = {
    "torch zip": torch_zip, "torch stream": pickled, "snapshot": pickled, "msgpack": of_bytes,
    "safetensors": safetensors, "npz": npz, "npy": npy, "json": structured, "png": png,
    "picture": of_bytes,
}  # fmt: skip
