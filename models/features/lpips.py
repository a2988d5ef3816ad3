"""LPIPS, the learned perceptual distance of two pictures (Zhang et al. 2018, arXiv:1801.03924).

    d(x, y) = sum over layers l of the mean over positions of sum_c w_lc (x_lc - y_lc)^2,

x_l being AlexNet's or VGG-16's features after a rectifier, divided by their length at each
position. The file is the state_dict of the reference implementation, version 0.1, of either net.
Computed in full float32.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from models.features import files
from models.pretrained.base import Weights
from models.pretrained.files.tensors import PretrainedError
from sde_lib.pytree import pytree, static

SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)[None, None, None]
SCALE = np.array([0.458, 0.448, 0.450], np.float32)[None, None, None]
"""Mean and deviation of the channels of ImageNet's pictures in [-1, 1]."""
TINY = 1e-10
"""Amount added to the length of features before they are divided by it."""


class Convolved(NamedTuple):
    """A convolution and a rectifier: its number in the net, stride and padding.

    pool: (window, stride) of the maximum taken before it; tap: whether its result is compared.
    """

    number: int
    stride: int = 1
    padding: int = 1
    pool: tuple[int, int] | None = None
    tap: bool = True


ALEX = (
    Convolved(0, 4, 2),
    Convolved(3, 1, 2, (3, 2)),
    Convolved(6, pool=(3, 2)),
    Convolved(8),
    Convolved(10),
)
VGG = (
    Convolved(0, tap=False), Convolved(2), Convolved(5, pool=(2, 2), tap=False), Convolved(7),
    Convolved(10, pool=(2, 2), tap=False), Convolved(12, tap=False), Convolved(14),
    Convolved(17, pool=(2, 2), tap=False), Convolved(19, tap=False), Convolved(21),
    Convolved(24, pool=(2, 2), tap=False), Convolved(26, tap=False), Convolved(28),
)  # fmt: skip
NETS = {"alex": ALEX, "vgg": VGG}
LEAST = {"alex": 31, "vgg": 16}
"""Smallest side of pictures, of which each layer leaves something."""


@pytree
class PerceptualDistance:
    """The distance of pictures in [0, 1] of 1 or 3 channels.

    kernels [h, w, in, out] and biases of the convolutions; weights w_l of the compared layers.
    """

    kernels: tuple[Float[Array, "h w i o"], ...]
    biases: tuple[Float[Array, " o"], ...]
    weights: tuple[Float[Array, " o"], ...]
    net: str = static()

    def __call__(
        self, x: Float[Array, "b h w c"], y: Float[Array, "b h w c"]
    ) -> Float[Array, " b"]:
        """d(x, y) of each pair; ValueError for pictures too small, or of other channels."""
        self.check(x.shape[1:])
        total = jnp.zeros(len(x))
        for w, a, b in zip(self.weights, self._features(x), self._features(y), strict=True):
            apart = jnp.sum(w[None, None, None] * (a - b) ** 2, axis=-1)
            total += jnp.mean(apart, axis=(1, 2))
        return total

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError for examples of a shape that cannot be compared."""
        least = LEAST[self.net]
        if len(shape) != 3 or min(shape[:2]) < least or shape[-1] not in (1, 3):
            raise ValueError(
                f"LPIPS with {self.net} compares pictures of 1 or 3 channels and of {least} pixels "
                f"a side at least, got {'x'.join(map(str, shape))}"
            )

    def _features(self, x: Array) -> list[Array]:
        """The compared features, of length 1 at each position."""
        x = jnp.broadcast_to(x.astype(jnp.float32), (*x.shape[:3], 3))
        x, found = (2 * x - 1 - SHIFT) / SCALE, []
        for layer, kernel, bias in zip(NETS[self.net], self.kernels, self.biases, strict=True):
            if layer.pool:
                x = _largest(x, *layer.pool)
            around = (layer.padding, layer.padding)
            x = lax.conv_general_dilated(
                x, kernel, (layer.stride, layer.stride), (around, around),
                dimension_numbers=("NHWC", "HWIO", "NHWC"), precision=lax.Precision.HIGHEST,
            )  # fmt: skip
            x = jax.nn.relu(x + bias[None, None, None])
            if layer.tap:
                length = jnp.sqrt(jnp.sum(x**2, axis=-1, keepdims=True))
                found.append(x / (length + TINY))
        return found


def _largest(x: Array, window: int, stride: int) -> Array:
    """The largest value of each window."""
    return lax.reduce_window(
        x, -jnp.inf, lax.max, (1, window, window, 1), (1, stride, stride, 1), "VALID"
    )


def load(path: Path | str) -> tuple[PerceptualDistance, str]:
    """(the distance, sha256 of the file) of a .pth, .npz or .safetensors file.

    Raises PretrainedError, in one line, for a file of something else; OSError if it cannot be read.
    """
    weights, digest = files.read(path)
    kinds = {len(layers): name for name, layers in NETS.items()}
    named = [name for name in weights if re.fullmatch(r"net\.slice\d\.\d+\.weight", name)]
    if len(named) not in kinds:
        raise PretrainedError(
            f"{Path(path).name} does not hold LPIPS with alex or vgg: it must be the state_dict of "
            "the reference implementation"
        )
    net = kinds[len(named)]
    by_number = {int(name.split(".")[2]): name.removesuffix(".weight") for name in named}
    stems = [by_number.get(layer.number, "") for layer in NETS[net]]
    kernels = [_tensor(weights, f"{stem}.weight", 4, path) for stem in stems]
    biases = [_tensor(weights, f"{stem}.bias", 1, path) for stem in stems]
    _check(kernels, biases, path)
    taps = [k for k, layer in enumerate(NETS[net]) if layer.tap]
    linear = [_tensor(weights, _linear(weights, k), 4, path).reshape(-1) for k in range(len(taps))]
    if [len(w) for w in linear] != [len(biases[k]) for k in taps]:
        raise PretrainedError(f"{Path(path).name}: weights of layers and channels do not fit")
    made = (jnp.asarray(kernel.transpose(2, 3, 1, 0)) for kernel in kernels)
    return PerceptualDistance(
        tuple(made), tuple(map(jnp.asarray, biases)), tuple(map(jnp.asarray, linear)), net
    ), digest


def _linear(weights: Weights, k: int) -> str:
    """The name of the weights of the k-th compared layer."""
    names = (f"lin{k}.model.1.weight", f"lins.{k}.model.1.weight")
    return next((name for name in names if name in weights), names[0])


def _tensor(weights: Weights, name: str, rank: int, path: Path | str) -> Float[np.ndarray, "..."]:
    found = np.asarray(weights[name], np.float32) if name in weights else np.zeros(())
    if found.ndim != rank or not np.isfinite(found).all():
        raise PretrainedError(
            f"{Path(path).name} must have a tensor {name} of {rank} axes and finite numbers"
        )
    return found


def _check(kernels: Sequence[np.ndarray], biases: Sequence[np.ndarray], path: Path | str) -> None:
    """Raise PretrainedError unless each convolution takes what the last one gives."""
    channels = 3
    for kernel, bias in zip(kernels, biases, strict=True):
        if kernel.shape[1] != channels or len(bias) != len(kernel):
            raise PretrainedError(f"{Path(path).name}: convolutions do not fit one another")
        channels = len(kernel)
