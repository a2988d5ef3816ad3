"""Runs of the samplers that a scheduler_config.json means, with a network of one line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax.numpy as jnp

import samplers
import sde_lib
from configs import schema
from models.pretrained.diffusers.scheduler import discrete
from samplers.base import denoised
from sde_lib.clipping import build_limit
from sde_lib.pytree import pytree


@pytree
class Given:
    """A state whose noises are given."""

    x: Any
    noises: Any
    draws: int = 0
    history: Any = None
    memory: Any = None

    def normal(self):
        z = self.noises[self.draws] if self.draws < len(self.noises) else jnp.zeros_like(self.x)
        return replace(self, draws=self.draws + 1), z


def apply(params, x, label, condition, dropout_key):
    """The network of the golden file."""
    t = label.reshape(-1, *[1] * (x.ndim - 1))
    raw = 0.8 * x + 0.3 * jnp.sin(2 * x + t / 200)
    return jnp.concatenate([raw, jnp.sin(x + t / 100)], -1) if params else raw


def config_of(scheduler: dict[str, Any], **changes: Any):
    config = schema.get_default()
    told = {f"sampling.{key}": value for key, value in changes.items()}
    config.update_from_flattened_dict({**discrete(scheduler).settings, **told})
    schema.check(config)
    return config


def built(config, learned: bool = False):
    """(score, sampler, times, scale of the first state)."""
    parametrization = sde_lib.build_parametrization(config)
    parametrization = replace(parametrization, learn_variance=learned)
    score = sde_lib.ModelScore(apply, learned, sde_lib.build(config), parametrization)
    limit = build_limit(config.sampling, lambda key: (-1.0, 1.0))
    score = limit(score) if limit else score
    times = samplers.build_times(config.sampling, score, config.sde.num_scales)
    scale = samplers.start_scale(config.sampling, score, times)
    return score, samplers.build(config.sampling), times, scale


def run(scheduler: dict[str, Any], steps: int, z: Any, noises: Any = (), learned: bool = False):
    """(the SDE, times of the states, the states and the sample) of a scheduler's run from z."""
    config = config_of(scheduler, num_steps=steps)
    score, sampler, times, scale = built(config, learned)
    plan = sampler.plan(score, times)
    program = plan.program
    state: Any = Given(scale * jnp.asarray(z), jnp.asarray(noises))
    state = program.method.init(state)
    states, at = [state.x], [times[0]]
    for k in range(len(plan.interval)):
        row = {name: jnp.asarray(column[k]) for name, column in program.rows.items()}
        state = program.method.step(score, state, row)
        states.append(state.x)
        at.append(plan.times[plan.interval[k] + 1])
    if config.sampling.noise_removal:
        states.append(denoised(score, program, state, times[-1]))
        at.append(None)
    return score.sde, at, states
