"""OpenAI's state dicts: outputs of the originals, every flag against NumPy, and what is refused."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import main
import models
from configs import command_line, openai, schema
from models.pretrained import PretrainedError, load, matching, open_checkpoint
from models.pretrained.base import Checkpoint, MismatchError, paths_and_shapes
from models.pretrained.files import torch_files
from models.pretrained.openai import layout, published, state_dict
from modes.classifier import load_classifier
from modes.experiment import Experiment
from tests.models.pretrained import writing
from tests.models.pretrained.openai import reference
from tests.models.pretrained.openai.reference import Flags
from tests.slow import but_slow

GOLDEN = Path(__file__).parents[3] / "golden" / "control"


@pytest.fixture(autouse=True)
def _full_precision():
    with jax.default_matmul_precision("highest"):
        yield


def said(flags: Flags) -> dict[str, Any]:
    """The settings that a file's weights do not say, as a user says them."""
    heads = {"model.attention_head_dim": flags.wide} if flags.wide else {
        "model.num_heads": flags.heads, "model.num_heads_upsample": flags.heads_up
    }  # fmt: skip
    return heads | {
        "model.attention_order": "parts_first" if flags.new_order else "heads_first",
        "data.image_size": flags.size,
        **({"data.condition": (flags.small, flags.small, 3)} if flags.small else {}),
    }


def settings(flags: Flags) -> dict[str, Any]:
    """The settings that they say."""
    told = {
        "model.nf": flags.nf,
        "model.ch_mult": flags.mult,
        "model.num_res_blocks": flags.blocks,
        "model.scale_shift": flags.scale_shift,
        "model.resblock_updown": flags.updown,
        "model.num_classes": flags.classes,
        "data.num_channels": 3,
    }
    if not flags.updown:
        told["model.resamp_with_conv"] = flags.conv_resample
    if flags.pool:
        told |= {"model.name": "noisy_classifier", "model.pool": flags.pool}
        return told | ({"data.image_size": flags.size} if flags.pool == "attention" else {})
    told |= {"model.name": "guided_unet", "model.learn_variance": flags.learn_sigma}
    told["model.condition"] = "image" if flags.small else "none"
    return told | ({"model.condition_known": False} if flags.small else {})


def config_of(flags: Flags) -> Any:
    config = schema.get_default()
    config.data.centered = True
    config.model.dropout = 0.0
    told = {**settings(flags), **said(flags), "model.attn_resolutions": flags.attention}
    config.update_from_flattened_dict(told)
    schema.check(config)
    return config


def output(config, weights, x, label, condition=None):
    """The output of the network with these weights."""
    network = models.build_any(config)
    params = state_dict.params(weights, network, config)
    return jax.jit(network.apply)({"params": params}, x, label, condition)


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


# Every flag ---------------------------------------------------------------------------------------

FLAGS = {
    "old order, heads by number": Flags(attention=(8, 4), heads=4, classes=5),
    "new order, heads by width": Flags(mult=(1, 1), wide=16, new_order=True),
    "plain": Flags(heads=2, blocks=2, updown=False, scale_shift=False, learn_sigma=False),
    "without convolutions": Flags(
        heads=2, heads_up=4, attention=(8, 4), updown=False, conv_resample=False
    ),
    "half the channels, upsampling": Flags(nf=64, mult=(0.5, 1), heads=2, classes=3, small=4),
    "pool attention": Flags(pool="attention", wide=16, attention=(8, 4), classes=5),
    "pool adaptive": Flags(pool="adaptive", heads=2, classes=5, updown=False, scale_shift=False),
    "pool spatial": Flags(pool="spatial", wide=8, new_order=True, classes=5),
    "pool spatial_v2": Flags(pool="spatial_v2", heads=4, attention=(8, 4), classes=5),
}


@cache
def drawn(name):
    return reference.make(FLAGS[name])


REPEATING = ("new order, heads by width", "plain", "pool spatial", "pool adaptive")
"""Flags that goldens or other cases have, too."""


@pytest.mark.parametrize("name", but_slow(FLAGS, *REPEATING))
def test_any_flags_give_what_the_original_gives(name):
    flags, weights = FLAGS[name], drawn(name)
    rng = np.random.default_rng(1)
    x, t = rng.normal(size=(2, 3, 8, 8)), np.array([3.0, 812.25])
    y = np.array([1, 2]) if flags.classes and not flags.pool else None
    low = rng.normal(size=(2, 3, 4, 4)) if flags.small else None
    expected = reference.run(flags, {k: np.float64(v) for k, v in weights.items()}, x, t, y, low)

    last = lambda image: jnp.asarray(np.moveaxis(image, 1, -1), jnp.float32)
    condition = None if y is None else {"label": jnp.asarray(y)}
    if low is not None:
        condition = {**(condition or {}), "image": last(low)}
    found = output(config_of(flags), weights, last(x), jnp.asarray(t, jnp.float32), condition)
    expected = expected if flags.pool else np.moveaxis(expected, 1, -1)
    # Float32 against float64; a wrong order, padding or group count gives more than 0.01.
    assert relative(np.asarray(found), expected) < 1e-5


@pytest.mark.parametrize("name", FLAGS)
def test_shapes_say_all_but_heads_order_and_size(name):
    flags = FLAGS[name]
    told = layout.infer(reference.shapes(flags))
    assert told.unknown == ""
    assert told.settings == settings(flags)
    assert told.attention == tuple(k for k in (0, 1) if 8 >> k in flags.attention)


def test_the_other_order_of_rows_fits_and_gives_something_else():
    flags, weights = FLAGS["old order, heads by number"], drawn("old order, heads by number")
    config = config_of(flags)
    network = models.build(config)
    first = state_dict.params(weights, network, config)
    config.model.attention_order = "parts_first"
    second = state_dict.params(weights, network, config)
    query = lambda params: params["middle_block_0"]["attention"]["query"]["kernel"]
    assert (query(first) != query(second)).any()


# Outputs of the originals -------------------------------------------------------------------------

CHAIN = {"sde.schedule": "linear", "sde.num_scales": 1000, "model.rescale_timesteps": False}
NETWORKS = {
    "adm_64_style.model012345": "model_output_raw",
    "adm_64_style.ema_0.9999_012345": "model_output_ema",
    "adm_128_style": "model_output",
    "adm_plain_fixed_variance": "model_output",
    "adm_upsampler_64_256_style": "model_output",
    "iddpm_cifar_style": "model_output",
}
LONG = ("adm_64_style.ema_0.9999_012345", "adm_128_style", "iddpm_cifar_style")


def golden(file):
    """(description, arrays) of a case."""
    case = file.split(".")[0]
    with np.load(GOLDEN / f"{case}.npz") as arrays:
        return json.loads((GOLDEN / f"{case}.json").read_text()), dict(arrays)


def flags_of(case) -> Flags:
    told = case.get("flags", {})
    net = case.get("network", {})
    size = case.get("image_size") or {**told, **net}["image_size"]
    wide = max(told.get("num_head_channels", 0), net.get("num_head_channels", 0))
    sizes = told.get("attention_resolutions", "")
    factors = net.get("attention_resolutions", ())
    attention = tuple(size // k for k in factors) or tuple(map(int, sizes.split(",")))
    small = 4 if case["kind"] == "super_resolution" else 0
    return Flags(
        size, attention=attention, heads=told.get("num_heads", net.get("num_heads", 0)),
        wide=wide, new_order=told.get("use_new_attention_order", False), small=small,
        pool=net.get("pool", ""),
    )  # fmt: skip


def opened(file: str, flags: Flags):
    """The golden file, its missing settings said one by one."""
    given = {**said(flags), **CHAIN}
    override = lambda config: config.update_from_flattened_dict(given)
    return open_checkpoint(GOLDEN / f"{file}.pt", None, override, given)


@pytest.mark.parametrize("file", but_slow(NETWORKS, *LONG))
def test_networks_give_the_originals_outputs(file):
    case, arrays = golden(file)
    checkpoint, _, config, *_ = opened(file, flags_of(case))
    weights = checkpoint.raw if NETWORKS[file].endswith("raw") else checkpoint.ema
    condition = {}
    if config.model.num_classes:
        condition["label"] = jnp.asarray(arrays["y"])
    if config.model.condition == "image":
        condition["image"] = jnp.asarray(arrays["low_res"])
    label = jnp.asarray(arrays["network_label"], jnp.float32)
    found = output(config, weights, jnp.asarray(arrays["x"]), label, condition or None)
    assert relative(np.asarray(found), arrays[NETWORKS[file]]) < 1e-5


def test_an_imported_classifier_gives_the_originals_probabilities_and_gradients(tmp_path, capsys):
    case, arrays = golden("adm_classifier_attention")
    given = {**said(flags_of(case)), **CHAIN}
    del given["data.image_size"]  # the file says it, by the number of its positions
    source, folder = GOLDEN / "adm_classifier_attention.pt", tmp_path / "run"
    command = ["--mode", "import", "--import_from", str(source), "--workdir", str(folder)]
    command += [f"--config.{name}={value}" for name, value in given.items()]
    with jax.numpy_dtype_promotion("standard"):  # as main.py runs
        assert main.main(command) == 0
    classifier = load_classifier(folder, shape=(8, 8, 3), classes=10)
    t, label = jnp.asarray(arrays["t"] / 999, jnp.float32), jnp.asarray(arrays["y"])

    @jax.jit
    def log_prob(x):
        found = classifier.log_prob(x, t, label)
        return found.sum(), (classifier.logits(x, t), found)

    x = jnp.asarray(arrays["x"])
    (_, (logits, picked)), gradient = jax.value_and_grad(log_prob, has_aux=True)(x)
    assert relative(np.asarray(logits), arrays["logits"]) < 1e-5
    assert relative(np.asarray(picked), arrays["log_prob"]) < 1e-5
    assert relative(np.asarray(gradient), arrays["gradient"]) < 1e-4  # as the originals differ

    capsys.readouterr()
    assert main.main(["--config", str(folder / "config.py"), "--mode", "sample", "--workdir",
                      str(folder)]) == 2  # fmt: skip
    assert "--mode sample needs a model of the data" in capsys.readouterr().err


# Raw weights and averages beside them -------------------------------------------------------------


@pytest.mark.parametrize("given", ["model012345.pt", "ema_0.9999_012345.pt"])
def test_raw_weights_and_their_average_are_found_side_by_side(given):
    file = state_dict.read(GOLDEN / f"adm_64_style.{given}")
    assert file.step == 12345
    raw = torch_files.read(GOLDEN / "adm_64_style.model012345.pt")["out.2.bias"]
    np.testing.assert_array_equal(file.raw["out.2.bias"], np.asarray(raw))
    assert (np.asarray(file.raw["out.2.bias"]) != np.asarray(file.ema["out.2.bias"])).all()


def write(path: Path, weights: dict[str, np.ndarray]) -> Path:
    content = {
        name: writing.saved(array, str(i)) for i, (name, array) in enumerate(weights.items())
    }
    return writing.write_zip(path, content)


TINY = Flags(mult=(1,), attention=(), heads=1)


def write_run(folder: Path) -> Path:
    """Files of two steps and of another run; the bias of each is the length of its name."""
    weights = reference.make(TINY)
    for name in ("model000002", "ema_0.99_000002", "ema_0.9999_000002", "ema_0.5_000003",
                 "other.ema_0.99999_000002", "opt000002"):  # fmt: skip
        bias = np.full(6, len(name), np.float32)
        write(folder / f"{name}.pt", {**weights, "out.2.bias": bias})
    return folder


def test_files_of_another_step_or_run_are_not_taken(tmp_path):
    folder = write_run(tmp_path)
    bias = lambda weights: weights["out.2.bias"][0]
    found = state_dict.read(folder / "model000002.pt")
    assert (bias(found.raw), bias(found.ema)) == (11, 17)
    found = state_dict.read(folder / "ema_0.99_000002.pt")
    assert (bias(found.raw), bias(found.ema)) == (11, 15)
    assert found.settings["model.ema_rate"] == 0.99
    assert state_dict.read(folder / "ema_0.5_000003.pt").raw is None
    assert state_dict.read(folder / "other.ema_0.99999_000002.pt").raw is None


def test_a_file_of_other_shapes_beside_it_is_refused(tmp_path):
    folder = write_run(tmp_path)
    write(folder / "ema_0.9999_000002.pt", {**reference.make(TINY), "more": np.ones(1)})
    with pytest.raises(PretrainedError, match=r"ema_0.9999_000002.pt, beside it .* other shapes"):
        state_dict.read(folder / "model000002.pt")


# Published models ---------------------------------------------------------------------------------

QUICK = ("512x512_diffusion", "64x64_classifier")
COUNTS = {
    "cifar10_uncond_50M_500K": 52_546_438, "cifar10_uncond_vlb_50M_500K": 52_546_438,
    "imagenet64_uncond_100M_1500K": 121_063_942, "imagenet64_uncond_vlb_100M_1500K": 121_063_942,
    "imagenet64_cond_270M_250K": 273_049_350, "upsample_cond_500K": 279_792_390,
    "lsun_uncond_100M_1200K_bs128": 113_676_678, "lsun_uncond_100M_2400K_bs64": 113_676_678,
    "64x64_diffusion": 295_904_454, "128x128_diffusion": 421_529_606,
    "256x256_diffusion": 553_838_086, "256x256_diffusion_uncond": 552_814_086,
    "512x512_diffusion": 558_997_638, "64_256_upsampler": 311_795_910,
    "128_512_upsampler": 308_835_270, "lsun_bedroom": 552_814_086, "lsun_cat": 552_814_086,
    "lsun_horse": 552_814_086, "lsun_horse_nodropout": 552_814_086,
    "64x64_classifier": 65_438_568, "128x128_classifier": 42_568_040,
    "256x256_classifier": 54_096_360, "512x512_classifier": 54_448_360,
}  # fmt: skip


@pytest.mark.parametrize("name", but_slow(COUNTS, *COUNTS.keys() - set(QUICK)))
def test_configs_have_the_published_number_of_parameters(name):
    config = openai.get_config(name)
    wanted = paths_and_shapes(models.build_any(config), config)
    assert sum(map(np.prod, wanted.values())) == COUNTS[name]


def published_flags(name) -> Flags:
    row = openai.PUBLISHED[name]
    return Flags(
        row.size, row.nf, row.mult, row.blocks, row.attention, row.heads, 0, row.wide,
        row.order == "parts_first", row.scale_shift, row.updown, True, row.classes, True, row.small,
        "attention" if row.classifier else "",
    )  # fmt: skip


@pytest.mark.parametrize("name", COUNTS)
def test_a_published_model_is_known_by_its_shapes_and_by_its_name(name):
    flags = published_flags(name)
    told = layout.infer(reference.shapes(flags))
    wanted = schema.flatten(openai.get_config(name))
    by_name = published.complete(told, Path(f"{name}.pt"))
    assert by_name.facts == {key: wanted[key] for key in published.MEANT}
    by_shapes = published.complete(told, Path("mine.pt"))
    assert not by_shapes.facts
    assert not by_shapes.unsaid
    found = {**schema.flatten(schema.get_default()), **by_shapes.assumed}
    assert {key: found[key] for key in published.MEANT} == by_name.facts
    assert "taken from the published model of these shapes" in by_shapes.note


def test_a_published_name_with_other_shapes_is_not_believed():
    told = layout.infer(reference.shapes(FLAGS["plain"]))
    found = published.complete(told, Path("64x64_diffusion.pt"))
    assert not found.facts
    assert ("model.num_heads", "model.attention_head_dim") in found.unsaid


def test_a_variant_is_the_same_whatever_came_before():
    both = openai.get_config("64_256_upsampler,64x64_classifier,lsun_cat")
    assert both == openai.get_config("lsun_cat")


def test_a_config_that_differs_from_the_published_model_of_the_shapes_is_doubted():
    config = openai.get_config("128x128_diffusion")
    known = published.complete(
        layout.infer(reference.shapes(published_flags("128x128_diffusion"))), Path("mine.pt")
    )
    checkpoint = Checkpoint("openai", {}, None, {}, assumed=known.assumed)
    assert matching.doubt(checkpoint, config) == ""
    config.model.num_heads, config.model.attention_order = 8, "parts_first"
    told = matching.doubt(checkpoint, config)
    assert "model.num_heads is 8 in the config and 4 there" in told
    assert "model.attention_order is 'parts_first' in the config and 'heads_first' there" in told


def test_a_config_that_differs_from_the_published_model_of_the_name_is_refused():
    config = openai.get_config("128x128_diffusion")
    told = layout.infer(reference.shapes(published_flags("128x128_diffusion")))
    facts = published.complete(told, Path("128x128_diffusion.pt")).facts
    checkpoint = Checkpoint(
        "openai", {**told.settings, **facts}, None, {}, attention=told.attention
    )
    assert not matching.disagreements(checkpoint, config)
    config.model.attention_order = "parts_first"
    assert set(matching.disagreements(checkpoint, config)) == {"model.attention_order"}


MADE_SMALL = (
    "cifar10_uncond_vlb_50M_500K",
    "512x512_diffusion",
    "64_256_upsampler",
    "128x128_classifier",
)


@pytest.mark.parametrize("name", but_slow(COUNTS, *COUNTS.keys() - set(MADE_SMALL)))
def test_every_model_builds_and_can_be_made_small(name):
    schema.check(openai.get_config(name))
    experiment = Experiment.of(openai.get_config(f"{name},smoke"))
    assert experiment.classifies == ("classifier" in name)


# What is refused ----------------------------------------------------------------------------------


def test_one_error_lists_all_that_is_missing():
    with pytest.raises(PretrainedError) as error:
        open_checkpoint(GOLDEN / "adm_upsampler_64_256_style.pt")
    told = str(error.value)
    assert (
        "set model.num_heads or model.attention_head_dim, model.attention_order, sde.schedule, "
        "sde.num_scales, model.rescale_timesteps, data.image_size, data.condition" in told
    )
    assert "\n" not in told


def test_what_was_said_is_not_asked_again():
    given = {"model.num_heads": 4, "sde.schedule": "linear", "data.image_size": 8,
             "data.condition": (4, 4, 3), "model.rescale_timesteps": False}  # fmt: skip
    override = lambda config: config.update_from_flattened_dict(given)
    with pytest.raises(PretrainedError, match=r"set model\.attention_order, sde\.num_scales \("):
        open_checkpoint(GOLDEN / "adm_upsampler_64_256_style.pt", None, override, given)


def test_a_config_must_say_the_order():
    config = config_of(Flags(mult=(1, 1), heads=4, attention=(8, 4), classes=10, small=4))
    config.model.attention_order = "unsaid"
    with pytest.raises(PretrainedError, match=r"set model\.attention_order \("):
        open_checkpoint(GOLDEN / "adm_upsampler_64_256_style.pt", config)
    with pytest.raises(PretrainedError, match=r"model\.attention_order must be heads_first"):
        state_dict.params(drawn("plain"), models.build(config), config)


def test_a_classifier_is_no_network_and_a_network_no_classifier():
    network, classifier = FLAGS["old order, heads by number"], FLAGS["pool attention"]
    for flags, weights, words in (
        (network, drawn("pool attention"), "the weights of a classifier, and the config is of mod"),
        (classifier, drawn("old order, heads by number"), "the weights of a network of the data, "),
    ):
        with pytest.raises(PretrainedError, match=words) as error:
            output(config_of(flags), weights, jnp.ones((1, 8, 8, 3)), jnp.ones(1))
        assert "\n" not in str(error.value)


def test_a_classifier_is_not_loaded_as_a_score():
    config = config_of(
        flags_of(golden("adm_classifier_attention")[0])._replace(mult=(1, 1), classes=10)
    )
    with pytest.raises(PretrainedError, match=r"weights of a classifier, which has no score"):
        load(GOLDEN / "adm_classifier_attention.pt", config)


def test_joint_rows_must_be_three_parts():
    weights = dict(drawn("old order, heads by number"))
    name = "middle_block.1.qkv.weight"
    weights[name] = np.concatenate([weights[name], weights[name][:1]])
    with pytest.raises(MismatchError, match=r"middle_block\.1\.qkv\.weight: \[193, 64, 1\]"):
        output(config_of(FLAGS["old order, heads by number"]), weights, 0, 0)


HOSTILE = {
    "no entries": {layout.MARK: (128, 32)},
    "a scalar": {layout.MARK: ()},
    "far apart": {layout.MARK: (128, 32), "input_blocks.9999.0.in_layers.2.weight": (32, 32, 3, 3)},
    "no channels": {**reference.shapes(TINY), "input_blocks.0.0.weight": ()},
    "many blocks": reference.shapes(TINY._replace(blocks=200)),
    "no output": {k: v for k, v in reference.shapes(TINY).items() if k != "out.2.weight"},
    "zero width": {**reference.shapes(TINY), layout.MARK: (128, 0)},
    "half a classifier": {
        k: v for k, v in reference.shapes(FLAGS["pool attention"]).items() if "out" not in k
    },
}


@pytest.mark.parametrize("name", HOSTILE)
def test_other_shapes_give_a_reason_and_no_settings(name):
    found = layout.infer(HOSTILE[name])
    assert not found.settings
    assert found.unknown


def test_what_is_no_state_dict_is_refused(tmp_path):
    content = {layout.MARK: writing.saved(np.zeros((4, 4)), "0"), "more": {"a": 1}}
    path = writing.write_zip(tmp_path / "odd.pt", content)
    assert state_dict.recognises(path)
    with pytest.raises(PretrainedError, match=r"odd\.pt holds more than tensors"):
        open_checkpoint(path)


def test_a_text_setting_is_read_as_a_number():
    assert command_line.parse("model.ch_mult", "(.5,1,1)") == (0.5, 1, 1)
