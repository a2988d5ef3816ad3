"""`--mode sample`: pictures and arrays of samples from a trained workdir."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from modes import sizes
from modes.experiment import Experiment
from modes.generate import generate, make_generator
from modes.trained import load_score
from runtime_lib import workdir
from runtime_lib.files import plain_reason
from runtime_lib.logging import speed


def _pace(report: dict[str, Any]) -> str:
    rate = report["images_per_second"]
    if rate is None:
        return ""
    note = " (compilation included)" if report["images_per_second_includes_compilation"] else ""
    return f", {speed(rate)} images/s{note}"


def sample(experiment: Experiment, folder: Path, log: Callable[[str], None] = print) -> int:
    """Draw `sampling.num_samples` into FOLDER/samples; returns 0."""
    config = experiment.config
    sampling = config.sampling
    sizes.check("sampling.num_samples", sampling.num_samples * (1 + sampling.frames), config)
    score, step = load_score(experiment, folder, log)
    generator = make_generator(experiment, score)
    identity = {
        "step": step,
        "seed": config.seed,
        "sampling": {k: v for k, v in sampling.to_dict().items() if k != "num_samples"},
    }
    planned = generator.planned_evaluations
    log(f"sampling from step {step}: {sampling.num_samples} images, "
        f"{planned or 'as many as needed'} evaluations per image, "
        f"{jax.device_count()} {jax.default_backend()} device(s)")  # fmt: skip
    target = folder / "samples"
    try:
        report = generate(
            generator, sampling.num_samples, sampling.batch_size, target, identity, log=log
        )
    except OSError as error:
        raise workdir.WorkdirError(
            f"cannot write to {target}, {plain_reason(error)} (finished batches are kept)"
        ) from error
    log(f"{report['nfe']} evaluations per image{_pace(report)}")
    log(f"wrote {target / 'samples.npz'} and {target / 'samples.png'}")
    return 0
