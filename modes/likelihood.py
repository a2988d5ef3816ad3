"""`--mode likelihood`: log-probabilities of a whole split, in stated units, with error bars."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from data_lib import Images, codec
from data_lib.transforms import to_unit
from eval_lib import figures
from eval_lib.likelihood import evaluator
from eval_lib.likelihood.data_law import DataLaw, data_law
from eval_lib.likelihood.summary import given_coarse, headline, markdown, scales, summary
from modes import texts
from modes.experiment import LIKELIHOOD_STREAM, Experiment
from modes.images import chosen, complete, identity
from modes.trained import load_score
from runtime_lib import workdir
from runtime_lib.files import Content
from runtime_lib.results import (
    Arrays,
    Parts,
    marked,
    npz,
    publish,
    read_own_json,
    same,
    set_results_aside,
)

REPORT = "likelihood.json"
EXTREMES = 36
"""Most likely, and least likely, images that are shown."""


def likelihood(experiment: Experiment, folder: Path, log: Callable[[str], None] = print) -> int:
    """Fill FOLDER/likelihood; returns 0.

    likelihood.json: the summary and every setting it depends on; likelihood.md: the same to read;
    likelihood.npz: one row per example; likelihood.png: their histogram, the most and the least
    likely pictures of gray levels. Finished batches are kept, so that the same command continues
    after a kill.
    """
    config = experiment.config
    workdir.check_model(folder, config)
    splits = texts.load_data(config, folder, log)
    images, name = chosen(config, splits, log)
    key, guidance = experiment.key(LIKELIHOOD_STREAM), experiment.guidance
    build = partial(evaluator.build, config, images=images, key=key, guidance=guidance)
    build(score=experiment.score)  # refuses, before it restores
    score, step = load_score(experiment, folder, log)
    law = DataLaw()
    if config.eval.likelihood == "flow":
        log(f"moments of {len(splits.train)} training examples, for the prior mismatch at t = T")
        law = data_law(complete(splits.train, "the training data", log), codec.build(config.data))
    settings = {
        **identity(images, name),
        **evaluator.settings(config, experiment.guidance_settings),
        "step": step,
        "ema": config.sampling.ema,
    }
    target, batch = folder / "likelihood", config.eval.batch_size
    devices = f"{jax.device_count()} {jax.default_backend()} device(s)"
    log(f"log-probabilities of {len(images)} examples of {name} at step {step}, "
        f"{config.eval.repeats} pass(es), {devices}"
        + (", of the guided model" if settings["guidance"] else "")
        + given_coarse(settings))  # fmt: skip
    with workdir.writing(target, "finished batches"):
        report = read_own_json(target / REPORT)
        other = report is not None and not same(report, settings)
        why = "likelihoods computed with other settings" if other else None
        set_results_aside(target, why, log)
        parts = Parts(target, {**settings, "batch_size": batch, "law": law.words}, log)
        found = evaluator.evaluate_images(
            build(score=score, law=law), config.eval.repeats, batch, parts, log
        )
        report = {**settings, **summary(found, images.pixels[0].size, images.levels)}
        if law.words:
            report["prior_mismatch_from"] = law.words
        publish(target, _files(report, found, images), REPORT, report, log)
        parts.remove()
    if lost := report["not_finite"]:
        log(f"{lost} examples have no finite log-probability and are left out of the means: "
            "raise eval.max_steps, eval.rtol or eval.atol")  # fmt: skip
    log(headline(report))
    log(f"wrote {target}: likelihood.md, likelihood.npz, likelihood.png")
    return 0


def _files(report: dict[str, Any], found: Arrays, images: Images) -> dict[str, Content | None]:
    """Files beside the report."""
    units, nats = report["eval"]["units"], found["log_prob"].mean(axis=(0, 2))
    known = scales(images.pixels[0].size, images.levels)
    rows = {unit: scale(nats) for unit, scale in known.items()}
    rows |= {name: value.mean(axis=0) for name, value in found.items() if name != "log_prob"}
    rows["log_prob"] = found["log_prob"].transpose(1, 0, 2)
    if images.labels is not None:
        rows["labels"] = images.labels
    order = np.argsort(-nats)
    order = order[np.isfinite(nats[order])]
    extremes = {"most likely": order, "least likely": order[::-1]} if images.levels else {}
    shown = {
        title: to_unit(images.pixels[chosen[:EXTREMES]], images.levels)
        for title, chosen in extremes.items()
    }
    return {
        "likelihood.npz": npz(rows),
        "likelihood.png": figures.likelihood_png(rows[units][order], units, shown),
        "likelihood.md": marked(markdown(report)),
    }
