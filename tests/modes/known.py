"""A network whose law is known, by which any sampler and guidance is proven on latents and stages.

Its examples of class k are N(m, d^2), d = model.sigma_data: m has the sign of the class on all
latents, or is the given picture. Told nothing it has m = 0, so that guidance by a weight w draws
around w m.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

import models
from configs.changed import with_settings
from configs.recorded import Recorded
from models.build import NetworkRow
from modes.autoencoders import codec_of
from modes.experiment import Experiment
from modes.guides import OwnLogDensity
from modes.model import Model
from sde_lib import Told

DEVIATION = 0.02
SETTINGS = {
    "model.name": "known", "model.sigma_data": DEVIATION, "sampling.num_steps": 12,
    "sampling.batch_size": 4,
}  # fmt: skip


def centre(condition: Any, like: Any) -> Any:
    """m of a condition: its picture, or -1 and 1 of even and odd classes."""
    parts = condition if isinstance(condition, Mapping) else {"label": condition}
    if parts.get("image") is not None:
        return jnp.nan_to_num(parts["image"])
    sign = jnp.where(parts["label"] < 0, 0, 2 * (parts["label"] % 2) - 1)
    return sign.astype(like.dtype)[:, None, None, None]


class KnownLaw(nn.Module):
    """The raw output of EDM's parametrization, with which D is that of N(m, d^2)."""

    deviation: float

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


class Case(NamedTuple):
    """Settings of sampling, and the factor on m of what is then drawn.

    guide: factor on m of a worse model that guides; None: none does.
    """

    settings: dict[str, Any]
    factor: float = 1.0
    guide: float | None = None

    def model(self, config: Any) -> Model:
        """The model of a config that draws so."""
        told = None
        if self.guide is not None:
            other = model(config, {}).score.with_params({"own": jnp.float32(self.guide)})
            told = Told(guide=other, guide_conditional=True)
        own = {f"sampling.{name}": value for name, value in self.settings.items()}
        return model(config, own, told)


def by(predictor: str, **others: Any) -> Case:
    """A sampler without guidance."""
    return Case({"predictor": predictor, **others})


def guided(kind: str, factor: float, weight: float, **others: Any) -> Case:
    """Guidance by a weight, sampled by DDIM."""
    own = {"guidance_kind": kind, "guidance": weight, "predictor": "ddim"}
    return Case({**own, **others}, factor)


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
    # What is followed below sigma = 1 decides.
    "low noise": guided("classifier_free", 2.0, 2.0, guidance_max=1.0),
    "high noise": guided("classifier_free", 1.0, 2.0, guidance_min=1.0),
    # m is parallel to 2 m, and what guides is what is not.
    "projected": guided("apg", 1.0, 2.0),
    "worse model": Case(guided("autoguidance", 2.0, 3.0).settings, 2.0, guide=0.5),
}
"""Sampler or guidance -> one case of its family."""
LONG = (
    "adaptive steps", "adaptive multistep", "adaptive SDE", "restarts", "consistency", "projected",
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
