"""Tokens of texts, by the files of CLIP and T5."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from models.pretrained.files.tensors import PretrainedError
from models.text_encoders.tokenizers import read_tokenizer

GOLDEN = Path(__file__).parents[2] / "golden" / "latent"
CLIP = GOLDEN / "clip_tokenizer"
CASE = json.loads((GOLDEN / "clip_tokenizer.json").read_text())
END = CASE["eos"]


@pytest.fixture(scope="module")
def clip():
    return read_tokenizer(CLIP, 77)


def test_tokens_are_those_of_transformers(clip):
    with np.load(GOLDEN / "clip_tokenizer.npz") as expected:
        ids, there = clip(CASE["prompts"], truncate=True)
        assert np.array_equal(ids, expected["input_ids"])
        assert np.array_equal(there, expected["attention_mask"] > 0)


def test_a_text_that_is_too_long_is_refused_or_keeps_its_end_token(clip):
    with pytest.raises(ValueError, match="at most 77 tokens") as refused:
        clip(CASE["prompts"])
    assert "\n" not in str(refused.value)
    ids, there = clip(["digit digit digit digit"], 4, truncate=True)
    assert ids[0, -1] == END
    assert there.all()


def moved(folder: Path, **changes: object) -> Path:
    shutil.copytree(CLIP, folder)
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        content = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps(content | changes))
    return folder


def test_an_exclamation_mark_that_pads_is_a_token_of_its_own(tmp_path, clip):
    padded = read_tokenizer(moved(tmp_path / "sd2", pad_token="!"), 77)
    ids, there = padded(["red!!!", ""])
    assert ids[0, 2:6].tolist() == [0, 0, 0, END]
    assert (ids[1, 2:] == 0).all()
    assert there.sum(1).tolist() == [6, 2]
    plain, _ = clip(["red!!!"])
    assert plain[0, 2:6].tolist() == [0, 0, 256, END]  # the last one ends a word


def test_the_map_of_special_tokens_counts_before_the_config(tmp_path):
    folder = moved(tmp_path / "sd2")
    content = json.loads((folder / "special_tokens_map.json").read_text())
    (folder / "special_tokens_map.json").write_text(json.dumps(content | {"pad_token": "!"}))
    assert read_tokenizer(folder, 77).pad == 0


def test_a_tokenizer_in_one_file_gives_the_same_tokens(tmp_path, clip):
    clip.library.save(str(tmp_path / "tokenizer.json"))
    shutil.copy(CLIP / "tokenizer_config.json", tmp_path)
    ids, _ = read_tokenizer(tmp_path, 77)(CASE["prompts"], truncate=True)
    assert np.array_equal(ids, clip(CASE["prompts"], truncate=True)[0])


def with_pattern(said):
    said["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": "(a+)+$"}


def with_unknown_part(said):
    said["pre_tokenizer"]["pretokenizers"].append({"type": "Punctuation"})


def with_unknown_key(said):
    said["program"] = "x"


def of_another_model(said):
    said["model"] = {"type": "WordPiece"}


@pytest.mark.parametrize(
    "change, said",
    [
        (with_pattern, "regular expression"),
        (with_unknown_part, "Punctuation"),
        (with_unknown_key, "the key program"),
        (of_another_model, "WordPiece"),
    ],
)
def test_parts_of_a_tokenizer_that_are_not_known_are_refused(tmp_path, clip, change, said):
    content = json.loads(clip.library.to_str())
    change(content)
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(PretrainedError, match=said) as refused:
        read_tokenizer(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "file, content, said",
    [
        ("vocab.json", '{"a": 0, "b": 0}', "number its tokens"),
        ("vocab.json", '{"a": 0, "b": 1}', "is no tokenizer|lacks"),
        ("merges.txt", "a b c\n", "two texts"),
        ("merges.txt", "qqq rrr\n", "is no tokenizer"),
        ("special_tokens_map.json", '{"pad_token": "<none>"}', "pad_token"),
        ("special_tokens_map.json", '{"pad_token": 3}', "pad_token"),
        ("tokenizer_config.json", '{"added_tokens_decoder": {"900": {"content": "<new>"}}}', "900"),
    ],
)
def test_damaged_files_are_refused_in_one_line(tmp_path, file, content, said):
    folder = moved(tmp_path / "broken")
    (folder / file).write_text(content)
    with pytest.raises(PretrainedError, match=said) as refused:
        read_tokenizer(folder)
    assert "\n" not in str(refused.value)


def test_added_tokens_follow_the_vocabulary(tmp_path):
    added = {str(END + 1): {"content": "<glyph>", "special": False}}
    tokenizer = read_tokenizer(moved(tmp_path / "more", added_tokens_decoder=added), 77)
    assert tokenizer.largest == END + 1
    assert END + 1 in tokenizer(["a <glyph> in red"])[0]


# T5's pieces -------------------------------------------------------------------------------------

PIECES = [("<pad>", 0.0, 3), ("</s>", 0.0, 3), ("<unk>", 0.0, 2), ("▁", -3.0, 1), ("▁red", -1.0, 1),
          ("▁re", -2.0, 1), ("d", -2.5, 1), ("▁ball", -1.5, 1), ("s", -2.0, 1)]  # fmt: skip


def field(number: int, kind: int, content: bytes) -> bytes:
    size = bytes([len(content)]) if kind == 2 else b""
    return bytes([number << 3 | kind]) + size + content


def spiece(*, kind: int = 1) -> bytes:
    pieces = b"".join(
        field(1, 2, field(1, 2, text.encode()) + field(2, 5, struct.pack("<f", score))
              + field(3, 0, bytes([what])))
        for text, score, what in PIECES
    )  # fmt: skip
    return pieces + field(2, 2, field(3, 0, bytes([kind])))


def test_pieces_are_the_likeliest_and_end_with_the_end_token(tmp_path):
    (tmp_path / "spiece.model").write_bytes(spiece())
    t5 = read_tokenizer(tmp_path)
    ids, there = t5(["red  balls", "dx <extra_id_0>", ""], 8)
    # "▁red" is likelier than "▁re" and "d"; "x" is no piece; the extra tokens follow, last first.
    assert ids.tolist() == [
        [4, 7, 8, 1, 0, 0, 0, 0], [3, 6, 2, 108, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0]]  # fmt: skip
    assert there.sum(1).tolist() == [4, 5, 1]


@pytest.mark.parametrize(
    "content, said",
    [
        (spiece()[:-9], "cut off|no piece|unigram|number"),
        (spiece(kind=2), "unigram"),
        (b"PK\x03\x04", "spiece.model"),
        (b"", "unigram"),
    ],
)
def test_damaged_pieces_are_refused_in_one_line(tmp_path, content, said):
    (tmp_path / "spiece.model").write_bytes(content)
    with pytest.raises(PretrainedError, match=said) as refused:
        read_tokenizer(tmp_path)
    assert "\n" not in str(refused.value)
