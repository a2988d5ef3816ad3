"""Extractors, which turn images into features, by their names in configs.

An extractor's network is a pytree, called as network(images) with images [b, h, w, c] in [0, 1] and
giving `Features`. Its identity includes everything that the features depend on: statistics made by
one extractor are never compared with features of another. A new one is one line in `EXTRACTORS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from configs.command_line import reason
from data_lib import Images, Splits
from data_lib.base import fingerprint
from data_lib.transforms import to_unit
from eval_lib.features import digits_network
from models.features import Features
from runtime_lib.own_code import own_function
from sde_lib import choose
from sde_lib.pytree import pytree, static

COMPONENTS = 64
"""Largest number of principal components."""
LARGEST_SCALE = 10.0

Network = Callable[[Float[Array, "b h w c"]], Features]


@dataclass(frozen=True)
class Extractor:
    """A network and its identity, the words and hashes of everything its features depend on."""

    network: Network
    identity: str


@pytree
class Pixels:
    """The values of all pixels."""

    def __call__(self, images: Float[Array, "b h w c"]) -> Features:
        return Features(images.reshape(len(images), -1))


@pytree
class Components:
    """The leading principal components of reference images, scaled to unit variance there.

    No component is scaled by more than `LARGEST_SCALE` times the first one's factor, so that fine
    structure counts and pixels that hardly ever vary do not.
    """

    centre: Float[Array, " p"]
    axes: Float[Array, "p d"]

    @classmethod
    def of(cls, images: Float[np.ndarray, "n h w c"]) -> Components:
        """Components of `images`, in [0, 1]."""
        flat = np.asarray(images, np.float64).reshape(len(images), -1)
        centre = flat.mean(0)
        _, deviations, axes = np.linalg.svd(flat - centre, full_matrices=False)
        deviations = deviations[:COMPONENTS] / np.sqrt(len(flat))
        scaled = np.maximum(deviations, deviations[0] / LARGEST_SCALE)
        cast = lambda x: jnp.asarray(x, jnp.float32)
        return cls(cast(centre), cast(axes[:COMPONENTS].T / scaled))

    def __call__(self, images: Float[Array, "b h w c"]) -> Features:
        flat = images.reshape(len(images), -1)
        return Features(jnp.matmul(flat - self.centre[None], self.axes, precision="highest"))


@pytree
class OwnFunction:
    """A user's function of images, which gives `Features` or only their `pool` [b, d]."""

    function: Callable[[Any], Any] = static()

    def __call__(self, images: Float[Array, "b h w c"]) -> Features:
        found = self.function(images)
        return found if isinstance(found, Features) else Features(found)


PCA_IMAGES = 5000
"""Largest number of training images from which components are computed."""


def some(images: Images, most: int) -> Float[np.ndarray, "n h w c"]:
    """A fixed random choice of at most `most` images, in [0, 1]."""
    order = np.random.default_rng(0).permutation(len(images))[:most]
    return to_unit(images.pixels[np.sort(order)], images.levels)


def _pixels(config: Any, splits: Splits) -> Extractor:
    return Extractor(Pixels(), "pixels in [0, 1]")


def _pca(config: Any, splits: Splits) -> Extractor:
    network = Components.of(some(splits.train, PCA_IMAGES))
    of = f"{splits.name} (train) sha256={fingerprint(splits.train)[:16]}"
    return Extractor(network, f"{network.axes.shape[1]} principal components of {of}")


def _digits(config: Any, splits: Splits) -> Extractor:
    data = config.data
    if (data.image_size, data.num_channels) != (8, 1):
        raise ValueError(
            "eval.extractor=digits is of 8x8 grey images, the config's are "
            f"{data.image_size}x{data.image_size}x{data.num_channels}: use pca, pixels, inception, "
            "dinov2, or a function of your own"
        )
    return Extractor(*digits_network.load())


def _weights(config: Any, what: str) -> Path:
    path = Path(config.eval.weights)
    if not config.eval.weights or not path.is_file():
        raise ValueError(
            f"eval.weights must be the file of {what}, got {config.eval.weights!r}: download it "
            "(docs/evaluation.md says where), or use eval.extractor=pca, which needs none"
        )
    return path


def _inception(config: Any, splits: Splits) -> Extractor:
    from models.features import load_inception

    path = _weights(config, "the Inception network of 2015 (pt_inception-2015-12-05-6726825d.pth)")
    return Extractor(*load_inception(path, config.eval.resize))


def _dinov2(config: Any, splits: Splits) -> Extractor:
    from models.features import load_dinov2

    return Extractor(*load_dinov2(_weights(config, "DINOv2 (dinov2_vitl14_pretrain.pth)")))


EXTRACTORS: dict[str, Callable[[Any, Splits], Extractor]] = {
    "inception": _inception,
    "dinov2": _dinov2,
    "digits": _digits,
    "pca": _pca,
    "pixels": _pixels,
}


def _own(config: Any) -> Extractor:
    """The extractor FILE.py:FUNCTION; the file's code is run."""
    text = config.eval.extractor
    function, words = own_function("eval.extractor", text, "a function of images [b, h, w, c]")
    found = Extractor(OwnFunction(function), words)
    feature_shapes(config, found)
    return found


def feature_shapes(config: Any, extractor: Extractor) -> Features:
    """Shapes of the extractor's features; ValueError if it cannot take the config's images."""
    data = config.data
    shape = 1, data.image_size, data.image_size, data.num_channels
    asked = f"eval.extractor={config.eval.extractor}"
    try:
        found = jax.eval_shape(extractor.network, jax.ShapeDtypeStruct(shape, jnp.float32))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # it may be the user's
        told = f"{asked} cannot take images {list(shape)}: {reason(error)}"
        raise ValueError(told) from error
    rows: list[tuple[int, ...]] = [x.shape for x in found if x is not None]
    if found.pool is None or any(len(row) != 2 or row[0] != 1 for row in rows):
        raise ValueError(f"{asked} must give features [b, d], of images {list(shape)} it gives "
                         + ", ".join(str(list(row)) for row in rows))  # fmt: skip
    return found


def build(config: Any, splits: Splits) -> Extractor:
    """The extractor named by `eval.extractor`, or FILE.py:FUNCTION of the user's.

    Raises ValueError, in the user's terms, for an unknown or unsuitable one, OSError for files that
    cannot be read.
    """
    name = config.eval.extractor
    if ":" in name:
        return _own(config)
    return choose("eval.extractor", name, EXTRACTORS)(config, splits)


@jax.jit
def extract(network: Network, images: Float[Array, "b h w c"]) -> Features:
    """`network(images)` in one compiled program."""
    return network(images)
