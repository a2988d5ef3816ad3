"""Weights of the noise-conditional WideResNet by their paths in score_sde's JAX."""

from __future__ import annotations

import re
from typing import Any

from ml_collections import ConfigDict

from models.pretrained.by_name import Path, Weights, convert
from models.wideresnet import WideResNet

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


def from_flax(weights: Weights, network: WideResNet, config: ConfigDict) -> dict[str, Any]:
    """Parameters from those of score_sde's classifier.

    Args:
      weights: arrays by path, such as "WideResnetGroup_0/WideResnetBlock_0/conv1/kernel".
      network: as `models.build_classifier(config)` has it.
      config: which the network was built from.

    Raises:
      ValueError: weights are missing, left over or of other shapes; they are listed.
    """
    return convert(weights, network, config, flax_name, lambda weight: weight)


def flax_name(path: Path) -> str:
    """The path in score_sde's JAX of our parameter at `path`."""
    outer, *inner, leaf = path
    leaf = "W" if leaf == "frequencies" else leaf
    if not inner:
        return f"{OUTER[outer]}/{leaf}"
    group, block = re.findall(r"\d+", outer)
    return f"WideResnetGroup_{group}/WideResnetBlock_{block}/{INNER[inner[0]]}/{leaf}"
