"""What an evaluation is asked for; what cannot be done is refused before anything is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data_lib.base import Log
from eval_lib.extractors import Extractor
from eval_lib.metrics import METRICS, WORDS, Compared, FeatureSet, lacks
from eval_lib.reference import Reference
from sde_lib import choose
from train_lib.checkpoint import Checkpoints

OF_THE_MODEL = ("noise_error", "bits_per_dim")
"""Metrics that look at the score and draw no samples."""


def asked(config: Any) -> list[str]:
    """The names in `eval.metrics`, all for "all"; ValueError for one that there is not."""
    text = config.eval.metrics.replace(";", ",")
    names = [name.strip() for name in text.split(",") if name.strip()]
    if names == ["all"]:
        return [*METRICS, "noise_error"]
    known = {**METRICS, **dict.fromkeys(OF_THE_MODEL)}
    for name in names:
        choose("eval.metrics", name, known)
    if not names:
        raise ValueError("eval.metrics must be all, or names of metrics, got nothing")
    return names


def choose_metrics(
    config: Any, extractor: Extractor, ref: Reference, labelled: bool, model: bool
) -> tuple[tuple[str, ...], dict[str, str]]:
    """(metrics to compute, those left out of "all" with the reason of each).

    Raises ValueError for a metric that was asked for by name and cannot be computed.
    """
    data = config.data
    shape = 1, data.image_size, data.image_size, data.num_channels
    found = jax.eval_shape(extractor.network, jax.ShapeDtypeStruct(shape, jnp.float32))
    if found.pool.shape[-1:] != ref.features.moments.mean.shape:
        raise ValueError(
            f"{ref.path} is of {ref.features.moments.mean.size} features, the extractor "
            f"({extractor.identity}) has {found.pool.shape[-1]}: they do not belong together"
        )
    nothing = np.zeros((1, 1))
    there = lambda x: None if x is None else nothing
    samples = FeatureSet(
        ref.features.moments, nothing, there(found.logits), there(found.spatial),  # type: ignore[arg-type]
        nothing, nothing if labelled else None,
    )  # fmt: skip
    has = lacks(Compared(samples, ref.features, nothing, nothing))
    assert set(has) == set(WORDS)
    reasons = {
        name: METRICS[name].lacking(has) if name in METRICS else ""
        if model else "the samples come from a file, not from a model"
        for name in asked(config)
    }  # fmt: skip
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
    """Settings that samples depend on."""
    others = ("num_samples", "batch_size", "step", "ema", "frames")
    return {k: v for k, v in config.sampling.to_dict().items() if k not in others}
