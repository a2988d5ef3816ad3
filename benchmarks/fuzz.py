"""Reading of many randomly changed files by a process that is watched.

    python -m benchmarks.fuzz --minutes 5 --seed 1
    python -m benchmarks.fuzz --minutes 60 --seed 2 --json fuzz.json --keep FOLDER

changes sound files of every format (`fuzz_seeds`, `fuzz_changes`) and has them read as they would
be by `--mode import`, a folder of pictures, a feature network or reference statistics
(`watched.READERS`). A file must be accepted, or refused in one line. Findings are: a traceback,
more than 2 s, more than 200 MiB, a crash, or anything run, sent, imported or written outside of the
scratch folder. Files with findings are kept in --keep, with the messages. The same seed gives the
same files. Exits with 1 if anything was found.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks import fuzz_changes
from benchmarks.fuzz_seeds import Seed, seeds
from benchmarks.watched import HANG, Outcome, ended
from untrusted import limits

ROOT = Path(__file__).parents[1]
SLOW = 2.0
"""CPU seconds from which on a file counts as a hang."""
PATIENCE = 300.0
"""Wall-clock seconds for which a process may be silent, even if it hardly gets to run."""
FINDINGS = ("traceback", "hang", "crash", "growth", "acts")


class Reader:
    """The reading process, restarted when it has died."""

    def __init__(self, scratch: Path):
        self.scratch = scratch
        self.process: subprocess.Popen[str] | None = None

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "benchmarks.watched", str(self.scratch)]
        # Decoders in C say on stderr what they make of a file.
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(command, text=True, cwd=ROOT, bufsize=1, **pipes)  # type: ignore[call-overload]

    def read(self, reader: str, path: Path) -> Outcome:
        """The outcome of reading a file."""
        self.process = process = self.process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([reader, str(path)]) + "\n")
        line = _line(process)
        if line:
            return Outcome(*json.loads(line))
        process.kill()
        self.process = None
        return ended(process.wait(), hung=line is not None)

    def close(self) -> None:
        """End the process."""
        if self.process:
            self.process.kill()
            self.process.wait()


def _line(process: subprocess.Popen[str]) -> str | None:
    """The next line that a process prints; '' if it hangs, None if it has died.

    Time is CPU time, since other processes may delay it; a process that waits uses none.
    """
    began, start = time.monotonic(), _cpu(process.pid)
    while not select.select([process.stdout], [], [], 1.0)[0]:
        if _cpu(process.pid) - start > HANG or time.monotonic() - began > PATIENCE:
            return ""
    assert process.stdout is not None
    return process.stdout.readline() or None


def _cpu(pid: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def findings(outcome: Outcome) -> list[str]:
    """Violations in the outcome of reading a file, in words."""
    found = [outcome.verdict] if outcome.verdict in FINDINGS else []
    if outcome.cpu > SLOW and "hang" not in found:
        found.append("hang")
    if outcome.growth > limits.GROWTH:
        found.append("growth")
    return found + ["acts"] * bool(outcome.acts)


def written(seed: Seed, data: bytes, folder: Path) -> Path:
    """Write a changed file and the files beside it; returns the path for the reader."""
    for name, content in {**seed.beside, seed.file: data}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name == seed.file or not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)
    return folder / seed.file.split("/")[0]


def keep(folder: Path, name: str, seed: Seed, data: bytes, outcome: Outcome) -> None:
    """Keep a file with findings."""
    folder.mkdir(parents=True, exist_ok=True)
    slug = name.replace(" ", "_").replace("/", "_").replace(",", "")
    number = len(list(folder.glob(f"{slug}.*.json")))
    (folder / f"{slug}.{number}.data").write_bytes(data)
    told = {"reader": seed.reader, "file": seed.file, **outcome._asdict()}
    (folder / f"{slug}.{number}.json").write_text(json.dumps(told, indent=1) + "\n")


def fuzz(minutes: float, seed: int, kept: Path, only: str = "") -> dict[str, Counter[str]]:
    """Counts of the outcomes of changed files, by format; if interrupted, of those so far."""
    counts: dict[str, Counter[str]] = {}
    with contextlib.suppress(KeyboardInterrupt):
        _fuzz(counts, minutes, seed, kept, only)
    return counts


def _fuzz(
    counts: dict[str, Counter[str]], minutes: float, seed: int, kept: Path, only: str
) -> None:
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        table = {key: s for key, s in seeds(scratch).items() if only in key}
        reader = Reader(scratch / "unused")
        try:
            # Whatever is imported late is imported now, before anyone listens for it.
            for key, sound in table.items():
                path = written(sound, sound.data, scratch / key)
                reader.read(sound.reader, path)
                outcome = reader.read(sound.reader, path)
                counts[key] = Counter()
                if outcome.verdict != "accepted" or outcome.acts:
                    raise ValueError(f"a sound file of {key} is not read: {outcome}")
            end, turn = time.monotonic() + 60 * minutes, 0
            while time.monotonic() < end:
                for key, sound in table.items():
                    generator = random.Random(f"{seed} {turn} {key}")
                    data = fuzz_changes.FORMATS[sound.mutation](generator, sound.data)
                    if generator.random() < 0.2:
                        data = fuzz_changes.of_bytes(generator, data)
                    path = written(sound, data, scratch / key)
                    outcome = reader.read(sound.reader, path)
                    found = findings(outcome)
                    counts[key].update([outcome.verdict, *set(found) - {outcome.verdict}, "files"])
                    if found:
                        keep(kept, key, sound, data, outcome)
                turn += 1
        finally:
            reader.close()


COLUMNS = ("files", "accepted", "refused", *FINDINGS)


def table(counts: dict[str, Counter[str]]) -> str:
    """Counts as a table in Markdown."""
    total: Counter[str] = sum(counts.values(), Counter())
    rows = [("format", *COLUMNS), ("---",) * (len(COLUMNS) + 1)]
    for name, count in [*counts.items(), ("all", total)]:
        rows.append((name, *(f"{count[column]:,}" for column in COLUMNS)))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def run(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--minutes", type=float, default=5.0, help="duration")
    parser.add_argument("--seed", type=int, default=1, help="seed of the changes")
    parser.add_argument("--only", default="", help="use only formats whose names contain this")
    parser.add_argument("--keep", type=Path, default=Path("runs/fuzz"), help="folder for findings")
    parser.add_argument("--json", type=Path, help="a file to write the counts to")
    options = parser.parse_args(arguments)
    # Ended by hand or by a machine's timer, it says what it has found so far.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    counts = fuzz(options.minutes, options.seed, options.keep, options.only)
    print(table(counts))
    if options.json:
        options.json.write_text(json.dumps(counts, indent=1) + "\n")
    return int(any(count[finding] for count in counts.values() for finding in FINDINGS))


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
