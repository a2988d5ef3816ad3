"""Resources of a run are counted before it is compiled, and a run that will not fit is refused."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import main
from data_lib import Images
from models.layers.conv import conv2d
from modes import preflight
from modes.experiment import Experiment
from runtime_lib import cost, hardware
from tests import tiny
from train_lib import feed
from train_lib.step import make_step


def counted(function, *shapes):
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return cost.operations(jax.make_jaxpr(function)(*arguments).jaxpr)


IMAGE, KERNEL = (2, 8, 6, 5), (3, 3, 5, 7)
DIRECT = 2 * (2 * 8 * 6 * 7) * (3 * 3 * 5)
"""Two per product; as many products as outputs times kernel entries that each one sees."""


@pytest.mark.parametrize(
    "function, shapes, expected",
    [
        (jnp.matmul, [(3, 4), (4, 5)], 2 * 3 * 4 * 5),
        (lambda a, b: jnp.einsum("bij,bjk->bik", a, b), [(2, 3, 4), (2, 4, 5)], 2 * 2 * 3 * 4 * 5),
        (conv2d, [IMAGE, KERNEL], DIRECT),
        (lambda x, k: conv2d(x, k, stride=2), [IMAGE, KERNEL], DIRECT / 4),
        (lambda x, k: conv2d(x, k, dilation=2), [IMAGE, KERNEL], DIRECT),
        (jax.jit(conv2d), [IMAGE, KERNEL], DIRECT),
        (jax.checkpoint(conv2d), [IMAGE, KERNEL], DIRECT),
        (lambda x, k: jax.lax.scan(lambda c, _: (conv2d(c, k), ()), x, length=3)[0],
         [IMAGE, (3, 3, 5, 5)], 3 * DIRECT * 5 / 7),
        (lambda x, k: jax.lax.cond(x.sum() > 0, conv2d, lambda *a: 2 * conv2d(*a), x, k),
         [IMAGE, KERNEL], DIRECT),
        (lambda x, k: jnp.sin(x).sum() + k.sum(), [IMAGE, KERNEL], 0),
    ],
    ids=["product", "batch", "conv", "stride", "dilation", "jit", "remat", "scan", "cond", "sin"],
)  # fmt: skip
def test_operations_are_those_of_the_sums(function, shapes, expected):
    assert counted(function, *shapes) == expected


@pytest.mark.parametrize("stride", [1, 2])
def test_a_gradient_takes_twice_the_operations(stride):
    def loss(x, k):
        return conv2d(x, k, stride=stride).sum()

    forward = counted(loss, IMAGE, KERNEL)
    both = counted(jax.value_and_grad(loss, argnums=(0, 1)), IMAGE, KERNEL)
    # Transposed, a strided convolution also meets the image's padding, which forward is cut off.
    assert both == pytest.approx(3 * forward, rel=0 if stride == 1 else 0.4)


def test_memory_peaks_where_the_most_results_are_alive():
    def program(x):
        a = jnp.sin(x)  # alive to the end
        b = jnp.concatenate([a, a])
        c = b[:100] + b[100:]
        return jnp.cos(c) + a

    jaxpr = jax.make_jaxpr(program)(jnp.zeros(100)).jaxpr
    # The most there is: a, b and its two halves, before c is made of them.
    assert cost.peak(jaxpr, lambda aval: 4 * aval.size) == 4 * (100 + 200 + 100 + 100)


def test_results_of_a_function_that_is_called_are_counted_once():
    inner = jax.jit(lambda x: jnp.sin(jnp.cos(x)))
    jaxpr = jax.make_jaxpr(lambda x: jnp.exp(inner(x)))(jnp.zeros(100)).jaxpr
    assert cost.peak(jaxpr, lambda aval: 4 * aval.size) == 4 * (100 + 100)


@pytest.mark.parametrize("backend, left", [("cpu", 0), ("gpu", 1)])
def test_room_is_made_on_cpus_by_forgetting_programs(backend, left, monkeypatch):
    program = jax.jit(lambda x: x + 1)
    program(jnp.zeros(3))
    assert program._cache_size() == 1
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    preflight.make_room()
    assert program._cache_size() == left


@pytest.fixture
def tiny_run():
    tiny.register()
    yield tiny.arguments
    del preflight.models.NETWORKS["tiny"]


def test_a_run_that_will_not_fit_is_refused_before_anything_is_written(
    tiny_run, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(hardware, "memory", lambda device: 40_000.0)
    with jax.numpy_dtype_promotion("standard"):  # as main.py runs
        assert main.main(tiny_run("train", tmp_path / "new")) == 2
    out, err = capsys.readouterr()
    assert "85 parameters" in out
    assert err.count("\n") == 1
    for word in ("will not fit", "training.accumulate=", "model.dtype=bfloat16", "check_memory"):
        assert word in err
    assert [path.name for path in (tmp_path / "new").iterdir()] == [".lock"]


@pytest.mark.parametrize(("classes", "labelled"), [(0, False), (0, True), (3, True)])
def test_the_step_is_traced_with_what_it_is_given(tiny_run, tmp_path, classes, labelled):
    given = tiny_run("train", tmp_path, model__num_classes=classes, training__n_jitted_steps=2)
    config = main._parse(given).config
    experiment = Experiment.of(config)
    shape = (12, *experiment.shape)
    images = Images(np.zeros(shape, np.uint8), np.arange(12) % 3 if labelled else None, 17)
    batches = feed.training_batches(images, config, 0)
    stacked = feed.stack_batches(batches, 2, experiment.layout.mesh)
    told = lambda x: (x.shape, x.dtype, x.sharding.spec)
    expected = preflight.abstract_batches(experiment)
    assert jax.tree.map(told, stacked) == jax.tree.map(told, expected)


def test_a_compiled_step_on_a_cpu_keeps_less_with_remat():
    """With jax 0.10 it kept as much before XLA was told to leave a pass out."""
    small = {"model.nf": "8", "model.ch_mult": "(1,)", "model.attn_resolutions": "()"}

    def needed(remat):
        told = small | {"model.remat": remat, "training.batch_size": "256"}
        experiment = Experiment.of(main.command_line.load("configs/vp_digits.py", told))
        state = experiment.layout.abstract(experiment.abstract_state())
        lowered = make_step(experiment.recipe).lower(state, preflight.abstract_batches(experiment))
        return lowered.compile().memory_analysis().temp_size_in_bytes

    with jax.numpy_dtype_promotion("standard"):  # as main.py runs
        assert needed("products") < 0.75 * needed("none")


NEEDS = preflight.Needs(parameters=10, update=1e9, state=40.0, work=80.0, limit=100.0)


@pytest.mark.parametrize(
    "needs, words",
    [
        (NEEDS, "training.accumulate=2"),
        (replace(NEEDS, work=200.0), "training.accumulate=4"),
        (replace(NEEDS, work=480.0), "training.accumulate=8"),
        (replace(NEEDS, work=1e4), "a smaller network"),
        (replace(NEEDS, state=130.0), "mesh.fsdp=3"),
    ],
)
def test_the_remedy_is_one_that_helps(needs, words, tmp_path, tiny_run):
    given = config_of(tiny_run("train", tmp_path))
    experiment = preflight.Experiment.of(given)
    assert experiment.config.training.batch_size == 8
    with pytest.raises(ValueError, match="will not fit") as caught:
        preflight.check(needs, experiment)
    assert words in str(caught.value)
    preflight.check(replace(needs, limit=2e4), experiment)
    preflight.check(replace(needs, limit=None), experiment)
    given.training.check_memory = False
    preflight.check(needs, preflight.Experiment.of(given))


def config_of(arguments):
    others, settings = main.command_line.split(arguments)
    return main.command_line.load(others[1], settings)


def test_memory_of_a_cpu_is_what_the_machine_or_the_container_has(tmp_path, monkeypatch):
    info, group = tmp_path / "meminfo", tmp_path / "memory.max"
    info.write_text("MemTotal:       1000 kB\nMemFree: 5 kB\n")
    group.write_text("max\n")
    monkeypatch.setattr(hardware, "_LIMITS", (str(info), str(group), str(tmp_path / "absent")))
    device, count = jax.local_devices()[0], jax.local_device_count()
    assert hardware.memory(device) == 1_024_000 / count
    group.write_text("500000\n")
    assert hardware.memory(device) == 500_000 / count


@pytest.mark.parametrize(
    "kind, peak",
    [("NVIDIA A100-SXM4-80GB", 312e12), ("NVIDIA A10G", 70e12), ("TPU v5 lite", 197e12),
     ("NVIDIA H200", 989e12), ("cpu", None)],
)  # fmt: skip
def test_the_longest_name_that_is_part_of_a_kind_tells_its_peak(kind, peak):
    class Device:
        device_kind = kind

    assert hardware.peak_operations(Device()) == peak
