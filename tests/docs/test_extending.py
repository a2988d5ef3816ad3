"""docs/extending.md is true: its examples are files, each is registered by its row and proven.

An example goes through the battery of its table as a row of the library does; together they train
a model from the command line, which every mode then uses.
"""

import importlib.util
import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import main
import models
import samplers
import sde_lib
from configs import command_line
from configs.schema import get_default
from eval_lib.metrics import METRICS
from models import pretrained
from models.pretrained.base import paths_and_shapes
from samplers.rules.named import build_method
from sde_lib.measurements.base import Measurement
from sde_lib.measurements.named import OPERATORS
from sde_lib.tables import made
from tests import oracles, tiny
from tests.data_lib import test_data_battery
from tests.eval_lib import test_metrics
from tests.samplers import test_named, test_orders, test_samplers
from tests.sde_lib import test_build, test_sde
from train_lib import objective

ROOT = Path(__file__).parents[2]
FOLDER = "examples/extending"
PAGE = (ROOT / "docs" / "extending.md").read_text()
CODE = re.findall(r"([^\n]+(?:\n[^\n]+)*)\n\n```python\n(.*?)```", PAGE, re.S)


class Shown(NamedTuple):
    """An example on the page: its file, where that is to be saved, and its text."""

    file: str
    place: str
    text: str


class Row(NamedTuple):
    """A row on the page: the file and the table that it is for, what it imports, and itself."""

    file: str
    table: str
    imports: str
    row: str


SHOWN = [
    Shown(found[1], found[2], code)
    for says, code in CODE
    if (found := re.search(rf"`({FOLDER}/\w+\.py)`, saved as `([\w/]+\.py)`:", says))
]
ROWS = [
    Row(found[2], found[1], *code.split("\n\n"))
    for says, code in CODE
    if (found := re.search(r"The row, in `(\w+)` of `([\w/]+\.py)`", says))
]


def dotted(path: str) -> str:
    """The module that a file is."""
    return path.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")


def test_the_page_shows_every_example_as_it_is_in_its_file() -> None:
    files = {str(path.relative_to(ROOT)): path for path in (ROOT / FOLDER).glob("*.py")}
    assert {name: path.read_text() for name, path in files.items()} == {
        example.file: example.text for example in SHOWN
    }


def test_every_piece_of_code_on_the_page_is_a_file_or_a_row() -> None:
    assert PAGE.count("```") == 2 * (len(SHOWN) + len(ROWS))
    assert len(ROWS) == len(SHOWN)


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    """Every example where it is to be saved, as far as Python can tell, its row in its table."""
    with pytest.MonkeyPatch.context() as patch:
        for example in SHOWN:
            name = dotted(example.place)
            spec = importlib.util.spec_from_file_location(name, ROOT / example.file)
            module = importlib.util.module_from_spec(spec)
            patch.setitem(sys.modules, name, module)
            spec.loader.exec_module(module)
            package, _, stem = name.rpartition(".")
            patch.setattr(importlib.import_module(package), stem, module, raising=False)
        for row in ROWS:
            module = importlib.import_module(dotted(row.file))
            table, known = getattr(module, row.table), dict(vars(module))
            exec(row.imports, known)
            for name, value in eval(f"{{{row.row}}}", known).items():
                assert name not in table
                patch.setitem(table, name, value)
        for cases in (oracles.SDES, oracles.CONTINUOUS):
            patch.setitem(cases, "cosine", built("cosine"))
        yield


def built(name: str) -> sde_lib.SDE:
    return sde_lib.build(test_build.config_of(name))


def battery(module: Any, *arguments: str) -> list[Any]:
    """The tests of a module that take a row of its table, and nothing else."""
    tests = [f for name, f in vars(module).items() if name.startswith("test_")]
    return [f for f in tests if tuple(inspect.signature(f).parameters) == arguments]


def named(test: Any) -> str:
    return test.__name__.removeprefix("test_")


# One by one ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("test", battery(test_sde, "sde"), ids=named)
def test_the_sde_passes_the_battery(test) -> None:
    test(built("cosine"))


def test_the_row_of_the_sde_says_all_that_its_network_needs() -> None:
    test_build.test_every_row_of_the_table_is_built_whole("cosine", True)
    with pytest.raises(ValueError, match="no discrete form"):
        sde_lib.build(test_build.config_of("cosine", continuous=False))


def test_samples_under_the_sde_have_the_moments_of_the_data() -> None:
    test = test_samplers.test_samples_of_a_gaussian_have_its_mean_and_variance
    test("cosine", "euler_maruyama", "none")


SAMPLERS = "noisy_euler", "stochastic_ralston"


def sampler(name: str, **settings: Any) -> samplers.Sampler:
    config = get_default().sampling
    config.update({"predictor": name, **settings})
    return samplers.build(config)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", SAMPLERS)
def test_the_samplers_have_the_orders_they_state(name: str, monkeypatch) -> None:
    monkeypatch.setitem(test_orders.STOCHASTIC, name, sampler(name))
    assert name in test_orders.usual(stochastic=True)
    test_orders.test_stochastic_solvers_have_their_weak_order(name)


@pytest.mark.parametrize("name", SAMPLERS)
def test_samples_by_the_samplers_have_the_moments_of_the_data(name: str) -> None:
    test_named.test_every_named_sampler_is_built_and_runs(get_default().sampling, (name, "none"))


def test_a_setting_is_read_by_the_sampler_that_has_a_field_of_its_name() -> None:
    assert sampler("noisy_euler", tau=0.3).tau == 0.3


@pytest.mark.parametrize("test", battery(test_build, "kind"), ids=named)
def test_the_guidance_passes_the_battery(test) -> None:
    test("fading")


def test_the_guidance_fades_in() -> None:
    plain, guided = (test_build.followed("fading", guidance=w) for w in (1.0, 3.0))
    away = lambda t: float(
        jnp.abs(guided.noise(test_build.X, t) - plain.noise(test_build.X, t)).max()
    )
    assert away(jnp.asarray(1.0)) == 0
    assert away(jnp.asarray(0.6)) == pytest.approx(away(jnp.asarray(0.2)) / 2, rel=1e-4)


@pytest.mark.parametrize("test", battery(test_metrics, "name"), ids=named)
def test_the_metric_passes_the_battery(test) -> None:
    test("brightness")


def test_the_metric_is_the_distance_of_shifted_pictures() -> None:
    pictures = np.random.default_rng(0).integers(0, 9, (50, 2, 2, 1)).astype(np.uint8)
    fake = test_metrics.replace(test_metrics.everything(0), images=pictures + np.uint8(3))
    c = test_metrics.compared(fake, fake, pictures, pictures)
    assert METRICS["brightness"].compute(c)["brightness"] == pytest.approx(3)


@pytest.mark.parametrize("test", battery(test_data_battery, "source", "keys"), ids=named)
def test_the_source_passes_the_battery(test) -> None:
    test("waves", {})


def test_the_law_and_the_weighting_are_what_they_say() -> None:
    sde, config = built("vp"), test_build.config_of("vp")
    u = jnp.linspace(0.01, 0.99, 99)
    t = objective.LAWS["secant"](config).quantile(sde, u)
    # P(log_snr >= level) in closed form; float32 keeps the log-SNR at small t to 1e-4.
    share = 2 / jnp.pi * jnp.arctan(jnp.exp(-sde.log_snr(t) / 2))
    np.testing.assert_allclose(share, u, rtol=1e-3)
    weights, snr = objective.WEIGHTINGS["min_snr"](config)(sde, t), jnp.exp(sde.log_snr(t))
    np.testing.assert_allclose(weights, jnp.minimum(snr, 5.0) / snr, rtol=1e-5)


def test_the_measurement_and_the_method_are_made_by_name_and_agree() -> None:
    config = get_default().inverse
    config.update({"measure": "differences", "method": "null_space"})
    operator = made(OPERATORS[config.measure], config, shape=(3,))
    sde, x = built("vp"), jnp.asarray([[0.4, 0.1, -0.2]])
    y = jnp.asarray([[1.0, -1.0]])
    prior = sde_lib.Gaussian.isotropic(sde, jnp.zeros(3), 1.0)
    known = Measurement(operator, y, jnp.float32(0.0))
    told, _ = build_method(config)(prior, samplers.DDIM(), known)
    found = told.denoise(x, jnp.asarray(0.5))
    np.testing.assert_allclose(operator(found), y, atol=1e-5)
    # The mean of the three is no difference, and is left to the network.
    mean = prior.denoise(x, jnp.asarray(0.5)).mean()
    np.testing.assert_allclose(found.mean(), mean, atol=1e-5)


# All together -------------------------------------------------------------------------------------

MODEL = {
    "sde__name": "cosine", "model__name": "patches", "model__nf": 8,
    "model__num_res_blocks": 1, "model__num_classes": 4, "model__label_dropout": 0.2,
    "model__conditioning": "published", "data__dataset": "waves", "training__weighting": "min_snr",
    "training__time_law": "secant", "training__n_iters": 3, "optim__lr": 0.05,
    "sampling__guidance_kind": "fading", "sampling__guidance": 3.0,
    "sampling__predictor": "noisy_euler",
}  # fmt: skip
RAW = {"sampling__ema": False}  # averages have hardly left the start, where classes are alike
FEW = {**RAW, "eval__num_images": 4, "eval__eps": 1e-2}
OF_MODE = {
    "sample": RAW,
    "eval": {"eval__extractor": "edges", "eval__metrics": "fid, brightness",
             "eval__num_samples": 6, "eval__held_out": False},
    "likelihood": {**FEW, "eval__likelihood": "bound", "eval__bound_draws": 2},
    "encode": {**FEW, "eval__rtol": 0.1, "eval__atol": 0.1},
}  # fmt: skip


def arguments(mode: str, folder: Path, **more: object) -> list[str]:
    return tiny.arguments(mode, folder, **MODEL | OF_MODE.get(mode, {}) | more)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, registered: None) -> Path:
    folder = tmp_path_factory.mktemp("extended") / "run"
    with jax.numpy_dtype_promotion("standard"):  # optax promotes
        assert main.main(arguments("train", folder)) == 0
    return folder


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def numbers(path: Path, name: str) -> np.ndarray:
    with np.load(path) as arrays:
        return arrays[name]


def test_samples_are_of_the_guided_model_and_say_what_they_took(trained: Path) -> None:
    drawn, folder = {}, trained / "samples"
    for weight in (1.0, 3.0):
        assert main.main(arguments("sample", trained, sampling__guidance=weight)) == 0
        # Four steps and the end, each two evaluations of the network.
        assert read(folder / "samples.json")["nfe"] == 2 * (4 + 1)
        drawn[weight] = numbers(folder / "samples.npz", "samples")
    assert np.isfinite(drawn[3.0]).all()
    assert np.any(drawn[3.0] != drawn[1.0])  # one program draws both


def test_an_evaluation_tells_the_headline(trained: Path, capsys) -> None:
    assert main.main(arguments("eval", trained)) == 0
    report = read(trained / "evaluation" / "report" / "report.json")
    number = report["cells"][0]["metrics"]["brightness"]["mean"]
    assert re.search(rf": fid \S+, brightness {number:.4g}\n", capsys.readouterr().out)
    assert report["protocol"]["extractor"] == "differences of neighbouring pixels"


@pytest.mark.parametrize("mode, file, name", [
    ("likelihood", "likelihood/likelihood.json", "nats"),
    ("encode", "latents/latents.json", "z"),
])  # fmt: skip
def test_likelihoods_and_codes_are_of_the_guided_model(
    trained: Path, mode: str, file: str, name: str
) -> None:
    found = {}
    for weight in (1.0, 3.0):
        assert main.main(arguments(mode, trained, sampling__guidance=weight)) == 0
        told = read(trained / file)["guidance"]
        assert (told["guidance_kind"], told["guidance"]) == ("fading", weight)
        found[weight] = numbers((trained / file).with_suffix(".npz"), name)
    assert np.any(found[3.0] != found[1.0])  # one program takes both


def test_a_foreign_folder_is_read_and_a_wrong_one_refused(tmp_path: Path) -> None:
    others, settings = command_line.split(arguments("train", tmp_path))
    config = command_line.load(others[1], settings)
    wanted, rng = paths_and_shapes(models.build(config), config), np.random.default_rng(0)
    weights = {".".join(path): rng.standard_normal(shape) for path, shape in wanted.items()}
    for name, array in weights.items():
        np.save(tmp_path / f"{name}.npy", array)
    found = pretrained.load(tmp_path, config).params["Dense_0"]["kernel"]
    np.testing.assert_array_equal(found, weights["Dense_0.kernel"].astype(np.float32))
    (tmp_path / "places.npy").unlink()
    with pytest.raises(pretrained.MismatchError, match="places: missing"):
        pretrained.load(tmp_path, config)
    np.save(tmp_path / "places.npy", np.asarray([{}]))
    with pytest.raises(pretrained.PretrainedError, match=r"places\.npy is no \.npy file"):
        pretrained.load(tmp_path, config)
