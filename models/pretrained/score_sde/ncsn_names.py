"""Names of NCSN's and NCSNv2's parameters in PyTorch and in score_sde's JAX."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

from ml_collections import ConfigDict

import models
from models.layers.instance_norm import (
    InstanceNorm,
    InstanceNormPlus,
    LevelInstanceNormPlus,
    VarianceNorm,
)
from models.pretrained.files.tensors import PretrainedError
from models.pretrained.score_sde.unet_names import Names, Path
from models.pretrained.score_sde.unet_settings import Inferred, Shape
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
TORCH_NORMS = {
    frozenset({"alpha", "gamma", "beta"}): "InstanceNorm++",
    frozenset({"alpha"}): "VarianceNorm",
    frozenset({"weight"}): "InstanceNorm++",
}
"""Parameter names of a normalization -> its name in `model.normalization`; NCSN's is a table."""

FLAX_NORMS = {
    InstanceNormPlus: "InstanceNorm2dPlus",
    LevelInstanceNormPlus: "ConditionalInstanceNorm2dPlus",
    InstanceNorm: "InstanceNorm2d",
    VarianceNorm: "VarianceNorm2d",
}
OPTIONS = {
    InstanceNormPlus: "InstanceNorm++",
    LevelInstanceNormPlus: "InstanceNorm++",
    InstanceNorm: "InstanceNorm",
    VarianceNorm: "VarianceNorm",
}
FLAX_OUTER = {"stem": "Conv_0", "norm": "norm_0", "output": "Conv_1"}
FLAX_REFINE = {"adapt_0": "RCUBlock_0", "adapt_1": "RCUBlock_1", "fuse": "MSFBlock_0",
               "pool": "CRPBlock_0"}  # fmt: skip


def names(config: ConfigDict, paths: Iterable[Path]) -> dict[Path, Names]:
    """The published names of our parameters."""
    network = cast(RefineNet, models.build(config))
    return {path: Names(torch_name(network, path), flax_name(network, path)) for path in paths}


def infer(shapes: Mapping[str, Shape], kind: str) -> Inferred:
    """Settings inferred from names and shapes; none if the network is another one.

    In PyTorch, score_sde and the authors' own releases have one network, which differs slightly
    from the one that score_sde has in JAX: `model.refinenet`.
    """
    return Inferred({"torch": _of_torch, "jax": _of_flax}[kind](shapes), None)


def _of_torch(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    if "begin_conv.weight" not in shapes:
        return {}
    stages = {name.partition(".")[0] for name in shapes if name.startswith("refine")}
    norms = {name.rpartition(".")[2] for name in shapes if name.startswith("normalizer.")}
    table = shapes.get("normalizer.embed.weight")
    return {"model.refinenet": "original"} | _settings(
        len(stages), shapes["begin_conv.weight"][:2], TORCH_NORMS.get(frozenset(norms)), table
    )


def _of_flax(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    modules = {name.partition("/")[0] for name in shapes}
    stages = [name for name in modules if "RefineBlock_" in name]
    stem = shapes.get("Conv_0/kernel", ())
    if not stages or len(stem) != 4:
        return {}
    known = {f"{name}_0": OPTIONS[norm] for norm, name in FLAX_NORMS.items()}
    norm = next((known[name] for name in sorted(modules) if name in known), None)
    table = shapes.get("ConditionalInstanceNorm2dPlus_0/Embed_0/embedding")
    return {"model.refinenet": "score_sde"} | _settings(len(stages), stem[:1:-1], norm, table)


def _settings(
    stages: int, stem: tuple[int, ...], norm: str | None, table: Shape | None
) -> dict[str, Any]:
    if stages not in TORCH_STAGES:
        raise PretrainedError(f"its weights are not those of an NCSN: it has {stages} refinements")
    size = {4: "ncsnv2_64", 5: "ncsnv2_128", 6: "ncsnv2_256"}[stages]
    found: dict[str, Any] = {
        "model.name": "ncsn" if table else size,
        "model.nf": stem[0],
        "data.num_channels": stem[1],
    }
    if norm:
        found["model.normalization"] = norm
    if table:
        found["sde.num_scales"] = table[0]
    return found


def _numbers(name: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", name)]


def _pooled(network: RefineNet, stage: int, block: int, layer: str) -> bool:
    """True for a layer of a residual block that includes the halving in the original."""
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
    """The name of a layer, numbered through units of two layers."""
    kind, *numbers = layer.split("_")
    number = int(numbers[0]) if len(numbers) == 1 else 2 * int(numbers[0]) + int(numbers[1])
    return f"{'Conv' if kind == 'conv' else 'norm'}_{number}"
