"""Weights of another implementation as parameters of ours, matched by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

import models

Path = tuple[str, ...]
Weights = Mapping[str, np.ndarray]
SHOWN = 10
"""Differences that an error lists."""


def leaves(tree: Mapping[str, Any], path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """(path, leaf) of nested dictionaries."""
    for name, child in tree.items():
        if isinstance(child, Mapping):
            yield from leaves(child, (*path, name))
        else:
            yield (*path, name), child


def convert(
    weights: Weights,
    network: nn.Module,
    config: ConfigDict,
    name_of: Callable[[Path], str],
    layout: Callable[[np.ndarray], np.ndarray],
) -> dict[str, Any]:
    """The parameters of `network`, float32: that at `path` is layout(weights[name_of(path)]).

    An array [1, 1, 1, c], as old flax stored scales and shifts, is taken for [c].

    Raises:
      ValueError: weights are missing, left over or of other shapes; they are listed.
    """
    shapes = jax.eval_shape(lambda key: models.init(network, key, config), jax.random.key(0))
    wanted = {path: (name_of(path), leaf.shape) for path, leaf in leaves(shapes)}
    _check(weights, dict(wanted.values()), config, layout)
    params: dict[str, Any] = {}
    for path, (name, shape) in wanted.items():
        branch = params
        for part in path[:-1]:
            branch = branch.setdefault(part, {})
        branch[path[-1]] = jnp.asarray(layout(np.asarray(weights[name])).reshape(shape), "float32")
    return params


def _check(
    weights: Weights,
    wanted: Mapping[str, tuple[int, ...]],
    config: ConfigDict,
    layout: Callable[[np.ndarray], np.ndarray],
) -> None:
    found = {name: layout(np.asarray(weights[name])).shape for name in weights}
    wrong = [f"{name} is missing" for name in wanted if name not in found]
    wrong += [f"{name} is not in the network" for name in found if name not in wanted]
    wrong += [
        f"{name} is {list(found[name])}, the network's {list(shape)}"
        for name, shape in wanted.items()
        if name in found and found[name] not in (shape, (1, 1, 1, *shape))
    ]
    if wrong:
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise ValueError(
            f"the weights must be those of model.name={config.model.name!r} as the config "
            f"describes it, got others: {'; '.join(wrong[:SHOWN])}{more}"
        )
