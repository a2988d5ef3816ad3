"""The content of a spiece.model, a protocol buffer that SentencePiece writes.

Its fields are numbers and bytes with a key each; those that a unigram tokenizer needs are read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from models.pretrained.files.tensors import PretrainedError
from untrusted import limits

PIECE, TRAINER, NORMALIZER = 1, 2, 3
"""Fields of the whole."""
TEXT, SCORE, KIND = 1, 2, 3
"""Fields of a piece."""
MODEL_KIND, BYTES_TOO = 3, 35
"""Fields of the trainer."""
UNIGRAM = 1
CHARACTERS = 2
"""The field of the normalizer that maps characters."""
UNKNOWN, CONTROL = 2, 3
"""Kinds of pieces, beside those of a text."""
VARINT, EIGHT, BLOCK, FOUR = 0, 1, 2, 5
"""Kinds of values: numbers of any length, of 8 bytes, blocks of bytes, numbers of 4 bytes."""


class Pieces(NamedTuple):
    """A tokenizer of pieces.

    Attributes:
      scored: the pieces, each with the logarithm of its probability.
      unknown: the index of that which stands for what is no piece.
      control: pieces that are in no text.
      characters: the map of characters to others, as the library takes it; empty for none.
      bytes_too: whether what is unknown is written in bytes.
    """

    scored: list[tuple[str, float]]
    unknown: int
    control: list[str]
    characters: bytes
    bytes_too: bool


def parse(content: bytes) -> Pieces:
    """The pieces of a file; PretrainedError if it is damaged or of another kind of tokenizer."""
    scored, control, unknown = list[tuple[str, float]](), list[str](), -1
    trainer: dict[int, Any] = {}
    characters = b""
    for field, value in _fields(memoryview(content)):
        if field == PIECE:
            piece = dict(_fields(_block(value)))
            text = _utf8(piece.get(TEXT, b""))
            unknown = len(scored) if piece.get(KIND) == UNKNOWN else unknown
            control += [text] if piece.get(KIND) == CONTROL else []
            scored.append((text, _float(piece.get(SCORE, b"\0\0\0\0"))))
            if len(scored) > limits.TOKENIZER_ITEMS:
                raise PretrainedError("spiece.model has too many pieces: refused")
        elif field == TRAINER:
            trainer = dict(_fields(_block(value)))
        elif field == NORMALIZER:
            rules = dict(_fields(_block(value)))
            characters = bytes(_block(rules.get(CHARACTERS, b"")))
    if trainer.get(MODEL_KIND, UNIGRAM) != UNIGRAM or unknown < 0:
        raise PretrainedError("spiece.model must be a unigram model with an unknown piece, as T5's")
    return Pieces(scored, unknown, control, characters, bool(trainer.get(BYTES_TOO, 0)))


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """(number of a field, its value: an integer, or its bytes)."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        size = {EIGHT: 8, FOUR: 4}.get(kind)
        if kind == BLOCK:
            size, at = _varint(data, at)
        if size is None or at + size > len(data):
            raise PretrainedError("spiece.model is cut off, damaged or of another kind")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """(a number of groups of 7 bits, lowest first; the place after it)."""
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return value, at
    raise PretrainedError("spiece.model is cut off, damaged or of another kind")


def _block(value: Any) -> memoryview:
    if isinstance(value, int):
        raise PretrainedError("spiece.model has a number for a part: damaged or of another kind")
    return memoryview(value)


def _utf8(value: Any) -> str:
    try:
        return bytes(_block(value)).decode("utf-8")
    except UnicodeError as error:
        raise PretrainedError("spiece.model has a piece that is no text in UTF-8") from error


def _float(value: Any) -> float:
    if isinstance(value, int) or len(value) != 4:
        raise PretrainedError("spiece.model has a score that is no number")
    return float(struct.unpack("<f", value)[0])
