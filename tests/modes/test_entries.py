"""Entries of `eval.samplers`: each is run as it is named, or refused."""

from dataclasses import replace

import jax
import numpy as np
import pytest

import samplers
import sde_lib
from configs import vp_digits
from configs.recorded import Recorded
from modes import entries
from modes.experiment import Experiment
from modes.generator import make_generator
from samplers import named
from samplers.adaptive.integrate import INTEGRATORS
from sde_lib.clipping import build_limit
from tests.slow import but_slow


def config_of(text: str, **evaluation: object):
    config = vp_digits.get_config("smoke")
    config.eval.update({"samplers": text, "sampler_nfe": (12,), **evaluation})
    return config


def planned(text: str, **evaluation: object) -> list[entries.Planned]:
    return list(entries.planned(config_of(text, **evaluation)))


BASES = [
    *(name for name in samplers.PREDICTORS if name != "none"),
    "none corrector=langevin", "euler_maruyama corrector=langevin",
    "euler_maruyama corrector=posterior", "euler_maruyama corrector=ald", "ode corrector=langevin",
    "ode ode_solver=tsit5", "edm s_churn=9", "sa_solver tau=0", "restart restart_solver=unipc",
    "restart restart_solver=unipc restart_times=0", "ddim grid=karras", "ddim grid=flow",
    "dpm_solver_pp order=1", "dpm_solver_pp order=3", "sde_dpm_solver_pp order=1",
    "unipc order=1", "unipc order=3", "ddim guidance=2",
]  # fmt: skip
QUICK = ("euler_maruyama corrector=langevin", "dpm_solver_pp", "edm", "edm s_churn=9", "ode",
         "ode corrector=langevin", "ddim guidance=2")  # fmt: skip
"""Entries of each kind: the others have the same settings as one of these, or fewer."""
OTHERS: dict[str, tuple[object, ...]] = {
    "corrector": tuple(samplers.CORRECTORS),
    "pc_order": tuple(named.PC_ORDERS),
    "probability_flow": (False, True),
    "order": (1, 2, 3),
    "form": ("data", "velocity"),
    "high_order_start": (False, True),
    "second_order": tuple(named.SECOND_ORDERS),
    "ancestral_variance": tuple(named.VARIANCES),
    "eta": (0.3,),
    "coarse_level": (0.5,),
    "gamma": (1.4,),
    "mu": (0.3,),
    "tau": (0.6,),
    "tau_min": (0.01,),
    "tau_max": (3.0,),
    "s_churn": (5.0,),
    "s_min": (10.0,),
    "s_max": (3.0,),
    "s_noise": (1.1,),
    "restart_solver": ("ddim",),
    "restart_min": (0.01, 0.5),
    "restart_max": (2.0,),
    "restart_steps": (3,),
    "restart_times": (2,),
    "rtol": (0.1,),
    "atol": (0.1,),
    "max_steps": (77,),
    "ode_solver": tuple(INTEGRATORS),
    "ode_clock": ("time", "sigma"),
    "step_control": tuple(named.STEP_CONTROLS),
    "snr": (0.3,),
    "delta": (0.3,),
    "n_steps_each": (2,),
    "norm": tuple(named.NORMS),
    "noise_removal": (False, True),
    "grid": ("karras", "flow"),
    "shift": (2.0,),
    "rho": (4.0,),
    "eps": (0.01,),
    "clip": (True,),
    "clip_range": (2.0,),
    "clip_noise": (False,),
    "threshold": (0.9,),
    "threshold_max": (2.0,),
    "spacing": ("trailing",),
    "steps_offset": (1,),
    "warp": ("karras",),
    "distilled_steps": (20,),
    "ending": ("clean",),
    "euler_end": (True,),
    "even_steps": (),  # it needs numbered levels, which this model has not
    "plms_start": tuple(named.PLMS_STARTS),
    "third_order": tuple(named.THIRD_ORDERS),
    "timestep_scaling": (2.0,),
    "start": ("marginal",),
    "low_order_end": (100,),
    "guidance": (3.0,),
    "guidance_kind": (),  # without one its weight has no effect, which is refused first
    "guidance_min": (1.0,),
    "guidance_max": (2.0,),
    "guidance_channels": (1,),
    "guidance_rescale": (0.3,),
    "guidance_quantile": (0.9,),
    "guidance_parallel": (0.5,),
    "guidance_radius": (3.0,),
    "guidance_momentum": (-0.5,),
}
"""Values of every setting of `sampling` that an entry may have."""


@pytest.fixture(scope="module")
def experiment():
    return Experiment.of(config_of("ddim"))


def entry_of(text: str, experiment):
    """An entry and an experiment of it; quickly, since only what is of sampling differs."""
    (entry,) = entries.sampler_entries(config_of(text))
    config = Recorded.of(entry.at(0))
    guidance, sampler = sde_lib.build_guidance(config), samplers.build(config.sampling)
    times = samplers.build_times(config.sampling, experiment.score, config.sde.num_scales)
    limit = build_limit(config.sampling, lambda key: (-1.0, 1.0))
    samplers.start_scale(config.sampling, experiment.score, times)
    return entry, replace(
        experiment, config=config, sampler=sampler, guidance=guidance, times=times, limit=limit
    )


def drawn_by(experiment) -> tuple[object, list[np.ndarray]]:
    """All that samples depend on beside the model and the seed."""
    generator = make_generator(experiment, experiment.score)
    plan = generator.sampler.plan(generator.score, generator.times)
    guided = experiment.guidance_settings or {}
    limited = experiment.limit and experiment.limit(generator.score)
    start = generator.scale, generator.times, generator.denoise
    told = plan.program, start, tuple(guided.values()), limited
    return jax.tree.structure(told), jax.tree.leaves(told)


def alike(one, other) -> bool:
    return one[0] == other[0] and all(map(np.array_equal, one[1], other[1]))


def accepted(entry, experiment) -> bool:
    try:
        entries._check_effects(entry, experiment)
    except ValueError as error:
        return "changes nothing here: leave it out" not in str(error)
    return True


def test_the_table_of_values_is_of_every_setting() -> None:
    known = set(OTHERS) | set(entries.SHARED) | set(entries.LENGTHS)
    assert known == set(vp_digits.get_config("smoke").sampling)


READ = {name for _, names in entries.IDLE for name in names} | set(entries.TWO_VALUED)
"""Settings that may be refused though they are read; what is not read cannot matter."""


@pytest.mark.parametrize("base", but_slow(BASES, *(set(BASES) - set(QUICK))))
def test_a_setting_is_refused_exactly_where_it_changes_nothing(base: str, experiment) -> None:
    """Nothing: samples are drawn alike whatever its value."""
    base += "" if base.split()[0] in ("adaptive_adams", "adaptive_sde") else " num_steps=5"
    base = base.replace("ode num_steps=5", "ode").replace("tsit5 num_steps=5", "tsit5")
    plain = drawn_by(entry_of(base, experiment)[1])
    given = {part.partition("=")[0] for part in base.split()[1:]}
    for name in OTHERS.keys() - given:
        changes, taken = [], set()
        for value in OTHERS[name]:
            try:
                entry, other = entry_of(f"{base} {name}={value}", experiment)
                was = accepted(entry, other)
                if was or name in READ:
                    changes.append(not alike(drawn_by(other), plain))
                taken.add(was)
            except ValueError:
                continue  # there is no such sampler
        assert len(taken) < 2, (base, name)
        assert taken == set() or taken == {any(changes)}, (base, name)


REFUSED = [
    ("heun nfe=0", "'heun nfe=0': nfe must be above 0"),
    ("ddim num_steps=0", "'ddim num_steps=0': num_steps must be above 0"),
    ("rk4 nfe=3", "'rk4 nfe=3': sampling.nfe must be at least 5"),
    ("heun nfe=9 num_steps=4", "num_steps changes nothing here"),
    ("heun rho=5 rho=6", "rho is given twice"),
    ("heun predictor=ddim", "predictor cannot be of one entry: the predictor is the entry's first"),
    ("heun num_samples=9", "num_samples cannot be of one entry"),
    ("heun batch_size=9", "batch_size cannot be of one entry"),
    ("heun step=9", "step cannot be of one entry"),
    ("heun ema=False", "ema cannot be of one entry"),
    ("heun frames=4", "frames cannot be of one entry"),
    ("ddim; ddim guidance_min=1", "'ddim guidance_min=1': guidance_min changes nothing here"),
    ("ode nfe=20", "sampling.nfe must be 0 with sampling.predictor='ode'"),
    ("ode num_steps=20", "'ode num_steps=20': num_steps changes nothing here"),
    ("adaptive_sde grid=trailing", "sampling.grid='trailing' has the times of a discrete model"),
    ("ddim eta=2", "'ddim eta=2': sampling.eta must be at most 1"),
    ("ddim eta=x", "'ddim eta=x': sampling.eta must be a number"),
]


@pytest.mark.parametrize("text, words", REFUSED)
def test_what_an_entry_cannot_have_is_refused_naming_it(text, words) -> None:
    with pytest.raises(ValueError, match=r"^eval\.samplers, ") as caught:
        planned(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


LENGTHS = [
    ("heun", [(5, 2), (12, 5)]),
    ("heun nfe=10", [(0, 4)]),
    ("heun num_steps=4", [(0, 4)]),
    ("ode", [(0, 1)]),
    ("ode corrector=langevin num_steps=3", [(0, 3)]),
    ("rk4 nfe=9", [(0, 2)]),
]


@pytest.mark.parametrize("text, cells", LENGTHS)
def test_an_entry_is_as_long_as_it_says_or_as_every_budget(text, cells) -> None:
    found = planned(text, sampler_nfe=(5, 12))
    assert [(p.budget, len(p.experiment.times) - 1) for p in found] == cells
