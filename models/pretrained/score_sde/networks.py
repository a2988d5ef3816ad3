"""Names of the parameters of each network in score_sde's two repositories.

A network is a line in `NETWORKS`, by our `model.name`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from flax import linen as nn
from ml_collections import ConfigDict

from models.checks import choice
from models.pretrained.base import Shape, Weights, as_params, paths_and_shapes
from models.pretrained.files.tensors import PretrainedError
from models.pretrained.score_sde import ncsn_names, unet_names, unet_settings
from models.pretrained.score_sde.unet_names import Names, Path
from models.pretrained.score_sde.unet_settings import Inferred


def _nothing(config: ConfigDict, name: str) -> bool:
    return False


class Network(NamedTuple):
    """Functions of one network's names.

    names: (config, our paths) -> published names.
    infer: (shapes by name, "torch" or "jax") -> settings; none if it is another network.
    unused: (config, name) -> True if no output depends on a parameter.
    """

    names: Callable[[ConfigDict, Iterable[Path]], Mapping[Path, Names]]
    infer: Callable[[Mapping[str, Shape], str], Inferred]
    unused: Callable[[ConfigDict, str], bool] = _nothing


UNET = Network(unet_names.names, unet_settings.infer, unet_names.unused)
NCSN = Network(ncsn_names.names, ncsn_names.infer)
NETWORKS: dict[str, Network] = {
    "ncsnpp": UNET,
    "ddpm": UNET,
    "ncsnv2_64": NCSN,
    "ncsnv2_128": NCSN,
    "ncsnv2_256": NCSN,
    "ncsn": NCSN,
}


OTHER_SHAPES = (
    "its weights are named as those of a network that is known, and have other shapes: damaged, or "
    "of another network"
)


def infer(shapes: Mapping[str, Shape], kind: str) -> Inferred:
    """Settings inferred from names and shapes; `kind` is "torch" or "jax".

    If they belong to none of `NETWORKS`, no settings but the reason: a config may know better.
    """
    unknown = ""
    for network in dict.fromkeys(NETWORKS.values()):
        try:
            inferred = network.infer(shapes, kind)
        except PretrainedError as error:
            unknown = str(error)
        except (LookupError, TypeError, ValueError, ArithmeticError):
            # Names of a known network, on tensors that lack its axes.
            unknown = OTHER_SHAPES
        else:
            if inferred.settings:
                return inferred
    return Inferred({}, None, unknown)


def torch_axes(name: str, ndim: int) -> Sequence[int]:
    """Channels go last; `W`, of NIN layers and Fourier features, and tables are stored as ours."""
    if ndim == 4:
        return 2, 3, 1, 0
    kept = name.endswith((".W", "embed.weight"))
    return (1, 0) if ndim == 2 and not kept else tuple(range(ndim))


def jax_axes(name: str, ndim: int) -> Sequence[int]:
    """The axes in order, since flax's layout is ours."""
    return tuple(range(ndim))


def to_params(weights: Weights, network: nn.Module, config: ConfigDict, kind: str) -> Any:
    """Published weights as our parameters; `kind` is "torch" or "jax".

    Raises:
      MismatchError: the weights are not those of this network.
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
