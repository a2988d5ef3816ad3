"""PyTorch's files without PyTorch: containers as they are, tensors as `tensors.Tensor`.

Three formats: a zip of a pickle and raw storages (since 1.6), a stream of pickles with the
storages behind them (before), and a plain pickle in which each tensor is such a stream (EDM's
snapshots). An object of EDM's becomes {"class_name", "init_args", "init_kwargs", "state"}; the
source text that is stored with it is dropped.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from models.pretrained.files import pickles
from models.pretrained.files.pickles import Allowed, Budget, NumberType, Object, Window
from models.pretrained.files.tensors import DTYPES, PretrainedError, Storage, Tensor, map_file

LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The first pickle of the old format: its magic number."""
ZIP = b"PK\x03\x04"
STORED_ARCHIVE = "its zip entries are compressed, which PyTorch never does: refused"

_STORAGES = {
    "Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16",
    "Long": "int64", "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8",
    "Bool": "bool",
}  # fmt: skip


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Tensor:
    if not isinstance(storage, Storage) or not isinstance(size, tuple):
        raise PretrainedError("a tensor in the file has no storage: damaged or forged")
    return Tensor(storage, offset, size, stride if isinstance(stride, tuple) else ())


def _parameter(data: Any = None, *rest: Any) -> Any:
    return data


def _encode(text: Any, encoding: Any) -> bytes:
    """Bytes as protocol 2 has to spell them."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise PretrainedError("its pickle encodes what is no text: refused")
    return text.encode("latin1")


def _number_type(code: Any, *rest: Any) -> NumberType:
    if not isinstance(code, str) or len(code) > 3 or code[:1] not in "fiub":
        raise PretrainedError(f"a NumPy number in the file is of type {str(code)[:20]!r}: refused")
    return NumberType(code)


def _number(kind: Any, data: Any = None) -> Any:
    if not isinstance(kind, NumberType) or not isinstance(data, bytes) or len(data) > 16:
        raise PretrainedError("a NumPy number in the file is damaged")
    return np.frombuffer(data, np.dtype(kind.code))[0].item()


def _set(items: Any = ()) -> set[Any]:
    return set(pickles.pairs((item, None) for item in items))


def _object(name: str) -> Callable[..., Object]:
    return lambda *arguments: Object(class_name=name, state={})


def _persistent_object(meta: Any = None) -> dict[str, Any]:
    if not isinstance(meta, dict) or not isinstance(meta.get("state"), dict):
        raise PretrainedError("an object of the snapshot has no state: damaged")
    state = dict(meta["state"])
    return {
        "class_name": str(meta.get("class_name")),
        "init_args": state.pop("_init_args", ()),
        "init_kwargs": state.pop("_init_kwargs", {}),
        "state": state,
    }


def _easy_dict(items: Any = ()) -> dict[Any, Any]:
    return pickles.pairs(items.items() if isinstance(items, dict) else items)


_PLAIN: Allowed = {
    ("collections", "OrderedDict"): pickles.pairs,
    ("_codecs", "encode"): _encode,
    ("numpy", "dtype"): _number_type,
    ("numpy.core.multiarray", "scalar"): _number,
    ("numpy._core.multiarray", "scalar"): _number,
    ("builtins", "set"): _set,
    ("__builtin__", "set"): _set,
    ("torch", "Size"): lambda size=(): tuple(size),
    ("torch", "device"): lambda *parts: ":".join(map(str, parts)),
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    **{("torch", f"{name}Storage"): DTYPES[kind] for name, kind in _STORAGES.items()},
}
_CONTAINERS = ("ModuleDict", "ModuleList", "Sequential", "ParameterList", "ParameterDict")


def read(path: Path | str) -> Any:
    """What a file of any of the three formats holds; nothing in it is executed.

    Raises:
      PretrainedError: it is none of them, is truncated or damaged, or holds anything but tensors,
        numbers, texts and plain containers.
      OSError: it cannot be read.
    """
    path = Path(path)
    data = map_file(path)
    try:
        return _read(path, data)
    except PretrainedError as error:
        raise PretrainedError(f"{path.name}: {error}") from error


def head(path: Path, size: int) -> bytes:
    """The first bytes of a file; none of what is no file."""
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(size)


def is_torch(path: Path) -> bool:
    """Whether a file begins as `torch.save` begins one."""
    start = head(path, len(LEGACY))
    return start == LEGACY or start.startswith(ZIP)


def is_pickle(path: Path) -> bool:
    """Whether a file begins as a plain pickle of today."""
    start = head(path, len(LEGACY))
    return start[:1] == b"\x80" and start[1:2] in b"\2\3\4\5" and start != LEGACY


def _read(path: Path, data: memoryview) -> Any:
    if data[:4] == ZIP:
        return _read_zip(path, data)
    if data[: len(LEGACY)] == LEGACY:
        return _read_legacy(data, Budget())
    if data[0] != 0x80:
        raise PretrainedError("it is neither a file of PyTorch nor a pickle")
    return _read_snapshot(data)


# Zip files ---------------------------------------------------------------------------------------


def _entries(path: Path, data: memoryview) -> dict[str, memoryview]:
    """The entries of an archive by name, as views of it."""
    try:
        with zipfile.ZipFile(path) as archive:
            listed = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, struct.error) as error:
        raise PretrainedError(f"its zip directory is damaged or cut off ({error})") from error
    found: dict[str, memoryview] = {}
    for entry in listed:
        name = entry.filename
        if name.startswith("/") or "\\" in name or ".." in PurePosixPath(name).parts:
            raise PretrainedError(f"an entry of its zip is named {name[:80]!r}: refused")
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise PretrainedError(STORED_ARCHIVE)
        start = entry.header_offset
        header = bytes(data[start : start + 30])
        if len(header) < 30 or not header.startswith(ZIP):
            raise PretrainedError("its zip directory points to nowhere: damaged or forged")
        start += 30 + sum(struct.unpack("<HH", header[26:30]))
        if start + entry.file_size > len(data):
            raise PretrainedError(
                f"entry {name[:80]} is declared with {entry.file_size:,} bytes and the file ends "
                "before: truncated or forged"
            )
        found[name] = data[start : start + entry.file_size]
    return found


def _read_zip(path: Path, data: memoryview) -> Any:
    entries = _entries(path, data)
    roots = [name.removesuffix("data.pkl") for name in entries
             if name.split("/")[1:] == ["data.pkl"] or name == "data.pkl"]  # fmt: skip
    if len(roots) != 1:
        raise PretrainedError("it is a zip without one data.pkl: not a checkpoint of PyTorch")
    (root,) = roots
    order = bytes(entries.get(f"{root}byteorder", b"little")).strip()
    if order not in (b"little", b"big"):
        raise PretrainedError(f"its byte order is {order[:20]!r}")
    storages: dict[str, Storage] = {}

    def place(storage: Storage, key: str) -> Storage:
        if key not in storages:
            if f"{root}data/{key}" not in entries:
                raise PretrainedError(f"it lacks the numbers of storage {key[:40]}: damaged")
            storage.place(entries[f"{root}data/{key}"])
            storages[key] = storage
        return storages[key]

    persistent = _storage_ids(place, ">" if order == b"big" else "<")
    return pickles.load(Window(bytes(entries[f"{root}data.pkl"])), _PLAIN, persistent)


def _storage_ids(
    place: Callable[[Storage, str], Storage], order: Literal["<", ">"]
) -> Callable[[Any], Storage]:
    """Makes storages of persistent ids ("storage", type, key, location, size, ...)."""

    def load(pid: Any) -> Storage:
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
            raise PretrainedError("it stores more than tensors outside of its pickle: refused")
        kind, key, size = pid[1], pid[2], pid[4]
        if not isinstance(kind, pickles.Global) or not isinstance(kind.value, np.dtype):
            raise PretrainedError("a tensor storage has no type: damaged or forged")
        if not isinstance(key, str) or type(size) is not int or pid[5:] not in ((), (None,)):
            raise PretrainedError("a tensor storage has no name or size: damaged or forged")
        dtype = kind.value if kind.value.itemsize == 1 else kind.value.newbyteorder(order)
        return place(Storage(dtype, size), key)

    return load


# Streams -----------------------------------------------------------------------------------------


def _read_legacy(data: memoryview, budget: Budget) -> Any:
    """Magic number, version, system, the object, the storages' keys, the storages."""
    stream = Window(data)
    storages: dict[str, Storage] = {}

    def place(storage: Storage, key: str) -> Storage:
        known = storages.setdefault(key, storage)
        if (known.dtype, known.size) != (storage.dtype, storage.size):
            raise PretrainedError(f"storage {key[:40]} has two sizes: damaged or forged")
        return known

    for _ in range(2):
        pickles.load(stream, {}, None, budget)
    system = pickles.load(stream, {}, None, budget)
    little = not isinstance(system, dict) or system.get("little_endian", True)
    persistent = _storage_ids(place, "<" if little else ">")
    value = pickles.load(stream, _PLAIN, persistent, budget)
    keys = pickles.load(stream, {}, None, budget)
    at = stream.tell()
    for key in keys if isinstance(keys, list) else ():
        if not isinstance(key, str) or key not in storages or at + 8 > len(data):
            raise PretrainedError("its storages are cut off or damaged")
        (size,) = struct.unpack("<q" if little else ">q", data[at : at + 8])
        storage = storages[key]
        if size != storage.size:
            raise PretrainedError(f"storage {key[:40]} has two sizes: damaged or forged")
        storage.place(data[at + 8 :])
        at += 8 + storage.size * storage.dtype.itemsize
    if any(storage.data is None for storage in storages.values()):
        raise PretrainedError("it lacks the numbers of a tensor: truncated")
    return value


def _read_snapshot(data: memoryview) -> Any:
    budget = Budget()

    def from_bytes(nested: Any = b"") -> Any:
        view = memoryview(nested) if isinstance(nested, bytes | memoryview) else memoryview(b"")
        if view[: len(LEGACY)] != LEGACY:
            raise PretrainedError("a tensor in the snapshot is not one of PyTorch's: refused")
        return _read_legacy(view, budget)

    allowed = {
        **_PLAIN,
        ("torch.storage", "_load_from_bytes"): from_bytes,
        ("torch_utils.persistence", "_reconstruct_persistent_obj"): _persistent_object,
        ("dnnlib.util", "EasyDict"): _easy_dict,
        ("dnnlib", "EasyDict"): _easy_dict,
        **{("torch.nn.modules.container", name): _object(name) for name in _CONTAINERS},
    }
    return pickles.load(Window(data), allowed, None, budget)
