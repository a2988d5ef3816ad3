"""A network whose law is known, by which any sampler and guidance is proven on latents and stages.

Its examples of class k are N(m, d^2), d = model.sigma_data: m is the given picture, or `signs` of
the class. Told nothing it has m = 0, so that guidance by a weight w draws around w m, and told a
weight it has w m.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

import models
import samplers
from configs.changed import with_settings
from configs.recorded import Recorded
from models.build import NetworkRow
from modes.autoencoders import codec_of
from modes.experiment import Experiment
from modes.guides import OwnLogDensity
from modes.model import Model
from sde_lib import GUIDANCE, Told
from sde_lib.classifier import Classifier
from sde_lib.score import ModelScore

DEVIATION = 0.02
SETTINGS = {
    "model.name": "known", "model.sigma_data": DEVIATION, "sampling.num_steps": 12,
    "sampling.batch_size": 4,
}  # fmt: skip


def signs(label: Any, like: Any) -> Any:
    """m of classes: -1 and 1 of even and odd ones, less on later channels; 0 of none."""
    sign = jnp.where(label < 0, 0, 2 * (label % 2) - 1).astype(like.dtype)
    return sign[:, None, None, None] * 0.5 ** jnp.arange(like.shape[-1], dtype=like.dtype)


def centre(condition: Any, like: Any) -> Any:
    """m of a condition: its picture, or that of its class; times a weight that is told."""
    parts = condition if isinstance(condition, Mapping) else {"label": condition}
    weight = 1 + jnp.nan_to_num(parts.get("guidance", jnp.zeros(len(like))))[:, None, None, None]
    if parts.get("image") is not None:
        return weight * jnp.nan_to_num(parts["image"])
    return weight * signs(parts["label"], like)


class KnownLaw(nn.Module):
    """The raw output of EDM's parametrization, with which D is that of N(m, d^2)."""

    deviation: float

    def beside(self):
        return ("guidance",)

    @nn.compact
    def __call__(self, x, label, condition=None, *, train=False):
        d, sigma = self.deviation, jnp.exp(4 * label)[:, None, None, None]
        own = self.param("own", nn.initializers.ones, (), jnp.float32)
        m = own * centre(condition, x)
        return jnp.broadcast_to(m * sigma / (d * jnp.sqrt(sigma**2 + d**2)), x.shape)


def register() -> None:
    """Make it known as model.name='known'."""
    row = lambda config: KnownLaw(config.model.sigma_data)
    models.NETWORKS["known"] = NetworkRow(row, kinds=("image", "level"), raw=True)


def model(config: Any, settings: Mapping[str, Any], told: Told | None = None) -> Model:
    """The model of a config with these settings, without training."""
    register()
    asked = with_settings(config, {**SETTINGS, **settings})
    experiment = Experiment.of(Recorded.of(asked), None, *([told] if told else []))
    return Model(experiment, experiment.score.with_params({"own": jnp.ones(())}), 0)


def judge(classes: int, deviation: float, score: Any) -> Classifier:
    """The classifier p(k | x_t) of N(m_k, d^2), and of N(0, d^2), e^NOTHING as frequent as they.

    What is left of it at an x of finite size is log N(x_t; alpha m_k, v) / N(x_t; 0, v), whose
    gradient is alpha m_k / v, v = alpha^2 d^2 + sigma^2. Its input is x_t / sqrt(v).
    """

    def logits(params, x, label, condition, key):
        root = jnp.sqrt(jnp.exp(8 * label) + deviation**2)[:, None]
        m = signs(jnp.arange(classes), x).reshape(1, classes, 1, 1, -1)
        found = (m * x[:, None]).sum((2, 3, 4)) / root - (m**2 / 2).sum((2, 3, 4)) / root**2
        return jnp.concatenate([found, jnp.full((len(x), 1), NOTHING)], axis=1)

    return Classifier(ModelScore(logits, None, score.sde, score.parametrization)).on(score.sde)


NOTHING = 1e9


Factor = float | Callable[[Model], float]
"""A number, or what gives it from a model and its steps."""


class Case(NamedTuple):
    """Settings of sampling, and what is then drawn: factor m + led m_k.

    factor, led: numbers, perhaps of the steps that a model takes; factor also of each channel, of
    which pictures have the first. led: by a classifier, m_k as in `signs`; None: none leads.
    guide: factor on m of a worse model that guides; None: none does.
    """

    settings: dict[str, Any]
    factor: Factor | tuple[float, float] = 1.0
    led: Factor | None = None
    guide: float | None = None

    @property
    def kind(self) -> str:
        """The guidance."""
        return str(self.settings.get("guidance_kind", "none"))

    def model(self, config: Any) -> Model:
        """The model of a config that draws so."""
        told = None
        if self.guide is not None:
            other = model(config, {}).score.with_params({"own": jnp.float32(self.guide)})
            told = Told(guide=other, guide_conditional=True)
        if self.led is not None:
            made = model(config, {})
            known = judge(config.model.num_classes, DEVIATION, made.score)
            told = Told(log_density=known, classes=config.model.num_classes)
        own = {f"sampling.{name}": value for name, value in self.settings.items()}
        features = {"model.guidance_features": 2} if self.kind == "embedded" else {}
        return model(config, own | features, told)

    def drawn(self, made: Model, m: np.ndarray, labels: tuple[int, ...]) -> np.ndarray:
        """The centres of what `made` draws, given m and the classes."""
        factor, led = (part(made) if callable(part) else part for part in (self.factor, self.led))
        each = np.asarray(factor, np.float32).reshape(-1)[: m.shape[-1]]
        return each * m + (led or 0.0) * np.asarray(signs(np.asarray(labels), m))


def by(predictor: str, **others: Any) -> Case:
    """A sampler without guidance."""
    return Case({"predictor": predictor, **others})


def guided(kind: str, factor: Factor | tuple[float, float], weight: float, **others: Any) -> Case:
    """Guidance by a weight, sampled by DDIM."""
    own = {"guidance_kind": kind, "guidance": weight, "predictor": "ddim"}
    return Case({**own, **others}, factor)


class At(NamedTuple):
    """Levels at the start and the end of a step, and v = alpha^2 d^2 + sigma^2 at its start."""

    alpha: float
    sigma: float
    v: float
    alpha_s: float
    sigma_s: float


def steps(made: Model) -> list[At]:
    """The steps of a model's sampler, the last of them to x_0."""
    own, score = made.experiment, made.score
    plan = own.config.sampling, own.followed(score), own.config.sde.num_scales, own.sampler
    found = score.sde.marginal(jnp.asarray(samplers.build_times(*plan)))
    at = list(zip(*(np.asarray(part, np.float64).tolist() for part in found), strict=True))
    pairs = zip(at, [*at[1:], (1.0, 0.0)], strict=True)
    return [At(a, s, a**2 * DEVIATION**2 + s**2, *end) for (a, s), end in pairs]


def renoised(weight: float, made: Model) -> float:
    """The factor of CFG++, whose x_t has the mean f m after steps of DDIM.

    Without m x_0 is alpha d^2 x / v and the noise sigma x / v; with it x_0 is sigma^2 m / v more.
    """
    f = 0.0
    for alpha, sigma, v, alpha_s, sigma_s in steps(made):
        x0 = (alpha * DEVIATION**2 * f + weight * sigma**2) / v
        f = alpha_s * x0 + sigma_s * sigma * f / v
    return f


def moved(weight: float, made: Model) -> float:
    """The factor on m_k of steps whose mean is moved by their variance: x_t has the mean f m_k.

    A step is drawn from the posterior of x_s given x_t and x_0, and the last is E[x_0 | x_t].
    """
    f = 0.0
    for alpha, sigma, v, alpha_s, sigma_s in steps(made):
        kept = alpha / alpha_s
        share = (kept * sigma_s / sigma) ** 2  # of sigma^2 that is noise at s already
        variance = sigma_s**2 * (1 - share)
        x0 = alpha * DEVIATION**2 * f / v
        f = share / kept * f + alpha_s * (1 - share) * x0 + variance * weight * alpha / v
    return f


CASES = {
    "predictor and corrector": by("reverse_diffusion", corrector="langevin", num_steps=60),
    "fixed steps": by("heun"),
    "adaptive steps": by("ode", ode_solver="bosh3"),
    "adaptive multistep": by("adaptive_adams"),
    "multistep": by("unipc"),
    "single step": by("dpm_solver"),
    "steps of an SDE": by("er_sde"),
    "adaptive SDE": by("adaptive_sde"),
    "restarts": by("restart"),
    "consistency": by("consistency"),
    "classifier-free": guided("classifier_free", 2.0, 2.0),
    "omega": guided("classifier_free_omega", 2.0, 1.0),
    "first channels": guided("first_channels", (2.0, 1.0), 2.0, guidance_channels=1),
    # What is followed below sigma = 1 decides.
    "low noise": guided("classifier_free", 2.0, 2.0, guidance_max=1.0),
    "high noise": guided("classifier_free", 1.0, 2.0, guidance_min=1.0),
    # EDM's output is a multiple of m: 3 m is scaled to m, half of the way.
    "rescaled": guided("rescaled", 2.0, 3.0, guidance_rescale=0.5),
    # m is parallel to 2 m, and what guides is what is not.
    "projected": guided("apg", 1.0, 2.0),
    "renoised": guided("cfg_pp", partial(renoised, 0.6), 0.6),
    "embedded": guided("embedded", 3.0, 3.0),
    "worse model": Case(guided("autoguidance", 2.0, 3.0).settings, 2.0, guide=0.5),
    "classifier": Case(guided("classifier", 1.0, 0.5).settings, led=0.5),
    "classifier's mean": Case(
        guided("classifier_mean", 1.0, 20, predictor="ancestral").settings, led=partial(moved, 20)
    ),
}
"""Sampler or guidance -> one case of its family."""
OTHERS = {"thresholded", "denoised_classifier"}
"""Guidances of pictures, which have tests of their own."""
assert {row.kind for row in CASES.values()} | OTHERS == set(GUIDANCE)
LONG = (
    "adaptive steps", "adaptive multistep", "adaptive SDE", "restarts", "consistency", "projected",
    "omega", "classifier's mean",
)  # fmt: skip
"""Cases that take long, or are like others."""

LEFT = np.zeros((1, 8, 8, 1), np.float32)
LEFT[:, :, :4] = 1
"""The half of a picture that an inverse problem knows."""
DDIM, ANCESTRAL = ({"sampling.predictor": name} for name in ("ddim", "ancestral"))


def inverse(method: str, **others: Any) -> dict[str, Any]:
    """Settings of an inverse method."""
    own = {f"inverse.{name}": value for name, value in others.items()}
    return {"inverse.method": method, "sampling.num_steps": 24, **own}


def led(config: Any, strength: float, **others: Any) -> Model:
    """The model led by log p(y | x) = `strength` times the sum of a clean picture."""
    brightness = lambda x, t, label: strength * x.sum(axis=(1, 2, 3))
    told = Told(log_density=OwnLogDensity(brightness, codec_of(config)))
    own = {"guidance_kind": "denoised_classifier", "predictor": "ddim", **others}
    return model(config, {f"sampling.{name}": value for name, value in own.items()}, told)
