"""score_sde's checkpoints, PyTorch's and JAX's: names, settings, weights."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import serialization

import models
from configs import defaults, schema, vp_cifar
from models.pretrained import (
    FORMATS,
    MismatchError,
    PretrainedError,
    load,
    open_checkpoint,
    params_of,
)
from models.pretrained.base import paths_and_shapes
from models.pretrained.score_sde import jax_checkpoint, networks, published, unet_settings
from tests.models.pretrained import writing
from tests.slow import but_slow

GOLDEN = Path(__file__).parents[3] / "golden"
OPTIONS = json.loads((GOLDEN / "options" / "options.json").read_text())
CHECKPOINTS = ("ve_ncsnpp_continuous", "vp_ddpmpp_continuous", "vp_ddpm_continuous")


def torch_weights(case):
    """Weights of an option's network by their PyTorch names, in the order of the calls."""
    rng = np.random.default_rng(0)
    shapes = OPTIONS[case]["weights"]
    return {f"all_modules.{k}": np.float32(rng.normal(size=s)) for k, s in shapes.items()}


def config_of(case):
    """The case's configuration among all settings of the schema."""
    config = schema.get_default()
    for section in ("model", "data"):
        for key, value in OPTIONS[case][section].items():
            config[section][key] = tuple(value) if isinstance(value, list) else value
    return config


# JAX's names, told anew from PyTorch's: modules are counted by class in the order of the calls.


def kind_of(leaves, model):
    """The class of a module from the names in it; "resample" for one that only resizes."""
    plus = "pp" * (model["name"] == "ncsnpp")
    first = leaves.get("Conv_0.weight", leaves.get("weight", leaves.get("W")))
    if "NIN_3.W" in leaves:
        return f"AttnBlock{plus}"
    if "Conv_1.weight" in leaves:
        biggan = model.get("resblock_type") == "biggan"
        return "ResnetBlockBigGANpp" if biggan else f"ResnetBlockDDPM{plus}"
    if "Conv2d_0.weight" in leaves or ("Conv_0.weight" in leaves and first.shape[2:] == (3, 3)):
        return "resample"
    if "Conv_0.weight" in leaves:
        return "Combine"
    return {4: "Conv", 2: "Dense", 1: "GroupNorm"}[first.ndim] if "W" not in leaves else (
        "GaussianFourierProjection"
    )  # fmt: skip


def in_flax(kind, leaf, weight):
    """(path within the module, array) as flax 0.3 has them."""
    inner, _, last = leaf.rpartition(".")
    path = (inner, last) if inner else (last,)
    if "GroupNorm" in inner or kind == "GroupNorm":
        return (*path[:-1], {"weight": "scale"}.get(last, last)), weight.reshape(1, 1, 1, -1)
    if last == "weight":
        array = weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T
        return (path if "Conv2d" in inner else (*path[:-1], "kernel")), array
    return path, weight


def jax_tree(case):
    """The same weights as `torch_weights` as flax 0.3 kept them."""
    model = OPTIONS[case]["model"]
    modules: dict[int, dict] = {}
    for name, weight in torch_weights(case).items():
        _, k, leaf = name.split(".", 2)
        modules.setdefault(int(k), {})[leaf] = weight
    halvings = len(model["ch_mult"]) - 1
    per_level = (model.get("resblock_type") != "biggan") + (
        model.get("progressive_input") == "residual"
    )
    counts: Counter[str] = Counter()
    tree: dict = {}
    resized = 0
    for _, leaves in sorted(modules.items()):
        kind = kind_of(leaves, model)
        if kind == "resample":
            kind = "Downsample" if resized < halvings * per_level else "Upsample"
            resized += 1
        if kind == "Combine":
            counts["Downsample"] += 1  # of the image, without parameters
        top = tree.setdefault(f"{kind}_{counts[kind]}", {})
        counts[kind] += 1
        for leaf, weight in leaves.items():
            path, array = in_flax(kind, leaf, weight)
            branch = top
            for part in path[:-1]:
                branch = branch.setdefault(part, {})
            branch[path[-1]] = array
    return tree


def old_state(tree, **other):
    """A training state of the JAX code; the averaged weights are half the others."""
    half = jax.tree.map(lambda w: np.float32(0.5) * w, tree)
    zeros = jax.tree.map(np.zeros_like, tree)
    moments = {"grad_ema": zeros, "grad_sq_ema": zeros}
    return {
        "step": np.int32(7),
        "optimizer": {"target": tree, "state": {"step": np.int32(7), "param_states": moments}},
        "lr": 2e-4,
        "model_state": {},
        "ema_rate": 0.9999,
        "params_ema": half,
        "rng": np.arange(2, dtype=np.uint32),
        **other,
    }


def write_jax(path, tree, **other):
    path.write_bytes(serialization.msgpack_serialize(old_state(tree, **other)))
    return path


# Between them all kinds of modules; the other cases repeat them.
STRUCTURES = (
    "both skips, three levels, two blocks", "output residual, input cat, ddpm blocks", "ddpm"
)  # fmt: skip
# Parameterless layers take numbers in JAX that the rule above does not know of.
IN_JAX = [c for c in OPTIONS if "no conv" not in c and OPTIONS[c]["model"]["conditional"]]


@pytest.mark.parametrize("case", STRUCTURES)
def test_jax_checkpoint_gives_the_parameters_of_the_same_weights_in_pytorch(case, tmp_path):
    config = config_of(case)
    config.model.ema_rate = 0.9999
    network = models.build(config)
    expected = networks.to_params(torch_weights(case), network, config, "torch")
    opened = open_checkpoint(write_jax(tmp_path / "checkpoint_7", jax_tree(case)), config)
    assert (opened.checkpoint.family, opened.checkpoint.step) == ("score_sde_jax", 7)
    assert opened.checkpoint.settings["model.ema_rate"] == 0.9999
    raw, ema = params_of(opened, ema=False), params_of(opened, ema=True)
    jax.tree.map(np.testing.assert_array_equal, raw, expected)
    jax.tree.map(lambda e, w: np.testing.assert_array_equal(e, 0.5 * w), ema, expected)


RECOGNISED = [(case, "torch") for case in OPTIONS] + [(case, "jax") for case in IN_JAX]


@pytest.mark.parametrize(("case", "kind"), RECOGNISED)
def test_settings_are_recognised_from_names_and_shapes(case, kind):
    if kind == "torch":
        inferred = unet_settings.infer(
            {k: v.shape for k, v in torch_weights(case).items()}, "torch"
        )
    else:
        flat = jax_checkpoint._leaves(jax_tree(case), "")
        inferred = unet_settings.infer({name: leaf.shape for name, leaf in flat}, "jax")
    config, found = config_of(case), inferred.settings
    flat = schema.flatten(config)
    for name, value in found.items():
        assert value == flat[name], name
    must = {"name", "nf", "ch_mult", "num_res_blocks", "conditional"}
    if flat["model.name"] == "ncsnpp":
        must |= {"resblock_type", "progressive", "progressive_input"}
    assert must <= {name.removeprefix("model.") for name in found}
    size = flat["data.image_size"]
    levels = tuple(
        level for level in range(len(flat["model.ch_mult"]))
        if size // 2**level in flat["model.attn_resolutions"]
    )  # fmt: skip
    if kind == "torch" or inferred.attention is not None:
        assert inferred.attention == levels


@pytest.mark.parametrize(
    "name",
    but_slow(["ve/church_ncsnpp_continuous", "vp/ddpm/bedroom"], "ve/church_ncsnpp_continuous"),
)
def test_published_network_is_recognised_by_its_weights_alone(name):
    config = schema.get_default()
    config.update_from_flattened_dict(dict(published.CONFIGS[name]))
    wanted = paths_and_shapes(models.build(config), config)
    names = networks.NETWORKS[config.model.name].names(config, wanted)
    assert set(names) == set(wanted)
    shapes = {}
    for path, shape in wanted.items():
        told = names[path].torch
        pointwise = len(shape) == 2 and ".Conv_" in told
        full = (1, 1, *shape) if pointwise else shape
        axes = networks.torch_axes(told, len(full))
        shapes[told] = tuple(full[list(axes).index(i)] for i in range(len(full)))
    inferred = unet_settings.infer(shapes, "torch")
    flat = schema.flatten(config)
    assert {k: flat[k] for k in inferred.settings} == inferred.settings
    assert inferred.attention == (int(np.log2(config.data.image_size // 16)),)


@pytest.mark.parametrize("name", published.CONFIGS)
def test_nearest_published_configuration_of_one_is_itself(name):
    flat = {k: s.default for k, s in defaults.SETTINGS.items()} | dict(published.CONFIGS[name])
    told = ("name", "nf", "ch_mult", "num_res_blocks", "progressive_input", "embedding_type",
            "ema_rate", "conditional")  # fmt: skip
    settings = {f"model.{k}": flat[f"model.{k}"] for k in told}
    settings |= {f"sde.{k}": flat[f"sde.{k}"] for k in ("sigma_max", "num_scales")}
    table, note = published.complete(settings, Path(f"/x/{name}/checkpoint_8.pth"))
    assert dict(table) == dict(published.CONFIGS[name])
    assert f"configuration, {name};" in note


# Raw and averaged --------------------------------------------------------------------------------


def write_torch(path, case="fir biggan fourier", **other):
    return writing.write_zip(path, writing.checkpoint(torch_weights(case), **other))


def test_average_is_matched_by_position_without_the_frequencies(tmp_path):
    case = "fir biggan fourier"
    config = config_of(case)
    config.sde.name, config.training.continuous = "ve", True
    path = write_torch(tmp_path / "a.pth", case)
    raw, ema = load(path, config, ema=False), load(path, config)
    assert type(ema.sde).__name__ == "VE"
    fixed = "['conditioning']['embedding']['frequencies']"

    def compare(path, averaged, weight):
        factor = 1.0 if jax.tree_util.keystr(path) == fixed else 0.5
        np.testing.assert_array_equal(averaged, factor * weight)

    jax.tree_util.tree_map_with_path(compare, ema.params, raw.params)


def test_checkpoint_without_average_says_so(tmp_path):
    path = write_torch(tmp_path / "a.pth", ema=None)
    with pytest.raises(PretrainedError, match="no averaged weights: use the raw ones, ema=False"):
        load(path, config_of("fir biggan fourier"))
    load(path, config_of("fir biggan fourier"), ema=False)


@pytest.mark.parametrize(
    ("listed", "words"), [(5, "no list of tensors"), ([], "has 0 tensors"), (["x"] * 9, "has 9")]
)
def test_average_that_cannot_be_matched_is_refused(tmp_path, listed, words):
    path = write_torch(tmp_path / "a.pth", ema={"shadow_params": listed})
    with pytest.raises(PretrainedError, match=words):
        load(path)


def test_unused_weights_of_an_unconditional_network_are_no_mismatch(tmp_path):
    case = "unconditional"
    weights = torch_weights(case)
    for name in list(weights):
        if name.endswith("GroupNorm_0.weight") and name.replace("GroupNorm_0", "Conv_1") in weights:
            weights[name.replace("GroupNorm_0", "Dense_0")] = np.zeros((8, 32), np.float32)
    path = writing.write_zip(tmp_path / "a.pth", writing.checkpoint(weights))
    load(path, config_of(case))


# Mismatches --------------------------------------------------------------------------------------

GOLDEN_FILE = GOLDEN / "vp_ddpmpp_continuous.pth"
WRONG = {
    "nf": ({"model.nf": 32}, "model.nf is 16 in the file and 32 in the config"),
    "ch_mult": ({"model.ch_mult": (1, 2, 2)}, r"model.ch_mult is \(1, 2, 2, 2\) in the file"),
    "network": ({"model.name": "ddpm", "model.nf": 32}, "model.name is 'ncsnpp' in the file"),
    "pyramid": ({"model.progressive_input": "residual"}, "model.progressive_input is 'none'"),
    "levels": ({"sde.name": "ve", "sde.sigma_max": 90.0}, "sde.sigma_max is 50.0 in the file"),
}


@pytest.mark.parametrize("case", WRONG)
def test_config_of_another_network_is_refused_by_the_setting_and_tensor_by_tensor(case):
    changes, words = WRONG[case]
    config = vp_cifar.get_config()
    config.update_from_flattened_dict({"model.nf": 16, "model.num_res_blocks": 2, **changes})
    with pytest.raises(MismatchError, match=words) as caught:
        load(GOLDEN_FILE, config)
    first, *rows = str(caught.value).splitlines()
    assert first.startswith("the checkpoint does not fit the config: ")
    assert bool(rows) == (case != "levels")


def test_mismatch_tells_name_and_shapes_of_each_tensor(tmp_path):
    case = "fir biggan fourier"
    weights = torch_weights(case)
    del weights["all_modules.4.Conv_0.bias"]
    weights["all_modules.4.Conv_1.weight"] = np.zeros((8, 8, 1, 3), np.float32)
    weights["all_modules.99.odd"] = np.zeros(5, np.float32)
    network = models.build(config_of(case))
    with pytest.raises(MismatchError) as caught:
        networks.to_params(weights, network, config_of(case), "torch")
    assert str(caught.value).splitlines() == [
        "the checkpoint does not fit the config: tensors 1 of another shape, 1 missing, 1 not "
        "wanted, the first all_modules.4.Conv_0.bias: missing, the network wants [8]: set what "
        "the file has, or leave --config out to take its own",
        "all_modules.4.Conv_0.bias: missing, the network wants [8]",
        "all_modules.4.Conv_1.weight: [8, 8, 1, 3], the network wants [8, 8, 3, 3]",
        "all_modules.99.odd: [5], the network has no such tensor",
    ]


# Without a config --------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CHECKPOINTS)
def test_config_is_made_of_the_file_where_none_is_given(case):
    facts = json.loads((GOLDEN / f"{case}.json").read_text())
    config = open_checkpoint(GOLDEN / f"{case}.pth").config
    table = published.CONFIGS[facts["source_config"]]
    expected = {**{k: s.default for k, s in defaults.SETTINGS.items()}, **table}
    for name, value in facts["overrides"].items():
        expected[name] = tuple(value) if isinstance(value, list) else value
    assert schema.flatten(config) == expected


def test_folder_of_the_file_decides_between_configurations_that_fit_equally(tmp_path):
    for name in ("vp/cifar10_ddpmpp", "subvp/cifar10_ddpmpp_continuous"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "checkpoint_8.pth").write_bytes(GOLDEN_FILE.read_bytes())
        opened = open_checkpoint(folder / "checkpoint_8.pth")
        assert name in opened.checkpoint.note
        assert opened.config.sde.name == name.split("/")[0]
        assert opened.config.training.continuous == ("continuous" in name)


# Damaged msgpack ---------------------------------------------------------------------------------

KEY = b"\x81\xa4step"
PACKS = {
    "cut map": b"\x87\xa4step",
    "ten gigabytes": KEY + b"\xc9" + (10 * 2**30 % 2**32).to_bytes(4, "big") + b"\x01abc",
    "a declared array": KEY + b"\xdd\xff\xff\xff\xff",
    "a declared map": KEY + b"\xdf\xff\xff\xff\xff",
    "a declared text": KEY + b"\xdb\xff\xff\xff\xffx",
    "many entries": KEY + b"\xdd\x00\x10\x00\x00" + b"\xc0" * (1 << 20),
    "a deep nest": KEY + b"\x91" * 100_000 + b"\xc0",
    "a deep nest of extensions": KEY + b"".join(
        b"\xc9" + (6 * k).to_bytes(4, "big") + b"\x01" for k in range(2000, 0, -1)),
    "unknown extension": KEY + b"\xd4\x05x",
    "a timestamp": KEY + b"\xd6\xff1234",
    "unknown byte": KEY + b"\xc1",
    "a map as key": b"\x81\x80\x01",
    "more than one": KEY + b"\x01\x01",
    "an array of objects": KEY + b"\xc7\x0b\x01\x93\x91\x01\xa6object\xc4\x00",
    "fewer numbers than its shape": KEY + b"\xc7\x0e\x01\x93\x91\x09\xa7float32\xc4\x00",
    "a negative shape": KEY + b"\xc7\x0d\x01\x93\x91\xff\xa7float32\xc4\x00",
    "another checkpoint": KEY + b"\x01",
}  # fmt: skip


@pytest.mark.parametrize("case", PACKS)
def test_damaged_or_hostile_msgpack_is_refused(case, tmp_path):
    path = tmp_path / "checkpoint_8"
    path.write_bytes(PACKS[case])
    with pytest.raises(PretrainedError):
        load(path)


def test_msgpack_cut_off_anywhere_is_refused(tmp_path):
    whole = write_jax(tmp_path / "whole", {"Dense_0": {"kernel": np.ones((2, 3))}}).read_bytes()
    for size in range(0, len(whole), 7):
        (tmp_path / "cut").write_bytes(whole[:size])
        with pytest.raises(PretrainedError):
            load(tmp_path / "cut")


def test_formats_do_not_take_each_others_files(tmp_path):
    files = {
        "diffusers": GOLDEN / "diffusers" / "ve",
        "score-sde-jax": GOLDEN / "diffusers/ve/unet/diffusion_pytorch_model.safetensors",
        "edm": GOLDEN / "edm_ddpmpp.pkl",
        "score_sde": GOLDEN_FILE,
        "score_sde_jax": write_jax(tmp_path / "a", {"Dense_0": {"kernel": np.ones((2, 3))}}),
    }
    for family, path in files.items():
        assert [name for name, known in FORMATS.items() if known.recognises(path)] == [family]
