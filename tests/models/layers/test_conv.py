"""Convolutions against XLA's own, in value and in derivatives of both modes and orders.

Tolerance 1e-5 of the largest entry: float32 sums of at most 9 * 64 products of order one, or of as
many pixels as there are in a batch, whose rounding errors are some 1e-6 at most.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from models.layers.conv import Conv, conv2d
from models.layers.cpu import winograd
from tests.slow import but_slow

ONE = ((1, 1), (1, 1))

# name: (x, kernel, stride, padding). The first group takes Winograd's forms on a CPU.
WINOGRAD = {
    "tiles of 4": ((8, 8, 8, 64), (3, 3, 64, 32), 1, "SAME"),
    "tiles of 4, oblong": ((5, 12, 8, 32), (3, 3, 32, 64), 1, "SAME"),
    "tiles of 4, few channels": ((8, 8, 8, 16), (3, 3, 16, 64), 1, "SAME"),
    "tiles of 4, bordered": ((4, 14, 14, 32), (3, 3, 32, 64), 1, ((0, 0), (0, 0))),
    "tiles of 4, lopsided": ((4, 7, 9, 64), (3, 3, 64, 32), 1, ((2, 1), (0, 1))),
    "tiles of 4, large and odd": ((1, 31, 32, 32), (3, 3, 32, 64), 1, "SAME"),
    "tiles of 4, in runs": ((64, 8, 8, 32), (3, 3, 32, 64), 1, "SAME"),
    "tiles of 2, few": ((1, 8, 8, 64), (3, 3, 64, 64), 1, "SAME"),
    "tiles of 2, oblong": ((5, 6, 10, 32), (3, 3, 32, 64), 1, "SAME"),
    "tiles of 2, one row": ((32, 2, 4, 48), (3, 3, 48, 48), 1, ONE),
    "tiles of 2, odd": ((4, 5, 9, 64), (3, 3, 64, 32), 1, "SAME"),
}
OTHER = {
    "odd": ((4, 3, 5, 64), (3, 3, 64, 32), 1, "SAME"),
    "single pixel": ((2, 1, 1, 8), (3, 3, 8, 4), 1, "SAME"),
    "few channels": ((4, 8, 8, 3), (3, 3, 3, 64), 1, "SAME"),
    "few tiles": ((1, 4, 4, 128), (3, 3, 128, 128), 1, "SAME"),
    "wide border": ((2, 4, 4, 8), (3, 3, 8, 4), 1, ((3, 0), (0, 4))),
    "halving": ((2, 8, 6, 8), (3, 3, 8, 4), 2, "SAME"),
    "halving odd": ((2, 7, 5, 8), (3, 3, 8, 4), 2, "SAME"),
    "halving bordered": ((2, 9, 9, 8), (3, 3, 8, 4), 2, ((0, 0), (0, 0))),
    "1x1": ((2, 5, 4, 8), (1, 1, 8, 4), 1, "SAME"),
    "1x1 halving": ((2, 5, 4, 8), (1, 1, 8, 4), 2, "SAME"),
    "1x1 bordered": ((2, 5, 4, 8), (1, 1, 8, 4), 1, ONE),
    "5x5": ((2, 6, 6, 8), (5, 5, 8, 4), 1, "SAME"),
    "2x2": ((2, 6, 6, 8), (2, 2, 8, 4), 1, "SAME"),
}
CASES = WINOGRAD | OTHER


def draw(seed, *shapes):
    generator = np.random.default_rng(seed)
    return tuple(jnp.asarray(generator.standard_normal(s), jnp.float32) for s in shapes)


def by_xla(x, kernel, stride, padding):
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def both(name):
    """Ours and XLA's as functions of (x, kernel), with a point and a direction."""
    x, kernel, stride, padding = CASES[name]
    kernel_scale = np.sqrt(np.prod(kernel[:3]))
    functions = [lambda x, k, f=f: f(x, k, stride, padding) for f in (conv2d, by_xla)]
    x, kernel, dx, dk = draw(0, x, kernel, x, kernel)
    return functions, (x, kernel / kernel_scale), (dx, dk / kernel_scale)


def energy(f):
    """A loss whose second derivatives are not those of a bilinear map alone."""
    return lambda x, kernel: jnp.sum(jnp.sin(f(x, kernel)))


def assert_close(ours, reference):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(reference), strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * float(jnp.abs(b).max()))


@functools.cache
def derivatives(name):
    """{what: value} by our form and by XLA's, each compiled once for all tests."""
    functions, point, direction = both(name)

    def all_of(f):
        def first(x, kernel):
            return f(x, kernel), jax.grad(energy(f), (0, 1))(x, kernel)

        (y, gradient), (dy, change) = jax.jvp(first, point, direction)
        return {"value": y, "jvp": dy, "gradient": gradient, "jvp of gradient": change}

    return [jax.jit(all_of, static_argnums=0)(f) for f in functions]


SOME = (
    "tiles of 4", "tiles of 4, lopsided", "tiles of 2, few",
    "odd", "1x1", "halving", "few channels",
)  # fmt: skip


@pytest.mark.parametrize("name", but_slow(CASES, *(set(CASES) - set(SOME))))
@pytest.mark.parametrize("what", ["value", "jvp", "gradient", "jvp of gradient"])
def test_map_and_derivatives_are_those_of_xla(name, what):
    assert_close(*(found[what] for found in derivatives(name)))


@pytest.mark.parametrize("name", ["tiles of 4", "odd"])
def test_gradient_of_jvp_is_that_of_xla(name):
    functions, point, direction = both(name)

    def speed(f):
        return lambda p: jax.jvp(energy(f), p, direction)[1]

    assert_close(*(jax.jit(jax.grad(speed(f)))(point) for f in functions))


def test_linearized_map_and_its_transpose_agree():
    (ours, _), (x, kernel), (dx, dk) = both("tiles of 4")
    y, push = jax.linearize(ours, x, kernel)
    (dy,) = draw(1, y.shape)
    pulled = jax.linear_transpose(push, x, kernel)(dy)
    forward = jnp.vdot(push(dx, dk), dy)
    # Sums of 16384 products of order one.
    np.testing.assert_allclose(
        jnp.vdot(pulled[0], dx) + jnp.vdot(pulled[1], dk), forward, rtol=0, atol=2e-3
    )


@pytest.mark.parametrize("axes", [(2, None), (None, 0), (1, 4)])
def test_vmap_is_that_of_xla(axes):
    functions, (x, kernel), _ = both("tiles of 4")
    stacked = [
        a if axis is None else jnp.stack([a, 2 * a, a * a], axis)
        for a, axis in zip((x, kernel), axes, strict=True)
    ]
    pairs = [lambda x, k, f=f: (f(x, k), jax.grad(energy(f), (0, 1))(x, k)) for f in functions]
    assert_close(*(jax.jit(jax.vmap(pair, axes))(*stacked) for pair in pairs))


def lowered(name, platform):
    """A gradient lowered for a platform."""
    (ours, _), point, _ = both(name)
    traced = jax.jit(jax.value_and_grad(energy(ours), (0, 1))).trace(*point)
    return traced.lower(lowering_platforms=(platform,)).as_text()


def convolutions(name, platform):
    """Number of XLA convolutions in it."""
    return lowered(name, platform).count("stablehlo.convolution")


@pytest.mark.parametrize("name", WINOGRAD)
def test_gradient_is_three_convolutions_except_on_a_cpu(name):
    assert convolutions(name, "cuda") == convolutions(name, "tpu") == 3
    assert convolutions(name, "cpu") == 0


@pytest.mark.parametrize("name", ["odd", "few channels", "few tiles"])
def test_shapes_that_do_not_pay_are_left_to_xla(name):
    assert convolutions(name, "cpu") == 3


def test_winograds_forms_are_functions_and_xlas_convolutions_are_inlined():
    """A kernel's gradient in a function of its own takes XLA twenty times as long."""
    assert 'inlineable = "false"' in lowered("tiles of 4", "cpu")
    assert "inlineable" not in lowered("few tiles", "cpu")


FORMS = {"m = 2": winograd.TWO, "m = 4": winograd.FOUR}
each_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


@each_form
def test_a_form_is_the_correlation_of_a_line(form, float64):
    d, k = (jnp.asarray(np.random.default_rng(0).standard_normal(n)) for n in (form.n, 3))
    products = [a * b for a, b in zip(form.kernel(*k), form.inputs(*d), strict=True)]
    expected = np.correlate(d, k, "valid")
    np.testing.assert_allclose(form.outputs(*products), expected, rtol=0, atol=1e-13)


@each_form
def test_a_reversed_kernel_has_the_rows_of_the_kernel_exchanged(form):
    k = jnp.asarray([0.3, -1.7, 0.9])
    rows = form.kernel(*k)
    expected = [rows[i] for i in form.reverse]
    np.testing.assert_allclose(form.kernel(*k[::-1]), expected, rtol=0, atol=1e-6)


@each_form
@pytest.mark.parametrize("name, size", [("kernel", 3), ("outputs", None)])
def test_transposed_lines_are_transposes(form, name, size):
    columns = jnp.eye(size or form.n)
    matrix = jnp.stack(getattr(form, name)(*columns))
    transposed = getattr(form, f"{name}_transposed")(*jnp.eye(len(matrix)))
    np.testing.assert_array_equal(matrix.T, jnp.stack(transposed))


@each_form
def test_rounding_errors_are_those_of_the_direct_sum(form):
    x, kernel = draw(2, (4, 8, 8, 64), (3, 3, 64, 64))
    padded = np.pad(np.asarray(x, np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    exact = np.einsum("bpqcuv,uvco->bpqo", windows, np.asarray(kernel, np.float64), optimize=True)
    ours = winograd.correlate(form, x, kernel, padding=ONE, adjoint=False)
    off, direct = (
        np.sqrt(np.mean((np.asarray(y) - exact) ** 2)) for y in (ours, by_xla(x, kernel, 1, ONE))
    )
    # The usual points 0, +-1, +-2 are off by a factor of more than four.
    assert off < 3 * direct


@each_form
@pytest.mark.parametrize("most", [0, 32 * 16], ids=["as they are", "transposed"])
def test_a_kernels_gradient_is_the_same_of_tiles_as_they_are_and_transposed(
    form, most, monkeypatch
):
    monkeypatch.setattr(winograd, "MOST_TRANSPOSED", most)
    x, dy, kernel = draw(5, (3, 8, 8, 32), (3, 8, 8, 16), (3, 3, 32, 16))
    gradient = lambda *point: winograd.kernel_gradient(form, *point, padding=ONE)
    # A lambda of its own, as JAX remembers what it has traced.
    contract = lambda *point: winograd._contract_tiles(*(p.reshape(4, 48, -1) for p in point))
    assert (" transpose" in str(jax.make_jaxpr(contract)(x, dy))) == bool(most)
    (expected,) = jax.linear_transpose(lambda k: by_xla(x, k, 1, ONE), kernel)(dy)
    # Sums of 192 products of about one in float32, each form with the rounding of its points.
    np.testing.assert_allclose(jax.jit(gradient)(x, dy), expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize("name", ["tiles of 4", "odd", "1x1", "halving"])
def test_bfloat16_is_rounded_float32(name):
    (ours, reference), point, _ = both(name)
    x, kernel = (p.astype(jnp.bfloat16) for p in point)
    y = ours(x, kernel)
    assert y.dtype == jnp.bfloat16
    expected = reference(x.astype(jnp.float32), kernel.astype(jnp.float32))
    # Eight bits of mantissa, once in the result.
    np.testing.assert_allclose(y.astype(jnp.float32), expected, rtol=2**-8, atol=2**-8)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_module_is_conv2d_plus_bias_with_float32_parameters(dtype):
    (x,) = draw(3, (2, 8, 8, 16))
    module = Conv(32, stride=2, dtype=dtype)
    params = module.init(jax.random.key(0), x)["params"]
    assert {k: (v.shape, v.dtype) for k, v in params.items()} == {
        "kernel": ((3, 3, 16, 32), jnp.float32),
        "bias": ((32,), jnp.float32),
    }
    params["bias"] += 1.5
    y = module.apply({"params": params}, x)
    expected = (
        conv2d(x.astype(dtype), params["kernel"].astype(dtype), 2) + jnp.ones((), dtype) * 1.5
    )
    assert y.dtype == dtype
    assert y.shape == (2, 4, 4, 32)
    np.testing.assert_array_equal(y, expected)


def test_module_without_bias_has_a_kernel_of_variance_one_over_mean_fan():
    (x,) = draw(4, (1, 4, 4, 64))
    params = Conv(128, use_bias=False).init(jax.random.key(0), x)["params"]
    assert list(params) == ["kernel"]
    fan = 9 * (64 + 128) / 2
    # 73,728 uniform draws: the variance has a relative standard error of 0.9 / 271.
    assert float(jnp.var(params["kernel"])) * fan == pytest.approx(1.0, abs=0.015)
