"""Captions as lists of words, and words as numbers in a vocabulary.

A word is a run of letters, digits, hyphens and apostrophes, in lower case; what is between words
says nothing, and neither does an article at the beginning. A vocabulary is a text of words in
alphabetical order, separated by spaces, whose places are their numbers.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from configs.names import did_you_mean
from data_lib.base import Images, Log, Splits
from untrusted import plain

NO_WORD = -1
"""The number that stands where a caption has ended."""
ARTICLES = ("a", "an", "the")
_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")


def words(caption: str) -> list[str]:
    """The words of a caption."""
    found = _WORD.findall(caption.lower())
    return found[1:] if len(found) > 1 and found[0] in ARTICLES else found


def vocabulary(captions: Iterable[str]) -> str:
    """The vocabulary of captions."""
    return " ".join(sorted({word for caption in captions for word in words(caption)}))


def longest(captions: Iterable[str]) -> int:
    """Largest number of words of a caption; at least 1."""
    return max((len(words(caption)) for caption in captions), default=1) or 1


def numbered(
    captions: Sequence[str] | Shaped[np.ndarray, " n"],
    vocabulary: str,
    length: int,
    what: str,
    *,
    strict: bool = True,
) -> Int[np.ndarray, "n length"]:
    """The numbers of the words of captions, and NO_WORD after the last.

    strict: refuse words that are not in the vocabulary, and captions of more than `length` words;
    if not, leave them out.
    Raises ValueError, naming the nearest known word and beginning with `what`.
    """
    numbers = {word: i for i, word in enumerate(vocabulary.split())}
    found = np.full((len(captions), length), NO_WORD, np.int32)
    for row, caption in zip(found, captions, strict=True):
        said = words(caption)
        if strict:
            _check(said, numbers, length, what)
        known = [numbers[word] for word in said if word in numbers][:length]
        row[: len(known)] = known
    return found


def _check(said: list[str], numbers: dict[str, int], length: int, what: str) -> None:
    for word in said:
        if word not in numbers:
            raise ValueError(
                f"{what} must have words that the model was trained on, of which there are "
                f"{len(numbers):,}, got {plain(word)!r}{did_you_mean(word, numbers)}"
            )
    if len(said) > length:
        raise ValueError(
            f"{what} must have captions of at most {length} words (data.condition), got "
            f"{len(said)}: {plain(' '.join(said))}"
        )


def told(splits: Splits, config: Any, log: Log) -> Splits:
    """Splits whose captions, if they have any, are their conditions, by the config's vocabulary.

    Words and places that it does not have are left out, and are said.
    """
    train, test = (_told(images, config, log) for images in (splits.train, splits.test))
    return dataclasses.replace(splits, train=train, test=test)


def _told(images: Images, config: Any, log: Log) -> Images:
    if images.captions is None or not config.words or not config.condition:
        return images
    length = int(np.prod(config.condition))
    rows = numbered(images.captions, config.words, length, "captions", strict=False)
    said = sum(len(words(caption)) for caption in images.captions)
    if left := said - int((rows >= 0).sum()):
        log(f"{left:,} of {said:,} words of captions are left out: they are not in the model's "
            f"vocabulary (data.words), or beyond its {length} places (data.condition)")  # fmt: skip
    return dataclasses.replace(images, condition=rows)
