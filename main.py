"""score-sde-jax: train a score model, and use it.

    python main.py --config configs/vp_digits.py --mode train --workdir runs/digits
    python main.py --config configs/vp_digits.py --mode profile --workdir runs/digits
    python main.py --config configs/vp_digits.py --mode sample --workdir runs/digits
    python main.py --config configs/vp_digits.py --mode samplers --workdir runs/digits
    python main.py --config configs/vp_digits.py --mode eval --workdir runs/digits
    python main.py --config configs/vp_digits.py --mode stats --workdir runs/digits
    python main.py --config configs/vp_digits.py:likelihood --mode likelihood --workdir runs/digits
    python main.py --config configs/vp_digits.py --mode encode --workdir runs/digits
    python main.py --config configs/vp_digits.py --mode interpolate --workdir runs/digits
    python main.py --config configs/vp_digits.py --mode reconstruct --workdir runs/digits \\
        --measure inpaint --mask left
    python main.py --config configs/vp_digits.py --mode edit --workdir runs/digits \\
        --config.edit.strength=0.5
    python main.py --config configs/vp_digits.py --mode export --workdir runs/digits \\
        --export_to digits.safetensors --export_as safetensors
    python main.py --config configs/ve_cifar.py --mode import --workdir runs/ve \\
        --import_from checkpoint_24.pth

Several processes make one run if each is given --coordinator, --num_processes and --process_id, or
--distributed on a cluster from which JAX finds these (docs/scaling.md).

Every setting can be given as --config.section.key=value; configs/defaults lists them all.
The code in --config FILE.py and in FILE.py:FUNCTION is run: read a stranger's file first.
Exit codes: 0 done, 1 a fault of this program (the message names a file with the traceback), 2 bad
input (the message says what to change; with SCORE_SDE_TRACEBACK=1 in the environment a traceback
instead), 3 another process of the run is gone, 130 and 143 stopped by Ctrl-C and SIGTERM.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import io
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, cast

from configs import command_line
from configs.recorded import Recorded
from runtime_lib.start.compiled import keep_compiled_programs
from runtime_lib.start.huge_pages import restart_for_training


class Asked(NamedTuple):
    """The parsed command line; `config` may be None in --mode import only.

    `settings` has the texts of the settings given one by one, which the config already includes.
    """

    mode: str
    config: Any
    settings: dict[str, str]
    workdir: Path
    import_from: str
    export_to: str
    export_as: str
    peers: tuple[str | None, int | None, int | None] | None = None
    """Arguments of `runtime_lib.processes.Peers`; None: this process is alone."""


def _of_experiment(module: str, function: str) -> Callable[[Asked], int]:
    """A mode that is `module.function(experiment, workdir)`; the module is imported at the call."""

    def run(asked: Asked) -> int:
        from models.layers.cpu.switch import TUNED
        from modes.from_data import resolved
        from modes.guides import experiment_of
        from modes.reading import check

        mode = getattr(importlib.import_module(module), function)
        with TUNED(asked.config.cpu_tuned):
            known = resolved(asked.config, asked.workdir)
            experiment = experiment_of(*known, asked.workdir, mode=asked.mode)
            check(asked.mode, experiment, asked.settings)
            return mode(experiment, asked.workdir)

    return run


def _import(asked: Asked) -> int:
    if not asked.import_from:
        raise ValueError("--import_from must be given: the checkpoint to import")
    from modes.import_ import import_checkpoint

    override = partial(command_line.override, settings=asked.settings)
    source = Path(asked.import_from)
    return import_checkpoint(source, asked.workdir, asked.config, override, asked.settings)


def _export(asked: Asked) -> int:
    from modes.experiment import Experiment
    from modes.export import LAYOUTS, export
    from modes.from_data import resolved
    from modes.reading import check
    from sde_lib.guides import ABSENT

    if not asked.export_to:
        raise ValueError("--export_to must be given: the file or directory to write")
    if asked.export_as not in LAYOUTS:
        raise ValueError(
            f"--export_as must be one of {', '.join(LAYOUTS)}, got {asked.export_as!r}"
        )
    experiment = Experiment.of(*resolved(asked.config, asked.workdir), told=ABSENT)
    check(asked.mode, experiment, asked.settings)
    return export(experiment, asked.workdir, Path(asked.export_to), asked.export_as)


MODES: dict[str, Callable[[Asked], int]] = {
    "train": _of_experiment("modes.train", "train"),
    "sample": _of_experiment("modes.sample", "sample"),
    "samplers": _of_experiment("modes.samplers", "compare"),
    "eval": _of_experiment("modes.evaluate", "evaluate"),
    "stats": _of_experiment("modes.stats", "stats"),
    "likelihood": _of_experiment("modes.likelihood", "likelihood"),
    "encode": _of_experiment("modes.latents", "encode"),
    "interpolate": _of_experiment("modes.latents", "interpolate"),
    "reconstruct": _of_experiment("modes.reconstruct", "reconstruct"),
    "edit": _of_experiment("modes.edit", "edit"),
    "measure": _of_experiment("modes.measure", "measure"),
    "profile": _of_experiment("modes.profile", "profile"),
    "import": _import,
    "export": _export,
}
NEEDED = {"import": ("mode", "workdir")}
"""Arguments that a mode needs, if not config, mode and workdir."""
OWNERS = {"import_from": "import", "export_to": "export", "export_as": "export"}
"""Arguments that belong to one mode."""
SHORT = {
    "reconstruct": {"measure": "inverse.measure", "mask": "inverse.mask", "input": "inverse.input"},
    "measure": {"measure": "inverse.measure", "mask": "inverse.mask"},
    "edit": {"mask": "edit.mask", "input": "edit.input"},
}
"""Mode -> arguments that are short names of settings."""
ALONE = ("import", "export")
"""Modes that a single process runs."""


def _parse(arguments: Sequence[str]) -> Asked:
    """The parsed command line; ValueError for anything that cannot be understood."""
    arguments, settings = command_line.split(arguments)
    raw = argparse.RawDescriptionHelpFormatter
    parser = command_line.Parser(description=__doc__, formatter_class=raw, allow_abbrev=False)
    parser.add_argument("--config", help="config file, as configs/vp_digits.py or FILE.py:VARIANT")
    parser.add_argument("--mode", help=" or ".join(MODES))
    parser.add_argument("--workdir", help="folder of one run: checkpoints, logs, samples")
    parser.add_argument("--import_from", help="with --mode import: the checkpoint to import")
    parser.add_argument("--export_to", help="with --mode export: the file or folder to write")
    parser.add_argument("--export_as", help="with --mode export: format, safetensors or diffusers")
    parser.add_argument("--measure", help="with --mode reconstruct or measure: what was measured: "
                        "inpaint, average, fourier, ..., or FILE.py:FUNCTION")  # fmt: skip
    parser.add_argument("--mask", help="with --mode reconstruct or edit: file or name of what is "
                        "known, or stays")  # fmt: skip
    parser.add_argument("--input", help="with --mode reconstruct: measurements, or examples "
                        "of which a part is known; with --mode edit: examples")  # fmt: skip
    parser.add_argument("--coordinator", help="HOST:PORT of process 0, the same for all processes")
    parser.add_argument("--num_processes", type=int, help="processes in this run")
    parser.add_argument("--process_id", type=int, help="number of this process, from 0")
    parser.add_argument("--distributed", action="store_true", help="find the processes of this run "
                        "from the cluster: SLURM, Open MPI or a TPU pod")  # fmt: skip
    given, unknown = parser.parse_known_args(arguments)
    if unknown:
        raise ValueError(f"unknown argument {unknown[0]!r}: see --help")
    for name, owner in OWNERS.items():
        if getattr(given, name) and given.mode in MODES and given.mode != owner:
            raise ValueError(f"--{name} belongs to --mode {owner}, got --mode {given.mode}")
    for name in NEEDED.get(given.mode, ("config", "mode", "workdir")):
        if not getattr(given, name):
            raise ValueError(f"--{name} must be given: see --help")
    if given.mode not in MODES:
        raise ValueError(f"--mode must be one of {', '.join(MODES)}, got {given.mode!r}")
    _check_workdir(given.workdir)
    settings |= _short(given, settings)
    others = (getattr(given, name) or "" for name in OWNERS)
    return Asked(
        given.mode,
        _config(given.config, settings),
        settings,
        Path(given.workdir),
        *others,
        _peers(given),
    )


def _short(given: Any, settings: dict[str, str]) -> dict[str, str]:
    """The settings that were given by short names; ValueError for one of another mode, or twice."""
    own, found = SHORT.get(given.mode, {}), {}
    for name in sorted({name for names in SHORT.values() for name in names}):
        value = getattr(given, name)
        if value is None:
            continue
        if name not in own:
            modes = " or ".join(mode for mode, names in SHORT.items() if name in names)
            raise ValueError(f"--{name} belongs to --mode {modes}, got --mode {given.mode}")
        if own[name] in settings:
            raise ValueError(f"--{name} and --config.{own[name]} are the same: give one of them")
        found[own[name]] = value
    return found


def _check_workdir(path: str) -> None:
    """Raise ValueError for a name that the library which writes checkpoints cannot use."""
    try:
        os.path.abspath(path).encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"--workdir must be a path in UTF-8, got {path!r}: rename that folder, or give another"
        ) from error


def _peers(given: Any) -> tuple[str | None, int | None, int | None] | None:
    told = (given.coordinator, given.num_processes, given.process_id)
    if not given.distributed and told == (None, None, None):
        return None
    if given.mode in ALONE:
        raise ValueError(f"--mode {given.mode} runs as one process: leave out --distributed")
    return told


def _meet(peers: tuple[str | None, int | None, int | None]) -> None:
    """Join the other processes of this run; only the first one prints."""
    from runtime_lib.processes import Peers, connect, is_first

    connect(Peers(*peers))
    if not is_first():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115


def _config(argument: str | None, settings: dict[str, str]) -> Any:
    if argument is None:
        return None
    config = Recorded.of(command_line.load(argument, settings))
    if "jax" not in sys.modules:  # else it is too late
        keep_compiled_programs(config.compiled)
    return config


def _user_errors() -> tuple[type[Exception], ...]:
    from modes.train import Diverged
    from runtime_lib.checkpoints.store import CheckpointError
    from runtime_lib.files import WorkdirLockedError
    from runtime_lib.workdir import WorkdirError

    return ValueError, OSError, CheckpointError, WorkdirLockedError, WorkdirError, Diverged


def _out_of_memory(error: Exception) -> bool:
    exhausted = type(error).__name__ == "JaxRuntimeError" and "RESOURCE_EXHAUSTED" in str(error)
    return exhausted or isinstance(error, MemoryError)


def _one_line(error: Exception) -> str:
    from runtime_lib.files import plain_reason

    if _out_of_memory(error):
        told = next(iter(str(error).strip().splitlines()), "MemoryError")[:150]
        return (
            f"the device's memory is too small ({told}): lower training.batch_size or raise "
            "training.accumulate to train, lower sampling.batch_size to sample"
        )
    if isinstance(error, OSError) and error.errno:
        where = f"{error.filename}: " if error.filename else ""
        return where + plain_reason(error)
    # Everything after the first line is for developers.
    return command_line.first_line(error) or type(error).__name__


def _say(line: str) -> None:
    """Print one line on stderr, with unprintable characters of strangers' names escaped."""
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    print("".join(shown), file=sys.stderr)


def _report(error: Exception) -> None:
    """Report an unforeseen error, and keep its traceback in a file."""
    kind = type(error).__name__
    told = "".join(traceback.format_exception(error))
    with tempfile.NamedTemporaryFile(
        "w", prefix="score_sde-", suffix=".txt", delete=False, errors="backslashreplace"
    ) as file:
        file.write(told)
    _say(f"error: {kind}: {_one_line(error)}: a fault of this program, please report it with "
         f"{file.name}, which has the traceback")  # fmt: skip


def _is_loss(error: Exception) -> bool:
    from runtime_lib.processes import is_loss

    return is_loss(error)


def main(arguments: Sequence[str], begin: Callable[[str, Any], None] = lambda *_: None) -> int:
    """Parse, `begin`, dispatch, and turn the user's errors into one line and exit code 2."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name need not be text that can be printed
            stream.reconfigure(errors="backslashreplace")
    expected: tuple[type[Exception], ...] = (ValueError, OSError)
    asked = None
    try:
        asked = _parse(arguments)
        begin(asked.mode, asked.config)
        if asked.peers:
            _meet(asked.peers)
        expected = _user_errors()
        return MODES[asked.mode](asked)
    except Exception as error:
        if asked and asked.peers and _is_loss(error):
            reason = _one_line(error)[:100]
            _say(f"error: another process of this run is gone ({reason}): start all of them "
                 "again with the same commands")  # fmt: skip
            return 3
        if os.environ.get("SCORE_SDE_TRACEBACK"):
            raise
        if isinstance(error, expected) or _out_of_memory(error):
            _say(f"error: {_one_line(error)}")
            return 2
        _report(error)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def use_any_output() -> None:
    """Print each line at once, even into a file or a pipe, whatever bytes the names in it have."""
    cast(io.TextIOWrapper, sys.stdout).reconfigure(line_buffering=True, errors="backslashreplace")


def leave(code: int) -> NoReturn:
    """End this process with an exit code."""
    if code and "jax" in sys.modules:
        from runtime_lib import processes

        processes.leave(code)
    sys.exit(code)


if __name__ == "__main__":
    # Tracing makes millions of objects that live: looking for dead ones took a tenth of its time.
    gc.set_threshold(50_000, 20, 100)
    use_any_output()
    leave(main(sys.argv[1:], restart_for_training))
