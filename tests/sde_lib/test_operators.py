"""Operators against what NumPy, SciPy, Pillow and geometry say of them."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from PIL import Image

from sde_lib import VP, Gaussian, pytree
from sde_lib.measurements.base import Measurement, Operator
from sde_lib.measurements.dense import MatrixOperator, dense
from sde_lib.measurements.named import OPERATORS
from sde_lib.measurements.own import own_operator, without_constant
from sde_lib.measurements.separable import Factor, keys_cubic
from sde_lib.posteriors.moments import MomentMatching, PseudoInverse
from sde_lib.posteriors.proximal import Proximal
from sde_lib.tables import made
from tests.sde_lib.operators import affine, built, pattern, section

pytestmark = pytest.mark.usefixtures("float64", "quick")
RNG = np.random.default_rng(0)


def examples(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


def close(found, expected: np.ndarray, atol: float = 1e-12) -> None:
    np.testing.assert_allclose(np.asarray(found), expected, rtol=0, atol=atol)


# Pixels -------------------------------------------------------------------------------------------


def test_gray_is_the_mean_and_colorize_score_sdes_coordinate() -> None:
    x = examples(2, 3, 4, 3)
    close(built("gray", (3, 4, 3))(jnp.asarray(x)), x.mean(axis=-1, keepdims=True))
    # The first column of the published orthonormal matrix, which has four digits.
    close(built("colorize", (3, 4, 3))(jnp.asarray(x)), x @ np.full((3, 1), 0.5774), 5e-4)


def test_averages_are_means_of_blocks() -> None:
    x = examples(2, 4, 6, 3)
    expected = x.reshape(2, 2, 2, 3, 2, 3).mean(axis=(2, 4))
    close(built("average", (4, 6, 3), factor=2)(jnp.asarray(x)), expected)


def test_bicubic_is_pillows() -> None:
    x = examples(12, 20)
    found = built("bicubic", (12, 20, 1), factor=4)(jnp.asarray(x)[None, ..., None])
    expected = Image.fromarray(x.astype(np.float32)).resize((5, 3), Image.Resampling.BICUBIC)
    close(found[0, ..., 0], np.asarray(expected), 1e-6)  # Pillow's numbers are float32
    assert keys_cubic(np.array([0.0, 0.5, 1.0, 1.5, 2.0, 3.0])).tolist() == [
        1, 0.5625, 0, -0.0625, 0, 0,
    ]  # fmt: skip


@pytest.mark.parametrize("std", [0.7, 3.0])
def test_gaussian_blur_is_scipys(std: float) -> None:
    x = examples(9, 7)
    found = built("gaussian_blur", (9, 7, 1), blur_std=std)(jnp.asarray(x)[None, ..., None])
    close(found[0, ..., 0], scipy.ndimage.gaussian_filter(x, std, mode="reflect", truncate=4.0))


@pytest.mark.parametrize("size", [(3, 5), (4, 2), (6, 7)])
def test_a_kernel_is_convolved_around_its_middle(size: tuple[int, int]) -> None:
    x, kernel = examples(6, 7), examples(*size)
    found = made(OPERATORS["kernel_blur"], section(), shape=(6, 7, 1), kernel=kernel)(
        jnp.asarray(x)[None, ..., None]
    )
    close(found[0, ..., 0], scipy.ndimage.convolve(x, kernel, mode="wrap"))


ALONG = {0.0: (0, 1), 90.0: (-1, 0), 45.0: (-1, 1), 180.0: (0, 1), 135.0: (-1, -1)}


@pytest.mark.parametrize("angle", ALONG)
def test_motion_spreads_a_point_along_its_direction(angle: float) -> None:
    point = np.zeros((1, 15, 15, 1))
    point[0, 7, 7, 0] = 1
    blur = built("motion_blur", (15, 15, 1), blur_length=6.0, blur_angle=angle)
    found = np.asarray(blur(jnp.asarray(point)))[0, ..., 0]
    close(found.sum(), np.ones(()))
    close(found, found[::-1, ::-1])
    at = np.stack(np.meshgrid(np.arange(15) - 7, np.arange(15) - 7, indexing="ij"), -1)
    spread = np.einsum("ij,ijk,ijl->kl", found, at, at)
    along = np.array(ALONG[angle]) / np.linalg.norm(ALONG[angle])
    across = np.array([-along[1], along[0]])
    # A uniform law of length 6 has variance 3; a point is shared among pixels at most 1 away, at
    # a variance of at most 1/4 along every axis.
    assert 3 <= along @ spread @ along <= 3.25 + 1e-3
    assert across @ spread @ across <= 0.25


# Frequencies --------------------------------------------------------------------------------------


def centred(z: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(z, axes), axes=axes, norm="ortho"), axes)


def pairs(z: np.ndarray) -> np.ndarray:
    return np.stack([z.real, z.imag], axis=-1).reshape(*z.shape[:-1], -1)


def test_frequencies_are_those_of_numpy_with_both_origins_in_the_middle() -> None:
    shape, axes = (5, 6, 2), (1, 2)
    x, mask = examples(3, *shape), pattern("random_lines", shape, acceleration=2.0)
    expected = mask[None, ..., None] * pairs(centred(x, axes))
    close(built("fourier", shape, mask="random_lines")(jnp.asarray(x)).shape, (3, 5, 6, 4))
    take = {"mask": mask, "shape": shape}
    close(made(OPERATORS["fourier"], section(), **take)(jnp.asarray(x)), expected)
    z = x[..., :1] + 1j * x[..., 1:]
    paired = made(OPERATORS["fourier"], section(complex=True), **take)(jnp.asarray(x))
    close(paired, mask[None, ..., None] * pairs(centred(z, axes)))


def test_frequency_0_is_in_the_middle() -> None:
    mask = np.zeros((4, 5), bool)
    mask[2, 2] = True
    operator = made(OPERATORS["fourier"], section(), shape=(4, 5, 1), mask=mask)
    found = np.asarray(operator(jnp.ones((1, 4, 5, 1))))
    close(found[0, 2, 2], np.array([np.sqrt(20), 0]))
    assert np.count_nonzero(found) == 1


@pytest.mark.parametrize("complex", [False, True])
def test_coils_see_the_product_with_their_sensitivities(complex: bool) -> None:
    shape, axes, mask = (4, 5, 2), (1, 2), pattern("random", (4, 5, 2))
    x, coils = examples(2, *shape), examples(3, 4, 5) + 1j * examples(3, 4, 5)
    take = {"mask": mask, "shape": shape, "coils": coils}
    found = made(OPERATORS["coils"], section(complex=complex), **take)(jnp.asarray(x))
    z = x[..., :1] + 1j * x[..., 1:] if complex else x
    seen = [centred(coils[i] * z[..., j], axes) for j in range(z.shape[-1]) for i in range(3)]
    close(found, mask[None, ..., None] * pairs(np.stack(seen, axis=-1)))


# Projections --------------------------------------------------------------------------------------


def test_projections_along_columns_and_rows_are_their_sums() -> None:
    x = examples(2, 5, 7, 2)
    found = np.asarray(built("radon", (5, 7, 2), angles=2)(jnp.asarray(x)))
    assert found.shape == (2, 2, 9, 2)
    close(found[:, 0, 1:8], x.sum(axis=1))
    close(found[:, 0, [0, 8]], np.zeros((2, 2, 2)))
    close(found[:, 1, 2:7], x.sum(axis=2)[:, ::-1])


def test_a_point_is_projected_to_its_distance_along_each_angle() -> None:
    n, count = 12, 9
    angles = np.arange(count) * np.pi / count
    points = np.eye(144).reshape(144, n, n, 1)
    found = np.asarray(built("radon", (n, n, 1), angles=count)(jnp.asarray(points)))[..., 0]
    at = np.arange(found.shape[-1]) - (found.shape[-1] - 1) / 2
    rows, columns = (np.indices((n, n)).reshape(2, -1) - (n - 1) / 2)[..., None]
    # A point is a pyramid of side 2; points of the line hit it at distances that are not even, so
    # that its sum is 1 to a tenth, and its middle is right to the same part of a pixel.
    mass = found.sum(axis=-1)
    assert np.abs(mass - 1).max() < 0.25
    middle = (found * at).sum(axis=-1) / mass
    close(middle, columns * np.cos(angles) - rows * np.sin(angles), 0.2)


# Matrices -----------------------------------------------------------------------------------------

MEAN = np.array([0.5, -0.3, 0.1])
COVARIANCE = np.array([[1, 0.6, 0.2], [0.6, 0.5, 0.1], [0.2, 0.1, 0.3]])
A = np.array([[1, 0.5, 0], [0, 1, -1]])
Y = np.array([0.8, -0.6])


@pytree
class Product(Operator):
    """A x of vectors, without a decomposition."""

    values: jnp.ndarray

    def __call__(self, x):
        return x @ self.values[0].T


POSTERIORS = {
    "mmps": lambda prior, measured: MomentMatching(prior, measured, 2),
    "pigdm": PseudoInverse,
    "diffpir": Proximal,
}


@pytest.mark.parametrize("deviation", [0.2, 0.0])
@pytest.mark.parametrize("name", POSTERIORS)
def test_a_rotation_of_measurements_changes_nothing(name: str, deviation: float) -> None:
    sde, t = VP(), jnp.asarray([0.3, 0.8])
    prior = Gaussian.of(sde, jnp.asarray(MEAN), jnp.asarray(COVARIANCE))
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    x = jnp.asarray([[0.4, 0.1, -0.2], [0.3, -0.5, 0.9]])
    found = []
    for q in (np.eye(2), turn):
        y = jnp.asarray([q @ Y, q @ -Y])
        plain = Product(jnp.asarray(q @ A)[None])
        for operator in (plain, dense(plain, (3,))):
            measured = Measurement(operator, y, jnp.asarray(deviation))
            found.append(POSTERIORS[name](prior, measured).predict(x, t).x0)
    for other in found[1:]:
        close(other, np.asarray(found[0]), 1e-9)


def test_a_matrix_is_made_of_any_linear_operator_and_kept_where_there_is_a_decomposition() -> None:
    operator = built("radon", (3, 4, 1), angles=3)
    found = dense(operator, (3, 4, 1))
    x = jnp.asarray(examples(2, 3, 4, 1))
    close(found(x), np.asarray(operator(x)))
    blur = built("gaussian_blur", (3, 4, 1))
    assert dense(blur, (3, 4, 1)) is blur


def test_what_is_large_or_not_linear_has_no_matrix(monkeypatch) -> None:
    operator = built("radon", (3, 4, 1), angles=3)
    largest = 3 * 6  # measurements, of which there are more than numbers
    monkeypatch.setattr("sde_lib.measurements.dense.LARGEST", largest)
    assert isinstance(dense(operator, (3, 4, 1)), MatrixOperator)
    monkeypatch.setattr("sde_lib.measurements.dense.LARGEST", largest - 1)
    with pytest.raises(ValueError, match=r"a matrix of 18 numbers a side, which may .* most 17"):
        dense(operator, (3, 4, 1))
    with pytest.raises(ValueError, match="not linear has no singular value decomposition"):
        dense(own_operator(jnp.square, (3,)), (3,))


def test_a_factor_of_a_tall_and_of_a_wide_matrix_has_full_coordinates() -> None:
    for shape in ((5, 3), (3, 5)):
        matrix = examples(*shape)
        factor = Factor.of([matrix])
        assert factor.u.shape == (1, *shape)
        assert factor.v.shape == (1, shape[1], shape[1])
        close(factor.u[0] * factor.s @ factor.v[0].T, matrix)


# Functions of the user's --------------------------------------------------------------------------


def test_a_constant_is_taken_off_what_was_measured() -> None:
    operator = own_operator(affine, (4, 3))
    x = jnp.asarray(examples(2, 4, 3))
    assert operator.linear
    close(operator(x), np.asarray(x[:, 1:] - 2 * x[:, :-1]))
    close(without_constant(operator, affine(x)), np.asarray(operator(x)))
    mask = built("inpaint", (4, 3))
    assert without_constant(mask, x) is x


LINEAR = {
    "sums": (lambda x: jnp.cumsum(x, axis=1), True),
    "a choice": (lambda x: jnp.where(jnp.arange(3) > 0, x, 5.0), True),
    "in single precision": (lambda x: x.astype(jnp.float32).astype(x.dtype) * 3, True),
    "squares": (jnp.square, False),
    "a little bent": (lambda x: x + 0.01 * jnp.square(x), False),
    "a modulus": (jnp.abs, False),
    "saturation": (lambda x: jnp.clip(x, -1, 1), False),
}


@pytest.mark.parametrize("name", LINEAR)
def test_linearity_is_found_out(name: str) -> None:
    function, linear = LINEAR[name]
    operator = own_operator(function, (3,))
    assert operator.linear == linear
    x = jnp.asarray(examples(2, 3))
    constant = np.asarray(function(jnp.zeros((1, 3)))) if linear else 0
    close(operator(x), np.asarray(function(x)) - constant)
