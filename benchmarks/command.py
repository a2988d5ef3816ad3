"""Options common to the benchmarks' command lines."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from benchmarks.peer import PeerError
from configs import command_line


def parse(
    arguments: Sequence[str],
    description: str | None,
    add: Callable[[argparse.ArgumentParser], None],
) -> tuple[argparse.Namespace, ConfigDict]:
    """(options, config): --config with its settings, --json, and the options that `add` adds."""
    arguments, settings = command_line.split(arguments)
    raw = argparse.RawDescriptionHelpFormatter
    parser = command_line.Parser(description=description, formatter_class=raw, allow_abbrev=False)
    parser.add_argument("--config", required=True, help="the config file, e.g. configs/vp_cifar.py")
    add(parser)
    parser.add_argument("--json", type=Path, help="a file to write the report to")
    options = parser.parse_args(arguments)
    return options, command_line.load(options.config, settings)


def of_a_model(parser: argparse.ArgumentParser, batch: int) -> None:
    """Add the options of benchmarks on a trained model, in rounds that take turns."""
    parser.add_argument("--workdir", required=True, type=Path, help="folder of a trained model")
    parser.add_argument("--batch", type=int, default=batch, help="images at a time")
    parser.add_argument("--rounds", type=int, default=3, help="turns, of which medians are taken")


def device() -> str:
    """Number and kind of the devices."""
    return f"{jax.device_count()} x {jax.devices()[0].device_kind}"


def write(path: Path | None, report: dict[str, Any]) -> None:
    """The report as JSON, if a file for it was given."""
    if path:
        path.write_text(json.dumps(report, indent=1) + "\n")


def main(run: Callable[[Sequence[str]], None]) -> None:
    """Run `run` on the command line, then exit; the user's errors are one line and code 2."""
    try:
        run(sys.argv[1:])
    except (ValueError, OSError, PeerError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
