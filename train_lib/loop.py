"""Training, read top to bottom: claim the workdir, resume, step, log, evaluate, save, leave."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import data_lib
from eval_lib import pictures
from eval_lib.generate import Generator
from sde_lib import Score
from train_lib import sharding, workdir
from train_lib.checkpoint import Checkpoints
from train_lib.experiment import SAMPLE_STREAM, Experiment
from train_lib.files import WorkdirLock, atomic_write
from train_lib.logging import RunLog, duration, speed
from train_lib.state import TrainState
from train_lib.step import Batch, Recipe, make_step

EVAL_SEED = 1
"""Of the times and noises of the held-out loss: the same at every evaluation."""


class Diverged(RuntimeError):
    """The loss stopped being a number; what was saved before is kept."""


# Leaving on a signal -----------------------------------------------------------------------------


@dataclass
class StopRequest:
    """Set by SIGTERM or Ctrl-C; the loop saves and leaves at the next step."""

    signum: int = 0

    def __bool__(self) -> bool:
        return self.signum != 0


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn the first SIGTERM or SIGINT into a request; a second one ends the process at once."""
    request = StopRequest()

    def ask(signum: int, frame: FrameType | None) -> None:
        request.signum = signum
        signal.signal(signum, previous[signal.Signals(signum)])

    signals = signal.SIGTERM, signal.SIGINT
    previous = {s: signal.signal(s, ask) for s in signals}
    try:
        yield request
    finally:
        for s in signals:
            signal.signal(s, previous[s])


# The held-out loss -------------------------------------------------------------------------------


def make_eval(recipe: Recipe) -> Callable[[Any, Array, Batch], tuple[Array, Array]]:
    """evaluate(params, key, batch) -> (sum of losses, number of images), padding left out."""

    @jax.jit
    def evaluate(params: Any, key: Array, batch: Batch) -> tuple[Array, Array]:
        score = replace(recipe.score, params=params)
        condition = recipe.condition(batch)
        losses = recipe.objective(score, key, batch["image"], condition, train=False)
        return jnp.sum(losses * batch["mask"]), jnp.sum(batch["mask"])

    return evaluate


def held_out_loss(
    evaluate: Callable[..., Any], params: Any, images: data_lib.Images, config: Any, mesh: Any
) -> float:
    """The mean loss over a whole split, with the same times and noises every time."""
    data = config.data
    batches = data_lib.epoch_batches(
        images,
        batch_size=-(-config.eval.batch_size // mesh.size) * mesh.size,
        centered=data.centered,
        dequantize_seed=EVAL_SEED if data.uniform_dequantization else None,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    key = jax.random.key(EVAL_SEED)
    sums = [
        evaluate(params, jax.random.fold_in(key, k), sharding.shard_batch(batch, mesh))
        for k, batch in enumerate(batches)
    ]
    total, count = (sum(map(float, column)) for column in zip(*sums, strict=True))
    return total / count


# Building blocks ---------------------------------------------------------------------------------


def check_labels(splits: data_lib.Splits, classes: int) -> None:
    """ValueError unless the training data has the labels that a model of `classes` is told."""
    labels = splits.train.labels
    if not classes:
        return
    if labels is None:
        raise ValueError(f"model.num_classes={classes} needs labelled data, and {splits.name} has "
                         "no labels: use model.num_classes=0")  # fmt: skip
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"model.num_classes={classes} is too few for {splits.name}, whose labels "
                         f"run from {labels.min()} to {labels.max()}")  # fmt: skip


def make_generator(experiment: Experiment, score: Score) -> Generator:
    """What draws the config's samples from a trained score."""
    config = experiment.config
    return Generator(
        score,
        experiment.sampler,
        experiment.times,
        experiment.key(SAMPLE_STREAM),
        experiment.image_shape,
        data_lib.Scaler(config.data.centered),
        denoise=config.sampling.noise_removal,
        frames=config.sampling.frames,
        classes=config.model.num_classes,
    )


def restore_or_start(experiment: Experiment, checkpoints: Checkpoints, mesh: Any) -> TrainState:
    """The newest sound checkpoint's state, or a fresh one if nothing was ever saved."""
    if not checkpoints.steps():
        return sharding.replicate(experiment.init_state(), mesh)
    place = sharding.replicated(mesh)
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
        experiment.abstract_state().as_dict(),
    )
    return TrainState.from_dict(checkpoints.restore(abstract).state)


def training_batches(images: data_lib.Images, config: Any, start: int) -> data_lib.Batches:
    """The batches of a run from step `start` on."""
    return data_lib.Batches(
        images,
        batch_size=config.training.batch_size,
        seed=config.seed,
        flip=config.data.random_flip,
        dequantize=config.data.uniform_dequantization,
        centered=config.data.centered,
        start_step=start,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def stack_batches(batches: Iterator[dict[str, Any]], k: int, mesh: Any) -> Batch:
    """The next k batches as device arrays [k, b, ...]."""
    several = [next(batches) for _ in range(k)]
    stacked = jax.tree.map(lambda *parts: np.stack(parts), *several)
    return sharding.shard_batch(stacked, mesh, axis=1)


def next_stop(step: int, total: int, *periods: int) -> int:
    """The first step after `step` at which something is due: a multiple of a period, or the end."""
    due = [step + p - step % p for p in periods if p]
    return min([total, *due])


def is_due(step: int, period: int, total: int) -> bool:
    """Whether something with this period (0: never) happens at `step`; the end counts."""
    return period > 0 and (step % period == 0 or step == total)


class Throughput:
    """Updates per second, measured between calls."""

    def __init__(self, step: int) -> None:
        self.start(step)

    def start(self, step: int) -> None:
        """Begin to measure here: what lies before, such as compilation, does not count."""
        self._step, self._time = step, time.perf_counter()

    @property
    def seconds(self) -> float:
        """Since the start or the last lap."""
        return time.perf_counter() - self._time

    def lap(self, step: int) -> float | None:
        """Updates/s since the start or the last lap; None if there were none."""
        done, seconds = step - self._step, self.seconds
        self.start(step)
        return done / seconds if done else None


# Unoptimized, because it takes longer to compile than it is ever going to run.
@partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
def all_finite(tree: Any) -> Array:
    """Whether no number in the tree is infinite or NaN."""
    numbers = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in numbers]))


# The loop ----------------------------------------------------------------------------------------


def train(experiment: Experiment, folder: Path, log: Callable[[str], None] = print) -> int:
    """Train to `training.n_iters`, resuming whatever `folder` holds.

    Returns 0 when done, or 128 + the signal that asked to leave, after saving.
    Nothing is written before the data is there; parameters that are not finite are never saved.
    Raises ValueError, WorkdirError, WorkdirLockedError, CheckpointError or Diverged.
    """
    config = experiment.config
    workdir.check_same(folder, config)
    splits = data_lib.load(config.data, log=log)
    check_labels(splits, config.model.num_classes)
    workdir.create(folder)
    with WorkdirLock(folder), stop_on_signals() as stop:
        workdir.claim(folder, config)
        keep, permanent = config.training.keep, config.training.snapshot_freq
        with Checkpoints(
            folder / "checkpoints", keep=keep, snapshot_every=permanent, log=log
        ) as checkpoints:
            return _run(experiment, folder, splits, checkpoints, stop, log)


def _run(
    experiment: Experiment,
    folder: Path,
    splits: data_lib.Splits,
    checkpoints: Checkpoints,
    stop: StopRequest,
    log: Callable[[str], None],
) -> int:
    config, training = experiment.config, experiment.config.training
    total, mesh = training.n_iters, sharding.device_mesh()
    lead = jax.process_index() == 0

    # State and data, from where the last run ended
    state = restore_or_start(experiment, checkpoints, mesh)
    step = int(state.step)
    batches = training_batches(splits.train, config, step)
    size = sum(x.size for x in jax.tree.leaves(state.params))
    start = f"resuming at step {step}" if step else "starting"
    log(f"{start}: {size:,} parameters, {len(splits.train):,} training images of {splits.name}, "
        f"{mesh.size} {jax.default_backend()} device(s), to step {total}")  # fmt: skip
    update, evaluate = make_step(experiment.recipe), make_eval(experiment.recipe)
    recent: list[dict[str, Float[Array, " k"]]] = []

    def diverged() -> Diverged:
        checkpoints.wait()
        saved = checkpoints.latest()
        kept = "nothing was saved yet" if saved is None else f"checkpoint {saved} is kept"
        return Diverged(
            f"the training diverged before step {step} of {total}, {kept}: train in another "
            "--workdir with a smaller optim.lr or optim.grad_clip"
        )

    def save(wait: bool = False) -> None:
        # The optimizer's state and the averages cannot be worse than the parameters they made.
        if not all_finite(state.params):
            raise diverged()
        meta = {"config": workdir.read_config(folder), "data_step": step}
        checkpoints.save(step, state.as_dict(), meta, wait=wait)

    with RunLog(folder / "logs", step, total, active=lead) as run_log:
        periods = (training.log_freq, training.eval_freq, training.snapshot_freq,
                   training.snapshot_freq_for_preemption)  # fmt: skip
        clock, compiled = Throughput(step), False
        while step < total and not stop:
            # Up to n_jitted_steps updates in one call, never past something that is due
            due = next_stop(step, total, *periods)
            k = min(training.n_jitted_steps, due - step)
            state, metrics = update(state, stack_batches(batches, k, mesh))
            step += k
            recent.append(metrics)
            run_log.advance(k)
            if not compiled:
                compiled = True
                run_log.say(f"compiled in {duration(clock.seconds)}")
                clock.start(step)

            if is_due(step, training.log_freq, total):
                values = jax.device_get(recent)
                loss = float(np.mean(np.concatenate([m["loss"] for m in values])))
                norm = float(np.mean(np.concatenate([m["grad_norm"] for m in values])))
                if not math.isfinite(loss + norm):
                    raise diverged()
                pace, speeds = "", {}
                if rate := clock.lap(step):
                    speeds = {"images_per_second": rate * training.batch_size}
                    pace = (f"  {speed(speeds['images_per_second'])} images/s"
                            f"  {duration((total - step) / rate)} left")  # fmt: skip
                run_log.write(step, train_loss=loss, grad_norm=norm, **speeds)
                run_log.say(f"step {step}/{total}  loss {loss:.4g}{pace}")
                recent = []
            if is_due(step, training.eval_freq, total):
                loss = held_out_loss(evaluate, state.ema[0], splits.test, config, mesh)
                run_log.write(step, eval_loss=loss)
                run_log.say(f"step {step}/{total}  held-out loss {loss:.4g}")
                clock.start(step)
            if is_due(step, training.snapshot_freq_for_preemption, total) or is_due(
                step, training.snapshot_freq, total
            ):
                save()
            if is_due(step, training.snapshot_freq, total):
                _snapshot(experiment, folder, state, step, run_log)
                clock.start(step)
        save(wait=True)
    if stop and step < total:
        log(f"asked to stop: saved step {step} of {total}; the same command goes on from there")
        return 128 + stop.signum
    log(f"trained to step {step}: {folder}")
    return 0


def _snapshot(
    experiment: Experiment, folder: Path, state: TrainState, step: int, run_log: RunLog
) -> None:
    """A grid of samples and the loss curve, as pictures."""
    sampling = experiment.config.sampling
    images = None
    if experiment.config.training.snapshot_sampling:
        score = replace(experiment.score, params=state.ema[0])
        generator = replace(make_generator(experiment, score), frames=0)
        count = min(sampling.num_samples, sampling.batch_size)
        images = generator.draw(0, count)["samples"]
    if jax.process_index() == 0:
        pictures_folder = folder / "snapshots"
        pictures_folder.mkdir(exist_ok=True)
        if images is not None:
            png = pictures.grid_png(images)
            atomic_write(pictures_folder / f"samples_{step:08d}.png", png)
        atomic_write(folder / "loss.png", pictures.loss_curve_png(run_log.curves()))
