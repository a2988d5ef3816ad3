"""SDEs, parametrizations, scores, guidance, exact scores, and their names in configs (`build`)."""

from configs.names import choose
from sde_lib.autoguidance import Autoguidance
from sde_lib.base import SDE, Reverse, expand
from sde_lib.build import (
    CONDITIONINGS,
    PREDICTIONS,
    PUBLISHED_NAMES,
    ROUNDINGS,
    SDES,
    Discrete,
    Family,
    build,
    build_parametrization,
    range_of_times,
)
from sde_lib.guidance import ClassifierFree, Guidance
from sde_lib.guides import (
    COMPARING,
    GUIDANCE,
    GUIDED_BY,
    NEUTRAL,
    Told,
    build_guidance,
    guidance_settings,
)
from sde_lib.karras import KarrasVE
from sde_lib.labels import DescendingLevelLabel, LogSigmaLabel, TimeLabel
from sde_lib.learned import LearnedVP
from sde_lib.oracles import Gaussian, Mixture, empirical
from sde_lib.parametrization import (
    EDM,
    Data,
    Noise,
    Parametrization,
    Predicted,
    RawScore,
    ScaledScore,
    UnitNoise,
    V,
    Velocity,
)
from sde_lib.pytree import pytree, static
from sde_lib.score import Conditional, ModelScore, Score, Wrapped
from sde_lib.subvp import SubVP
from sde_lib.tabulated import Tabulated
from sde_lib.ve import VE
from sde_lib.vp import VP

__all__ = [
    "COMPARING", "CONDITIONINGS", "EDM", "GUIDANCE", "GUIDED_BY", "NEUTRAL", "PREDICTIONS",
    "PUBLISHED_NAMES", "ROUNDINGS", "SDE", "SDES", "VE", "VP", "Autoguidance", "ClassifierFree",
    "Conditional", "Data", "DescendingLevelLabel", "Discrete", "Family", "Gaussian", "Guidance",
    "KarrasVE", "LearnedVP", "LogSigmaLabel", "Mixture", "ModelScore", "Noise", "Parametrization",
    "Predicted", "RawScore", "Reverse", "ScaledScore", "Score", "SubVP", "Tabulated", "TimeLabel",
    "Told", "UnitNoise", "V", "Velocity", "Wrapped", "build", "build_guidance",
    "build_parametrization", "choose", "empirical", "expand", "guidance_settings", "pytree",
    "range_of_times", "static",
]  # fmt: skip
