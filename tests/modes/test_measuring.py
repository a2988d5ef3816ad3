"""Operators and measurements that settings, files and functions of the user's give."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from configs import schema
from configs.recorded import Recorded
from data_lib import codec
from modes.measuring import check_linear, diffused, given, operator_of
from sde_lib.measurements.base import Decomposed, Measurement
from sde_lib.measurements.fourier import CoilFourier, ComplexFourier
from sde_lib.measurements.named import OPERATORS
from sde_lib.measurements.patterns import MASKS
from sde_lib.tables import parameters

pytestmark = pytest.mark.usefixtures("as_main_runs")

SHAPE = (6, 8, 2)


def config_of(shape: tuple[int, ...] = SHAPE, **inverse: Any) -> Any:
    """A config of data of a shape, as they are given."""
    config = schema.get_default()
    config.data.shape, config.data.codec = shape, "identity"
    config.inverse.update({key: str(v) if isinstance(v, Path) else v for key, v in inverse.items()})
    return config


def refused(config: Any) -> str:
    with pytest.raises(ValueError, match=r"^inverse\.") as raised:
        operator_of(config)
    told = str(raised.value)
    assert len(told.splitlines()) == 1
    return told


def saved(path: Path, array: np.ndarray, **others: np.ndarray) -> Path:
    """An array as .npy, or with others, as `mask`, as .npz."""
    if others:
        np.savez(path, mask=array, **others)
    else:
        np.save(path, array)
    return path


KNOWN = np.arange(48).reshape(6, 8) % 3 == 0


def test_every_row_is_built_of_settings_and_files(tmp_path: Path) -> None:
    coils = saved(tmp_path / "coils.npy", np.ones((2, 6, 8), np.complex64))
    kernel = saved(tmp_path / "kernel.npy", np.eye(3))
    for measure, row in OPERATORS.items():
        config = Recorded.of(config_of(measure=measure, coils=coils, kernel=kernel, blur_length=1))
        operator, words = operator_of(config)
        assert operator(jnp.zeros((2, *SHAPE))).shape[0] == 2
        assert words["measure"] == measure
        assert words["operator_sha256"] != operator_of(config_of(share=0.1, mask="random"))[1]
        # What a row takes has been read, so that everything else is told to have no effect.
        read = {name.removeprefix("inverse.") for name in config.record.names}
        assert set(parameters(row)) - {"shape"} <= read


@pytest.mark.parametrize("name", MASKS)
def test_patterns_read_their_own_settings(name: str) -> None:
    config = Recorded.of(config_of(mask=name))
    operator_of(config)
    read = {n.removeprefix("inverse.") for n in config.record.names if n.startswith("inverse.")}
    assert read == {"measure", "mask", *parameters(MASKS[name])} - {"shape"}


def test_a_mask_is_a_picture_or_an_array(tmp_path: Path) -> None:
    gray = np.where(KNOWN, 200, 100).astype(np.uint8)
    Image.fromarray(gray).save(tmp_path / "mask.png")
    Image.fromarray(gray).convert("RGB").save(tmp_path / "colour.bmp")
    Image.fromarray(KNOWN).save(tmp_path / "bit.png")
    saved(tmp_path / "mask.npy", np.where(KNOWN, -0.5, 0))
    saved(tmp_path / "mask.npz", KNOWN, other=np.zeros(3))
    for name in ("mask.png", "colour.bmp", "bit.png", "mask.npy", "mask.npz"):
        operator, _ = operator_of(config_of(mask=tmp_path / name))
        found = np.asarray(operator(jnp.ones((1, *SHAPE))))
        np.testing.assert_array_equal(found[0], np.repeat(KNOWN[..., None], 2, -1), name)


def test_a_mask_for_each_example_and_of_frequencies(tmp_path: Path) -> None:
    path = saved(tmp_path / "masks.npy", np.stack([KNOWN, ~KNOWN]))
    operator, words = operator_of(config_of(mask=path))
    found = np.asarray(operator(jnp.ones((2, *SHAPE))))
    np.testing.assert_array_equal(found[..., 0], [KNOWN, ~KNOWN])
    saved(path, np.stack([KNOWN, KNOWN]))
    assert operator_of(config_of(mask=path))[1] != words
    fourier, _ = operator_of(config_of(measure="fourier", mask=path, complex=True))
    assert isinstance(fourier, ComplexFourier)
    np.testing.assert_array_equal(fourier.kept[0, ..., 0], KNOWN)


def test_kernels_are_arrays_as_they_are_or_pictures_of_sum_1(tmp_path: Path) -> None:
    kernel = np.array([[0, 3, 0], [1, 4, 2]])
    saved(tmp_path / "kernel.npy", kernel)
    Image.fromarray(np.uint8(10 * kernel)).save(tmp_path / "kernel.png")
    point = jnp.zeros((1, *SHAPE)).at[0, 3, 3].set(1.0)
    for name, total in (("kernel.npy", 10), ("kernel.png", 1)):
        operator, _ = operator_of(config_of(measure="kernel_blur", kernel=tmp_path / name))
        found = np.asarray(operator(point))[0, 2:4, 2:5, 1]
        np.testing.assert_allclose(found, kernel * total / 10, atol=1e-5)


def test_coils_are_read_as_complex_numbers(tmp_path: Path) -> None:
    coils = np.ones((3, 6, 8)) * (1 + 2j)
    path = saved(tmp_path / "coils.npy", coils)
    operator, _ = operator_of(config_of(measure="coils", coils=path))
    assert isinstance(operator, CoilFourier)
    np.testing.assert_array_equal(operator.sensitivities[0, 0, 0], [1, 2] * 3)


REFUSED = {
    "an unknown name": ({"measure": "inpant"}, "did you mean 'inpaint'"),
    "an unknown pattern": ({"mask": "lefd"}, "did you mean 'left'"),
    "no file": ({"mask": "nothing.png"}, "inverse.mask cannot be read: No such file"),
    "no array": ({"mask": "nothing.npy"}, "inverse.mask cannot be read: No such file"),
    "no kernel": ({"measure": "kernel_blur"}, "inverse.kernel must be a .png, .npy or .npz file"),
    "no coils": ({"measure": "coils"}, "inverse.coils must be a .npy file of complex"),
    "a factor": ({"measure": "average", "factor": 4}, "inverse.factor must divide 6x8, .* got 4"),
    "a cubic's factor": ({"measure": "bicubic", "factor": 3}, "inverse.factor must divide 6x8"),
    "a wide blur": ({"measure": "gaussian_blur", "blur_std": 9.0}, "blur_std must be at most 8"),
    "a long motion": ({"measure": "motion_blur", "blur_length": 2.5}, "must be at most 2, 4 below"),
    "an odd pair": (
        {"shape": (4, 4, 3), "measure": "fourier", "complex": True}, "even number, got 3",
    ),
    "an odd pair of coils": (
        {"shape": (4, 4, 3), "measure": "coils", "complex": True, "coils": "coils.npy"}, "got 3",
    ),
    "gray of one channel": ({"shape": (4, 4, 1), "measure": "gray"}, "several .* there is 1"),
    "vectors": ({"shape": (7,), "measure": "average"}, "vectors of 7 features: choose inpaint"),
    "gray vectors": ({"shape": (7,), "measure": "gray"}, "'gray' is of data with spatial axes"),
    "frequencies of vectors": ({"shape": (7,), "measure": "fourier"}, "spatial axes"),
    "projections of volumes": (
        {"shape": (4, 4, 4, 1), "measure": "radon"}, "'radon' is of pictures, .* of 4x4x4x1",
    ),
    "motion of signals": ({"shape": (9, 1), "measure": "motion_blur"}, "is of pictures"),
    "a mask of another size": ({"mask": "small.npy"}, "inverse.mask must be of 6x8, .* got 3x8"),
    "a picture of another size": ({"mask": "small.png"}, "inverse.mask must be of 6x8, .* got 3x8"),
    "an empty mask": ({"mask": "black.png"}, "no white"),
    "a mask with NaN": ({"mask": "nan.npy"}, "inverse.mask must hold finite numbers"),
    "a mask of texts": ({"mask": "texts.npy"}, "must be real numbers"),
    "frequencies of channels": (
        {"measure": "fourier", "mask": "channels.npy"}, "the same for all channels",
    ),
    "a large kernel": ({"measure": "kernel_blur", "kernel": "large.npy"}, "at most 6x8 .* 7x8"),
    "a flat kernel": ({"measure": "kernel_blur", "kernel": "flat.npy"}, "got 3"),
    "a kernel of nothing": ({"measure": "kernel_blur", "kernel": "black.png"}, "not 0"),
    "a kernel with NaN": ({"measure": "kernel_blur", "kernel": "nan.npy"}, "finite numbers"),
    "coils of another size": ({"measure": "coils", "coils": "small.npy"}, r"6, 8\], got 3x8"),
    "coils with NaN": ({"measure": "coils", "coils": "nan.npy"}, "finite numbers"),
    "coils of texts": ({"measure": "coils", "coils": "texts.npy"}, "must be complex numbers"),
    "no array of that name": ({"mask": "others.npz"}, "it must have an array mask"),
    "no picture": ({"mask": "no_picture.png"}, "inverse.mask cannot be read: .* not a picture"),
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    arrays = {
        "small": np.ones((3, 8)), "nan": np.full((6, 8), np.nan), "texts": np.array(["a"]),
        "channels": np.ones(SHAPE), "large": np.ones((7, 8)), "flat": np.ones(3),
        "coils": np.ones((1, 4, 4)),
    }  # fmt: skip
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    np.savez(folder / "others.npz", a=np.ones(3), b=np.ones(3))
    Image.new("L", (8, 6)).save(folder / "black.png")
    Image.new("L", (8, 3), 255).save(folder / "small.png")
    (folder / "no_picture.png").write_text("white")
    return folder


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_in_one_line(name: str, files: Path, monkeypatch) -> None:
    monkeypatch.chdir(files)
    settings, words = REFUSED[name]
    told = refused(config_of(**settings))
    assert re.search(words, told), told


# Functions of the user's --------------------------------------------------------------------------

FUNCTIONS = """
import jax
import jax.numpy as jnp
import numpy as np


def first(x):
    return x[:, :2]

def shifted(x):
    return x[:, 0] - 3.0

def squares(x):
    return jnp.square(x)

def of_numpy(x):
    return jnp.asarray(np.sort(np.asarray(x)))

def fails(x):
    raise RuntimeError("out of ideas")

def mixes(x):
    return x - x.mean(axis=0)

def one_number(x):
    return jnp.sum(x)

def whole(x):
    return x.astype(int)

def nothing(x):
    return x[:, :0]

def not_finite(x):
    return jnp.log(x - 10.0)

def no_slope(x):
    return jnp.sqrt(jnp.abs(x - x))

def a_list(x):
    return [1.0, 2.0]

no_function = 3
"""


@pytest.fixture(scope="module")
def functions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "own.py"
    path.write_text(FUNCTIONS)
    return path


def test_a_function_of_ones_own_measures(functions: Path) -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, *SHAPE)), jnp.float32)
    operator, words = operator_of(config_of(measure=f"{functions}:first"))
    assert operator.linear
    np.testing.assert_array_equal(operator(x), x[:, :2])
    assert words["measure"].startswith("first of own.py sha256=")
    shifted, _ = operator_of(config_of(measure=f"{functions}:shifted"))
    assert shifted.linear
    np.testing.assert_allclose(shifted(x), x[:, 0], atol=1e-6)
    y = given(np.asarray(x[:, 0] - 3), shifted, SHAPE, "inverse.input")
    np.testing.assert_allclose(y, x[:, 0], atol=1e-6)


OWN = {
    "of_numpy": "must be written with jax.numpy and differentiable: TracerArray",
    "fails": "RuntimeError: out of ideas",
    "mixes": "must measure each example alone",
    "one_number": "it gives []",
    "whole": "float32",
    "nothing": "must be a function of x",
    "not_finite": "not finite",
    "no_slope": "not finite",
    "a_list": "it gives [] of list",
    "no_function": "must be a function",
    "absent": "absent",
}


@pytest.mark.parametrize("name", OWN)
def test_a_function_that_cannot_measure_is_one_line(functions: Path, name: str) -> None:
    told = refused(config_of(measure=f"{functions}:{name}"))
    assert OWN[name] in told
    assert told.startswith(f"inverse.measure={functions}:{name}")


# Measurements -------------------------------------------------------------------------------------


def test_measurements_are_given_as_they_are_measured() -> None:
    operator, _ = operator_of(config_of(measure="fourier", mask="left"))
    y = np.random.default_rng(0).normal(size=(3, 6, 8, 4))
    y[:, :, 4:] = np.nan  # where nothing is measured
    found = given(y, operator, SHAPE, "inverse.input")
    np.testing.assert_allclose(found[:, :, :4], y[:, :, :4], rtol=1e-6)
    assert (found[:, :, 4:] == 0).all()
    assert found.dtype == np.float32
    as_complex = y[..., 0::2] + 1j * y[..., 1::2]
    np.testing.assert_array_equal(given(as_complex, operator, SHAPE, "inverse.input"), found)
    np.testing.assert_array_equal(given(y[0], operator, SHAPE, "inverse.input"), found[:1])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros((2, 5, 8, 2)), r"y must hold measurements of 6x8x2, .* got \(2, 5, 8, 2\)"),
        (np.zeros((0, 6, 8, 2)), "got"),
        (np.full((2, 6, 8, 2), np.inf), "y must hold finite numbers .* measurement 0"),
    ],
)
def test_measurements_that_do_not_fit_are_refused(values: np.ndarray, words: str) -> None:
    operator, _ = operator_of(config_of())
    with pytest.raises(ValueError, match=words):
        given(values, operator, SHAPE, "y")


def test_what_is_not_linear_is_refused_where_it_is_needed(functions: Path) -> None:
    linear, config = operator_of(config_of())[0], config_of()
    check_linear(config, linear, "inverse.method='ddrm'")
    config.inverse.measure = f"{functions}:squares"
    squares, _ = operator_of(config)
    with pytest.raises(ValueError, match=r"'ddrm' needs a linear measurement, .*squares is not"):
        check_linear(config, squares, "inverse.method='ddrm'")
    config.data.codec = "bounded"
    with pytest.raises(ValueError, match=r"data\.codec='bounded' bends: choose a method"):
        check_linear(config, linear, "inverse.method='ddrm'")


@pytest.mark.parametrize("name", ["levels", "bounded", "standardize"])
@pytest.mark.parametrize("measure", ["inpaint", "squares"])
def test_measurements_of_data_are_those_of_what_is_diffused(
    functions: Path, measure: str, name: str
) -> None:
    config = config_of(measure=f"{functions}:squares" if measure == "squares" else measure)
    config.data.update({"codec": name, "centered": True, "low": (-1.0,), "high": (2.0,),
                        "mean": (0.3, 0.1), "std": (0.5, 0.7)})  # fmt: skip
    of, (operator, _) = codec.build(config.data), operator_of(config)
    rng = np.random.default_rng(0)
    data, other = rng.uniform(size=(2, 3, *SHAPE)).astype(np.float32)
    measured = Measurement(operator, operator(jnp.asarray(data)), jnp.float32(0.2))
    found = diffused(measured, of, SHAPE)
    z = jnp.asarray(of.encode(other), jnp.float32)
    expected = measured.residual(jnp.asarray(other)) / 0.2
    np.testing.assert_allclose(found.residual(z) / found.deviation, expected, atol=2e-5)
    linear = measure == "inpaint" and name != "bounded"
    assert found.operator.linear == isinstance(found.operator, Decomposed) == linear
