"""The table of methods for inverse problems: what each name builds of settings, and its cost."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import samplers
from configs import schema
from samplers import DDIM, Ancestral, Karras, PredictorCorrector
from samplers.correctors import Langevin
from samplers.rules.base import CorrectorWithRule, WithRule
from samplers.rules.named import METHODS, build_method, check_noise
from sde_lib import Gaussian
from sde_lib.karras import KarrasVE
from sde_lib.measurements.base import Measurement
from sde_lib.measurements.masks import Mask
from sde_lib.measurements.solve import SOLVERS

DIMS, STEPS = 3, 4
# Passes through the network of a run of four steps and the end.
COST = {
    "mmps": 2 * 5, "pigdm": 2 * 5, "tmpd": 3 * 5, "likelihood": 2 * 5, "diffpir": 5, "dps": 2 * 5,
    "pigdm_step": 2 * 5, "projection": 5, "ilvr": 5, "repaint": 9, "ddrm": 5, "daps": 5 * 5,
    "tds": 2 * 16 * 5, "fps": 16 * 5, "red_diff": 4,
    "trained": 5,
}  # fmt: skip


def section(**settings: Any) -> Any:
    config = schema.get_default()
    config.update_from_flattened_dict({f"inverse.{k}": v for k, v in settings.items()})
    return config.inverse


def problem(n: int = 2) -> tuple[Gaussian, Measurement]:
    covariance = jnp.asarray([[1.0, 0.8, 0.2], [0.8, 1.0, 0.1], [0.2, 0.1, 0.5]])
    score = Gaussian.of(KarrasVE(0.01, 10.0), jnp.zeros(DIMS), covariance)
    mask = Mask(jnp.asarray([[1.0, 0.0, 0.0]]))
    y = jnp.zeros((n, DIMS)).at[:, 0].set(1.0)
    return score, Measurement(mask, y, jnp.float32(0.1))


def drawn(name: str, **settings: Any) -> samplers.Samples:
    score, measurement = problem()
    sampler = Ancestral() if name in ("dps", "repaint", "tds") else DDIM()
    method = build_method(section(method=name, **settings))
    told, sampler = method(score, sampler, measurement)
    times = Karras(7.0)(score.sde, STEPS, 10.0, 0.01)
    keys = samplers.sample_keys(jax.random.key(0), jnp.arange(2))
    with jax.numpy_dtype_promotion("standard"):  # as in a command; optax needs it
        return samplers.sample(told, sampler, times, keys, shape=(DIMS,))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_costs_what_is_said_and_agrees_with_the_measurement(name: str) -> None:
    jumps = {"jump_length": 2, "jump_n_sample": 2} if name == "repaint" else {}
    found = drawn(name, **jumps)
    assert np.isfinite(found.x).all()
    np.testing.assert_array_equal(found.evaluations, COST[name])
    if name not in ("trained", "likelihood"):  # which is not told, and which overshoots
        # Of two samples whose first number is known within 0.1, in four steps.
        assert np.abs(found.x[:, 0] - 1).max() < 1.0


def test_numbers_compile_nothing_new() -> None:
    score, measurement = problem()
    times = Karras(7.0)(score.sde, STEPS, 10.0, 0.01)
    keys = samplers.sample_keys(jax.random.key(0), jnp.arange(2))
    own = {"dps": "weight", "diffpir": "weight", "pigdm": "data_variance", "ilvr": "stop",
           "ddrm": "eta", "pigdm_step": "weight"}  # fmt: skip
    for name, setting in own.items():
        for number in (0.3, 0.7):
            method = build_method(section(method=name, **{setting: number}))
            told, sampler = method(score, DDIM(), measurement)
            samplers.sample(told, sampler, times, keys, shape=(DIMS,))
            if number == 0.3:
                before = samplers.base._sample._cache_size()
        assert samplers.base._sample._cache_size() == before, name


NUMBERS = {
    "pigdm": ("data_variance", 1.0, 0.25, lambda told, sampler: told.data_variance),
    "diffpir": ("weight", 10.0, 3.0, lambda told, sampler: told.weight),
    "mmps": ("iterations", 1, 2, lambda told, sampler: told.iterations),
    "dps": ("weight", 1.0, 0.3, lambda told, sampler: sampler.rule.weight),
    "pigdm_step": ("weight", 1.0, 0.3, lambda told, sampler: sampler.rule.weight),
    "ilvr": ("stop", 0.0, 0.5, lambda told, sampler: sampler.rule.least),
    "repaint": ("jump_length", 10, 2, lambda told, sampler: sampler.jump_length),
    "ddrm": ("eta", 0.85, 0.5, lambda told, sampler: sampler.eta),
    "daps": ("flow_steps", 5, 2, lambda told, sampler: sampler.steps),
    "tds": ("particles", 16, 4, lambda told, sampler: sampler.count),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_settings_reach_their_methods_and_defaults_are_the_published_ones(name: str) -> None:
    setting, usual, number, of = NUMBERS[name]
    for settings, expected in (({}, usual), ({setting: number}, number)):
        told = build_method(section(method=name, **settings))(problem()[0], DDIM(), problem()[1])
        np.testing.assert_allclose(of(*told), expected, rtol=1e-6)


def test_the_solver_is_chosen_by_its_name() -> None:
    for name, solver in SOLVERS.items():
        told, _ = build_method(section(solver=name))(problem()[0], DDIM(), problem()[1])
        assert told.solver is solver
    with pytest.raises(ValueError, match=r"inverse\.solver must be one of 'cg', 'gmres', got 'lu'"):
        build_method(section(solver="lu"))


def test_rules_surround_predictor_and_corrector_alike() -> None:
    pair = PredictorCorrector(DDIM(), Langevin())
    _, found = build_method(section(method="projection"))(problem()[0], pair, problem()[1])
    assert isinstance(found, PredictorCorrector)
    assert isinstance(found.predictor, WithRule)
    assert isinstance(found.corrector, CorrectorWithRule)


def test_methods_that_divide_by_the_noise_need_some() -> None:
    for name in METHODS:
        check_noise(section(method=name), True)
        if name not in ("likelihood", "tmpd"):
            check_noise(section(method=name), False)
            continue
        with pytest.raises(ValueError, match=r"divides by the noise: set inverse\.noise") as error:
            check_noise(section(method=name), False)
        assert "tmpd" not in str(error.value).partition("one of")[2]
