"""DINOv2's vision transformer, in whose class token EDM2's Frechet distance is taken.

Network: Oquab et al., 2023, "DINOv2: Learning Robust Visual Features without Supervision",
arXiv:2304.07193; Dosovitskiy et al., 2020, arXiv:2010.11929. As a measure of images: Stein et al.,
2023, arXiv:2306.04675. Images are prepared as in EDM2 (Karras et al., 2024, arXiv:2312.02696):
224 pixels square by bicubic interpolation with antialiasing, ImageNet's mean and deviation.

    x = [class token; patches of 14 x 14] + positions
    x <- x + gamma_1 attention(norm_1(x)),  x <- x + gamma_2 mlp(norm_2(x))     `depth` times
    features = norm(x)[class token]

Names are those of the published files. Everything is computed in full float32.
"""

from __future__ import annotations

import functools
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
from models.pretrained.base import Place, Shape, Weights
from models.pretrained.files.tensors import PretrainedError, shapes
from sde_lib import pytree, static
from untrusted import limits

SIDE, PATCH = 224, 14
GRID, TRAINED_GRID = SIDE // PATCH, 518 // PATCH
"""Patches along a side of an image: of ours, and of the file's positions."""
OFFSET = 0.1
"""Amount that the original adds to the size of a grid before it interpolates positions."""
CUBIC = -0.75
"""PyTorch's parameter of the cubic kernel without antialiasing (Keys, 1981, has -0.5)."""
HEAD = 64
"""Numbers in a head of the attention, in every published size."""
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)

Dense = functools.partial(nn.Dense, precision=lax.Precision.HIGHEST)
Norm = functools.partial(nn.LayerNorm, epsilon=1e-6)


@dataclass(frozen=True)
class Size:
    """Size of a transformer: numbers in a token, and blocks."""

    width: int
    depth: int

    @property
    def heads(self) -> int:
        """Number of heads of the attention."""
        return self.width // HEAD

    @property
    def name(self) -> str:
        """The published name, or one made of the numbers."""
        return PUBLISHED.get(self, f"width{self.width}-depth{self.depth}")


PUBLISHED = {Size(384, 12): "vits14", Size(768, 12): "vitb14", Size(1024, 24): "vitl14"}
"""Published sizes, except for ViT-g, which has another MLP."""


class TransformerBlock(nn.Module):
    """Attention, then MLP: each result, scaled by the layer scale, is added to its input."""

    heads: int

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        x = x + self._attention(Norm(name="norm1")(x)) * self._gamma("ls1.gamma", x)
        h = Dense(4 * x.shape[-1], name="mlp.fc1")(Norm(name="norm2")(x))
        h = Dense(x.shape[-1], name="mlp.fc2")(nn.gelu(h, approximate=False))
        return x + h * self._gamma("ls2.gamma", x)

    def _gamma(self, name: str, x: Array) -> Float[Array, "1 1 d"]:
        return self.param(name, nn.initializers.ones, (x.shape[-1],))[None, None]

    def _attention(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        b, n, d = x.shape
        qkv = Dense(3 * d, name="attn.qkv")(x).reshape(b, n, 3, self.heads, d // self.heads)
        q, k, v = qkv.transpose(2, 0, 3, 1, 4)
        dot = functools.partial(jnp.einsum, precision=lax.Precision.HIGHEST)
        logits = dot("bhic,bhjc->bhij", q * (d // self.heads) ** -0.5, k)
        seen = dot("bhij,bhjc->bihc", nn.softmax(logits), v)
        return Dense(d, name="attn.proj")(seen.reshape(b, n, d))


class VisionTransformer(nn.Module):
    """The normalized class token of images that are 224 pixels square and standardized."""

    size: Size

    @nn.compact
    def __call__(self, x: Float[Array, "b 224 224 3"]) -> Float[Array, "b d"]:
        b, d = len(x), self.size.width
        # One convolution whose windows do not overlap is one product of matrices.
        x = x.reshape(b, GRID, PATCH, GRID, PATCH, 3).transpose(0, 1, 3, 2, 4, 5)
        x = Dense(d, name="patch_embed.proj")(x.reshape(b, GRID * GRID, -1))
        token = self.param("cls_token", nn.initializers.zeros, (1, 1, d))
        x = jnp.concatenate([jnp.broadcast_to(token, (b, 1, d)), x], 1)
        x = x + self.param("pos_embed", nn.initializers.zeros, (1, 1 + GRID * GRID, d))
        for i in range(self.size.depth):
            x = TransformerBlock(self.size.heads, name=f"blocks.{i}")(x)
        return Norm(name="norm")(x[:, 0])


@pytree
class DINOv2:
    """DINOv2 with its weights; its features are the class token, `size.width` numbers.

    Attributes:
      params: parameters of `VisionTransformer`.
      size: size of the transformer.
    """

    params: Any
    size: Size = static()

    def __call__(self, images: Float[Array, "b h w c"]) -> Features:
        """Features of images in [0, 1] on multiples of 1/255.

        Raises:
          ValueError: there are neither one nor three channels.
        """
        x = pixel_values(images)
        x = jax.image.resize(x, (len(x), SIDE, SIDE, 3), "cubic", antialias=True) / 255
        x = (x - MEAN[None, None, None]) / DEVIATION[None, None, None]
        return Features(jnp.asarray(VisionTransformer(self.size).apply({"params": self.params}, x)))


def load_dinov2(path: Path | str) -> tuple[DINOv2, str]:
    """(DINOv2 of the size in the file, name of its features).

    Args:
      path: dinov2_vitl14_pretrain.pth, with which EDM2 measures, or the same of ViT-S or ViT-B; or
        a .npz or .safetensors file of the same names.

    Raises:
      PretrainedError: the file is damaged, unsafe, or holds other tensors.
      OSError: it cannot be read.
    """
    weights, digest = files.read(path)
    network = of_weights(weights, Path(path).name)
    return network, f"dinov2-{network.size.name} sha256={digest}"


def of_weights(weights: Weights, file: str = "the file") -> DINOv2:
    """The network of a state dict; PretrainedError if it belongs to another network."""
    size = _size(weights, file)
    wanted = in_file(size)
    params = files.fitted(
        f"DINOv2, {size.name},",
        file,
        weights,
        wanted,
        names={path: ".".join(path) for path in wanted},
        axes=files.kernel_axes,
        unused=lambda name: name == "mask_token",
    )
    named: dict[str, Any] = {}
    for path in files.parameter_shapes(VisionTransformer(size), IMAGE):
        *outer, leaf = path
        array: Any = functools.reduce(lambda tree, part: tree[part], _in_file(path), params)
        branch = functools.reduce(lambda tree, part: tree.setdefault(part, {}), outer, named)
        branch[leaf] = _ours(path, array)
    return DINOv2(named, size)


IMAGE = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
PROJECTION = ("patch_embed.proj", "kernel")


def in_file(size: Size) -> dict[Place, Shape]:
    """The parts of the names in a file, and shapes with kernels as [height, width, in, out]."""
    d = size.width
    others = {
        ("pos_embed",): (1, 1 + TRAINED_GRID**2, d),
        PROJECTION: (PATCH, PATCH, 3, d),
    }
    found = files.parameter_shapes(VisionTransformer(size), IMAGE)
    return {_in_file(path): others.get(path, shape) for path, shape in found.items()}


def _size(weights: Weights, file: str) -> Size:
    known = shapes(weights)
    blocks = {name.split(".")[1] for name in known if name.startswith("blocks.")}
    width = (0, *known.get("cls_token", ()))[-1]
    if not blocks or width < HEAD or width % HEAD:
        raise PretrainedError(
            f"{file} does not hold the weights of DINOv2: no blocks, or no cls_token of a "
            f"multiple of {HEAD} numbers"
        )
    if len(blocks) > limits.VIT_BLOCKS or width > limits.VIT_WIDTH:
        raise PretrainedError(
            f"{file} has {len(blocks):,} blocks of width {width:,}, DINOv2 has at most "
            f"{limits.VIT_BLOCKS} of {limits.VIT_WIDTH:,}: refused"
        )
    return Size(width, len(blocks))


def _in_file(path: Place) -> Place:
    """The parts of the name in a file of our parameter at `path`."""
    return (*path[:-1], {"kernel": "weight", "scale": "weight"}.get(path[-1], path[-1]))


def _ours(path: Place, array: Array) -> Array:
    """A tensor of the file as our parameter."""
    if path == ("pos_embed",):
        return jnp.asarray(interpolated(np.asarray(array)))
    return array.reshape(-1, array.shape[-1]) if path == PROJECTION else array


def interpolated(positions: Float[np.ndarray, "1 1370 d"]) -> Float[np.ndarray, "1 257 d"]:
    """Positions for our grid, the class token's untouched, as the original's bicubic has them."""
    token, grid = positions[:, :1], positions[0, 1:]
    grid = grid.reshape(TRAINED_GRID, TRAINED_GRID, -1)
    rows = _cubic_matrix(TRAINED_GRID, GRID, (GRID + OFFSET) / TRAINED_GRID)
    grid = np.einsum("in,jm,nmd->ijd", rows, rows, grid, optimize=True)
    return np.concatenate([token, grid.reshape(1, GRID * GRID, -1)], 1).astype(np.float32)


def _cubic_matrix(n: int, m: int, scale: float) -> Float[np.ndarray, "m n"]:
    """Cubic interpolation of n numbers at (i + 1/2) / scale - 1/2, the ends being repeated."""
    matrix = np.zeros((m, n))
    x = (np.arange(m) + 0.5) / scale - 0.5
    for shift in range(-1, 3):
        place = np.floor(x).astype(int) + shift
        np.add.at(matrix, (np.arange(m), np.clip(place, 0, n - 1)), _cubic(np.abs(x - place)))
    return matrix


def _cubic(x: np.ndarray) -> np.ndarray:
    """The kernel of Keys, 1981, "Cubic convolution interpolation", eq. 4 with a = `CUBIC`."""
    a = CUBIC
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0))
