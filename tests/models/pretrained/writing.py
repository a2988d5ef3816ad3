"""Foreign files built by the tests: without PyTorch, and as an attacker would."""

from __future__ import annotations

import io
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


class Storage:
    """The object that a persistent id stands for; `size` and `key` may lie."""

    def __init__(self, array: np.ndarray, key: str, size: int | None = None):
        self.array, self.key, self.size = array, key, array.size if size is None else size


class Saved:
    """An array that is pickled as PyTorch pickles a tensor."""

    def __init__(self, storage: Storage, offset: int, shape: tuple, strides: tuple):
        self.arguments = storage, offset, shape, strides, False, OrderedDict()

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


def saved(array: np.ndarray, key: str, **lies: Any) -> Saved:
    """A contiguous array; `size`, `offset`, `shape` and `strides` may be given instead of true."""
    array = np.ascontiguousarray(array, np.float32)
    strides = tuple(step // 4 for step in array.strides)
    told = {"offset": 0, "shape": array.shape, "strides": strides, **lies}
    storage = Storage(array, key, told.pop("size", None))
    return Saved(storage, **told)


@contextmanager
def _torch() -> Iterator[None]:
    """Modules of PyTorch's names, so that pickle can name what is in them."""
    names = {
        "torch": {"FloatStorage": type("FloatStorage", (), {"__module__": "torch"})},
        "torch._utils": {"_rebuild_tensor_v2": types.FunctionType((lambda *a: a).__code__, {})},
    }
    before = {name: sys.modules.get(name) for name in names}
    for name, content in names.items():
        module = types.ModuleType(name)
        for key, value in content.items():
            value.__module__, value.__name__, value.__qualname__ = name, key, key
            setattr(module, key, value)
        sys.modules[name] = module
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def pickled(content: Any, *, legacy: bool = False) -> tuple[bytes, dict[str, bytes]]:
    """The pickle, and the bytes of its storages by key."""
    storages: dict[str, bytes] = {}

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if not isinstance(value, Storage):
                return None
            storages[value.key] = value.array.tobytes()
            kind = sys.modules["torch"].FloatStorage
            return ("storage", kind, value.key, "cpu", value.size) + (None,) * legacy

    buffer = io.BytesIO()
    with _torch():
        Pickler(buffer, 2).dump(content)
    return buffer.getvalue(), storages


def write_zip(path: Path, content: Any, *, root: str = "archive/", **entries: bytes) -> Path:
    """A zip as `torch.save` writes it."""
    data, storages = pickled(content)
    return zip_of(path, {f"{root}data.pkl": data, f"{root}version": b"3\n"}
                  | {f"{root}data/{key}": value for key, value in storages.items()}
                  | {root + name: value for name, value in entries.items()})  # fmt: skip


def zip_of(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """A zip of any entries."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, value in entries.items():
            archive.writestr(name, value)
    return path


def legacy(content: Any) -> bytes:
    """A stream as `torch.save` wrote it before 1.6."""
    data, storages = pickled(content, legacy=True)
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    parts = [MAGIC, pickle.dumps(1001, 2), pickle.dumps(system, 2), data]
    parts.append(pickle.dumps(list(storages), 2))
    parts += [struct.pack("<q", len(value) // 4) + value for value in storages.values()]
    return b"".join(parts)


def checkpoint(weights: dict[str, np.ndarray], **other: Any) -> dict[str, Any]:
    """A score_sde checkpoint's content: EMA weights are the raw ones times 0.5."""
    model = {f"module.{k}": saved(v, f"r{i}") for i, (k, v) in enumerate(weights.items())}
    trained = [v for k, v in weights.items() if not (k.endswith(".W") and "NIN" not in k)]
    shadow = [saved(0.5 * v, f"e{i}") for i, v in enumerate(trained)]
    ema = {"decay": 0.999, "num_updates": 7, "shadow_params": shadow}
    return {"optimizer": {"state": {}}, "model": model, "ema": ema, "step": 7, **other}
