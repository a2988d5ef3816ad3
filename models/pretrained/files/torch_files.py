"""PyTorch's files without PyTorch: containers unchanged, tensors as `tensors.Tensor`.

Three formats: a zip of a pickle and raw storages (since 1.6), a stream of pickles with the
storages behind them (before), and a plain pickle in which each tensor is such a stream (EDM's
snapshots). An object of EDM's becomes {"class_name", "init_args", "init_kwargs", "state"}; the
source text that is stored with it is dropped.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from models.pretrained.files import pickles
from models.pretrained.files.pickle_stream import Budget, Window
from models.pretrained.files.pickles import Allowed, NumberType, Object
from models.pretrained.files.tensors import (
    DTYPES,
    PretrainedError,
    Storage,
    Tensor,
    in_file,
    map_file,
)
from untrusted import is_regular, limits, open_regular, plain, shown, zips

LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The first pickle of the old format: its magic number."""
ZIP = b"PK\x03\x04"

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
    """Bytes in the form in which protocol 2 has to store them."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise PretrainedError("its pickle encodes what is no text: refused")
    return text.encode("latin1")


def _number_type(code: Any, *rest: Any) -> NumberType:
    if not isinstance(code, str) or not re.fullmatch("b1|[iu][1248]|f[248]", code):
        raise PretrainedError(f"a NumPy number in the file is of type {shown(code)}: refused")
    return NumberType(code)


def _number(kind: Any, data: Any = None) -> Any:
    if not isinstance(kind, NumberType) or not isinstance(data, bytes):
        raise PretrainedError("a NumPy number in the file is damaged")
    dtype = np.dtype(kind.code).newbyteorder(">" if kind.big else "<")
    if len(data) != dtype.itemsize:
        raise PretrainedError("a NumPy number in the file is damaged")
    return np.frombuffer(data, dtype)[0].item()


def _members(items: Any) -> Any:
    if not isinstance(items, list | tuple | set):
        raise PretrainedError("its pickle makes a container of what is none: refused")
    return items


def _set(items: Any = ()) -> set[Any]:
    return set(pickles.keys(_members(items)))


def _size(items: Any = ()) -> tuple[Any, ...]:
    return tuple(_members(items))


def _dictionary(items: Any = ()) -> dict[Any, Any]:
    return dict(items) if isinstance(items, dict) else pickles.pairs(_members(items))


def _object(name: str) -> Callable[..., Object]:
    return lambda *arguments: Object(class_name=name, state={})


def _persistent_object(meta: Any = None) -> dict[str, Any]:
    state = meta.get("state") if isinstance(meta, dict) else None
    name = meta.get("class_name") if isinstance(meta, dict) else None
    if (
        not isinstance(state, dict)
        or not isinstance(name, str)
        or len(name) > limits.NAME_CHARACTERS
    ):
        raise PretrainedError("an object of the snapshot has no state or no class: damaged")
    # Not copied: what is called often must not make more than the file says.
    arguments = {f"init_{kind}": state.pop(f"_init_{kind}", empty)
                 for kind, empty in (("args", ()), ("kwargs", {}))}  # fmt: skip
    return {"class_name": name, **arguments, "state": state}


def _device(kind: Any, index: Any = None) -> str:
    if not isinstance(kind, str) or type(index) not in (int, type(None)):
        raise PretrainedError("a device in the file is none: damaged or forged")
    return plain(kind) if index is None else f"{plain(kind)}:{shown(index)}"


_PLAIN: Allowed = {
    ("collections", "OrderedDict"): _dictionary,
    ("_codecs", "encode"): _encode,
    ("numpy", "dtype"): _number_type,
    ("numpy.core.multiarray", "scalar"): _number,
    ("numpy._core.multiarray", "scalar"): _number,
    ("builtins", "set"): _set,
    ("__builtin__", "set"): _set,
    ("argparse", "Namespace"): lambda: Object(class_name="argparse.Namespace", state={}),
    # Lightning's checkpoints have the states of callbacks by their classes.
    ("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint"): "ModelCheckpoint",
    ("torch", "Size"): _size,
    ("torch", "device"): _device,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    **{("torch", f"{name}Storage"): DTYPES[kind] for name, kind in _STORAGES.items()},
}
_CONTAINERS = ("ModuleDict", "ModuleList", "Sequential", "ParameterList", "ParameterDict")


def read(path: Path | str, *, named: bool = True) -> Any:
    """Content of a file of any of the three formats; nothing in it is executed.

    named: whether the user typed the path (see `untrusted.open_regular`).

    Raises:
      PretrainedError: not such a file, truncated, damaged, or with anything but tensors, numbers,
        texts and plain containers.
      OSError: it cannot be read.
    """
    path = Path(path)
    data = map_file(path, named=named)
    with in_file(path):
        return _read(data)


def head(path: Path, size: int) -> bytes:
    """The first bytes of a file; empty if `path` is not a file."""
    if not is_regular(path, named=True):
        return b""
    with open_regular(path, named=True) as file:
        return file.read(size)


def is_torch(path: Path) -> bool:
    """True if a file begins like those of `torch.save`."""
    start = head(path, len(LEGACY))
    return start == LEGACY or start.startswith(ZIP)


def is_pickle(path: Path) -> bool:
    """True if a file begins like a plain pickle of protocol 2 or later."""
    start = head(path, len(LEGACY))
    return start[:1] == b"\x80" and start[1:2] in b"\2\3\4\5" and start != LEGACY


def _read(data: memoryview) -> Any:
    if data[:4] == ZIP:
        return _read_zip(data)
    if data[: len(LEGACY)] == LEGACY:
        return _read_legacy(data, Budget())
    if data[0] != 0x80:
        raise PretrainedError("it is neither a file of PyTorch nor a pickle")
    return _read_snapshot(data)


# Zip files ---------------------------------------------------------------------------------------


def _entries(data: memoryview) -> dict[str, zips.ZipEntry]:
    """The entries of an archive by name."""
    found = zips.entries(data)
    if any(entry.method != zips.STORED or entry.encrypted for entry in found.values()):
        raise PretrainedError("its zip entries are compressed, which PyTorch never does: refused")
    return found


def _read_zip(data: memoryview) -> Any:
    entries = _entries(data)
    roots = [name.removesuffix("data.pkl") for name in entries
             if name.split("/")[1:] == ["data.pkl"] or name == "data.pkl"]  # fmt: skip
    if len(roots) != 1:
        raise PretrainedError("it is a zip without one data.pkl: not a checkpoint of PyTorch")
    (root,) = roots
    order = _byte_order(entries.get(f"{root}byteorder"))
    storages: dict[str, Storage] = {}

    def place(storage: Storage, key: str) -> Storage:
        known = storages.setdefault(key, storage)
        entry = entries.get(f"{root}data/{key}")
        if entry is None:
            raise PretrainedError(f"it lacks the numbers of storage {plain(key)}: damaged")
        if known is storage:
            storage.place(entry.packed)
            storage.check = entry.check
        return known

    program = entries[f"{root}data.pkl"]
    program.check()
    return pickles.load(Window(program.packed), _PLAIN, _storage_ids(place, order))


def _byte_order(entry: zips.ZipEntry | None) -> Literal["<", ">"]:
    if entry is None:
        return "<"
    entry.check()
    order = bytes(entry.packed[:20]).strip()
    if order not in (b"little", b"big"):
        raise PretrainedError(f"its byte order is {shown(order)}")
    return ">" if order == b"big" else "<"


def _storage_ids(
    place: Callable[[Storage, str], Storage], order: Literal["<", ">"]
) -> Callable[[Any], Storage]:
    """A maker of storages from persistent ids ("storage", type, key, location, size, ...)."""

    def load(pid: Any) -> Storage:
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
            raise PretrainedError("it stores more than tensors outside of its pickle: refused")
        kind, key, size = pid[1], pid[2], pid[4]
        if not isinstance(kind, pickles.Global) or not isinstance(kind.value, np.dtype):
            raise PretrainedError("a tensor storage has no type: damaged or forged")
        if not isinstance(key, str) or type(size) is not int or pid[5:] not in ((), (None,)):
            raise PretrainedError("a tensor storage has no name or size: damaged or forged")
        dtype = kind.value if kind.value.itemsize == 1 else kind.value.newbyteorder(order)
        known = place(Storage(dtype, size), key)
        if (known.dtype, known.size) != (dtype, size):
            raise PretrainedError(f"storage {plain(key)} has two sizes: damaged or forged")
        return known

    return load


# Streams -----------------------------------------------------------------------------------------


def _read_legacy(data: memoryview, budget: Budget) -> Any:
    """Magic number, version, system, the object, the storages' keys, the storages."""
    stream = Window(data, budget)
    storages: dict[str, Storage] = {}

    for _ in range(2):
        pickles.load(stream, {})
    system = pickles.load(stream, {})
    little = not isinstance(system, dict) or system.get("little_endian", True)
    place = lambda storage, key: storages.setdefault(key, storage)
    persistent = _storage_ids(place, "<" if little else ">")
    value = pickles.load(stream, _PLAIN, persistent)
    keys = pickles.load(stream, {})
    at = stream.at
    for key in keys if isinstance(keys, list) else ():
        if not isinstance(key, str) or key not in storages or at + 8 > len(data):
            raise PretrainedError("its storages are cut off or damaged")
        (size,) = struct.unpack("<q" if little else ">q", data[at : at + 8])
        storage = storages[key]
        if size != storage.size:
            raise PretrainedError(f"storage {plain(key)} has two sizes: damaged or forged")
        storage.place(data[at + 8 :])
        at += 8 + storage.size * storage.dtype.itemsize
    if any(storage.data is None for storage in storages.values()):
        raise PretrainedError("it lacks the numbers of a tensor: truncated")
    if at != len(data):
        raise PretrainedError("it goes on after its end: damaged, or several files in one")
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
        ("dnnlib.util", "EasyDict"): _dictionary,
        ("dnnlib", "EasyDict"): _dictionary,
        **{("torch.nn.modules.container", name): _object(name) for name in _CONTAINERS},
    }
    stream = Window(data, budget)
    value = pickles.load(stream, allowed)
    if stream.at != len(data):
        raise PretrainedError("it goes on after its end: damaged, or several files in one")
    return value
