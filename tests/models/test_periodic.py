"""Periodic axes: what moves in moves out, to round-off."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.fitted import resize
from models.layers.conv import Conv, convolve
from models.layers.resampling import Fir, Plain
from tests.models.cases import QUICK, Case
from tests.slow import but_slow, slow

ROUND_OFF = 2e-5
"""Outputs are of order one, after some fifty float32 operations of as many terms each."""
ANY_SHIFT = {
    "series of odd length": lambda: Case(
        "unet", (7, 2), periodic=(0,), ch_mult=(1, 1), attn_resolutions=(8,)
    ),
    "one axis of two": lambda: Case("unet", (7, 9, 1), periodic=(1,)),
    "field": lambda: Case("unet", (9, 6, 1), periodic=(0, 1)),
}
HALVING = {
    "fir": {"fir": True, "progressive": "output_skip", "progressive_input": "input_skip"},
    "convolutions": {"resblock_type": "ddpm", "progressive": "residual",
                     "progressive_input": "residual", "attn_resolutions": (8,)},
    "fir and convolutions": {"resblock_type": "ddpm", "fir": True, "progressive": "residual",
                             "progressive_input": "residual", "attn_resolutions": (4,)},
}  # fmt: skip


def shifted(of, x, axis, places):
    """The largest distance of the output of x moved from the output moved."""
    moved = lambda y: jnp.roll(y, places, axis + 1)
    return float(np.abs(of(moved(x)) - moved(of(x))).max())


@pytest.mark.parametrize("name", but_slow(ANY_SHIFT, "field"))
def test_a_unet_is_equivariant_to_every_shift(name):
    of = ANY_SHIFT[name]()
    x, axes = of.examples(), of.config.model.periodic
    for axis in axes:
        for places in range(1, x.shape[axis + 1]):
            assert shifted(of, x, axis, places) < ROUND_OFF
    for axis in set(range(x.ndim - 2)) - set(axes):
        assert shifted(of, x, axis, 1) > 1e-2  # this axis has ends


@pytest.mark.parametrize("name", but_slow(HALVING, "fir", "convolutions"))
def test_ncsnpp_is_equivariant_to_shifts_by_multiples_of_its_halving(name):
    of = Case("ncsnpp", (8, 6, 1), periodic=(0,), **HALVING[name])
    x = of.examples()
    for places in (2, 4, 6):
        assert shifted(of, x, 0, places) < ROUND_OFF
    assert shifted(of, x, 0, 1) > 1e-3
    assert shifted(of, x, 1, 2) > 1e-3


@slow
def test_a_condition_of_the_same_field_moves_with_it():
    of = Case("unet", (8, 1), periodic=(0,), condition="image", data__condition=(4, 1))
    x, image = of.examples(), jax.random.normal(jax.random.key(3), (2, 4, 1))
    moved = of(jnp.roll(x, 2, 1), {"image": jnp.roll(image, 1, 1)})
    assert np.abs(moved - jnp.roll(of(x, {"image": image}), 2, 1)).max() < ROUND_OFF


@pytest.mark.parametrize("lengths", [(10, 6), (3, 4)])
def test_resizing_a_periodic_axis_is_that_of_a_longer_field(lengths):
    image = jax.random.normal(jax.random.key(0), (1, 5, 4, 2))
    tiled = jax.image.resize(
        jnp.tile(image, (1, 5, 1, 1)), (1, 5 * lengths[0], lengths[1], 2), "linear"
    )
    inside = tiled[:, 2 * lengths[0] : 3 * lengths[0]]
    np.testing.assert_allclose(resize(image, lengths, (0,)), inside, atol=1e-6)


@pytest.mark.parametrize("method", ["up", "down", "up_for_conv", "down_for_conv"])
@pytest.mark.parametrize("kind", [Plain, lambda **own: Fir((1.0, 3.0, 3.0, 2.0), **own)])
def test_resampling_a_periodic_axis_is_that_of_a_longer_field(kind, method):
    x = jax.random.normal(jax.random.key(0), (1, 6, 6, 1))
    found = getattr(kind(periodic=(0, 1)), method)(x)
    tiled = getattr(kind(), method)(jnp.tile(x, (1, 3, 3, 1)))
    n = {"up": 12, "down": 3}.get(method, 12 if "up" in method else 6)
    size = found.shape[1]
    np.testing.assert_allclose(found, tiled[:, n : n + size, n : n + size], atol=1e-6)


@pytest.mark.parametrize("dilation", [1, (2, 3)])
@pytest.mark.parametrize("periodic", [(), (0,), (0, 1)])
def test_convolutions_of_any_rank_are_their_definition(dilation, periodic):
    rng = np.random.default_rng(0)
    x, kernel = rng.standard_normal((1, 5, 4, 2)), rng.standard_normal((3, 3, 2, 3))
    steps = (dilation,) * 2 if isinstance(dilation, int) else dilation
    wide = x
    for axis, step in enumerate(steps):
        border = [(step, step) if a == axis + 1 else (0, 0) for a in range(4)]
        wide = np.pad(wide, border, mode="wrap" if axis in periodic else "constant")
    wanted = sum(
        wide[:, u * steps[0] : u * steps[0] + 5, v * steps[1] : v * steps[1] + 4] @ kernel[u, v]
        for u in range(3)
        for v in range(3)
    )
    x, kernel = jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)
    found = convolve(x, kernel, dilation, periodic)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    layer = Conv(3, dilation=dilation, periodic=periodic)
    found = layer.apply({"params": {"kernel": kernel, "bias": jnp.zeros(3)}}, x)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    line = convolve(x[:, :, 0], kernel[:, 1], steps[0], periodic[:1])
    column = convolve(x[:, :, :1], kernel[:, 1:2], (steps[0], 1), periodic[:1])
    np.testing.assert_allclose(line, column[:, :, 0], atol=1e-5)


def test_strided_convolutions_wrap_as_they_pad():
    x = jax.random.normal(jax.random.key(0), (1, 6, 6, 2))
    layer = Conv(2, stride=2, periodic=(0, 1))
    params = jax.jit(layer.init, compiler_options=QUICK)(jax.random.key(1), x)
    tiled = Conv(2, stride=2).apply(params, jnp.tile(x, (1, 3, 3, 1)))
    np.testing.assert_allclose(layer.apply(params, x), tiled[:, 3:6, 3:6], atol=1e-5)
