"""Share of small changes of the numerics that the tests notice, one after another.

    python -m benchmarks.mutations --rooms sde_lib,data_lib/codec.py --json mutations.json
    python -m benchmarks.mutations --sample 200 --seed 1 --json mutations.json
    python -m benchmarks.mutations --again mutations.json --json mutations.json

makes every small change (`mutators`) of the files of the rooms, or of files by their names, or a
sample of them, and runs the tests that belong to the file (`ROOMS`) on it, in a copy of the tree. A
change is killed if a test fails or has not ended in time, and survives if all pass. Survivors are
listed, but for those of which `mutations_explained` says why no test could tell them. The score is
the part that is killed of all that are not explained. `--again` takes over what was killed in a
report and runs the rest. Each run is a fork of a process that has imported what does not change,
and compiled programs are kept between them.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.mutations_explained import EXPLAINED
from benchmarks.mutators import Mutant, mutants, mutated

ROOT = Path(__file__).parents[1]
PROJECT = ("untrusted", "configs", "sde_lib", "data_lib", "models", "samplers", "runtime_lib",
           "train_lib", "eval_lib", "modes", "main", "tests", "benchmarks", "conftest")  # fmt: skip
"""Modules that a fork imports for itself."""
Tests = Mapping[str, tuple[str, ...]]


def _files(folder: str, stems: str, tests: str) -> Tests:
    """File -> tests, of `stems` of a folder; both told without what all names have."""
    paths = tuple(
        re.sub(r"(.*)/(\w+)(.*)", r"tests/\1/test_\2.py\3", test) for test in tests.split()
    )
    return {f"{folder}/{stem}.py": paths for stem in stems.split()}


_RECIPE = "train_lib/recipe"
_SDE = f"sde_lib/sde {_RECIPE} sde_lib/transition"
_NAMED, _LOOP = "samplers/rows samplers/named", "samplers/samplers"
_PLANNED = f"samplers/planned samplers/ending samplers/shared_noise samplers/orders {_NAMED}"
_RULES = "samplers/rules/rules"
_UNETS = "models/layers/layers models/options models/edm"
_FLOW, _FITTED = "eval_lib/likelihood/flow", "models/fitted"
ROOMS: dict[str, Tests] = {
    "sde_lib": {
        **_files("sde_lib", "base karras subvp tabulated ve vp", _SDE),
        **_files("sde_lib", "learned", f"{_SDE} train_lib/objective"),
        **_files("sde_lib", "parametrization labels rounding build",
                 f"sde_lib/score sde_lib/build {_RECIPE}"),
        **_files("sde_lib", "bins chain clipping",
                 "sde_lib/chain sde_lib/clipping eval_lib/likelihood/bounds"),
        **_files("sde_lib", "iddpm", "sde_lib/iddpm"),
        **_files("sde_lib", "score", "sde_lib/score sde_lib/build sde_lib/sde"),
        **_files("sde_lib", "guidance autoguidance",
                 f"{_RECIPE} sde_lib/guidance sde_lib/autoguidance samplers/momentum"),
        **_files("sde_lib", "combinations", "sde_lib/combinations"),
        **_files("sde_lib", "likelihood_guidance", "sde_lib/likelihood_guidance"),
        **_files("sde_lib", "guides", f"sde_lib/build {_RECIPE}"),
        **_files("sde_lib/posteriors", "base moments proximal", "sde_lib/posteriors"),
        **_files("sde_lib/measurements", "base masks solve",
                 "sde_lib/measurements sde_lib/measurement_noise sde_lib/posteriors"),
        **_files("sde_lib/measurements", "convolution dense fourier own radon separable",
                 "sde_lib/operators sde_lib/measurements"),
        **_files("sde_lib/measurements", "encoded noise",
                 "sde_lib/measurement_noise sde_lib/measurements"),
        **_files("sde_lib/measurements", "named patterns",
                 "sde_lib/masks modes/measuring sde_lib/operators"),
        **_files("sde_lib", "condition", "sde_lib/condition"),
        **_files("sde_lib", "coarse", "sde_lib/coarse"),
        **_files("sde_lib", "resizing", "sde_lib/resizing sde_lib/coarse"),
        **_files("sde_lib", "classifier", "train_lib/classification"),
        **_files("sde_lib", "composed", "sde_lib/composed"),
        **_files("sde_lib", "oracles", f"sde_lib/score {_SDE}"),
    },
    "samplers": {
        **_files("samplers", "base", _LOOP),
        **_files("samplers", "grids", f"{_NAMED} {_LOOP}::test_karras_grid_is_edms "
                 f"{_LOOP}::test_grids_fall_from_start_to_end "
                 f"{_LOOP}::test_grids_are_even_in_their_variable"),
        **_files("samplers", "respacing", "samplers/respacing"),
        **_files("samplers", "spacing", "samplers/spacing"),
        **_files("samplers", "build named", _NAMED),
        **_files("samplers", "correctors", f"{_RECIPE} {_LOOP}"),
        **_files("samplers", "pc", _LOOP),
        **_files("samplers", "predictors",
                 f"{_PLANNED} {_LOOP}::test_published_rules_on_ddpm_and_ncsn_levels"),
        **_files("samplers/planned", "ending forms grouped levels linear multistep multistep_sde "
                 "one_step plms restart runge_kutta singlestep", _PLANNED),
        **_files("samplers/rules", "base gradient projection pseudo_inverse", _RULES),
        **_files("samplers/rules", "named", "samplers/methods"),
        **_files("samplers/rules", "repaint", f"samplers/rules/repaint {_RULES}"),
        **_files("samplers/rules", "ddrm", f"samplers/rules/ddrm {_RULES}"),
        **_files("samplers/rules", "daps", f"samplers/rules/daps {_RULES}"),
        **_files("samplers/rules", "variational", "samplers/rules/variational"),
        **_files("samplers/rules", "filtering", f"samplers/rules/filtering {_RULES}"),
        **_files("samplers/rules", "particles", f"samplers/rules/particles {_RULES}"),
        **_files("samplers", "inversion", "samplers/inversion"),
        **_files("samplers", "brownian", "samplers/brownian samplers/adaptive"),
        **_files("samplers/adaptive", "adams integrate ode sde", "samplers/adaptive"),
    },
    "train_lib": {
        **_files("train_lib", "ema optimizer", _RECIPE),
        **_files("train_lib", "objective times", f"{_RECIPE} train_lib/objective"),
        **_files("train_lib", "guard", "train_lib/step"),
        **_files("train_lib", "step", "train_lib/step train_lib/chain_objective"),
        **_files("train_lib", "autoencoding", "train_lib/autoencoding"),
        **_files("train_lib", "buckets", "train_lib/buckets train_lib/step"),
        **_files("train_lib", "loss", f"{_RECIPE} train_lib/objective"),
        **_files("train_lib", "chain history", "train_lib/chain_objective"),
        **_files("train_lib", "adversary", "train_lib/adversary"),
        **_files("train_lib", "classification measures", "train_lib/classification"),
        **_files("train_lib", "augment", "train_lib/augment"),
    },
    "eval_lib/likelihood": {
        **_files("eval_lib/likelihood", "data_law", "eval_lib/likelihood/data_law"),
        **_files("eval_lib/likelihood", "bins bounds", f"eval_lib/likelihood/bounds {_FLOW}"),
        **_files("eval_lib/likelihood", "estimators", "eval_lib/likelihood/estimators"),
        **_files("eval_lib/likelihood", "divergence flow", _FLOW),
        **_files("eval_lib/likelihood", "summary", "eval_lib/likelihood/summary"),
    },
    "eval_lib/metrics": _files("eval_lib/metrics", "base frechet inception_score kernel manifold "
                               "memorisation sliced two_sample",
                               "eval_lib/metrics eval_lib/array_metrics/array_distances"),
    "eval_lib/array_metrics": {
        **_files("eval_lib/array_metrics", "distances correlations classifier marginals",
                 "eval_lib/array_metrics/array_distances"),
        **_files("eval_lib/array_metrics", "ranks scores tarp table",
                 "eval_lib/array_metrics/array_calibration"),
        **_files("eval_lib/array_metrics", "spectra", "eval_lib/array_metrics/array_spectra"),
        **_files("eval_lib/array_metrics", "base compare",
                 "eval_lib/array_metrics/array_compare eval_lib/array_metrics/array_calibration"),
    },
    "eval_lib": _files("eval_lib", "restoration", "eval_lib/restoration"),
    "models/layers": {
        **_files("models/layers", "pieces", f"{_FITTED}::test_exchangeable_pieces_are_summed_up "
                 f"{_FITTED}::test_correlations_of_exchangeable_pieces_are_told_as_fishers_z "
                 f"{_FITTED}::test_correlations_are_told_of_pieces_of_few_numbers "
                 f"{_FITTED}::test_what_few_pieces_show_is_summed_up_of_those_alone "
                 f"{_FITTED}::test_a_correlation_over_one_piece_is_the_product_there"),
        **_files("models/layers", "embeddings", f"models/layers/embeddings {_UNETS}"),
        **_files("models/layers", "blocks norm resampling pyramids attention mappings dense",
                 _UNETS),
        **_files("models/layers", "instance_norm refine", "models/ncsn"),
        **_files("models/layers", "adaptive told transformers", "models/unet_condition"),
        **_files("models/layers", "attend", "models/layers/attend"),
        **_files("models/layers", "dropout keys", "models/layers/keys models/layers/layers"),
    },
    "data_lib": {
        **_files("data_lib", "levels transforms",
                 "data_lib/data_transforms data_lib/levels data_lib/members"),
        **_files("data_lib", "codec bounds", "data_lib/codec"),
        **_files("data_lib", "glyphs", "data_lib/glyphs"),
    },
}  # fmt: skip
"""Room -> file -> the tests that are to notice its changes, those that notice most first."""


class Outcome(NamedTuple):
    """came: killed, timeout, survived or explained."""

    room: str
    file: str
    line: int
    name: str
    came: str
    seconds: float


Work = dict[str, list[tuple[str, Mutant]]]
"""File -> (room, mutant) of those that are tried."""

# Processes ----------------------------------------------------------------------------------------


def copy_of_the_tree(folder: Path) -> Path:
    """The files that git knows of or would, in `folder`."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


_moments = itertools.count(int(time.time()) - 10**8)


def put(path: Path, source: str) -> None:
    """Write a source with a time of its own, so that Python compiles it anew."""
    path.write_text(source)
    moment = next(_moments)
    os.utime(path, (moment, moment))


def run_tests(tree: Path, tests: Sequence[str], limit: float) -> int | None:
    """pytest's exit code in a fork, None if it has not ended after `limit` seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of forks and threads: this process has run no program
        child = os.fork()
    if child == 0:
        _test(tree, tests)
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _test(tree: Path, tests: Sequence[str]) -> None:
    code = 70
    try:
        os.setpgrp()
        os.chdir(tree)
        sys.path[:] = [str(tree), *(p for p in sys.path if Path(p or ".").resolve() != ROOT)]
        for name in [n for n in sys.modules if n.partition(".")[0] in PROJECT]:
            del sys.modules[name]
        with (tree / "tests.log").open("w") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        import pytest

        # Its plugins are imported before it looks at them.
        quiet = "-Wignore::pytest.PytestAssertRewriteWarning"
        usual = ["-x", "-q", "-n", "0", "--tb=native", "-p", "no:cacheprovider", quiet]
        code = pytest.main([*usual, *tests])
        (tree / "modules.txt").write_text("\n".join(sys.modules))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def import_all(names: Sequence[str]) -> None:
    """Modules that no change can be in, so that forks have them."""
    for name in names:
        if name.partition(".")[0] not in (*PROJECT, "__main__"):
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    gc.freeze()


# Runs ---------------------------------------------------------------------------------------------


def baseline(tree: Path, tests: Sequence[str]) -> float:
    """Seconds of tests on sound files, with their programs kept; ValueError if they fail."""
    for _ in range(2):
        start = time.monotonic()
        code = run_tests(tree, tests, 1800)
        if code != 0:
            log = (tree / "tests.log").read_text()[-2000:]
            raise ValueError(f"the tests {' '.join(tests)} end with {code}:\n{log}")
        import_all((tree / "modules.txt").read_text().split())
    return time.monotonic() - start


def chosen(rooms: Sequence[str], sample: int, seed: int) -> Work:
    """File -> [(room, mutant)] of rooms or single files, or of `sample` of all their mutants."""
    every = [
        (room, file, mutant)
        for room in ROOMS
        for file in ROOMS[room]
        if {room, file} & set(rooms)
        for mutant in mutants((ROOT / file).read_text())
    ]
    if sample:
        every = random.Random(seed).sample(every, min(sample, len(every)))
    found: Work = {}
    for room, file, mutant in every:
        found.setdefault(file, []).append((room, mutant))
    return dict(sorted(found.items()))


def surviving(found: Sequence[Outcome]) -> Work:
    """File -> [(room, mutant)] of what survived, as far as the files still have it."""
    left: Work = {}
    for file in dict.fromkeys(one.file for one in found if one.came in ("survived", "explained")):
        known = {mutant.name: mutant for mutant in mutants((ROOT / file).read_text())}
        own = [one for one in found if one.file == file and one.came in ("survived", "explained")]
        left[file] = [(one.room, known[one.name]) for one in own if one.name in known]
    return left


def outcomes(tree: Path, work: Work) -> Iterator[Outcome]:
    """Outcomes of the mutants."""
    known: dict[tuple[str, ...], float] = {}
    for file, changes in work.items():
        tests, sound = ROOMS[changes[0][0]][file], (ROOT / file).read_text()
        if tests not in known:
            known[tests] = baseline(tree, tests)
            print(f"{known[tests]:6.1f} s  {' '.join(tests)}", flush=True)
        for room, mutant in changes:
            start = time.monotonic()
            put(tree / file, mutated(sound, mutant.number))
            code = run_tests(tree, tests, 60 + 5 * known[tests])
            came = "timeout" if code is None else "killed" if code else "survived"
            if came == "survived" and mutant.name in EXPLAINED.get(file, {}):
                came = "explained"
            yield Outcome(room, file, mutant.line, mutant.name, came, time.monotonic() - start)
        put(tree / file, sound)


def table(found: Sequence[Outcome]) -> str:
    """Numbers by room, and the score: killed or out of time, of what is not explained."""
    rows = [
        "| room | mutants | killed | timeout | survived | explained | score |",
        "|---" * 7 + "|",
    ]
    for room in [*dict.fromkeys(one.room for one in found), ""]:
        own = Counter(one.came for one in found if room in ("", one.room))
        dead = own["killed"] + own["timeout"]
        told = [own.total(), own["killed"], own["timeout"], own["survived"], own["explained"]]
        score = dead / max(own.total() - own["explained"], 1)
        rows.append(f"| {room or 'all'} | {' | '.join(map(str, told))} | {score:.1%} |")
    return "\n".join(rows)


def main(arguments: Sequence[str]) -> None:
    """Run the command line."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--rooms", default=",".join(ROOMS), help="of these or their files, some")
    parser.add_argument("--sample", type=int, default=0, help="mutants drawn at random; 0: all")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--again", type=Path, help="instead: what survived in this report")
    parser.add_argument("--json", type=Path, help="a file for what came of each")
    options = parser.parse_args(arguments)
    rooms = options.rooms.split(",")
    if not set(rooms) <= {*ROOMS, *(file for room in ROOMS.values() for file in room)}:
        parser.error(f"--rooms must be of {', '.join(ROOMS)} or their files, got {options.rooms!r}")
    work, found = chosen(rooms, options.sample, options.seed), list[Outcome]()
    if options.again:
        before = [Outcome(**one) for one in json.loads(options.again.read_text())]
        work = surviving(before)
        found = [one for one in before if one.came in ("killed", "timeout")]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = f"{folder}/programs"
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        for one in outcomes(copy_of_the_tree(Path(folder) / "tree"), work):
            found.append(one)
            if one.came in ("survived", "timeout"):
                print(f"{one.came}: {one.file}:{one.line}: {one.name}", flush=True)
            if options.json:
                options.json.write_text(json.dumps([o._asdict() for o in found], indent=1) + "\n")
    print(table(found))


if __name__ == "__main__":
    main(sys.argv[1:])
