"""Readers of texts in directories as transformers and diffusers write them.

DIR/config.json, DIR/model.safetensors (or its half or sharded forms), and the tokenizer's files
in DIR or in a directory `tokenizer` beside it; or a pipeline, with `text_encoder`, `tokenizer`
and perhaps `text_encoder_2`, `tokenizer_2` in it; or a single file of Stable Diffusion's authors
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.traverse_util import flatten_dict

from models.pretrained.base import MismatchError, Place, Shape, as_params
from models.pretrained.files.folders import read_folder
from models.pretrained.files.tensors import Arrays, PretrainedError, in_file, shapes
from models.pretrained.latent_diffusion.contents import read_parts
from models.pretrained.latent_diffusion.text_names import by_transformers_names, text_config
from models.text_encoders.clip import LARGEST
from models.text_encoders.config import FILE, Described, described
from models.text_encoders.names import NAMES, axes, plain_names, unused
from models.text_encoders.tokenizers import Tokenizer, has_tokenizer, read_tokenizer
from untrusted import UntrustedError, check_folder, plain, read_json, sha256

STEMS = ("model", "pytorch_model", "diffusion_pytorch_model")
"""Names of files of weights, up to the first dot."""
PARTS = (("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2"))
"""Directories of a pipeline's readers of texts and of their tokenizers."""


@dataclass(frozen=True, eq=False)
class TextTower:
    """One reader of texts with its weights.

    Attributes:
      described: its network and tokens.
      params: its parameters.
      tokenizer: of its texts.
      hashed: computes a hash of all its files.
    """

    described: Described
    params: Mapping[str, Any]
    tokenizer: Tokenizer
    hashed: Callable[[], str]

    @cached_property
    def identity(self) -> str:
        """A hash of all its files."""
        return self.hashed()


def _of_folders(folders: tuple[Path, ...]) -> str:
    """A hash of all files in directories."""
    told = hashlib.sha256()
    for folder in folders:
        for name in sorted(os.listdir(folder)):
            if (folder / name).is_file():
                told.update(f"{name} {sha256(folder / name)}\n".encode())
    return told.hexdigest()


def _of_weights(weights: Arrays, tokens: Path) -> str:
    """A hash of a reader's weights in a file of many parts, and of its tokenizer's files."""
    told = hashlib.sha256(_of_folders((tokens,)).encode())
    for name in sorted(weights):
        told.update(f"{name} ".encode() + weights[name].tobytes())
    return told.hexdigest()


def wanted(network: nn.Module) -> dict[Place, Shape]:
    """Path and shape of every parameter of a network of texts; nothing is computed."""
    ids = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), ids)["params"]
    return {path: tuple(leaf.shape) for path, leaf in flatten_dict(dict(shapes)).items()}


def read_network(folder: Path) -> tuple[Described, Mapping[str, Any]]:
    """(the network of a directory, its parameters).

    Raises:
      PretrainedError: as `read_towers`.
      OSError: a file cannot be read.
    """
    try:
        about = described(read_json(folder / FILE))
        return about, _params(about, read_folder(folder, STEMS))
    except UntrustedError as error:
        raise PretrainedError(str(error)) from error


def _params(about: Described, weights: Arrays) -> Mapping[str, Any]:
    """The parameters of a network; PretrainedError in one line for weights of another."""
    named, parameters = plain_names(about.kind, weights), wanted(about.network)
    known = NAMES[about.kind](parameters)
    try:
        return as_params(named, parameters, known, axes=axes, unused=unused(about.kind))
    except MismatchError as error:
        raise PretrainedError(
            f"its weights are not those of its {FILE}: {len(error.misfits)} differ, the first "
            f"{error.misfits[0]}"
        ) from error


def read_towers(path: Path | str, tokens: Path | str = "") -> tuple[TextTower, ...]:
    """The readers of texts of a directory, of one or of a pipeline, or of a single file.

    tokens: directory of the tokenizer's files, of all readers; "": as this module says, and for a
    single file a directory `tokenizer` beside it.

    Raises:
      PretrainedError: it is no such directory, a file in it is damaged or hostile, or its network
        or tokenizer has no counterpart here; the message is one line.
      OSError: a file cannot be read.
    """
    path = Path(os.path.expanduser(path))
    told, own = plain(str(path), 200), Path(os.path.expanduser(tokens)) if tokens else None
    if own is not None and not own.is_dir():
        raise PretrainedError(f"data.tokenizer must be a directory, there is none at {own}")
    if not path.exists():
        raise PretrainedError(f"data.text_encoder must be a directory or a file, there is none at "
                              f"{told}")  # fmt: skip
    try:
        if path.is_file():
            return _in_one_file(path, own or _beside(path))
        return tuple(_tower(folder, own or there) for folder, there in _folders(path))
    except UntrustedError as error:
        raise PretrainedError(f"{told}: {error}") from error


def _folders(path: Path) -> Iterator[tuple[Path, Path]]:
    """(directory of a reader of texts, directory of its tokenizer)."""
    if os.path.lexists(path / FILE):
        beside = dict(PARTS).get(path.name, "tokenizer")
        options = (path, path / "tokenizer", path.with_name(beside))
        own = [folder for folder in options if folder.is_dir() and has_tokenizer(folder)]
        if not own:
            raise PretrainedError(
                "there is no tokenizer (tokenizer.json, or vocab.json with merges.txt, or "
                f"spiece.model) in it or in a directory {beside} beside it"
            )
        yield path, own[0]
        return
    there = [pair for pair in PARTS if os.path.lexists(path / pair[0])]
    if not there:
        raise PretrainedError(
            f"it must hold a {FILE} of CLIP's reader of texts or of T5's encoder, or be a pipeline "
            "with a text_encoder"
        )
    for encoder, tokenizer in there:
        for name in (encoder, tokenizer):
            if not os.path.lexists(path / name):
                raise PretrainedError(f"it has {encoder} and no {name}")
            check_folder(path / name)
        yield path / encoder, path / tokenizer


def _tower(folder: Path, tokens: Path) -> TextTower:
    about = described(read_json(folder / FILE))
    tokenizer = read_tokenizer(tokens, about.places)
    _check_tokens(about, tokenizer)
    _, params = read_network(folder)
    folders = tuple(dict.fromkeys((folder, tokens)))
    return TextTower(about, params, tokenizer, lambda: _of_folders(folders))


def _beside(path: Path) -> Path:
    """The directory of the tokenizer of a single file, which has none in it."""
    folder = path.with_name("tokenizer")
    if not (folder.is_dir() and has_tokenizer(folder)):
        raise PretrainedError(
            "a single file has no tokenizer: set data.tokenizer to a directory with CLIP's "
            "vocab.json and merges.txt, or put them into a directory tokenizer beside it"
        )
    return folder


def _in_one_file(path: Path, tokens: Path) -> tuple[TextTower, ...]:
    """The readers of texts of a single file, whose OpenCLIP fills texts with the token 0."""
    texts = read_parts(path).texts
    with in_file(path):
        if not texts:
            raise PretrainedError("it has no reader of texts of Stable Diffusion's")
        return tuple(_of_part(kind, tensors, tokens) for kind, tensors in texts)


def _of_part(kind: str, tensors: Mapping[str, Any], tokens: Path) -> TextTower:
    weights = by_transformers_names(kind, tensors)
    about = described(text_config(kind, shapes(weights)))
    tokenizer = read_tokenizer(tokens, about.places)
    _check_tokens(about, tokenizer)
    if kind == "open_clip":
        tokenizer = replace(tokenizer, pad=0)
    params = _params(about, weights)
    return TextTower(about, params, tokenizer, lambda: _of_weights(weights, tokens))


def _check_tokens(about: Described, tokenizer: Tokenizer) -> None:
    """Raise PretrainedError for a tokenizer that is not that of the network."""
    if tokenizer.largest >= about.vocabulary:
        raise PretrainedError(
            f"its tokenizer has tokens up to {tokenizer.largest:,} and its network "
            f"{about.vocabulary:,} words: the tokenizer is of another model"
        )
    pooled = about.kind == "clip" and about.end == LARGEST
    if pooled and tokenizer.end != tokenizer.largest:
        raise PretrainedError(
            f"its network is pooled at the largest token, and its tokenizer's end, "
            f"{tokenizer.end}, is not the largest, {tokenizer.largest}: the tokenizer has tokens "
            "added after it"
        )
    if not pooled and about.end != tokenizer.end:
        raise PretrainedError(
            f"its network has the end token {about.end} and its tokenizer {tokenizer.end}: the "
            "tokenizer is of another model"
        )
    if about.places and tokenizer.length > about.places:
        raise PretrainedError(
            f"its tokenizer makes texts of {tokenizer.length} tokens and its network takes "
            f"{about.places}: the tokenizer is of another model"
        )
