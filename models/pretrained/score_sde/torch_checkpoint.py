"""score_sde's PyTorch checkpoints, `checkpoint_24.pth` and similar ones.

{"model": named weights, "ema": {"shadow_params": a list, "decay"}, "optimizer", "step"}. The list
has the parameters that are trained, in the order of `model`: the fixed Fourier frequencies are
not in it. The optimizer's state is not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from models.pretrained.base import Checkpoint, Weights, finite
from models.pretrained.files import torch_files
from models.pretrained.files.tensors import Arrays, PretrainedError, Tensor, shapes
from models.pretrained.score_sde import networks, published
from untrusted import limits, plain

FAMILY = "score_sde"
recognises = torch_files.is_torch
"""`base.Format.recognises`."""


def read(path: Path) -> Checkpoint:
    """A checkpoint and the settings that it implies; see `base.Format`."""
    content = torch_files.read(path)
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise PretrainedError(
            f"{plain(path.name)} is a file of PyTorch but not a checkpoint of score_sde, "
            "which is a dictionary with 'model', 'ema' and 'step'"
        )
    model = {str(k).removeprefix("module."): v for k, v in content["model"].items()}
    if not model or not all(isinstance(v, Tensor) for v in model.values()):
        raise PretrainedError(
            f"{plain(path.name)}: its 'model' holds more than tensors, or nothing"
        )
    if len(model) > limits.TENSORS:
        raise PretrainedError(
            f"{plain(path.name)} has more than {limits.TENSORS:,} tensors: refused"
        )
    levels, average = _levels(model.pop("sigmas", None)), content.get("ema")
    return published.checkpoint(
        FAMILY,
        path,
        networks.infer(shapes(model), "torch"),
        raw=Arrays(model),
        ema=_averaged(model, average),
        rate=average.get("decay") if isinstance(average, dict) else None,
        step=content.get("step"),
        levels=levels,
    )


def params(weights: Weights, network: nn.Module, config: ConfigDict) -> Any:
    """Our parameters; see `base.Format`."""
    return networks.to_params(weights, network, config, "torch")


def _averaged(model: Mapping[str, Tensor], average: Any) -> Arrays | None:
    """The running average by name, completed by the model's values that are not averaged."""
    listed = average.get("shadow_params") if isinstance(average, dict) else None
    if listed is None:
        return None
    if not isinstance(listed, list):
        raise PretrainedError("its 'ema' has no list of tensors: damaged, or not one of score_sde")
    trained = [name for name in model if not name.endswith(".W") or "NIN" in name]
    trained = list(model) if len(listed) == len(model) else trained
    if len(listed) != len(trained):
        raise PretrainedError(
            f"its 'ema' has {len(listed)} tensors and its 'model' {len(trained)} that are trained: "
            "it is damaged, or not one of score_sde"
        )
    for name, tensor in zip(trained, listed, strict=True):
        if not isinstance(tensor, Tensor) or tensor.shape != model[name].shape:
            raise PretrainedError(f"its 'ema' and its 'model' differ in the shape of {plain(name)}")
    return Arrays({**model, **dict(zip(trained, listed, strict=True))})


def _levels(sigmas: Any) -> dict[str, Any]:
    """The table of noise levels, from the largest to the smallest."""
    if not isinstance(sigmas, Tensor) or len(sigmas.shape) != 1 or sigmas.size < 2:
        return {}
    if sigmas.size > limits.NOISE_LEVELS:
        raise PretrainedError(
            f"it has {sigmas.size:,} noise levels, must have at most {limits.NOISE_LEVELS:,}"
        )
    table = finite("sigmas", np.asarray(sigmas)).astype(np.float64)
    if table.min() <= 0:
        raise PretrainedError(f"its noise levels must be positive, one is {table.min():g}: damaged")
    # Kept as exponentials of logarithms: the last digits are noise.
    largest, smallest = (float(f"{table[i]:.6g}") for i in (0, -1))
    return {"sde.sigma_max": largest, "sde.sigma_min": smallest, "sde.num_scales": len(table)}
