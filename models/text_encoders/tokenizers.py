"""Texts as tokens, by the files that are published with CLIP and T5.

    tokenizer.json, or vocab.json and merges.txt (CLIP's pairs), or spiece.model (T5's pieces);
    special_tokens_map.json and tokenizer_config.json beside them, if they are there

The library `tokenizers` does it; it is installed with the extra `text`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.pretrained.files.tensors import PretrainedError
from models.text_encoders import pieces, vocabularies
from untrusted import UntrustedError, limits, plain, read_bytes, read_json, shown

BEYOND = 1 << 20
"""A number of tokens that stands for no number, as transformers writes one."""
LONGEST = 512
"""Tokens of a text where neither the files nor the network state a number."""
SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")


@dataclass(frozen=True, eq=False, repr=False)
class Tokenizer:
    """Texts to rows of tokens of one length.

    Attributes:
      library: the tokenizer of the library `tokenizers`, without padding and truncation.
      length: tokens of a row, padding included.
      end: the last token of every text.
      pad: the token that fills a row.
      largest: the largest token that it can make.
    """

    library: Any
    length: int
    end: int
    pad: int
    largest: int

    def __call__(
        self, texts: Sequence[str], length: int = 0, *, truncate: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """(tokens [n, length], whether each is no padding).

        length: of the rows; 0: the tokenizer's own. truncate: whether longer texts lose their end,
        but for the end token.

        Raises:
          ValueError: a text is longer, and must not be truncated.
        """
        length = length or self.length
        found = [encoding.ids for encoding in self.library.encode_batch(list(texts))]
        if not truncate:
            _check_lengths(found, length, texts)
        rows = np.full((len(found), length), self.pad, np.int32)
        there = np.zeros(rows.shape, bool)
        for row, seen, ids in zip(rows, there, found, strict=True):
            kept = ids if len(ids) <= length else [*ids[: length - 1], self.end]
            row[: len(kept)], seen[: len(kept)] = kept, True
        return rows, there

    def longest(self, texts: Sequence[str]) -> int:
        """The largest number of tokens of these texts."""
        return max((len(each.ids) for each in self.library.encode_batch(list(texts))), default=0)


def _check_lengths(found: Sequence[Sequence[int]], length: int, texts: Sequence[str]) -> None:
    long = [k for k, ids in enumerate(found) if len(ids) > length]
    if long:
        raise ValueError(
            f"captions must have at most {length} tokens, the start and end of a text among them: "
            f"{len(long)} have more, the first of {len(found[long[0]])} is "
            f"{shown(texts[long[0]])}; shorten it, or set data.text_truncate=True"
        )


def has_tokenizer(folder: Path) -> bool:
    """True if there are the files of a tokenizer."""
    return _kind(folder) is not None


def read_tokenizer(folder: Path, places: int = 0) -> Tokenizer:
    """The tokenizer of a directory; places: the tokens that its network takes, 0 for any number.

    Raises:
      PretrainedError: a file is damaged, hostile, or of a tokenizer that is not known here; or the
        library `tokenizers` is not installed.
      OSError: a file cannot be read.
    """
    kind = _kind(folder)
    if kind is None:
        raise PretrainedError(f"there is no tokenizer in its {plain(folder.name)}")
    told = _beside(folder)
    names = {name: found for name in SPECIAL if (found := _text(told.get(name), name))}
    with _in_library(kind):
        library = KINDS[kind](folder, told)
        tokens = library.get_vocab(with_added_tokens=True)
    end = _token(tokens, names, "eos_token", ("<|endoftext|>", "</s>"))
    pad = _token(tokens, names, "pad_token", ("<|endoftext|>", "<pad>"))
    length = told.get("model_max_length")
    if type(length) is not int or length > BEYOND:
        length = places or LONGEST
    if length < 3:
        raise PretrainedError(f"its tokenizer_config.json has model_max_length = {length}, too few")
    _check_end(library, end)
    return Tokenizer(library, length, end, pad, max(tokens.values()))


def _check_end(library: Any, end: int) -> None:
    ids = library.encode("").ids
    if not ids or ids[-1] != end:
        raise PretrainedError(
            f"its tokenizer ends the empty text with {shown(ids[-3:])}, must be its end token {end}"
        )


def _kind(folder: Path) -> str | None:
    there = lambda name: os.path.lexists(folder / name)
    return next((name for name in KINDS if all(map(there, name.split("+")))), None)


def _beside(folder: Path) -> dict[str, Any]:
    """The keys of the files beside the vocabulary; those of special_tokens_map.json count."""
    found: dict[str, Any] = {}
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if os.path.lexists(folder / name):
            found.update(read_json(folder / name))
    return found


def _text(value: Any, name: str) -> str:
    """A special token, which is a text or an object with its content; empty for none."""
    text = value.get("content") if isinstance(value, Mapping) else value
    if not isinstance(text, str | None) or len(text or "") > limits.NAME_CHARACTERS:
        raise PretrainedError(f"its tokenizer has {name} = {shown(value)}, must be a text")
    return text or ""


def _token(
    tokens: Mapping[str, int], names: Mapping[str, str], name: str, usual: Sequence[str]
) -> int:
    text = names.get(name) or next((each for each in usual if each in tokens), "")
    if text not in tokens:
        raise PretrainedError(f"its tokenizer's {name}, {shown(text)}, is not in its vocabulary")
    return tokens[text]


@contextmanager
def _in_library(kind: str) -> Iterator[None]:
    """Turn what the library raises, panics of its other language among them, into one line."""
    try:
        yield
    except ImportError as error:
        raise PretrainedError(
            "a tokenizer needs the library tokenizers: install the extra 'text'"
        ) from error
    except (UntrustedError, OSError, KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        name = kind.split("+")[0]
        raise PretrainedError(f"{name} is no tokenizer: {plain(first, 160)}") from error


def _of_json(folder: Path, told: Mapping[str, Any]) -> Any:
    return vocabularies.of_json(_content(folder / "tokenizer.json"))


def _of_pairs(folder: Path, told: Mapping[str, Any]) -> Any:
    vocabulary, merges = (_content(folder / name) for name in ("vocab.json", "merges.txt"))
    return vocabularies.of_pairs(vocabulary, merges, told)


def _of_pieces(folder: Path, told: Mapping[str, Any]) -> Any:
    extra = told.get("extra_ids", 100)
    if type(extra) is not int or not 0 <= extra <= 1000:
        raise PretrainedError(f"its tokenizer_config.json has extra_ids = {shown(extra)}")
    return vocabularies.of_pieces(pieces.parse(_content(folder / "spiece.model")), extra)


def _content(path: Path) -> bytes:
    return read_bytes(path, limits.TOKENIZER_BYTES)


KINDS = {
    "tokenizer.json": _of_json,
    "vocab.json+merges.txt": _of_pairs,
    "spiece.model": _of_pieces,
}
"""Files, the first that are there are used -> the reader of them."""
