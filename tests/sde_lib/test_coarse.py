"""The coarse picture of a super-resolution stage: its statistics, and what is refused."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import schema
from configs.changed import with_settings
from configs.kinds import coarse_shape, of_config, seen, with_coarse
from sde_lib.coarse import COARSE_SCHEDULES, Assembly, Coarse, assembly, build
from sde_lib.resizing import upsampled

N = 4000


def config_of(**settings: Any) -> Any:
    own = {"data.image_size": 4, "data.num_channels": 1, "data.coarse": (2,),
           "model.condition": "image+level", "training.coarse_level": 0.8, "data.centered": True,
           "sampling.coarse_level": 0.3}  # fmt: skip
    return with_settings(
        schema.get_default(), own, {k.replace("__", "."): v for k, v in settings.items()}
    )


def made(**settings: Any) -> Coarse:
    found = build(config_of(**settings))
    assert found is not None
    return found


X = np.clip(np.random.default_rng(1).normal(0, 0.4, (3, 4, 4, 1)), -1, 1).astype(np.float32)
LOW = X.reshape(3, 2, 2, 2, 2, 1).mean(axis=(2, 4))
KEYS = jax.random.split(jax.random.key(0), N)


@pytest.mark.parametrize("schedule", COARSE_SCHEDULES)
@pytest.mark.parametrize("place", ["fine", "coarse"])
def test_the_condition_is_a_forward_process_of_the_coarse_picture(schedule, place):
    """Its mean is alpha up(low), its deviation sigma, through the filter if that comes after."""
    coarse = made(data__coarse_schedule=schedule, data__coarse_noise=place)
    low = np.broadcast_to(LOW[:1], (N, 2, 2, 1))
    found = coarse.given(low, KEYS)
    alpha, sigma = (float(c[0]) for c in COARSE_SCHEDULES[schedule](jnp.asarray([0.3])))
    assert alpha**2 + sigma**2 == pytest.approx(1, abs=1e-6)
    np.testing.assert_array_equal(found["level"], np.float32(0.3))
    mean = alpha * np.asarray(upsampled(LOW[:1], (4, 4), "bilinear"))[0]
    # Standard errors of a mean and of a deviation, of N draws: four and a half of them.
    np.testing.assert_allclose(found["image"].mean(axis=0), mean, atol=4.5 * sigma / N**0.5)
    unit = np.eye(4, dtype=np.float32).reshape(4, 2, 2, 1)
    through = np.asarray(upsampled(unit, (4, 4), "bilinear"))
    wanted = np.ones((4, 4, 1)) if place == "fine" else np.sqrt((through**2).sum(axis=0))
    deviation = np.asarray(found["image"]).std(axis=0) / sigma
    np.testing.assert_allclose(deviation, wanted, rtol=4.5 / (2 * N) ** 0.5)


def test_published_schedules_have_their_values():
    """log(alpha^2 / sigma^2) = -log expm1(1e-4 + 10 s^2) for the linear one."""
    s = jnp.asarray([0.0, 0.2, 1.0])
    alpha, sigma = COARSE_SCHEDULES["linear"](s)
    wanted = -np.log(np.expm1(1e-4 + 10 * np.asarray(s, np.float64) ** 2))
    np.testing.assert_allclose(2 * np.log(alpha / sigma), wanted, rtol=1e-5, atol=1e-6)
    alpha, sigma = COARSE_SCHEDULES["cosine"](s)
    np.testing.assert_allclose(alpha, [1, np.cos(np.pi / 10), 0], atol=1e-6)
    np.testing.assert_allclose(sigma, [0, np.sin(np.pi / 10), 1], atol=1e-6)


def test_levels_of_training_are_uniform_and_told():
    coarse = made()
    found = coarse.trained(jax.random.key(3), jnp.asarray(np.broadcast_to(X[:1], (N, 4, 4, 1))))
    s = np.asarray(found["level"])
    assert 0 <= s.min() < s.max() < 0.8
    # A uniform law on [0, 0.8]: mean 0.4, deviation 0.8 / sqrt(12); four and a half errors.
    assert s.mean() == pytest.approx(0.4, abs=4.5 * 0.8 / 12**0.5 / N**0.5)
    assert s.std() == pytest.approx(0.8 / 12**0.5, rel=0.03)
    alpha, sigma = (np.asarray(c) for c in COARSE_SCHEDULES["cosine"](jnp.asarray(s)))
    up = np.asarray(coarse.up(LOW[:1]))[0]
    rest = np.asarray(found["image"]) - alpha[:, None, None, None] * up
    n = rest / np.maximum(sigma, 1e-6)[:, None, None, None]
    assert n.mean() == pytest.approx(0, abs=4.5 / (16 * N) ** 0.5)
    assert n.std() == pytest.approx(1, rel=4.5 / (32 * N) ** 0.5)


def test_without_noise_it_is_the_average_brought_to_size():
    coarse = made(training__coarse_level=0.0, sampling__coarse_level=0.0)
    for found in (coarse.trained(jax.random.key(0), X), coarse.given(LOW, KEYS[:3])):
        np.testing.assert_allclose(found["image"], upsampled(LOW, (4, 4), "bilinear"), atol=1e-6)
        np.testing.assert_array_equal(found["level"], 0)
    told = made(model__condition="image", training__coarse_level=0.0, sampling__coarse_level=0.0)
    assert set(told.trained(jax.random.key(0), X)) == {"image"}


def test_noise_belongs_to_the_sample_and_not_to_its_batch():
    coarse = made()
    whole, last = coarse.given(LOW, KEYS[:3]), coarse.given(LOW[2:], KEYS[2:3])
    np.testing.assert_allclose(whole["image"][2:], last["image"], atol=1e-6)
    assert np.abs(whole["image"][0] - coarse.given(LOW, KEYS[5:8])["image"][0]).max() > 0.1


def test_a_share_of_the_examples_is_blurred_by_three_taps_an_axis():
    point = np.zeros((N, 8, 8, 1), np.float32)
    point[:, 2:4, 2:4] = 1
    settings = {"data__image_size": 8, "data__coarse": (4,), "data__centered": False}
    none = {"training__coarse_level": 0.0, "sampling__coarse_level": 0.0}
    blur = {"training__coarse_blur": 0.5, "training__coarse_blur_std": (0.4, 0.6)}
    coarse = made(data__coarse_filter="nearest", **settings, **none, **blur)
    found = np.asarray(coarse.trained(jax.random.key(0), point)["image"])[:, ::2, ::2, 0]
    np.testing.assert_allclose(found.sum(axis=(1, 2)), 1, atol=1e-5)
    blurred = found[:, 1, 1] < 0.999
    assert blurred.mean() == pytest.approx(0.5, abs=4.5 * 0.5 / N**0.5)
    side = found[blurred, 1, 2] / found[blurred, 1, 1]
    std = np.sqrt(-0.5 / np.log(side))
    assert 0.4 <= std.min() < 0.402
    assert 0.598 < std.max() <= 0.6001
    np.testing.assert_allclose(found[blurred, 2, 2] / found[blurred, 1, 1], side**2, rtol=1e-4)


def test_coarse_pictures_are_clipped_and_rounded_in_training_and_in_sampling():
    none = {"sampling__coarse_level": 0.0, "training__coarse_level": 0.0}
    coarse = made(data__coarse_gray_levels=3, data__coarse_filter="nearest", **none)
    given = np.asarray([-1.7, -0.4, 0.6, 9]).reshape(1, 2, 2, 1).astype(np.float32)
    found = np.asarray(coarse.given(given, KEYS[:1])["image"])[0, ::2, ::2, 0]
    np.testing.assert_allclose(found, [[-1, 0], [1, 1]], atol=1e-6)
    trained = np.asarray(coarse.trained(jax.random.key(0), X)["image"])
    assert set(np.round(trained.ravel(), 5)) <= {-1, 0, 1}


def test_pictures_that_were_handed_on_get_no_more_noise():
    found = Assembly(made(), with_coarse(config_of()), handed_on=True)(None, LOW, None)
    np.testing.assert_allclose(found["image"], upsampled(LOW, (4, 4), "bilinear"), atol=1e-6)
    np.testing.assert_array_equal(found["level"], np.float32(0.3))


def test_rows_have_the_conditions_of_the_data_and_then_the_coarse_picture():
    config = config_of(
        model__condition="text+image+level", data__condition=(5,), model__vocabulary=9
    )
    assert (of_config(config).stored, coarse_shape(config)) == ((5,), (2, 2, 1))
    assert with_coarse(config).stored == (9,)
    assert seen(config).shapes == ((5,), (4, 4, 1), ())
    rows = np.concatenate([np.full((3, 5), 2), LOW.reshape(3, 4)], axis=1)
    found = assembly(config)(jnp.arange(3), jnp.asarray(rows, jnp.float32), KEYS[:3])
    assert set(found) == {"label", "tokens", "mask", "image", "level"}
    np.testing.assert_array_equal(found["tokens"], 2)
    assert found["image"].shape == (3, 4, 4, 1)


REFUSED = [
    ({"data__coarse": (3,)}, r"data\.coarse must be lengths that divide .* 4x4x1, .*, got 3"),
    ({"data__coarse": (4,)}, r"and not all of them, got 4"),
    ({"data__coarse": (2, 2, 2)}, r"got 2,2,2"),
    ({"model__condition": "vector"}, r"model\.condition with an image, such as 'image\+level'"),
    ({"model__condition": "image"}, r"set model\.condition='image\+level'"),
    ({"sampling__coarse_level": 0.9}, r"at most training\.coarse_level = 0\.8, .* got 0\.9"),
    ({"data__missing": "mask", "data__codec": "identity"}, r"data\.missing must be refuse"),
    ({"data__codec": "bounded"}, r"levels, standardize or identity, .* got 'bounded'"),
    ({"data__codec": "identity", "data__coarse_gray_levels": 256}, r"must be 0 without gray"),
    ({"training__coarse_blur_std": (0.6, 0.4)}, r"a least and a largest positive number"),
    ({"data__coarse_filter": "cubic"}, r"data\.coarse_filter must be one of .*'cubic'"),
    ({"data__coarse_schedule": "cos"}, r"data\.coarse_schedule must be one of .*'cos'"),
    ({"data__coarse_noise": "both"}, r"data\.coarse_noise must be one of .*'both'"),
]


@pytest.mark.parametrize("settings, message", REFUSED)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message) as refused:
        build(config_of(**settings))
    assert "\n" not in str(refused.value)
