"""`--mode reconstruct`: samples of the posterior of examples, given measurements of them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from configs.shapes import shape_of
from data_lib import codec
from data_lib.base import Log
from eval_lib import restoration
from eval_lib.array_pictures.restored import DRAWS, OF_SPREAD, bands_png, columns_png
from models.features import lpips
from models.features.lpips import PerceptualDistance
from models.pretrained.files.tensors import PretrainedError
from modes import sizes, texts
from modes.conditions import classes_of, encoded_condition
from modes.experiment import Experiment
from modes.generate import collected, evaluations, pace
from modes.generator import Generator, Given
from modes.observed import sampling_of, told
from modes.problem import Problem, observed, problem_of, shown, trained_on
from modes.stages import generator_of, handed, of_stage
from modes.trained import load_score
from runtime_lib import workdir
from runtime_lib.files import Content
from runtime_lib.results import Parts, npz, publish, read_own_json, same, set_results_aside
from samplers.rules.named import chosen_method

FOLDER, REPORT = "reconstructions", "reconstructions.json"
NOT_THE_RESULT = ("input", "truth", "mask", "coils", "kernel", "lpips")
"""Settings that name files, on whose content the results depend."""
SIGNAL, PICTURE = 2, 3
"""Axes of one example that is a signal, or a picture."""


def _given(experiment: Experiment, problem: Problem) -> Given:
    """The measurements, and the classes or conditions that go with them; no class if none is given.

    Raises ValueError for a model that has to be told a class or condition and is not.
    """
    config = experiment.config
    labels = classes_of(experiment, len(problem), config.sampling.labels)
    if chosen_method(config.inverse).conditional:
        conditions: np.ndarray | None = trained_on(problem, experiment)
    else:
        conditions = encoded_condition(experiment, len(problem))
    return Given(labels, conditions, observed(problem, experiment))


def reconstruct(experiment: Experiment, folder: Path, log: Log = print) -> int:
    """Write samples of the posterior of each measurement into FOLDER/reconstructions; returns 0.

    reconstructions.npz: samples [n, s, ...], their mean and standard deviation, the measurements
    and, where it is known, the truth; reconstructions.png: these beside one another;
    reconstructions.json: distance from the truth, coverage of it, and the misfit of measurements.
    """
    config = experiment.config
    workdir.check_model(folder, config)
    problem = problem_of(experiment, texts.load_data(config, folder, log), log)
    each, total = config.inverse.samples, len(problem) * config.inverse.samples
    sizes.check("inverse.samples", total, config)
    given = _given(experiment, problem)
    score, step = load_score(experiment, folder, log)
    pictures = handed(experiment, total, of_stage, folder, log)
    made = generator_of(experiment, score, given, pictures, total)
    generator = replace(made, denoise=True, frames=0)
    perceptual, own = _perceptual(config)
    identity = identity_of(experiment, problem, given, step) | own
    identity |= {} if pictures is None else pictures.identity
    planned = generator.planned_evaluations
    log(f"reconstructing from step {step}: {each} samples for each of {len(problem)} measurements "
        f"by {config.inverse.method}, {planned or 'as many as needed'} evaluations per sample, "
        f"{jax.device_count()} {jax.default_backend()} device(s)")  # fmt: skip
    target = folder / FOLDER
    with workdir.writing(target, "finished batches"):
        found = _drawn(generator, problem, config, target, identity, perceptual, log)
    for line in _lines(found):
        log(line)
    log(f"wrote {target}: {FOLDER}.npz, {FOLDER}.png, {REPORT}")
    return 0


def identity_of(
    experiment: Experiment, problem: Problem, given: Given, step: int
) -> dict[str, Any]:
    """Everything on which the samples depend, for JSON."""
    config = experiment.config
    inverse = {k: v for k, v in config.inverse.to_dict().items() if k not in NOT_THE_RESULT}
    return {
        "step": step,
        "seed": config.seed,
        "sampling": sampling_of(config),
        "inverse": inverse,
        **problem.identity,
        **told("conditions", given.conditions, len(problem)),
        **experiment.guided_by,
    }


def _drawn(
    generator: Generator, problem: Problem, config: Any, target: Path, identity: dict[str, Any],
    perceptual: PerceptualDistance | None, log: Log,
) -> dict[str, Any]:  # fmt: skip
    """Draw, measure and write the reconstructions; the report."""
    n, each, batch = len(problem), config.inverse.samples, config.sampling.batch_size
    old = read_own_json(target / REPORT)
    other = old is not None and not same(old, identity)
    set_results_aside(target, "reconstructions made with other settings" if other else None, log)
    kept = Parts(target, {**identity, "batch_size": batch}, log)
    arrays, seconds = collected(generator, n * each, batch, kept, log)
    x = arrays["samples"]
    samples = x.reshape(each, n, *x.shape[1:]).swapaxes(0, 1)
    span = span_of(config, problem)
    found = {
        **identity,
        **evaluations(arrays["evaluations"]),
        **pace(seconds, batch),
        "figures": figures(samples, problem, span, batch, perceptual),
    }
    mean, std = samples.mean(axis=1), samples.std(axis=1)
    truth = {} if problem.truth is None else {"truth": problem.truth}
    files: dict[str, Content | None] = {
        f"{FOLDER}.npz": npz(
            {"samples": samples, "mean": mean, "std": std, "measurements": problem.y, **truth}
        ),
        f"{FOLDER}.png": picture(samples, problem, span, config),
    }
    publish(target, files, REPORT, found, log)
    kept.remove()
    return found


def span_of(config: Any, problem: Problem) -> tuple[float, float]:
    """Smallest and largest value: of gray levels, or those of the truth, or of measurements."""
    if codec.of_pictures(config.data):
        return 0.0, 1.0
    values = problem.y if problem.truth is None else problem.truth
    return float(values.min()), float(values.max())


def figures(
    samples: Float[np.ndarray, "n s *d"], problem: Problem, span: tuple[float, float], batch: int,
    perceptual: PerceptualDistance | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Figures of merit: means over the measurements, and their standard errors."""
    mean, size = samples.mean(axis=1), span[1] - span[0]
    rows = {"misfit": problem.misfit(samples[:, 0], batch)}
    if problem.truth is not None:
        truth = problem.truth
        rows["psnr_of_mean"] = restoration.psnr(mean, truth, size)
        rows["psnr_of_samples"] = restoration.psnr(samples[:, 0], truth, size)
        for name, x in (("mean", mean), ("samples", samples[:, 0])):
            if perceptual is not None:
                rows[f"lpips_of_{name}"] = _perceived(perceptual, x, truth, batch)
        if truth.ndim == PICTURE + 1:
            rows["ssim_of_mean"] = restoration.ssim(mean, truth, size)
            rows["ssim_of_samples"] = restoration.ssim(samples[:, 0], truth, size)
    found: dict[str, Any] = {name: _summary(values) for name, values in rows.items()}
    if problem.noise > 0 and not problem.rate:
        ratio = rows["misfit"] / problem.noise
        found["misfit_over_noise"] = _summary(ratio)
    if problem.truth is not None and samples.shape[1] > 1:
        unknown = None if problem.exact is None else np.isnan(problem.exact)
        found["coverage"] = restoration.coverage(samples, problem.truth, unknown)._asdict()
    return found


def _perceptual(config: Any) -> tuple[PerceptualDistance | None, dict[str, str]]:
    """(LPIPS with the weights of `inverse.lpips`, their hash for JSON); (None, {}) without any."""
    if not config.inverse.lpips:
        return None, {}
    try:
        distance, digest = lpips.load(config.inverse.lpips)
    except PretrainedError as error:
        raise ValueError(f"inverse.lpips: {error}") from error
    distance.check(shape_of(config))
    return distance, {"lpips_sha256": digest}


def _perceived(
    distance: PerceptualDistance, x: Float[np.ndarray, "n h w c"],
    truth: Float[np.ndarray, "n h w c"], batch: int,
) -> Float[np.ndarray, " n"]:  # fmt: skip
    """LPIPS of pairs of pictures, `batch` at a time."""
    parts = [slice(k, k + batch) for k in range(0, len(x), batch)]
    compare = jax.jit(lambda distance, x, y: distance(x, y))
    return np.concatenate([np.asarray(compare(distance, x[k], truth[k])) for k in parts])


def _summary(values: Float[np.ndarray, " n"]) -> dict[str, float | None]:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return {"mean": None, "standard_error": None}
    error = float(finite.std(ddof=1) / math.sqrt(len(finite))) if len(finite) > 1 else None
    return {"mean": float(finite.mean()), "standard_error": error}


def _lines(report: dict[str, Any]) -> list[str]:
    """The figures in words."""
    found = report["figures"]
    lines = []
    if "psnr_of_mean" in found:
        told = [f"PSNR {_plain(found['psnr_of_mean'])} dB of the mean, "
                f"{_plain(found['psnr_of_samples'])} dB of samples"]  # fmt: skip
        if "ssim_of_mean" in found:
            told.append(f"SSIM {_plain(found['ssim_of_mean'], 3)} of the mean")
        if "lpips_of_samples" in found:
            told.append(f"LPIPS {_plain(found['lpips_of_samples'], 3)} of samples")
        lines.append(", ".join(told))
    if "coverage" in found:
        share, expected = found["coverage"]["share"], found["coverage"]["expected"]
        lines.append(f"{share:.1%} of the true values lie in the interval that should hold "
                     f"{expected:.1%} of them")  # fmt: skip
    if "misfit_over_noise" in found:
        lines.append(f"misfit of the measurements {_plain(found['misfit_over_noise'])} times their "
                     "noise")  # fmt: skip
    else:
        lines.append(f"misfit of the measurements {_plain(found['misfit'], 4)}")
    return lines


def _plain(summary: dict[str, float | None], digits: int = 2) -> str:
    mean, error = summary["mean"], summary["standard_error"]
    if mean is None:
        return "not finite"
    return f"{mean:.{digits}f}" + ("" if error is None else f" +- {error:.{digits}f}")


def picture(
    samples: Float[np.ndarray, "n s *d"], problem: Problem, span: tuple[float, float], config: Any
) -> Content | None:
    """Reconstructions as a picture that suits their shape; None if there is none for it."""
    axes = samples.ndim - 2
    title = f"{config.inverse.measure} by {config.inverse.method}, noise {problem.noise:g}"
    if axes == PICTURE:
        seen = shown(problem.operator, problem.y, samples.shape[2:], config.sampling.batch_size)
        measured = {"measured": None if seen is None else np.nan_to_num(seen)}
        drawn = {f"sample {k + 1}": samples[:, k] for k in range(min(DRAWS, samples.shape[1]))}
        spread = {"mean": samples.mean(axis=1), OF_SPREAD: samples.std(axis=1)}
        columns = {**measured, **drawn, **spread, "truth": problem.truth}
        return columns_png({k: x for k, x in columns.items() if x is not None}, span, title)
    if axes <= SIGNAL and samples.shape[1] > 1:
        one = lambda x: x if x is None or axes == SIGNAL else x[..., None]
        return bands_png(one(samples), one(problem.truth), one(problem.exact), title)
    return None
