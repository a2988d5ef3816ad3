"""Golden runs of inverse problems: arrays, the network they used, and states of given noise."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import models
from configs import schema
from models.pretrained.files import torch_files
from models.pretrained.openai import layout, state_dict
from models.score import template
from sde_lib.pytree import pytree
from sde_lib.score import ModelScore
from tests.models.cases import QUICK
from tests.stored import arrays

GOLDEN = Path(__file__).parents[2] / "golden" / "control"
PAIR = 2
"""Examples at once, for which the network is compiled."""


def told(name: str) -> dict[str, Any]:
    """The description of a run."""
    found: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text())
    return found


def stored(name: str) -> dict[str, jax.Array]:
    """The arrays of a run."""
    return {key: jnp.asarray(value) for key, value in arrays(GOLDEN / f"{name}.npz").items()}


@cache
def _model() -> tuple[ModelScore, Any]:
    """The score of adm_128_style, and its network of (x, label, y)."""
    weights = torch_files.read(GOLDEN / "adm_128_style.pt")
    found = layout.infer({key: tuple(value.shape) for key, value in weights.items()})
    config = schema.get_default()
    config.update_from_flattened_dict({
        **found.settings, "data.image_size": 8, "data.centered": True, "model.dropout": 0.0,
        "model.attn_resolutions": tuple(8 >> k for k in found.attention), "model.num_heads": 4,
        "model.attention_order": "heads_first", "model.attention_head_dim": 0,
        "model.rescale_timesteps": False, "sde.name": "iddpm", "sde.schedule": "linear",
        "sde.num_scales": 1000, "training.continuous": False,
    })  # fmt: skip
    score, network = template(config), models.build(config)
    params = state_dict.params(weights, network, config)
    return score, lambda x, label, y: network.apply({"params": params}, x, label, y)


X, LABEL, Y = jnp.zeros((PAIR, 8, 8, 3)), jnp.zeros(PAIR), jnp.zeros(PAIR, int)


def _quickly(f: Any, *given: jax.Array) -> Any:
    with jax.default_matmul_precision("highest"):
        return jax.jit(f).lower(*given).compile(compiler_options=QUICK)


@cache
def _raw() -> Any:
    """The compiled network."""
    return _quickly(_model()[1], X, LABEL, Y)


@cache
def _pull() -> Any:
    """Its compiled product with a transposed Jacobian, of (x, label, y, u)."""
    run = _model()[1]
    pull = lambda x, label, y, u: jax.vjp(lambda x: run(x, label, y), x)[1](u)[0]
    return _quickly(pull, X, LABEL, Y, jnp.zeros((PAIR, 8, 8, 6)))


def score_of(y: jax.Array) -> ModelScore:
    """The score of examples of the classes y, one or two, to be run outside of other programs."""
    pair = lambda v: jnp.broadcast_to(v, (PAIR, *v.shape[1:]))

    @jax.custom_vjp
    def network(x: jax.Array, label: jax.Array) -> jax.Array:
        return _raw()(pair(x), pair(label), pair(y))[: len(x)]

    def back(given: Any, u: jax.Array) -> Any:
        x, label = given
        whole = _pull()(pair(x), pair(label), pair(y), pair(u))[: len(x)]
        return whole, jnp.zeros_like(label)

    network.defvjp(lambda x, label: (network(x, label), (x, label)), back)
    return replace(_model()[0], apply=lambda _, x, label, *others: network(x, label))


def times_of(indices: Any) -> jax.Array:
    """Times of levels of the chain of a thousand."""
    return jnp.asarray(np.asarray(indices) / 999, jnp.float32)


@pytree
class Given:
    """A state whose draws, and those of turns, are given."""

    x: Any
    noises: Any
    asides: Any = None
    draws: Any = 0
    history: Any = None

    def normal(self):
        return replace(self, draws=self.draws + 1), self.noises[self.draws]


def given_aside(state: Given, turn: Any, shape: Any = None) -> jax.Array:
    """The draw of a turn that is given, in place of `samplers.rules.base.aside`."""
    found: jax.Array = state.asides[int(turn)]
    return found


def steps(
    sampler: Any, score: Any, times: Any, state: Any, compiled: bool = False
) -> tuple[Any, list[Any]]:
    """(the plan's method, the states after every row); a golden network is compiled already."""
    program = sampler.plan(score, times).program
    step = lambda *given: program.method.step(score, *given)
    step, states = jax.jit(step) if compiled else step, [program.method.init(state)]
    for k in range(len(jax.tree.leaves(program.rows)[0])):
        row = jax.tree.map(lambda leaf, k=k: jnp.asarray(leaf[k]), program.rows)
        states.append(step(states[-1], row))
    return program.method, states[1:]


def apart(found: Any, expected: Any) -> float:
    """The relative difference, norm over norm."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
