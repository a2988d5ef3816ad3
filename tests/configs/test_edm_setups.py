"""EDM's set-ups are the published ones."""

import jax
import jax.numpy as jnp
import pytest

import models
from configs import edm, schema
from modes.experiment import Experiment
from tests.slow import but_slow
from train_lib.ema import EMA

# As the authors' networks count, and for NCSN++ the 128 fixed frequencies, which they do not.
SIZES = {
    "cifar10-32x32-cond-vp": 55_735_299,
    "cifar10-32x32-cond-ve": 56_400_643 + 128,
    "cifar10-32x32-uncond-vp": 55_733_891,
    "cifar10-32x32-uncond-ve": 56_397_827 + 128,
    "ffhq-64x64-uncond-vp": 61_805_571,
    "ffhq-64x64-uncond-ve": 62_761_091 + 128,
    "afhqv2-64x64-uncond-vp": 61_805_571,
    "afhqv2-64x64-uncond-ve": 62_761_091 + 128,
    "imagenet-64x64-cond-adm": 295_899_267,
}


def test_all_set_ups_are_there():
    assert set(edm.SETUPS) == set(SIZES)


OTHERS = [n for n in SIZES if n not in ("cifar10-32x32-cond-vp", "imagenet-64x64-cond-adm")]


@pytest.mark.parametrize("name", but_slow(SIZES, *OTHERS))
def test_the_networks_have_the_published_number_of_parameters(name):
    config = edm.get_config(name)
    network = models.build(config)
    shapes = jax.eval_shape(lambda key: models.init(network, key, config), jax.random.key(0))
    assert models.count(shapes) == SIZES[name]


@pytest.mark.parametrize("name", SIZES)
def test_every_set_up_builds_and_can_be_made_small(name):
    schema.check(edm.get_config(name))
    config = edm.get_config(f"{name},smoke")
    assert config.model.nf == 16
    experiment = Experiment.of(config)
    assert float(experiment.times[0]) == 80.0
    assert float(experiment.times[-1]) == pytest.approx(0.002)


def test_a_set_up_undoes_the_one_before():
    both = edm.get_config("imagenet-64x64-cond-adm,ffhq-64x64-uncond-ve")
    both.model.dtype = "float32"
    assert both == edm.get_config("ffhq-64x64-uncond-ve")


HALF_LIVES = [
    ("cifar10-32x32-cond-vp", 5e5),
    ("ffhq-64x64-uncond-vp", 5e5),
    ("imagenet-64x64-cond-adm", 5e7),
]


@pytest.mark.parametrize("name, images", HALF_LIVES)
def test_averages_forget_half_within_the_published_number_of_images(name, images):
    config = edm.get_config(name)
    updates = images / config.training.batch_size
    assert config.model.ema_rate**updates == pytest.approx(0.5)


def test_half_life_of_the_average_grows_with_the_updates():
    ema = EMA((0.9999,), rampup=0.05)
    rates = [float(ema.rate(0.9999, jnp.asarray(n))) for n in (1, 2, 101, 1001, 10**6)]
    # After n updates the half-life is 0.05 n, until the rate itself is reached: 0.5^(20 / n).
    assert rates == pytest.approx([0.0, 0.5**20, 0.5**0.2, 0.5**0.02, 0.9999], rel=1e-5)
