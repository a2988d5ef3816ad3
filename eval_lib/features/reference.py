"""Reference statistics: features of real images by an extractor, made once and kept.

A file of ours holds, under the names that EDM (mu, sigma) and ADM (mu_s, sigma_s) use, the moments
of all images, the features of up to 50,000 of them (pool, logits, labels), and `info`, JSON: the
extractor with its hash, dataset, split, count and preprocessing. `statistics` reads these files,
and those of EDM, ADM and score_sde.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import data_lib
from data_lib import Images
from data_lib.base import Log, fingerprint
from eval_lib.features import statistics
from eval_lib.features.extractors import Extractor
from eval_lib.features.featuring import LEVELS, Featurer, features_of, quantize
from eval_lib.metrics import FeatureSet
from runtime_lib import workdir
from runtime_lib.files import atomic_write, plain_reason
from runtime_lib.processes import by_the_first
from runtime_lib.results import Arrays, Parts, npz
from untrusted import ours, plain

SPLITS = ("train", "test", "all")
FOLDER = "reference"


@dataclass(frozen=True)
class Reference:
    """A set of features, and all that is known of how it was made."""

    features: FeatureSet
    info: dict[str, Any]
    path: Path


def of_split(splits: data_lib.Splits, name: str) -> Images:
    """Training images, held-out images, or all of them."""
    if name != "all":
        return getattr(splits, name)
    train, test = splits.train, splits.test
    known = [part.labels for part in (train, test) if part.labels is not None]
    labels = np.concatenate(known) if len(known) == 2 else None
    return Images(np.concatenate([train.pixels, test.pixels]), labels, train.levels)


def as_levels(images: Images, rule: str) -> Images:
    """Integer levels: continuous images are quantized as samples are."""
    if images.levels is not None:
        return images
    return Images(quantize(images.pixels, None, rule), images.labels, LEVELS)


def describe(config: Any, extractor: Extractor, name: str, images: Images) -> dict[str, Any]:
    """Everything that statistics of `images`, quantized, depend on."""
    data = config.data
    return {
        "extractor": extractor.identity,
        "dataset": name,
        "split": config.eval.reference,
        "count": len(images),
        "sha256": fingerprint(images),
        "preprocessing": {
            "size": [data.image_size, data.image_size, data.num_channels],
            "crop": data.crop,
            "filter": data.filter,
            "levels": images.levels,
            "flips": False,
        },
    }


def obtain(
    config: Any, extractor: Extractor, splits: data_lib.Splits, folder: Path, log: Log = print
) -> Reference:
    """The reference named by `eval.reference`: a file's, or a split's, kept in FOLDER/reference.

    A split's is made unless one of the same images and extractor is already there.

    Raises:
      ValueError: there is no such split or file, or it is of another extractor.
      WorkdirError: it cannot be written.
    """
    asked = config.eval.reference
    if asked not in SPLITS:
        return read(Path(asked), extractor)
    images = as_levels(of_split(splits, asked), config.eval.quantize)
    info = describe(config, extractor, splits.name, images)
    tag = hashlib.sha256(json.dumps(info, sort_keys=True).encode()).hexdigest()[:12]
    slug = "".join(c if c.isalnum() else "_" for c in splits.name)
    path = folder / FOLDER / f"{slug}_{asked}_{tag}.npz"
    if (kept := _kept(path, info)) is not None:
        return Reference(kept, info, path)
    log(f"statistics of {len(images)} images of {splits.name} ({asked}), {extractor.identity}")
    featurer = Featurer(extractor, config.eval.batch_size, images.levels or LEVELS)
    identity = {**info, "batch_size": featurer.size}
    try:
        parts = Parts(folder / FOLDER / f"{slug}_{asked}_{tag}", identity, log)
        what = f"{splits.name} ({asked})"
        features = features_of(featurer, images.pixels, images.labels, parts, what, log)
        atomic_write(path, npz(_arrays(features, info)))
        parts.remove()
        with suppress(OSError):  # there may be more in it
            by_the_first(parts.folder.parent.rmdir)()
    except OSError as error:
        raise workdir.WorkdirError(
            f"cannot write to {folder / FOLDER}, {plain_reason(error)} (finished batches are kept)"
        ) from error
    log(f"wrote {path}")
    return Reference(features, info, path)


def _arrays(features: FeatureSet, info: dict[str, Any]) -> Arrays:
    found = {
        "mu": features.moments.mean,
        "sigma": features.moments.covariance,
        "pool": features.pool,
        "logits": features.logits,
        "labels": features.labels,
        "info": np.asarray(json.dumps(info)),
    }
    if features.spatial is not None:
        found |= {"mu_s": features.spatial.mean, "sigma_s": features.spatial.covariance}
    return {name: value for name, value in found.items() if value is not None}


def _kept(path: Path, info: dict[str, Any]) -> FeatureSet | None:
    """The statistics that an earlier run made for `info`; None if there are none, or not whole."""
    if not ours.is_ours(path):
        return None
    if not ours.is_ours(path):
        return None
    try:
        found = statistics.read(path)
    except (ValueError, OSError):
        return None
    return found.features if found.info == info else None


def read(path: Path, extractor: Extractor) -> Reference:
    """A file of statistics; ValueError if it is not one, or known to be of another extractor."""
    if not path.exists():
        raise ValueError(
            f"eval.reference must be {', '.join(SPLITS)} or a .npz file of statistics, got "
            f"{plain(str(path), 200)}"
        )
    try:
        found = statistics.read(path)
    except ValueError as error:
        raise ValueError(f"eval.reference: {error}") from error
    features = found.features
    info = found.info or {
        "extractor": "the file does not say",
        "dataset": plain(path.name),
        "count": features.moments.count or (None if features.pool is None else len(features.pool)),
        "sha256": found.sha256,
    }
    if found.info and info["extractor"] != extractor.identity:
        raise ValueError(
            f"{plain(str(path), 200)} was made by another extractor "
            f"({plain(info['extractor'], 120)}) than this one ({extractor.identity}): use that "
            "one, or make statistics anew (--mode stats)"
        )
    return Reference(features, info, path)
