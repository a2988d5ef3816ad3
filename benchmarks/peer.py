"""Measurements of the PyTorch original, in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from pathlib import Path
from typing import IO, Any, Self, cast

import jax
from ml_collections import ConfigDict

from benchmarks.timing import Timing
from configs.schema import flatten
from runtime_lib.start.huge_pages import TUNABLES

PEER_CONFIGS = {
    "vp": "vp/cifar10_ddpmpp_continuous",
    "subvp": "subvp/cifar10_ddpmpp_continuous",
    "ve": "ve/cifar10_ncsnpp_continuous",
}
PEER_SAMPLERS = {
    "ancestral": "ancestral_sampling",
    "reverse_diffusion": "reverse_diffusion",
    "none": "none",
}
"""Samplers of the original; all others are compared with its Euler-Maruyama, per evaluation."""
PEER_SDE_SETTINGS = "beta_min", "beta_max", "sigma_min", "sigma_max", "num_scales"
"""Settings of the SDE that the original has in its `model` section."""


PUBLISHED_TOLERANCE = 1e-5
"""Relative and absolute tolerance of the original's ODE solver."""


def peer_spec(
    config: ConfigDict, steps: int, tolerance: float = PUBLISHED_TOLERANCE
) -> dict[str, Any]:
    """The same experiment in the terms of `peer_driver.py`."""
    if config.sde.name not in PEER_CONFIGS:
        known = ", ".join(PEER_CONFIGS)
        raise ValueError(f"sde.name must be one of {known} with --peer, got {config.sde.name!r}")
    predictor = config.sampling.predictor
    renamed = {"sampling.predictor": PEER_SAMPLERS.get(predictor, "euler_maruyama")}
    for name in PEER_SDE_SETTINGS:
        renamed[f"model.{name}"] = config.sde[name]
    return {
        "config": PEER_CONFIGS[config.sde.name],
        "overrides": {**flatten(config), **renamed},
        "batch_size": config.training.batch_size,
        "sample_batch_size": config.sampling.batch_size,
        "sample_steps": steps,
        "tolerance": tolerance,
        "device": "cpu" if jax.default_backend() == "cpu" else "cuda",
        "threads": len(os.sched_getaffinity(0)),
    }


class PeerError(RuntimeError):
    """The peer's process ended unexpectedly."""


class Driver:
    """A program in another interpreter that answers lines with lines of JSON."""

    def __init__(self, python: str, program: str, *arguments: str) -> None:
        command = [python, str(Path(__file__).with_name(program)), *arguments]
        pipe = subprocess.PIPE
        # It runs as it is installed: huge pages are what `main.py` asks for.
        plain = {name: value for name, value in os.environ.items() if name != TUNABLES}
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=plain)
        self._input = cast(IO[str], self._process.stdin)
        self._output = cast(IO[str], self._process.stdout)

    def ask(self, command: str) -> dict[str, Any]:
        """The answer to one command."""
        # Where it has ended already, that shows in its answer, which is empty.
        with contextlib.suppress(BrokenPipeError):
            self._input.write(command + "\n")
            self._input.flush()
        answer = self._output.readline()
        if not answer:
            raise PeerError(f"the peer ended instead of answering {command!r}; see its message")
        return json.loads(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """End the process."""
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate("quit\n")


class Peer(Driver):
    """The PyTorch original, waiting in a process of its own for `peer_driver.py`'s commands."""

    def __init__(self, checkout: Path, python: str, spec: dict[str, Any]) -> None:
        if not (checkout / "losses.py").is_file():
            raise ValueError(f"--peer must be a checkout of score_sde_pytorch, got {checkout}")
        super().__init__(python, "peer_driver.py", str(checkout.resolve()), json.dumps(spec))

    def step(self) -> Timing:
        """One training step."""
        return Timing(**self.ask("step"))

    def evaluation(self) -> Timing:
        """One batch of samples; seconds per network evaluation."""
        return Timing(**self.ask("evaluation"))

    def ode(self) -> Timing:
        """One batch of samples by the probability-flow ODE; seconds per network evaluation."""
        return Timing(**self.ask("ode"))

    def likelihood(self) -> Timing:
        """The likelihood of one batch; seconds per evaluation of drift and divergence."""
        return Timing(**self.ask("likelihood"))

    def stats(self) -> dict[str, Any]:
        """Parameters, peak memory in bytes, version."""
        return self.ask("stats")
