"""Weight files of feature networks: PyTorch's .pth, .npz and .safetensors, by the same names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from flax import linen as nn

from models.pretrained.base import MismatchError, Place, Shape, Weights, as_params
from models.pretrained.files import torch_files
from models.pretrained.files.safetensors_file import read_tensors
from models.pretrained.files.tensors import Arrays, PretrainedError, Tensor
from untrusted import UntrustedError, limits, plain, read_arrays, sha256


def read(path: Path | str) -> tuple[Weights, str]:
    """(weights by name, sha256 of the file in hexadecimal); nothing in the file is executed.

    Raises:
      PretrainedError: it is none of the three kinds, damaged, or holds more than named tensors.
      OSError: it cannot be read.
    """
    path = Path(path)
    weights = READERS.get(path.suffix, _read_torch)(path)
    if len(weights) > limits.TENSORS:
        raise PretrainedError(
            f"{plain(path.name)} has {len(weights):,} tensors, must have at most "
            f"{limits.TENSORS:,}: refused"
        )
    return weights, sha256(path, named=True)


def _read_torch(path: Path) -> Weights:
    content, file = torch_files.read(path), plain(path.name)
    if not isinstance(content, dict) or not content:
        raise PretrainedError(f"{file} holds no dictionary of tensors")
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise PretrainedError(
                f"{file}: {plain(name)} is no tensor: a state_dict and nothing else is wanted"
            )
    return Arrays(content)


def _read_npz(path: Path) -> Weights:
    try:
        return read_arrays(path, named=True)
    except FileNotFoundError as error:
        raise PretrainedError(f"there is no file {plain(str(path), 200)}") from error
    except UntrustedError as error:
        raise PretrainedError(str(error)) from error


READERS: dict[str, Callable[[Path], Weights]] = {
    ".npz": _read_npz,
    ".safetensors": lambda path: read_tensors(path)[0],
}
"""Readers by a file name's suffix; any other file is taken for one of PyTorch."""


def kernel_axes(name: str, ndim: int) -> Sequence[int]:
    """PyTorch's kernels [out, in, height, width] and matrices [out, in] as [..., in, out]."""
    return {4: (2, 3, 1, 0), 2: (1, 0)}.get(ndim, range(ndim))


def fitted(
    what: str, file: str, weights: Weights, wanted: Mapping[Place, Shape], **options: Any
) -> dict[str, Any]:
    """`as_params` of a network called `what`; the error names it and the file.

    Raises:
      PretrainedError: a tensor is missing, of another shape or type, or not wanted.
    """
    try:
        return as_params(weights, wanted, **options)
    except MismatchError as error:
        raise PretrainedError(
            f"{file} does not hold the weights of {what}: {len(error.misfits)} tensors differ, the "
            f"first {error.misfits[0]}\n{error.table}"
        ) from error


def parameter_shapes(network: nn.Module, *inputs: jax.ShapeDtypeStruct) -> dict[Place, Shape]:
    """Path and shape of every parameter of a network for inputs of these shapes."""
    params = jax.eval_shape(network.init, jax.random.key(0), *inputs)["params"]
    leaves, _ = jax.tree.flatten_with_path(params)
    return {tuple(key.key for key in path): leaf.shape for path, leaf in leaves}
