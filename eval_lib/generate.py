"""Any number of samples in batches that fit: compiled once, resumable, the same for any batch size."""

from __future__ import annotations

import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray
from tqdm import tqdm

import samplers
from data_lib import Scaler
from eval_lib import pictures
from sde_lib import Conditional, Score
from train_lib import sharding
from train_lib.files import atomic_write, atomic_write_json

LABEL_STREAM = 2
"""Folded into a sample's key for its class; the sampler uses streams 0 and 1."""
GRID_LIMIT = 256
"""Most images that one grid shows."""


@dataclass(frozen=True)
class Generator:
    """Draws samples by number: sample k depends on the key, the score and the sampler alone.

    classes: 0, or the number of classes of which each sample's is drawn evenly.
    """

    score: Score
    sampler: samplers.Sampler
    times: Float[Array, " n"]
    key: PRNGKeyArray
    shape: tuple[int, int, int]
    scaler: Scaler
    denoise: bool = True
    frames: int = 0
    classes: int = 0

    @property
    def evaluations(self) -> int:
        """NFE per sample."""
        return samplers.count_evaluations(self.sampler, len(self.times) - 1, self.denoise)

    def _condition(self, keys: PRNGKeyArray) -> Int[Array, " b"] | None:
        if not self.classes:
            return None
        keys = jax.vmap(jax.random.fold_in, (0, None))(keys, LABEL_STREAM)
        return jax.vmap(lambda k: jax.random.randint(k, (), 0, self.classes))(keys)

    def draw(self, first: int, count: int) -> dict[str, np.ndarray]:
        """Samples first .. first + count - 1 as {samples [n, h, w, c] in [0, 1], ...}.

        `labels` [n] is there for a model of classes, `frames` [f, n, h, w, c] if asked for.
        """
        mesh = sharding.device_mesh()
        padded = -count % mesh.size + count
        indices = jax.device_put(jnp.arange(first, first + padded), sharding.split(mesh))
        keys = samplers.sample_keys(self.key, indices)
        labels = self._condition(keys)
        drawn = samplers.sample(
            sharding.replicate(Conditional(self.score, labels), mesh)
            if labels is None
            else Conditional(self.score, labels),
            self.sampler,
            self.times,
            keys,
            shape=self.shape,
            denoise=self.denoise,
            frames=self.frames,
        )
        result = {"samples": np.asarray(self.scaler.inverse(drawn.x))[:count]}
        if labels is not None:
            result["labels"] = np.asarray(labels)[:count]
        if drawn.frames is not None:
            result["frames"] = np.asarray(self.scaler.inverse(drawn.frames))[:, :count]
        return result


def _load_part(path: Path) -> dict[str, np.ndarray] | None:
    try:
        with np.load(path, allow_pickle=False) as part:
            return dict(part)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def _parts(generator: Generator, total: int, batch: int, folder: Path) -> Iterator[dict[str, Any]]:
    """One dict of arrays per batch: read back if an earlier run finished it, else drawn and kept."""
    for first in range(0, total, batch):
        path = folder / f"{first:08d}.npz"
        part = _load_part(path)
        if part is None:
            # The last batch is drawn whole, for the compiled program, and cut.
            part = generator.draw(first, batch)
            atomic_write(path, lambda file, part=part: np.savez(file, **part))
        keep = min(batch, total - first)
        yield {k: v[:, :keep] if k == "frames" else v[:keep] for k, v in part.items()}


def generate(
    generator: Generator,
    total: int,
    batch_size: int,
    folder: Path,
    identity: dict[str, Any],
    *,
    log: Callable[[str], None] = print,
    progress: bool = True,
) -> dict[str, Any]:
    """Draw `total` samples into `folder`; returns the report that is also written there.

    Leaves `samples.npz` (samples [n, h, w, c] in [0, 1], labels if any), `samples.png` (a grid),
    `trajectory.gif` if frames were asked for, and `samples.json` (`identity`, NFE, images/s).
    Finished batches are kept in `parts/` until all are there: the same command after a kill goes
    on where it was; `identity` says what "the same" is.
    """
    parts_folder = folder / "parts"
    _claim_parts(parts_folder, {**identity, "batch_size": batch_size})
    done = len(list(parts_folder.glob("*.npz")))
    if done:
        log(f"{done} finished batches found, going on from there")
    batches = _parts(generator, total, batch_size, parts_folder)
    count = -(-total // batch_size)
    bar = tqdm(batches, total=count, unit="batch", desc="sampling", disable=not progress)
    parts, seconds, clock = [], [], time.perf_counter()
    for part in bar:
        parts.append(part)
        seconds.append(time.perf_counter() - clock)
        clock = time.perf_counter()
    merged = {k: np.concatenate([p[k] for p in parts], axis=int(k == "frames")) for k in parts[0]}
    frames = merged.pop("frames", None)
    # The first batch compiles; without a second one its time is all there is to report.
    steady = seconds[max(done, 1) :] or seconds[done:]
    speed = batch_size * len(steady) / sum(steady) if sum(steady) > 0 else 0.0
    report = {
        **identity,
        "num_samples": total,
        "nfe": generator.evaluations,
        "images_per_second": round(speed, 3),
        "images_per_second_includes_compilation": len(seconds) - done < 2,
    }
    atomic_write(folder / "samples.npz", lambda file: np.savez(file, **merged))
    atomic_write(folder / "samples.png", pictures.grid_png(merged["samples"][:GRID_LIMIT]))
    if frames is not None:
        gif = pictures.animation_gif(frames[:, : GRID_LIMIT // 4])
        atomic_write(folder / "trajectory.gif", gif)
    atomic_write_json(folder / "samples.json", report)
    shutil.rmtree(parts_folder)
    return report


def _claim_parts(folder: Path, identity: dict[str, Any]) -> None:
    """Keep the parts of an interrupted run of the same samples; remove those of any other."""
    import json

    marker = folder / "identity.json"
    try:
        same = json.loads(marker.read_text()) == json.loads(json.dumps(identity))
    except (OSError, ValueError):
        same = False
    if not same:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        atomic_write_json(marker, identity)
