"""`--mode export`: from the command line to a file and back."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict
from safetensors.numpy import save_file

import main
from configs import command_line, defaults, schema
from models.pretrained import load, own_format
from models.pretrained.diffusers import directory
from models.pretrained.files import safetensors_file
from modes.experiment import Experiment
from modes.trained import load_score
from runtime_lib import workdir
from runtime_lib.checkpoints.store import Checkpoints

CONFIG = Path(__file__).parents[2] / "configs" / "vp_digits.py"
SETTINGS = {
    "model.name": "ddpm_ho", "model.nf": "4", "model.norm_num_groups": "1", "model.ch_mult": "(1,)",
    "model.num_res_blocks": "1", "model.attn_resolutions": "()", "training.continuous": "False",
    "data.centered": "True", "sampling.predictor": "ancestral",
    "model.prediction": "published", "model.conditioning": "published",
}  # fmt: skip

LEARNED = (
    "--config.sde.name=learned", "--config.training.objective=variational",
    "--config.training.continuous=True",
)  # fmt: skip


def arguments(folder: Path, *more: str) -> list[str]:
    return ["--config", f"{CONFIG}:smoke", "--workdir", str(folder),
            *(f"--config.{name}={value}" for name, value in SETTINGS.items()), *more]  # fmt: skip


def written(folder, *more):
    """A workdir with a state whose raw and averaged parameters differ; its config and state."""
    others, settings = command_line.split(arguments(folder, *more))
    config = command_line.load(others[1], settings)
    experiment = Experiment.of(config)
    draw = np.random.default_rng(0).standard_normal
    state = jax.tree.map(
        lambda leaf: (
            jax.random.key(0)
            if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
            else np.asarray(draw(leaf.shape), leaf.dtype)
        ),
        experiment.abstract_state().as_dict(),
    )
    workdir.claim(folder, config)
    with Checkpoints(folder / "checkpoints") as checkpoints:
        checkpoints.save(7, state, {}, wait=True)
    return folder, config, state


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return written(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    return written(tmp_path_factory.mktemp("learned"), *LEARNED)


def same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, found, expected)))


def test_a_workdir_is_exported_as_one_file_bitwise(trained, tmp_path, capsys):
    folder, config, state = trained
    target = tmp_path / "new" / "model.safetensors"
    export = ("--mode", "export", "--export_to", str(target), "--export_as", "safetensors")
    assert main.main(arguments(folder, *export)) == 0
    assert f"exported step 7 to {target}" in capsys.readouterr().out
    found = own_format.read(target)
    assert (found.step, found.settings) == (7, schema.of_model(schema.flatten(config)))
    assert same(unflatten_dict(dict(found.raw), sep="/"), state["params"])
    assert same(unflatten_dict(dict(found.ema), sep="/"), state["ema"][0])


@pytest.mark.parametrize("ema", [True, False])
def test_a_workdir_is_exported_to_diffusers_bitwise(trained, tmp_path, capsys, ema):
    folder, config, state = trained
    export = ("--mode", "export", "--export_to", str(tmp_path / "out"), "--export_as", "diffusers",
              f"--config.sampling.ema={ema}")  # fmt: skip
    assert main.main(arguments(folder, *export)) == 0
    capsys.readouterr()
    network = Experiment.of(config).score.apply.network
    weights = directory.read(tmp_path / "out").ema
    expected = state["ema"][0] if ema else state["params"]
    assert same(directory.params(weights, network, config), expected)


def test_a_learned_schedule_is_exported_and_imported_with_its_network(learned, tmp_path):
    folder, config, state = learned
    file, again = str(tmp_path / "model.safetensors"), tmp_path / "again"
    export = ("--mode", "export", "--export_to", file, "--export_as", "safetensors")
    assert main.main(arguments(folder, *LEARNED, *export)) == 0
    assert main.main(["--mode", "import", "--import_from", file, "--workdir", str(again)]) == 0
    made = command_line.load(str(again / "config.py"), {})
    config.model.remat = made.model.remat  # which is no part of a model
    experiments = [(Experiment.of(c), w) for c, w in ((config, folder), (made, again))]
    for ema, trained in ((True, state["ema"][0]), (False, state["params"])):
        config.sampling.ema = made.sampling.ema = ema
        exported, imported = (load_score(*each)[0] for each in experiments)
        assert same(imported, exported)
        assert same(imported.sde.shape, trained["schedule"])
        assert same(load(file, ema=ema), exported)


def test_what_holds_a_network_alone_is_refused_a_learned_schedule(
    trained, learned, tmp_path, capsys
):
    target = tmp_path / "new" / "pipeline"
    export = ("--mode", "export", "--export_to", str(target), "--export_as", "diffusers")
    assert main.main(arguments(learned[0], *LEARNED, *export)) == 2
    told = capsys.readouterr().err
    assert "no learned noise schedule" in told
    assert "sde.name='learned'" in told
    assert "export as safetensors" in told
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())
    assert main.main(arguments(trained[0], *export)) == 0
    read = ("--mode", "import", "--import_from", str(target))
    assert main.main(arguments(tmp_path / "again", *LEARNED, *read)) == 2
    told = capsys.readouterr().err
    assert "sde.name='learned'" in told
    assert told.count("\n") == 1
    assert not (tmp_path / "again").exists()


IN_THE_WAY = {
    "a file": lambda path: path.write_text("precious"),
    "an empty file": lambda path: path.touch(),
    "a folder": lambda path: (path.mkdir(), (path / "precious").touch()),
    "a link": lambda path: path.symlink_to(path.with_name("elsewhere")),
    "a link to a file": lambda path: (path.with_name("x").write_text("x"), path.symlink_to("x")),
}


def content(folder):
    return {str(p): p.is_file() and p.read_bytes() for p in folder.rglob("*")}


def refuses_to_overwrite(folder, target, layout, capsys):
    export = ("--mode", "export", "--export_to", str(target), "--export_as", layout)
    assert main.main(arguments(folder, *export)) == 2
    told = capsys.readouterr().err
    assert "is there already" in told
    assert "--export_to" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("layout", ["safetensors", "diffusers"])
@pytest.mark.parametrize("kind", IN_THE_WAY)
def test_what_is_there_is_never_overwritten(trained, tmp_path, capsys, kind, layout):
    IN_THE_WAY[kind](tmp_path / "out")
    before = content(tmp_path)
    refuses_to_overwrite(trained[0], tmp_path / "out", layout, capsys)
    assert content(tmp_path) == before


@pytest.mark.parametrize("kind, layout", [("a file", "safetensors"), ("a folder", "diffusers")])
def test_nor_is_what_comes_while_an_export_is_written(
    trained, tmp_path, capsys, monkeypatch, kind, layout
):
    def write_slowly(arrays, path, texts):
        save_file(arrays, path, texts)
        IN_THE_WAY[kind](tmp_path / "out")

    (tmp_path / "expected").mkdir()
    IN_THE_WAY[kind](tmp_path / "expected" / "out")
    expected = content(tmp_path / "expected")
    monkeypatch.setattr(safetensors_file, "save_file", write_slowly)
    refuses_to_overwrite(trained[0], tmp_path / "out", layout, capsys)
    found = {p: c for p, c in content(tmp_path).items() if "/expected" not in p}
    assert {p.replace("/expected/", "/"): c for p, c in expected.items()} == found


def test_an_empty_folder_may_become_a_pipeline(trained, tmp_path):
    (tmp_path / "out").mkdir()
    export = ("--mode", "export", "--export_to", str(tmp_path / "out"), "--export_as", "diffusers")
    assert main.main(arguments(trained[0], *export)) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


COLUMNS = ("data.columns", "data.condition_columns", "data.label_column")
"""Names in a table; a workdir with others is another model's."""


def test_an_export_says_nothing_of_its_maker(trained, tmp_path):
    secret = "/home/someone/secret"
    named = [
        n
        for n, s in defaults.SETTINGS.items()
        if type(s.default) is str
        and not s.travels
        and s.rule.holds(secret)
        and not n.startswith("model.")
        and n not in ("data.tfds_name", "data.text_encoder", *COLUMNS)
    ]
    assert {"data.data_dir", "training.wandb", "compiled", "eval.extractor"} <= set(named)
    own = tmp_path / "own.py"
    own.write_text(
        f"from configs import vp_digits\n\n\ndef get_config(variant):\n"
        f"    config = vp_digits.get_config(variant)\n"
        f"    config.update_from_flattened_dict(dict.fromkeys({named!r}, {secret!r}))\n"
        f"    return config\n"
    )
    for layout in ("safetensors", "diffusers"):
        target = tmp_path / layout
        export = ("--mode", "export", "--export_to", str(target), "--export_as", layout)
        given = arguments(trained[0], *export)
        given[1] = f"{own}:smoke"
        assert main.main(given) == 0
        files = [target] if target.is_file() else [p for p in target.rglob("*") if p.is_file()]
        assert files
        assert not any(secret.encode() in file.read_bytes() for file in files)


BAD = {
    "no target": (["--mode", "export", "--export_as", "safetensors"], "--export_to"),
    "no layout": (["--mode", "export", "--export_to", "x"], "safetensors, diffusers"),
    "unknown layout": (["--mode", "export", "--export_to", "x", "--export_as", "onnx"], "'onnx'"),
    "another mode": (["--mode", "sample", "--export_to", "x"], "belongs to --mode export"),
    "another config": (
        ["--mode", "export", "--export_to", "x", "--export_as", "diffusers",
         "--config.model.nonlinearity=elu"], "model.nonlinearity"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_command_is_refused_in_one_line(trained, tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    more, word = BAD[name]
    assert main.main(arguments(trained[0], *more)) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert word in told
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_target_that_cannot_be_written_is_named(trained, tmp_path, capsys):
    (tmp_path / "file").touch()
    target = tmp_path / "file" / "model.safetensors"
    export = ("--mode", "export", "--export_to", str(target), "--export_as", "safetensors")
    assert main.main(arguments(trained[0], *export)) == 2
    told = capsys.readouterr().err
    assert str(target) in told
    assert told.count("\n") == 1
