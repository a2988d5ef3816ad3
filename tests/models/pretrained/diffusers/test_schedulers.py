"""diffusers' schedulers by their own files: the states that they gave, from the same noise."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import sde_lib
from models.pretrained.diffusers.scheduler import discrete
from tests.models.pretrained.diffusers.scheduled import built, config_of, run

GOLDEN = Path(__file__).parents[3] / "golden" / "latent"
CASES: dict[str, Any] = json.loads((GOLDEN / "schedulers_sd.json").read_text())["cases"]
with np.load(GOLDEN / "schedulers_sd.npz") as _arrays:
    ARRAYS = dict(_arrays)
ROUGH = {"unclip_prior": 1e-3, "ddpm_learned_range": 1e-3}
"""Cases whose originals lose the term of x_T to float32 in their first step."""
SIGMAS = ("euler", "heun")
"""Beginnings of the names of cases whose states are x / alpha."""


@cache
def run_of(name: str):
    """(the SDE, times of the states, the states and the sample, the original's) of a case."""
    case, given = CASES[name], {k.split("/")[1]: v for k, v in ARRAYS.items() if name + "/" in k}
    learned, noises = "learned" in name, given.get("noises", ())
    return *run(case["scheduler"], case["steps"], given["z"], noises, learned), given


@pytest.mark.parametrize("name", CASES)
def test_levels_told_are_those_of_the_original(name: str) -> None:
    config = config_of(CASES[name]["scheduler"], num_steps=CASES[name]["steps"])
    score, sampler, times, _ = built(config, "learned" in name)
    plan = sampler.plan(score, times)
    at = [*plan.program.rows["t"], *([times[-1]] if config.sampling.noise_removal else [])]
    wanted = ARRAYS[f"{name}/timesteps"]
    told = (
        score.parametrization
        if isinstance(score, sde_lib.ModelScore)
        else score.score.parametrization
    )
    found = [float(told.conditioning.label(score.sde, jnp.asarray(t))) for t in at]
    # The originals compute the fractions of a warped grid in float32.
    np.testing.assert_allclose(found, wanted, atol=2e-3 if "karras" in name else 2e-4)


@pytest.mark.parametrize("name", CASES)
def test_states_are_those_of_the_original(name: str) -> None:
    sde, at, states, given = run_of(name)
    expected = given["trajectory"]
    assert len(states) == len(expected)
    for k, (t, state, wanted) in enumerate(zip(at, states, expected, strict=True)):
        alpha = sde.alpha(jnp.asarray(t)) if t is not None and name.startswith(SIGMAS) else 1.0
        size = np.sqrt(np.mean(wanted**2))
        error = np.abs(np.asarray(state / alpha) - wanted).max() / size
        assert error < ROUGH.get(name, 1e-4), (k, error)


SD = CASES["ddim_leading"]["scheduler"]


def of(name: str, **changes: Any) -> dict[str, Any]:
    return {**CASES[name]["scheduler"], **changes}


def test_a_file_states_where_the_grid_starts_and_ends() -> None:
    """Stable Diffusion's DDIM ends at level 0, and Euler's method at the sample without noise."""
    for scheduler, first, last, ending in (
        (of("ddim_leading"), 981, 1, "lowest"),
        (of("ddim_leading", set_alpha_to_one=True), 981, 1, "clean"),
        (of("pndm_plms"), 981, 1, "lowest"),
        (of("euler_leading"), 981, 1, "denoiser"),
        (of("euler_leading", final_sigmas_type="sigma_min"), 981, 1, "unscaled"),
        (of("dpmpp_2m", timestep_spacing="leading"), 951, 20, "clean"),
        (of("unclip_prior"), 999, 0, "denoiser"),
    ):
        config = config_of(scheduler, num_steps=50)
        times = built(config)[2] * 999
        assert [round(float(times[i])) for i in (0, -1)] == [first, last], scheduler
        assert config.sampling.noise_removal
        assert config.sampling.ending == ending


def test_more_steps_than_there_are_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="begins at level 1000, and the last of"):
        built(config_of(SD, num_steps=1000))


@pytest.mark.parametrize("zero", ["ddim_leading", "euler_leading", "dpmpp_2m"])
def test_noise_prediction_with_zero_terminal_snr_is_refused(zero: str) -> None:
    config = config_of(of(zero, rescale_betas_zero_snr=True))
    with pytest.raises(ValueError, match=r"sde\.zero_terminal_snr=True needs"):
        built(config)
    able = config_of(of(zero, rescale_betas_zero_snr=True, prediction_type="v_prediction"))
    alpha = float(built(able)[0].sde.alpha(jnp.ones(())))
    assert alpha == pytest.approx(1e-10 if zero == "ddim_leading" else 2**-12, rel=1e-5)


@pytest.mark.parametrize("change, word", [
    ({"beta_schedule": "sigmoid"}, "beta_schedule"),
    ({"trained_betas": [0.1, 0.2]}, "trained_betas"),
    ({"beta_start": "small"}, "beta_start"),
    ({"num_train_timesteps": 1}, "num_train_timesteps"),
    ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "FlowMatchEulerDiscreteScheduler"),
    ({"made_up": 1}, "unknown key 'made_up'"),
])  # fmt: skip
def test_what_changes_the_model_and_is_unknown_is_refused_in_one_line(change, word) -> None:
    with pytest.raises(ValueError, match=word) as error:
        discrete(of("ddim_leading", **change))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("scheduler, word", [
    (of("dpmpp_2m", solver_order=4), "solver_order = 4"),
    (of("dpmpp_2m", use_flow_sigmas=True), "use_flow_sigmas"),
    (of("dpmpp_2m", lambda_min_clipped=-5.0), "lambda_min_clipped"),
    (of("pndm_plms", prediction_type="sample"), "prediction_type"),
    (of("euler_leading", _class_name="SASolverScheduler"), "SASolverScheduler"),
])  # fmt: skip
def test_a_run_without_counterpart_is_replaced_and_said(scheduler, word) -> None:
    found = discrete(scheduler)
    assert word in found.remark
    assert found.remark.startswith("sampled by DPM-Solver++ (2M), since")
    config = config_of(scheduler)
    assert (config.sampling.predictor, config.sampling.num_steps) == ("dpm_solver_pp", 50)
    assert len(built(config)[2]) == 50


def test_keys_of_other_schedulers_change_nothing() -> None:
    extra = {"skip_prk_steps": True, "clip_sample": False, "set_alpha_to_one": False}
    assert discrete(of("euler_leading", **extra)) == discrete(of("euler_leading"))


def test_a_table_of_betas_is_taken() -> None:
    config = config_of(of("ddim_leading", trained_betas=[0.1, 0.2, 0.3], num_train_timesteps=3))
    assert (config.sde.schedule, config.sde.betas) == ("table", (0.1, 0.2, 0.3))
