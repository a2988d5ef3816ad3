"""The protocol of an evaluation: its settings, checked before anything is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from data_lib import Splits
from data_lib.base import Log
from eval_lib.features import extractors, reference
from eval_lib.features.extractors import Extractor
from eval_lib.metrics import METRICS, Moments
from modes.evaluation.model_metrics import OF_THE_MODEL, ModelMetric
from runtime_lib.checkpoints.store import Checkpoints
from sde_lib import choose


def asked(
    config: Any,
    of_samples: Iterable[str] = METRICS,
    of_model: Mapping[str, ModelMetric] = OF_THE_MODEL,
) -> list[str]:
    """The names in `eval.metrics`, all for "all"; ValueError for an unknown one.

    of_samples, of_model: the names that there are, by default those for pictures.
    """
    text = config.eval.metrics.replace(";", ",")
    names = [name.strip() for name in text.split(",") if name.strip()]
    if names == ["all"]:
        return [*of_samples, *(name for name, metric in of_model.items() if metric.in_all)]
    known = [*of_samples, *of_model]
    for name in names:
        choose("eval.metrics", name, dict.fromkeys(known))
    if not names:
        raise ValueError("eval.metrics must be all, or names of metrics, got nothing")
    return names


def _check_size(
    found: reference.Reference, what: str, moments: Moments, made: Any, extractor: Extractor
) -> None:
    if made.shape[-1] != moments.mean.size:
        raise ValueError(
            f"{found.path} is of {moments.mean.size} {what}, the extractor ({extractor.identity}) "
            f"has {made.shape[-1]}: they do not belong together"
        )


def _available(
    config: Any, extractor: Extractor, splits: Splits, labelled: bool
) -> dict[str, bool]:
    """Availability of each of the `WORDS`; ValueError for a reference that does not fit."""
    of_extractor = extractors.feature_shapes(config, extractor)
    logits, spatial = of_extractor.logits is not None, of_extractor.spatial is not None
    if config.eval.reference in reference.SPLITS:
        images = reference.of_split(splits, config.eval.reference)
        real = {"pool": True, "spatial": spatial, "labels": images.labels is not None}
    else:
        found = reference.read(Path(config.eval.reference), extractor)
        _check_size(found, "features", found.features.moments, of_extractor.pool, extractor)
        if spatial and found.features.spatial:
            known = found.features.spatial, of_extractor.spatial
            _check_size(found, "spatial features", *known, extractor)
        real = {name: getattr(found.features, name) is not None
                for name in ("pool", "spatial", "labels")}  # fmt: skip
    fake = {"logits": logits, "spatial": spatial, "labels": labelled}
    has = {f"reference.{name}": there for name, there in real.items()}
    return has | {f"samples.{name}": there for name, there in fake.items()}


def choose_metrics(
    config: Any, extractor: Extractor, splits: Splits, *, labelled: bool, model: bool
) -> tuple[tuple[str, ...], dict[str, str]]:
    """(metrics to compute, those left out of "all" with the reason of each).

    labelled: whether samples have classes. model: whether there is a model, not a file of samples.
    Raises ValueError for a metric that is named and cannot be computed.
    """
    has = _available(config, extractor, splits, labelled)
    no_model = "" if model else "the samples come from no model of the data"
    reasons = {
        name: METRICS[name].lacking(has) if name in METRICS else no_model for name in asked(config)
    }
    lacking = {name: reason for name, reason in reasons.items() if reason}
    if lacking and config.eval.metrics.strip() != "all":
        name, reason = next(iter(lacking.items()))
        raise ValueError(f"eval.metrics: {name} cannot be computed, {reason}")
    return tuple(name for name in reasons if name not in lacking), lacking


def steps(config: Any, folder: Path, log: Log) -> list[int | None]:
    """The checkpoints of `eval.checkpoints`; None for the newest sound one."""
    wanted = config.eval.checkpoints.strip()
    if wanted == "newest":
        return [config.sampling.step or None]
    with Checkpoints(folder / "checkpoints", read_only=True, log=log) as checkpoints:
        there = checkpoints.steps()
    if wanted == "all":
        if not there:
            raise ValueError(f"{folder} has no checkpoint: train first (--mode train)")
        return list(there)
    try:
        found = [int(part) for part in wanted.split(",")]
    except ValueError:
        found = []
    if not found or any(step not in there for step in found):
        raise ValueError(
            f"eval.checkpoints must be newest, all, or some of {', '.join(map(str, there))}, "
            f"got {wanted!r}"
        )
    return list(found)


def averages(config: Any) -> list[tuple[float, int | None]]:
    """(rate, its place among the averages; None for the raw weights) of `eval.ema_rates`."""
    rates = (config.model.ema_rate, *config.model.extra_ema_rates)
    wanted = config.eval.ema_rates or ((rates[0] if config.sampling.ema else 0),)
    if wrong := [rate for rate in wanted if rate and rate not in rates]:
        raise ValueError(
            f"eval.ema_rates must be among the rates that were trained, "
            f"{', '.join(map(str, rates))}, or 0 for the raw weights; got {wrong[0]}"
        )
    return [(float(rate), rates.index(rate) if rate else None) for rate in wanted]


def sampling(config: Any) -> dict[str, Any]:
    """Settings on which samples depend."""
    others = ("num_samples", "batch_size", "step", "ema", "frames", "base")
    return {k: v for k, v in config.sampling.to_dict().items() if k not in others}
