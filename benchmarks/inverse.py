"""Methods for inverse problems beside one another, at equal evaluations of the network.

    python -m benchmarks.inverse --config configs/vp_digits.py --workdir runs/digits --nfe 50,100

Every method reconstructs the same measurements of held-out images (`eval.num_images` of them, one
sample each, for PSNR and misfit; `--covered` of them, 19 samples each, for the coverage of central
intervals of 90% and the PSNR of the mean) from as many evaluations as they allow, backward passes
included. The floor is the nearest measured pixel, or A^+ y. Measurements have noise of
`inverse.noise`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from scipy.ndimage import distance_transform_edt

import data_lib
from benchmarks import command
from configs import command_line
from configs.recorded import Recorded
from data_lib import Splits
from eval_lib import restoration
from modes.experiment import Experiment
from modes.generator import Given, make_generator
from modes.problem import Problem, observed, problem_of
from modes.trained import load_score
from sde_lib import ModelScore

SAMPLES = 19
"""Samples of each measurement of which the coverage is counted: 90% lie between the ends."""
TASKS = {
    "half of the image": {"measure": "inpaint", "mask": "left"},
    "2x super-resolution": {"measure": "average", "factor": "2"},
    "4x Fourier": {"measure": "fourier", "acceleration": "4"},
    "8x Fourier": {"measure": "fourier", "acceleration": "8"},
}
METHODS = {
    "mmps": {"sampling.predictor": "ddim"},
    "mmps, cg, 3 iterations": {"inverse.method": "mmps", "inverse.iterations": "3"},
    "mmps, gmres, 3 iterations": {"inverse.method": "mmps", "inverse.solver": "gmres",
                                  "inverse.iterations": "3"},
    "mmps, eta 1": {"inverse.method": "mmps", "sampling.eta": "1.0"},
    "pigdm": {},
    "pigdm, eta 1": {"inverse.method": "pigdm", "sampling.eta": "1.0"},
    "tmpd": {},
    "diffpir": {"sampling.eta": "1.0"},
    "dps": {"sampling.predictor": "ancestral"},
    "dps, weight 0.3": {"inverse.method": "dps", "sampling.predictor": "ancestral",
                        "inverse.weight": "0.3"},
    "projection": {"sampling.predictor": "ancestral"},
    "repaint": {"sampling.predictor": "ancestral", "inverse.jump_length": "5",
                "inverse.jump_n_sample": "5"},
    "ddrm": {},
    "daps": {},
}  # fmt: skip
"""Row -> its settings beside inverse.method, by default its name, and sampling.predictor=ddim."""


def _config(base: ConfigDict, settings: dict[str, str]) -> Recorded:
    own = base.copy_and_resolve_references()
    command_line.override(own, settings)
    return Recorded.of(own)


def floor(problem: Problem) -> np.ndarray:
    """The nearest measured pixel where pixels are measured, else A^+ y."""
    known = problem.operator.values(problem.y)
    x = np.zeros_like(problem.truth)
    if known is None:
        return np.asarray(problem.operator.pseudo_inverse(problem.y, jax.numpy.asarray(x)))
    missing = np.isnan(known[0, ..., 0])
    _, (rows, columns) = distance_transform_edt(missing, return_indices=True)
    found: np.ndarray = known[:, rows, columns]
    return found


def _figures(x: np.ndarray, problem: Problem) -> dict[str, float]:
    """Figures of merit of samples [n, s, ...] of the first measurements."""
    few = replace(problem, y=problem.y[: len(x)], truth=problem.truth[: len(x)])
    found = {
        "psnr": float(restoration.psnr(x[:, 0], few.truth, 1.0).mean()),
        "misfit": float(few.misfit(x[:, 0], 100).mean() / problem.noise),
    }
    if x.shape[1] > 1:
        found["psnr of mean"] = float(restoration.psnr(x.mean(axis=1), few.truth, 1.0).mean())
        varies = np.broadcast_to(few.truth.std(axis=0) > 0, few.truth.shape)
        found["coverage"] = restoration.coverage(x, few.truth, varies).share
    return found


def _drawn(
    experiment: Experiment, score: ModelScore, problem: Problem, count: int, each: int, batch: int
) -> tuple[np.ndarray, float]:
    """(samples [count, each, ...], evaluations of one)."""
    few = replace(problem, y=problem.y[:count])
    made = make_generator(experiment, score, Given(observed=observed(few, experiment)))
    parts = [made.draw(first, batch) for first in range(0, count * each, batch)]
    x = np.concatenate([part["samples"] for part in parts])[: count * each]
    evaluations = np.concatenate([part["evaluations"] for part in parts]).mean()
    return x.reshape(each, count, *x.shape[1:]).swapaxes(0, 1), float(evaluations)


def measure(
    base: ConfigDict, splits: Splits, workdir: Path, name: str, settings: dict[str, str],
    asked: str, nfe: int, covered: int,
) -> dict[str, Any]:  # fmt: skip
    """The figures of one method, problem and number of evaluations."""
    told = {"inverse.method": name, "sampling.predictor": "ddim", **settings}
    told |= {f"inverse.{key}": value for key, value in TASKS[asked].items()}
    config = _config(base, {**told, "sampling.nfe": str(nfe)})
    experiment = Experiment.of(config)
    problem = problem_of(experiment, splits, lambda line: None)
    if name == "floor":
        return _figures(floor(problem)[:, None], problem) | {"evaluations": 0.0, "seconds": 0.0}
    score, _ = load_score(experiment, workdir, lambda line: None)
    begin = time.perf_counter()
    batch = config.sampling.batch_size
    one, evaluations = _drawn(experiment, score, problem, len(problem), 1, batch)
    several, _ = _drawn(experiment, score, problem, covered, SAMPLES, batch)
    told = _figures(several, problem) | _figures(one, problem)
    return told | {"evaluations": evaluations, "seconds": time.perf_counter() - begin}


def table(cells: list[dict[str, Any]]) -> str:
    """A row for each method and number of evaluations, four numbers for each problem."""
    problems = list(dict.fromkeys(cell["problem"] for cell in cells))
    lines = ["| method | NFE | " + " | ".join(problems) + " |", "|---" * (2 + len(problems)) + "|"]
    for key in dict.fromkeys((cell["method"], cell["nfe"]) for cell in cells):
        row = {c["problem"]: c for c in cells if (c["method"], c["nfe"]) == key}
        lines.append(f"| {key[0]} | {key[1] or ''} | "
                     + " | ".join(_told(row.get(p, {})) for p in problems) + " |")  # fmt: skip
    return "\n".join(lines)


def _told(cell: dict[str, Any]) -> str:
    if "error" in cell:
        return str(cell["error"])[:40]
    parts = [f"{cell[name]:.2f}" for name in ("psnr", "psnr of mean", "misfit") if name in cell]
    parts += [f"{100 * cell['coverage']:.0f}%"] if "coverage" in cell else []
    return ", ".join(parts)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workdir", required=True, type=Path, help="folder of a trained model")
    parser.add_argument("--nfe", default="50", help="evaluations per sample, several with commas")
    parser.add_argument("--covered", type=int, default=40, help="images of several samples")
    parser.add_argument("--methods", default=";".join(METHODS), help="rows, separated by ;")
    parser.add_argument("--tasks", default=";".join(TASKS), help="problems, separated by ;")


def run(arguments: Sequence[str]) -> None:
    """Measure, print as it goes, and write the report if asked to."""
    options, base = command.parse(arguments, __doc__, _options)
    splits, cells = data_lib.load(base.data), []
    for problem in options.tasks.split(";"):
        asked = [("floor", 0)] + [(method, int(nfe)) for method in options.methods.split(";")
                                  for nfe in options.nfe.split(",")]  # fmt: skip
        for method, nfe in asked:
            own = METHODS.get(method, {})
            name = own.get("inverse.method", method)
            try:
                found = measure(base, splits, options.workdir, name, own, problem, nfe,
                                options.covered)  # fmt: skip
            except ValueError as error:
                found = {"error": str(error)}
            cells.append({"method": method, "nfe": nfe, "problem": problem, **found})
            print(f"{problem}, {method}, {nfe}: {_told(found)} ({found.get('seconds', 0):.0f} s)")
            command.write(options.json, {"cells": cells, "device": command.device()})
    print(table(cells))


if __name__ == "__main__":
    command.main(run)
