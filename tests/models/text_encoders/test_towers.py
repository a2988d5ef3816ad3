"""CLIP's readers of texts and T5's encoder against transformers', and files that are refused."""

from __future__ import annotations

import functools
import json
import math
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from models.pretrained.files.tensors import PretrainedError
from models.text_encoders.clip import LARGEST, ends_of
from models.text_encoders.config import described
from models.text_encoders.files import read_network, read_towers, wanted
from models.text_encoders.t5 import bucket
from tests.models.text_encoders.towers import written

GOLDEN = Path(__file__).parents[2] / "golden" / "latent"
CASES = ("clip_text_l", "clip_text_g", "t5_gated")
TOKENIZER = GOLDEN / "clip_tokenizer"


@functools.cache
def arrays(case: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{case}.npz") as found:
        return dict(found)


def relative(found: Any, expected: Any) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@functools.cache
def hidden(case: str, folder: Path | None = None) -> Any:
    about, params = read_network(folder or GOLDEN / case)
    given = arrays(case)
    shown = given["attention_mask"] > 0 if "attention_mask" in given else None
    with jax.default_matmul_precision("highest"):
        return jax.jit(about.network.apply)({"params": params}, given["input_ids"], shown)


NAMED = {
    "last_hidden_state": lambda out: out.normed[-1],
    "penultimate": lambda out: out.states[-2],
    "penultimate_normed": lambda out: out.normed[-2],
    "hidden_0": lambda out: out.states[0],
    "hidden_1": lambda out: out.states[1],
    "pooled": lambda out: out.pooled,
    "text_embeds": lambda out: out.pooled,
}


@pytest.mark.parametrize(
    "case, name", [(case, name) for case in CASES for name in NAMED if name in arrays(case)]
)
def test_features_are_those_of_transformers(case, name):
    # Measured: below 4e-7. The wrong GELU makes 8e-3, attention of T5 that is scaled 2e-1.
    assert relative(np.asarray(NAMED[name](hidden(case))), arrays(case)[name]) < 5e-6


L = {"model_type": "clip_text_model", "hidden_size": 768, "intermediate_size": 3072,
     "num_attention_heads": 12, "num_hidden_layers": 12, "eos_token_id": 2,
     "projection_dim": 768}  # fmt: skip
H = L | {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16,
         "num_hidden_layers": 23, "hidden_act": "gelu"}  # fmt: skip
G = L | {"hidden_size": 1280, "intermediate_size": 5120, "num_attention_heads": 20,
         "num_hidden_layers": 32, "hidden_act": "gelu", "projection_dim": 1280}  # fmt: skip
XXL = {"model_type": "t5", "d_model": 4096, "num_layers": 24, "num_heads": 64, "d_kv": 64,
       "d_ff": 10240, "feed_forward_proj": "gated-gelu"}  # fmt: skip
SMALL = XXL | {"d_model": 512, "num_layers": 8, "num_heads": 6, "d_ff": 1024}
PROJECTED = {"architectures": ["CLIPTextModelWithProjection"]}
COUNTS = [
    (L, 123_060_480), (L | PROJECTED, 123_650_304), (H, 340_387_840), (G | PROJECTED, 694_659_840),
    (XXL, 4_762_310_656), (SMALL, 35_332_800),
]  # fmt: skip


@pytest.mark.parametrize("content, count", COUNTS)
def test_published_sizes_have_their_number_of_parameters(content, count):
    assert sum(map(math.prod, wanted(described(content).network).values())) == count


def test_a_whole_clip_gives_its_half_for_texts(tmp_path):
    copied(tmp_path / "whole", "clip_text_g", {
        "model_type": "clip", "architectures": ["CLIPModel"], "projection_dim": 20,
        "vision_config": {}, "text_config": config_of("clip_text_g"), "logit_scale_init_value": 2.6,
    })  # fmt: skip
    weights = load_file(tmp_path / "whole" / "model.safetensors")
    weights |= {
        "logit_scale": np.float32([4.6]),
        "vision_model.embeddings.position_ids": np.int64([[0]]),
    }
    save_file(weights, tmp_path / "whole" / "model.safetensors")
    assert np.array_equal(
        hidden("clip_text_g", tmp_path / "whole").pooled, hidden("clip_text_g").pooled
    )


def config_of(case: str) -> dict[str, Any]:
    return json.loads((GOLDEN / case / "config.json").read_text())


def copied(folder: Path, case: str, config: dict[str, Any] | None = None) -> Path:
    folder.mkdir()
    shutil.copy(GOLDEN / case / "model.safetensors", folder)
    (folder / "config.json").write_text(json.dumps(config or config_of(case)))
    return folder


def without_prefix(weights):
    return {name.removeprefix("text_model."): array for name, array in weights.items()}


def with_old_places(weights):
    return weights | {"text_model.embeddings.position_ids": np.arange(16)[None]}


def in_halves(weights):
    return {name: array.astype(np.float16) for name, array in weights.items()}


@pytest.mark.parametrize("change", [without_prefix, with_old_places])
def test_both_layouts_and_old_tables_of_places_load(tmp_path, change):
    folder = copied(tmp_path / "clip", "clip_text_l")
    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors")
    _, params = read_network(folder)
    _, expected = read_network(GOLDEN / "clip_text_l")
    assert all(map(np.array_equal, jax.tree.leaves(params), jax.tree.leaves(expected)))


def sharded(folder: Path, weights: dict[str, np.ndarray], *, half: bool = False) -> None:
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    files = [f"model{'.fp16' if half else ''}-0000{k}-of-00002.safetensors" for k in (1, 2)]
    places = {name: files[k % 2] for k, name in enumerate(names)}
    for file in files:
        save_file({n: weights[n] for n in names if places[n] == file}, folder / file)
    index = "model.safetensors.index.fp16.json" if half else "model.safetensors.index.json"
    (folder / index).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))


@pytest.mark.parametrize("half", [False, True])
def test_files_that_an_index_lists_load_as_one(tmp_path, half):
    folder = copied(tmp_path / "clip", "clip_text_l")
    weights = load_file(folder / "model.safetensors")
    sharded(folder, in_halves(weights) if half else weights, half=half)
    _, params = read_network(folder)
    _, expected = read_network(GOLDEN / "clip_text_l")
    # float16 has 11 bits.
    close = functools.partial(np.allclose, rtol=2**-10 if half else 0, atol=1e-6 if half else 0)
    assert all(map(close, jax.tree.leaves(params), jax.tree.leaves(expected)))


def broken_index(folder: Path, place: str) -> None:
    sharded(folder, load_file(folder / "model.safetensors"))
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"][next(iter(content["weight_map"]))] = place
    index.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "place, said",
    [
        ("../model.safetensors", "one beside it"),
        ("/etc/passwd", "one beside it"),
        ("model.bin", "one beside it"),
        ("model-00002-of-00002.safetensors", "damaged or mixed"),
    ],
)
def test_an_index_that_leads_elsewhere_is_refused(tmp_path, place, said):
    folder = copied(tmp_path / "clip", "clip_text_l")
    broken_index(folder, place)
    with pytest.raises(PretrainedError, match=said):
        read_network(folder)


def test_a_pickle_in_the_directory_that_would_run_code_is_refused(tmp_path):
    folder = copied(tmp_path / "clip", "clip_text_l")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00id\x85R.")
    with pytest.raises(PretrainedError) as refused:
        read_network(folder)
    assert "\n" not in str(refused.value)
    assert "pytorch_model.bin" in str(refused.value)


@pytest.mark.parametrize(
    "case, change, said",
    [
        ("clip_text_l", {"auto_map": {"AutoModel": "x.Y"}}, "the key auto_map"),
        ("clip_text_l", {"quantization_config": {}}, "the key quantization_config"),
        ("clip_text_l", {"hidden_act": "relu"}, "hidden_act"),
        ("clip_text_l", {"num_attention_heads": 5}, "num_attention_heads"),
        ("clip_text_l", {"model_type": "bert"}, "model_type"),
        ("clip_text_l", {"architectures": ["CLIPVisionModel"]}, "architectures"),
        ("clip_text_l", {"is_decoder": True}, "is_decoder"),
        ("clip_text_l", {"num_hidden_layers": 4}, "layers.3"),
        ("t5_gated", {"feed_forward_proj": "gated-silu"}, "feed_forward_proj"),
        ("t5_gated", {"dense_act_fn": "relu"}, "dense_act_fn"),
        ("t5_gated", {"relative_attention_num_buckets": 7}, "relative_attention_num_buckets"),
    ],
)
def test_what_has_no_counterpart_is_refused_in_one_line(tmp_path, case, change, said):
    folder = copied(tmp_path / "broken", case, config_of(case) | change)
    with pytest.raises(PretrainedError, match=said) as refused:
        read_network(folder)
    assert "\n" not in str(refused.value)


def test_the_end_is_the_largest_token_or_the_first_end_token():
    ids = jnp.array([[58, 3, 59, 59], [58, 59, 7, 59]])
    assert ends_of(ids, LARGEST).tolist() == [2, 1]
    assert ends_of(ids, 3).tolist() == [1, 0]


def test_hiding_padding_makes_padding_indifferent_and_seeing_it_does_not():
    about, params = read_network(GOLDEN / "t5_gated")
    ids = arrays("t5_gated")["input_ids"][:1, :6]
    longer = np.pad(ids, ((0, 0), (0, 5)))
    shown = np.arange(11)[None] < 6
    last = lambda *given: about.network.apply({"params": params}, *given).normed[-1][:, :6]
    with jax.default_matmul_precision("highest"):
        short, masked, seen = jax.jit(lambda: (last(ids), last(longer, shown), last(longer)))()
    # Round-off of sums of another length.
    assert relative(masked, short) < 1e-6
    assert relative(seen, short) > 1e-2


def test_distances_fall_into_buckets_as_in_the_paper():
    found = bucket(200, 32, 128)
    # One each up to 8, then ranges that double twice per power of four, 16 to each side.
    before = [0, 1, 7, 8, 11, 12, 15, 16, 22, 23, 31, 32, 63, 64, 127, 128, 199]
    assert found[199, [199 - n for n in before]].tolist() == [
        0, 1, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 13, 14, 15, 15, 15]  # fmt: skip
    assert found[0, 1] == 17
    assert found.max() == 31


def test_the_readers_of_a_pipeline_come_with_their_tokenizers(tmp_path):
    for name in ("text_encoder", "text_encoder_2"):
        written(tmp_path / name)
    for name in ("tokenizer", "tokenizer_2"):
        shutil.copytree(TOKENIZER, tmp_path / name)
    towers = read_towers(tmp_path)
    assert [tower.tokenizer.end for tower in towers] == [676, 676]
    assert towers[0].identity == towers[1].identity
    assert read_towers(tmp_path / "text_encoder")[0].identity == towers[0].identity


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"vocab_size": 500}, "tokens up to 676"),
        ({"eos_token_id": 7}, "end token 7"),
        ({"max_position_embeddings": 20}, "takes 20"),
    ],
)
def test_a_tokenizer_of_another_model_is_refused(tmp_path, changes, said):
    written(tmp_path / "text_encoder", **changes)
    shutil.copytree(TOKENIZER, tmp_path / "tokenizer")
    with pytest.raises(PretrainedError, match=said) as refused:
        read_towers(tmp_path)
    assert "\n" not in str(refused.value)


def test_a_directory_without_a_tokenizer_is_refused(tmp_path):
    written(tmp_path / "text_encoder")
    with pytest.raises(PretrainedError, match="no tokenizer"):
        read_towers(tmp_path)
    with pytest.raises(PretrainedError, match="no tokenizer"):
        read_towers(tmp_path / "text_encoder")
