"""Weights of NCSN and NCSNv2 by their names in PyTorch and in score_sde's JAX."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from models.layers.instance_norm import (
    InstanceNorm,
    InstanceNormPlus,
    LevelInstanceNormPlus,
    VarianceNorm,
)
from models.pretrained.by_name import Path, Weights, convert
from models.refinenet import RefineNet

TORCH_OUTER = {"stem": "begin_conv", "norm": "normalizer", "output": "end_conv"}
TORCH_RESIDUAL = {"norm_0": "normalize1", "conv_0": "conv1", "norm_1": "normalize2",
                  "conv_1": "conv2", "shortcut": "shortcut"}  # fmt: skip
TORCH_REFINE = {"adapt_0": "adapt_convs.0", "adapt_1": "adapt_convs.1", "fuse": "msf",
                "pool": "crp", "output": "output_convs"}  # fmt: skip
TORCH_LEAVES = {"kernel": "weight", "embedding": "embed.weight", "scale": "alpha"}
# The sixth stage came late, and got the number between its neighbours'.
TORCH_STAGES = {4: "1 2 3 4", 5: "1 2 3 4 5", 6: "1 2 3 31 4 5"}
TORCH_REFINEMENTS = {4: "1 2 3 4", 5: "1 2 3 4 5", 6: "1 2 31 3 4 5"}
TORCH_TABLES = ("sigmas",)

FLAX_NORMS = {
    InstanceNormPlus: "InstanceNorm2dPlus",
    LevelInstanceNormPlus: "ConditionalInstanceNorm2dPlus",
    InstanceNorm: "InstanceNorm2d",
    VarianceNorm: "VarianceNorm2d",
}
FLAX_OUTER = {"stem": "Conv_0", "norm": "norm_0", "output": "Conv_1"}
FLAX_REFINE = {"adapt_0": "RCUBlock_0", "adapt_1": "RCUBlock_1", "fuse": "MSFBlock_0",
               "pool": "CRPBlock_0"}  # fmt: skip


def from_torch(weights: Weights, network: RefineNet, config: ConfigDict) -> dict[str, Any]:
    """Parameters from a state_dict of score_sde_pytorch or of Song and Ermon's releases.

    Args:
      weights: arrays by name, such as "res1.0.conv1.weight", whether or not after "module."; the
        table "sigmas" is not needed.
      network: as `models.build(config)` has it; `model.refinenet` is "original" as a rule.
      config: which the network was built from.

    Raises:
      ValueError: weights are missing, left over or of other shapes; they are listed.
    """
    named = {name.removeprefix("module."): weight for name, weight in weights.items()}
    kept = {name: weight for name, weight in named.items() if name not in TORCH_TABLES}
    return convert(kept, network, config, partial(torch_name, network), _channels_last)


def from_flax(weights: Weights, network: RefineNet, config: ConfigDict) -> dict[str, Any]:
    """Parameters from those of score_sde in JAX.

    Args:
      weights: arrays by path, such as "ResidualBlock_0/Conv_0/kernel".
      network: as `models.build(config)` has it.
      config: which the network was built from.

    Raises:
      ValueError: weights are missing, left over or of other shapes; they are listed.
    """
    return convert(weights, network, config, partial(flax_name, network), lambda weight: weight)


def _channels_last(weight: np.ndarray) -> np.ndarray:
    return weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight


def _numbers(name: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", name)]


def _pooled(network: RefineNet, stage: int, block: int, layer: str) -> bool:
    """Whether a layer of a residual block is one with the halving in its original."""
    opens = stage > 0 and block == 0
    return opens and network.stages[stage].halve and layer in ("conv_1", "shortcut")


def torch_name(network: RefineNet, path: Path) -> str:
    """The name in PyTorch of our parameter at `path`."""
    *modules, leaf = path
    leaf = TORCH_LEAVES.get(leaf, leaf)
    outer, *inner = modules
    if not inner:
        return f"{TORCH_OUTER[outer]}.{leaf}"
    if len(inner) == 2:
        (i,) = _numbers(outer)
        number = TORCH_REFINEMENTS[len(network.refinements)].split()[i]
        return f"refine{number}.{TORCH_REFINE[inner[0]]}.{_torch_layer(inner[1])}.{leaf}"
    i, j = _numbers(outer)
    number = TORCH_STAGES[len(network.stages)].split()[i]
    nested = ".conv" if _pooled(network, i, j, inner[0]) else ""
    return f"res{number}.{j}.{TORCH_RESIDUAL[inner[0]]}{nested}.{leaf}"


def _torch_layer(layer: str) -> str:
    kind, *numbers = layer.split("_")
    if len(numbers) == 1:
        return f"{kind}s.{numbers[0]}"
    unit, place = numbers
    return f"{int(unit) + 1}_{int(place) + 1}_{kind}"


def flax_name(network: RefineNet, path: Path) -> str:
    """The path in score_sde's JAX of our parameter at `path`."""
    *modules, leaf = path
    outer, *inner = modules
    norm: Any = network.style.norm
    levels = norm is LevelInstanceNormPlus
    condition = "Cond" if levels else ""
    if not inner:
        parts = [FLAX_OUTER[outer]]
    elif len(inner) == 2:
        (i,) = _numbers(outer)
        # The last units are numbered on from those of the inputs, of which the first has one.
        block = FLAX_REFINE.get(inner[0], f"RCUBlock_{min(i, 1) + 1}")
        parts = [f"{condition}RefineBlock_{i}", condition + block, _flax_layer(inner[1])]
    else:
        i, j = _numbers(outer)
        kind = "ConditionalResidualBlock" if levels else "ResidualBlock"
        parts = [f"{kind}_{2 * i + j}", *_flax_residual(inner[0], _pooled(network, i, j, inner[0]))]
    parts = [re.sub("^norm", FLAX_NORMS[norm], part) for part in parts]
    return "/".join([*parts, "Embed_0/embedding" if leaf == "embedding" else leaf])


def _flax_residual(layer: str, pooled: bool) -> list[str]:
    if layer.startswith("norm"):
        return [layer]
    if pooled:
        return ["ConvMeanPool_0" if layer == "conv_1" else "ConvMeanPool_1", "Conv_0"]
    return [{"conv_0": "Conv_0", "conv_1": "Conv_1", "shortcut": "Conv_2"}[layer]]


def _flax_layer(layer: str) -> str:
    """Units of two layers are numbered through."""
    kind, *numbers = layer.split("_")
    number = int(numbers[0]) if len(numbers) == 1 else 2 * int(numbers[0]) + int(numbers[1])
    return f"{'Conv' if kind == 'conv' else 'norm'}_{number}"
