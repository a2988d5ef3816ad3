"""score_sde's noise-conditional classifier, a WideResNet-28-10."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from flax import linen as nn
from ml_collections import ConfigDict

import models
from models.pretrained.base import Place, Weights, as_params, paths_and_shapes
from models.pretrained.files import packs
from models.pretrained.score_sde import jax_checkpoint

OUTER = {
    "stem": "init_conv",
    "noise": "GaussianFourierProjection_0",
    "embed_0": "Dense_0",
    "embed_1": "Dense_1",
    "norm": "pre-pool-bn",
    "output": "Dense_2",
}
INNER = {
    "norm_0": "init_bn",
    "conv_0": "conv1",
    "embed": "Dense_0",
    "norm_1": "bn_2",
    "conv_1": "conv2",
}


def load(path: Path | str, config: ConfigDict) -> tuple[nn.Module, Any]:
    """The published noise-conditional classifier: its network, and its parameters.

    Args:
      path: score_sde's msgpack file, which holds the parameters alone.
      config: the config of its training, as `models.build_classifier` takes it.

    Raises:
      PretrainedError: not such a checkpoint, damaged, or not fitting the config.
      OSError: it cannot be read.
    """
    network = models.build_classifier(config)
    weights = jax_checkpoint.named(Path(path), packs.read(path))
    return network, params(weights, network, config)


def params(weights: Weights, network: nn.Module, config: ConfigDict) -> Any:
    """The parameters of `network`; MismatchError if the weights do not fit it."""
    wanted = paths_and_shapes(network, config)
    return as_params(weights, wanted, {path: flax_name(path) for path in wanted})


def flax_name(path: Place) -> str:
    """The path in score_sde's JAX of our parameter at `path`."""
    outer, *inner, leaf = path
    leaf = "W" if leaf == "frequencies" else leaf
    if not inner:
        return f"{OUTER[outer]}/{leaf}"
    group, block = re.findall(r"\d+", outer)
    return f"WideResnetGroup_{group}/WideResnetBlock_{block}/{INNER[inner[0]]}/{leaf}"
