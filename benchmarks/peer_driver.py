"""Times a checkout of score_sde_pytorch on demand, for `speed.py` to measure against.

    python peer_driver.py CHECKOUT SPEC

Runs in an interpreter with torch, apart from this project. `SPEC` is JSON: `config`, the name of
one of the checkout's configurations ("vp/cifar10_ddpmpp_continuous"); `overrides`,
{"section.key": value}, of which those that the checkout knows are laid over it; `batch_size`,
`sample_batch_size`, `sample_steps`, `tolerance` (of the ODE solver), `device` ("cpu" or "cuda") and
`threads`. Commands come on standard input, one a line, and each is answered with one line of JSON
on standard output:

    step        one training step: loss, gradients, clipping, Adam with warm-up, moving average
    evaluation  `sample_steps` steps of the configured predictor-corrector sampler
    ode         one batch of samples by the probability-flow ODE
    likelihood  the likelihood of one batch by the probability-flow ODE
    stats       parameters, peak memory in bytes and the torch version
    quit        ends the program

All but `stats` answer {"wall": s, "cpu": s, "units": n}: seconds per training step, per evaluation
of the network, or per evaluation of the ODE's drift and divergence (two calls of the network), and
how many it did; `cpu` is the process's time summed over its threads. Everything that is measured is
the checkout's own code.
"""

import contextlib
import importlib
import json
import resource
import sys
import time
from functools import partial

import torch
import torch.utils.cpp_extension


def load_checkout(path, on_cpu):
    """The checkout's modules by name; on a CPU its operators take their own uncompiled path."""
    if on_cpu:
        # The checkout compiles CUDA operators when imported, whether they will be used or not.
        torch.utils.cpp_extension.load = lambda *args, **kwargs: None
    sys.path.insert(0, path)
    importlib.import_module("models.ddpm")
    importlib.import_module("models.ncsnv2")
    importlib.import_module("models.ncsnpp")
    names = ("losses", "sampling", "likelihood", "sde_lib", "models.utils", "models.ema")
    return {name.split(".")[-1]: importlib.import_module(name) for name in names}


def read_config(spec):
    """The checkout's configuration with the overrides that it has a key for."""
    config = importlib.import_module("configs." + spec["config"].replace("/", ".")).get_config()
    config.device = torch.device(spec["device"])
    with config.ignore_type():
        for name, value in spec["overrides"].items():
            section, _, key = name.partition(".")
            if key and section in config and key in config[section]:
                config[section][key] = tuple(value) if isinstance(value, list) else value
    return config


def build_sde(sde_lib, config, steps):
    """The SDE in `steps` steps and the time at which its sampling ends."""
    name, model = config.training.sde.lower(), config.model
    if name == "vesde":
        return sde_lib.VESDE(model.sigma_min, model.sigma_max, steps), 1e-5
    family = {"vpsde": sde_lib.VPSDE, "subvpsde": sde_lib.subVPSDE}[name]
    return family(model.beta_min, model.beta_max, steps), 1e-3


def image_shape(config, batch_size):
    """Shape of a batch in torch's layout."""
    size, channels = config.data.image_size, config.data.num_channels
    return batch_size, channels, size, size


def build_step(peer, config, model, batch_size):
    """A function that takes one training step on a fixed batch and returns 1, the steps taken."""
    sde, _ = build_sde(peer["sde_lib"], config, config.model.num_scales)
    state = {
        "model": model,
        "optimizer": peer["losses"].get_optimizer(config, model.parameters()),
        "ema": peer["ema"].ExponentialMovingAverage(model.parameters(), config.model.ema_rate),
        "step": 0,
    }
    step = peer["losses"].get_step_fn(
        sde,
        train=True,
        optimize_fn=peer["losses"].optimization_manager(config),
        reduce_mean=config.training.reduce_mean,
        continuous=config.training.continuous,
        likelihood_weighting=config.training.likelihood_weighting,
    )
    batch = torch.rand(image_shape(config, batch_size), device=config.device)
    batch = 2 * batch - 1 if config.data.centered else batch

    def run():
        step(state, batch).item()
        return 1

    return run


def build_sampler(peer, config, model, batch_size, steps):
    """A function that samples in `steps` steps and returns the number of network calls."""
    sde, eps = build_sde(peer["sde_lib"], config, steps)
    shape = image_shape(config, batch_size)
    return calls_of(model, peer["sampling"].get_sampling_fn(config, sde, shape, lambda x: x, eps))


def build_ode(peer, config, model, batch_size, tolerance):
    """A function that samples by the ODE and returns the number of network calls."""
    sde, eps = build_sde(peer["sde_lib"], config, config.model.num_scales)
    sample = peer["sampling"].get_ode_sampler(
        sde,
        image_shape(config, batch_size),
        lambda x: x,
        denoise=config.sampling.noise_removal,
        rtol=tolerance,
        atol=tolerance,
        eps=eps,
        device=config.device,
    )
    return calls_of(model, sample)


def calls_of(model, sample):
    """A function that samples and returns how often it called the network."""
    calls = []
    # The samplers' own counts assume a corrector, so the calls are counted where they happen.
    model.register_forward_hook(lambda *_: calls.append(1))

    def run():
        calls.clear()
        sample(model)[0].cpu()
        return len(calls)

    return run


def build_likelihood(peer, config, model, batch_size, tolerance):
    """A function that computes a batch's likelihood; returns the number of ODE evaluations."""
    sde, _ = build_sde(peer["sde_lib"], config, config.model.num_scales)
    images = torch.rand(image_shape(config, batch_size), device=config.device)
    likelihood = peer["likelihood"].get_likelihood_fn(
        sde, lambda x: (x + 1) / 2, rtol=tolerance, atol=tolerance
    )
    return lambda: likelihood(model, 2 * images - 1)[2]


def timed(work, device):
    """Wall and CPU seconds of `work()`, per unit of the number that it returns."""
    wall, cpu = time.perf_counter(), time.process_time()
    units = work()
    if device == "cuda":
        torch.cuda.synchronize()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"wall": wall / units, "cpu": cpu / units, "units": units}


def stats(model, device):
    """Number of parameters, memory and version, the same after any command."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if device == "cuda":
        memory = torch.cuda.max_memory_allocated()
    parameters = sum(p.numel() for p in model.parameters())
    return {"parameters": parameters, "peak_bytes": memory, "version": torch.__version__}


def build(checkout, spec):
    """The commands, each a function of no arguments that returns its answer."""
    torch.set_num_threads(spec["threads"])
    peer = load_checkout(checkout, spec["device"] == "cpu")
    config = read_config(spec)
    model = peer["utils"].create_model(config)
    samples, tolerance = spec["sample_batch_size"], spec["tolerance"]
    works = {
        "step": build_step(peer, config, model, spec["batch_size"]),
        "evaluation": build_sampler(peer, config, model, samples, spec["sample_steps"]),
        "ode": build_ode(peer, config, model, samples, tolerance),
        "likelihood": build_likelihood(peer, config, model, samples, tolerance),
    }
    timings = {name: partial(timed, work, spec["device"]) for name, work in works.items()}
    return timings | {"stats": lambda: stats(model, spec["device"])}


def main():
    answers = sys.stdout
    # What the checkout prints must not be taken for an answer.
    with contextlib.redirect_stdout(sys.stderr):
        commands = build(sys.argv[1], json.loads(sys.argv[2]))
        for line in iter(sys.stdin.readline, ""):
            if line.strip() == "quit":
                return
            print(json.dumps(commands[line.strip()]()), file=answers, flush=True)


if __name__ == "__main__":
    main()
