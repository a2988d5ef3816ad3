"""SDEs and meanings of a network's input and output, by their names in configs.

A new SDE, prediction, conditioning or rounding is one class and one row in a table below.
A row is a class or a function, whose parameters are the settings that it takes (`tables.made`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp

from configs.names import choose
from sde_lib.base import SDE
from sde_lib.iddpm import of_settings
from sde_lib.karras import KarrasVE
from sde_lib.labels import (
    AlphaLabel,
    Conditioning,
    CosineLevelLabel,
    DescendingLevelLabel,
    IndexBelowLabel,
    IndexLabel,
    LogHalfSigmaLabel,
    LogSigmaLabel,
    TimeLabel,
    VPTimeLabel,
)
from sde_lib.learned import LearnedVP
from sde_lib.parametrization import (
    EDM,
    Data,
    Noise,
    Parametrization,
    Prediction,
    RawScore,
    ScaledScore,
    UnitNoise,
    V,
    Velocity,
)
from sde_lib.rounding import Continuous, LevelBelow, NearestIndex, NearestLevel, Rounding
from sde_lib.subvp import SubVP
from sde_lib.tables import made
from sde_lib.ve import VE
from sde_lib.vp import VP

Section = Any
"""A config, or a section of one: an ml_collections ConfigDict."""

PREDICTIONS: dict[str, Callable[..., Prediction]] = {
    "noise": Noise,
    "unit_noise": UnitNoise,
    "scaled_score": ScaledScore,
    "score": RawScore,
    "data": Data,
    "v": V,
    "velocity": Velocity,
    "edm": EDM,
}
"""Predictions by name; their parameters are settings of the `model` section."""
CONDITIONINGS: dict[str, Callable[..., Conditioning]] = {
    "time": lambda: TimeLabel(999.0),
    "alpha": AlphaLabel,
    "log_sigma": lambda: LogSigmaLabel(1.0),
    "log_half_sigma": LogHalfSigmaLabel,
    "quarter_log_sigma": lambda: LogSigmaLabel(0.25),
    "level": lambda num_scales: TimeLabel(num_scales - 1.0),
    "vp_time": lambda beta_min, beta_max, num_scales: VPTimeLabel(
        VP(beta_min, beta_max), num_scales - 1.0
    ),
    "cosine_level": CosineLevelLabel.of,
    "descending_level": DescendingLevelLabel,
    "index": lambda num_scales: IndexLabel(num_scales),
    "index_below": lambda num_scales: IndexBelowLabel(num_scales),
    "index_strictly_below": lambda num_scales: IndexBelowLabel(num_scales, strictly=True),
    "rescaled_index": lambda num_scales: IndexLabel(num_scales, 1000 / num_scales),
}
"""Conditionings by name; their parameters are settings of the `sde` section."""
ROUNDINGS: dict[str, Callable[..., Rounding]] = {
    "none": Continuous,
    "below": LevelBelow,
    "nearest": NearestLevel,
    "nearest_index": NearestIndex,
}
"""Roundings by name; their parameters are settings of the `sde` section."""


class Discrete(NamedTuple):
    """Names of the conditioning and the rounding of an SDE's published discrete networks.

    The conditioning may be a function of settings of the `model` section that gives one.
    """

    conditioning: str | Callable[..., str]
    rounding: str


@dataclass(frozen=True)
class Family:
    """A row of `SDES`: an SDE, and the parametrization of its authors' networks.

    Attributes:
      build: the SDE, a class or a function of settings of the `sde` section.
      prediction: a name in `PREDICTIONS`, or a function of settings of the `model` section that
        gives one.
      conditioning: a name in `CONDITIONINGS`; "time" suits an SDE whose T is 1.
      discrete: the names for networks of `sde.num_scales` levels, which are those of
        `SDE.discrete`; None if the SDE has no discrete form.
      range: settings of the SDE that bound its times and change nothing in between, so that a
        network may be used with others than it was trained with.
      noise_only: the setting with which the last level has no signal; empty: there is none.
    """

    build: Callable[..., SDE]
    prediction: str | Callable[..., str] = "noise"
    conditioning: str = "time"
    discrete: Discrete | None = None
    range: tuple[str, ...] = ()
    noise_only: str = ""


def _learned(log_snr_max: float, log_snr_min: float) -> LearnedVP:
    if log_snr_min >= log_snr_max:
        raise ValueError("sde.log_snr_min must be below sde.log_snr_max")
    return LearnedVP(log_snr_max, log_snr_min)


SDES: dict[str, Family] = {
    "vp": Family(VP, discrete=Discrete("level", "below")),
    "subvp": Family(SubVP),
    "ve": Family(
        VE,
        prediction=lambda scale_by_sigma: "scaled_score" if scale_by_sigma else "score",
        conditioning="log_sigma",
        discrete=Discrete("descending_level", "nearest"),
    ),
    "edm": Family(KarrasVE, "edm", "quarter_log_sigma", range=("sigma_min", "sigma_max")),
    "iddpm": Family(
        of_settings,
        discrete=Discrete(
            lambda rescale_timesteps: "rescaled_index" if rescale_timesteps else "index",
            "nearest_index",
        ),
        noise_only="zero_terminal_snr",
    ),
    "levels": Family(
        of_settings,
        conditioning="level",
        discrete=Discrete("level", "none"),
        noise_only="zero_terminal_snr",
    ),
    "learned": Family(_learned, conditioning="quarter_log_sigma"),
}
PUBLISHED_NAMES = {"vpsde": "vp", "subvpsde": "subvp", "vesde": "ve"}
"""score_sde's names for the same SDEs."""


def _family(config: Section) -> Family:
    name = PUBLISHED_NAMES.get(config.sde.name, config.sde.name)
    return choose("sde.name", name, SDES)


def _discrete(config: Section) -> Discrete:
    """The names of the config's discrete form; ValueError if its SDE has none."""
    found = _family(config).discrete
    if found is None:
        name = PUBLISHED_NAMES.get(config.sde.name, config.sde.name)
        raise ValueError(
            f"training.continuous=False is not defined for sde.name={name!r}, which has no "
            "discrete form: use training.continuous=True"
        )
    return found


def range_of_times(config: Section) -> tuple[str, ...]:
    """Settings of the `sde` section that only bound the times of a config's SDE."""
    return _family(config).range


def build(config: Section) -> SDE:
    """The SDE of a config; in discrete training, the one that runs through the model's levels."""
    sde = made(_family(config).build, config.sde)
    if config.training.continuous:
        return sde
    _discrete(config)
    return sde.discrete(config.sde.num_scales)


def _named(asked: str, own: str | Callable[..., str], model: Section) -> str:
    """The name asked for; for 'published', the family's own, which settings of `model` may give."""
    if asked != "published":
        return asked
    return own if isinstance(own, str) else made(own, model)


def _check_without_signal(setting: str, name: str, prediction: Prediction) -> None:
    """Raise ValueError for a prediction from which x_0 is not known where there is no signal."""
    at_the_end = prediction.coefficients(jnp.zeros(()), jnp.ones(()))
    if not jnp.isfinite(jnp.stack(at_the_end)).all():
        raise ValueError(
            f"{setting} needs model.prediction='v' or 'data': {name!r} says nothing of x_0 at the "
            "last level, which has no signal"
        )


def build_parametrization(config: Section) -> Parametrization:
    """The parametrization of a config; 'published' means that of the SDE's authors."""
    family, model = _family(config), config.model
    discrete = Discrete(family.conditioning, "none")
    if not config.training.continuous:
        discrete = _discrete(config)
    prediction = _named(model.prediction, family.prediction, model)
    label = _named(model.conditioning, discrete.conditioning, model)
    meaning = made(choose("model.prediction", prediction, PREDICTIONS), model)
    if family.noise_only and config.sde[family.noise_only]:
        _check_without_signal(f"sde.{family.noise_only}=True", prediction, meaning)
    return Parametrization(
        meaning,
        made(choose("model.conditioning", label, CONDITIONINGS), config.sde),
        made(choose("the rounding of times", discrete.rounding, ROUNDINGS), config.sde),
        learn_variance=model.learn_variance,
    )
