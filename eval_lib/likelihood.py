"""`--mode likelihood`: log-probabilities of a whole split, in stated units, with error bars."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from tqdm import tqdm

import data_lib
from data_lib import Images
from data_lib.base import patient
from eval_lib import estimators, figures
from eval_lib.bins import bits_per_dim
from eval_lib.estimators import Estimate, Estimator
from eval_lib.images import chosen, identity, moments
from eval_lib.results import Arrays, Parts, npz, read_json, same, set_aside
from eval_lib.sampling import load_score
from sde_lib import Conditional, Score
from train_lib import sharding, workdir
from train_lib.experiment import LIKELIHOOD_STREAM, Experiment
from train_lib.files import atomic_write, atomic_write_json, plain_reason

REPORT = "likelihood.json"
OTHERS = ("eval.batch_size", "eval.num_samples", "eval.samplers", "eval.sampler_nfe",
          "eval.temperature", "eval.interpolations")  # fmt: skip
"""Settings of the `eval` section that no likelihood depends on."""
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
        mesh = sharding.device_mesh()
        padded = -(-size // mesh.size) * mesh.size
        # What fills the last batch is evaluated, and cut off below.
        numbers = np.minimum(np.arange(first, first + padded), len(self.images) - 1)
        part = self.images.take(numbers)
        put = lambda x: jax.device_put(x, sharding.split(mesh))
        data = put(part.pixels.astype(np.int32) if part.levels else part.pixels)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(
            jax.random.fold_in(self.key, repeat), put(jnp.asarray(numbers))
        )
        labels = put(jnp.asarray(part.labels)) if self.labelled else None
        score = sharding.replicate(self.score, mesh)
        found = estimate(self.estimator, score, data, labels, keys)
        arrays = {"log_prob": found.log_prob, "evaluations": found.evaluations, **found.terms}
        return {name: np.asarray(value)[:count] for name, value in arrays.items()}


def _even(total: int, batch: int) -> int:
    """A batch size of at most `batch` that leaves the last batch no smaller than it must be."""
    return -(-total // -(-total // batch))


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
    batch = _even(total, batch)
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


def _mean_and_error(values: Float[np.ndarray, " n"]) -> dict[str, float | None]:
    """Mean over images, and the standard error of that mean."""
    n = len(values)
    error = float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else None
    return {"mean": float(values.mean()), "standard_error": error}


def _share(values: Float[np.ndarray, "..."], axis: int) -> float | None:
    """What the draws along one axis add to the standard error of the mean of all `values`."""
    size = values.shape[axis]
    if size < 2:
        return None
    variances = values.var(axis=axis, ddof=1) / size
    return float(np.sqrt(variances.sum()) / variances.size)


def summary(found: Arrays, d: int) -> dict[str, Any]:
    """Means over the images with their standard errors, in nats per image and bits per dimension.

    `standard_error` is over images, and has the noise of probes and dequantizations in it;
    `of_probes` and `of_repeats` are what these alone add to it (repeats: dequantization and probes
    together), None where there is one of them only. Images whose log-probability is not finite
    are counted, and left out.
    """
    finite = np.asarray(np.isfinite(found["log_prob"]).all(axis=(0, 2)))
    kept = {name: value[:, finite] for name, value in found.items()}
    if not finite.any():
        raise ValueError(
            "no log-probability is finite: the solver gave up on every image (raise "
            "eval.max_steps, eval.rtol or eval.atol), or the model's parameters are not finite"
        )
    nats = kept["log_prob"]
    bits = bits_per_dim(nats, d)
    terms = {n: v for n, v in kept.items() if n not in ("log_prob", "evaluations")}
    return {
        "images": len(finite),
        "not_finite": int((~finite).sum()),
        "bits_per_dim": {
            **_mean_and_error(bits.mean(axis=(0, 2))),
            "of_probes": _share(bits, 2),
            "of_repeats": _share(bits.mean(axis=2), 0),
        },
        "nats": _mean_and_error(nats.mean(axis=(0, 2))),
        "terms_bits_per_dim": {
            name: float(bits_per_dim(value, d).mean()) for name, value in terms.items()
        },
        "evaluations": float(kept["evaluations"].mean()),
        "evaluations_max": int(kept["evaluations"].max()),
    }


def make_evaluator(experiment: Experiment, score: Score, splits: data_lib.Splits) -> Evaluator:
    """What evaluates the config's images; ValueError for what data or model does not have."""
    config = experiment.config
    images, _ = chosen(config, splits)
    statistics = moments(splits.train, config.data.centered)
    estimator = estimators.build(config, score.sde, images.levels, statistics)
    key = experiment.key(LIKELIHOOD_STREAM)
    return Evaluator(score, estimator, images, key, config.model.num_classes > 0)


def likelihood(experiment: Experiment, folder: Path, log: Callable[[str], None] = print) -> int:
    """Fill FOLDER/likelihood; returns 0.

    likelihood.json: the summary and every setting it depends on; likelihood.md: the same to read;
    likelihood.npz: one row per image; likelihood.png: their histogram, the most and the least
    likely images. Finished batches are kept, so that the same command after a kill goes on.
    """
    config = experiment.config
    workdir.check_model(folder, config)
    splits = data_lib.load(config.data, log=log)
    evaluator = make_evaluator(experiment, experiment.score, splits)  # refuses, before it restores
    score, step = load_score(experiment, folder, log)
    evaluator = make_evaluator(experiment, score, splits)
    images, name = chosen(config, splits)
    settings = {
        **identity(images, name),
        "step": step,
        "seed": config.seed,
        "ema": config.sampling.ema,
        "ancestral_variance": config.sampling.ancestral_variance,
        "given_classes": evaluator.labelled,
        "eval": {k: v for k, v in config.eval.to_dict().items() if f"eval.{k}" not in OTHERS},
    }
    target, batch = folder / "likelihood", config.eval.batch_size
    devices = f"{jax.device_count()} {jax.default_backend()} device(s)"
    log(f"log-probabilities of {len(images)} images of {name} at step {step}, "
        f"{config.eval.repeats} pass(es), {devices}")  # fmt: skip
    try:
        report = read_json(target / REPORT)
        other = report is not None and not same(report, settings)
        set_aside(target, "likelihoods of other settings" if other else None, log)
        parts = Parts(target, {**settings, "batch_size": batch})
        found = evaluate(evaluator, config.eval.repeats, batch, parts, log)
        report = {**settings, **summary(found, images.pixels[0].size)}
        _write(target, report, found, images, config.eval.units)
        parts.remove()
    except OSError as error:
        raise workdir.WorkdirError(
            f"cannot write to {target}, {plain_reason(error)} (finished batches are kept)"
        ) from error
    if lost := report["not_finite"]:
        log(f"{lost} images have no finite log-probability and are left out of the means: "
            "raise eval.max_steps, eval.rtol or eval.atol")  # fmt: skip
    log(_headline(report, config.eval.units))
    log(f"wrote {target}: likelihood.md, likelihood.npz, likelihood.png")
    return 0


def _headline(report: dict[str, Any], units: str) -> str:
    value = report[units]
    error = value["standard_error"]
    told = "" if error is None else f" +- {error:.4f}"
    words = {"bits_per_dim": "bits/dim", "nats": "nats of log-probability per image"}[units]
    return (
        f"{value['mean']:.4f}{told} {words} over {report['images']} images, "
        f"{report['evaluations']:.0f} evaluations each"
    )


def _write(folder: Path, report: dict[str, Any], found: Arrays, images: Images, units: str) -> None:
    """The files of finished likelihoods, the report last: where it is, the others belong to it."""
    (folder / REPORT).unlink(missing_ok=True)
    d = images.pixels[0].size
    nats = found["log_prob"].mean(axis=(0, 2))
    rows = {"nats": nats, "bits_per_dim": bits_per_dim(nats, d)}
    rows |= {name: value.mean(axis=0) for name, value in found.items() if name != "log_prob"}
    rows["log_prob"] = found["log_prob"].transpose(1, 0, 2)
    if images.labels is not None:
        rows["labels"] = images.labels
    atomic_write(folder / "likelihood.npz", npz(rows))
    order = np.argsort(-nats)
    order = order[np.isfinite(nats[order])]
    unit = images.pixels / ((images.levels or 2) - 1)
    picture = figures.likelihood_png(
        rows[units][order], units, unit[order[:EXTREMES]], unit[order[::-1][:EXTREMES]]
    )
    atomic_write(folder / "likelihood.png", picture)
    atomic_write(folder / "likelihood.md", _markdown(report, units).encode())
    atomic_write_json(folder / REPORT, report)


MEANINGS = {
    "prior_mismatch": "owed to a prior that is not the data's law at T",
    "truncation": "owed to stopping at eps (first order)",
    "prior": "prior",
    "reconstruction": "reconstruction",
    "diffusion": "diffusion",
}


def _markdown(report: dict[str, Any], units: str) -> str:
    bits, nats = report["bits_per_dim"], report["nats"]
    number = lambda x: "" if x is None else f"{x:.4f}"
    lines = [
        f"{_headline(report, units)}.",
        "",
        f"{report['data']}, step {report['step']}, seed {report['seed']}"
        + (", given the class of each image" if report["given_classes"] else "")
        + ".",
        "",
        "| | bits/dim | nats per image |",
        "|---|---|---|",
        f"| mean | {bits['mean']:.4f} | {nats['mean']:.3f} |",
        f"| standard error over images | {number(bits['standard_error'])} | "
        f"{number(nats['standard_error'])} |",
        f"| of it: probes | {number(bits['of_probes'])} | |",
        f"| of it: repeats (dequantization and probes) | {number(bits['of_repeats'])} | |",
    ]
    lines += [
        f"| {MEANINGS[name]} | {value:.6f} | |"
        for name, value in report["terms_bits_per_dim"].items()
    ]
    lines += ["", "Settings:", ""]
    lines += [f"    eval.{name} = {value!r}" for name, value in sorted(report["eval"].items())]
    lines += [f"    sampling.ancestral_variance = {report['ancestral_variance']!r}"]
    return "\n".join(lines) + "\n"
