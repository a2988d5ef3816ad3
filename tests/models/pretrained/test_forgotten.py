"""Weights in every layout that says nothing, or not all, of their network: the config says it.

Each network is written with each combination of its options as its own authors' files have it, its
settings are forgotten, and it is imported with its config: the same parameters come back.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import serialization
from flax.traverse_util import flatten_dict, unflatten_dict

import models
from configs import schema
from models.pretrained import (
    Checkpoint,
    MismatchError,
    PretrainedError,
    diffusers,
    edm,
    load,
    open_checkpoint,
    params_of,
)
from models.pretrained.base import paths_and_shapes
from models.pretrained.matching import disagreements
from models.pretrained.score_sde import networks
from tests import edm_snapshots
from tests.models.pretrained import writing
from tests.slow import but_slow, slow

Options = dict[str, tuple[Any, ...]]

NCSNPP: Options = {
    "resblock_type": ("biggan", "ddpm"),
    "embedding_type": ("fourier", "positional"),
    "progressive": ("none", "output_skip", "residual"),
    "progressive_input": ("none", "input_skip", "residual"),
    "progressive_combine": ("sum", "cat"),
    "fir": (True, False),
    "resamp_with_conv": (True, False),
    "conditional": (True, False),
    "ch_mult": ((1, 2), (2, 1), (2,)),
    "num_res_blocks": (1, 2),
    "attn_resolutions": ((), (8,)),
    "num_channels": (1, 3, 4),
}
DDPM: Options = {
    "resamp_with_conv": (True, False),
    "ch_mult": ((1,), (1, 2), (2, 1)),
    "num_res_blocks": (1, 2),
    "attn_resolutions": ((), (8,)),
    "num_channels": (1, 3),
}
REFINENET: Options = {
    "normalization": ("InstanceNorm++", "InstanceNorm", "VarianceNorm"),
    "num_channels": (1, 3),
}


def config_of(name: str, options: dict[str, Any]):
    config = schema.get_default()
    config.data.image_size, config.model.name = 8, name
    config.model.nf = 32 if name == "ddpm" else 4
    if name == "ncsn":
        config.sde.name, config.sde.num_scales, config.training.continuous = "ve", 5, False
    for key, value in options.items():
        section = config.data if key in config.data else config.model
        section[key] = value
    return config


def builds(name: str, options: dict[str, Any]) -> bool:
    try:
        models.build(config_of(name, options))
    except ValueError:
        return False
    return True


def every(options: Options) -> Iterator[dict[str, Any]]:
    return (dict(zip(options, row, strict=True)) for row in itertools.product(*options.values()))


def pairs(row: dict[str, Any]) -> set[Any]:
    return set(itertools.combinations(row.items(), 2))


def pairwise(name: str, options: Options) -> list[dict[str, Any]]:
    """Few combinations that have every pair of values between them, as far as that can be built."""
    rng = np.random.default_rng(0)
    draw = lambda: {key: values[rng.integers(len(values))] for key, values in options.items()}
    left = set().union(*(pairs(row) for row in (draw() for _ in range(500))))
    chosen: list[dict[str, Any]] = []
    while left:
        found = max((draw() for _ in range(300)), key=lambda row: len(pairs(row) & left))
        if not pairs(found) & left or not builds(name, found):
            continue
        chosen.append(found)
        left -= pairs(found)
    return chosen


def written(config, kind: str) -> tuple[dict[Any, np.ndarray], dict[str, np.ndarray]]:
    """(parameters by path, the same by the names of "torch" or "jax" and laid out as there)."""
    wanted = paths_and_shapes(models.build(config), config)
    names = networks.NETWORKS[config.model.name].names(config, wanted)
    assert set(names) == set(wanted)
    rng = np.random.default_rng(0)
    ours = {path: np.float32(rng.normal(size=shape)) for path, shape in wanted.items()}
    weights = {}
    if config.model.embedding_type == "fourier" and not config.model.conditional:
        # There all the same, though nothing depends on it.
        name = {"torch": "all_modules.0.W", "jax": "GaussianFourierProjection_0/W"}[kind]
        weights[name] = np.ones(4, np.float32)
    for path, array in ours.items():
        name = getattr(names[path], kind)
        if kind == "torch":
            array = array[None, None] if array.ndim == 2 and ".Conv_" in name else array
            array = array.transpose(np.argsort(networks.torch_axes(name, array.ndim)))
        weights[name] = array
    return ours, weights


def write_torch(path: Path, weights: dict[str, np.ndarray]) -> Path:
    return writing.write_zip(path, writing.checkpoint(weights))


def write_jax(path: Path, weights: dict[str, np.ndarray]) -> Path:
    tree = unflatten_dict({tuple(name.split("/")): array for name, array in weights.items()})
    state = {"step": np.int32(7), "optimizer": {"target": tree}, "params_ema": tree}
    path.write_bytes(serialization.msgpack_serialize(state))
    return path


WRITERS = {"torch": write_torch, "jax": write_jax}
RELEASES = {"torch": "original", "jax": "score_sde"}
"""Release of NCSN's networks by layout; the one thing that a layout determines by itself."""


def check(name: str, options: dict[str, Any], folder: Path) -> None:
    """The same parameters come back of either layout."""
    for kind, write in WRITERS.items():
        refinenet = {"refinenet": RELEASES[kind]} if name.startswith("ncsnv") else {}
        config = config_of(name, options | refinenet)
        ours, weights = written(config, kind)
        opened = open_checkpoint(write(folder / kind, weights), config)
        found = flatten_dict(params_of(opened, ema=False))
        assert (opened.adopted, found.keys()) == ({}, ours.keys())
        for place, array in ours.items():
            np.testing.assert_array_equal(found[place], array)


SMALL: Options = {"num_res_blocks": (1,)}
CASES = {"ncsnpp": NCSNPP, "ddpm": DDPM, "ncsnv2_64": REFINENET, "ncsnv2_128": REFINENET}


@pytest.mark.parametrize("name", but_slow(CASES, "ddpm", "ncsnv2_64", "ncsnv2_128"))
def test_every_pair_of_options_is_imported_with_its_config(name, tmp_path) -> None:
    for row in pairwise(name, CASES[name] | SMALL):
        check(name, row, tmp_path)


@slow
@pytest.mark.parametrize("name", CASES)
def test_combinations_of_options_are_imported_with_their_config(name, tmp_path) -> None:
    """All of few, and of many forty."""
    rows = [row for row in every(CASES[name]) if builds(name, row)]
    for i in np.random.default_rng(1).permutation(len(rows))[:40]:
        check(name, rows[i], tmp_path)


ALIKE = {
    "resblock_type": "ddpm", "embedding_type": "positional", "progressive": "none",
    "progressive_input": "none", "fir": False, "ch_mult": (1, 2), "num_res_blocks": 1,
    "attn_resolutions": (8,), "nf": 32,
}  # fmt: skip
"""An NCSN++ with the tensors of a DDPM, and another function of them."""


def test_where_a_file_cannot_tell_the_config_decides(tmp_path) -> None:
    """Without one it is taken for the more usual network; of either it can be told to be."""
    plus = config_of("ncsnpp", ALIKE)
    path = write_torch(tmp_path / "a.pth", written(plus, "torch")[1])
    assert open_checkpoint(path).config.model.name == "ddpm"
    ddpm = config_of("ddpm", {k: v for k, v in ALIKE.items() if k in ("ch_mult", "num_res_blocks",
                     "attn_resolutions", "nf")})  # fmt: skip
    scores = [load(path, config, ema=False) for config in (plus, ddpm)]
    one, other = (jax.tree.leaves(score.params) for score in scores)
    assert all(map(np.array_equal, one, other))
    assert scores[0].apply != scores[1].apply
    # What the tensors do tell, it does not decide; the reason is that of a setting.
    with pytest.raises(MismatchError, match=r"model\.ch_mult is .1, 2. in the file and .1, 1. in"):
        load(path, config_of("ncsnpp", ALIKE | {"ch_mult": (1, 1)}))


def test_the_stem_has_nf_channels_whatever_the_first_multiple() -> None:
    """The rule of score_sde, `conv3x3(channels, nf)`, and of model_channels in EDM's SongUNet."""
    for name in ("ncsnpp", "ddpm", "songunet"):
        config = config_of(name, {"ch_mult": (2, 2), "nf": 32, "num_res_blocks": 1,
                                  "attn_resolutions": (8,)})  # fmt: skip
        wanted = paths_and_shapes(models.build(config), config)
        assert wanted["stem", "kernel"][-1] == 32
        assert wanted["up_0_block_1", "norm_0", "scale"] == (64 + 32,)


def test_weights_of_no_known_plan_say_why_without_a_config(tmp_path) -> None:
    path = write_torch(tmp_path / "a.pth", {"all_modules.0.weight": np.ones((4, 3, 3, 3))})
    with pytest.raises(
        PretrainedError, match=r"which network .*not those of an NCSN\+\+.*--config"
    ):
        open_checkpoint(path)
    with pytest.raises(MismatchError, match="missing"):
        load(path, config_of("ddpm", {"ch_mult": (1,), "attn_resolutions": ()}))


# Layouts that say what they are ------------------------------------------------------------------

DIFFUSERS: dict[str, Options] = {
    "ddpm_ho": {
        "norm_num_groups": (4, 8), "norm_eps": (1e-5, 1e-6), "attention_head_dim": (0, 4),
        "add_attention": (True, False), "mid_block_rescale": (True, False),
        "downsample_padding": (0, 1), "flip_sin_to_cos": (True, False), "freq_shift": (0, 1),
        "num_classes": (0, 3), "ch_mult": ((1,), (1, 2)), "num_res_blocks": (1, 2),
        "attn_resolutions": ((), (8,)), "num_channels": (1, 3), "centered": (True, False),
        "dropout": (0.0, 0.1),
    },
    "ncsnpp": {
        "embedding_type": ("fourier", "positional"), "resamp_with_conv": (True, False),
        "ch_mult": ((1, 2), (1, 1)), "num_res_blocks": (1, 2), "attn_resolutions": ((), (8,), (4,)),
        "centered": (True, False), "num_classes": (0, 3),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFUSERS)
def test_what_diffusers_can_hold_is_told_again_by_its_files(name) -> None:
    rng, held = np.random.default_rng(0), 0
    rows = list(every(DIFFUSERS[name]))
    for i in rng.permutation(len(rows))[:100]:
        fixed = diffusers.config.FIXED[name]
        config = config_of(name, {"nf": 128} | rows[i])
        config.update_from_flattened_dict({k: v for k, v in fixed.items() if "channels" not in k})
        fourier = config.model.embedding_type == "fourier" and name == "ncsnpp"
        config.sde.name, config.training.continuous = ("ve", True) if fourier else ("vp", False)
        config.model.scale_by_sigma = fourier
        files = diffusers.layout.layout(config)
        told = diffusers.config.settings(files.unet, files.scheduler)
        assert disagreements(Checkpoint("diffusers", told, None, {}), config) == {}, rows[i]
        held += 1
    assert held == min(100, len(rows))


EDM_OPTIONS: Options = {
    "embedding_type": ("fourier", "positional"),
    "encoder_type": ("standard", "skip", "residual"),
    "decoder_type": ("standard", "skip"),
    "resample_filter": ([1, 1], [1, 3, 3, 1]),
    "channel_mult": ([1, 2], [2, 2]),
    "channel_mult_emb": (4, 2),
    "channel_mult_noise": (1, 2),
    "num_blocks": (1, 2),
    "attn_resolutions": ([], [8], [4, 16]),
    "label_dim": (0, 3),
    "augment_dim": (0, 9),
}


def test_every_argument_of_edms_networks_is_a_setting_of_ours() -> None:
    """And of no two combinations the same; each builds."""
    seen = set()
    rows = list(every(EDM_OPTIONS))
    for i in np.random.default_rng(0).permutation(len(rows))[:300]:
        options = rows[i]
        kwargs = {"img_resolution": 8, "img_channels": 3, "model_channels": 4, "dropout": 0.0,
                  "model_type": "SongUNet", **options}  # fmt: skip
        made = edm_snapshots.preconditioned("EDMPrecond", kwargs, {"model.x": np.zeros(1)})
        told = edm.settings.settings(made)
        seen.add(tuple(sorted((k, str(v)) for k, v in told.items())))
        config = schema.get_default()
        config.update_from_flattened_dict(told)
        models.build(config)
        assert disagreements(Checkpoint("edm", told, None, {}), config) == {}
    assert len(seen) == 300
