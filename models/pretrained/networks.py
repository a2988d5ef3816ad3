"""How score_sde's two repositories name the parameters of each of its networks.

A network is a line in `NETWORKS`, by our `model.name`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from flax import linen as nn
from ml_collections import ConfigDict

from models.checks import choice
from models.pretrained import unet_names
from models.pretrained.base import Weights, as_params, paths_and_shapes
from models.pretrained.unet_names import Names, Path


def _nothing(config: ConfigDict, name: str) -> bool:
    return False


class Network(NamedTuple):
    """names: (config, our paths) -> published names; unused: (config, name) -> needed by none."""

    names: Callable[[ConfigDict, Iterable[Path]], Mapping[Path, Names]]
    unused: Callable[[ConfigDict, str], bool] = _nothing


UNET = Network(unet_names.names, unet_names.unused)
NETWORKS: dict[str, Network] = {"ncsnpp": UNET, "ddpm": UNET}


def torch_axes(name: str, ndim: int) -> Sequence[int]:
    """Channels go last; `W`, of NIN layers and Fourier features, is stored as ours are."""
    if ndim == 4:
        return 2, 3, 1, 0
    return (1, 0) if ndim == 2 and not name.endswith("W") else tuple(range(ndim))


def jax_axes(name: str, ndim: int) -> Sequence[int]:
    """flax's layout is ours."""
    return tuple(range(ndim))


def to_params(weights: Weights, network: nn.Module, config: ConfigDict, kind: str) -> Any:
    """Published weights as our parameters; `kind` is "torch" or "jax".

    Raises:
      MismatchError: they are not those of this network.
      ValueError: no published network of that name is known.
    """
    published = choice(config.model, "model.name", NETWORKS)
    wanted = paths_and_shapes(network, config)
    names = published.names(config, wanted)
    return as_params(
        weights,
        wanted,
        {path: getattr(name, kind) for path, name in names.items()},
        axes={"torch": torch_axes, "jax": jax_axes}[kind],
        unused=lambda name: published.unused(config, name),
    )
