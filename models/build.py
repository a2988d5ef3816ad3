"""Networks by their names in configs: building them, and their initial parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array
from ml_collections import ConfigDict

from models import adm, ddpm, ddpm_ho, ncsn, ncsnpp, ncsnv2, songunet, wideresnet
from models.checks import choice
from models.layers.keys import hashed


@dataclass(frozen=True)
class Augmented:
    """The constructor of a network that takes `model.augment_dim` labels of an augmentation."""

    build: Callable[[ConfigDict], nn.Module]

    def __call__(self, config: ConfigDict) -> nn.Module:
        """The network that `config.model` and `config.data` describe."""
        return self.build(config)


NETWORKS: dict[str, Callable[[ConfigDict], nn.Module]] = {
    "ncsnpp": ncsnpp.build,
    "ddpm": ddpm.build,
    "ncsnv2_64": ncsnv2.build,
    "ncsnv2_128": ncsnv2.build,
    "ncsnv2_256": ncsnv2.build,
    "ncsn": ncsn.build,
    "songunet": Augmented(songunet.build),
    "adm": Augmented(adm.build),
    "ddpm_ho": ddpm_ho.build,
}
CLASSIFIERS: dict[str, Callable[[ConfigDict], nn.Module]] = {"wideresnet": wideresnet.build}
"""Networks that return logits [b, classes], for guidance; a classifier has a config of its own."""


def build(config: ConfigDict) -> nn.Module:
    """The network that `config.model` and `config.data` describe; nothing is computed yet.

    Raises:
      ValueError: what `check` raises.
    """
    row = choice(config.model, "model.name", NETWORKS)
    network = row(config)
    if config.model.get("augment_dim", 0) and not isinstance(row, Augmented):
        taking = (name for name, other in NETWORKS.items() if isinstance(other, Augmented))
        raise ValueError(
            f"model.augment_dim must be 0 with model.name={config.model.name!r}: only "
            f"{', '.join(taking)} take augmentation labels"
        )
    return network


def build_classifier(config: ConfigDict) -> nn.Module:
    """The noise-conditional classifier that `config.model` and `config.data` describe.

    Raises:
      ValueError: a key of `model` or `data` is missing, unknown or does not fit the others.
    """
    return choice(config.model, "model.name", CLASSIFIERS)(config)


def check(config: ConfigDict) -> None:
    """Refuse a config from which no network can be built, before anything is compiled.

    Raises:
      ValueError: a key of `model` or `data` is missing, of the wrong type, unknown (the known
        values are listed), or does not fit the others: an image size that cannot be halved
        often enough, attention at a resolution that does not occur, channels that group
        normalization cannot split.
    """
    build(config)


def init(network: nn.Module, key: Array, config: ConfigDict) -> Mapping[str, Any]:
    """Fresh float32 parameters, drawn from `key`; the network itself is only traced, not run."""
    size, channels = config.data.image_size, config.data.num_channels
    x = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
    label = jax.ShapeDtypeStruct((1,), jnp.float32)
    return network.lazy_init(hashed(key), x, label)["params"]


def count(params: Any) -> int:
    """Total number of entries in a tree of arrays, or of their shapes."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
