"""The Inception-v3 in which FID, KID, sFID and the Inception score are defined.

Architecture: Szegedy et al., 2016, "Rethinking the Inception Architecture for Computer Vision",
arXiv:1512.00567. Weights: the graph that TensorFlow published on 2015-12-05 and Heusel et al.,
2017, arXiv:1706.08500, made the measure of images. That graph differs from the paper and from
others' Inception-v3: average pools count no padding, the last block pools the maximum, and it has
1,008 classes.

Names are those of the PyTorch conversions of the graph (pytorch-fid, torch-fidelity), whose batch
normalizations are folded into the convolutions when a file is read. Everything is computed in full
float32, on accelerators too, where features in TF32 would move the metrics.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from models.features import files
from models.features.base import Features, pixel_values
from models.features.resizing import (
    Positions,
    centre_positions,
    corner_positions,
    resize_bilinear,
)
from models.layers.conv import conv2d
from models.pretrained.base import Place, Shape, Weights
from sde_lib import choose, pytree, static

SIDE = 299
SPATIAL_CHANNELS = 7
PUBLISHED = "6726825d"
"""How the sha256 of the published conversions begins."""
BATCH_NORM_EPSILON = 1e-3
BATCH_NORM = ("weight", "bias", "running_mean", "running_var")

Step = Callable[[Array], Array]
"""A part of the network; called inside of a module, it makes its own parameters there."""


class Unit(nn.Module):
    """relu(x * kernel + bias), the batch normalization being part of kernel and bias."""

    features: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b p q o"]:
        shape = (*self.kernel, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        full = functools.partial(
            lax.conv_general_dilated,
            window_strides=(self.stride, self.stride),
            padding=self.padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=lax.Precision.HIGHEST,
        )
        # On a CPU, where every precision is the full one, `conv2d` knows a faster form.
        same = ((1, 1), (1, 1)) if self.padding == "SAME" else ((0, 0), (0, 0))
        quick = functools.partial(conv2d, padding=same)
        simple = self.kernel == (3, 3) and self.stride == 1
        conv = functools.partial(lax.platform_dependent, cpu=quick, default=full)
        y = (conv if simple else full)(x, kernel)
        return nn.relu(y + bias[None, None, None])


class Named(nn.Module):
    """A step whose parameters are under the name of this module."""

    step: Step

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return self.step(x)


def unit(name: str, *arguments: Any, **options: Any) -> Step:
    """A `Unit` of this name."""
    return lambda x: Unit(*arguments, **options, name=name)(x)


def chain(*steps: Step) -> Step:
    """One step after the other."""
    return lambda x: functools.reduce(lambda y, step: step(y), steps, x)


def branches(*steps: Step) -> Step:
    """The channels of all steps, each taken from the same input."""
    return lambda x: jnp.concatenate([step(x) for step in steps], -1)


def halve(x: Float[Array, "b h w c"]) -> Float[Array, "b p q c"]:
    """The maximum of 3x3 pixels at every second place."""
    return nn.max_pool(x, (3, 3), (2, 2))


def max_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """The maximum of the 3x3 pixels around each."""
    return nn.max_pool(x, (3, 3), padding="SAME")


def average_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """The mean of those of the 3x3 pixels around each that are in the image."""
    total = _sum_of_three(_sum_of_three(x, 1), 2)
    rows, columns = (np.convolve(np.ones(n), np.ones(3), "same") for n in x.shape[1:3])
    counts = np.outer(rows, columns).astype(np.float32)
    return total / counts[None, :, :, None]


def _sum_of_three(x: Array, axis: int) -> Array:
    """Each entry and its two neighbours along an axis."""
    n = x.shape[axis]
    padded = jnp.pad(x, [(int(a == axis),) * 2 for a in range(x.ndim)])
    return sum(lax.slice_in_dim(padded, i, i + n, 1, axis) for i in range(3))  # type: ignore


def _block_a(pooled: int) -> Step:
    return branches(
        unit("branch1x1", 64),
        chain(unit("branch5x5_1", 48), unit("branch5x5_2", 64, (5, 5))),
        chain(
            unit("branch3x3dbl_1", 64),
            unit("branch3x3dbl_2", 96, (3, 3)),
            unit("branch3x3dbl_3", 96, (3, 3)),
        ),
        chain(average_pool, unit("branch_pool", pooled)),
    )


def _block_b() -> Step:
    return branches(
        unit("branch3x3", 384, (3, 3), 2, "VALID"),
        chain(
            unit("branch3x3dbl_1", 64),
            unit("branch3x3dbl_2", 96, (3, 3)),
            unit("branch3x3dbl_3", 96, (3, 3), 2, "VALID"),
        ),
        halve,
    )


def _block_c(inner: int) -> Step:
    return branches(
        unit("branch1x1", 192),
        chain(
            unit("branch7x7_1", inner),
            unit("branch7x7_2", inner, (1, 7)),
            unit("branch7x7_3", 192, (7, 1)),
        ),
        chain(
            unit("branch7x7dbl_1", inner),
            unit("branch7x7dbl_2", inner, (7, 1)),
            unit("branch7x7dbl_3", inner, (1, 7)),
            unit("branch7x7dbl_4", inner, (7, 1)),
            unit("branch7x7dbl_5", 192, (1, 7)),
        ),
        chain(average_pool, unit("branch_pool", 192)),
    )


def _block_d() -> Step:
    return branches(
        chain(unit("branch3x3_1", 192), unit("branch3x3_2", 320, (3, 3), 2, "VALID")),
        chain(
            unit("branch7x7x3_1", 192),
            unit("branch7x7x3_2", 192, (1, 7)),
            unit("branch7x7x3_3", 192, (7, 1)),
            unit("branch7x7x3_4", 192, (3, 3), 2, "VALID"),
        ),
        halve,
    )


def _block_e(pool: Step) -> Step:
    def split(name: str) -> Step:
        return branches(unit(f"{name}a", 384, (1, 3)), unit(f"{name}b", 384, (3, 1)))

    return branches(
        unit("branch1x1", 320),
        chain(unit("branch3x3_1", 384), split("branch3x3_2")),
        chain(
            unit("branch3x3dbl_1", 448),
            unit("branch3x3dbl_2", 384, (3, 3)),
            split("branch3x3dbl_3"),
        ),
        chain(pool, unit("branch_pool", 192)),
    )


def _block(name: str, step: Step) -> Step:
    return lambda x: Named(step, name=name)(x)


TO_MIXED_6D = chain(
    unit("Conv2d_1a_3x3", 32, (3, 3), 2, "VALID"),
    unit("Conv2d_2a_3x3", 32, (3, 3), 1, "VALID"),
    unit("Conv2d_2b_3x3", 64, (3, 3)),
    halve,
    unit("Conv2d_3b_1x1", 80),
    unit("Conv2d_4a_3x3", 192, (3, 3), 1, "VALID"),
    halve,
    _block("Mixed_5b", _block_a(32)),
    _block("Mixed_5c", _block_a(64)),
    _block("Mixed_5d", _block_a(64)),
    _block("Mixed_6a", _block_b()),
    _block("Mixed_6b", _block_c(128)),
    _block("Mixed_6c", _block_c(160)),
    _block("Mixed_6d", _block_c(160)),
)
FROM_MIXED_6D = chain(
    _block("Mixed_6e", _block_c(192)),
    _block("Mixed_7a", _block_d()),
    _block("Mixed_7b", _block_e(average_pool)),
    _block("Mixed_7c", _block_e(max_pool)),
)


class InceptionV3(nn.Module):
    """Features of images that are 299 pixels square and standardized as the graph does it."""

    @nn.compact
    def __call__(self, x: Float[Array, "b 299 299 3"]) -> Features:
        middle = TO_MIXED_6D(x)
        pool = FROM_MIXED_6D(middle).mean((1, 2))
        fc = nn.Dense(1008, use_bias=False, precision=lax.Precision.HIGHEST, name="fc")
        # The first channels of a block are those of its branch1x1: the graph's mixed_6/conv.
        spatial = middle[..., :SPATIAL_CHANNELS]
        return Features(pool, fc(pool), spatial.reshape(len(x), -1))


@dataclass(frozen=True)
class Preparation:
    """What is done to pixel values v in 0..255: resizing, and (v - centre) / scale."""

    positions: Positions
    centre: float
    scale: float

    def __call__(self, values: Float[Array, "b h w 3"]) -> Float[Array, "b 299 299 3"]:
        return (resize_bilinear(values, SIDE, SIDE, self.positions) - self.centre) / self.scale


PREPARATIONS = {
    "tf1": Preparation(corner_positions, 128.0, 128.0),
    "half_pixel": Preparation(centre_positions, 127.5, 127.5),
}
"""The graph's own (also torch-fidelity's, EDM's, ADM's), and pytorch-fid's."""


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
        return InceptionV3().apply({"params": self.params}, x)  # type: ignore[return-value]

    def biased(self, logits: Float[Array, "b 1008"]) -> Float[Array, "b 1008"]:
        """The logits as the graph itself gives them."""
        return logits + self.bias[None]


def load_inception(path: Path | str, resize: str = "tf1") -> tuple[Inception, str]:
    """(FID's Inception-v3, what its features are to be called) from a file of its weights.

    Warns where the file is not, byte for byte, a published one.

    Args:
      path: pytorch-fid's pt_inception-2015-12-05-6726825d.pth, torch-fidelity's
        weights-inception-2015-12-05-6726825d.pth, or a .npz or .safetensors file of the same names.
      resize: "tf1", as the graph does it, or "half_pixel", pixels lying and standardized as in
        pytorch-fid, whose figures differ from all others' by this.

    Raises:
      ValueError: `resize` is none of these.
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
    """The network of a state dict; PretrainedError where it is another's."""
    wanted = in_file()
    params = files.fitted(
        "FID's Inception-v3",
        file,
        weights,
        wanted,
        names={path: ".".join(path) for path in wanted},
        axes=files.torch_axes,
        unused=lambda name: name.endswith("bn.num_batches_tracked"),
    )
    fc = params.pop("fc")
    folded = jax.tree.map(_fold, params, is_leaf=lambda node: "bn" in node)
    return Inception({**folded, "fc": {"kernel": fc["weight"]}}, fc["bias"], resize)


def in_file() -> dict[Place, Shape]:
    """The parts of the names in a file, and the shapes, kernels being [height, width, in, out]."""
    image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
    found: dict[Place, Shape] = {}
    for (*path, leaf), shape in files.shapes(InceptionV3(), image).items():
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
    scale = gamma / np.sqrt(variance + np.float32(BATCH_NORM_EPSILON))
    kernel = np.asarray(layer["conv"]["weight"]) * scale
    return {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(beta - mean * scale)}
