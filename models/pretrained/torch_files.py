"""PyTorch's zip files without PyTorch: containers and tensors, and nothing else."""

from __future__ import annotations

import collections
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from models.pretrained.tensors import PretrainedError

STORAGES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "LongStorage": np.int64,
}


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> np.ndarray:
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if min((offset, *size, *stride)) < 0 or (0 not in size and last >= storage.size):
        raise PretrainedError("a tensor in the file reaches beyond its storage")
    steps = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False)


ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
} | {("torch", name): dtype for name, dtype in STORAGES.items()}


class _Unpickler(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile, root: str):
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self.archive, self.root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise PretrainedError(f"it asks for {module}.{name}: refused")
        return ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> np.ndarray:
        _, dtype, key, _, size = pid
        return np.frombuffer(self.archive.read(f"{self.root}/data/{key}"), dtype)[:size]


def read(path: Path | str) -> Any:
    """What the file holds, with arrays where it has tensors.

    Raises:
      PretrainedError: it is no such file, or holds anything else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            root = next(n for n in archive.namelist() if n.endswith("/data.pkl"))
            return _Unpickler(archive, root.removesuffix("/data.pkl")).load()
    except (zipfile.BadZipFile, StopIteration, pickle.UnpicklingError, EOFError) as error:
        raise PretrainedError(f"{Path(path).name} is not a file of PyTorch ({error})") from error
