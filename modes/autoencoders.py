"""Trained or imported autoencoders, and the codec of a model in the latents of one.

An autoencoder is a workdir of `--mode train` or `--mode import`, a diffusers directory of one (or a
pipeline with one), or a file of `--mode export`. Its averaged weights at the newest checkpoint are
used. A model in its latents remembers a hash of them, and refuses others.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import models
from configs import schema
from configs.changed import with_settings
from configs.shapes import in_words, shape_of
from data_lib import Codec, codec
from data_lib.base import Log
from models.autoencoder import Autoencoder
from models.latents import LatentCodec, digest
from models.pretrained import FORMATS, open_checkpoint, params_of
from models.pretrained.diffusers import autoencoders
from models.pretrained.diffusers.directory import folder_of
from models.pretrained.latent_diffusion import single_file
from models.score import network_of
from runtime_lib import sharding
from runtime_lib.checkpoints.store import Checkpoints
from runtime_lib.workdir import CONFIG_FILE, WorkdirError, read_config
from sde_lib import ModelScore
from untrusted import UntrustedError, plain

LATENT = "autoencoder"
"""The value of data.codec of a model in latents."""
_QUIET: Log = lambda line: None


class OpenedAutoencoder(NamedTuple):
    """An autoencoder: its network, weights, their hash, and the config that it came with."""

    network: Autoencoder
    params: Any
    identity: str
    config: Any


@lru_cache(maxsize=4)
def load_autoencoder(path: str) -> OpenedAutoencoder:
    """The autoencoder of a workdir, a diffusers directory or an exported file.

    Raises:
      ValueError: it holds none, in one line.
      CheckpointError: the checkpoints of a workdir are missing or damaged.
      OSError: it cannot be read.
    """
    if not path:
        raise ValueError(
            "data.autoencoder must be set with data.codec='autoencoder': the workdir of a trained "
            "autoencoder, a diffusers directory of one, or a single file with one"
        )
    folder = Path(path)
    if not folder.exists():
        raise ValueError(f"data.autoencoder must exist, got {plain(path)}")
    try:
        found = _workdir(folder) if (folder / CONFIG_FILE).exists() else None
        return found if found is not None else _foreign(folder)
    except (WorkdirError, UntrustedError) as error:
        raise ValueError(f"data.autoencoder={plain(path)}: {error}") from error


def _workdir(folder: Path) -> OpenedAutoencoder | None:
    """The autoencoder of a workdir; None for a diffusers directory, which has a config, too."""
    if folder_of(folder, tuple(autoencoders.CLASSES), ()) is not None:
        return None
    saved = read_config(folder)
    # What is only read in training need not be there any more.
    config = with_settings(schema.get_default(), saved or {}, {"training.lpips": ""})
    _check(config)
    network = models.build_autoencoder(config)
    shapes = jax.eval_shape(lambda key: models.init(network, key, config), jax.random.key(0))
    layout = sharding.Layout(sharding.device_mesh(), config.mesh.smallest)
    rates = 1 + len(config.model.extra_ema_rates)
    part = {"ema": (layout.abstract(shapes),) * rates}
    with Checkpoints(folder / "checkpoints", read_only=True, log=_QUIET) as checkpoints:
        return _opened(config, checkpoints.restore_part(part).state["ema"][0])


def _foreign(path: Path) -> OpenedAutoencoder:
    """The autoencoder of a diffusers directory, a pipeline, or a file."""
    inside = folder_of(path, tuple(autoencoders.CLASSES), autoencoders.FOLDERS)
    # Of a file with a network and its autoencoder, the latter.
    formats = {name: form for name, form in FORMATS.items() if name != single_file.FAMILY}
    opened = open_checkpoint(inside or path, formats=formats)
    _check(opened.config)
    return _opened(opened.config, params_of(opened, ema=opened.checkpoint.ema is not None))


def _check(config: Any) -> None:
    if not models.is_autoencoder(config):
        raise WorkdirError(f"it holds model.name={config.model.name!r}, and no autoencoder, which "
                           "is trained by training.objective='autoencoder'")  # fmt: skip


def _opened(config: Any, params: Any) -> OpenedAutoencoder:
    whole = _whole(params)
    return OpenedAutoencoder(models.build_autoencoder(config), whole, digest(whole), config)


def codec_of(config: Any) -> Codec:
    """The codec of a config's data, that of an autoencoder's latents included.

    Raises ValueError for an autoencoder of other weights than the model's.
    """
    return latent_codec_of(config) if config.data.codec == LATENT else codec.build(config.data)


def latent_codec_of(config: Any) -> LatentCodec:
    """The codec of the latents in which the model of a config is.

    Raises ValueError for an autoencoder of other weights than the model's.
    """
    data = config.data
    known = load_autoencoder(data.autoencoder)
    if known.identity != data.autoencoder_hash:
        raise ValueError(
            f"data.autoencoder={plain(data.autoencoder)} has other weights than the autoencoder in "
            f"whose latents the model is ({known.identity}, and not {data.autoencoder_hash}): give "
            "that one, as it was then"
        )
    return LatentCodec(
        known.network,
        known.params,
        known.identity,
        tuple(data.latent_shift),
        tuple(data.latent_scale),
        _tile(data.tile, known.network.factor()),
    )


def codec_of_weights(config: Any, score: ModelScore) -> LatentCodec:
    """The codec of an autoencoder's own latents, as they are."""
    network = network_of(score)
    tile = _tile(config.data.tile, network.factor())
    params = _whole(score.params)
    return LatentCodec(network, params, digest(params), tile=tile)


def _whole(params: Any) -> Any:
    """Parameters on this process's device, however they are distributed."""
    return jax.tree.map(lambda leaf: jnp.asarray(sharding.collect(leaf)), params)


def _tile(side: int, factor: int) -> int:
    if side % (4 * factor):
        raise ValueError(f"data.tile must be a multiple of {4 * factor} pixels, a quarter of which "
                         f"are whole latents, got {side}")  # fmt: skip
    return side


def latent_shape(config: Any) -> tuple[int, ...]:
    """The shape of the latents of one example; ValueError for examples that are not coded."""
    known, shape = load_autoencoder(config.data.autoencoder), shape_of(config)
    factor, channels = known.network.factor(), known.network.channels
    if len(shape) != 3 or shape[-1] != channels or any(side % factor for side in shape[:2]):
        raise ValueError(
            f"data.autoencoder codes pictures of {channels} channels and sides that are multiples "
            f"of {factor}, and the data are {in_words(shape)}"
        )
    return (*(side // factor for side in shape[:2]), known.network.latent)


def published_affine(config: Any) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """(shift, scale) that were published with the autoencoder; None for one without."""
    data = load_autoencoder(config.data.autoencoder).config.data
    return (tuple(data.latent_shift), tuple(data.latent_scale)) if data.latent_scale else None
