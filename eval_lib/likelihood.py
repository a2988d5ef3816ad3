"""`--mode likelihood`: log-probabilities of a whole split, in stated units, with error bars."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from tqdm import tqdm

import data_lib
from data_lib import Images
from data_lib.base import patient
from data_lib.transforms import to_unit
from eval_lib import batches, estimators, figures
from eval_lib.data_law import DataLaw, data_law
from eval_lib.estimators import Estimate, Estimator
from eval_lib.images import chosen, identity
from eval_lib.results import Arrays, Identity, Parts, npz, read_json, same, set_aside
from eval_lib.sampling import load_score
from eval_lib.summary import headline, markdown, scales, summary
from sde_lib import Conditional, Score
from train_lib import sharding, workdir
from train_lib.experiment import LIKELIHOOD_STREAM, Experiment
from train_lib.files import atomic_write, atomic_write_json, plain_reason
from train_lib.processes import by_the_first

REPORT = "likelihood.json"
SETTINGS = ("split", "images", "num_images", "likelihood", "units", "bins", "dequantization",
            "repeats", "importance_samples", "trace", "probe", "num_probes", "eps", "ode_solver",
            "ode_clock", "step_control", "rtol", "atol", "max_steps", "bound_draws",
            "bound_steps")  # fmt: skip
"""Of the `eval` section: what likelihoods depend on."""
EXTREMES = 36
"""Images shown of each end."""


@jax.jit
def estimate(
    estimator: Estimator, score: Score, data: Array, labels: Array | None, keys: PRNGKeyArray
) -> Estimate:
    """`estimator` of a batch in one compiled program; numbers in it recompile nothing."""
    return estimator(Conditional(score, labels), data, keys)


@dataclass(frozen=True)
class Evaluator:
    """Log-probabilities by number: those of image k depend on its number, the key and the score.

    The batch, the devices and how often a run was cut short change round-off only.
    """

    score: Score
    estimator: Estimator
    images: Images
    key: PRNGKeyArray
    labelled: bool

    def batch(self, first: int, count: int, repeat: int, size: int) -> Arrays:
        """Of images first .. first + count - 1, as {log_prob [n, p], evaluations [n], terms [n]}.

        `size` >= count is the compiled program's; it is rounded up to the devices.
        """
        mesh = sharding.mesh_of(self.score)
        numbers = batches.numbers(first, size, len(self.images), mesh.size)
        part = self.images.take(numbers)
        put = lambda x: sharding.distribute(x, mesh)
        data = put(part.pixels.astype(np.int32) if part.levels else part.pixels)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(
            jax.random.fold_in(self.key, repeat), put(jnp.asarray(numbers))
        )
        labels = put(jnp.asarray(part.labels)) if self.labelled else None
        score = sharding.on_mesh(self.score, mesh)
        found = estimate(self.estimator, score, data, labels, keys)
        arrays = {"log_prob": found.log_prob, "evaluations": found.evaluations, **found.terms}
        return {name: sharding.collect(value)[:count] for name, value in arrays.items()}


def _jobs(total: int, batch: int, repeats: int) -> Iterator[tuple[str, int, int, int]]:
    """(name, first image, count, repeat) of every part."""
    for repeat in range(repeats):
        for first in range(0, total, batch):
            yield f"{repeat:03d}_{first:08d}", first, min(batch, total - first), repeat


def evaluate(
    evaluator: Evaluator,
    repeats: int,
    batch: int,
    parts: Parts,
    log: Callable[[str], None] = print,
) -> Arrays:
    """All images `repeats` times: log_prob [r, n, p], evaluations and terms [r, n].

    Every image is there once per repeat. Finished batches are kept in `parts`.
    """
    total = len(evaluator.images)
    batch = batches.even(total, batch)
    jobs = list(_jobs(total, batch, repeats))
    if done := parts.done([name for name, *_ in jobs]):
        log(f"{done} of {len(jobs)} batches were evaluated before: going on from there")
    found: list[list[Arrays]] = [[] for _ in range(repeats)]
    tell = patient(log)
    bar = tqdm(jobs, unit="batch", desc="likelihood", disable=None)
    for name, first, count, repeat in bar:
        arrays = parts.get(name)
        if arrays is None:
            arrays = evaluator.batch(first, count, repeat, batch)
            parts.put(name, arrays)
        found[repeat].append(arrays)
        if bar.disable:
            tell(f"{first + count} of {total} images, pass {repeat + 1} of {repeats}")
    join = lambda name: np.stack(
        [np.concatenate([part[name] for part in every]) for every in found]
    ).astype(np.float64)
    return {name: join(name) for name in found[0][0]}


def make_evaluator(
    experiment: Experiment, score: Score, splits: data_lib.Splits, law: DataLaw = DataLaw()
) -> Evaluator:
    """What evaluates the config's images; ValueError for what data or model does not have.

    law: the training data's, from which the prior mismatch at T follows; without it there is none.
    """
    config = experiment.config
    images, _ = chosen(config, splits)
    estimator = estimators.build(config, score.sde, images.levels, law.moments)
    key = experiment.key(LIKELIHOOD_STREAM)
    return Evaluator(score, estimator, images, key, config.model.num_classes > 0)


def _settings(config: Any, images: Images, name: str) -> Identity:
    """What likelihoods depend on, beside the model."""
    return {
        **identity(images, name),
        "seed": config.seed,
        "ancestral_variance": config.sampling.ancestral_variance,
        "given_classes": config.model.num_classes > 0,
        "eval": {name: config.eval[name] for name in SETTINGS},
    }


def bits_per_dim_of(
    experiment: Experiment,
    score: Score,
    splits: data_lib.Splits,
    folder: Path,
    log: Callable[[str], None],
) -> dict[str, float | str]:
    """Mean bits per dimension of `eval.split` with its standard error, and no files but the parts
    in FOLDER/likelihood; ValueError for continuous data, which has none. How many images are left
    out of the mean is there too."""
    config = experiment.config
    images, name = chosen(config, splits)
    if images.levels is None:
        raise ValueError("eval.metrics: bits_per_dim is of integer levels, and the data has none")
    evaluator = make_evaluator(experiment, score, splits)
    batch = config.eval.batch_size
    parts = Parts(folder / "likelihood", {**_settings(config, images, name), "batch_size": batch})
    found = evaluate(evaluator, config.eval.repeats, batch, parts, log)
    told = summary(found, images.pixels[0].size, images.levels)
    bits = told["bits_per_dim"]
    error = bits["standard_error"]
    return {
        "bits_per_dim": bits["mean"],
        "bits_per_dim_standard_error": "it needs 2 images" if error is None else error,
        "bits_per_dim_images_not_finite": told["not_finite"],
    }


def likelihood(experiment: Experiment, folder: Path, log: Callable[[str], None] = print) -> int:
    """Fill FOLDER/likelihood; returns 0.

    likelihood.json: the summary and every setting it depends on; likelihood.md: the same to read;
    likelihood.npz: one row per image; likelihood.png: their histogram, the most and the least
    likely images. Finished batches are kept, so that the same command after a kill goes on.
    """
    config = experiment.config
    workdir.check_model(folder, config)
    splits = data_lib.load(config.data, log=log)
    make_evaluator(experiment, experiment.score, splits)  # refuses, before it restores
    score, step = load_score(experiment, folder, log)
    law = DataLaw()
    if config.eval.likelihood == "flow":
        log(f"moments of {len(splits.train)} training images, for the prior mismatch at T")
        law = data_law(splits.train, config.data.centered)
    evaluator = make_evaluator(experiment, score, splits, law)
    images, name = chosen(config, splits)
    settings = {**_settings(config, images, name), "step": step, "ema": config.sampling.ema}
    target, batch = folder / "likelihood", config.eval.batch_size
    devices = f"{jax.device_count()} {jax.default_backend()} device(s)"
    log(f"log-probabilities of {len(images)} images of {name} at step {step}, "
        f"{config.eval.repeats} pass(es), {devices}")  # fmt: skip
    try:
        report = read_json(target / REPORT)
        other = report is not None and not same(report, settings)
        set_aside(target, "likelihoods of other settings" if other else None, log)
        parts = Parts(target, {**settings, "batch_size": batch, "law": law.words})
        found = evaluate(evaluator, config.eval.repeats, batch, parts, log)
        report = {**settings, **summary(found, images.pixels[0].size, images.levels)}
        if law.words:
            report["prior_mismatch_from"] = law.words
        _write(target, report, found, images)
        parts.remove()
    except OSError as error:
        raise workdir.WorkdirError(
            f"cannot write to {target}, {plain_reason(error)} (finished batches are kept)"
        ) from error
    if lost := report["not_finite"]:
        log(f"{lost} images have no finite log-probability and are left out of the means: "
            "raise eval.max_steps, eval.rtol or eval.atol")  # fmt: skip
    log(headline(report))
    log(f"wrote {target}: likelihood.md, likelihood.npz, likelihood.png")
    return 0


@by_the_first
def _write(folder: Path, report: dict[str, Any], found: Arrays, images: Images) -> None:
    """The files of finished likelihoods, the report last: where it is, the others belong to it."""
    (folder / REPORT).unlink(missing_ok=True)
    units, nats = report["eval"]["units"], found["log_prob"].mean(axis=(0, 2))
    known = scales(images.pixels[0].size, images.levels)
    rows = {unit: scale(nats) for unit, scale in known.items()}
    rows |= {name: value.mean(axis=0) for name, value in found.items() if name != "log_prob"}
    rows["log_prob"] = found["log_prob"].transpose(1, 0, 2)
    if images.labels is not None:
        rows["labels"] = images.labels
    atomic_write(folder / "likelihood.npz", npz(rows))
    order = np.argsort(-nats)
    order = order[np.isfinite(nats[order])]
    most, least = (
        to_unit(images.pixels[chosen[:EXTREMES]], images.levels) for chosen in (order, order[::-1])
    )
    picture = figures.likelihood_png(rows[units][order], units, most, least)
    atomic_write(folder / "likelihood.png", picture)
    atomic_write(folder / "likelihood.md", markdown(report).encode())
    atomic_write_json(folder / REPORT, report)
