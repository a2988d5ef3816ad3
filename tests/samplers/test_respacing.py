"""Respacing: the published levels, and the chain that a run through them is."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import samplers
from configs.schema import get_default
from samplers import Respaced, respaced
from samplers.base import planned_evaluations
from sde_lib import build
from tests.samplers.exact import Isotropic

TABLE = {
    (1000, "250"): (250, [0, 4, 8, 12, 16, 20], [987, 991, 995, 999], 124875),
    (1000, "ddim250"): (250, [0, 4, 8, 12, 16, 20], [984, 988, 992, 996], 124500),
    (1000, "ddim25"): (25, [0, 40, 80], [840, 880, 920, 960], 12000),
    (4000, "100"): (100, [0, 40, 81, 121, 162, 202], [3878, 3918, 3959, 3999], 199950),
    (1000, "90,60,60,20,20"): (250, [0, 2, 4, 7, 9, 11], [968, 978, 989, 999], 88875),
    (1000, "10,15,20"): (45, [0, 37, 74, 111, 148, 185], [947, 964, 982, 999], 25825),
    (1000, "1"): (1, [0], [0], 0),
    (1000, ""): (1000, [0, 1, 2], [998, 999], 499500),
}
"""(N, respacing) -> count, first, last and sum of the indices, as published."""


@pytest.mark.parametrize("n, respacing", TABLE)
def test_the_levels_are_the_published_ones(n: int, respacing: str) -> None:
    count, first, last, total = TABLE[n, respacing]
    found = respaced(n, respacing, "key")
    assert (len(found), found.sum()) == (count, total)
    assert found[: len(first)].tolist() == first
    assert found[-len(last) :].tolist() == last


BAD = {
    (1000, "2000"): r"at most as many levels as .* 1000, got 2000 in '2000'",
    (1000, "100,600"): r"section of sde\.num_scales has, 500, got 600 in '100,600'",
    (1000, "ddim300"): r"some stride makes as many of sde\.num_scales = 1000 levels, got 'ddim300'",
    (1000, "ddim10,10"): r"must be one number .* got 'ddim10,10'",
    (1000, "ddim"): "'ddim50', got 'ddim'",
    (1000, "0"): "positive numbers of levels .* got '0'",
    (1000, "10,,5"): "positive numbers of levels .* got '10,,5'",
    (1000, "-5"): "positive numbers of levels .* got '-5'",
    (1000, "2.5"): r"positive numbers of levels .* got '2\.5'",
}


@pytest.mark.parametrize("n, respacing", BAD)
def test_a_respacing_that_does_not_exist_is_refused_in_one_line(n: int, respacing: str) -> None:
    with pytest.raises(ValueError, match=BAD[n, respacing]) as error:
        respaced(n, respacing, "sampling.respacing")
    assert str(error.value).startswith("sampling.respacing must")
    assert "\n" not in str(error.value)


def config_of(**settings: object):
    config = get_default()
    config.sde.name, config.training.continuous = "iddpm", False
    config.sampling.update({"predictor": "ancestral", "grid": "respaced", **settings})
    return config


def times_of(config):
    return samplers.build_times(config.sampling, Isotropic(build(config)), config.sde.num_scales)


@pytest.mark.parametrize("settings, count", [
    ({"respacing": "90,60,60,20,20"}, 250), ({"respacing": "ddim25"}, 25), ({}, 1000),
    ({"num_steps": 24}, 25), ({"nfe": 25}, 25),
])  # fmt: skip
def test_a_run_through_k_levels_takes_k_evaluations(settings, count) -> None:
    config = config_of(**settings)
    times, score = times_of(config), Isotropic(build(config))
    chosen = respaced(1000, settings.get("respacing") or str(count), "key")
    np.testing.assert_array_equal(np.rint(times * 999), chosen[::-1])
    plan = samplers.build(config.sampling).plan(score, times)
    assert planned_evaluations(score, plan, config.sampling.noise_removal) == count


@pytest.mark.parametrize("settings, words", [
    ({"respacing": "1"}, r"sampling\.respacing must have two levels at least"),
    ({"respacing": "25", "nfe": 10}, r"sampling\.nfe must be 0 with sampling\.respacing='25'"),
    ({"respacing": "25", "predictor": "ode"}, r"sampling\.respacing must be empty with .*'ode'"),
    ({"num_steps": 1000}, r"sampling\.num_steps must be below sde\.num_scales = 1000"),
])  # fmt: skip
def test_settings_that_do_not_suit_a_respacing_are_refused(settings, words) -> None:
    with pytest.raises(ValueError, match=words):
        times_of(config_of(**settings))


@pytest.mark.usefixtures("float64")
def test_the_kernels_of_the_shorter_chain_are_those_of_its_own_levels() -> None:
    """b = 1 - abar_i / abar_prev is made anew, and is no longer small."""
    config = config_of(respacing="10")
    config.sde.schedule = "linear"
    sde, times = build(config), jnp.asarray(Respaced(1000, "10")(build(config), 0, 1.0, 0.0))
    _, b = sde.transition(times[1:], times[:-1])
    expected = [0.126307638, 0.316843618, 0.466119064, 0.583005494, 0.674480639, 0.746029767,
                0.801962592, 0.845663378, 0.879788230]  # fmt: skip
    np.testing.assert_allclose(b[::-1], expected, atol=5e-10)
