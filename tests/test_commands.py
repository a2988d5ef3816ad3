"""Whatever is on the command line or in a file that it names: one line and exit code 2, at once.

No network is built here beyond one of 85 parameters, and nothing is compiled.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import main
import models
from configs import command_line, defaults, schema
from modes import sizes
from modes.experiment import TRAIN_STREAM, Experiment
from runtime_lib import hardware, workdir
from runtime_lib.checkpoints.store import Checkpoints
from tests import tiny

ROOT = Path(__file__).parents[1]
CONFIG = ["--config", f"{tiny.CONFIG}:smoke", "--config.model.name=tiny"]
EXTRACTED = {mode: ["--config.eval.extractor=pixels"] for mode in ("eval", "stats")}
"""Without the weights of a network, for the modes that need an extractor."""
LONGEST_LINE = 1500


@pytest.fixture(scope="module", autouse=True)
def tiny_network():
    tiny.register()
    yield
    del models.NETWORKS["tiny"]


@pytest.fixture
def assert_refused(capsys) -> Callable[..., str]:
    """assert_refused(arguments, *words): asserts exit code 2 and one short line with these words,
    and gives the line."""

    def run(arguments: list[str], *words: str) -> str:
        capsys.readouterr()
        assert main.main(arguments) == 2
        told = capsys.readouterr().err
        assert told.startswith("error: ")
        assert told.count("\n") == 1
        assert told[:-1].isprintable()
        assert len(told) < LONGEST_LINE
        for word in words:
            assert word in told
        return told

    return run


# Numbers -----------------------------------------------------------------------------------------

NUMBERS = {
    "seed=18446744073709551616": "seed must be from 0 to 4,294,967,295",
    "seed=1180591620717411303424": "seed must be",
    "seed=9223372036854775808": "seed must be",
    "seed=4294967338": "seed must be",
    "seed=4294967296": "seed must be",
    "seed=-1": "seed must be",
    f"seed={'9' * 5000}": "seed must be an integer",
    "training.batch_size=1000000000": "training.batch_size must be from 1 to 1,048,576",
    "sampling.batch_size=1000000000": "sampling.batch_size must be",
    "eval.batch_size=1000000000": "eval.batch_size must be",
    "sampling.num_samples=1000000000": "sampling.num_samples must be from 1 to 100,000,000",
    "eval.num_samples=1000000000": "eval.num_samples must be",
    "data.image_size=1000000000": "data.image_size must be from 1 to 16,384",
    "model.nf=1000000000": "model.nf must be from 1 to 65,536",
    "model.num_res_blocks=1000000000": "model.num_res_blocks must be",
    "model.num_classes=1000000000": "model.num_classes must be",
    "model.ch_mult=(1000000000,)": "model.ch_mult must be a tuple of numbers above 0 and at",
    "model.attn_resolutions=(-4,)": "model.attn_resolutions must be",
    "sde.num_scales=1000000000": "sde.num_scales must be from 2 to 10,000",
    "sampling.num_steps=1000000000": "sampling.num_steps must be",
    "sampling.nfe=1000000000": "sampling.nfe must be",
    "sampling.frames=1000000000": "sampling.frames must be",
    "sampling.step=1099511627776": "sampling.step must be from 0 to 2,147,483,647",
    "training.n_iters=1099511627776": "training.n_iters must be",
    "training.accumulate=0": "training.accumulate must be",
    "training.n_jitted_steps=1000000000": "training.n_jitted_steps must be",
    "cpu_devices=2": "set JAX_NUM_CPU_DEVICES in the environment instead",
    "mesh.fsdp=1000000000000": "mesh.fsdp must be",
    "eval.repeats=1000000000": "eval.repeats must be",
    "eval.num_probes=1000000000": "eval.num_probes must be",
    "eval.importance_samples=1000000000": "eval.importance_samples must be",
    "eval.interpolations=1000000000": "eval.interpolations must be",
    "eval.sampler_nfe=(1000000000,)": "eval.sampler_nfe must be",
    f"model.ch_mult={'1,' * 50_000}": "model.ch_mult must have at most 64 numbers, got 50,000",
    f"model.ch_mult={'(' * 5000}": "model.ch_mult must be numbers",
    f"model.extra_ema_rates={'0.5,' * 1000}": "model.extra_ema_rates must have at most 64",
    f"eval.extractor={'x' * 100_000}": "eval.extractor must have at most 4,096 characters",
    "optim.lr=1e400": "optim.lr must be a number of at most 1e+30",
    "optim.lr=nan": "optim.lr must be a number",
    "sampling.s_max=1e31": "sampling.s_max must be a number",
    "eval.ema_rates=(nan,)": "eval.ema_rates must be numbers",
    f"training.{'x' * 10_000}=1": "unknown setting",
    "=3": "unknown setting",
}  # fmt: skip


@pytest.mark.parametrize("setting", NUMBERS, ids=lambda setting: setting[:40])
def test_a_number_beyond_any_use_is_refused_with_what_is_allowed(assert_refused, tmp_path, setting):
    arguments = [*CONFIG, "--mode", "train", "--workdir", str(tmp_path / "run")]
    assert_refused([*arguments, f"--config.{setting}"], NUMBERS[setting])
    assert not (tmp_path / "run").exists()


ENDLESS = {int: (10**19, -(10**19), 10**5000), float: (1e31, -1e31, 10**400, float("nan"))}


@pytest.mark.parametrize("kind", ENDLESS)
def test_every_number_has_an_end(kind):
    for name, setting in defaults.SETTINGS.items():
        for value in ENDLESS[kind] if type(setting.default) is kind else ():
            with pytest.raises(ValueError, match=f"^{name} must be") as error:
                schema.check_value(name, value)
            assert len(str(error.value)) < 300


def test_two_seeds_are_two_keys():
    seeds = [0, 1, 42, 2**31, 2**32 - 42, 2**32 - 1]
    keys = set()
    for seed in seeds:
        config = command_line.load(CONFIG[1], {"seed": str(seed), "model.name": "tiny"})
        assert config.seed == seed
        keys.add(jax.random.key_data(Experiment.of(config).key(TRAIN_STREAM)).tobytes())
    assert len(keys) == len(seeds)


BATCHES = ("training.batch_size", "sampling.batch_size", "eval.batch_size")


@pytest.mark.parametrize("name", BATCHES)
def test_more_images_at_once_than_memory_are_refused_before_they_are_made(
    assert_refused, tmp_path, monkeypatch, name
):
    monkeypatch.setattr(hardware, "memory", lambda device: 4.0 * 64 * 1000 / jax.device_count())
    ask = lambda n: [*CONFIG, f"--config.{name}={n}", "--mode", "encode", "--workdir",
                     str(tmp_path / "run")]  # fmt: skip
    assert_refused(
        ask(1008), name, "1,008 examples of 8x8x1 at once, 252 KiB, and the machine has 250 KiB"
    )
    assert_refused(ask(1000), "holds no trained model")


def test_samples_that_no_memory_holds_are_refused_by_the_mode_that_makes_them(
    assert_refused, trained, monkeypatch
):
    monkeypatch.setattr(hardware, "memory", lambda device: 4.0 * 64 * 1000 / jax.device_count())
    for mode, setting, word in (
        ("sample", "sampling.num_samples=1001", "sampling.num_samples asks for 1,001 examples"),
        ("samplers", "eval.num_samples=1001", "eval.num_samples asks for 1,001"),
        ("eval", "eval.num_samples=4001", "eval.num_samples asks for 4,001"),
        ("interpolate", "eval.num_images=2000000000", "eval.num_images asks for 2,000,000,000"),
    ):
        more = {"interpolate": ["--config.eval.split=prior"]}.get(mode, EXTRACTED.get(mode, []))
        arguments = [*CONFIG, "--mode", mode, "--workdir", str(trained)]
        assert_refused([*arguments, *more, f"--config.{setting}"], word)


def test_without_a_known_memory_nothing_is_refused(monkeypatch):
    ask = lambda: sizes.check("x", 10**15, command_line.load(CONFIG[1], {}))
    monkeypatch.setattr(hardware, "memory", lambda device: 1.0)
    with pytest.raises(ValueError, match="x asks for"):
        ask()
    monkeypatch.setattr(hardware, "memory", lambda device: None)
    ask()  # an error would be the refusal


# Config files ------------------------------------------------------------------------------------

TEXTS = {
    "leaves the program": ("raise SystemExit(0)", "SystemExit"),
    "leaves it with a word": ("import sys\nsys.exit('bye')", "SystemExit: bye"),
    "leaves it when called": ("def get_config(): exit()", "SystemExit"),
    "an error of the deepest kind": ("raise BaseException('x')", "BaseException: x"),
    "the end of a generator": ("def get_config(): raise GeneratorExit", "GeneratorExit"),
    "an error that cannot be told": (
        "class E(Exception):\n    def __str__(self): raise ValueError\nraise E",
        "gives no config: E:"),
    "an error of many lines": ("raise ValueError('\\n\\nfirst\\nsecond')", ": first"),
    "an endless error": ("raise ValueError('x' * 10**6)", "xxx..."),
    "an error that paints": ("raise ValueError('a\\x1b[2Jb')", "a?[2Jb"),
    "a call without end": ("def get_config(): return get_config()", "RecursionError"),
    "no memory": ("def get_config(): raise MemoryError", "MemoryError"),
    "no function": ("get_config = 3", "TypeError"),
    "a generator": ("def get_config(): yield", "must return a ConfigDict, got generator"),
    "nothing": ("def get_config(): pass", "must return a ConfigDict, got NoneType"),
    "a class": ("class get_config: pass", "must return a ConfigDict, got get_config"),
    "itself": ("from configs.schema import get_default\ndef get_config():\n"
               "    c = get_default().unlock()\n    c.model.own = c\n    return c", "model.own"),
    "sections in sections": (
        "from configs.schema import get_default\nfrom ml_collections import ConfigDict\n"
        "def get_config():\n    c = get_default().unlock()\n"
        "    with c.ignore_type(): c.model.nf = ConfigDict({'a': ConfigDict({'b': 1})})\n"
        "    return c", "model.nf must be int"),
    "a number for a section": (
        "from configs.schema import get_default\ndef get_config():\n"
        "    c = get_default().unlock()\n    del c['model']\n    c['model'] = 3\n    return c",
        "unknown setting model"),
    "a placeholder": (
        "from configs.schema import get_default\nfrom ml_collections import config_dict\n"
        "def get_config():\n    c = get_default().unlock()\n    del c['seed']\n"
        "    c.seed = config_dict.placeholder(int, required=True)\n    return c",
        "RequiredValueError"),
    "a giant number": (
        "from configs.schema import get_default\ndef get_config():\n"
        "    c = get_default()\n    c.seed = 10**100_000\n    return c",
        "an integer of 332,193 bits"),
    "null bytes": ("\0", "null"),
    "not UTF-8": (b"x = 'caf\xe9'\ndef get_config(): pass", "SyntaxError"),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_whatever_a_config_file_does_is_told(assert_refused, tmp_path, name):
    text, word = TEXTS[name]
    file = tmp_path / "mine.py"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    arguments = ["--config", str(file), "--mode", "train", "--workdir", str(tmp_path / "run")]
    assert_refused(arguments, "gives no config", word)
    assert not (tmp_path / "run").exists()


def test_a_config_file_that_is_interrupted_is_an_interrupt(capsys, tmp_path):
    (tmp_path / "mine.py").write_text("raise KeyboardInterrupt")
    arguments = ["--config", str(tmp_path / "mine.py"), "--mode", "train", "--workdir", "x"]
    assert main.main(arguments) == 130
    assert capsys.readouterr().err == "interrupted\n"


EXTRACTORS = {
    "leaves the program": ("import sys\nsys.exit(0)", "SystemExit"),
    "leaves when called": ("import sys\ndef f(x): sys.exit()", "SystemExit"),
    "has no such name": ("", "no attribute 'f'"),
    "no function": ("f = 3", "must be a function"),
    "fails": ("def f(x): return x @ x @ 'a'", "cannot take images"),
    "a text": ("def f(x): return 'a'", "cannot take images"),
    "nothing": ("def f(x): return None", "must give features [b, d]"),
    "pictures": ("def f(x): return x", "must give features [b, d]"),
    "one row": ("def f(x): return x.reshape(-1)", "must give features [b, d]"),
    "syntax": ("def f(", "SyntaxError"),
}


@pytest.mark.parametrize("name", EXTRACTORS)
def test_whatever_a_users_extractor_does_is_told(assert_refused, tmp_path, name):
    text, word = EXTRACTORS[name]
    (tmp_path / "mine.py").write_text(text)
    arguments = [*CONFIG, "--mode", "stats", "--workdir", str(tmp_path / "run")]
    assert_refused([*arguments, f"--config.eval.extractor={tmp_path / 'mine.py'}:f"], word)


# Paths -------------------------------------------------------------------------------------------


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(path.parent)  # a socket's name must be short
        server.bind(path.name)
        os.chdir(here)


KINDS: dict[str, Callable[[Path], Any]] = {
    "missing": lambda path: None,
    "empty": lambda path: path.touch(),
    "garbage": lambda path: path.write_bytes(bytes(range(256)) * 8),
    "a zip of nothing": lambda path: path.write_bytes(b"PK\x05\x06" + bytes(18)),
    "half a zip": lambda path: path.write_bytes(b"PK\x03\x04" + bytes(30)),
    "brackets": lambda path: path.write_bytes(b"[" * 100_000),
    "folder": lambda path: path.mkdir(),
    "pipe": os.mkfifo,
    "socket": _socket,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
}
FILES = {
    "--config": ["--mode", "train"],
    "--import_from": ["--mode", "import"],
    "eval.samples": ["--mode", "eval", "--config.eval.extractor=pixels"],
    "eval.reference": ["--mode", "eval", "--config.eval.extractor=pixels"],
    "eval.weights": ["--mode", "stats", "--config.eval.extractor=inception"],
    "eval.extractor": ["--mode", "stats"],
    "eval.images": ["--mode", "encode"],
    "data.data_dir": ["--mode", "stats", "--config.data.dataset=array"],
}  # fmt: skip
NAMES = {"plain": "file.npz", "not UTF-8": "caf\udce9.npz", "lines": "a\nb\x1b[2J.npz"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workdir with a checkpoint of zeros."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    config = command_line.load(CONFIG[1], {"model.name": "tiny"})
    state = Experiment.of(config).abstract_state().as_dict()
    is_key = lambda leaf: jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    zeros = jax.tree.map(
        lambda leaf: jax.random.key(0) if is_key(leaf) else np.zeros(leaf.shape, leaf.dtype), state
    )
    workdir.claim(folder, config)
    with Checkpoints(folder / "checkpoints") as checkpoints:
        checkpoints.save(3, zeros, {}, wait=True)
    return folder


def naming(argument: str, path: Path, folder: Path) -> list[str]:
    """A command in which `argument` is that path."""
    told = f"{path}:f" if argument == "eval.extractor" else str(path)
    own = [argument, told] if argument.startswith("--") else [f"--config.{argument}={told}"]
    config = [] if argument in ("--config", "--import_from") else CONFIG
    home = folder if argument in ("eval.images",) else folder.with_name("new")
    return [*config, *FILES[argument], *own, "--workdir", str(home)]


@pytest.fixture
def in_time():
    """A test that waits for a pipe, or goes on for ever, fails."""
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits"))
    signal.alarm(60)
    yield
    signal.alarm(0)


@pytest.mark.parametrize("argument", FILES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_path_leads_to_is_refused_in_a_line(
    assert_refused, tmp_path, trained, in_time, argument, kind
):
    path = tmp_path / NAMES["plain"]
    KINDS[kind](path)
    assert "no effect" not in assert_refused(naming(argument, path, trained))
    assert not (trained.with_name("new") / "checkpoints").exists()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("argument", FILES)
def test_a_name_of_any_bytes_can_be_told(
    assert_refused, tmp_path, trained, in_time, argument, name
):
    path = tmp_path / NAMES[name]
    KINDS["garbage"](path)
    assert_refused(naming(argument, path, trained))


@pytest.mark.parametrize("mode", [mode for mode in main.MODES if mode != "import"])
@pytest.mark.parametrize("kind", ["empty", "pipe", "device", "a link to itself"])
def test_a_workdir_that_is_none_is_refused_in_a_line(assert_refused, tmp_path, in_time, mode, kind):
    path = tmp_path / "run"
    KINDS[kind](path)
    more = ["--export_to", "x", "--export_as", "safetensors"] if mode == "export" else []
    more += EXTRACTED.get(mode, [])
    arguments = [*CONFIG, "--mode", mode, *more, "--workdir"]
    if mode != "profile":  # which compiles before it writes
        assert "no effect" not in assert_refused([*arguments, str(path)])


def test_a_workdir_must_be_a_name_that_checkpoints_can_be_written_to(assert_refused, tmp_path):
    arguments = [*CONFIG, "--mode", "train", "--workdir", str(tmp_path / "caf\udce9")]
    assert_refused(arguments, "--workdir must be a path in UTF-8", "caf\\udce9")
    assert not list(tmp_path.iterdir())


# Files in a workdir ------------------------------------------------------------------------------

INSIDE = ["config.json", "checkpoints/3/meta/metadata", "checkpoints/3/state/manifest.ocdbt",
          "checkpoints/3/state/_METADATA", "checkpoints/3/_CHECKPOINT_METADATA"]  # fmt: skip
DAMAGE = {
    **{kind: make for kind, make in KINDS.items() if kind not in ("missing", "a zip of nothing")},
    "deeply nested": lambda path: path.write_text('{"a":' * 100_000),
    "other JSON": lambda path: path.write_text('{"seed": {"a": [[1]]}, "x\\u001b": NaN}'),
    "twice the same": lambda path: path.write_text('{"seed": 1, "seed": 2}'),
    "a link to the file": lambda path: path.symlink_to(path.with_name("other")),
}

UNREAD = {"empty", "garbage", "half a zip", "brackets", "folder", "deeply nested", "other JSON",
          "twice the same"}  # fmt: skip
"""Files and folders, which do no harm in the place of a file that nothing reads."""
DAMAGED = [
    (name, kind)
    for name in INSIDE
    for kind in DAMAGE
    if not (name.endswith("_CHECKPOINT_METADATA") and kind in UNREAD)
]


@pytest.mark.parametrize(("name", "kind"), DAMAGED)
def test_what_is_in_the_place_of_a_file_in_a_workdir_is_refused(
    assert_refused, tmp_path, trained, in_time, name, kind
):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    path = folder / name
    path.rename(path.with_name("other") if name == "config.json" else tmp_path / "other")
    if kind == "a link to the file":
        path.symlink_to(path.with_name("other") if name == "config.json" else tmp_path / "other")
    else:
        DAMAGE[kind](path)
    assert_refused([*CONFIG, "--mode", "sample", "--workdir", str(folder)])


# The program -------------------------------------------------------------------------------------


def test_a_fault_of_the_program_is_one_line_and_its_traceback_a_file(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def fail(asked: main.Asked) -> int:
        raise OverflowError("caf\udce9 \x1b[2J")

    monkeypatch.setitem(main.MODES, "train", fail)
    arguments = [*CONFIG, "--mode", "train", "--workdir", str(tmp_path / "run")]
    assert main.main(arguments) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: OverflowError: caf\\udce9 \\x1b[2J: a fault of this program")
    assert told.count("\n") == 1
    (file,) = tmp_path.glob("score_sde-*.txt")
    assert str(file) in told
    assert "in fail" in file.read_text()
    monkeypatch.setenv("SCORE_SDE_TRACEBACK", "1")
    with pytest.raises(OverflowError):
        main.main(arguments)


PEERS = {
    "a port of letters": ["--coordinator", "host:port"],
    "no host": ["--coordinator", ":1"],
    "a port that is none": ["--coordinator", "host:99999"],
    "digits of another script": ["--coordinator", "host:²"],
}


@pytest.mark.parametrize("name", PEERS)
def test_a_coordinator_that_is_none_is_refused_before_it_is_waited_for(
    assert_refused, tmp_path, name
):
    others = ["--num_processes", "2", "--process_id", "0", "--workdir", str(tmp_path)]
    assert_refused(
        [*CONFIG, "--mode", "train", *PEERS[name], *others], "--coordinator must be HOST:PORT"
    )


def test_so_many_processes_are_refused_before_they_are_waited_for(assert_refused, tmp_path):
    arguments = [*CONFIG, "--mode", "train", "--workdir", str(tmp_path), "--coordinator", "host:1"]
    many = ["--num_processes", str(10**12), "--process_id", "0"]
    assert_refused([*arguments, *many], "--num_processes must be at most 65,536")


def test_a_stream_of_another_encoding_is_no_reason_to_fail(tmp_path):
    """A name that ASCII does not have is printed, in main.py's way."""
    done = subprocess.run(
        [sys.executable, "main.py", "--config", "\udce9.py", "--mode", "train", "--workdir", "x"],
        cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "0"},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: --config must be a config file")
    assert done.stderr.count("\n") == 1


def test_the_settings_of_a_workdir_are_told_in_few_words(assert_refused, trained, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    stored = json.loads((trained / "config.json").read_text())
    stored |= {f"model.x{n}\x1b": "y" * 10_000 for n in range(50)}
    (folder / "config.json").write_text(json.dumps(stored))
    arguments = [*CONFIG, "--mode", "train", "--workdir", str(folder)]
    assert_refused(arguments, "belongs to another config", "and 38 more")
