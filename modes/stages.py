"""Stages of a cascade: coarse pictures for a model with a data.coarse, of a workdir or of a file.

`sampling.base` names the workdir of the stage before, or several from the first on, which draw one
coarse picture for each sample; or a file of coarse pictures, which samples are given in turn, or of
one picture. What a stage draws depends on the seed, the stage's number and the sample's, and on the
stage's own settings as they were saved; it is kept in WORKDIR/stages, so that another level,
another mode and a command that was interrupted draw nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

import models
import samplers
from configs import schema
from configs.changed import with_settings
from configs.kinds import coarse_shape, of_config, with_coarse
from configs.recorded import Recorded
from configs.shapes import in_words
from data_lib import Images
from data_lib.base import Log
from data_lib.codec import of_pixels
from data_lib.conditions import beside
from data_lib.levels import as_numbers
from data_lib.transforms import to_unit
from data_lib.tree import SUFFIXES
from modes import texts, trained
from modes.conditions import of_data, of_sampling
from modes.experiment import STAGE_STREAM, Experiment
from modes.generate import collected
from modes.generator import Generator, Given, compared, make_generator
from modes.guides import experiment_of
from modes.images import of_path
from modes.inputs import pictures
from modes.observed import digest, sampling_of
from modes.trained import load_score
from runtime_lib import workdir
from runtime_lib.results import Identity, Parts, short
from runtime_lib.workdir import WorkdirError, read_config
from sde_lib import SDE, ModelScore
from sde_lib.coarse import COARSE_SCHEDULES, Coarse
from untrusted import plain

GivenOf = Callable[[Experiment, Path, Log], Given]
"""(stage, its workdir, log) -> the conditions of the data, and classes, that it is given."""
FOLDER = "stages"
FILES = (".npz", ".npy", *SUFFIXES)


@dataclass(frozen=True, eq=False)
class Handed:
    """Coarse pictures, in the units of the data, that samples get in turn.

    pictures: [k, *coarse shape]. labels: the class of each; () without classes. noisy: whether they
    have the noise of the level already. identity: what they depend on, for JSON. captions: those
    that an earlier stage was given, None if none was.
    """

    pictures: Float[np.ndarray, "k *d"]
    labels: tuple[int, ...]
    noisy: bool
    identity: Identity
    captions: np.ndarray | None = None

    def of(self, total: int) -> Float[np.ndarray, "n *d"]:
        """The pictures of samples 0 .. total - 1."""
        return self.pictures[np.arange(total) % len(self.pictures)]


def is_file(config: Any) -> bool:
    """True if `sampling.base` names a file of coarse pictures."""
    return Path(config.sampling.base).suffix.lower() in FILES


def check(config: Any) -> None:
    """Raise ValueError for settings of the stage before that have no use here."""
    if config.sampling.base and not coarse_shape(config):
        raise ValueError("sampling.base must be empty for a model without data.coarse: it is "
                         "given no coarse picture")  # fmt: skip
    if not config.sampling.base_truncated:
        return
    if not config.sampling.base or is_file(config):
        raise ValueError("sampling.base_truncated needs sampling.base: the workdir of a stage that "
                         "can end at a level")  # fmt: skip
    if config.data.coarse_noise != "coarse":
        raise ValueError(
            "sampling.base_truncated needs data.coarse_noise='coarse': the noise that is left in "
            "a coarse picture goes through the filter"
        )


def handed(
    experiment: Experiment, total: int, given_of: GivenOf, folder: Path, log: Log
) -> Handed | None:
    """The coarse pictures of `sampling.base` for `total` samples; None without one.

    Raises ValueError, in the user's terms, for a stage or a file of other pictures.
    """
    config = experiment.config
    check(config)
    if not config.sampling.base:
        return None
    if is_file(config):
        return _of_file(config, log)
    return _of_workdirs(experiment, total, given_of, folder, log)


def _of_file(config: Any, log: Log) -> Handed:
    path = Path(config.sampling.base)
    if path.suffix.lower() in SUFFIXES:
        found = pictures(path, "sampling.base", config, log, coarse_shape(config))
    else:
        found = of_path(config, path, "sampling.base", clip=True, log=log)
    x = to_unit(found.pixels, found.levels)
    _check_shape(x, config, f"sampling.base, {plain(str(path))},")
    labels = () if found.labels is None or not config.model.num_classes else found.labels.tolist()
    told = {"coarse": len(x), "coarse_sha256": digest(x)}
    return Handed(x, tuple(labels), False, told)


def of_arrays(experiment: Experiment, low: Float[np.ndarray, "..."]) -> Handed:
    """One coarse picture, or several; ValueError for others than the model is given."""
    config, low = experiment.config, as_numbers(low, "coarse")
    x = low[None] if low.shape == coarse_shape(config) else low
    _check_shape(x, config, "coarse")
    return Handed(x, (), False, {})


def _check_shape(x: np.ndarray, config: Any, what: str) -> None:
    wanted = coarse_shape(config)
    if not wanted:
        raise ValueError(f"{what} must be left out for a model without data.coarse: it is given no "
                         "coarse picture")  # fmt: skip
    if x.shape[1:] != wanted or not len(x):
        raise ValueError(f"{what} must hold coarse pictures of {in_words(wanted)}, got an array of "
                         f"shape {x.shape}")  # fmt: skip


def _of_workdirs(
    experiment: Experiment, total: int, given_of: GivenOf, folder: Path, log: Log
) -> Handed:
    config = experiment.config
    folders = [Path(part.strip()) for part in config.sampling.base.split(",")]
    stage = _stage(experiment, folders, log)
    score, step = load_score(stage, folders[-1], log)
    given = given_of(stage, folders[-1], log)
    before = handed(stage, total, given_of, folder, log)
    generator = generator_of(stage, score, given, before, total)
    key = jax.random.fold_in(experiment.key(STAGE_STREAM), len(folders) - 1)
    generator = replace(generator, key=key)
    truncated = experiment.recipe.coarse if config.sampling.base_truncated else None
    factor = 1.0
    if truncated is not None:
        _check_alike(stage, experiment)
        generator, factor = _ending(generator, truncated, stage)
    identity = {
        "base": {
            "stage": len(folders) - 1,
            "step": step,
            "weights": trained.digest(score),
            "seed": config.seed,
            "sampling": sampling_of(stage.config),
            "ends_at": None if truncated is None else config.sampling.coarse_level,
            "given": None if given.conditions is None else digest(given.conditions),
            **stage.guided_by,
            **({} if before is None else before.identity),
        }
    }
    batch = stage.config.sampling.batch_size
    log(f"stage {len(folders)}: {total} coarse pictures of {plain(str(folders[-1]))}, step {step}")
    own = {**identity, "batch_size": batch}
    target = folder / FOLDER / short(own)
    with workdir.writing(target, "finished batches"):
        arrays, _ = collected(generator, total, batch, Parts(target, own, log), log)
    labels = arrays.get("labels") if experiment.classes else None
    found = () if labels is None else tuple(labels.tolist())
    centre = np.asarray((stage.codec.affine() or (0, 0))[1], np.float32)
    pictures = arrays["samples"]
    if factor != 1:
        pictures = centre + np.float32(factor) * (pictures - centre)
    said = given.captions if before is None or given.captions is not None else before.captions
    return Handed(pictures, found, truncated is not None, identity, said)


def _stage(experiment: Experiment, folders: list[Path], log: Log) -> Experiment:
    """The experiment of the last workdir, told of those before it; errors name `sampling.base`."""
    config, path = experiment.config, folders[-1]
    saved = read_config(path)
    if saved is None:
        raise WorkdirError(f"sampling.base: {plain(str(path))} holds no trained model")
    given = with_settings(schema.get_default(), saved, {})
    told: dict[str, Any] = {
        "seed": config.seed,
        "sampling.base": ",".join(map(str, folders[:-1])),
        "sampling.base_truncated": False,
        "sampling.labels": config.sampling.labels if given.model.num_classes else (),
        **{f"sampling.{name}": _passed(name, config, given, folders[:-1]) for name in TAKEN},
    }
    other = with_settings(schema.get_default(), saved, told)
    if models.is_classifier(other):
        raise WorkdirError(f"sampling.base: {plain(str(path))} holds a classifier")
    stage, wanted = experiment_of(Recorded.of(other), None, path, log), coarse_shape(config)
    if stage.example != wanted:
        raise ValueError(
            f"sampling.base: {plain(str(path))} draws pictures of {in_words(stage.example)}, and "
            f"the coarse pictures of the stage after it are of {in_words(wanted)}"
        )
    if stage.codec.of_levels != experiment.codec.of_levels:
        raise ValueError(f"sampling.base: {plain(str(path))} draws data of another kind: "
                         f"data.codec={other.data.codec!r}")  # fmt: skip
    return stage


def _reads(config: Any) -> bool:
    return bool(config.data.words) or texts.reads_texts(config)


TAKEN: dict[str, Callable[[Any], bool]] = {
    "condition": lambda config: bool(of_config(config).names),
    "captions": _reads,
    "negative": _reads,
}
"""Setting of `sampling` that says what samples are given -> whether a stage takes it."""


def _passed(name: str, after: Any, stage: Any, before: list[Path]) -> str:
    """A setting of `TAKEN` for a stage, of that of the stage after it.

    before: earlier stages. ValueError for one that no stage takes.
    """
    value, takes = after.sampling[name], TAKEN[name]
    if not value or takes(stage):
        return str(value)
    if not before and not takes(after):
        raise ValueError(f"sampling.{name} must be empty: no stage of the cascade takes it")
    return "" if takes(after) else str(value)


def _check_alike(stage: Experiment, after: Experiment) -> None:
    if stage.codec != after.codec:
        raise ValueError("sampling.base_truncated needs stages whose data are encoded alike, as "
                         "the noise that is handed on is of encoded pictures")  # fmt: skip


def _ending(generator: Generator, coarse: Coarse, stage: Experiment) -> tuple[Generator, float]:
    """(the generator whose pictures keep the noise of the next stage's level, the factor by which
    that makes them what they are diffused as).

    coarse: the maker of the next stage's condition.
    """
    alpha, sigma = COARSE_SCHEDULES[coarse.schedule](coarse.level)
    if not float(sigma):
        return generator, 1.0
    sde: SDE = generator.score.sde
    t = sde.time_of_log_snr(2 * (jnp.log(alpha) - jnp.log(sigma)))
    sampling = stage.config.sampling.copy_and_resolve_references()
    sampling.eps = float(t)
    followed = stage.followed(generator.score)
    times = samplers.build_times(sampling, followed, stage.config.sde.num_scales)
    if not np.isclose(float(times[-1]), float(t), rtol=1e-3):
        raise ValueError(
            "sampling.base_truncated needs a stage whose sampler can end at any time, and "
            f"sampling.grid={sampling.grid!r} ends at its levels"
        )
    return replace(generator, times=times, denoise=False), float(alpha / sde.alpha(t))


def with_pictures(
    experiment: Experiment, given: Given, found: Handed, total: int
) -> tuple[Given, Any]:
    """(what samples are given beside coarse pictures and with them, the assembly of both)."""
    kinds = with_coarse(experiment.config)
    low = of_pixels(experiment.config.data).encode(found.pictures).astype(np.float32)

    def joined(rows: np.ndarray) -> np.ndarray:
        at = np.arange(min(total, int(np.lcm(len(rows), len(low)))))
        return beside(kinds, [rows[at % len(rows)], low[at % len(low)]])

    conditions = low if given.conditions is None else joined(given.conditions)
    negative = None if given.negative is None else joined(given.negative)
    labels = given.labels or found.labels
    made = replace(experiment.assembly, handed_on=found.noisy)
    return replace(given, conditions=conditions, negative=negative, labels=labels), made


def generator_of(
    experiment: Experiment, score: ModelScore, given: Given, found: Handed | None, total: int
) -> Generator:
    """`make_generator`, given coarse pictures if there are any.

    Raises ValueError for a model that needs coarse pictures and gets none.
    """
    if found is not None:
        given = replace(given, negative=compared(experiment, given))
        given, made = with_pictures(experiment, given, found, total)
        return replace(make_generator(experiment, score, given), assemble=made)
    rows, kinds = given.conditions, with_coarse(experiment.config)
    if experiment.recipe.coarse is not None and (rows is None or rows.shape[1:] != kinds.stored):
        raise ValueError(
            "sampling.base must be the workdir of the stage that draws coarse pictures, or a file "
            f"of them: the model is given pictures of {in_words(coarse_shape(experiment.config))}"
        )
    return make_generator(experiment, score, given)


def of_stage(experiment: Experiment, folder: Path, log: Log) -> Given:
    """The conditions of `sampling.condition` or `sampling.captions`, and classes."""
    return of_sampling(experiment, folder, log)[0]


def of_examples(images: Images) -> GivenOf:
    """The conditions of held-out examples for a stage, but for coarse pictures."""
    return lambda stage, folder, log: of_data(stage, images, coarse=False)
