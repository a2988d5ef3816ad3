"""Weights by name against the network that they are meant for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

import models
from models.pretrained.tensors import PretrainedError


def shapes(network: nn.Module, config: ConfigDict) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter by its place, "module/.../leaf"; nothing is computed."""
    tree = jax.eval_shape(lambda key: models.init(network, key, config), jax.random.key(0))
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape
            for path, leaf in leaves}  # fmt: skip


def matched(
    weights: Mapping[str, Any],
    names: Mapping[str, str],
    wanted: Mapping[str, tuple[int, ...]],
    layout: Callable[[str, np.ndarray], np.ndarray] = lambda name, weight: weight,
) -> dict[str, np.ndarray]:
    """The weights as float32 by their place in the network.

    Args:
      weights: by their names in the file.
      names: place -> that name.
      wanted: place -> shape, as `shapes` gives them.
      layout: (name, weight) -> the weight in our layout.

    Raises:
      PretrainedError: weights are missing, left over, or of other shapes; every one is listed,
        after a first line that tells how many.
    """
    found, wrong = {}, []
    for path, name in names.items():
        if name not in weights:
            wrong.append(f"{name} is missing, {wanted[path]} in {path}")
            continue
        weight = layout(name, np.asarray(weights[name]))
        if weight.shape != wanted[path]:
            wrong.append(f"{name} is {weight.shape} in our layout, must be {wanted[path]}")
        elif not jnp.issubdtype(weight.dtype, jnp.floating):
            wrong.append(f"{name} is of type {weight.dtype}, must be floating-point")
        else:
            found[path] = np.asarray(weight, np.float32, order="C")
    wrong += [f"{name} is not in the network" for name in sorted({*weights} - {*names.values()})]
    if wrong:
        raise PretrainedError(
            f"{len(wrong)} weights do not fit the network of the config; the first: {wrong[0]}\n"
            + "\n".join(wrong)
        )
    return found
