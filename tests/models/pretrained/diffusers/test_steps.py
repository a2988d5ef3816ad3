"""Schedulers of diffusers 0.42.1, by their samples from one noise: numbers that it gave in float32.

The goldens of `test_schedulers` have whole trajectories of the schedulers that most pipelines have;
here is each class, with the options that change its steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.pretrained.diffusers.scheduler import discrete
from models.pretrained.diffusers.steps import SCHEDULERS
from tests.models.pretrained.diffusers.scheduled import run

LEVELS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
Z = np.array([0.5, -1.2, 0.9], np.float32).reshape(1, 3, 1, 1)
NOISES = np.stack([np.cos(1.7 * k + np.arange(3)).reshape(Z.shape) for k in range(20)])
SILENT = np.zeros_like(Z)
"""The first draw of a step whose original draws only in its second."""
V, KARRAS, BETA = (
    {"prediction_type": "v_prediction"},
    {"use_karras_sigmas": True},
    {"use_beta_sigmas": True},
)
EXPONENTIAL = {"use_exponential_sigmas": True}
TRAILING, LINSPACE = {"timestep_spacing": "trailing"}, {"timestep_spacing": "linspace"}
LEADING = {"timestep_spacing": "leading", "steps_offset": 1}
OF_NOISE, SDE = {"algorithm_type": "dpmsolver"}, {"algorithm_type": "sde-dpmsolver++"}
HEUN = {"solver_type": "heun"}
THRESHOLDED = {
    "thresholding": True,
    "sample_max_value": 1.5,
    "dynamic_thresholding_ratio": 0.9,
}
LOWEST = {"final_sigmas_type": "sigma_min"}
CASES: list[tuple[str, int, dict[str, Any], list[float]]] = [
    ("DDIM", 7, {**TRAILING, "clip_sample": False}, [1.08166, -1.24086, 1.17128]),
    ("DDIM", 7, {**LINSPACE, "clip_sample": True, **V, "set_alpha_to_one": False},
     [0.0729212, -0.397314, 0.216277]),
    ("DDIMParallel", 6, {**LEADING, "clip_sample": False, "set_alpha_to_one": False},
     [0.938378, -0.90585, 1.16471]),
    ("PNDM", 7, {**TRAILING, "skip_prk_steps": True}, [0.871936, -0.9661, 1.1426]),
    ("PNDM", 7, {**LINSPACE, "set_alpha_to_one": True}, [1.00169, -1.32649, 1.24343]),
    ("PNDM", 6, {**LEADING, **V}, [0.0879695, -0.296427, 0.164985]),
    ("LMSDiscrete", 6, {}, [0.996255, -1.20825, 1.10324]),
    ("LMSDiscrete", 6, {**LEADING, **EXPONENTIAL, **V}, [0.0586958, -0.321088, 0.17243]),
    ("HeunDiscrete", 4, {**BETA, "clip_sample": True}, [-0.277073, -1, 0.487137]),
    ("EulerDiscrete", 5, {**BETA, **LEADING}, [0.969796, -0.795188, 1.1878]),
    ("EulerDiscrete", 5, {**TRAILING, **LOWEST}, [1.14858, -1.31891, 1.19096]),
    ("KDPM2Discrete", 4, TRAILING, [0.855167, -0.734671, 1.28208]),
    ("KDPM2AncestralDiscrete", 4, EXPONENTIAL, [-2.47648, 7.00402, 2.40523]),
    ("DPMSolverSDE", 4, {**KARRAS, **V}, [-0.106292, -0.112244, -0.0602252]),
    ("DEISMultistep", 6, {"solver_order": 3}, [1.00273, -1.06442, 1.15971]),
    ("DEISMultistep", 17, {"solver_order": 3, **KARRAS}, [0.920153, -1.10474, 1.1159]),
    ("DEISMultistep", 5, {"solver_order": 2, **THRESHOLDED}, [0.629966, -0.666854, 0.965778]),
    ("DPMSolverMultistep", 6, {"solver_order": 3}, [0.946924, -0.995067, 1.09951]),
    ("DPMSolverMultistep", 17, {"solver_order": 3, **EXPONENTIAL}, [0.892623, -1.08301, 1.07712]),
    ("DPMSolverMultistep", 6, {"solver_order": 3, **LOWEST, **LEADING, **OF_NOISE, **HEUN},
     [0.814538, -0.846171, 1.11943]),
    ("DPMSolverMultistep", 16, {"solver_order": 3, **LOWEST, "euler_at_final": True, **BETA},
     [1.06126, -2.77227, 1.10844]),
    ("DPMSolverMultistep", 6, {"solver_order": 3, **SDE, "lower_order_final": False},
     [-0.248724, -0.131794, -0.246873]),
    ("DPMSolverMultistep", 5, {"solver_order": 2, **LOWEST, "algorithm_type": "sde-dpmsolver"},
     [0.287905, -0.199935, -0.738071]),
    ("DPMSolverMultistep", 5, {"use_lu_lambdas": True}, [0.51422, -0.0807356, 1.42456]),
    ("DPMSolverSinglestep", 6, {"solver_order": 3}, [0.935033, -0.773952, 1.12352]),
    ("DPMSolverSinglestep", 7, {"solver_order": 3, **HEUN, **BETA},
     [2.28419, -28.7423, -0.620648]),
    ("DPMSolverSinglestep", 6, {"solver_order": 2, **LOWEST, **OF_NOISE, **HEUN},
     [0.646767, -0.784817, 1.34785]),
    ("DPMSolverSinglestep", 5, {"solver_order": 2, **SDE},
     [-0.242859, -0.270282, -0.0796138]),
    ("UniPCMultistep", 6, {"solver_order": 3}, [0.924473, -1.00016, 1.13591]),
    ("UniPCMultistep", 6, {"solver_order": 3, **LOWEST, "solver_type": "bh1", "predict_x0": False},
     [0.907333, -0.929669, 1.10539]),
    ("UniPCMultistep", 6, {"solver_order": 2, **LOWEST, **KARRAS}, [0.676125, -0.57089, 0.9745]),
    ("UniPCMultistep", 5, {"solver_order": 1, **EXPONENTIAL, "lower_order_final": False},
     [1.11525, -1.20015, 1.23155]),
    ("LCM", 3, {"original_inference_steps": 40, "timestep_scaling": 0.01},
     [0.182972, -0.839286, -0.549352]),
    ("TCD", 3, V, [-0.0823271, -0.241508, -0.236299]),
]  # fmt: skip
"""Scheduler, number of steps, its options, the sample."""


def scheduler_of(name: str, options: dict[str, Any]) -> dict[str, Any]:
    return {"_class_name": f"{name}Scheduler", **LEVELS, **options}


@pytest.mark.parametrize("name, steps, options, sample", CASES)
def test_the_sample_is_the_originals(name, steps, options, sample) -> None:
    noises = NOISES.astype(np.float32)
    if name == "KDPM2AncestralDiscrete":
        noises = np.stack([part for z in noises for part in (SILENT, z)])
    scheduler = scheduler_of(name, options)
    assert not discrete(scheduler).remark
    found = np.asarray(run(scheduler, steps, Z, noises)[2][-1]).ravel()
    size = np.sqrt(np.mean(np.square(sample)))
    # Both compute in float32, and the original's levels are products in float32 too.
    np.testing.assert_allclose(found, sample, atol=1e-4 * size)


def test_every_scheduler_has_a_case_here_or_a_golden() -> None:
    elsewhere = {"DDPM", "DDPMParallel", "UnCLIP", "EulerAncestralDiscrete"}
    assert {name for name, *_ in CASES} | elsewhere == {
        name.removesuffix("Scheduler") for name in SCHEDULERS
    }


FIRST: list[tuple[dict[str, Any], bool]] = [
    ({"beta_schedule": "linear"}, False),
    ({}, True),
    ({"rescale_betas_zero_snr": True}, True),
    ({"beta_start": 0.0015, "beta_end": 0.0155}, False),
    ({"beta_schedule": "squaredcos_cap_v2"}, True),
    ({"beta_schedule": "linear", "num_train_timesteps": 300}, True),
    ({"trained_betas": [0.01 * k for k in range(1, 21)], "num_train_timesteps": 20}, False),
    ({"trained_betas": [0.02 * k for k in range(1, 21)], "num_train_timesteps": 20}, True),
]
"""Levels, and whether the original tells the network the second noisiest of a truncated grid."""


@pytest.mark.parametrize("options, below", FIRST)
def test_rounding_in_float32_decides_which_level_is_told_first(options, below) -> None:
    linear = options.get("beta_schedule") == "linear"
    scheduler = {
        "_class_name": "UniPCMultistepScheduler", **({} if linear else LEVELS), **EXPONENTIAL,
        **options,
    }  # fmt: skip
    told = discrete(scheduler).settings["model.conditioning"]
    assert told == ("index_strictly_below" if below else "index_below")


def test_a_solver_without_counterpart_is_said() -> None:
    options = {"solver_order": 3, "solver_type": "heun", "algorithm_type": "sde-dpmsolver++"}
    found = discrete(scheduler_of("DPMSolverSinglestep", options))
    assert "solver_type = 'heun', must be 'midpoint'" in found.remark
