"""The Inception-v3 that defines FID, KID, sFID and the Inception score.

Architecture: Szegedy et al., 2016, "Rethinking the Inception Architecture for Computer Vision",
arXiv:1512.00567. Weights: the graph that TensorFlow published on 2015-12-05 and Heusel et al.,
2017, arXiv:1706.08500, made the measure of images. That graph differs from the paper and from
others' Inception-v3: average pools do not count padding, the last block pools the maximum, and it
has 1,008 classes.

Names are those of the PyTorch conversions of the graph (pytorch-fid, torch-fidelity), whose batch
normalizations are folded into the convolutions when a file is read. Everything is computed in full
float32, on accelerators too, where features in TF32 would change the metrics.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from models.features import files
from models.features.base import Features, pixel_values
from models.features.inception_network import InceptionV3
from models.features.resizing import (
    Positions,
    centre_positions,
    corner_positions,
    resize_bilinear,
)
from models.pretrained.base import Place, PretrainedError, Shape, Weights
from sde_lib import choose, pytree, static

SIDE = 299
PUBLISHED = "6726825d"
"""First digits of the sha256 of the published conversions."""
BATCH_NORM_EPSILON = 1e-3
BATCH_NORM = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class Preparation:
    """Preparation of pixel values v in 0..255: resizing, and (v - centre) / scale."""

    positions: Positions
    centre: float
    scale: float

    def __call__(self, values: Float[Array, "b h w 3"]) -> Float[Array, "b 299 299 3"]:
        return (resize_bilinear(values, SIDE, SIDE, self.positions) - self.centre) / self.scale


PREPARATIONS = {
    "tf1": Preparation(corner_positions, 128.0, 128.0),
    "half_pixel": Preparation(centre_positions, 127.5, 127.5),
}
"""Preparations of the graph itself (also torch-fidelity, EDM, ADM), and of pytorch-fid."""


@pytree
class Inception:
    """FID's Inception-v3 with its weights: 2,048 pooled features, 1,008 logits, 2,023 spatial ones.

    `logits` are without the graph's bias, as every published Inception score takes them (Salimans
    et al.'s code, torch-fidelity, ADM); `biased` adds it. `spatial` are the first seven channels
    of mixed_6/conv, as in ADM's sFID (Nash et al., 2021, arXiv:2103.03841).

    Attributes:
      params: of `InceptionV3`.
      bias: of the logits in the graph.
      resize: a key of `PREPARATIONS`.
    """

    params: Any
    bias: Float[Array, "1008"]
    resize: str = static(default="tf1")

    def __call__(self, images: Float[Array, "b h w c"]) -> Features:
        """Features of images in [0, 1] on multiples of 1/255.

        Raises:
          ValueError: there are neither one nor three channels.
        """
        x = PREPARATIONS[self.resize](pixel_values(images))
        found: Any = InceptionV3().apply({"params": self.params}, x)
        return found

    def biased(self, logits: Float[Array, "b 1008"]) -> Float[Array, "b 1008"]:
        """The logits as the graph itself gives them."""
        return logits + self.bias[None]


def load_inception(path: Path | str, resize: str = "tf1") -> tuple[Inception, str]:
    """(FID's Inception-v3, name of its features) from a file of its weights.

    Warns if the file is not, byte for byte, a published one.

    Args:
      path: pytorch-fid's pt_inception-2015-12-05-6726825d.pth, torch-fidelity's
        weights-inception-2015-12-05-6726825d.pth, or a .npz or .safetensors file of the same names.
      resize: "tf1", as the graph does it, or "half_pixel", which places and standardizes pixels as
        pytorch-fid does, whose figures differ from all others' by this.

    Raises:
      ValueError: `resize` is neither.
      PretrainedError: the file is damaged, unsafe, or holds other tensors.
      OSError: it cannot be read.
    """
    choose("resize", resize, PREPARATIONS)
    weights, digest = files.read(path)
    network = of_weights(weights, resize, Path(path).name)
    if not digest.startswith(PUBLISHED):
        warnings.warn(
            f"{Path(path).name} has the sha256 {digest[:8]}..., the published Inception-v3 "
            f"{PUBLISHED}...: if it was not converted from that, figures are not comparable",
            stacklevel=2,
        )
    return network, f"inception-2015-12-05 sha256={digest} resize={resize}"


def of_weights(weights: Weights, resize: str = "tf1", file: str = "the file") -> Inception:
    """The network of a state dict; PretrainedError if it belongs to another network."""
    wanted = in_file()
    params = files.fitted(
        "FID's Inception-v3",
        file,
        weights,
        wanted,
        names={path: ".".join(path) for path in wanted},
        axes=files.kernel_axes,
        unused=lambda name: name.endswith("bn.num_batches_tracked"),
    )
    fc = params.pop("fc")
    folded = jax.tree.map(_fold, params, is_leaf=lambda node: "bn" in node)
    return Inception({**folded, "fc": {"kernel": fc["weight"]}}, fc["bias"], resize)


def in_file() -> dict[Place, Shape]:
    """The parts of the names in a file, and the shapes, kernels being [height, width, in, out]."""
    image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
    found: dict[Place, Shape] = {}
    for (*path, leaf), shape in files.parameter_shapes(InceptionV3(), image).items():
        place = tuple(path)
        if place == ("fc",):
            found |= {(*place, "weight"): shape, (*place, "bias"): shape[1:]}
        elif leaf == "kernel":
            found[*place, "conv", "weight"] = shape
            found |= {(*place, "bn", name): shape[3:] for name in BATCH_NORM}
    return found


def _fold(layer: Mapping[str, Mapping[str, Array]]) -> dict[str, Array]:
    """Kernel and bias of gamma (x * kernel - mean) / sqrt(variance + epsilon) + beta."""
    # On the host: on a device each of the many shapes would be compiled for.
    gamma, beta, mean, variance = (np.asarray(layer["bn"][name]) for name in BATCH_NORM)
    if variance.min() < 0:
        raise PretrainedError(f"a variance of its normalizations is {variance.min():g}: damaged")
    scale = gamma / np.sqrt(variance + np.float32(BATCH_NORM_EPSILON))
    kernel = np.asarray(layer["conv"]["weight"]) * scale
    return {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(beta - mean * scale)}
