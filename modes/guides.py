"""Models and functions that guide samples: another workdir, a classifier, a user's own function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import sde_lib
from configs import schema
from configs.changed import with_settings
from configs.command_line import reason
from configs.recorded import Recorded
from configs.shapes import diffused_shape, in_words
from data_lib import Codec, Splits, codec
from data_lib.base import Log
from models import is_classifier
from modes.autoencoders import codec_of
from modes.classifier import load_classifier
from modes.experiment import Experiment
from modes.trained import digest, load_weights
from runtime_lib.checkpoints.record import CheckpointError
from runtime_lib.own_code import own_function
from runtime_lib.workdir import WorkdirError, read_config
from sde_lib import GUIDED_BY, SDE, Told
from sde_lib.guides import ABSENT, ALONE
from sde_lib.pytree import pytree, static
from untrusted import plain

SAMPLING_NOTHING = ("train", "profile", "stats")
"""Modes that need no guide: training can begin before there is one."""


def experiment_of(
    config: Any, splits: Splits | None, folder: Path, log: Log = print, mode: str = ""
) -> Experiment:
    """`Experiment.of` with what guides its samples, as `sampling.guidance_kind` needs it.

    folder: the workdir, whose own earlier weights may be the guide. Raises ValueError for a guide
    that does not fit, WorkdirError and CheckpointError for one that is not there, unless the mode
    is of `SAMPLING_NOTHING`: a line then says that what training draws on the way is not guided.
    """
    kind, told = GUIDED_BY.get(config.sampling.guidance_kind, ""), ALONE
    try:
        told = GUIDES[kind](config, folder, log) if kind else ALONE
    except (WorkdirError, CheckpointError) as error:
        if mode not in SAMPLING_NOTHING:
            raise
        told = ABSENT
        if mode == "train" and config.training.snapshot_sampling:
            log(f"snapshots are drawn unguided: {plain(str(error), 300)}")
    return Experiment.of(config, splits, told)


# Another model ------------------------------------------------------------------------------------


def _model(config: Any, folder: Path, log: Log) -> Told:
    sampling = config.sampling
    path = Path(sampling.guide) if sampling.guide else folder
    step, rate = sampling.guide_step, sampling.guide_ema_rate
    if not sampling.guide and not step and rate == -1:
        raise ValueError(
            "sampling.guidance_kind='autoguidance' needs a worse model of the same data: set "
            "sampling.guide to its workdir, or sampling.guide_step or sampling.guide_ema_rate for "
            "other weights of this one"
        )
    saved = read_config(path)
    if saved is None:
        raise WorkdirError(f"sampling.guide: {path} holds no trained model")
    other = with_settings(schema.get_default(), saved, {"sampling.guidance_kind": "none"})
    if is_classifier(other):
        raise WorkdirError(
            f"sampling.guide: {path} holds a classifier, which sampling.guidance_kind='classifier' "
            "follows; autoguidance needs a model of the data"
        )
    guide = Experiment.of(Recorded.of(other))
    _check_alike(guide, config)
    score, found = load_weights(guide, path, step or None, _average(other.model, rate), log)
    log(f"guided by step {found} of {path}")
    conditional = other.model.num_classes > 0 or other.model.condition != "none"
    identity = (("guide_step", found), ("guide_sha256", digest(score)))
    return Told(guide=score, guide_conditional=conditional, identity=identity)


def _average(model: Any, rate: float) -> int | None:
    """Index of the averaged weights of a rate; None for the raw ones."""
    if rate == 0:
        return None
    rates = (model.ema_rate, *model.extra_ema_rates)
    if rate != -1 and rate not in rates:
        raise ValueError(
            f"sampling.guide_ema_rate must be one of the guide's averages, "
            f"{', '.join(map(str, rates))}, or 0 for its raw weights, got {rate}"
        )
    return 0 if rate == -1 else rates.index(rate)


def _check_alike(guide: Experiment, config: Any) -> None:
    """Raise ValueError for a guide of other data or another process than the config's."""
    shape, own = diffused_shape(config), sde_lib.build(config)
    if guide.shape != shape:
        raise ValueError(
            f"sampling.guide is a model of {in_words(guide.shape)}, and this one is of "
            f"{in_words(shape)}"
        )
    if not _same_process(own, guide.sde):
        raise ValueError(
            f"sampling.guide is a model of another process, {guide.config.sde.name} with other "
            f"noise levels at the same times than this one's {config.sde.name}"
        )
    same = guide.config.data.autoencoder_hash == config.data.autoencoder_hash
    if not same or codec.build(guide.config.data) != codec.build(config.data):
        raise ValueError("sampling.guide is a model of data that were encoded in another way "
                         "(data.codec, data.centered, or its numbers)")  # fmt: skip
    one, other = (c.model for c in (config, guide.config))
    if other.num_classes and other.num_classes != one.num_classes:
        raise ValueError(f"sampling.guide has {other.num_classes} classes, and this model has "
                         f"{one.num_classes}")  # fmt: skip
    if other.condition not in ("none", one.condition):
        raise ValueError(f"sampling.guide is given a condition ({other.condition}), and this model "
                         f"has model.condition={one.condition!r}")  # fmt: skip


def _same_process(one: SDE, other: SDE) -> bool:
    if one.learned or other.learned:
        return False
    t = jnp.linspace(0.1, 1.0, 7) * min(float(one.T), float(other.T))
    pairs = zip(one.marginal(t), other.marginal(t), strict=True)
    return all(np.allclose(a, b, rtol=1e-5) for a, b in pairs)


# A function ---------------------------------------------------------------------------------------


@pytree
class OwnLogDensity:
    """A user's function(x, t, label) -> log p(y | x) [b], x as it is or decoded by a codec."""

    function: Callable[..., Any] = static()
    codec: Codec | None = static()

    def __call__(
        self, x: Float[Array, "b *d"], t: Float[Array, "b"], label: Array | None
    ) -> Float[Array, "b"]:
        """The logarithms."""
        found: Array = self.function(x if self.codec is None else self.codec.decode(x), t, label)
        return found


WANTED = "a function of (x [b, ...], t [b], label [b] or None) that gives log p(y | x) [b]"


def _log_density(config: Any, folder: Path, log: Log) -> Told:
    text = config.sampling.guide
    if not text:
        raise ValueError(
            f"sampling.guidance_kind={config.sampling.guidance_kind!r} needs sampling.guide: the "
            "workdir of a classifier, or FILE.py:FUNCTION"
        )
    denoised = config.sampling.guidance_kind.startswith("denoised")
    if ":" not in text:
        return _classifier(config, text, denoised, log)
    function, words = own_function("sampling.guide", text, WANTED)
    density = OwnLogDensity(function, codec_of(config) if denoised else None)
    classes = _classes(function, config)
    _try(density, diffused_shape(config), classes, text)
    return Told(log_density=density, classes=classes, identity=(("guide", words),))


def _classifier(config: Any, text: str, denoised: bool, log: Log) -> Told:
    """A trained classifier of noisy examples."""
    if denoised:
        raise ValueError("sampling.guidance_kind='denoised_classifier' is for functions of clean "
                         "examples, FILE.py:FUNCTION: a classifier of noisy ones is given x_t by "
                         "'classifier'")  # fmt: skip
    try:
        found = load_classifier(
            text,
            sde_lib.build(config),
            shape=diffused_shape(config),
            classes=config.model.num_classes,
            log=log,
        )
    except (ValueError, WorkdirError) as error:
        raise type(error)(f"sampling.guide: {error}") from error
    classes = config.model.num_classes or found.classes
    identity = (("guide_sha256", digest(found.model)),)
    return Told(log_density=found, classes=classes, identity=identity)


def _classes(function: Any, config: Any) -> int:
    """Number of classes that a function knows: its attribute `classes`; 0: it is given none."""
    classes, own = getattr(function, "classes", 0), config.model.num_classes
    if type(classes) is not int or classes < 0:
        raise ValueError(f"sampling.guide: classes must be a number of classes, got {classes!r}")
    if classes and own and classes != own:
        raise ValueError(f"sampling.guide knows {classes} classes, and the model has {own}")
    return classes or own


def _try(density: OwnLogDensity, shape: tuple[int, ...], classes: int, text: str) -> None:
    """Raise ValueError unless the function and its gradient give finite numbers, on noise."""
    x = 0.5 + 0.25 * jax.random.normal(jax.random.key(0), (2, *shape))
    label, t = jnp.zeros(2, jnp.int32) if classes else None, jnp.full(2, 0.5)
    try:
        found = density(x, t, label)
        gradient = jax.grad(lambda x: jnp.sum(density(x, t, label)))(x)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # it is the user's program
        told = f"sampling.guide={text} fails on x {list(x.shape)}: {reason(error)}"
        raise ValueError(told) from error
    if getattr(found, "shape", None) != (2,):
        got = list(getattr(found, "shape", ()))
        raise ValueError(f"sampling.guide={text} must be {WANTED}; of x {list(x.shape)} it gives "
                         f"{got}")  # fmt: skip
    if not (jnp.isfinite(found).all() and jnp.isfinite(gradient).all()):
        raise ValueError(f"sampling.guide={text} gives values or gradients on noise that are not "
                         "finite: it must be differentiable everywhere")  # fmt: skip


GUIDES: dict[str, Callable[[Any, Path, Log], Told]] = {
    "model": _model,
    "log_density": _log_density,
}
"""Forms of `sampling.guide`, by the values of `sde_lib.GUIDED_BY`."""
