"""Every config of the repository builds, and every setting is checked by one table."""

import importlib
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from configs import command_line, defaults, schema
from modes.experiment import Experiment
from sde_lib import build_guidance
from sde_lib.guides import ABSENT
from tests.slow import but_slow
from train_lib.step import make_step

FOLDER = Path(schema.__file__).parent
FILES = sorted(p.stem for p in FOLDER.glob("*.py") if "def get_config(" in p.read_text())
FILES.remove("score_sde")  # a file of many configs: tests/configs/test_score_sde.py
for name in ("arrays", "fields", "sbi", "series"):  # of other data: tests/configs/test_of_arrays.py
    FILES.remove(name)


def experiment(name: str, **settings: str) -> Experiment:
    stem, colon, argument = name.partition(":")
    return Experiment.of(command_line.load(f"{FOLDER / stem}.py{colon}{argument}", settings))


def test_the_configs_of_the_readme_are_there():
    named = {f"{sde}_{data}" for sde in ("vp", "ve", "subvp") for data in ("digits", "cifar")}
    assert named <= set(FILES)


ALSO = [n for n in FILES if n != "edm"]


@pytest.mark.parametrize("name", but_slow(FILES, *ALSO))
def test_the_smoke_variant_of_a_config_makes_an_update(name):
    e = experiment(f"{name}:smoke")
    state = e.abstract_state()
    batch = {
        "image": jax.ShapeDtypeStruct((1, 8, *e.shape), jnp.float32),
        "label": jax.ShapeDtypeStruct((1, 8), jnp.int32),
    }
    with jax.numpy_dtype_promotion("standard"):  # optax takes powers of Python and int32 numbers
        after, metrics = jax.eval_shape(make_step(e.recipe), state, batch)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == (
        jax.tree.map(lambda x: (x.shape, x.dtype), state)
    )
    assert metrics.loss.shape == (1,)


def refusal_of_guidance(config):
    """Words of refusal of a config's guidance, "" for none."""
    try:
        build_guidance(config, ABSENT)
    except ValueError as error:
        return str(error)
    return ""


def test_no_variant_is_guided_by_what_it_is_not_told():
    named = [
        (name, variant)
        for name in FILES
        for variant in getattr(importlib.import_module(f"configs.{name}"), "VARIANTS", ())
    ]
    loaded = {f"{name}:{variant}": command_line.load(f"{FOLDER / name}.py:{variant}", {})
              for name, variant in named}  # fmt: skip
    said = {name: refusal_of_guidance(config) for name, config in loaded.items()}
    assert {name: words for name, words in said.items() if words} == {}
    assert len(said) > len(FILES)


def test_variants_are_applied_in_order():
    config = command_line.load(f"{FOLDER / 'vp_cifar.py'}:deep,smoke", {})
    assert (config.model.num_res_blocks, config.training.n_iters) == (1, 8)
    config = command_line.load(f"{FOLDER / 'vp_cifar.py'}:smoke,deep", {})
    assert (config.model.num_res_blocks, config.training.n_iters) == (8, 950_001)


def test_a_setting_is_declared_in_one_file_and_every_file_is_in_the_table():
    files = sorted(p.stem for p in (FOLDER / "defaults").glob("*.py") if p.stem != "__init__")
    modules = [importlib.import_module(f"configs.defaults.{file}") for file in files]
    declared = [name for m in modules for name in getattr(m, "SETTINGS", ())]
    assert sorted([*declared, "seed"]) == sorted(defaults.SETTINGS)


def test_the_defaults_pass_their_own_rules():
    schema.check(schema.get_default())


@pytest.mark.parametrize("name", sorted(defaults.SETTINGS))
def test_every_setting_refuses_another_type_and_says_what_it_is_for(name):
    config = schema.get_default().unlock()
    section, _, key = name.rpartition(".")
    with config.ignore_type():
        (config[section] if section else config)[key] = None
    with pytest.raises(ValueError, match=f"^{name} must be "):
        schema.check(config)
    assert defaults.SETTINGS[name].meaning


def test_a_setting_of_ones_own_is_refused_with_the_nearest_known():
    config = schema.get_default().unlock()
    config.optim.learning_rate_warmup = 3
    config.optim.warmups = 3
    with pytest.raises(ValueError, match=r"unknown setting optim\."):
        schema.check(config)
    with pytest.raises(ValueError, match=r"did you mean 'optim\.warmup'\?"):
        schema.check_name("optim.warmups")
