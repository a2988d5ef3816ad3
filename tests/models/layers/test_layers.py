"""Layers against closed forms and second implementations."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from models.layers.attend import attend
from models.layers.blocks import Upsample
from models.layers.conditions import one_hot
from models.layers.conv import conv2d
from models.layers.embeddings import Fourier, Positional
from models.layers.norm import FixedGroups, GroupNorm, group_mean, normalize_groups
from models.layers.resampling import Fir, Plain
from models.layers.style import Style, default_init
from tests.models.published import NCSNPP, make

FIR = Fir((1.0, 3.0, 3.0, 1.0))
TINY = {"nf": 8, "ch_mult": (1,), "num_res_blocks": 1, "attn_resolutions": ()}
SMALL = {"image_size": 4}


def draw(shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def by_definition(image, kernel, up, down, before, length):
    """Zeros inserted, padded, convolved and thinned out, with loops, in float64."""
    kernel = np.outer(kernel, kernel) / np.sum(kernel) ** 2 * up**2
    taps, height = len(kernel), image.shape[0]
    wide = np.zeros((4 * height + 4 * taps,) * 2)
    start = 2 * taps
    wide[start : start + up * height : up, start : start + up * height : up] = image
    out = np.zeros((length, length))
    for i in range(length):
        for j in range(length):
            top, left = start + down * i - before, start + down * j - before
            window = wide[top : top + taps, left : left + taps]
            out[i, j] = (window * kernel[::-1, ::-1]).sum()
    return out


@pytest.mark.parametrize("kernel", [(1, 3, 3, 1), (1, 1), (1, 2, 1), (1, 5, 10, 9, 5, 2)])
@pytest.mark.parametrize(
    ("method", "up", "down", "before", "length"),
    [
        ("up", 2, 1, lambda p: (p + 1) // 2 + 1, 12),
        ("down", 1, 2, lambda p: (p + 1) // 2, 3),
        ("up_for_conv", 2, 1, lambda p: (p + 1) // 2 + 2, 14),
        ("down_for_conv", 1, 1, lambda p: (p + 3) // 2, 7),
    ],
)
def test_fir_is_upsample_filter_downsample(kernel, method, up, down, before, length):
    image = draw((1, 6, 6, 1))
    found = getattr(Fir(tuple(map(float, kernel))), method)(image)[0, :, :, 0]
    pad = before(len(kernel) - 2)
    expected = by_definition(np.asarray(image[0, :, :, 0]), kernel, up, down, pad, length)
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_fir_keeps_a_constant_inside_and_fades_at_the_border():
    ones = jnp.ones((1, 8, 8, 1))
    up, down = FIR.up(ones)[0, :, :, 0], FIR.down(ones)[0, :, :, 0]
    np.testing.assert_allclose(up[1:-1, 1:-1], 1, rtol=1e-6)
    np.testing.assert_allclose(up[0, 1:-1], 0.75, rtol=1e-6)
    np.testing.assert_allclose(down[1:-1, 1:-1], 1, rtol=1e-6)
    np.testing.assert_allclose(down[0, 0], 0.875**2, rtol=1e-6)


def test_fir_impulse_response_is_the_kernel():
    impulse = jnp.zeros((1, 8, 8, 1)).at[0, 4, 4, 0].set(1.0)
    taps = np.array([1, 3, 3, 1]) / 4
    found = FIR.up(impulse)[0, :, :, 0]
    np.testing.assert_allclose(found[7:11, 7:11], np.outer(taps, taps), rtol=1e-6)
    assert np.count_nonzero(found) == 16


def test_plain_resampling_repeats_and_averages():
    image = draw((2, 4, 4, 3))
    np.testing.assert_array_equal(Plain().up(image), np.kron(image, np.ones((1, 2, 2, 1))))
    np.testing.assert_allclose(Plain().down(Plain().up(image)), image, rtol=1e-6)


@pytest.mark.parametrize(("channels", "groups"), [(12, 3), (32, 32)])
def test_group_norm_equals_the_two_pass_definition_far_from_zero(channels, groups):
    # A mean 1000 times the spread: E[x^2] - E[x]^2 in float32 would have no digit left.
    x = draw((2, 5, 5, channels)) + 1000
    grouped = np.asarray(x, np.float64).reshape(2, 25, groups, -1)
    mean, var = grouped.mean((1, 3), keepdims=True), grouped.var((1, 3), keepdims=True)
    expected = ((grouped - mean) / np.sqrt(var + 1e-6)).reshape(x.shape)
    found = jax.jit(normalize_groups, static_argnums=3)(
        x, jnp.ones(channels), jnp.zeros(channels), groups
    )
    # x - mean is exact, the float32 mean is off by about 1000 * 1e-7 of a standard deviation.
    np.testing.assert_allclose(found, expected, atol=5e-4)


def test_group_norm_derivatives_equal_those_of_the_definition():
    def plainly(x, scale, bias):
        centred = x - group_mean(x, 3)
        n = centred * jax.lax.rsqrt(group_mean(centred * centred, 3) + 1e-6)
        return n * scale[None, None, None] + bias[None, None, None]

    shapes = (2, 3, 3, 12), (12,), (12,)
    at, towards = ([draw(shape, seed + i) for i, shape in enumerate(shapes)] for seed in (0, 3))
    w = draw(shapes[0], 6)

    def derivatives(f):
        forward = lambda *y: jax.jvp(f, tuple(y), tuple(towards))[1]
        second = jax.grad(lambda *y: jnp.vdot(forward(*y), w), (0, 1, 2))
        return forward(*at), jax.vjp(f, *at)[1](w), second(*at)

    found = jax.jit(derivatives, static_argnums=0)(lambda *y: normalize_groups(*y, 3))
    expected = jax.jit(derivatives, static_argnums=0)(plainly)
    for ours, theirs in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_group_norm_statistics_stay_float32_in_bfloat16():
    x = draw((2, 4, 4, 8)).astype(jnp.bfloat16)
    params = {"params": {"scale": jnp.linspace(0.5, 2, 8), "bias": jnp.linspace(-1, 1, 8)}}
    low = jax.jit(GroupNorm(2, jnp.bfloat16).apply)(params, x)
    assert low.dtype == jnp.bfloat16
    exact = jax.jit(GroupNorm(2).apply)(params, x.astype(jnp.float32))
    np.testing.assert_array_equal(low, exact.astype(jnp.bfloat16))


def test_attention_of_equal_keys_is_the_mean_and_of_far_keys_a_choice():
    query, value = draw((2, 5, 4)), draw((2, 3, 4), 1)
    mean = value.mean(1, keepdims=True)
    same = attend(query, jnp.ones((2, 3, 4)), value)
    np.testing.assert_allclose(same, jnp.broadcast_to(mean, (2, 5, 4)), atol=1e-6)
    basis = 200 * jnp.eye(4)[None, :3].repeat(2, 0)
    np.testing.assert_allclose(attend(basis, basis, value), value, atol=1e-6)


def test_attention_logits_are_scaled_by_the_root_of_the_channels():
    query, key, value = draw((1, 2, 16)), draw((1, 3, 16), 1), draw((1, 3, 16), 2)
    weights = jax.nn.softmax(np.asarray(query[0]) @ np.asarray(key[0]).T / 4)
    np.testing.assert_allclose(attend(query, key, value)[0], weights @ value[0], atol=1e-5)


def test_positional_embedding_runs_from_period_two_pi_to_ten_thousand_times_that():
    label = jnp.array([0.0, 3.5, 999.0])
    found = Positional(9).apply({}, label)
    rates = 10000.0 ** (-np.arange(4) / 3)
    angle = np.outer(label, rates)
    expected = np.concatenate([np.sin(angle), np.cos(angle), np.zeros((3, 1))], 1)
    # An angle of 999 in float32 is known to 6e-5.
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_fourier_embedding_is_of_the_label_as_given():
    frequencies = jnp.array([0.5, -1.25])
    params = {"params": {"frequencies": frequencies}}
    found = Fourier(2, 16.0).apply(params, jnp.array([0.5]))
    angle = 2 * np.pi * 0.5 * np.asarray(frequencies)
    np.testing.assert_allclose(found[0], np.r_[np.sin(angle), np.cos(angle)], atol=1e-6)


def test_fourier_frequencies_have_the_scale_asked_for():
    drawn = Fourier(4096, 16.0).init(jax.random.key(0), jnp.zeros(1))["params"]["frequencies"]
    # The standard deviation of 4096 normal draws is known to 1.1 %; four of those.
    assert abs(drawn.std() / 16 - 1) < 0.045


@pytest.mark.parametrize(("shape", "fan"), [((3, 3, 40, 60), 9 * 50), ((100, 300), 200)])
@pytest.mark.parametrize(("scale", "variance"), [(1.0, 1.0), (0.1, 0.1), (0.0, 1e-10)])
def test_initial_weights_are_uniform_with_variance_scale_over_mean_fan(shape, fan, scale, variance):
    drawn = default_init(scale)(jax.random.key(0), shape)
    bound = np.sqrt(3 * variance / fan)
    assert 0.999 * bound < np.abs(drawn).max() <= bound * (1 + 1e-6)
    # 20,000 or more draws: their variance is known to 0.7 %; four of those.
    assert abs(drawn.var() / (bound**2 / 3) - 1) < 0.03


def test_null_class_is_a_row_of_zeros():
    np.testing.assert_array_equal(one_hot(None, 2, 3), np.zeros((2, 3)))
    np.testing.assert_array_equal(one_hot(jnp.array([-1, 1]), 2, 3), [[0, 0, 0], [0, 1, 0]])


@pytest.fixture(scope="module")
def tiny():
    """Config and parameters of a network that depends on all its inputs."""
    config = make(NCSNPP, {**TINY, "num_classes": 3, "init_scale": 1.0}, SMALL)
    return config, models.init(models.build(config), jax.random.key(0), config)


@pytest.fixture(scope="module")
def conditional(tiny):
    config, params = tiny
    network = models.build(config)

    def run(condition=None, **kwargs):
        x, label = draw((3, 4, 4, 3)), jnp.array([-1.0, 0.0, 1.0])
        return network.apply({"params": params}, x, label, condition, **kwargs)

    return run


def test_class_labels_reach_the_output_and_the_null_class_does_not(conditional):
    classes = conditional(jnp.array([0, -1, 2]))
    rows = conditional(jnp.array([[1.0, 0, 0], [0, 0, 0], [0, 0, 1]]))
    null = conditional()
    np.testing.assert_array_equal(classes, rows)
    np.testing.assert_array_equal(classes[1], null[1])
    assert np.abs(classes - null)[jnp.array([0, 2])].max((1, 2, 3)).min() > 1e-3


def test_dropout_acts_in_training_only_and_by_its_key(conditional):
    still = conditional()
    np.testing.assert_array_equal(conditional(rngs={"dropout": jax.random.key(0)}), still)
    first, again, other = (
        conditional(train=True, rngs={"dropout": jax.random.key(seed)}) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - still).max() > 1e-3
    assert np.abs(first - other).max() > 1e-3


def test_unconditional_network_refuses_class_labels():
    config = make(NCSNPP, TINY, SMALL)
    network = models.build(config)
    with pytest.raises(ValueError, match=r"model\.num_classes is 0"):
        network.init(jax.random.key(0), jnp.zeros((1, 4, 4, 3)), jnp.zeros(1), jnp.zeros(1, int))


def test_bfloat16_computes_near_float32_with_float32_parameters(tiny, conditional):
    config, params = tiny
    low = make(config.model.to_dict(), {"dtype": "bfloat16"}, SMALL)
    network = models.build(low)
    drawn = jax.eval_shape(lambda key: models.init(network, key, low), jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(drawn)} == {jnp.dtype(jnp.float32)}
    found = network.apply({"params": params}, draw((3, 4, 4, 3)), jnp.array([-1.0, 0.0, 1.0]))
    assert found.dtype == jnp.float32
    # bfloat16 has 8 bits: 0.4 % per operation, some twenty of them in a row.
    exact = conditional()
    assert 1e-5 < np.linalg.norm(found - exact) / np.linalg.norm(exact) < 0.05


@pytest.mark.parametrize("sides", [(5, 6), (6, 5)])
def test_an_odd_side_is_halved_upward_and_doubled_to_what_it_was(sides):
    """PyTorch's strided convolution padded by 1, and its nearest neighbours of a given size."""
    x, plain = draw((1, *sides, 2)), Plain(border_first=True)
    kernel = draw((3, 3, 2, 2), 1)
    halved = conv2d(plain.down_for_conv(x), kernel, 2, ((0, 0), (0, 0)))
    expected = conv2d(x, kernel, 2, ((1, 1), (1, 1)))
    np.testing.assert_allclose(halved, expected, atol=1e-5)
    style = Style(jax.nn.silu, FixedGroups(1), plain, True, 0.0, False, 0.0)
    up = Upsample(style, 2, True, sides)
    params = up.init(jax.random.key(0), halved)
    rows, columns = (np.arange(n) * half // n for n, half in zip(sides, halved.shape[1:3],
                                                                 strict=True))  # fmt: skip
    nearest = np.asarray(halved)[:, rows][:, :, columns]
    doubled = up.apply(params, halved)
    conv = params["params"]["conv"]["kernel"]
    np.testing.assert_allclose(doubled, conv2d(jnp.asarray(nearest), conv), atol=1e-5)
