"""Every program of the modes is lowered for CUDA and TPU: by tracing alone, no GPU or TPU needed.

`jax.export` refuses what has no lowering on a platform, calls back into Python, or calls into a
library by a name that is not stable. What is meant for CPUs alone must not be there either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

import samplers
from configs import command_line
from eval_lib.likelihood import coder, estimators, evaluator
from models.layers.cpu.outline import once
from modes import preflight
from modes.experiment import Experiment
from sde_lib import VP, Score, build_guidance
from tests.models import every
from tests.oracles import isotropic
from tests.slow import but_slow, slow
from train_lib import held_out
from train_lib.step import make_step

ROOT = Path(__file__).parents[1]
PLATFORMS = "cuda", "tpu"
FOR_CPUS = b"inlineable"
"""Name that `models.layers.cpu.outline` writes into a program for CPUs."""
BATCH = 2

SMALL = {"model.nf": "8", "model.ch_mult": "1,1"}
DIGITS = "vp_digits.py:smoke"
SUBVP = "subvp_cifar.py:likelihood,smoke"
CONFIGS = {
    DIGITS: {"model.ch_mult": "1,", "model.attn_resolutions": "8,"},
    "vp_cifar.py:smoke": {},
    SUBVP: {},
    "ve_cifar.py:smoke": {},
    "edm.py:cifar10-32x32-cond-vp,smoke": {},
}
REPEATING = "vp_cifar.py:smoke"
"""The config whose network is that of subvp_cifar.py and whose SDE that of vp_digits.py."""


def quickly(cases: list[tuple[str, str]]) -> list[Any]:
    """Pairs of a config and a name, slow but for the digits and for what differs for sub-VP.

    The other networks are lowered with their gradients in training, which is all that they add.
    """
    return [c if c[0] in (DIGITS, SUBVP) else pytest.param(*c, marks=slow) for c in cases]


@cache
def experiment(config: str, **settings: str) -> Experiment:
    given = SMALL | CONFIGS[config] | settings
    return Experiment.of(command_line.load(str(ROOT / "configs" / config), given))


@cache
def state(config: str) -> Any:
    return experiment(config).abstract_state()


@dataclass(frozen=True)
class Planned:
    """A sampler whose plan was made before anything was traced."""

    found: samplers.Plan

    def plan(self, score: Score, times: Array) -> samplers.Plan:
        return self.found


def module(program: Callable[..., Any], *arguments: Any) -> bytes:
    """The program for both platforms."""
    return jax.export.export(program, platforms=PLATFORMS)(*arguments).mlir_module_serialized


def check(program: Callable[..., Any], *arguments: Any) -> None:
    assert FOR_CPUS not in module(program, *arguments)


def check_evaluation(config: str, of: Experiment, run: Callable[..., Any]) -> None:
    """`run(score, labels, keys)`, with parameters that are given to the program."""
    labels = jnp.arange(BATCH) if of.config.model.num_classes else None
    keys = samplers.sample_keys(jax.random.key(0), jnp.arange(BATCH))
    program = jax.jit(lambda params, keys: run(of.score.with_params(params), labels, keys))
    check(program, state(config).params, keys)


# Training -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", but_slow(CONFIGS, REPEATING))
def test_training_steps(config):
    of, fresh = experiment(config), state(config)
    step = make_step(of.recipe, of.layout.shardings(fresh))
    with jax.numpy_dtype_promotion("standard"):  # optax takes powers of Python and int32 numbers
        check(step, of.layout.abstract(fresh), preflight.abstract_batches(of))


def test_held_out_losses():
    of = experiment(DIGITS)
    ones = jnp.ones(BATCH)
    batch = {"image": jnp.ones((BATCH, *of.shape)), "label": ones.astype(int), "mask": ones}
    check(held_out.make_eval(of.recipe), state(DIGITS).params, jax.random.key(0), batch)


@pytest.mark.parametrize("case", ["ddpm", "ddpm_ho", "adm", "ncsn", "ncsnv2_128"])
def test_networks_of_other_configs(case):
    of = every.training(case)
    check(jax.jit(lambda params, x: of.loss(params, x)[0]), of.shapes(), every.IMAGES)


# Sampling -----------------------------------------------------------------------------------------

SAMPLERS = {
    "predictor-corrector": {"predictor": "reverse_diffusion", "corrector": "langevin"},
    "multistep": {"predictor": "unipc", "corrector": "none"},
    "adaptive ODE": {"predictor": "ode", "corrector": "none"},
    "adaptive SDE": {"predictor": "adaptive_sde", "corrector": "none"},
    "EDM with churn": {"predictor": "edm", "s_churn": "2", "grid": "edm", "corrector": "none"},
}
SAMPLED = [(DIGITS, name) for name in SAMPLERS] + [
    ("vp_cifar.py:smoke", "adaptive SDE"),
    (SUBVP, "multistep"),
    ("ve_cifar.py:smoke", "predictor-corrector"),
    ("edm.py:cifar10-32x32-cond-vp,smoke", "EDM with churn"),
]


@pytest.mark.parametrize("config, name", quickly(SAMPLED))
def test_samplers(config, name):
    of = experiment(config, **{f"sampling.{key}": text for key, text in SAMPLERS[name].items()})
    sampler = Planned(of.sampler.plan(of.score, of.times))
    guided = of.config.copy_and_resolve_references()
    guided.sampling.guidance = 2.0 if guided.model.num_classes else 1.0
    guided.model.label_dropout = 0.1
    guidance = build_guidance(guided)

    def draw(score: Score, labels: Array | None, keys: Array) -> samplers.Samples:
        followed = guidance(score, labels)
        return samplers.sample(followed, sampler, of.times, keys, shape=of.shape, frames=2)

    check_evaluation(config, of, draw)


def methods() -> dict[type, samplers.Plan]:
    """A plan of every method that samplers run."""
    section = experiment(DIGITS).config.sampling.copy_and_resolve_references()
    section.num_steps, found = 4, {}
    for section.predictor in samplers.PREDICTORS:
        if section.predictor != "none":
            times = samplers.build_times(section, isotropic(VP()), 1000)
            plan = samplers.build(section).plan(isotropic(VP()), times)
            found.setdefault(type(plan.program.method), plan)
    return found


@pytest.mark.parametrize("plan", [pytest.param(p, id=m.__name__) for m, p in methods().items()])
def test_every_method(plan):
    keys = samplers.sample_keys(jax.random.key(0), jnp.arange(BATCH))
    times = jnp.asarray(plan.times, jnp.float32)
    draw = lambda keys: samplers.sample(
        isotropic(VP()), Planned(plan), times, keys, shape=(16,), denoise=False
    )
    check(jax.jit(draw), keys)


# Likelihood and codes -----------------------------------------------------------------------------

FLOW = {"likelihood": "flow", "trace": "hutchinson", "num_probes": "2"}
LIKELIHOODS = {
    "flow": FLOW,
    "published flow": FLOW | {"ode_solver": "dopri5", "ode_clock": "time"},
    "exact flow": {"likelihood": "flow", "trace": "exact"},
    "bound": {"likelihood": "bound"},
    "discrete bound": {"likelihood": "discrete_bound", "bound_steps": "4"},
}
EVALUATED = [(DIGITS, name) for name in LIKELIHOODS] + [
    ("vp_cifar.py:smoke", "flow"),
    (SUBVP, "bound"),
    ("ve_cifar.py:smoke", "flow"),
    ("edm.py:cifar10-32x32-cond-vp,smoke", "flow"),
]


@pytest.mark.parametrize("config, name", quickly(EVALUATED))
def test_likelihoods(config, name):
    of = experiment(config, **{f"eval.{key}": text for key, text in LIKELIHOODS[name].items()})
    moments = np.zeros(of.shape), np.ones(of.shape)
    estimator = estimators.build(of.config, of.sde, 256, moments)

    def estimate(score: Score, labels: Array | None, keys: Array) -> estimators.Estimate:
        data = jnp.zeros((BATCH, *of.shape), jnp.int32)
        return evaluator.estimate_batch(estimator, of.guidance(score, labels), data, keys)

    check_evaluation(config, of, estimate)


@pytest.mark.parametrize("run", [coder.encode_batch, coder.decode_batch])
def test_latent_codes(run):
    of = experiment(DIGITS)
    flow = estimators.build_flow(of.config)

    def code(score: Score, labels: Array | None, keys: Array) -> Any:
        x = jnp.zeros((BATCH, *of.shape))
        return run(flow, of.guidance(score, labels), x, of.sde.t_min)

    check_evaluation(DIGITS, of, code)


# What these tests would find ----------------------------------------------------------------------


def test_the_mark_of_a_program_for_cpus_is_known():
    of_cpu = jax.export.export(jax.jit(once), platforms=["cpu"])(jnp.ones(3))
    assert FOR_CPUS in of_cpu.mlir_module_serialized
    assert FOR_CPUS not in module(jax.jit(once), jnp.ones(3))


HOST_ONLY = {
    "a callback": lambda x: jax.pure_callback(np.sin, jax.ShapeDtypeStruct((3,), jnp.float32), x),
    "LAPACK": lambda x: jax.scipy.linalg.schur(jnp.outer(x, x))[0],
}


@pytest.mark.parametrize("program", HOST_ONLY.values(), ids=HOST_ONLY)
def test_what_accelerators_cannot_run_is_refused(program):
    with pytest.raises(NotImplementedError):
        module(jax.jit(program), jnp.ones(3))
