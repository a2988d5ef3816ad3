"""A file sets what its model is and nothing else; what it says is checked before it is used."""

import ast
import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import main
import models
from configs import command_line, defaults, rules, schema
from models.pretrained import PretrainedError, gate, open_checkpoint, own_format
from models.pretrained.base import Checkpoint
from models.pretrained.files.tensors import Storage, Tensor
from modes import import_
from modes.experiment import Experiment
from tests import tiny
from tests.models.pretrained import writing
from train_lib import names

OPTIONS = json.loads((Path(__file__).parents[2] / "golden/options/options.json").read_text())
HOME = {name: setting for name, setting in defaults.SETTINGS.items() if not setting.travels}
PATHS_AND_PROGRAMS = (
    "data.data_dir", "data.tfds_name", "training.wandb", "eval.extractor", "eval.weights",
    "eval.reference", "eval.samples", "eval.images", "eval.samplers", "compiled", "cpu_tuned",
    "mesh.data", "mesh.fsdp", "seed",
)  # fmt: skip


def other(setting):
    """Another value than the default that keeps the setting's rule."""
    default = setting.default
    if isinstance(default, bool):
        return not default
    six = (8.0, 8.0, 0.0, 0.0, 8.0, 8.0)
    tries = [0.5, 1.0, 7, 8, (0.5,), (7,), (0, 1), six, "/home/someone/f.py:f", "accept"]
    alike = (value for value in tries if type(value) is type(default) and value != default)
    return next(value for value in alike if setting.rule.holds(value))


def test_what_names_a_file_a_program_a_project_or_the_machine_stays_at_home():
    assert set(PATHS_AND_PROGRAMS) <= set(HOME)
    assert not [n for n in defaults.SETTINGS if n.startswith(("eval.", "mesh.")) and n not in HOME]


def test_a_setting_stays_at_home_unless_it_is_said_to_travel():
    assert not defaults.Setting(0, rules.ANY, "new").travels


def test_a_name_that_travels_has_a_table_to_be_in():
    texts = {n for n, s in defaults.SETTINGS.items() if s.travels and type(s.default) is str}
    assert texts == set(names.TABLES) | set(names.RULED)
    assert not [name for name in names.RULED if defaults.SETTINGS[name].rule is rules.ANY]
    names.check(schema.flatten(schema.get_default()))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """write(**header settings): a trained model in our own format, of a network of 85 numbers."""
    tiny.register()
    config = command_line.load(f"{tiny.CONFIG}:smoke", {"model.name": "tiny"})
    params = Experiment.of(config).abstract_state().params
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), params)
    folder = tmp_path_factory.mktemp("model")
    written = schema.of_model(schema.flatten(config))

    def write(settings=None, step=7, name="model"):
        path = folder / f"{name}-{len(os.listdir(folder))}.safetensors"
        own_format.save(path, written | (settings or {}), step, raw=zeros)
        return path

    yield write
    del models.NETWORKS["tiny"]


def test_no_setting_of_the_users_own_is_taken_from_a_file_and_it_is_said(model, tmp_path, capsys):
    hostile = {name: other(setting) for name, setting in HOME.items()}
    source, folder = model(hostile | {"eval.nosuch": "/x"}), tmp_path / "run"
    assert main.main(["--mode", "import", "--import_from", str(source), "--workdir",
                      str(folder)]) == 0  # fmt: skip
    told = capsys.readouterr().out
    line = next(line for line in told.splitlines() if line.startswith("not taken from the file"))
    assert "compiled" in line
    assert "1 unknown names" in line
    stored = json.loads((folder / "config.json").read_text())
    taken = {n for n, s in HOME.items() if json.dumps(stored[n]) != json.dumps(s.default)}
    assert not taken
    made = schema.flatten(command_line.load(str(folder / "config.py"), {}))
    assert {name: made[name] for name in HOME} == {n: s.default for n, s in HOME.items()}
    assert "/home/someone" not in (folder / "config.py").read_text()
    assert stored["sampling.predictor"] == "heun"
    assert stored["data.dataset"] == "digits"


def test_an_export_gives_nothing_away_but_the_model():
    everything = {name: other(setting) for name, setting in HOME.items()}
    assert not schema.of_model(everything)
    known = set(defaults.SETTINGS)
    assert set(schema.of_model(dict.fromkeys(known))) | set(HOME) == known


BAD_VALUES = {
    "another type": ({"model.nf": "32"}, "model.nf must be int"),
    "a truth for a number": ({"model.nf": True}, "model.nf must be int"),
    "too large": ({"model.nf": 10**9}, "model.nf must be from 1 to 65,536"),
    "a number of no end": ({"sde.beta_max": 1e300}, "sde.beta_max must be a number of at most"),
    "texts for numbers": ({"model.ch_mult": ["1", "os"]}, "model.ch_mult must be numbers"),
    "lists in a list": ({"model.ch_mult": [[1]]}, "model.ch_mult must be numbers"),
    "a long list": ({"model.ch_mult": [1] * 10**4}, "model.ch_mult must have at most 64 numbers"),
    "a long text": ({"model.nonlinearity": "x" * 10**5}, "at most 4,096 characters"),
    "an object": ({"model.nonlinearity": {"a": 1}}, "model.nonlinearity must be str"),
    "nothing": ({"sampling.predictor": None}, "sampling.predictor must be str"),
    "no network": ({"model.name": "os.system"}, "model.name must be one of"),
    "no sampler": ({"sampling.predictor": "f.py:f"}, "sampling.predictor must be one of"),
    "no name of a solver that is not used": (
        {"sampling.ode_solver": "'''\nimport os"}, "sampling.ode_solver must be one of"),
    "no dataset": ({"data.dataset": "/etc"}, "data.dataset must be one of"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_VALUES)
def test_a_value_that_no_model_has_is_refused_in_a_line_before_anything_is_written(
    model, tmp_path, capsys, name
):
    settings, word = BAD_VALUES[name]
    arguments = ["--mode", "import", "--import_from", str(model(settings)), "--workdir",
                 str(tmp_path / "run")]  # fmt: skip
    assert main.main(arguments) == 2
    told = capsys.readouterr().err
    assert word in told
    assert told.count("\n") == 1
    assert len(told) < 1000
    assert not (tmp_path / "run").exists()


# The config file that an import writes -----------------------------------------------------------


NAMES = [
    'a"""\nimport os\nos.system("x")\n"""', "a'''b", "a\\", "a\\N{BULLET}",
    "a\u2028import os\u2029",
    "a\x85b\x0cc", "\udce9", "{settings}", "a" * 5000, "model.safetensors",
]  # fmt: skip


@pytest.mark.parametrize("source", NAMES, ids=range(len(NAMES)))
def test_no_name_of_a_file_gets_out_of_the_title(source):
    text = import_.script(schema.get_default(), source)
    text.encode("ascii")
    plain = import_.script(schema.get_default(), "model")
    tree, expected = ast.parse(text), ast.parse(plain)
    assert ast.dump(ast.Module(tree.body[1:], [])) == ast.dump(ast.Module(expected.body[1:], []))
    assert len(text) < len(plain) + 100


def test_settings_are_written_as_literals_that_read_back_as_they_were():
    config = schema.get_default()
    values = {"eval.extractor": 'x"""\n\u2028\'\\{0}\udce9', "optim.lr": 1e-300,
              "model.ch_mult": (1, 2.5), "model.fir": True, "seed": 7}  # fmt: skip
    config.update_from_flattened_dict(values)
    text = import_.script(config, "model")
    assigned = next(node for node in ast.parse(text).body if isinstance(node, ast.Assign))
    assert ast.literal_eval(assigned.value) == values


# The step ----------------------------------------------------------------------------------------


def tensor(values, shape):
    array = np.asarray(values)
    storage = Storage(array.dtype, array.size)
    storage.place(memoryview(array.tobytes()))
    return Tensor(storage, 0, shape, (1,) * len(shape))


STEPS = {
    "none": (None, 0), "an integer": (7, 7), "a float": (7.0, 7), "numpy": (np.int64(7), 7),
    "float64": (np.float64(7), 7), "an array": (np.array([7]), 7),
    "a tensor": (tensor([7], ()), 7), "a tensor of one": (tensor([7.0], (1,)), 7),
    "bfloat16": (tensor(jnp.asarray([7], jnp.bfloat16), ()), 7),
    "the most": (2**31 - 1, 2**31 - 1), "zero": (0, 0),
}  # fmt: skip
BAD_STEPS = {
    "one more": 2**31, "2^40": 2**40, "huge": 10**5000, "negative": -1, "half": 7.5,
    "infinite": float("inf"), "nan": float("nan"), "a text": "7", "a truth": True, "a list": [7],
    "two": np.array([7, 8]), "a large tensor": tensor([2**40], ()), "a tensor of none":
    tensor(np.zeros(0), (0,)), "complex": np.array(7 + 1j),
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_a_step_is_the_number_that_the_file_means(name):
    step, expected = STEPS[name]
    found = gate.updates(step)
    assert (found, type(found)) == (expected, int)


@pytest.mark.parametrize("name", BAD_STEPS)
def test_a_step_that_is_no_number_of_updates_is_refused_in_a_line(name):
    with pytest.raises(PretrainedError, match="step must be a whole number of updates") as error:
        gate.updates(BAD_STEPS[name])
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


def test_a_step_beyond_what_can_be_counted_is_refused_before_anything_is_built(model, tmp_path):
    with pytest.raises(PretrainedError, match="from 0 to 2,147,483,647"):
        open_checkpoint(model(step=2**40))


def test_the_gate_lets_the_weights_alone():
    weights = {"a": np.ones(2)}
    given = Checkpoint("f", {"model.nf": 8, "compiled": ""}, weights, None, 3)
    found, left_out = gate.admit(given)
    assert dict(found.settings) == {"model.nf": 8}
    assert (found.raw, found.step, left_out) == (weights, 3, "")


def test_a_config_file_of_the_users_is_not_replaced_by_an_import(model, tmp_path, capsys):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.py").write_text("mine")
    arguments = ["--mode", "import", "--import_from", str(model()), "--workdir", str(folder)]
    assert main.main(arguments) == 2
    assert "config.py is there already" in capsys.readouterr().err
    assert [(p.name, p.read_text()) for p in Path(folder).iterdir()] == [("config.py", "mine")]


def test_the_step_of_a_checkpoint_of_pytorch_is_read_however_it_was_saved(tmp_path):
    case = next(name for name, case in OPTIONS.items() if case["model"]["name"] == "ncsnpp")
    rng = np.random.default_rng(0)
    shapes = OPTIONS[case]["weights"]
    weights = {f"all_modules.{k}": np.float32(rng.normal(size=s)) for k, s in shapes.items()}
    for n, step in enumerate((7, 7.0, writing.saved(np.asarray(7), "step"))):
        content = writing.checkpoint(weights, step=step)
        path = writing.write_zip(tmp_path / f"{n}.pth", content)
        assert open_checkpoint(path).checkpoint.step == 7
    for step in (2**40, 7.5, writing.saved(np.asarray([7, 8]), "step"), "7"):
        path = writing.write_zip(tmp_path / "bad.pth", writing.checkpoint(weights, step=step))
        with pytest.raises(PretrainedError, match="step must be a whole number of updates"):
            open_checkpoint(path)
