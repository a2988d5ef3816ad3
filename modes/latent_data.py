"""Latents of a dataset, computed once: mean and log-variance of each example, to draw from.

They are kept in memory, and in the workdir (FOLDER/autoencoded.npz) with the hashes of the
autoencoder and of the data, so that those of others are never used.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from data_lib import Images, Splits
from data_lib.base import Log, fingerprint
from data_lib.transforms import to_unit
from models.latents import LatentCodec
from modes.autoencoders import LATENT, latent_codec_of, load_autoencoder
from runtime_lib.files import atomic_write, plain_reason
from runtime_lib.results import npz
from untrusted import plain, read_arrays

FILE = "autoencoded.npz"
_FORMAT = 1
BLOCK = 1024
"""Pictures that are made floats at a time."""
_KEPT: dict[str, np.ndarray] = {}
MOST_KEPT = 4

LatentMoments = Float[np.ndarray, "n p q k"]


def _key(made: LatentCodec, images: Images) -> str:
    return f"{_FORMAT} {made.identity} {made.tile} {fingerprint(images)}"


def moments(made: LatentCodec, images: Images) -> LatentMoments:
    """Mean and log-variance of the latents of each example, float32."""
    key = _key(made, images)
    if key not in _KEPT:
        parts = [images.pixels[k : k + BLOCK] for k in range(0, len(images), BLOCK)]
        found = [made.moments(to_unit(part, images.levels)) for part in parts]
        _keep(key, np.concatenate(found))
    return _KEPT[key]


def _keep(key: str, found: LatentMoments) -> None:
    while len(_KEPT) >= MOST_KEPT:
        _KEPT.pop(next(iter(_KEPT)))
    _KEPT[key] = found


def laws(made: LatentCodec, images: Images) -> Images:
    """Images whose examples are drawn from the laws of their latents."""
    hashes = images.content()
    return replace(images, pixels=moments(made, images), levels=None, digests=hashes, drawn=True)


def in_latents(config: Any, splits: Splits, folder: Path, log: Log) -> Splits:
    """The splits as laws of latents, read from the workdir or computed and kept there.

    The splits themselves for a model of the data as they are.
    """
    if config.data.codec != LATENT:
        return splits
    made = latent_codec_of(config)
    parts = {"train": splits.train, "test": splits.test}
    keys = {name: _key(made, images) for name, images in parts.items()}
    if not all(key in _KEPT for key in keys.values()) and not _recall(folder, keys, parts):
        count, by = len(splits.train) + len(splits.test), plain(config.data.autoencoder)
        log(f"coding {count:,} pictures of {splits.name} by {by}")
    found = {name: laws(made, images) for name, images in parts.items()}
    _store(folder, keys, {name: images.pixels for name, images in found.items()}, log)
    return replace(splits, train=found["train"], test=found["test"])


def _recall(folder: Path, keys: dict[str, str], parts: dict[str, Images]) -> bool:
    """True if latents of these keys were in the workdir, and are in memory now."""
    try:
        if not _is_of(folder, keys):
            return False
        found = read_arrays(folder / FILE)
    except (OSError, ValueError, KeyError):
        return False
    for name, images in parts.items():
        values = found.get(name)
        if values is None or values.dtype != np.float32 or len(values) != len(images):
            return False
        _keep(keys[name], values)
    return True


def _is_of(folder: Path, keys: dict[str, str]) -> bool:
    told = read_arrays(folder / FILE, [f"key_{name}" for name in keys])
    return all(told[f"key_{name}"].item() == key for name, key in keys.items())


def _store(folder: Path, keys: dict[str, str], values: dict[str, np.ndarray], log: Log) -> None:
    try:
        if (folder / FILE).exists() and _is_of(folder, keys):
            return
    except (OSError, ValueError, KeyError) as error:
        log(f"the latents kept in {plain(str(folder / FILE))} are damaged, and replaced: "
            f"{plain_reason(error)}")  # fmt: skip
    told = {f"key_{name}": np.array(key) for name, key in keys.items()}
    try:
        atomic_write(folder / FILE, npz({**told, **values}))
    except OSError as error:
        log(f"latents are not kept for the next start: {plain_reason(error)}")


def affine_of(config: Any, images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(shift, scale) by which latents drawn for these examples have mean 0 and deviation 1.

    Of each channel, in float64. The variance is that of the means and the mean of the variances:
    what draws of the noise have on average. ValueError for a channel that is constant.
    """
    known = load_autoencoder(config.data.autoencoder)
    found = moments(LatentCodec(known.network, known.params, known.identity, tile=config.data.tile),
                    images)  # fmt: skip
    channels = found.shape[-1] // 2
    count, total = 0, np.zeros(channels)
    blocks = [found[k : k + BLOCK].reshape(-1, 2 * channels) for k in range(0, len(found), BLOCK)]
    for rows in blocks:
        count, total = count + len(rows), total + rows[:, :channels].sum(0, dtype=np.float64)
    mean, variance = total / count, np.zeros(channels)
    for rows in blocks:
        apart = rows[:, :channels].astype(np.float64) - mean
        variance += (apart**2 + np.exp(rows[:, channels:].astype(np.float64))).sum(0) / count
    if not (np.isfinite(variance).all() and (variance > 0).all()):
        raise ValueError("data.autoencoder gives latents that are constant or not finite: it is "
                         "not trained, or damaged")  # fmt: skip
    return tuple(mean.tolist()), tuple((1 / np.sqrt(variance)).tolist())


def drawn(config: Any, images: Images) -> Float[np.ndarray, "n *d"]:
    """A draw of the latents of some examples, as they are diffused."""
    made = latent_codec_of(config)
    mean, logvar = np.split(moments(made, images), 2, axis=-1)
    noise = np.random.default_rng(0).standard_normal(mean.shape, np.float32)
    shift, scale = (np.asarray(row, np.float32) for row in (made.shift, made.scale))
    return (mean + np.exp(0.5 * logvar) * noise - shift) * scale
