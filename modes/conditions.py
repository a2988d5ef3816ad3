"""Conditions and classes for the samples of a mode: of a file, of the command line, of the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from configs.kinds import Kinds, coarse_shape, of_config, with_coarse
from configs.shapes import in_words, shape_of
from data_lib import Images, captions, codec
from data_lib.base import Log
from data_lib.conditions import beside, build_condition, check_texts, coarse_of, rows_of
from data_lib.members import CONDITIONS, IMAGES
from modes import texts
from modes.array_files import captions_of, is_array, names_in, read_array
from modes.experiment import Experiment
from modes.generator import NOTHING, Given
from modes.images import check_conditions, split_of
from modes.observed import check_guidance, imputed, refuse_latents
from runtime_lib import data_record
from sde_lib import COMPARING, Conditional
from sde_lib.condition import NO_CLASS
from untrusted import plain


def of_sampling(experiment: Experiment, folder: Path, log: Log) -> tuple[Given, bool]:
    """(what samples are given, whether each of several conditions is to have a group of samples).

    That is what `sampling.labels`, `sampling.captions` and `sampling.condition` say; `folder` is
    the workdir, of whose data the captions are where none are given.

    Raises ValueError for classes or a file that the model cannot take, or a condition that it
    needs and that is not there.
    """
    config, sampling = experiment.config, experiment.config.sampling
    if texts.reads_texts(config) and not sampling.condition:
        return _of_texts(experiment), False
    # An earlier stage may take what this one does not.
    elsewhere = bool(sampling.base) and not is_array(Path(sampling.base))
    for name in ("negative", "sizes"):
        if sampling[name] and not elsewhere:
            raise ValueError(
                f"sampling.{name} must be empty for a model without data.text_encoder, or with "
                "sampling.condition"
            )
    if config.data.words and not sampling.condition:
        return _of_captions(experiment, folder, log), False
    if sampling.captions and not elsewhere:
        raise ValueError(
            "sampling.captions must be empty for a model that was not trained on captions, or with "
            "sampling.condition"
        )
    conditional = bool(of_config(config).names)
    if sampling.condition and not (conditional or elsewhere):
        raise ValueError("sampling.condition must be empty: the model is given no condition of the "
                         f"data (model.condition={config.model.condition})")  # fmt: skip
    values, several = _of_file(config) if conditional else (None, False)
    partial, many = _partial(experiment)
    observed = None
    if partial is not None:
        observed = imputed(partial, experiment.codec, sampling.impute_iterations)
    if values is not None and partial is not None and several and len(partial) != len(values):
        raise ValueError(
            "sampling.impute must hold one example for each condition of sampling.condition, "
            f"{len(values)}, got {len(partial)}"
        )
    labels = labels_of(experiment.classes, sampling.labels)
    return Given(labels, values, observed), several or many


def _of_texts(experiment: Experiment) -> Given:
    """The captions of `sampling.captions` and `sampling.negative` as conditions."""
    config, sampling = experiment.config, experiment.config.sampling
    for name in ("impute", "together"):
        if sampling[name]:
            raise ValueError(f"sampling.{name} must be left out for a model of captions")
    if not sampling.captions:
        raise ValueError("sampling.captions must have a caption, or name a file of captions: the "
                         "model draws what it is told")  # fmt: skip
    asked = captions_of(sampling.captions)
    rows, against = encoded(config, texts.text_rows(config, asked)), None
    if sampling.negative:
        others = captions_of(sampling.negative, "sampling.negative")
        against = negatives(experiment, others, len(asked), "sampling.negative")
    labels = labels_of(experiment.classes, sampling.labels)
    return Given(labels, rows, captions=np.asarray(asked), negative=against)


def negatives(
    experiment: Experiment, captions: Sequence[str], count: int, key: str
) -> np.ndarray | None:
    """The conditions of captions of what is not wanted, one for all of `count` or one for each.

    Raises ValueError without guidance that compares with them. key: the setting that asks.
    """
    kind = experiment.config.sampling.guidance_kind
    if kind not in COMPARING:
        raise ValueError(f"{key} must be empty with sampling.guidance_kind={kind!r}, which "
                         "compares with no other caption")  # fmt: skip
    if experiment.guidance is Conditional:
        raise ValueError(f"{key} must be empty without guidance: set sampling.guidance above 1")
    if len(captions) not in (1, count):
        raise ValueError(f"{key} must have one caption, or one for each of {count}, got "
                         f"{len(captions)}")  # fmt: skip
    rows = texts.text_rows(experiment.config, captions, against=True)
    return encoded(experiment.config, rows)


def _of_captions(experiment: Experiment, folder: Path, log: Log) -> Given:
    """The captions of `sampling.captions`, or of a split of the data, as conditions."""
    config, sampling = experiment.config, experiment.config.sampling
    if sampling.impute or sampling.together:
        name = "impute" if sampling.impute else "together"
        raise ValueError(f"sampling.{name} must be left out for a model of captions, or "
                         "sampling.condition must have their words as numbers")  # fmt: skip
    said = np.asarray(_captions(experiment, folder, log))
    rows = captions.numbered(said, config.data.words, config.data.condition[0],
                             "sampling.captions")  # fmt: skip
    labels = labels_of(experiment.classes, sampling.labels)
    return Given(labels, encoded(config, rows), captions=said)


def _captions(experiment: Experiment, folder: Path, log: Log) -> Sequence[str]:
    config = experiment.config
    if asked := config.sampling.captions:
        return captions_of(asked)
    found = getattr(data_record.load(config, folder, log), split_of(config)).captions
    if found is None:
        raise ValueError("sampling.captions must be given: the data have no captions any more")
    return found


def check_partial(rows: np.ndarray, config: Any, what: str) -> np.ndarray:
    """Partial examples [k, *shape] of which NaN are to be filled in, from one or several.

    Raises ValueError for another shape, infinities, and values that the codec cannot take.
    """
    shape = shape_of(config)
    if shape not in (rows.shape, rows.shape[1:]):
        raise ValueError(
            f"{what} must hold an example of {in_words(shape)}, or several [n, "
            f"{', '.join(map(str, shape))}], with NaN where samples fill it in; got {rows.shape}"
        )
    found = rows[None] if rows.shape == shape else rows
    if not len(found) or np.isinf(found).any():
        raise ValueError(f"{what} must hold finite numbers, and NaN where samples fill them in")
    codec.check_bounds(config.data, found, what)
    return found


def _partial(experiment: Experiment) -> tuple[np.ndarray | None, bool]:
    """(partial examples of `sampling.impute`, whether the file has several); None without any."""
    config = experiment.config
    path = config.sampling.impute
    if not path:
        return None, False
    if config.sampling.together:
        raise ValueError("sampling.impute must be empty with sampling.together=True")
    check_guidance(config, "sampling.impute")
    refuse_latents(config, "sampling.impute")
    rows = read_array(Path(path), "sampling.impute", IMAGES)
    found = check_partial(rows, config, "sampling.impute")
    return found, rows.ndim == found.ndim


def of_data(experiment: Experiment, images: Images, *, coarse: bool = True) -> Given:
    """The conditions of held-out examples, in their order; nothing for a model without any.

    coarse: whether their coarse pictures are among them, if the model is given any.
    """
    config = experiment.config
    if of_config(config).names:
        check_conditions(images, config, "held-out examples")
    rows = rows_of(config, images) if coarse else encoded(config, images.condition)
    return NOTHING if rows is None else Given((), rows)


def encoded(
    config: Any, conditions: np.ndarray | None, what: str = "conditions"
) -> np.ndarray | None:
    """Conditions as the network is given them, float32; None for a model without any.

    Raises ValueError for tokens that are not in the model's vocabulary.
    """
    if not of_config(config).names or conditions is None:
        return None
    check_texts(conditions, config, what)
    return build_condition(config).encode(conditions).astype(np.float32)


def labels_of(classes: int, labels: Sequence[int]) -> tuple[int, ...]:
    """Classes that samples have in turn; ValueError for one that is not among `classes`."""
    if len(labels) and not classes:
        raise ValueError("sampling.labels must be empty: the model has no classes")
    if wrong := [label for label in labels if not 0 <= label < classes]:
        raise ValueError(
            f"sampling.labels must be among the {classes} classes, 0 to {classes - 1}, "
            f"got {wrong[0]}"
        )
    return tuple(labels)


def of_edited(experiment: Experiment, images: Images, folder: Path, log: Log) -> Given:
    """The condition of `sampling.condition` or the captions, and the examples' coarse pictures.

    Nothing for a model without any. Raises ValueError as `encoded_condition`, and for captions of a
    model of none or another number of them.
    """
    given, config = _asked(experiment, len(images), folder, log), experiment.config
    if not coarse_shape(config):
        return given
    low = coarse_of(config, images)
    both = lambda rows: beside(
        with_coarse(config), [np.broadcast_to(rows, (len(low), *rows.shape[1:])), low]
    )
    if given.conditions is None:
        return Given((), low)
    against = None if given.negative is None else both(given.negative)
    return replace(given, conditions=both(given.conditions), negative=against)


def _asked(experiment: Experiment, count: int, folder: Path, log: Log) -> Given:
    """The captions for `count` examples, or the condition of `sampling.condition`."""
    config, sampling = experiment.config, experiment.config.sampling
    read = texts.reads_texts(config)
    if sampling.condition or not (read or (config.data.words and sampling.captions)):
        if sampling.captions or sampling.negative or sampling.sizes:
            raise ValueError("sampling.captions, negative and sizes must be empty for a model of "
                             "no captions, or with sampling.condition")  # fmt: skip
        return Given((), encoded_condition(experiment, count))
    given = _of_texts(experiment) if read else _of_captions(experiment, folder, log)
    found = 0 if given.conditions is None else len(given.conditions)
    if found not in (1, count):
        raise ValueError(f"sampling.captions must have one caption, or one for each of {count} "
                         f"examples, got {found}")  # fmt: skip
    return given


def encoded_condition(experiment: Experiment, count: int) -> np.ndarray | None:
    """The condition of `sampling.condition`, one for all of `count` examples or one for each.

    None for a model without any. Raises ValueError for a condition that is missing or does not fit.
    """
    config = experiment.config
    if not of_config(config).names:
        return None
    values, _ = _of_file(config)
    if values is not None and len(values) not in (1, count):
        raise ValueError(f"sampling.condition must hold one condition, or one for each of {count} "
                         f"measurements, got {len(values)}")  # fmt: skip
    return values


def classes_of(
    experiment: Experiment, count: int, asked: Sequence[int],
    own: np.ndarray | None = None, key: str = "sampling.labels",
) -> tuple[int, ...]:  # fmt: skip
    """The class of all of `count` examples, or of each: asked for, else their own, else of none.

    Raises ValueError for another number of classes, and for a model that has to be told one where
    none is known. key: the setting that asks.
    """
    found = labels_of(experiment.classes, asked)
    if found and len(found) not in (1, count):
        raise ValueError(f"{key} must be one class, or one for each of {count} examples, got "
                         f"{len(found)}")  # fmt: skip
    if found or not experiment.classes:
        return found
    if own is not None:
        return tuple(int(label) for label in own)
    if not experiment.config.model.label_dropout:
        raise ValueError(f"the model has to be told a class: set {key}, one for all examples or "
                         "one for each")  # fmt: skip
    return (NO_CLASS,)


def _read(path: Path, kinds: Kinds) -> np.ndarray:
    """The conditions in a file: one array, or one for each of several kinds, which are joined.

    Of a kind the file may have one condition for all, or as many as of the others.
    """
    named = {f"condition_{kind}": kinds.shape(kind) for kind in kinds.names}
    if len(named) < 2 or not {*named} & {*names_in(path)}:
        return read_array(path, "sampling.condition", CONDITIONS)
    parts = {name: read_array(path, "sampling.condition", (name,)) for name in named}
    for name, part in parts.items():
        if named[name] not in (part.shape, part.shape[1:]):
            raise ValueError(
                f"sampling.condition must hold {name} of {in_words(named[name])}, or several, "
                f"{plain(path)} has {part.shape}"
            )
    counts = {len(part) for name, part in parts.items() if part.shape != named[name]}
    if len(counts) > 1:
        raise ValueError(f"sampling.condition must hold as many conditions of each kind, "
                         f"{plain(path)} has {' and '.join(map(str, sorted(counts)))}")  # fmt: skip
    n = max(counts, default=1)
    flat = [np.broadcast_to(part, (n, *named[name])).reshape(n, -1) for name, part in parts.items()]
    joined = np.concatenate(flat, axis=1)
    return joined if counts else joined[0]


def _of_file(config: Any) -> tuple[np.ndarray | None, bool]:
    path, shape = config.sampling.condition, of_config(config).stored
    if not path:
        raise ValueError(
            f"sampling.condition must be a .npy or .npz file: the model is given a condition of "
            f"{in_words(shape)}"
        )
    values = _read(Path(path), of_config(config))
    if values.shape != shape and values.shape[1:] != shape:
        raise ValueError(
            f"sampling.condition must hold a condition of {in_words(shape)}, or several [n, "
            f"{', '.join(map(str, shape))}], {plain(path)} has {values.shape}"
        )
    several = values.shape != shape
    if not len(values) or np.isinf(values).any():
        raise ValueError(f"sampling.condition must hold finite numbers, NaN for those that are not "
                         f"known, and at least one condition: {plain(path)}")  # fmt: skip
    rows = values if several else values[None]
    return encoded(config, rows, "sampling.condition"), several
