"""Tokenizers of the library `tokenizers`, from the content of files.

The pieces of a tokenizer.json are looked up in a table, as are the regular expressions in it: one
of a stranger's could take for ever on some caption.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from models.pretrained.files.tensors import PretrainedError
from models.text_encoders.pieces import Pieces
from untrusted import limits, parse_json, plain, shown

SPACES = r"\s+"
WORDS = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
"""CLIP's words: endings, runs of letters, single digits, and runs of anything else."""
MARKED = r"<\|startoftext\|>|<\|endoftext\|>|" + WORDS
"""The same with the special tokens, as some files have it."""
START, END = "<|startoftext|>", "<|endoftext|>"
PATTERNS = frozenset((SPACES, WORDS, MARKED, " {2,}", r"\s+$", "[\\s]+"))
"""Regular expressions that published tokenizers have."""
PARTS: Mapping[str, tuple[str, ...]] = {
    "normalizer": ("Sequence", "NFC", "NFKC", "Replace", "Lowercase", "Precompiled", "Strip", "Nmt",
                   "Prepend"),
    "pre_tokenizer": ("Sequence", "Split", "ByteLevel", "Metaspace", "WhitespaceSplit"),
    "post_processor": ("TemplateProcessing", "RobertaProcessing", "ByteLevel", "Sequence"),
    "decoder": ("ByteLevel", "Metaspace", "BPEDecoder", "Sequence", "Replace", "Fuse", "Strip",
                "ByteFallback"),
    "model": ("BPE", "Unigram"),
}  # fmt: skip
"""Part of a tokenizer.json -> its kinds that are known."""
KEYS = ("version", "truncation", "padding", "added_tokens", *PARTS)


def of_json(content: bytes) -> Any:
    """The tokenizer of a tokenizer.json, without its padding and truncation.

    Raises:
      PretrainedError: it has a part that is not in the table.
    """
    from tokenizers import Tokenizer

    said = parse_json(content, limits.TOKENIZER_ITEMS)
    if unknown := sorted(set(said) - set(KEYS)):
        raise PretrainedError(f"tokenizer.json has the key {plain(unknown[0])}: refused")
    for name, known in PARTS.items():
        for part in _parts(said.get(name)):
            if part.get("type", "BPE" if name == "model" else None) not in known:
                raise PretrainedError(
                    f"tokenizer.json has a {name} of type {shown(part.get('type'))}, must be one "
                    f"of {', '.join(known)}"
                )
            _check_pattern(part.get("pattern"))
    found = Tokenizer.from_str(content.decode("utf-8"))
    found.no_padding()
    found.no_truncation()
    return found


def _parts(part: Any) -> Iterator[Mapping[str, Any]]:
    """A part of a tokenizer.json, or those of a sequence."""
    if part is None:
        return
    if not isinstance(part, Mapping):
        raise PretrainedError(f"tokenizer.json has {shown(part)} for a part of a tokenizer")
    yield part
    for name in ("normalizers", "pretokenizers", "processors", "decoders"):
        for inner in part.get(name) or ():
            yield from _parts(inner)


def _check_pattern(pattern: Any) -> None:
    if isinstance(pattern, Mapping) and "String" not in pattern:
        pattern = pattern.get("Regex")
        if pattern not in PATTERNS:
            raise PretrainedError(
                f"tokenizer.json has the regular expression {shown(pattern)}, which no published "
                "tokenizer has: refused"
            )


def of_pairs(vocabulary: bytes, merges: bytes, told: Mapping[str, Any]) -> Any:
    """CLIP's tokenizer from vocab.json and merges.txt, and the keys of the files beside them."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import BPE
    from tokenizers.normalizers import NFC, Lowercase, Replace
    from tokenizers.normalizers import Sequence as Normalizers
    from tokenizers.pre_tokenizers import ByteLevel, Split
    from tokenizers.pre_tokenizers import Sequence as Splits

    tokens = _vocabulary(vocabulary)
    model = BPE(tokens, _merges(merges), unk_token=END, end_of_word_suffix="</w>",
                continuing_subword_prefix="")  # fmt: skip
    found = Tokenizer(model)
    found.normalizer = Normalizers([NFC(), Replace(Regex(SPACES), " "), Lowercase()])
    split = Split(Regex(WORDS), "removed", invert=True)
    found.pre_tokenizer = Splits([split, ByteLevel(add_prefix_space=False)])
    for special in (START, END):
        if special not in tokens:
            raise PretrainedError(f"vocab.json lacks {special}, must be CLIP's")
    found.add_special_tokens(list(_special(tokens, told)))
    _check_added(found, told)
    _finish(found, f"{START} $A {END}", {text: tokens[text] for text in (START, END)})
    return found


def _vocabulary(content: bytes) -> dict[str, int]:
    tokens = parse_json(content, limits.TOKENIZER_ITEMS)
    if not all(type(index) is int for index in tokens.values()) or sorted(tokens.values()) != list(
        range(len(tokens))
    ):
        raise PretrainedError("vocab.json must number its tokens from 0 on, each once")
    return tokens


def _merges(content: bytes) -> list[tuple[str, str]]:
    lines = re.split(r"\r?\n", content.decode("utf-8"))
    pairs = [line.split(" ") for line in lines if line and not line.startswith("#version")]
    if any(len(pair) != 2 for pair in pairs):
        raise PretrainedError("merges.txt must have two texts with a space between in every line")
    return [(first, second) for first, second in pairs]


def _special(tokens: Mapping[str, int], told: Mapping[str, Any]) -> Iterator[Any]:
    """The special tokens, which are found in a text before anything else."""
    from tokenizers import AddedToken

    for name in ("bos_token", "eos_token", "pad_token", "unk_token"):
        value = told.get(name)
        text = value.get("content") if isinstance(value, Mapping) else value
        if isinstance(text, str) and text in tokens:
            normalized = isinstance(value, Mapping) and value.get("normalized") is True
            yield AddedToken(text, special=True, normalized=normalized)
    for text in (START, END):
        yield AddedToken(text, special=True, normalized=False)


def _check_added(found: Any, told: Mapping[str, Any]) -> None:
    """Add the tokens that the files say were added, at the places they say."""
    from tokenizers import AddedToken

    added = told.get("added_tokens_decoder") or {}
    if not isinstance(added, Mapping) or not all(key.isdecimal() for key in added):
        raise PretrainedError("tokenizer_config.json has added_tokens_decoder without numbers")
    for key in sorted(added, key=int):
        text = added[key].get("content") if isinstance(added[key], Mapping) else None
        if not isinstance(text, str) or not text:
            raise PretrainedError(f"tokenizer_config.json has no text for the token {plain(key)}")
        if found.token_to_id(text) is None:
            found.add_tokens([AddedToken(text, special=added[key].get("special") is True)])
        if found.token_to_id(text) != int(key):
            raise PretrainedError(
                f"tokenizer_config.json has {shown(text)} at {plain(key)}, and the vocabulary at "
                f"{found.token_to_id(text)}: of two tokenizers"
            )


def of_pieces(content: Pieces, extra: int) -> Any:
    """T5's tokenizer from spiece.model, and as many tokens of no text after its pieces."""
    from tokenizers import AddedToken, Tokenizer
    from tokenizers.models import Unigram
    from tokenizers.normalizers import Precompiled
    from tokenizers.pre_tokenizers import Metaspace, WhitespaceSplit
    from tokenizers.pre_tokenizers import Sequence as Splits

    extras = [(f"<extra_id_{k}>", 0.0) for k in reversed(range(extra))]
    found = Tokenizer(Unigram([*content.scored, *extras], content.unknown, content.bytes_too))
    if content.characters:
        found.normalizer = Precompiled(content.characters)
    found.pre_tokenizer = Splits([WhitespaceSplit(), Metaspace(prepend_scheme="always")])
    names = [*content.control, *(text for text, _ in extras)]
    found.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in names])
    end = "</s>"
    if found.token_to_id(end) is None:
        raise PretrainedError("spiece.model lacks </s>, must be T5's")
    _finish(found, f"$A {end}", {end: found.token_to_id(end)})
    return found


def _finish(found: Any, template: str, special: Mapping[str, int]) -> None:
    from tokenizers.processors import TemplateProcessing

    found.post_processor = TemplateProcessing(
        single=template, pair=None, special_tokens=list(special.items())
    )
