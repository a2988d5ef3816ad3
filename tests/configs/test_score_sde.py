"""The published configurations, key by key against the published files."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import models
import samplers
import sde_lib
from configs import (
    command_line,
    defaults,
    published,
    schema,
    score_sde,
    subvp_cifar,
    ve_cifar,
    vp_cifar,
)
from modes.experiment import Experiment
from train_lib.step import make_step

TABLE = json.loads(Path(__file__).with_name("score_sde_published.json").read_text())
FILE = Path(score_sde.__file__)

NETWORKS_TO_COME: set[str] = set()
"""Networks whose configs are checked here; `test_the_networks_to_come` says when they come."""

RENAMED = {
    "training.sde": "sde.name",
    "model.sigma_min": "sde.sigma_min",
    "model.sigma_max": "sde.sigma_max",
    "model.beta_min": "sde.beta_min",
    "model.beta_max": "sde.beta_max",
    "model.num_scales": "sde.num_scales",
}
FOLDERS = {"LSUN": "folder", "FFHQ": "folder", "CelebAHQ": "folder"}
WORDS = {
    "training.sde": sde_lib.PUBLISHED_NAMES,
    "sampling.predictor": samplers.PUBLISHED_NAMES,
    # Their TFRecords and TensorFlow's preparation are replaced by a folder of the pictures.
    "data.dataset": FOLDERS,
}
"""Published word -> ours."""

NOT_HERE = {
    "sampling.method": "always pc: predictor, corrector and ODE solvers are all samplers here",
    "model.attention_type": "no published code reads it",
    "model.conv_size": "no published code reads it",
    "model.sigma_begin": "no published code reads it",
    "optim.amsgrad": "no published code reads it",
    "training.loss": "a slip for training.sde, see CORRECTED",
    "training.continuouse": "a slip for training.continuous, see CORRECTED",
    "training.n_jitted_steps": "a matter of speed only, which differs between machines",
    "training.eval_freq": "of one batch there, of all held-out images here",
    "eval.begin_ckpt": "no loop over checkpoints",
    "eval.end_ckpt": "no loop over checkpoints",
    "eval.num_samples": "of that loop",
    "eval.enable_sampling": "of that loop",
    "eval.enable_loss": "of that loop",
    "eval.enable_bpd": "of that loop",
    "eval.bpd_dataset": "of that loop",
    "data.category": "LSUN is a folder",
    "data.tfrecords_path": "data.data_dir, which is the user's",
    "device": "JAX's own",
}
"""Published key -> why it is not compared."""

NOT_READ = {
    "ddpm": {"model.embedding_type"},
    "ncsn": {"model.embedding_type"},
    "ncsnv2_64": {"model.embedding_type"},
    "ncsnv2_128": {"model.embedding_type"},
}
"""Network -> published keys that mean nothing to it."""

CORRECTED = {
    # 1,024 pictures of this size are 13 GB.
    ("ve/ffhq_ncsnpp_continuous", "eval.batch_size"): (1024, 8),
    ("ve/celebahq_ncsnpp_continuous", "eval.batch_size"): (1024, 8),
    # 'continuouse' is written, which leaves the default.
    ("ve/ncsnv2/bedroom", "training.continuous"): (True, False),
    # 'training.loss' is written.
    ("ve/ncsn/celeba", "training.sde"): (None, "ve"),
}
"""(path, published key) -> (published, ours)."""

OURS = {"data.crop", "data.filter", "sampling.norm", "sampling.ancestral_variance"}
"""Settings beyond the schema's defaults that no published file has, but the published code does."""


def published_file(name):
    values = {**TABLE["common"], **TABLE["configs"][name]}
    return {key: value for key, value in values.items() if value is not None}


def flat(name):
    return schema.flatten(score_sde.get_config(name))


def same(value):
    return tuple(value) if isinstance(value, list) else value


def compared(name):
    """{published key: (published value in our words, ours)}."""
    ours = flat(name)
    keys = published_file(name).keys() - NOT_HERE.keys() - NOT_READ.get(ours["model.name"], set())
    keys |= {key for path, key in CORRECTED if path == name}
    found = {}
    for key in keys:
        value = same(published_file(name).get(key))
        value = WORDS[key].get(value, value) if key in WORDS else value
        found[key] = (value, ours[RENAMED.get(key, key)])
    return found


NETWORK = {name: flat(name)["model.name"] for name in score_sde.CONFIGS}
BUILT = [name for name, network in NETWORK.items() if network not in NETWORKS_TO_COME]


def test_all_and_only_the_published_paths_are_there():
    assert score_sde.CONFIGS.keys() == TABLE["configs"].keys() == published.PUBLISHED.keys()
    assert len(score_sde.CONFIGS) == 39


@pytest.mark.parametrize("name", score_sde.CONFIGS)
def test_every_value_is_the_published_one(name):
    different = {key: pair for key, pair in compared(name).items() if pair[0] != pair[1]}
    assert different == {key: pair for (path, key), pair in CORRECTED.items() if path == name}


@pytest.mark.parametrize("name", score_sde.CONFIGS)
def test_every_other_value_is_a_default(name):
    defaults, ours = schema.flatten(schema.get_default()), flat(name)
    stated = {RENAMED.get(key, key) for key in compared(name)}
    others = ours.keys() - stated - OURS
    assert {key: ours[key] for key in others} == {key: defaults[key] for key in others}


def test_every_published_key_is_accounted_for():
    keys = {key for name in TABLE["configs"] for key in published_file(name)}
    known = defaults.SETTINGS.keys() | RENAMED.keys()
    assert keys - known <= NOT_HERE.keys() <= keys


@pytest.mark.parametrize("name", [n for n in BUILT if NETWORK[n] in NOT_READ])
def test_a_network_does_not_read_what_is_left_out(name):
    config = score_sde.get_config(name)
    network = models.build(config)
    for key in NOT_READ[config.model.name]:
        config.update_from_flattened_dict({key: published_file(name)[key]})
    assert models.build(config) == network


def test_settings_that_only_the_published_code_states():
    for name, config in ((n, flat(n)) for n in score_sde.CONFIGS):
        file = published_file(name)
        assert config["data.crop"] == (140 if file["data.dataset"] == "CELEBA" else 0)
        bicubic = file["data.dataset"] in FOLDERS and file["data.image_size"] >= 256
        assert config["data.filter"] == ("bicubic" if bicubic else "bilinear")
        # DDPM's ancestral sampling has the larger of the two variances.
        if config["sampling.predictor"] == "ancestral":
            assert config["sampling.ancestral_variance"] == "kernel"
        if config["sampling.corrector"] == "langevin":
            assert config["sampling.norm"] == "sample"


# What the configs build --------------------------------------------------------------------------


def test_the_networks_to_come():
    """Fails when one of them is there: it is then built below once its exception is deleted."""
    assert set(NETWORK.values()) - models.NETWORKS.keys() == NETWORKS_TO_COME


@pytest.mark.parametrize("name", score_sde.CONFIGS)
def test_the_config_passes_every_rule_and_so_does_its_smoke_variant(name):
    schema.check(score_sde.get_config(name))
    smoke = score_sde.get_config(f"{name},smoke")
    schema.check(smoke)
    assert smoke.training.n_iters == 8
    if name in BUILT:
        models.check(smoke)


@pytest.mark.parametrize("name", BUILT)
def test_the_config_builds_its_experiment(name):
    config = score_sde.get_config(name)
    e = Experiment.of(config)
    size = config.data.image_size
    assert e.shape == (size, size, 3)
    assert len(e.times) == config.sde.num_scales + 1
    level = jnp.full((1,), 0.5)
    label = e.score.parametrization.conditioning.label(e.sde, level)
    expected = {
        ("ve", True): jnp.log(e.sde.sigma(level)),
        ("ve", False): jnp.round(0.5 * (config.sde.num_scales - 1))[None],
        ("vp", True): jnp.full((1,), 499.5),
        ("subvp", True): jnp.full((1,), 499.5),
        ("vp", False): jnp.full((1,), 499.5),
    }[config.sde.name, config.training.continuous]
    # log sigma is found by way of exp and log: a few units in the last place of about 1
    assert jnp.allclose(label, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_the_smoke_variant_of_a_network_without_a_file_of_its_own_makes_an_update():
    e = Experiment.of(score_sde.get_config("vp/ddpm/church,smoke"))
    state = e.abstract_state()
    assert models.count(state.params) < 8_000_000
    batch = {"image": jax.ShapeDtypeStruct((1, 8, *e.shape), jnp.float32)}
    with jax.numpy_dtype_promotion("standard"):  # optax takes powers of Python and int32 numbers
        after, _ = jax.eval_shape(make_step(e.recipe), state, batch)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == (
        jax.tree.map(lambda x: (x.shape, x.dtype), state)
    )


# Names -------------------------------------------------------------------------------------------


def test_a_path_with_slashes_is_an_argument_on_the_command_line():
    argument = f"{FILE}:ve/cifar10_ncsnpp_continuous"
    config = command_line.load(argument, {"model.nf": "64"})
    expected = score_sde.get_config("ve/cifar10_ncsnpp_continuous")
    expected.model.nf = 64
    assert config == expected


@pytest.mark.parametrize(
    "argument, words",
    [
        ("ve/cifar10_ncsnp", "did you mean 've/cifar10_ncsnpp' or "),
        ("ve/cifar10_ncsnpp.py", "did you mean 've/cifar10_ncsnpp' or "),
        ("bedroom", "vp/ddpm/bedroom"),
        ("", "use ve/cifar10_ncsnpp, "),
        ("ve/cifar10_ncsnpp,smok", "among bits, fid, ode_fid, smoke, got 'smok'"),
    ],
)
def test_an_unknown_name_is_refused_with_those_near_it(argument, words):
    with pytest.raises(ValueError, match=rf"the config's argument must be .*{words}"):
        command_line.load(f"{FILE}:{argument}", {})


@pytest.mark.parametrize(
    "file, name, deep",
    [
        (vp_cifar, "vp/cifar10_ddpmpp_continuous", "vp/cifar10_ddpmpp_deep_continuous"),
        (subvp_cifar, "subvp/cifar10_ddpmpp_continuous", "subvp/cifar10_ddpmpp_deep_continuous"),
        (ve_cifar, "ve/cifar10_ncsnpp_continuous", "ve/cifar10_ncsnpp_deep_continuous"),
    ],
)
def test_the_files_of_one_configuration_are_the_published_ones(file, name, deep):
    snr = {} if file is ve_cifar else {"sampling.snr": 0.01}
    assert schema.flatten(file.get_config()) == flat(name) | snr
    assert schema.flatten(file.get_config("deep")) == flat(deep) | snr


def test_the_table_of_the_documentation_is_current():
    text = published.DOCUMENT.read_text()
    assert published.renew(text) == text, "run python -m configs.published"
    assert text.count(published.BEGIN) == text.count(published.END) == 1
    assert published.table() in text
