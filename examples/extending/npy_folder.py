"""A folder of .npy files, one for each array, named by its place as "Dense_0.kernel.npy"."""

from pathlib import Path
from typing import Any

import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from models.pretrained.base import Checkpoint, Weights, as_params, paths_and_shapes
from models.pretrained.files.tensors import PretrainedError

FAMILY = "npy folder"


def recognises(path: Path) -> bool:
    """True for a folder with .npy files; `read` looks into them."""
    return path.is_dir() and any(path.glob("*.npy"))


def read(path: Path) -> Checkpoint:
    """The arrays, without pickled ones; the folder does not describe its network."""
    return Checkpoint(
        FAMILY, settings={}, raw=None, ema={file.stem: _array(file) for file in path.glob("*.npy")}
    )


def _array(file: Path) -> np.ndarray:
    try:
        return np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise PretrainedError(f"{file.name} is no .npy file of a plain array: {error}") from error


def params(weights: Weights, network: nn.Module, config: ConfigDict) -> Any:
    """Weights of such a folder as parameters of ours."""
    wanted = paths_and_shapes(network, config)
    return as_params(weights, wanted, {path: ".".join(path) for path in wanted})
