"""EDM's snapshots as plain dicts: from weights by name, or read without running anything."""

from __future__ import annotations

import collections
import io
import pickle
import struct
from typing import Any

import numpy as np

PRECOND_ONLY = {"use_fp16", "beta_d", "beta_min", "M", "epsilon_t", "sigma_min", "sigma_max",
                "C_1", "C_2", "sigma_data", "model_type"}  # fmt: skip


def module(class_name: str, weights: dict[str, Any], init_kwargs: dict[str, Any]) -> dict[str, Any]:
    """An object and, within it, the modules that the dotted names of its weights speak of."""
    own = {k: v for k, v in weights.items() if "." not in k}
    inner: dict[str, dict[str, Any]] = collections.defaultdict(dict)
    for name, value in weights.items():
        if "." in name:
            head, _, rest = name.partition(".")
            inner[head][rest] = value
    modules = {name: module("Module", part, {}) for name, part in inner.items()}
    state = {"_parameters": own, "_buffers": {}, "_modules": modules}
    return {"class_name": class_name, "init_args": [], "init_kwargs": init_kwargs, "state": state}


def preconditioned(class_name: str, kwargs: dict[str, Any], weights: Any) -> dict[str, Any]:
    """What a preconditioning of that class, made with `kwargs`, hands on to its network."""
    rest = {k: v for k, v in kwargs.items() if k not in PRECOND_ONLY}
    channels = rest.pop("img_channels")
    twice = 2 if class_name == "iDDPMPrecond" else 1
    network = {"in_channels": channels, "out_channels": twice * channels, **rest}
    made = module(class_name, dict(weights), kwargs)
    model = made["state"]["_modules"]["model"]
    model["class_name"], model["init_kwargs"] = kwargs["model_type"], network
    return made


# Reading a snapshot ------------------------------------------------------------------------------

STORAGES = {"FloatStorage": np.float32, "DoubleStorage": np.float64, "LongStorage": np.int64}


class _Object(dict):
    """A plain module of PyTorch's, as a dict with its state."""

    def __setstate__(self, state):
        self.update(class_name="Module", init_args=[], init_kwargs={}, state=state)


def _persistent(meta):
    state = dict(meta["state"])
    args, kwargs = state.pop("_init_args", []), state.pop("_init_kwargs", {})
    named = {"class_name": meta["class_name"], "init_args": args, "init_kwargs": kwargs}
    return named | {"state": state}


def _tensor(storage, offset, size, stride, *_):
    steps = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False)


def _storage(data: bytes):
    """One storage in PyTorch's old format: header, its type and size, its key, its numbers."""
    stream = io.BytesIO(data)
    for _ in range(3):
        _Unpickler(stream, {}).load()
    storage = _Unpickler(stream, {("torch", k): v for k, v in STORAGES.items()}).load()
    _Unpickler(stream, {}).load()
    (size,) = struct.unpack("<q", stream.read(8))
    return np.frombuffer(stream.read(), storage)[:size]


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream, allowed):
        super().__init__(stream)
        self.allowed = allowed

    def find_class(self, module, name):
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"the snapshot asks for {module}.{name}: refused")
        return self.allowed[module, name]

    def persistent_load(self, pid):
        return pid[1]


def read(path) -> dict[str, Any]:
    """The containers of a snapshot, with NumPy arrays where it has tensors."""
    allowed = {
        ("torch_utils.persistence", "_reconstruct_persistent_obj"): _persistent,
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        ("torch.storage", "_load_from_bytes"): _storage,
        ("torch.nn.modules.container", "ModuleDict"): _Object,
        ("numpy._core.multiarray", "scalar"): lambda dtype, data: np.frombuffer(data, dtype)[0],
        ("numpy", "dtype"): np.dtype,
    }
    with open(path, "rb") as file:
        return _Unpickler(file, allowed).load()
