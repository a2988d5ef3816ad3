"""score_sde checkpoints (`.pth`) without PyTorch, and their weights as parameters of ours.

A `.pth` file is a zip with a pickle of containers and, beside it, the raw bytes of every tensor
storage. The pickle is read by an unpickler that knows containers and tensors and refuses
everything else, so that a file cannot run code.
"""

from __future__ import annotations

import collections
import io
import pickle
import zipfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

STORAGES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


def _tensor(storage, offset, size, stride, *_):
    """A tensor's view of its storage, refused where it would reach beyond it."""
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if min((offset, *size, *stride)) < 0 or (0 not in size and last >= storage.size):
        raise ValueError("a tensor in the checkpoint reaches beyond its storage")
    steps = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False)


def _parameter(tensor, *_):
    return tensor


ALLOWED = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
} | {("torch", name): dtype for name, dtype in STORAGES.items()}


class _Unpickler(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile, root: str):
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self.archive, self.root = archive, root

    def find_class(self, module, name):
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"the checkpoint asks for {module}.{name}: refused")
        return ALLOWED[module, name]

    def persistent_load(self, pid):
        _, dtype, key, _, size = pid
        return np.frombuffer(self.archive.read(f"{self.root}/data/{key}"), dtype)[:size]


def read(path) -> dict[str, Any]:
    """The checkpoint's containers, with NumPy arrays where it has tensors.

    Raises:
      pickle.UnpicklingError: it holds something other than containers and tensors.
      ValueError: a tensor does not fit its storage.
    """
    with zipfile.ZipFile(path) as archive:
        root = next(n for n in archive.namelist() if n.endswith("/data.pkl"))
        return _Unpickler(archive, root.removesuffix("/data.pkl")).load()


def raw_weights(checkpoint) -> dict[str, np.ndarray]:
    """Weights by their name in PyTorch, without prefixes and without the table of sigmas."""
    model = {k.removeprefix("module."): v for k, v in checkpoint["model"].items()}
    return {k.removeprefix("all_modules."): v for k, v in model.items() if k != "sigmas"}


def ema_weights(checkpoint) -> dict[str, np.ndarray]:
    """The same of the running average, a bare list without the fixed Fourier frequencies."""
    raw = raw_weights(checkpoint)
    averaged = iter(checkpoint["ema"]["shadow_params"])
    return {k: v if k == "0.W" else next(averaged) for k, v in raw.items()}


def call_order(network, x, label) -> list[tuple[tuple[str, ...], tuple[int, ...]]]:
    """Path and shape of every parameter, in the order in which the network creates them."""
    found = []

    def walk(tree, path):
        for name, child in tree.items():
            if hasattr(child, "shape"):
                found.append(((*path, name), child.shape))
            else:
                walk(child, (*path, name))

    jax.eval_shape(lambda key: walk(network.init(key, x, label)["params"], ()), jax.random.key(0))
    return found


def _converted(name: str, weight: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Channels-last layout; `W`, of NIN layers and Fourier features, is stored so already."""
    if weight.ndim == 4:
        weight = weight.transpose(2, 3, 1, 0)
    elif weight.ndim == 2 and not name.endswith(".W"):
        weight = weight.T
    if weight.shape not in (shape, (1, 1, *shape)):
        raise ValueError(f"{name} has shape {weight.shape}, the network wants {shape}")
    return weight.reshape(shape)


def as_params(weights: dict[str, np.ndarray], network, x, label) -> dict[str, Any]:
    """Our parameters: both sides list them in the order of the calls."""
    params: dict[str, Any] = {}
    order = call_order(network, x, label)
    for (name, weight), (path, shape) in zip(weights.items(), order, strict=True):
        branch = params
        for part in path[:-1]:
            branch = branch.setdefault(part, {})
        branch[path[-1]] = jnp.asarray(_converted(name, weight, shape), jnp.float32)
    return params
