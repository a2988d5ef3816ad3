"""`--mode sample`: a trained workdir to pictures and arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from eval_lib.generate import generate, make_generator
from sde_lib import ModelScore
from train_lib import workdir
from train_lib.checkpoint import Checkpoints
from train_lib.experiment import Experiment
from train_lib.files import plain_reason
from train_lib.logging import speed


def _pace(report: dict[str, Any]) -> str:
    rate = report["images_per_second"]
    if rate is None:
        return ""
    note = " (compilation included)" if report["images_per_second_includes_compilation"] else ""
    return f", {speed(rate)} images/s{note}"


def load_score(
    experiment: Experiment, folder: Path, log: Callable[[str], None] = print
) -> tuple[ModelScore, int]:
    """(score, step) of a workdir's newest sound checkpoint, or of `sampling.step`.

    Raises WorkdirError for an empty workdir or one of another config, CheckpointError for
    checkpoints that are missing or all damaged.
    """
    sampling = experiment.config.sampling
    workdir.check_model(folder, experiment.config)
    state = experiment.abstract_state()
    with Checkpoints(folder / "checkpoints", read_only=True, log=log) as checkpoints:
        part: dict[str, Any] = {"ema": state.ema} if sampling.ema else {"params": state.params}
        restored = checkpoints.restore_part(part, step=sampling.step or None)
    params = restored.state["ema"][0] if sampling.ema else restored.state["params"]
    return experiment.score.with_params(params), restored.step


def sample(experiment: Experiment, folder: Path, log: Callable[[str], None] = print) -> int:
    """Draw `sampling.num_samples` into FOLDER/samples; returns 0."""
    config = experiment.config
    score, step = load_score(experiment, folder, log)
    generator = make_generator(experiment, score)
    sampling = config.sampling
    identity = {
        "step": step,
        "seed": config.seed,
        "sampling": {k: v for k, v in sampling.to_dict().items() if k != "num_samples"},
    }
    planned = generator.planned_evaluations
    log(f"sampling from step {step}: {sampling.num_samples} images, "
        f"{planned or 'as many as it takes'} evaluations each, "
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
