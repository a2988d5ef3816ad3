"""Networks by their names in configs: building them, and their initial parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array
from ml_collections import ConfigDict

from models import (
    adm,
    autoencoder,
    ddpm,
    ddpm_ho,
    dit,
    guided_unet,
    inputs,
    mlp,
    ncsn,
    ncsnpp,
    ncsnv2,
    noisy_classifier,
    prior,
    songunet,
    sr3,
    transformer,
    unet_condition,
    unet_nd,
    wideresnet,
)
from models.as_published import AsPublished
from models.checks import choice
from models.fitted import Fitted
from models.inputs import Inputs
from models.layers.keys import hashed
from models.shapes import example

Build = Callable[[ConfigDict], nn.Module]
ANY = ("vector", "image", "tokens", "text", "level")


@dataclass(frozen=True)
class NetworkRow:
    """A network's constructor and what else than class labels and images it can be given.

    Attributes:
      build: the constructor.
      augment: whether it takes `model.augment_dim` labels of an augmentation.
      kinds: of model.condition that it takes, several at once.
      periodic: whether it honours model.periodic.
      lifted, observes: as in `models.fitted.Fitted`.
      raw: whether it is given its condition as published, by `models.as_published`.
    """

    build: Build
    augment: bool = False
    kinds: tuple[str, ...] = ("image",)
    periodic: bool = False
    lifted: bool = False
    observes: bool = False
    raw: bool = False

    def __call__(self, config: ConfigDict) -> nn.Module:
        """The network that `config.model` and `config.data` describe, by itself."""
        return self.build(config)


@dataclass(frozen=True)
class ByRank:
    """The row of the examples' rank, or that of others."""

    others: NetworkRow
    rows: Mapping[int, NetworkRow] = field(default_factory=dict)

    def __call__(self, config: ConfigDict) -> nn.Module:
        """The network for the rank of the examples."""
        return self.of(config)(config)

    def of(self, config: ConfigDict) -> NetworkRow:
        """The row for the rank of the examples."""
        return self.rows.get(len(example(config)), self.others)


Augmented = partial(NetworkRow, augment=True)
"""The row of a network that takes `model.augment_dim` labels of an augmentation."""
Picture = partial(NetworkRow, kinds=("vector", "image", "level"), periodic=True)
"""The row of a U-Net of pictures."""
MLP = NetworkRow(mlp.build, kinds=("vector", "image"))
UNET = NetworkRow(unet_nd.build, kinds=ANY, periodic=True)
NETWORKS: dict[str, Build] = {
    "ncsnpp": Picture(ncsnpp.build),
    "ddpm": Picture(ddpm.build),
    "ncsnv2_64": NetworkRow(ncsnv2.build),
    "ncsnv2_128": NetworkRow(ncsnv2.build),
    "ncsnv2_256": NetworkRow(ncsnv2.build),
    "ncsn": NetworkRow(ncsn.build),
    "songunet": Picture(songunet.build, augment=True),
    "adm": Picture(adm.build, augment=True),
    "guided_unet": Picture(guided_unet.build, kinds=("vector", "image", "text", "level")),
    "ddpm_ho": Picture(ddpm_ho.build),
    "dit": NetworkRow(dit.build, kinds=(), raw=True),
    "prior": NetworkRow(prior.build, kinds=("tokens", "vector"), raw=True),
    "sr3": NetworkRow(sr3.build, kinds=("image",), raw=True),
    "mlp": MLP,
    "unet": UNET,
    "unet_condition": NetworkRow(
        unet_condition.build, kinds=("tokens", "vector", "image", "level"), raw=True
    ),
    "transformer": NetworkRow(transformer.build, kinds=ANY, lifted=True, observes=True),
    "auto": ByRank(UNET, {1: MLP}),
}
"""A constructor alone is a row, too: its network takes what the defaults of `NetworkRow` say."""
CLASSIFIERS: dict[str, Build] = {
    "wideresnet": wideresnet.build,
    "noisy_classifier": noisy_classifier.build,
}
"""Networks that return logits [b, classes], for guidance; a classifier has a config of its own."""
AUTOENCODERS: dict[str, Build] = {
    "autoencoder": autoencoder.build,
    "vq_autoencoder": autoencoder.build_vq,
}
"""Networks that turn pictures into latents and back; they have configs of their own, too."""


def is_classifier(config: ConfigDict) -> bool:
    """True if model.name is one of `CLASSIFIERS`."""
    return _is_named(config, CLASSIFIERS)


def is_autoencoder(config: ConfigDict) -> bool:
    """True if model.name is one of `AUTOENCODERS`."""
    return _is_named(config, AUTOENCODERS)


def _is_named(config: ConfigDict, table: Mapping[str, Build]) -> bool:
    name = config.model.get("name")
    return isinstance(name, str) and name.lower() in table


def _row(config: ConfigDict) -> NetworkRow:
    if is_classifier(config):
        raise ValueError(
            f"model.name={config.model.name!r} is a classifier, which has a config of its own with "
            f"training.objective='classification'; a network is one of {', '.join(NETWORKS)}"
        )
    if is_autoencoder(config):
        raise ValueError(
            f"model.name={config.model.name!r} is an autoencoder, which has a config of its own "
            f"with training.objective='autoencoder'; a network is one of {', '.join(NETWORKS)}"
        )
    found = choice(config.model, "model.name", NETWORKS)
    found = found.of(config) if isinstance(found, ByRank) else found
    return found if isinstance(found, NetworkRow) else NetworkRow(found)


def build(config: ConfigDict) -> nn.Module:
    """The network that `config.model` and `config.data` describe; nothing is computed yet.

    Raises:
      ValueError: what `check` raises.
    """
    row = _row(config)
    network = row(config)
    if config.model.get("augment_dim", 0) and not row.augment:
        raise ValueError(
            f"model.augment_dim must be 0 with model.name={config.model.name!r}: only "
            f"{_taking(lambda other: other.augment)} take augmentation labels"
        )
    if config.model.get("guidance_features", 0) and not hasattr(network, "beside"):
        raise ValueError(
            f"model.guidance_features must be 0 with model.name={config.model.name!r}: only "
            "unet_condition is told the weight of guidance"
        )
    given = inputs.read(config)
    if wrong := [kind for kind in given.kinds.names if kind not in row.kinds]:
        raise ValueError(
            f"model.condition must be one of none, {', '.join(row.kinds)} with "
            f"model.name={config.model.name!r}, got {wrong[0]!r}, which "
            f"{_taking(lambda other: wrong[0] in other.kinds)} take"
        )
    if given.periodic and not row.periodic:
        raise ValueError(
            f"model.periodic must be () with model.name={config.model.name!r}: only "
            f"{_taking(lambda other: other.periodic)} have periodic axes"
        )
    return _fitted(network, row, given)


def _taking(takes: Callable[[NetworkRow], bool]) -> str:
    rows = {name: row for name, row in NETWORKS.items() if isinstance(row, NetworkRow)}
    return ", ".join(name for name, row in rows.items() if takes(row))


def _fitted(network: nn.Module, row: NetworkRow, given: Inputs) -> nn.Module:
    """The network itself if its inputs are what it takes as they are."""
    if row.raw:
        if given.missing:
            raise ValueError(
                "data.missing must be 'refuse' with this model.name, whose network has no place "
                "for which values are observed"
            )
        return AsPublished(network, given, network.beside() if hasattr(network, "beside") else ())
    multiples = network.multiples() if hasattr(network, "multiples") else ()
    lifted = row.lifted and len(given.shape) == 1
    padded = any(n % m for n, m in zip(given.shape, multiples, strict=False))
    if not (padded or lifted or given.missing or given.kinds.names):
        return network
    return Fitted(network, given, multiples, lifted, row.observes)


def build_classifier(config: ConfigDict) -> nn.Module:
    """The noise-conditional classifier that `config.model` and `config.data` describe.

    Raises:
      ValueError: a key of `model` or `data` is missing, unknown or does not fit the others.
    """
    name = config.model.get("name")
    if isinstance(name, str) and name.lower() in NETWORKS:
        raise ValueError(
            f"model.name={name!r} is a network of the data, and training.objective="
            f"'classification' needs a classifier: one of {', '.join(CLASSIFIERS)}"
        )
    return choice(config.model, "model.name", CLASSIFIERS)(config)


def build_autoencoder(config: ConfigDict) -> autoencoder.Autoencoder:
    """The autoencoder that `config.model` and `config.data` describe.

    Raises:
      ValueError: a key of `model` or `data` is missing, unknown or does not fit the others.
    """
    found: Any = choice(config.model, "model.name", AUTOENCODERS)(config)
    return cast(autoencoder.Autoencoder, found)


def build_any(config: ConfigDict) -> nn.Module:
    """`build`, or the classifier or autoencoder if model.name is that of one."""
    if is_autoencoder(config):
        return build_autoencoder(config)
    return (build_classifier if is_classifier(config) else build)(config)


def check(config: ConfigDict) -> None:
    """Refuse a config from which no network can be built, before anything is compiled.

    Raises:
      ValueError: a key of `model` or `data` is missing, of the wrong type, unknown (the known
        values are listed), or does not fit the others: an image size that cannot be halved
        often enough, attention at a resolution that does not occur, channels that group
        normalization cannot split.
    """
    build_any(config)


def init(network: nn.Module, key: Array, config: ConfigDict) -> Mapping[str, Any]:
    """Fresh float32 parameters, drawn from `key`; the network itself is only traced, not run."""
    x = jax.ShapeDtypeStruct((1, *example(config)), jnp.float32)
    label = jax.ShapeDtypeStruct((1,), jnp.float32)
    return network.lazy_init(hashed(key), x, label)["params"]


def count(params: Any) -> int:
    """Total number of entries in a tree of arrays, or of their shapes."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
