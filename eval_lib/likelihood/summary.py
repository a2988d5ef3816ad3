"""Log-probabilities of many images in numbers and in words: means with error bars, a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from eval_lib.likelihood.bins import bits_per_dim
from runtime_lib.results import Arrays

Scales = dict[str, Callable[[np.ndarray], np.ndarray]]


def _mean_and_error(values: Float[np.ndarray, " n"]) -> dict[str, float | None]:
    """Mean over images, and the standard error of that mean."""
    n = len(values)
    error = float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else None
    return {"mean": float(values.mean()), "standard_error": error}


def _share(values: Float[np.ndarray, "..."], axis: int) -> float | None:
    """Standard error of the mean of all `values` that is due to the draws along one axis."""
    size = values.shape[axis]
    if size < 2:
        return None
    variances = values.var(axis=axis, ddof=1) / size
    return float(np.sqrt(variances.sum()) / variances.size)


def scales(d: int, levels: int | None) -> Scales:
    """Units of log-probabilities -> factor from nats; a density (levels None) has no bits."""
    bits: Scales = {"bits_per_dim": lambda nats: bits_per_dim(nats, d)}
    return {"nats": lambda nats: nats, **(bits if levels else {})}


def _told(log_prob: Float[np.ndarray, "r n p"], terms: Arrays) -> dict[str, Any]:
    return {
        **_mean_and_error(log_prob.mean(axis=(0, 2))),
        "of_probes": _share(log_prob, 2),
        "of_repeats": _share(log_prob.mean(axis=2), 0),
        "terms": {name: float(value.mean()) for name, value in terms.items()},
    }


def summary(found: Arrays, d: int, levels: int | None) -> dict[str, Any]:
    """Means over the images with their standard errors, in every unit of `scales`.

    `standard_error` is over images, and includes the noise of probes and dequantizations;
    `of_probes` and `of_repeats` are the parts of it due to these alone (repeats: dequantization and
    probes together), None if there is only one of them. Images whose log-probability is not finite
    are counted and left out.
    """
    finite = np.asarray(np.isfinite(found["log_prob"]).all(axis=(0, 2)))
    kept = {name: value[:, finite] for name, value in found.items()}
    if not finite.any():
        raise ValueError(
            "no log-probability is finite: the solver gave up on every example (raise "
            "eval.max_steps, eval.rtol or eval.atol), or the model's parameters are not finite"
        )
    log_prob, evaluations = kept.pop("log_prob"), kept.pop("evaluations")
    return {
        "images": len(finite),
        "not_finite": int((~finite).sum()),
        "evaluations": float(evaluations.mean()),
        "evaluations_max": int(evaluations.max()),
        **{
            unit: _told(scale(log_prob), {name: scale(term) for name, term in kept.items()})
            for unit, scale in scales(d, levels).items()
        },
    }


UNITS = {
    "bits_per_dim": ("bits/dim", "bits/dim", 4),
    "nats": ("nats of log-probability per example", "nats per example", 3),
}
"""Name -> (in words, heading of a column, decimals)."""


def headline(report: dict[str, Any]) -> str:
    """The mean in the requested units, as a sentence without its full stop."""
    units = report["eval"]["units"]
    value, words = report[units], UNITS[units][0]
    error = value["standard_error"]
    told = "" if error is None else f" +- {error:.4f}"
    return (
        f"{value['mean']:.4f}{told} {words} over {report['images']} examples, "
        f"{report['evaluations']:.0f} evaluations each"
    )


MEANS = {
    "mean": "mean",
    "standard_error": "standard error over examples",
    "of_probes": "part of it due to probes",
    "of_repeats": "part of it due to repeats (dequantization and probes)",
}
TERMS = {
    "prior_mismatch": "effect of the prior's mismatch with the data's law at t = T",
    "truncation": "effect of stopping at t = eps (first order)",
}


def _words(term: str) -> str:
    """A term of an estimator in words; its name if it is not in `TERMS`."""
    return TERMS.get(term, term.replace("_", " "))


def _law(report: dict[str, Any]) -> list[str]:
    told = report.get("prior_mismatch_from")
    return ["", f"The prior mismatch is that of a Gaussian with {told}."] if told else []


def given_coarse(report: dict[str, Any]) -> str:
    """Words on coarse pictures that a probability is conditional on; '' without any.

    It is log p(x | c) with c the coarse picture of x itself, and no likelihood of x.
    """
    level = report.get("coarse_level")
    return "" if level is None else f", given its own coarse picture with noise of level {level:g}"


def markdown(report: dict[str, Any]) -> str:
    """A report (a `summary` with its settings) as a page in Markdown."""
    units = [unit for unit in UNITS if unit in report]
    parts = [report[unit] for unit in units]

    def row(words: str, values: list[float | None], more: int = 0) -> str:
        digits = [UNITS[unit][2] + more for unit in units]
        cells = ["" if x is None else f"{x:.{n}f}" for x, n in zip(values, digits, strict=True)]
        return f"| {words} | {' | '.join(cells)} |"

    lines = [
        f"{headline(report)}.",
        "",
        f"{report['data']}, step {report['step']}, seed {report['seed']}"
        + (", given the class of each example" if report["given_classes"] else "")
        + given_coarse(report)
        + (f", guided ({report['guidance']['guidance_kind']})" if report["guidance"] else "")
        + ".",
        "",
        f"| | {' | '.join(UNITS[unit][1] for unit in units)} |",
        "|---" * (1 + len(units)) + "|",
        *(row(words, [part[key] for part in parts]) for key, words in MEANS.items()),
        *(row(_words(key), [part["terms"][key] for part in parts], 2) for key in parts[0]["terms"]),
        *_law(report),
        "",
        "Settings:",
        "",
        *(f"    eval.{name} = {value!r}" for name, value in sorted(report["eval"].items())),
        f"    sampling.ancestral_variance = {report['ancestral_variance']!r}",
    ]
    return "\n".join(lines) + "\n"
