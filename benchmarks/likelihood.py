"""Exact likelihood on the device against the published way, on the same network and data.

    python -m benchmarks.likelihood --config configs/vp_digits.py:likelihood --workdir runs/digits

The published way (score_sde) is SciPy's RK45 on the host, in t, rtol = atol = 1e-5, over the batch
as one vector; the drift and its divergence (one Rademacher probe, by a vector-Jacobian product) are
two compiled calls, each with a pass of its own through the network. Here one linearized pass gives
both, in another clock, by several solvers and tolerances. All use the same images and probes; errors
are root mean squares over the images, in bits per dimension, against 1,500 fixed steps. Times are
medians of `--rounds` runs that take turns. With `--peer CHECKOUT` (of score_sde_pytorch; `--python`
is an interpreter with torch) the original itself takes its turn, with random weights, and its
seconds per evaluation are given.
"""  # noqa: E501

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import data_lib
from benchmarks import command
from benchmarks.peer import Peer, peer_spec
from benchmarks.ways import REFERENCE_STEPS, Figure, Way, compare, rk45
from eval_lib.likelihood.divergence import Hutchinson
from eval_lib.likelihood.flow import DensityField, ProbabilityFlow
from modes.experiment import Experiment
from modes.trained import load_score
from samplers import LogSNR
from samplers.adaptive.integrate import Tolerance
from samplers.adaptive.ode import CLOCKS, InLogSNR
from sde_lib import Score
from sde_lib.bins import Bins

EPS = 1e-5
WAYS = {
    "adams, log_snr": (3e-4, 1e-4, 3e-5),
    "dopri5, log_snr": (1e-4, 1e-5),
    "dopri5, time": (1e-5,),
}
TRACE = Hutchinson()


def published(score: Score, x: jax.Array, keys: jax.Array) -> Way:
    """score_sde's method."""
    sde, probe = score.sde, TRACE.draw(keys, x)[0]
    drift = jax.jit(lambda x, t: score.velocity(x, t))
    product = lambda x, t: jnp.sum(score.velocity(x, t) * probe)
    divergence = jax.jit(
        lambda x, t: jnp.sum(jax.grad(product)(x, t) * probe, axis=tuple(range(1, x.ndim)))
    )

    def field(t: float, y: np.ndarray) -> np.ndarray:
        at = jnp.asarray(y[: x.size].reshape(x.shape), jnp.float32), jnp.float32(t)
        parts = drift(*at), divergence(*at)
        return np.concatenate([np.asarray(part, np.float64).ravel() for part in parts])

    def way() -> tuple[np.ndarray, int]:
        start = np.concatenate([np.asarray(x, np.float64).ravel(), np.zeros(len(x))])
        solution = rk45(field, (EPS, float(sde.T)), start)
        last = solution.y[:, -1]
        z = jnp.asarray(last[: x.size].reshape(x.shape), jnp.float32)
        return np.asarray(sde.prior_log_prob(z)) + last[x.size :], solution.nfev

    return way


def ours(score: Score, x: jax.Array, keys: jax.Array, name: str, tolerance: float) -> Way:
    """A method of ours, with the given solver and clock."""
    solver, clock = name.split(", ")
    flow = ProbabilityFlow(Tolerance(tolerance, tolerance), solver, CLOCKS[clock]())
    density = jax.jit(lambda score, x, keys: flow.density(score, x, EPS, keys, TRACE))

    def way() -> tuple[np.ndarray, int]:
        found = density(score, x, keys)
        return np.asarray(found.log_prob[:, 0]), int(found.evaluations.max())

    return way


def reference(score: Score, x: jax.Array, keys: jax.Array, times: jax.Array) -> jax.Array:
    """Heun's method in fixed steps."""
    sde, clock = score.sde, InLogSNR()
    field = DensityField(clock, score, TRACE, TRACE.draw(keys, x))
    q = clock.coordinate(sde, times)

    def step(y: tuple, ends: tuple) -> tuple[tuple, None]:
        a, b = (jnp.full(len(x), end) for end in ends)
        h = ends[1] - ends[0]
        first = field(a, y)
        guess = jax.tree.map(lambda y, k: y + h * k, y, first)
        second = field(b, guess)
        return jax.tree.map(lambda y, k, m: y + h * (k + m) / 2, y, first, second), None

    y = x * sde.alpha(times[0]) * clock.scale(sde, times[0]), jnp.zeros((len(x), 1))
    (last, integral), _ = jax.lax.scan(step, y, (q[:-1], q[1:]))
    scales = [jnp.log(clock.scale(sde, t)) for t in (times[0], times[-1])]
    volume = sde.log_alpha(times[0]) + scales[0] - scales[1]
    z = last / clock.scale(sde, times[-1])
    return sde.prior_log_prob(z) + x[0].size * (integral[:, 0] + volume)


def measure(
    score: Score, x: jax.Array, rounds: int, peer: Peer | None
) -> tuple[list[Figure], float | None]:
    """(the published way, then every other; the original's seconds per evaluation)."""
    keys = jax.random.split(jax.random.key(0), len(x))
    times = LogSNR()(score.sde, REFERENCE_STEPS, float(score.sde.T), EPS)[::-1]
    true = np.asarray(jax.jit(reference)(score, x, keys, times))
    ways = {"published": published(score, x, keys)}
    for name, tolerances in WAYS.items():
        for tol in tolerances:
            ways[f"{name}, {tol:g}"] = ours(score, x, keys, name, tol)
    d = x[0].size * np.log(2)
    error = lambda found: float(np.sqrt(np.mean((found - true) ** 2)) / d)
    figures, others = compare(ways, error, rounds, {"peer": peer.likelihood} if peer else {})
    return figures, others.get("peer")


def table(figures: list[Figure]) -> str:
    """The figures as lines, with ratios to the first."""
    first = figures[0]
    lines = [
        f"{'solver, clock, tolerance':26s} {'bits/dim off':>12s} {'NFE':>5s} {'of':>5s} "
        f"{'ms/eval':>8s} {'of':>5s} {'seconds':>8s} {'speed':>6s}"
    ]
    for f in figures:
        nfe, seconds = f.evaluations / first.evaluations, f.seconds / first.seconds
        lines.append(
            f"{f.name:26s} {f.error:12.2e} {f.evaluations:5d} {nfe:5.2f} {1e3 * f.seconds:8.2f} "
            f"{seconds:5.2f} {f.evaluations * f.seconds:8.2f} {1 / (nfe * seconds):5.2f}x"
        )
    return "\n".join(lines)


def _options(parser: argparse.ArgumentParser) -> None:
    command.of_a_model(parser, batch=32)
    parser.add_argument("--peer", type=Path, help="a checkout of score_sde_pytorch")
    parser.add_argument(
        "--python", default=sys.executable, help="interpreter with torch for --peer"
    )


def run(arguments: Sequence[str]) -> None:
    """Measure, print, and write the report if asked to."""
    options, config = command.parse(arguments, __doc__, _options)
    if config.model.num_classes:
        raise ValueError("model.num_classes must be 0: the published way knows no classes")
    score, step = load_score(Experiment.of(config), options.workdir)
    images = data_lib.load(config.data).test.take(np.arange(options.batch))
    bins = Bins.of("equal", images.levels or 256, config.data.centered)
    u = np.random.default_rng(0).random(images.pixels.shape) - 0.5
    x = jnp.asarray(bins.center(images.pixels.astype(np.int32)) + bins.spacing * u, jnp.float32)
    config.sampling.batch_size = options.batch
    with contextlib.ExitStack() as stack:
        peer = None
        if options.peer:
            peer = stack.enter_context(Peer(options.peer, options.python, peer_spec(config, 1)))
        figures, other = measure(score, x, options.rounds, peer)
    ends = f"t from {EPS:g} to {score.sde.T:g}"
    print(f"step {step}, batch {options.batch}, {command.device()}, {ends}")
    print(table(figures))
    if other is not None:
        ratios = ", ".join(f"{f.name}: {other / f.seconds:.2f}x" for f in figures)
        print(f"the original: {1e3 * other:.2f} ms/eval; as fast per evaluation as it, {ratios}")
    report = {"step": step, "original": other, "figures": [asdict(f) for f in figures]}
    command.write(options.json, report)


if __name__ == "__main__":
    command.main(run)
