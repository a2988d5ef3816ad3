"""The parts of a published pipeline beside its network, checked and noted when it is opened."""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs.kinds import of_config
from models.pretrained.matching import UNETS
from modes import texts
from modes.autoencoders import LATENT, latent_shape, load_autoencoder


def noted(config: ConfigDict) -> ConfigDict:
    """The config with hashes of its autoencoder and readers of texts, and its latents' shape.

    Raises:
      ValueError: one of them is missing or damaged, or does not fit the network or the size of the
        pictures; in one line.
    """
    found = config.copy_and_resolve_references().unlock()
    data: Any = found.data
    if data.codec == LATENT and data.autoencoder:
        before, shape = tuple(data.latent_shape), latent_shape(found)
        data.latent_shape, data.autoencoder_hash = (
            shape,
            load_autoencoder(data.autoencoder).identity,
        )
        data.condition = _resized(found, before, shape)
        model: Any = found.model
        if model.name.lower() in UNETS:  # whose attention is where latents have these sides
            sides = [side * shape[0] // before[0] for side in model.attn_resolutions]
            model.attn_resolutions = tuple(sides)
        if data.coarse and before[:-1] == tuple(data.coarse):
            data.coarse = shape[:-1]
    if texts.reads_texts(found):
        data.text_encoder_hash = texts.hash_of(texts.encoder_of(found)[0])
    return found.lock()


def _resized(
    config: ConfigDict, before: tuple[int, ...], after: tuple[int, ...]
) -> tuple[int, ...]:
    """The shapes of a condition, of which an image beside latents is as large as these."""
    kinds, found = of_config(config), tuple[int, ...]()
    for name, shape in zip(kinds.names, kinds.shapes, strict=True):
        follows = name == "image" and shape[:-1] == before[:-1]
        found += (*after[:-1], shape[-1]) if follows else shape
    return found
