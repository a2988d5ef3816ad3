"""Adaptive sampling on the device against the published way, on the same network and noise.

    python -m benchmarks.ode --config configs/vp_digits.py --workdir runs/digits

The published way (score_sde's ODE sampler) is SciPy's RK45 on the host, in t, rtol = atol = 1e-5,
over the whole batch as one vector; its drift is one compiled call. This framework's solver is run
at several tolerances, clocks and solvers. All start from the same noise; errors are root mean
squares against DPM-Solver++ of order 3 in 1,500 steps. Per evaluation, times are medians of
`--rounds` runs that take turns with the published way's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import samplers
from benchmarks import command
from benchmarks.ways import REFERENCE_STEPS, Figure, Way, compare, rk45
from modes.experiment import Experiment
from modes.trained import load_score
from samplers import AdaptiveODE
from samplers.adaptive.ode import CLOCKS
from sde_lib import Conditional, Score

TOLERANCES = {
    "adams, log_snr": (1e-3, 3e-4, 2.5e-4, 2e-4, 1e-4),
    "dopri5, log_snr": (1e-4, 3e-5, 1e-5),
    "tsit5, log_snr": (1e-4, 3e-5),
    "dopri5, time": (1e-4, 1e-5),
}


def candidate(name: str, tolerance: float) -> samplers.Sampler:
    """The sampler of a row."""
    solver, clock = name.split(", ")
    if solver == "adams":
        return samplers.AdaptiveAdams(tolerance, tolerance)
    return AdaptiveODE(tolerance, tolerance, solver, CLOCKS[clock](), shared=True)


def published(score: Score, x: jax.Array, start: float, end: float) -> Way:
    """SciPy's RK45 in t, the published way; the drift is compiled by the first call."""
    drift = jax.jit(lambda x, t: score.velocity(x, t))

    def field(t: float, y: np.ndarray) -> np.ndarray:
        given = jnp.asarray(y.reshape(x.shape), jnp.float32)
        return np.asarray(drift(given, jnp.float32(t)), np.float64).ravel()

    def way() -> tuple[np.ndarray, int]:
        solution = rk45(field, (start, end), np.asarray(x, np.float64).ravel())
        return solution.y[:, -1].reshape(x.shape), solution.nfev

    return way


def ours(score: Score, x: jax.Array, times: jax.Array, sampler: samplers.Sampler) -> Way:
    """A sampler of ours."""
    keys = samplers.sample_keys(jax.random.key(0), jnp.arange(len(x)))

    def way() -> tuple[np.ndarray, int]:
        drawn = samplers.sample(
            score, sampler, times, keys, shape=x.shape[1:], start=x, denoise=False
        )
        return np.asarray(drawn.x), int(drawn.evaluations.max())

    return way


def measure(score: Score, x: jax.Array, times: jax.Array, rounds: int) -> list[Figure]:
    """The published way, then every candidate."""
    tried = {f"{n}, {t:g}": candidate(n, t) for n, ts in TOLERANCES.items() for t in ts}
    start, end = float(times[0]), float(times[-1])
    fine = samplers.LogSNR()(score.sde, REFERENCE_STEPS, start, end)
    reference = ours(score, x, fine, samplers.AdamsBashforth(3))()[0]
    ways = {"published": published(score, x, start, end)}
    ways |= {name: ours(score, x, times, sampler) for name, sampler in tried.items()}
    error = lambda x: float(np.sqrt(np.mean((x - reference) ** 2)))
    return compare(ways, error, rounds)[0]


def table(figures: list[Figure]) -> str:
    """The figures as lines, with ratios to the first."""
    first = figures[0]
    head = f"{'solver, clock, tolerance':28s} {'error':>9s} {'NFE':>5s} {'of':>5s}"
    lines = [f"{head} {'ms/eval':>8s} {'of':>5s}"]
    for f in figures:
        nfe, seconds = f.evaluations / first.evaluations, f.seconds / first.seconds
        counts = f"{f.name:28s} {f.error:9.2e} {f.evaluations:5d} {nfe:5.2f}"
        lines.append(f"{counts} {1e3 * f.seconds:8.2f} {seconds:5.2f}")
    return "\n".join(lines)


def run(arguments: Sequence[str]) -> None:
    """Measure, print, and write the report if asked to."""
    options, config = command.parse(arguments, __doc__, partial(command.of_a_model, batch=64))
    experiment = Experiment.of(config)
    score, step = load_score(experiment, options.workdir)
    classes = config.model.num_classes
    condition = jnp.arange(options.batch) % classes if classes else None
    shape = (options.batch, *experiment.shape)
    sde = experiment.sde
    x = sde.prior_sample(jax.random.key(1), shape)
    times = jnp.asarray([sde.T, sde.t_min_sampling or sde.t_min], jnp.float32)
    figures = measure(Conditional(score, condition), x, times, options.rounds)
    ends = f"t from {float(times[0]):g} to {float(times[1]):g}"
    print(f"step {step}, batch {options.batch}, {command.device()}, {ends}")
    print(table(figures))
    command.write(options.json, {"step": step, "figures": [asdict(f) for f in figures]})


if __name__ == "__main__":
    command.main(run)
