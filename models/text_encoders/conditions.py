"""Captions as conditions of a model: features of frozen readers of texts, computed once.

A condition is one row of numbers: the tokens [n, w] one after the other, and then the pooled
features of the whole text if the model takes a vector. A token that the model is not to see is NaN.
With several readers (Stable Diffusion XL's) their features of a token stand side by side, and the
pooled ones are the last reader's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from models.pretrained.files.tensors import PretrainedError
from models.text_encoders.files import TextTower, read_towers
from untrusted import ours, plain

MASKS = {"none": (False, False), "encoder": (True, False), "network": (False, True),
         "both": (True, True)}  # fmt: skip
"""Name -> (is padding hidden within the reader of texts, from the network beside it)."""
NOTHING = ("empty", "zeros", "masked")
"""Names of what stands for no text: features of the empty one, zeros, or nothing that is seen."""
BATCH = 32
"""Captions that are read at a time."""


@dataclass(frozen=True)
class TextSettings:
    """The form of conditions; the settings travel with a model, which is of no use without them.

    Attributes:
      layer: the layer whose features are taken, counted from the last, -1, backwards.
      normed: whether they are taken after the reader's last norm.
      mask: a name in `MASKS`.
      nothing: a name in `NOTHING`.
      pooled: whether pooled features follow.
      length: tokens of a caption; 0: as many as the tokenizer's.
      truncate: whether longer captions lose their end; they are refused otherwise.
    """

    layer: int = -1
    normed: bool = True
    mask: str = "none"
    nothing: str = "empty"
    pooled: bool = False
    length: int = 0
    truncate: bool = False


@dataclass(frozen=True, eq=False)
class TextEncoder:
    """Frozen readers of texts, one beside the other."""

    towers: tuple[TextTower, ...]

    @cached_property
    def identity(self) -> str:
        """A hash of all their files."""
        return hashlib.sha256(" ".join(t.identity for t in self.towers).encode()).hexdigest()

    @property
    def width(self) -> int:
        """Features of a token."""
        return sum(tower.described.width for tower in self.towers)

    @property
    def pooled(self) -> int:
        """Pooled features; 0 for none."""
        return self.towers[-1].described.pooled

    def length(self, settings: TextSettings) -> int:
        """Tokens of a caption."""
        return settings.length or self.towers[0].tokenizer.length

    def shape(self, settings: TextSettings) -> tuple[int, ...]:
        """(tokens, features of each), and the pooled ones if they are taken."""
        return (self.length(settings), self.width, *([self.pooled] if settings.pooled else []))


def read_text_encoder(
    path: Path | str, settings: TextSettings, tokens: Path | str = ""
) -> TextEncoder:
    """The readers of a directory or a single file, checked against the settings.

    tokens: directory of their tokenizer's files; "": as `files.read_towers` says.

    Raises:
      PretrainedError: what `files.read_towers` raises, or they lack what the settings ask for.
    """
    found = TextEncoder(read_towers(path, tokens))
    told = plain(str(path), 200)
    if settings.pooled and not found.pooled:
        raise PretrainedError(
            f"{told}: T5's encoder has no pooled features, which a condition of tokens+vector has: "
            "set model.condition=tokens"
        )
    length = found.length(settings)
    for tower in found.towers:
        layers, places = tower.described.layers, tower.described.places
        if not -layers - 1 <= settings.layer <= -1:
            raise PretrainedError(
                f"data.text_layer must be from {-layers - 1} (before the first) to -1 (the last) "
                f"with the {layers} layers of {told}, got {settings.layer}"
            )
        if places and length > places:
            raise PretrainedError(f"{told}: its network takes {places} tokens, and data.condition "
                                  f"asks for {length}")  # fmt: skip
    return found


def text_conditions(
    captions: Sequence[str | None], encoder: TextEncoder, settings: TextSettings
) -> np.ndarray:
    """Conditions [n, k] of captions, float32; None stands for no text.

    Raises:
      ValueError: a caption has more tokens than it may have.
    """
    rows = np.empty((len(captions), _numbers(encoder, settings)), np.float32)
    for start in range(0, len(captions), BATCH):
        batch = captions[start : start + BATCH]
        rows[start : start + len(batch)] = _batch(batch, encoder, settings)
    return rows


def _numbers(encoder: TextEncoder, settings: TextSettings) -> int:
    length, width, *pooled = encoder.shape(settings)
    return length * width + sum(pooled)


def _batch(
    captions: Sequence[str | None], encoder: TextEncoder, settings: TextSettings
) -> np.ndarray:
    """The conditions of at most `BATCH` captions, computed for so many always: one program."""
    texts = [caption or "" for caption in captions]
    filled = texts + [""] * (BATCH - len(texts))
    tokens, pooled = [], np.zeros((BATCH, 0), np.float32)
    for tower in encoder.towers:
        states, whole, there = _read(tower, filled, settings, encoder.length(settings))
        if MASKS[settings.mask][1]:
            states[~there] = np.nan
        tokens.append(states)
        pooled = whole if settings.pooled else pooled
    rows = np.concatenate([np.concatenate(tokens, -1).reshape(BATCH, -1), pooled], -1)[: len(texts)]
    absent = [caption is None for caption in captions]
    if settings.nothing != "empty":
        rows[absent] = 0.0 if settings.nothing == "zeros" else np.nan
    return rows


def _read(
    tower: TextTower, texts: Sequence[str], settings: TextSettings, length: int
) -> tuple[np.ndarray, np.ndarray, Bool[np.ndarray, "b n"]]:
    ids, there = tower.tokenizer(texts, length, truncate=settings.truncate)
    hides = MASKS[settings.mask][0] or tower.described.masked
    seen = there if hides else np.ones_like(there)
    states, pooled = _features(
        tower.described.network, settings.layer, settings.normed, tower.params, ids, seen
    )
    whole = np.zeros((len(ids), 0), np.float32) if pooled is None else np.asarray(pooled)
    return np.array(states), whole, there


@partial(jax.jit, static_argnums=(0, 1, 2))
def _features(
    network: Any,
    layer: int,
    normed: bool,
    params: Any,
    ids: Int[Array, "b n"],
    seen: Bool[Array, "b n"],
) -> tuple[Float[Array, "b n w"], Float[Array, "b p"] | None]:
    """(features of the tokens at a layer, pooled features)."""
    found = network.apply({"params": params}, ids, seen)
    return (found.normed if normed else found.states)[layer], found.pooled


def identity(captions: Sequence[str | None], encoder: TextEncoder, settings: TextSettings) -> str:
    """A hash of all that conditions depend on: files, captions and settings."""
    told = hashlib.sha256(encoder.identity.encode())
    told.update(json.dumps([asdict(settings), list(captions)], sort_keys=True).encode())
    return told.hexdigest()


def stored_conditions(
    captions: Sequence[str | None],
    encoder: TextEncoder,
    settings: TextSettings,
    folder: Path,
    log: Callable[[str], None] = print,
) -> np.ndarray:
    """`text_conditions`, read from a file of their `identity` in a folder, or written there.

    The numbers stay in the file until they are used. Equal captions are read once.

    Raises:
      ValueError: a caption has more tokens than it may have.
      OSError: the file cannot be written.
    """
    path = folder / f"captions_{identity(captions, encoder, settings)[:32]}.npy"
    shape = (len(captions), _numbers(encoder, settings))
    if path.exists():
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        if found.shape == shape and found.dtype == np.float32:
            return found
        raise ValueError(f"{path} does not hold the conditions of {len(captions)} captions that "
                         "its name promises: move it away")  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    temporary = ours.temporary(path)
    try:
        _write(temporary, shape, captions, encoder, settings, log)
        ours.put_new(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _write(
    path: Path,
    shape: tuple[int, int],
    captions: Sequence[str | None],
    encoder: TextEncoder,
    settings: TextSettings,
    log: Callable[[str], None],
) -> None:
    different = list(dict.fromkeys(captions))
    log(f"reading {len(different)} different captions of {len(captions)}, once")
    rows = np.lib.format.open_memmap(path, "w+", np.float32, shape)
    order = {caption: k for k, caption in enumerate(different)}
    index = np.array([order[caption] for caption in captions])
    for start in range(0, len(different), BATCH):
        found = text_conditions(different[start : start + BATCH], encoder, settings)
        block = (index >= start) & (index < start + BATCH)
        rows[block] = found[index[block] - start]
    rows.flush()
