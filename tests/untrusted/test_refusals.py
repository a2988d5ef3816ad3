"""Every hostile file: refused in one line, in a second, in 200 MiB, with nothing run or written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.watched import Outcome
from tests.untrusted.hostile import HOSTILE
from untrusted import limits

ROOT = Path(__file__).parents[2]


def outcomes(files: list[tuple[str, str]], scratch: Path) -> list[Outcome]:
    """Outcome of reading each, in processes forked from one that has imported everything."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.watched", str(scratch), "--fork"],
        input="".join(json.dumps(file) + "\n" for file in files),
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        timeout=280,
        check=True,
    )
    return [Outcome(*json.loads(line)) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    files = []
    for reader, name, write in HOSTILE.values():
        path = tmp_path_factory.mktemp("hostile") / name
        write(path)
        files.append((reader, str(path)))
    scratch = tmp_path_factory.mktemp("scratch")
    return dict(zip(HOSTILE, outcomes(files, scratch), strict=True))


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_file_is_refused_at_once_in_one_line_and_does_nothing(case, found):
    outcome = found[case]
    assert outcome.verdict == "refused", outcome.told
    assert outcome.acts == []
    assert "\n" not in outcome.told
    assert outcome.told.isprintable()
    assert len(outcome.told) < 600
    # Processor time, since the suite runs on all cores.
    assert outcome.cpu < limits.SECONDS
    assert outcome.growth < limits.GROWTH
