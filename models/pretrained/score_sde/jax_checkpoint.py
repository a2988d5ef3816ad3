"""score_sde's JAX checkpoints: the State of training, as flax 0.3 wrote it in msgpack.

{"step", "optimizer": {"target": weights, "state": moments}, "lr", "model_state", "ema_rate",
"params_ema": averaged weights, "rng"}. Scales and biases of group normalization are [1, 1, 1, C].
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flax import linen as nn
from ml_collections import ConfigDict

from models.pretrained.base import Checkpoint, Weights
from models.pretrained.files import packs
from models.pretrained.files.tensors import Arrays, PretrainedError, Tensor, shapes
from models.pretrained.files.torch_files import head
from models.pretrained.score_sde import networks, published
from untrusted import limits, plain

FAMILY = "score_sde_jax"
FIELDS = ("step", "optimizer", "lr", "model_state", "ema_rate", "params_ema", "rng")


def recognises(path: Path) -> bool:
    """True if a file begins with a small map whose first key is a field of State."""
    start = head(path, 16)
    fields = [bytes([0xA0 + len(name)]) + name.encode() for name in FIELDS]
    return 0x80 < next(iter(start), 0) < 0x90 and start[1:].startswith(tuple(fields))


def read(path: Path) -> Checkpoint:
    """A checkpoint and the settings that it implies; see `base.Format`."""
    content = packs.read(path)
    if not isinstance(content, dict) or "params_ema" not in content:
        raise PretrainedError(
            f"{plain(path.name)} is a msgpack file but not a checkpoint of score_sde, "
            "which has 'optimizer', 'params_ema' and 'step'"
        )
    optimizer = content.get("optimizer")
    target = optimizer.get("target") if isinstance(optimizer, dict) else None
    ema = named(path, content["params_ema"])
    return published.checkpoint(
        FAMILY,
        path,
        networks.infer(shapes(ema), "jax"),
        raw=named(path, target) if isinstance(target, dict) else None,
        ema=ema,
        rate=content.get("ema_rate"),
        step=content.get("step"),
    )


def params(weights: Weights, network: nn.Module, config: ConfigDict) -> Any:
    """Our parameters; see `base.Format`."""
    return networks.to_params(weights, network, config, "jax")


def named(path: Path, tree: Any) -> Arrays:
    """The arrays in nested maps, by their paths; PretrainedError if there is anything else."""
    if isinstance(tree, dict) and set(tree) == {"params"}:
        tree = tree["params"]
    found = dict(_leaves(tree, ""))
    if not found or not all(isinstance(leaf, Tensor) for leaf in found.values()):
        raise PretrainedError(
            f"{plain(path.name)}: its weights are more than arrays, or there are none"
        )
    if len(found) > limits.TENSORS or max(map(len, found)) > limits.NAME_CHARACTERS:
        raise PretrainedError(
            f"{plain(path.name)} has more than {limits.TENSORS:,} arrays, or endless names: refused"
        )
    return Arrays(found)


def _leaves(tree: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(tree, Mapping):
        yield prefix, tree
        return
    for name, child in tree.items():
        yield from _leaves(child, f"{prefix}/{name}" if prefix else str(name))
