"""Settings that are taken from the training data: shapes, scales of codecs, levels of noise.

`configs.defaults.FROM_DATA` lists them with the value that stands for one which is not yet known.
Training measures them once, says them, and saves them with the config of the workdir, from which
every later command takes them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

import data_lib
from configs import defaults, schema
from configs.kinds import kinds_of, of_config
from configs.recorded import Recorded
from data_lib import Images, Splits, captions, codec
from data_lib.base import Log
from data_lib.conditions import SCALED, condition_codecs, condition_moments
from data_lib.transforms import to_unit
from modes import texts
from modes.autoencoders import LATENT, latent_shape, load_autoencoder, published_affine
from modes.latent_data import affine_of, drawn
from runtime_lib import workdir

MOST = 10_000
"""Most examples whose distances are compared."""
BLOCK = 500
SHOWN = 6
"""Most numbers of a value that are said."""


def resolved(
    config: Recorded, folder: Path, log: Log = print, splits: Splits | None = None
) -> tuple[Recorded, Splits | None]:
    """(the config with these settings known, the data if they had to be loaded).

    Values come from the config, else from the workdir's, else from the training data, which are
    loaded unless they are given.
    Raises ValueError for data from which they cannot be taken.
    """
    flat = schema.flatten(config)
    wanted = [name for name in _needed(config, flat) if flat[name] == defaults.FROM_DATA[name]]
    saved = workdir.read_config(folder) or {}
    known = {n: _like(n, saved[n]) for n in wanted if saved.get(n, None) not in _unknown(n)}
    for name in [name for name in wanted if name not in known and name in OF_FILES]:
        if (value := OF_FILES[name](_with(config, known))) is not None:
            known[name] = value
            log(f"{name}={_told(value)}, of the files of {_source(name)}")
    if left := [name for name in wanted if name not in known]:
        splits = splits or data_lib.load(_with(config, known).data, log=log)
        for name in left:
            if (value := MEASURES[name](_with(config, known), splits.train)) is not None:
                known[name] = value
                log(f"{name}={_told(value)}, taken from the training data")
    found = _with(config, known)
    schema.check(found)
    if splits is not None:
        splits = texts.with_texts(captions.told(splits, found.data, log), found, folder, log)
    return found, splits


def _needed(config: Any, flat: dict[str, Any]) -> list[str]:
    """The settings that the config's other settings call for, in the order of measuring."""
    kinds = of_config(config)
    conditional, text = bool(kinds.names), "text" in kinds
    scaled = not {*condition_codecs(config).values()}.isdisjoint(SCALED)
    latent = flat["data.codec"] == LATENT
    calls = {
        **dict.fromkeys((*OF_AUTOENCODER, *OF_LATENTS), latent),
        "data.text_encoder_hash": bool(flat["data.text_encoder"]),
        "data.mean": flat["data.codec"] == "standardize",
        "data.std": flat["data.codec"] == "standardize",
        "data.words": text and not flat["model.vocabulary"],
        "data.condition": conditional,
        "data.condition_mean": scaled,
        "data.condition_std": scaled,
        "model.vocabulary": text,
    }
    return [name for name in defaults.FROM_DATA if calls.get(name, True)]


def _source(name: str) -> str:
    """The setting that names the files of another's value."""
    return "data.autoencoder" if name in OF_AUTOENCODER else "data.text_encoder"


def _unknown(name: str) -> tuple[Any, ...]:
    value = defaults.FROM_DATA[name]
    return None, value, list(value) if isinstance(value, tuple) else value


def _like(name: str, value: Any) -> Any:
    return tuple(value) if isinstance(defaults.FROM_DATA[name], tuple) else value


def _with(config: Recorded, values: dict[str, Any]) -> Recorded:
    """A copy of the config with other values; what was read of it stays noted."""
    if not values:
        return config
    copy = ConfigDict(config.to_dict())
    copy.update_from_flattened_dict(values)
    found = Recorded.of(copy)
    for name in config.record.names:
        found.record.note(name)
    return found


def _told(value: Any) -> str:
    if isinstance(value, str):
        words = value.split()
        return f"{len(words):,} words" if len(words) > 1 else value
    if not isinstance(value, tuple):
        return f"{value:.6g}"
    few = ",".join(f"{number:.6g}" for number in value[:SHOWN])
    return few + (f",... ({len(value)} numbers)" if len(value) > SHOWN else "")


# Measures -----------------------------------------------------------------------------------------


def _shape(config: Any, train: Images) -> tuple[int, ...]:
    return train.pixels.shape[1:]


def _moment(k: int) -> Callable[[Any, Images], tuple[float, ...]]:
    return lambda config, train: codec.moments(train.pixels, "training data", train.names)[k]


def _words(config: Any, train: Images) -> str | None:
    """The vocabulary of captions; None without any: conditions are numbers of tokens."""
    return None if train.captions is None else captions.vocabulary(train.captions)


def _vocabulary(config: Any, train: Images) -> int | None:
    return len(config.data.words.split()) or None


def _condition(config: Any, train: Images) -> tuple[int, ...]:
    if texts.reads_texts(config):
        return texts.caption_shape(config)
    if config.data.words and train.captions is not None:
        return (captions.longest(train.captions),)
    values = _conditions(config, train)
    kinds = kinds_of(config.model.condition)
    if len(kinds) > 1 and not train.condition_shapes:
        raise ValueError(
            f"data.condition must be given with model.condition={config.model.condition!r} for "
            f"data whose conditions are one array: the shapes of {', '.join(kinds)} side by side"
        )
    return sum(train.condition_shapes, ()) or values.shape[1:]


def _condition_moment(k: int) -> Callable[[Any, Images], tuple[float, ...]]:
    return lambda config, train: condition_moments(config, _conditions(config, train))[k]


def _conditions(config: Any, train: Images) -> np.ndarray:
    if train.condition is None:
        raise ValueError(
            f"model.condition={config.model.condition!r} needs data with a condition for each "
            "example (an array 'condition' beside the data): give them, or set model.condition=none"
        )
    return train.condition


def _encoded(config: Any, train: Images) -> np.ndarray:
    """Some training examples as they are diffused, in float64; 0 where values are missing."""
    few = train.take(np.linspace(0, len(train) - 1, min(len(train), MOST)).astype(int))
    if config.data.codec == LATENT:
        return drawn(config, few).astype(np.float64)
    values = few.pixels if few.levels is None else to_unit(few.pixels, few.levels)
    return np.nan_to_num(codec.build(config.data).encode(values).astype(np.float64))


def _deviation(config: Any, train: Images) -> float:
    """The standard deviation of all numbers."""
    return float(_encoded(config, train).std())


def _largest_distance(config: Any, train: Images) -> float | None:
    """The largest distance of two examples (Song & Ermon 2020, arXiv:2006.09011, technique 1)."""
    rows = _encoded(config, train).reshape(min(len(train), MOST), -1)
    squares = (rows**2).sum(axis=1)
    most = max(
        float((squares[k : k + BLOCK, None] + squares - 2 * rows[k : k + BLOCK] @ rows.T).max())
        for k in range(0, len(rows), BLOCK)
    )
    return float(np.sqrt(max(most, 0.0)))


def _identity(config: Any) -> str:
    return load_autoencoder(config.data.autoencoder).identity


def _published(k: int) -> Callable[[Any], tuple[float, ...] | None]:
    return lambda config: (published_affine(config) or (None, None))[k]


def _affine(k: int) -> Callable[[Any, Images], tuple[float, ...]]:
    return lambda config, train: affine_of(config, train)[k]


OF_AUTOENCODER: dict[str, Callable[[Any], Any]] = {
    "data.autoencoder": lambda config: load_autoencoder(config.data.autoencoder) and None,
    "data.autoencoder_hash": _identity,
    "data.latent_shape": latent_shape,
    "data.latent_shift": _published(0),
    "data.latent_scale": _published(1),
}
"""Setting -> its value by the autoencoder of a config; None for one that the data must tell."""
OF_FILES = OF_AUTOENCODER | {"data.text_encoder_hash": texts.files_hash}
"""Setting -> its value by files that the config names, likewise."""
OF_LATENTS = "data.latent_shift", "data.latent_scale"
MEASURES: dict[str, Callable[[Any, Images], Any]] = {
    "data.latent_shift": _affine(0),
    "data.latent_scale": _affine(1),
    "data.shape": _shape,
    "data.mean": _moment(0),
    "data.std": _moment(1),
    "data.words": _words,
    "data.condition": _condition,
    "data.condition_mean": _condition_moment(0),
    "data.condition_std": _condition_moment(1),
    "sde.sigma_max": _largest_distance,
    "model.vocabulary": _vocabulary,
    "model.sigma_data": _deviation,
}
"""Setting -> its value for a config and training data, in the order of `FROM_DATA`."""
