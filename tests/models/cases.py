"""Tiny networks for examples of every rank, under every kind of condition."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

import models
from configs import schema
from configs.shapes import shape_of

SMALLEST = {"nf": 8, "ch_mult": (1, 2), "num_res_blocks": 1, "attn_resolutions": (), "dropout": 0.0}
QUICK = {"xla_backend_optimization_level": 0}
"""Nothing here runs long enough to be worth optimizing."""


def config_of(name: str, shape: tuple[int, ...], **settings: Any) -> ConfigDict:
    """A config of a network's; settings of `model`, or of `data` as data__missing='mask'."""
    config = schema.get_default()
    config.data.shape = shape
    for key, value in {**SMALLEST, "name": name, **settings}.items():
        section, _, key = key.rpartition("__")
        config[section or "model"][key] = value
    schema.check(config)
    return config


def params_of(network: nn.Module, config: ConfigDict) -> Any:
    """Random parameters none of which is zero or silent."""
    shapes = jax.eval_shape(lambda key: models.init(network, key, config), jax.random.key(0))
    rng = np.random.default_rng(0)

    def weight(leaf: Any) -> Any:
        fan = leaf.size // leaf.shape[-1] if len(leaf.shape) > 1 else 16
        return jnp.asarray(rng.standard_normal(leaf.shape) * fan**-0.5, jnp.float32)

    return jax.tree.map(weight, shapes)


class Case:
    """A network with parameters, and what it is called with."""

    def __init__(self, name: str, shape: tuple[int, ...], **settings: Any) -> None:
        self.config = config_of(name, shape, **settings)
        self.network = models.build(self.config)
        self.params = params_of(self.network, self.config)
        self._compiled = jax.jit(self.raw, compiler_options=QUICK)

    def raw(self, x: jax.Array, label: jax.Array, condition: Any) -> jax.Array:
        """The output, not compiled."""
        return self.network.apply({"params": self.params}, x, label, condition)

    def __call__(self, x: jax.Array, condition: Any = None) -> jax.Array:
        """The output at fixed noise levels."""
        return self._compiled(x, jnp.linspace(-0.5, 1, len(x)), condition)

    def examples(self, batch: int = 2, seed: int = 0) -> jax.Array:
        """White noise."""
        return jax.random.normal(jax.random.key(seed), (batch, *shape_of(self.config)))
