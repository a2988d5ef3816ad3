"""`--mode train`, in the order of the code: claim the workdir, resume, update, log, evaluate, save,
draw samples, leave."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

import data_lib
from configs.schema import flatten
from data_lib.transforms import to_unit
from eval_lib import pictures
from modes import preflight, texts
from modes.autoencoders import codec_of_weights
from modes.conditions import of_data
from modes.experiment import Experiment
from modes.generate import picture
from modes.generator import make_generator
from modes.latent_data import in_latents
from runtime_lib import data_record, hardware, sharding, workdir
from runtime_lib.checkpoints.store import Checkpoints
from runtime_lib.files import Content, WorkdirLock, atomic_write, remove_temporary
from runtime_lib.logging import RunLog, WeightsAndBiases, duration, speed
from runtime_lib.processes import Agreement, by_the_first, is_first
from runtime_lib.signals import StopRequest, stop_on_signals
from train_lib import buckets, chain, feed, held_out, periods
from train_lib.guard import Watch, all_finite
from train_lib.measures import summarised
from train_lib.meter import Clock, Meter
from train_lib.state import TrainState
from train_lib.step import Step, make_step

LOGS, SNAPSHOTS = "logs", "snapshots"
"""Folders of a workdir."""
SHOWN = 16
"""Reconstructions in a picture."""


class Diverged(RuntimeError):
    """Too many bad updates in a row, or a parameter that is not finite; checkpoints are kept."""


def train(experiment: Experiment, folder: Path, log: Callable[[str], None] = print) -> int:
    """Train to `training.n_iters`, resuming whatever `folder` holds.

    Returns 0 when done, or 128 + the signal that asked to leave, after saving.
    Nothing is written before the data is there; parameters that are not finite are never saved.
    Raises ValueError, WorkdirError, WorkdirLockedError, CheckpointError or Diverged.
    """
    config = experiment.config
    workdir.check_same(folder, config)
    recipe = replace(experiment.recipe, untold=texts.untold(config))
    experiment = replace(experiment, recipe=recipe)
    splits = experiment.splits or data_lib.load(config.data, log=log)
    splits = texts.with_texts(splits, config, folder, log)
    feed.check_labels(splits, config.model.num_classes)
    feed.check_conditions(splits, config)
    chain.check_levels(experiment.recipe.objective, splits.train.levels)
    if remark := feed.unused(splits.train, config):
        log(remark)
    identity = data_record.check(folder, config, splits, log)
    workdir.create(folder)
    with WorkdirLock(folder), stop_on_signals() as stop:
        splits = in_latents(config, splits, folder, log)
        placed = experiment.layout.shardings(experiment.abstract_state())
        preflight.make_room()
        step = make_step(experiment.recipe, placed)
        needs = preflight.estimate(experiment, step)
        log(needs.text())
        preflight.check(needs, experiment)
        by_the_first(_tidy)(folder)
        workdir.claim(folder, config)
        data_record.write(folder, identity, splits.train.names)
        keep, permanent = config.training.keep, config.training.snapshot_freq
        with Checkpoints(
            folder / "checkpoints", keep=keep, snapshot_every=permanent, log=log
        ) as checkpoints:
            if (checkpoints.latest() or 0) < config.training.n_iters:
                step = _compiled(experiment, step, log)
            return _Run(experiment, folder, splits, checkpoints, step, needs, log).go(stop)


def _tidy(folder: Path) -> None:
    """Remove what a killed run has left half-written; checkpoints are cleaned by `Checkpoints`."""
    for place in (folder, folder / LOGS, folder / SNAPSHOTS):
        remove_temporary(place)


def restore_or_start(experiment: Experiment, checkpoints: Checkpoints) -> TrainState:
    """The newest sound checkpoint's state, or a fresh one if nothing was ever saved."""
    if not checkpoints.steps():
        return experiment.init_state()
    wanted = experiment.layout.abstract(experiment.abstract_state().as_dict())
    placed = experiment.layout.shardings(Watch.start())
    new = (
        {"watch": jax.device_put(Watch.start(), placed)}
        if "watch" not in checkpoints.entries()
        else {}
    )
    wanted = {name: leaf for name, leaf in wanted.items() if name not in new}
    return TrainState.from_dict({**checkpoints.restore(wanted).state, **new})


def _compiled(experiment: Experiment, step: Step, log: Callable[[str], None]) -> Step:
    start = time.perf_counter()
    prepared = preflight.prepare(experiment, step)
    log(f"compiled in {duration(time.perf_counter() - start)}")
    return prepared


def _told(others: dict[str, float]) -> str:
    """The measurements beside the loss, for a line of the log."""
    return "".join(f"  {name} {mean:.4g}" for name, mean in others.items())


class _Run:
    """A run with its data and its claimed workdir: `go` is the loop, its steps follow in order."""

    def __init__(
        self,
        experiment: Experiment,
        folder: Path,
        splits: data_lib.Splits,
        checkpoints: Checkpoints,
        step: Step,
        needs: preflight.Needs,
        say: Callable[[str], None],
    ) -> None:
        config = experiment.config
        self._experiment, self._folder, self._splits = experiment, folder, splits
        self._checkpoints, self._say = checkpoints, say
        self._settings, self._total = config.training, config.training.n_iters
        self._mesh = experiment.layout.mesh
        self._state = restore_or_start(experiment, checkpoints)
        self._step = int(self._state.step)
        self._batches = feed.training_batches(splits.train, config, self._step)
        self._update, self._evaluate = step, held_out.make_eval(experiment.recipe)
        self._meter, self._clock, self._begun = Meter(), Clock(self._step), False
        self._ranges = buckets.names(experiment.recipe.objective, experiment.sde)
        self._operations = needs.update * config.training.batch_size
        self._peak = hardware.peak_of_all()
        self._agree = Agreement(self._mesh)

    def go(self, stop: StopRequest) -> int:
        """Train until the end or until asked to stop; returns the exit code."""
        self._say(self._opening())
        training = self._settings
        preemption, signum = training.snapshot_freq_for_preemption, 0
        with self._open_log() as self._log:
            self._clock.start(self._step)
            while self._step < self._total and not (signum := self._agree(stop.signum)):
                self._advance()
                if self._due(training.log_freq):
                    self._report()
                if self._due(training.eval_freq):
                    self._report_held_out()
                if self._due(preemption) or self._due(training.snapshot_freq):
                    self._save()
                if self._due(training.snapshot_freq):
                    self._snapshot()
            self._save(wait=True)
        return self._leave(signum)

    # A turn of the loop, in its order -----------------------------------------------------------

    def _advance(self) -> None:
        """Make up to n_jitted_steps updates in one call, stopping where something is due."""
        training = self._settings
        all_of = (training.log_freq, training.eval_freq, training.snapshot_freq,
                  training.snapshot_freq_for_preemption)  # fmt: skip
        due = periods.next_stop(self._step, self._total, *all_of)
        k = min(training.n_jitted_steps, due - self._step)
        fetch = partial(feed.stack_batches, self._batches, k, self._mesh)
        self._state, metrics = self._update(self._state, self._clock.fetch(fetch))
        self._clock.working_on(metrics.loss)
        self._step += k
        self._meter.add(metrics)
        self._log.advance(k)
        if not self._begun:  # the first call waits for the data's workers, too
            self._begun = True
            self._clock.start(self._step)

    def _report(self) -> None:
        """Log the training loss and the pace since the last report."""
        self._check_guard()
        means, told, speeds = self._meter.summary(), "", {}
        if pace := self._clock.lap(self._step):
            images = pace.rate * self._settings.batch_size
            used = pace.rate * self._operations / self._peak
            speeds = {"steps_per_second": pace.rate, "images_per_second": images,
                      "flops_utilization": used, "data_wait": pace.data_wait}  # fmt: skip
            told = (
                f"  {speed(images)} examples/s, {used:.0%} of peak, {pace.data_wait:.0%} waiting "
                f"for data  {duration((self._total - self._step) / pace.rate)} left"
            )
        refused = f"  bad updates left out: {means.refused}" if means.refused else ""
        by_time = means.others if self._ranges else {}
        others = {name: mean for name, (mean, _) in means.others.items()}
        others = summarised(self._experiment.recipe.objective, others)
        self._log.write(
            self._step,
            train_loss=means.loss,
            grad_norm=means.grad_norm,
            update_norm=means.update_norm,
            refused=means.refused,
            **({"loss_by_time": self._by_time(means.loss_by_time)} if self._ranges else {}),
            peak_memory_bytes=hardware.peak_memory(),
            **speeds,
            **others,
            **{f"{name}_by_time": self._by_time(m) for name, (_, m) in by_time.items()},
        )
        told = _told(others) + told
        self._log.say(f"step {self._step}/{self._total}  loss {means.loss:.4g}{told}{refused}")

    def _by_time(self, means: Any) -> dict[str, float]:
        return dict(zip(self._ranges, means.tolist(), strict=True))

    def _report_held_out(self) -> None:
        """Log the held-out loss of the averaged weights."""
        self._check_guard()
        config, params = self._experiment.config, self._state.ema[0]
        objective = self._experiment.recipe.objective
        images, mesh = self._splits.test, self._mesh
        found = held_out.means(self._evaluate, params, images, config, mesh, objective)
        self._log.write(self._step, **{f"eval_{name}": mean for name, mean in found.items()})
        loss = found.pop("loss")
        told = f"held-out loss {loss:.4g}{_told(found)}"
        self._log.say(f"step {self._step}/{self._total}  {told}")
        self._clock.start(self._step)

    def _save(self, wait: bool = False) -> None:
        """Save a checkpoint, unless the run diverged."""
        self._check_guard()
        self._write(self._step, wait)

    def _write(self, step: int, wait: bool) -> None:
        # The optimizer's state and the averages cannot be worse than the parameters they made.
        if not all_finite(self._state.params):
            raise self._diverged(f"a parameter is not finite after update {step}")
        meta = {"config": workdir.read_config(self._folder), "data_step": step}
        self._checkpoints.save(step, self._state.as_dict(), meta, wait=wait)

    def _snapshot(self) -> None:
        """Write a grid of samples and the loss curve as pictures."""
        show = self._reconstructions if self._experiment.autoencodes else self._samples
        name, png = show() if self._settings.snapshot_sampling else ("", None)
        if is_first():
            pictures_folder = self._folder / SNAPSHOTS
            pictures_folder.mkdir(exist_ok=True)
            if png is not None:
                atomic_write(pictures_folder / f"{name}_{self._step:08d}.png", png)
            curves = pictures.loss_curve_png(self._log.curves())
            atomic_write(self._folder / "loss.png", curves)
        self._clock.start(self._step)

    def _samples(self) -> tuple[str, Content | None]:
        """(name, picture) of samples by the averaged weights."""
        sampling = self._experiment.config.sampling
        score = self._experiment.score.with_params(self._state.ema[0])
        given = of_data(self._experiment, self._splits.test)
        generator = replace(make_generator(self._experiment, score, given), frames=0)
        count = min(sampling.num_samples, sampling.batch_size)
        images = generator.draw(0, count)["samples"]
        return "samples", picture(generator, images) if is_first() else None

    def _reconstructions(self) -> tuple[str, Content | None]:
        """(name, picture) of held-out pictures above what an autoencoder makes of them."""
        score = self._experiment.score.with_params(self._state.ema[0])
        few = self._splits.test.take(slice(SHOWN))
        x = to_unit(few.pixels, few.levels)
        made = codec_of_weights(self._experiment.config, score)
        rows = np.stack([x, made.decode(made.encode(x))])
        return "reconstructions", pictures.rows_png(rows) if is_first() else None

    def _leave(self, signum: int) -> int:
        """Print where training ended; returns the exit code."""
        if signum and self._step < self._total:
            self._say(f"asked to stop: saved step {self._step} of {self._total}; "
                      "the same command goes on from there")  # fmt: skip
            return 128 + signum
        self._say(f"trained to step {self._step}: {self._folder}")
        return 0

    # Divergence ----------------------------------------------------------------------------------

    def _check_guard(self) -> None:
        """Save the state before the bad updates, and raise Diverged, if there are too many."""
        watch, guard = self._state.watch, self._experiment.recipe.guard
        if not guard.is_over(watch):
            return
        self._state = replace(self._state, watch=watch.resumed())
        step = int(self._state.step)
        loss, norm = self._meter.first_refused()
        many = f"{guard.patience} in a row, the first " if guard.patience > 1 else ""
        self._write(step, wait=True)
        raise self._diverged(
            f"{many}update {step - guard.patience + 2} had loss {loss:.4g} and gradient norm "
            f"{norm:.4g}, after a mean loss of {float(watch.mean):.4g}"
        )

    def _diverged(self, told: str) -> Diverged:
        self._checkpoints.wait()
        saved = self._checkpoints.latest()
        kept = "nothing was saved yet" if saved is None else f"checkpoint {saved} is kept"
        return Diverged(
            f"the training diverged: {told}; {kept}. To skip such updates, raise "
            f"training.patience (now {self._settings.patience}) and go on; or train in another "
            "--workdir with a smaller optim.lr or optim.grad_clip"
        )

    # Periods, the log and its first line ---------------------------------------------------------

    def _due(self, period: int) -> bool:
        return periods.is_due(self._step, period, self._total)

    def _open_log(self) -> RunLog:
        folder, config = self._folder / LOGS, self._experiment.config
        project = config.training.wandb
        more = lambda: [WeightsAndBiases(project, folder, flatten(config))] if project else []
        return RunLog(folder, self._step, self._total, active=is_first(), more=more)

    def _opening(self) -> str:
        start = f"resuming at step {self._step}" if self._step else "starting"
        train = self._splits.train
        return (f"{start}: {len(train):,} training examples of "
                f"{self._splits.name}, {self._devices()}, "
                f"to step {self._total}")  # fmt: skip

    def _devices(self) -> str:
        told = f"{self._mesh.size} {jax.default_backend()} device(s)"
        count, parts = jax.process_count(), self._mesh.shape[sharding.FSDP]
        told += f" of {count} processes" if count > 1 else ""
        return told + (f", each copy of the model divided among {parts}" if parts > 1 else "")
