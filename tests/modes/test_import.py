"""`--mode import` and what follows it, on the golden checkpoints."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import main
import models
from configs import command_line, schema
from eval_lib.likelihood.bins import bits_per_dim
from eval_lib.likelihood.divergence import Hutchinson
from eval_lib.likelihood.flow import ProbabilityFlow
from models.pretrained import load
from models.pretrained.score_sde import networks
from modes.experiment import Experiment
from modes.trained import load_score
from runtime_lib import workdir
from runtime_lib.checkpoints.store import Checkpoints
from samplers.adaptive.integrate import Tolerance
from samplers.adaptive.ode import CLOCKS
from sde_lib.pytree import pytree
from tests.models import ncsn_golden
from tests.models.pretrained import writing
from tests.slow import but_slow
from tests.stored import arrays

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
VP = [f"{ROOT}/configs/vp_cifar.py", "--config.model.nf=16", "--config.model.num_res_blocks=2"]
VE = [f"{ROOT}/configs/ve_cifar.py", "--config.model.nf=16", "--config.model.num_res_blocks=2"]
CASES = {
    "ve_ncsnpp_continuous": ["--config", *VE],
    "vp_ddpmpp_continuous": ["--config", *VP],
    "vp_ddpm_continuous": [],
}
TRAJECTORIES = ["ve_ncsnpp_continuous", "vp_ddpmpp_continuous"]


def run(mode, folder, *others):
    return main.main([*others, "--mode", mode, "--workdir", str(folder)])


def experiment(folder, config):
    """The experiment of the workdir; without a config that of the config which the import wrote."""
    given, settings = command_line.split(config or ["--config", str(folder / "config.py")])
    return Experiment.of(command_line.load(given[1], settings))


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """workdir(case, source): a checkpoint, of a golden case if no other, from the command line."""

    @functools.cache
    def make(case, source=None):
        folder = tmp_path_factory.mktemp(case) / "run"
        source = source or GOLDEN / f"{case}.pth"
        assert run("import", folder, *CASES.get(case, []), "--import_from", str(source)) == 0
        return folder

    return make


@functools.cache
def golden(case):
    """The golden arrays, and the value of a ModelScore as a compiled function."""
    # Run little, so most of the time would go into optimizing it.
    quick = {"xla_backend_optimization_level": 0}
    evaluate = jax.jit(lambda score, x, t: score(x, t), compiler_options=quick)
    return arrays(GOLDEN / f"{case}.npz"), evaluate


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.fixture(scope="module")
def score_of(imported):
    """score(case, ema) as `--mode sample` would restore it."""

    @functools.cache
    def restore(case, ema):
        folder = imported(case)
        made = experiment(folder, CASES[case])
        made.config.sampling.ema = ema
        score, step = load_score(made, folder)
        assert step == 12345
        return score

    return restore


@pytest.mark.parametrize("ema", [False, True], ids=["raw", "ema"])
@pytest.mark.parametrize("case", but_slow(CASES, "vp_ddpmpp_continuous", "ve_ncsnpp_continuous"))
def test_imported_score_equals_the_original(case, ema, score_of):
    arrays, evaluate = golden(case)
    with jax.default_matmul_precision("highest"):
        found = evaluate(score_of(case, ema), jnp.asarray(arrays["x"]), jnp.asarray(arrays["t"]))
    # Two float32 implementations of some 40 layers differ by a few 1e-6 (norm over norm).
    assert relative(found, arrays["score_ema" if ema else "score_raw"]) < 1e-5


@pytest.mark.parametrize("ema", [False, True], ids=["raw", "ema"])
@pytest.mark.parametrize("case", but_slow(CASES, "ve_ncsnpp_continuous", "vp_ddpmpp_continuous"))
def test_load_gives_the_score_that_an_import_stores(case, ema, score_of):
    stored = score_of(case, ema)
    loaded = load(GOLDEN / f"{case}.pth", ema=ema)
    jax.tree.map(np.testing.assert_array_equal, loaded, stored)


@pytest.mark.parametrize("case", but_slow(TRAJECTORIES, *TRAJECTORIES))
def test_probability_flow_follows_the_original_trajectory(case, score_of):
    arrays, evaluate = golden(case)
    facts = json.loads((GOLDEN / f"{case}.json").read_text())
    score, z = score_of(case, True), arrays["ode_z"]
    # The batch of the scores' test, so that nothing is compiled for another.
    flow = score.sde.probability_flow(functools.partial(evaluate, score))
    fill = np.zeros((len(arrays["x"]) - len(z), *z.shape[1:]), np.float32)

    def velocity(t, flat):
        x = np.concatenate([flat.reshape(z.shape).astype(np.float32), fill])
        times = jnp.full(len(x), t, jnp.float32)
        moved = flow.drift(jnp.asarray(x), times)
        return np.asarray(moved[: len(z)], np.float64).ravel()

    with jax.default_matmul_precision("highest"):
        ran = solve_ivp(velocity, (1.0, facts["time_eps"]), z.astype(np.float64).ravel(),
                        rtol=1e-5, atol=1e-5, method="RK45")  # fmt: skip
    # The solver's own tolerance, some hundred times over.
    assert relative(ran.y[:, -1].reshape(z.shape), arrays["ode_x"]) < 1e-3


@pytree
class Given:
    """Hutchinson's estimate with one given probe per image."""

    probe: jax.Array
    estimates = 1

    def draw(self, keys, x):
        return self.probe[None]

    def __call__(self, f, x, probes):
        return Hutchinson()(f, x, probes)


LIKELIHOODS = {
    # case, eps, tolerance, clock, the golden arrays' prefix
    "vp": ("vp_ddpm_continuous", 0.3, 1e-5, "time", "vp_ddpm_continuous"),
    "ve": ("ve_ncsnpp_continuous", 0.3, 1e-5, "time", "ve_ncsnpp_continuous"),
    "vp in another clock": ("vp_ddpm_continuous", 0.3, 1e-5, "log_snr", "vp_ddpm_continuous"),
    "vp as published": ("vp_ddpm_continuous", 1e-5, 1e-5, "time", "published"),
}


@pytest.mark.parametrize("name", but_slow(LIKELIHOODS, *LIKELIHOODS))
def test_likelihood_is_that_of_the_original(name, score_of):
    """Bits per dimension and codes of score_sde's likelihood.py, with its probe and tolerance."""
    case, eps, tol, clock, prefix = LIKELIHOODS[name]
    score = score_of(case, True)
    with np.load(GOLDEN / "likelihood.npz") as golden:
        x, probe = (jnp.asarray(golden[f"{case}/{k}"], jnp.float32) for k in ("x", "probe"))
        bpd, z = golden[f"{prefix}/bpd"], golden[f"{prefix}/z"]
    flow = ProbabilityFlow(Tolerance(tol, tol, shared=True), "dopri5", CLOCKS[clock]())
    alpha, d = float(score.sde.alpha(jnp.float32(eps))), x[0].size
    keys = jax.random.split(jax.random.key(0), len(x))
    # The original takes x for x_eps itself.
    run = jax.jit(lambda score, x: flow.density(score, x / alpha, eps, keys, Given(probe)))
    found = run(score, x)
    nats = found.log_prob[:, 0] - d * np.log(alpha)
    span = 2.0 if case.startswith("vp") else 1.0
    bits = bits_per_dim(np.asarray(nats) + d * np.log(span / 256), d)
    # Of 15 bits. At 1e-4, 1e-5, 1e-6 ours are within 0.05, 0.01, 0.001 of where they converge, and
    # the original (1e-4, as published 1e-5) within 0.003.
    np.testing.assert_allclose(bits, bpd, atol=0.02)
    # The VP network's random weights make a flow whose codes move by a tenth from one tolerance to
    # the next; the VE network's do not.
    if name == "ve":
        assert relative(np.asarray(found.z), z) < 0.01
        back = jax.jit(lambda score, z: flow.decode(score, z, eps))(score, found.z)
        # Codes are a hundred times as large as images: 1e-5 of them is 1e-3 of an image, each way.
        assert relative(np.asarray(back.z * alpha), np.asarray(x)) < 0.01


def test_imported_workdir_can_be_sampled_with_the_config_that_was_made(capsys, imported):
    case = "vp_ddpm_continuous"
    folder = imported(case)
    quick = {
        "sampling.num_steps": 1, "sampling.num_samples": 1, "sampling.batch_size": 1,
        "sampling.noise_removal": False,
    }  # fmt: skip
    config = ["--config", str(folder / "config.py")]
    assert run("sample", folder, *config, *(f"--config.{k}={v}" for k, v in quick.items())) == 0
    assert arrays(folder / "samples" / "samples.npz")["samples"].shape == (1, 32, 32, 3)
    assert "sampling from step 12345" in capsys.readouterr().out


def test_training_goes_on_from_the_step_of_the_file(imported):
    """With the state that training restores: the file's weights, the optimizer as at the start."""
    case = "vp_ddpm_continuous"
    folder = imported(case)
    made = experiment(folder, CASES[case])
    with Checkpoints(folder / "checkpoints", read_only=True) as checkpoints:
        restored = checkpoints.restore(made.abstract_state().as_dict())
    state = restored.state
    assert (restored.step, int(state["step"]), restored.meta["data_step"]) == (12345,) * 3
    raw, ema = (load(GOLDEN / f"{case}.pth", ema=e).params for e in (False, True))
    jax.tree.map(np.testing.assert_array_equal, state["params"], raw)
    jax.tree.map(np.testing.assert_array_equal, state["ema"][0], ema)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(state["opt_state"]))


# Other families ----------------------------------------------------------------------------------


def test_edm_snapshot_is_imported_and_denoises_as_the_original(imported):
    folder = imported("edm", GOLDEN / "edm_ddpmpp.pkl")
    score, _ = load_score(experiment(folder, []), folder)
    edm = arrays(GOLDEN / "edm_ddpmpp.npz")
    quick = {"xla_backend_optimization_level": 0}
    denoise = jax.jit(lambda s, x, t: s.denoise(x, t), compiler_options=quick)
    with jax.default_matmul_precision("highest"):
        found = denoise(score, jnp.asarray(edm["x"]), jnp.asarray(edm["sigma"]))
    # As above; each image by itself, since they differ in size by their noise.
    for one, other in zip(np.asarray(found), edm["denoised"], strict=True):
        assert relative(one, other) < 1e-5
    loaded = load(GOLDEN / "edm_ddpmpp.pkl")
    jax.tree.map(np.testing.assert_array_equal, loaded, score)


def test_diffusers_directory_is_imported_with_both_its_sets_of_weights(imported):
    folder = imported("diffusers", GOLDEN / "diffusers" / "ve")
    made = experiment(folder, [])
    assert (made.config.model.name, made.config.sampling.corrector) == ("ncsnpp", "langevin")
    for ema in (False, True):
        made.config.sampling.ema = ema
        loaded = load(GOLDEN / "diffusers" / "ve", ema=ema)
        jax.tree.map(np.testing.assert_array_equal, load_score(made, folder)[0], loaded)


def test_our_own_export_comes_back_bitwise(imported, tmp_path):
    folder, file = imported("vp_ddpm_continuous"), tmp_path / "model.safetensors"
    config = ["--config", str(folder / "config.py")]
    export = ["--export_to", str(file), "--export_as", "safetensors"]
    assert run("export", folder, *config, *export) == 0
    again = imported("again", file)
    scores = [load_score(experiment(w, []), w)[0] for w in (folder, again)]
    jax.tree.map(np.testing.assert_array_equal, *scores)
    one, other = (schema.of_model(workdir.read_config(w)) for w in (folder, again))
    assert one == other


def test_ncsn_of_pytorch_sets_which_release_it_is(capsys, tmp_path):
    """A published configuration is of score_sde's JAX network, which differs a little."""
    found = {f"module.{k}": writing.saved(v, k) for k, v in
             ncsn_golden.weights("original ncsnv2_64").items()}  # fmt: skip
    shadow = [writing.saved(t.arguments[0].array, f"e{k}") for k, t in found.items()]
    ema = {"decay": 0.999, "num_updates": 7, "shadow_params": shadow}
    content = {"optimizer": {}, "model": found, "ema": ema, "step": 7}
    source = writing.write_zip(tmp_path / "checkpoint_8.pth", content)
    config = ["--config", f"{ROOT}/configs/score_sde.py:ve/ncsnv2/cifar10", "--config.model.nf=6"]
    folder = tmp_path / "run"
    assert run("import", folder, *config, "--import_from", str(source)) == 0
    told = capsys.readouterr().out
    assert "model.refinenet='original' is taken from the file" in told
    assert str(folder / "config.py") in told
    score, step = load_score(experiment(folder, []), folder)
    assert step == 7
    case = ncsn_golden.config_of("original ncsnv2_64")
    network = models.build(case)
    expected = networks.to_params(ncsn_golden.weights("original ncsnv2_64"), network, case, "torch")
    jax.tree.map(np.testing.assert_array_equal, score.params, expected)


# Refusals ----------------------------------------------------------------------------------------


def refused(capsys, arguments, *words):
    assert main.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    for word in words:
        assert word in captured.err
    return captured.out


FILE = str(GOLDEN / "vp_ddpm_continuous.pth")


def test_workdir_that_holds_a_run_is_refused(capsys, imported):
    folder = imported("vp_ddpm_continuous")
    again = ["--mode", "import", "--workdir", str(folder), "--import_from", FILE]
    refused(capsys, again, "holds a run already")


def test_import_that_was_cut_short_can_be_done_again(monkeypatch, tmp_path):
    folder, command = tmp_path / "run", ["--import_from", FILE]

    def cut(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", cut)
        assert run("import", folder, *command) == 130
    assert (folder / "config.json").exists()
    assert run("import", folder, *command) == 0
    assert load_score(experiment(folder, []), folder)[1] == 12345


def test_workdir_of_another_config_is_refused(capsys, tmp_path):
    folder = tmp_path / "run"
    workdir.claim(folder, command_line.load(f"{ROOT}/configs/vp_digits.py:smoke", {}))
    before = (folder / "config.json").read_bytes()
    arguments = ["--mode", "import", "--workdir", str(folder), "--import_from", FILE]
    refused(capsys, arguments, "belongs to another config")
    assert (folder / "config.json").read_bytes() == before
    assert os.listdir(folder) == ["config.json"]


def test_config_that_does_not_fit_is_explained_and_nothing_written(capsys, tmp_path):
    folder = tmp_path / "run"
    told = refused(
        capsys,
        ["--config", VP[0], "--config.model.name=ddpm", "--config.model.nf=32", "--mode", "import",
         "--workdir", str(folder), "--import_from", FILE],
        "model.num_res_blocks is 1 in the file and 4 in the config",
    )  # fmt: skip
    assert "all_modules.3.GroupNorm_0" not in told
    assert "the network wants" in told
    assert not folder.exists()


def test_hostile_file_is_refused_and_nothing_written(capsys, tmp_path):
    attack = b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00exit\x85R."
    file = writing.zip_of(tmp_path / "a.pth", {"a/data.pkl": attack})
    arguments = ["--mode", "import", "--workdir", str(tmp_path / "run"), "--import_from", str(file)]
    refused(capsys, arguments, "a.pth", "os.system", "refused")
    assert not (tmp_path / "run").exists()


def test_flipped_bit_is_found_by_the_zips_checksum_and_nothing_written(capsys, tmp_path):
    data = bytearray(Path(FILE).read_bytes())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "a.pth").write_bytes(bytes(data))
    arguments = ["--mode", "import", "--workdir", str(tmp_path / "run"), "--import_from"]
    refused(capsys, [*arguments, str(tmp_path / "a.pth")], "is damaged (its CRC differs)")
    assert not (tmp_path / "run").exists()


ARGUMENTS = {
    "no file given": (["--mode", "import", "--workdir", "x"], "--import_from"),
    "no such file": (["--mode", "import", "--workdir", "x", "--import_from", "y"], "no file y"),
    "other mode": (["--mode", "sample", "--workdir", "x", "--import_from", "y"], "--mode import"),
    "no config to train": (["--mode", "train", "--workdir", "x"], "--config must be given"),
    "bad setting": (
        ["--mode", "import", "--workdir", "x", "--import_from", FILE, "--config.model.nff=3"],
        "model.nff",
    ),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_bad_arguments_are_refused(case, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, words = ARGUMENTS[case]
    refused(capsys, arguments, words)
    assert not (tmp_path / "x").exists()
