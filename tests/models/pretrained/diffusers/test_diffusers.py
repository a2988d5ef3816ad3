"""diffusers' own networks and directories against ours, both ways."""

from __future__ import annotations

import functools
import json
import shutil
import struct
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

import models
from configs import schema
from models.layers.resampling import Plain
from models.pretrained.base import MismatchError, paths_and_shapes
from models.pretrained.diffusers import directory
from models.pretrained.diffusers.config import settings
from models.pretrained.diffusers.names import modernized, names
from models.pretrained.files.tensors import PretrainedError
from tests.slow import but_slow

GOLDEN = Path(__file__).parents[3] / "golden" / "diffusers"
with np.load(GOLDEN / "unets.npz") as _arrays:
    UNETS = dict(_arrays)
CASES: dict[str, Any] = json.loads(str(UNETS["cases"]))
DDPM, NCSNPP = "ddpm", "ncsnpp"
SCHEDULERS = {
    "fourier": {"_class_name": "ScoreSdeVeScheduler", "sigma_max": 50.0},
    "positional": {"_class_name": "DDPMScheduler"},
}


@pytest.fixture(autouse=True)
def _full_precision():
    with jax.default_matmul_precision("highest"):
        yield


def config_of(found: dict[str, Any]) -> ConfigDict:
    config = schema.get_default()
    config.update_from_flattened_dict(found)
    schema.check(config)
    return config


def unet_of(case: str) -> dict[str, Any]:
    return CASES[case]["config"]


def drawn(case: str) -> dict[str, np.ndarray]:
    """Weights by diffusers' names, drawn as README.md says."""
    stream = np.random.RandomState(CASES[case]["seed"])

    def weight(shape: list[int]) -> np.ndarray:
        draw = stream.standard_normal(shape)
        draw = 1 + 0.2 * draw if len(shape) == 1 else draw / np.sqrt(np.prod(shape) / shape[0])
        return draw.astype(np.float32)

    return {name: weight(shape) for name, shape in CASES[case]["weights"].items()}


def shapes(network: Any, config: ConfigDict) -> dict[str, tuple[int, ...]]:
    return {"/".join(path): shape for path, shape in paths_and_shapes(network, config).items()}


@functools.cache
def loaded(case: str) -> tuple[ConfigDict, Any, Any]:
    """Config, network and parameters of a case."""
    config = config_of(settings(unet_of(case), SCHEDULERS[unet_of(case)["time_embedding_type"]]))
    network = models.build(config)
    return config, network, directory.params(drawn(case), network, config)


def relative(found: Any, expected: Any) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@functools.cache
def evaluate(network: Any) -> Any:
    """Whatever takes less compilation: DDPM's cases share most of their operations' shapes."""
    quick = {"xla_backend_optimization_level": 0}
    shared = isinstance(network.style.resample, Plain)
    return network.apply if shared else jax.jit(network.apply, compiler_options=quick)


def output(network: Any, params: Any, x: Any, t: Any, fourier: bool, labels: Any = None) -> Any:
    """diffusers' output for its inputs [b, c, h, w] and t, from our network."""
    x, t = jnp.asarray(x).transpose(0, 2, 3, 1), jnp.asarray(t)
    raw = evaluate(network)({"params": params}, x, jnp.log(t) if fourier else t, labels)
    raw = raw / t[:, None, None, None] if fourier else raw
    return np.asarray(raw.transpose(0, 3, 1, 2))


# Networks ----------------------------------------------------------------------------------------


REPEATING = (
    "ddpm layers_per_block", "ncsnpp layers_per_block", "ncsnpp center_input_sample",
    "ncsnpp num_class_embeds", "ncsnpp attention", "ddpm channels",
    "ddpm attention_head_dim", "ddpm modern", "ddpm",  # whole directories of these are read below
)  # fmt: skip


@pytest.mark.parametrize("case", but_slow(CASES, *REPEATING))
def test_a_network_gives_the_output_of_diffusers(case):
    config, network, params = loaded(case)
    labels = jnp.array([1, 4]) if config.model.num_classes else None
    x, t, expected = (UNETS[f"{case}/{name}"] for name in ("x", "t", "y"))
    fourier = unet_of(case)["time_embedding_type"] == "fourier"
    found = output(network, params, x, t, fourier, labels)
    # The parity rule of the golden files; measured: below 1e-6.
    assert relative(found, expected) < 1e-5


# Same parameters, another function of them.
SWITCHES = [case for case in CASES if CASES[case]["weights"] == CASES[DDPM]["weights"]][1:]


@pytest.mark.parametrize("case", SWITCHES)
def test_every_option_changes_the_function(case):
    plain, other = loaded(DDPM), loaded(case)
    x, t = UNETS[f"{DDPM}/x"], UNETS[f"{DDPM}/t"]
    outputs = [output(network, plain[2], x, t, False) for _, network, _ in (plain, other)]
    # At least an order above the parity of the test before, so that it would notice.
    assert relative(outputs[1], outputs[0]) > 1e-4


COUNTS = {
    "google/ddpm-cifar10-32": (35_746_307, 32, (128, 256, 256, 256), {1}),
    "google/ddpm-cat-256": (113_673_219, 256, (128, 128, 256, 256, 512, 512), {4}),
}


@pytest.mark.parametrize("name", COUNTS)
def test_the_published_ddpm_networks_have_the_published_number_of_parameters(name):
    count, size, widths, attended = COUNTS[name]

    def kinds(way: str) -> list[str]:
        return [f"{'Attn' * (k in attended)}{way}Block2D" for k in range(len(widths))]

    unet = {
        "_class_name": "UNet2DModel", "sample_size": size, "block_out_channels": list(widths),
        "down_block_types": kinds("Down"), "up_block_types": kinds("Up")[::-1],
        "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1, "norm_eps": 1e-6,
        "attention_head_dim": None, "mid_block_scale_factor": 1,
    }  # fmt: skip
    config = config_of(settings(unet, {"_class_name": "DDPMScheduler"}))
    assert sum(map(np.prod, shapes(models.build(config), config).values())) == count


def test_ho_et_al_is_what_the_defaults_of_its_settings_say():
    config = schema.get_default()
    config.update_from_flattened_dict({"model.name": "ddpm_ho", "model.num_res_blocks": 2})
    assert sum(map(np.prod, shapes(models.build(config), config).values())) == 35_746_307


def test_a_head_size_that_does_not_divide_is_refused():
    config = config_of(settings({**unet_of(DDPM), "attention_head_dim": 3}, None))
    with pytest.raises(ValueError, match=r"model\.attention_head_dim must divide .* got 3"):
        models.build(config)


# Names and layouts -------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_names_are_one_to_one(case):
    config, network, _ = loaded(case)
    known = names(config, shapes(network, config))
    assert sorted(known.values()) == sorted(CASES[case]["weights"])


def test_old_names_of_attention_are_understood():
    old = ("query.weight", "key.bias", "value.weight", "proj_attn.bias", "group_norm.weight")
    new = ("to_q.weight", "to_k.bias", "to_v.weight", "to_out.0.bias", "group_norm.weight")
    for prefix in ("mid_block.attentions.0", "up_blocks.11.attentions.2"):
        assert [modernized(f"{prefix}.{n}") for n in old] == [f"{prefix}.{n}" for n in new]
    assert modernized("query.weight") == "query.weight"


# Directories that diffusers wrote ----------------------------------------------------------------


@functools.cache
def directories() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "directories.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("name, path", [("ve", "ve"), ("ve", "ve/unet"), ("ddpm", "ddpm")])
def test_a_directory_gives_the_output_of_diffusers(name, path):
    assert directory.recognises(GOLDEN / path)
    checkpoint = directory.read(GOLDEN / path)
    config = config_of(checkpoint.settings)
    network = models.build(config)
    x, t = (directories()[f"{name}/{key}"] for key in ("x", "t"))
    assert checkpoint.step == 0
    assert (checkpoint.raw is None) == (name == "ddpm")
    for key, weights in (("raw", checkpoint.raw), ("ema", checkpoint.ema)):
        if weights is not None:
            params = directory.params(weights, network, config)
            found = output(network, params, x, t, name == "ve")
            assert relative(found, directories()[f"{name}/{key}"]) < 1e-5


def test_the_scheduler_gives_the_sde():
    ve = config_of(directory.read(GOLDEN / "ve").settings)
    assert (ve.sde.name, ve.training.continuous, ve.model.scale_by_sigma) == ("ve", True, True)
    assert (ve.sde.sigma_min, ve.sde.sigma_max, ve.sde.num_scales) == (0.01, 50.0, 100)
    assert (ve.sampling.predictor, ve.sampling.corrector) == ("reverse_diffusion", "langevin")
    assert (ve.sampling.snr, ve.sampling.n_steps_each) == (0.16, 1)
    vp = config_of(directory.read(GOLDEN / "ddpm").settings)
    assert (vp.sde.name, vp.training.continuous, vp.data.centered) == ("vp", False, True)
    assert (vp.sde.beta_min, vp.sde.beta_max, vp.sde.num_scales) == (0.1, 20.0, 1000)
    assert vp.sampling.predictor == "ancestral"


def test_other_paths_are_not_recognised(tmp_path):
    (tmp_path / "config.json").write_text('{"_class_name": "UNet2DConditionModel"}')
    for path in (tmp_path, tmp_path / "config.json", tmp_path / "nothing", GOLDEN):
        assert not directory.recognises(path)
        with pytest.raises(PretrainedError, match="must be a diffusers directory"):
            directory.read(path)


def test_channels_that_are_taken_but_not_given_are_an_image_beside_the_example():
    found = settings({**unet_of(DDPM), "in_channels": 7, "out_channels": 4}, None)
    size = unet_of(DDPM)["sample_size"]
    assert found["data.num_channels"] == 4
    assert found["model.condition"] == "image"
    assert found["data.condition"] == (size, size, 3)
    twice = settings({**unet_of(DDPM), "in_channels": 4, "out_channels": 8}, None)
    assert twice["data.num_channels"] == 4
    assert twice["model.learn_variance"]
    assert twice["model.condition"] == "none"


def test_widths_need_not_be_multiples_of_the_first():
    assert settings({**unet_of(DDPM), "block_out_channels": [8, 12]}, None)["model.ch_mult"] == (
        1, 1.5)  # fmt: skip


# Options and files that are refused --------------------------------------------------------------

REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "block types": (DDPM, {"down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"]}, "Cross"),
    "not mirrored": (DDPM, {"up_block_types": ["UpBlock2D", "AttnUpBlock2D"]}, "mirror"),
    "block types of the wrong kind": (DDPM, {"up_block_types": [1, {}]}, "up_block_types"),
    "widths of the wrong kind": (DDPM, {"block_out_channels": "ab"}, "block_out_channels"),
    "endless blocks": (DDPM, {"layers_per_block": 10**12}, "layers_per_block"),
    "learned times": (DDPM, {"time_embedding_type": "learned"}, "time_embedding_type"),
    "scale and shift": (DDPM, {"resnet_time_scale_shift": "scale_shift"}, "scale_shift"),
    "activation": (DDPM, {"act_fn": "gelu"}, "act_fn"),
    "embedding": (DDPM, {"time_embedding_dim": 7}, "time_embedding_dim"),
    "resizing": (DDPM, {"downsample_type": "resnet"}, "downsample_type"),
    "middle": (DDPM, {"mid_block_type": None}, "mid_block_type"),
    "scale of the middle": (DDPM, {"mid_block_scale_factor": 3}, "mid_block_scale_factor"),
    "channels": (DDPM, {"out_channels": 4}, "out_channels"),
    "channels of pyramids": (NCSNPP, {"out_channels": 2}, "out_channels"),
    "size": (DDPM, {"sample_size": None}, "sample_size"),
    "eps": (NCSNPP, {"norm_eps": 1e-5}, "norm_eps"),
    "heads": (NCSNPP, {"attention_head_dim": 8}, "attention_head_dim"),
    "narrow attention": (
        NCSNPP,
        {"down_block_types": ["SkipDownBlock2D", "AttnSkipDownBlock2D"],
         "up_block_types": ["AttnSkipUpBlock2D", "SkipUpBlock2D"]}, "128 or more"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_an_option_without_counterpart_is_named(name):
    case, change, word = REFUSED[name]
    with pytest.raises(PretrainedError, match=word) as caught:
        settings({**unet_of(case), **change}, None)
    assert "\n" not in str(caught.value)


SCHEDULES: dict[str, tuple[str, dict[str, Any], str]] = {
    "another schedule": (DDPM, {"beta_schedule": "sigmoid"}, "beta_schedule"),
    "own betas": (DDPM, {"trained_betas": [0.1, 0.2]}, "trained_betas"),
    "learned prediction": (DDPM, {"prediction_type": "flow"}, "prediction_type"),
    "another sampler": (DDPM, {"_class_name": "EDMEulerScheduler"}, "EDMEulerScheduler"),
    "VE for times": (DDPM, {"_class_name": "ScoreSdeVeScheduler"}, "positional"),
    "VP for noise levels": (NCSNPP, {"_class_name": "DDPMScheduler"}, "fourier"),
    "word for a number": (NCSNPP, {"sigma_max": "large"}, "sigma_max"),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_without_counterpart_is_named(name):
    case, change, word = SCHEDULES[name]
    unet = unet_of(case)
    with pytest.raises(PretrainedError, match=word):
        settings(unet, {**SCHEDULERS[unet["time_embedding_type"]], **change})


def test_predictions_of_the_scheduler_are_understood():
    for theirs, ours in {"epsilon": "published", "sample": "data", "v_prediction": "v"}.items():
        scheduler = {"_class_name": "DDIMScheduler", "prediction_type": theirs}
        assert settings(unet_of(DDPM), scheduler)["model.prediction"] == ours


@pytest.fixture
def copied(tmp_path) -> Path:
    return Path(shutil.copytree(GOLDEN / "ve", tmp_path / "ve"))


def _truncate(folder: Path) -> None:
    file = folder / "unet/diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-7])


def _declare_ten_gigabytes(folder: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [5 << 29], "data_offsets": [0, 5 << 31]}})
    file = folder / "unet/diffusion_pytorch_model.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header.encode())


def _call_system(folder: Path) -> None:
    (folder / "unet/diffusion_pytorch_model.safetensors").unlink()
    pickled = b"cposix\nsystem\n(S'touch executed'\ntR."
    (folder / "unet/diffusion_pytorch_model.bin").write_bytes(pickled)


DAMAGED = {
    "truncated": (_truncate, "safetensors"),
    "10 GB in a 1 kB file": (_declare_ten_gigabytes, "safetensors"),
    "runs a command": (_call_system, "diffusion_pytorch_model.bin"),
    "no weights": (lambda f: (f / "unet/diffusion_pytorch_model.safetensors").unlink(), "none of"),
    "damaged scheduler": (
        lambda f: (f / "scheduler/scheduler_config.json").write_text("[" * 10**5),
        "scheduler_config.json"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_directory_is_refused_at_once_in_one_line(copied, monkeypatch, name):
    monkeypatch.chdir(copied.parent)
    damage, word = DAMAGED[name]
    damage(copied)
    before = sorted(copied.parent.rglob("*"))
    start = time.process_time()
    with pytest.raises(PretrainedError, match=word) as caught:
        directory.read(copied)
    assert time.process_time() - start < 1
    assert "\n" not in str(caught.value)
    assert sorted(copied.parent.rglob("*")) == before


def test_weights_of_another_network_are_listed_one_by_one():
    config, network, _ = loaded(DDPM)
    weights = drawn(DDPM)
    weights["conv_in.bias"] = np.zeros(9, np.float32)
    weights["extra.weight"] = weights.pop("conv_out.weight")
    with pytest.raises(MismatchError) as caught:
        directory.params(weights, network, config)
    first, *rest = str(caught.value).splitlines()
    assert "1 of another shape, 1 missing, 1 not wanted" in first
    assert [line.partition(":")[0] for line in rest] == [
        "conv_in.bias", "conv_out.weight", "extra.weight"
    ]  # fmt: skip
    whole = {**drawn(DDPM), "conv_out.bias": np.zeros(3, np.int64)}
    with pytest.raises(PretrainedError, match="int64, must be floating-point"):
        directory.params(whole, network, config)


# Export ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [c for c in CASES if c != "ncsnpp positional"])
def test_what_is_exported_is_imported_again_bitwise(tmp_path, case):
    config, network, params = loaded(case)
    directory.write_pipeline(config, params, tmp_path / "out")
    checkpoint = directory.read(tmp_path / "out")
    assert schema.flatten(config_of(checkpoint.settings)) == schema.flatten(config)
    weights = drawn(case)
    assert checkpoint.ema is not None
    assert set(checkpoint.ema) == set(weights)
    assert all(np.array_equal(checkpoint.ema[name], weights[name]) for name in weights)
    again = directory.params(checkpoint.ema, network, config)
    assert jax.tree.structure(again) == jax.tree.structure(params)
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, again, params)))


def test_an_export_has_the_files_of_a_pipeline_and_nothing_else(tmp_path):
    config, _, params = loaded(NCSNPP)
    notes = directory.write_pipeline(config, params, tmp_path / "out")
    files = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert files == [
        "out/model_index.json",
        "out/scheduler/scheduler_config.json",
        "out/unet/config.json",
        "out/unet/diffusion_pytorch_model.safetensors",
    ]
    index = json.loads((tmp_path / "out/model_index.json").read_text())
    assert index["scheduler"] == ["diffusers", "ScoreSdeVeScheduler"]
    # This one was trained on [-1, 1], where the pipeline takes pictures to be in [0, 1].
    assert "need rescaling" in notes[0]
    with pytest.raises(FileExistsError):
        directory.write_pipeline(config, params, tmp_path / "out")


UNKNOWN: dict[str, tuple[str, dict[str, Any], str]] = {
    "network": (DDPM, {"model.name": "ddpm"}, r"model\.name='ddpm'"),
    "kernel": (NCSNPP, {"model.fir_kernel": (1, 2, 1)}, r"model\.fir_kernel=\(1, 2, 1\)"),
    "blocks": (NCSNPP, {"model.resblock_type": "ddpm"}, r"model\.resblock_type='ddpm'"),
    "pyramid": (NCSNPP, {"model.progressive": "none"}, r"model\.progressive='none'"),
    "activation": (DDPM, {"model.nonlinearity": "elu"}, r"model\.nonlinearity='elu'"),
    "SDE": (DDPM, {"sde.name": "subvp", "training.continuous": True}, r"sde\.name='subvp'"),
    "continuous VP": (DDPM, {"training.continuous": True}, r"training\.continuous=True"),
    "raw score": (NCSNPP, {"model.scale_by_sigma": False}, r"model\.scale_by_sigma=False"),
    "conditioning": (DDPM, {"model.conditioning": "log_sigma"}, r"model\.conditioning"),
    "prediction": (DDPM, {"model.prediction": "edm"}, r"model\.prediction='edm'"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_setting_that_diffusers_lacks_is_named_and_nothing_is_written(tmp_path, name):
    case, change, word = UNKNOWN[name]
    config = config_of({**schema.flatten(loaded(case)[0]), **change})
    with pytest.raises(PretrainedError, match=word) as caught:
        directory.write_pipeline(config, loaded(case)[2], tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_prediction_spelt_out_is_the_published_one(tmp_path):
    config = config_of({**schema.flatten(loaded(NCSNPP)[0]), "model.prediction": "scaled_score",
                        "model.conditioning": "log_sigma", "sde.name": "vesde"})  # fmt: skip
    directory.write_pipeline(config, loaded(NCSNPP)[2], tmp_path / "out")
    assert directory.recognises(tmp_path / "out")
