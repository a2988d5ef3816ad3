"""An autoencoder and a model in its latents through the commands: trained, sampled, refused."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import data_lib
import main
from configs import schema
from configs.changed import with_settings
from configs.recorded import Recorded
from data_lib import Images
from models.latents import LatentCodec, digest
from modes import latent_data
from modes.autoencoders import load_autoencoder
from modes.experiment import Experiment
from modes.from_data import resolved
from modes.latent_data import in_latents
from runtime_lib.workdir import read_config
from sde_lib.measurements.masks import Mask
from tests import tiny
from tests.modes import known
from tests.slow import but_slow, slow
from train_lib import feed

GOLDEN = Path(__file__).parents[1] / "golden" / "latent"
AUTOENCODER = {
    "model.nf": 8, "model.norm_num_groups": 4, "model.add_attention": False, "optim.warmup": 0,
    "training.n_iters": 60, "training.log_freq": 30, "training.eval_freq": 30,
    "training.snapshot_freq": 60, "training.snapshot_freq_for_preemption": 60,
    "training.batch_size": 64,
}  # fmt: skip
LATENT = {
    "data.codec": "autoencoder", "model.name": "tiny", "training.n_iters": 4,
    "training.snapshot_freq": 4, "training.eval_freq": 4, "sampling.num_steps": 3,
}  # fmt: skip


def command(variant, mode, folder, settings):
    run = ["--config", f"{tiny.CONFIG}:{variant}", "--mode", mode, "--workdir", str(folder)]
    return [*run, *(f"--config.{name}={value}" for name, value in settings.items())]


@pytest.fixture(scope="module", autouse=True)
def _as_main_runs(as_main_runs):
    tiny.register()


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("autoencoder") / "run"
    assert main.main(command("autoencoder,smoke", "train", folder, AUTOENCODER)) == 0
    return folder


@pytest.fixture(scope="module")
def latent(autoencoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("latent") / "run"
    given = {**LATENT, "data.autoencoder": autoencoder}
    assert main.main(command("smoke", "train", folder, given)) == 0
    return folder


@pytest.fixture(scope="module")
def experiment(latent):
    config = with_settings(schema.get_default(), read_config(latent))
    return Experiment.of(Recorded.of(config))


@pytest.fixture(scope="module")
def splits(experiment):
    return data_lib.load(experiment.config.data)


def refused(capsys, *arguments):
    capsys.readouterr()
    assert main.main(list(arguments)) == 2
    told = capsys.readouterr().err.strip()
    assert "\n" not in told
    return told


def logged(folder):
    lines = (folder / "logs").glob("*.jsonl")
    return [json.loads(line) for path in lines for line in path.read_text().splitlines()]


def test_training_an_autoencoder_tells_what_diffusion_needs_to_know(autoencoder):
    told = [line for line in logged(autoencoder) if "eval_psnr" in line]
    assert told[-1]["eval_psnr"] > told[0]["eval_psnr"]
    assert {"eval_kl", "eval_nll", "eval_posterior_std", "eval_latent_std_1"} <= told[-1].keys()
    assert not any("by_time" in name for line in logged(autoencoder) for name in line)
    assert (autoencoder / "snapshots" / "reconstructions_00000060.png").exists()


def test_drawn_latents_have_mean_0_and_deviation_1_and_are_fresh(experiment, latent, splits):
    """Over an epoch, of each channel; the noise is drawn, so that this holds to 1 in 70."""
    laws = in_latents(experiment.config, splits, latent, print)
    assert laws.train.drawn
    config = with_settings(experiment.config, {"training.batch_size": 100})
    batches = feed.training_batches(laws.train, config, 0)
    z = np.concatenate([b["image"] for b in itertools.islice(batches, len(splits.train) // 100)])
    np.testing.assert_allclose(z.mean((0, 1, 2)), 0, atol=0.02)
    np.testing.assert_allclose(z.std((0, 1, 2)), 1, atol=0.02)
    one = laws.train.take(np.zeros(1, int))
    config = with_settings(experiment.config, {"training.batch_size": 1})
    first, again = itertools.islice(feed.training_batches(one, config, 0), 2)
    assert np.abs(first["image"] - again["image"]).min() > 0


def test_the_pipeline_ends_with_the_autoencoder_itself(experiment, splits, autoencoder):
    """decode(encode(x)) through codec and scale is the autoencoder alone."""
    known, x = load_autoencoder(str(autoencoder)), splits.test.pixels[:5] / np.float32(16)
    codec = experiment.codec
    z = codec.encode(x)
    assert z.shape[1:] == experiment.shape == (4, 4, 2)
    alone = known.network.apply({"params": known.params}, jnp.asarray(2 * x - 1))
    np.testing.assert_allclose(codec.decode(z), (np.asarray(alone) + 1) / 2, atol=1e-5)
    traced = jax.jit(codec.decode)(jnp.asarray(z))
    np.testing.assert_allclose(traced, codec.decode(z), atol=1e-5)


def test_latents_are_read_back_and_never_those_of_other_data(
    experiment, latent, splits, monkeypatch, tmp_path
):
    shutil.copy(latent / latent_data.FILE, tmp_path)
    before = in_latents(experiment.config, splits, tmp_path, print)
    calls = []
    coded = LatentCodec.moments
    monkeypatch.setattr(
        LatentCodec, "moments", lambda self, x: calls.append(len(x)) or coded(self, x)
    )
    latent_data._KEPT.clear()
    again = in_latents(experiment.config, splits, tmp_path, print)
    assert not calls
    assert np.array_equal(again.train.pixels, before.train.pixels)
    other = data_lib.Splits(splits.train.take(np.arange(9)), splits.test.take([0, 1]), "others")
    found = in_latents(experiment.config, other, tmp_path, print)
    assert sum(calls) == 11
    np.testing.assert_allclose(found.train.pixels, before.train.pixels[:9], atol=1e-5)


def test_samples_are_pictures(latent):
    assert main.main(command("smoke", "sample", latent, LATENT)) == 0
    with np.load(latent / "samples" / "samples.npz") as found:
        assert found["samples"].shape == (4, 8, 8, 1)
        assert np.isfinite(found["samples"]).all()
        assert found["range"].tolist() == [0, 1]
    assert (latent / "samples" / "samples.png").exists()


def test_measurements_act_on_decoded_pictures(latent, capsys):
    """By methods for any operator; those for linear ones refuse."""
    own = {"inverse.samples": 1, "eval.num_images": 2, "inverse.noise": 0.1}
    given = {**LATENT, **own, "inverse.method": "dps", "sampling.predictor": "ddim"}
    assert main.main(command("smoke", "reconstruct", latent, given)) == 0
    told = refused(capsys, *command("smoke", "reconstruct", latent, {**LATENT, **own}))
    assert "inverse.method='mmps' needs data that are linear in what is diffused" in told


@pytest.fixture(scope="module")
def own_config(latent):
    return with_settings(schema.get_default(), read_config(latent), {"model.prediction": "edm"})


SLOW = (
    *known.LONG, "predictor and corrector", "single step", "worse model", "renoised", "classifier",
)  # fmt: skip


@pytest.mark.parametrize("case", but_slow(known.CASES, *SLOW))
def test_any_sampler_and_guidance_draws_latents(own_config, case):
    """Their decoded centres: those of no class are fifty deviations away."""
    row = known.CASES[case]
    made, labels = row.model(own_config), (0, 1, 0, 1)
    m = np.asarray(known.signs(np.asarray(labels), np.zeros((4, 4, 4, 2), np.float32)))
    m = np.broadcast_to(m, (4, 4, 4, 2))
    centres = [made.codec.decode(z) for z in (row.drawn(made, m, labels), 0 * m)]
    apart = np.abs(centres[0] - centres[1]).max()
    np.testing.assert_allclose(made.sample(4, labels=labels), centres[0], atol=0.06 * apart)


INVERSE = {
    "red_diff": known.inverse("red_diff", lr=0.2, weight=0.01),
    "likelihood": known.inverse("likelihood") | known.DDIM,
    "dps": known.inverse("dps") | known.DDIM,
    "daps": known.inverse("daps", langevin=5, langevin_step=1e-3, langevin_end=1e-4),
}


@pytest.mark.parametrize("case", but_slow(INVERSE, "dps", "daps", "likelihood"))
def test_measurements_of_pictures_lead_latents(own_config, case):
    """To a misfit of half that of latents that know nothing of them."""
    made = known.model(own_config, {"model.sigma_data": 1.0, **INVERSE[case]})
    z, other = np.random.default_rng(0).standard_normal((2, 4, 4, 4, 2), np.float32)
    truth, unled = made.codec.decode(z), made.codec.decode(other)
    found = made.reconstruct(truth * known.LEFT, Mask(known.LEFT), noise=0.05)[:, 0]
    misfit = lambda x: np.sqrt(np.mean(((x - truth) * known.LEFT) ** 2))
    assert misfit(found) < 0.5 * misfit(unled)


@slow
def test_a_function_of_pictures_leads_latents(own_config):
    few = {"sampling.predictor": "ddim"}
    unled = known.model(own_config, few).sample(4, labels=(0, 1))
    led = known.led(own_config, 1e4).sample(4, labels=(0, 1))
    assert (led.mean((1, 2, 3)) > unled.mean((1, 2, 3)) + 0.005).all()


@pytest.mark.parametrize("method", but_slow(["sdedit", "ddim", "flow"], "ddim", "flow"))
def test_edits_begin_at_latents_of_the_examples(latent, experiment, method):
    given = {**LATENT, "edit.samples": 1, "edit.strength": 0.4, "eval.num_images": 2,
             "edit.method": method}  # fmt: skip
    finer = {} if method == "sdedit" else {"sampling.predictor": "ddim", "sampling.num_steps": 200}
    assert main.main(command("smoke", "edit", latent, given | finer)) == 0
    with np.load(latent / "edits" / "edits.npz") as found:
        edits, examples = found["edits"], found["examples"]
    assert edits.shape == (2, 1, 8, 8, 1)
    apart = np.abs(edits[:, 0] - experiment.codec.decode(experiment.codec.encode(examples)))
    # The way up leads back, given the same classes; noise does not.
    assert (apart.max() < 0.02) == (method != "sdedit")


def test_what_latents_do_not_have_is_refused_in_one_line(latent, autoencoder, capsys, tmp_path):
    likelihood = refused(capsys, *command("smoke", "likelihood", latent, LATENT))
    assert "a likelihood of latents is none of pictures" in likelihood
    np.save(tmp_path / "part.npy", np.full((8, 8, 1), np.nan))
    impute = {**LATENT, "sampling.impute": tmp_path / "part.npy"}
    assert "sampling.impute must be empty" in refused(
        capsys, *command("smoke", "sample", latent, impute)
    )
    flip = {**LATENT, "data.autoencoder": autoencoder, "data.random_flip": True}
    assert "data.random_flip must be False" in refused(
        capsys, *command("smoke", "train", tmp_path / "flip", flip)
    )
    assert "needs a model of the data, and model.name='autoencoder' is an autoencoder" in refused(
        capsys, *command("autoencoder,smoke", "sample", autoencoder, AUTOENCODER)
    )


def test_another_autoencoder_is_refused(latent, capsys, tmp_path):
    other = {**LATENT, "data.autoencoder": GOLDEN / "vae_kl_f4"}
    told = refused(capsys, *command("smoke", "sample", latent, other))
    assert "has other weights than the autoencoder in whose latents the model is" in told
    told = refused(capsys, *command("smoke", "train", tmp_path / "new", other))
    assert "codes pictures of 3 channels" in told
    for path, why in (("", "must be set"), (tmp_path, "no known format"), (latent, "no autoenc")):
        given = {**LATENT, "data.autoencoder": path}
        assert why in refused(capsys, *command("smoke", "train", tmp_path / "new", given))


def test_the_ceiling_of_an_autoencoder_is_reported(autoencoder):
    given = {**AUTOENCODER, "eval.metrics": "fid", "eval.extractor": "pixels"}
    assert main.main(command("autoencoder,smoke", "eval", autoencoder, given)) == 0
    report = json.loads((autoencoder / "evaluation" / "report" / "report.json").read_text())
    row, real = report["cells"]
    told = [line["eval_psnr"] for line in logged(autoencoder) if "eval_psnr" in line]
    # Held-out pictures by their mean latents and averaged weights, as in training.
    assert row["model"]["psnr"] == pytest.approx(told[-1], abs=1e-2)
    assert row["metrics"]["fid"]["mean"] > real["metrics"]["fid"]["mean"]


def test_published_numbers_scale_the_latents_of_an_imported_autoencoder(tmp_path):
    """No data are needed to know them."""
    config = with_settings(
        schema.get_default(),
        {"data.codec": "autoencoder", "data.autoencoder": str(GOLDEN / "vae_kl_f4"),
         "data.dataset": "folder", "data.random_flip": False},
    )  # fmt: skip
    found, loaded = resolved(Recorded.of(config), tmp_path)
    assert loaded is None
    assert found.data.latent_shape == (8, 8, 4)
    assert (found.data.latent_shift, found.data.latent_scale) == ((0.0,), (0.18215,))
    assert found.data.autoencoder_hash == digest(load_autoencoder(str(GOLDEN / "vae_kl_f4")).params)


def test_tiles_bound_what_is_decoded_at_once():
    """One tile is the whole picture; several are near it."""
    known = load_autoencoder(str(GOLDEN / "vae_kl_f4"))
    whole = LatentCodec(known.network, known.params)
    tiled = LatentCodec(known.network, known.params, tile=16)
    rng = np.random.default_rng(0)
    small = rng.standard_normal((3, 4, 4, 4)).astype(np.float32)
    assert np.array_equal(tiled.decode(small), whole.decode(small))
    x = rng.random((1, 32, 16, 3), np.float32)
    assert tiled.encode(x).shape == (1, 8, 4, 4)
    assert not np.array_equal(tiled.encode(x), whole.encode(x))


def test_images_know_the_shape_of_what_is_drawn():
    images = Images(np.zeros((2, 4, 4, 6), np.float32), None, None, drawn=True)
    assert images.example == (4, 4, 3)


def test_damaged_latents_are_replaced_and_it_is_said(tmp_path):
    keys, values, lines = {"train": "k"}, {"train": np.zeros((2, 3), np.float32)}, []
    latent_data._store(tmp_path, keys, values, lines.append)
    assert not lines
    path = tmp_path / latent_data.FILE
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    latent_data._store(tmp_path, keys, values, lines.append)
    assert "are damaged, and replaced" in lines[0]
    assert latent_data._is_of(tmp_path, keys)
