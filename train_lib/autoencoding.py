"""Training of an autoencoder of pictures: reconstruction, the law of its latents, an adversary.

    loss = nll + kl_weight KL(q(z | x) || N(0, I)) + d on g,   nll = (|x - x'| + p LPIPS) / e^s + s

with z ~ q(z | x), or, with codes, codebook_weight times their loss instead of KL; g and d are the
adversary's (`train_lib.adversary`), and on is 0 before its start. With training.reduce_mean nll is
the mean over all values of the picture, and KL the mean over all latents; without it both are sums,
as published (Rombach et al. 2022, arXiv:2112.10752, appendix G), where LPIPS is added to every
value. One kl_weight means two things in the two forms. s is constant, as in the published models.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

import models
from models.autoencoder import Autoencoder, Image, LatentGaussian, Latents
from models.features import lpips
from models.features.lpips import PerceptualDistance
from models.pretrained.files.tensors import PretrainedError
from models.score import network_of
from models.shapes import example
from sde_lib import ModelScore, choose
from sde_lib.base import Number
from sde_lib.condition import Condition
from sde_lib.pytree import pytree, static
from train_lib.adversary import ADVERSARIES, balance, fooling

Losses = Float[Array, " b"]
Measures = dict[str, Losses]
RECONSTRUCTIONS: dict[str, Callable[[Array], Array]] = {"l1": jnp.abs, "l2": jnp.square}
PEAK = 2.0
"""White minus black."""


def _mean(x: Image) -> Losses:
    return jnp.mean(x.reshape(len(x), -1), axis=1)


def codebook_loss(h: Latents, q: Latents, commitment: Number, legacy: bool) -> Losses:
    """mean |sg h - q|^2 + commitment mean |h - sg q|^2 of each example (arXiv:1711.00937, eq. 3).

    h: vectors; q: the codes nearest to them. With `legacy` the factor is on the first term, as in
    taming-transformers and diffusers.
    """
    stop = jax.lax.stop_gradient
    codes, committed = _mean((stop(h) - q) ** 2), _mean((h - stop(q)) ** 2)
    return committed + commitment * codes if legacy else codes + commitment * committed


@pytree
class Adversary:
    """Settings of the adversarial term: training.adversary, its weight, and its first update."""

    weight: Number
    start: Number
    kind: str = static(default="hinge")


@pytree
class Autoencoding:
    """The loss of an autoencoder; the score has its network.

    reconstruction: a key of `RECONSTRUCTIONS`. logvar: s. kl_weight, codebook_weight, commitment:
    of the latents. perceptual: LPIPS and its weight, or None. step: the number of updates made.
    """

    kl_weight: Number = 1e-4
    codebook_weight: Number = 1.0
    commitment: Number = 0.25
    logvar: Number = 0.0
    perceptual: tuple[PerceptualDistance, Number] | None = None
    adversary: Adversary | None = None
    step: Int[Array, ""] | None = None
    reconstruction: str = static(default="l1")
    reduce_mean: bool = static(default=True)
    legacy: bool = static(default=False)
    channels: int = static(default=4)
    codes: bool = static(default=False)

    trains_schedule: ClassVar[bool] = False
    law: ClassVar[None] = None
    stratified: ClassVar[bool] = False

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of what is measured of every example while training."""
        judged = ("adversary_weight", "generator_loss", "discriminator_loss")
        return (*self._always, *(judged if self.adversary else ()))

    @property
    def _always(self) -> tuple[str, ...]:
        moments = (f"latent_{of}{k}" for k in range(self.channels) for of in ("", "square_"))
        return "nll", "codebook" if self.codes else "kl", "psnr", "posterior_std", *moments

    def summarised(self, means: dict[str, float]) -> dict[str, float]:
        """`deviations`."""
        return deviations(means)

    def __call__(
        self,
        score: ModelScore,
        key: PRNGKeyArray,
        x0: Image,
        condition: Condition = None,
        *,
        train: bool,
    ) -> Losses:
        """Losses of a batch."""
        return self.measured(score, key, x0, condition, train=train)[0]

    def measured(
        self,
        score: ModelScore,
        key: PRNGKeyArray,
        x0: Image,
        condition: Condition = None,
        *,
        train: bool,
    ) -> tuple[Losses, Measures]:
        """(losses, measurements); of held-out pictures without the adversary, of the mean latents.

        latent_k and latent_square_k are mean and mean square of channel k of the latents, drawn.
        """
        network = network_of(score)
        made = Made(network, score.params)
        z, term, told = self._latents(made, key, x0, train)
        h = made("features", z, rounded=self.codes)
        again = made("picture", h)
        pixels = _symmetric(network, x0), _symmetric(network, again)
        nll = self._nll(*pixels)
        told |= {"nll": nll, "psnr": psnr(*pixels)}
        total = nll + term
        if train and self.adversary is not None:
            added, judged = self._judged(self.adversary, made, jax.lax.stop_gradient(h), *pixels)
            total, told = total + added, told | judged
        return total, told

    def _latents(
        self, made: Made, key: PRNGKeyArray, x: Image, train: bool
    ) -> tuple[Latents, Losses, Measures]:
        """(what is decoded, its term of the loss, measurements)."""
        if self.codes:
            h = made("moments", x)
            q, _ = made("quantize", h)
            loss = codebook_loss(h, q, self.commitment, self.legacy)
            told = {"codebook": loss, "posterior_std": jnp.zeros(len(x))} | _moments(h)
            return h + jax.lax.stop_gradient(q - h), self.codebook_weight * loss, told
        found: LatentGaussian = made("posterior", x)
        drawn = found.sample(jax.random.normal(key, found.mean.shape, found.mean.dtype))
        kl = found.kl() / (found.mean[0].size if self.reduce_mean else 1)
        told = {"kl": kl, "posterior_std": _mean(jnp.exp(0.5 * found.logvar))} | _moments(drawn)
        return drawn if train else found.mean, self.kl_weight * kl, told

    def _nll(self, x: Image, again: Image) -> Losses:
        """(|x - x'| + p LPIPS) / e^s + s, averaged or summed over the values of x in [-1, 1]."""
        each = _mean(RECONSTRUCTIONS[self.reconstruction](x - again))
        if self.perceptual is not None:
            distance, weight = self.perceptual
            each += weight * distance((x + 1) / 2, (again + 1) / 2)
        found = each / jnp.exp(self.logvar) + self.logvar
        return found if self.reduce_mean else found * x[0].size

    def _judged(
        self, adversary: Adversary, made: Made, h: Float[Array, "b h w d"], x: Image, again: Image
    ) -> tuple[Losses, Measures]:
        """(what the adversary adds to the losses, measurements).

        The autoencoder descends d g, and the discriminator its own loss: each is constant to the
        other. Both have an update each, made at once.
        """
        stop, apart = jax.lax.stop_gradient, made.constant()

        def by_last(kernel: Array) -> tuple[Float[Array, ""], Float[Array, ""]]:
            drawn = _symmetric(made.network, apart.with_last(kernel)("picture", h))
            nll, g = self._nll(stop(x), drawn), fooling(apart("discriminate", drawn))
            return jnp.mean(nll), jnp.mean(g)

        d = balance(by_last, made.params["last"]["kernel"], adversary.weight)
        on = 1.0 if self.step is None else (self.step >= adversary.start).astype(jnp.float32)
        g = fooling(apart("discriminate", again))
        own = ADVERSARIES[adversary.kind](
            made("discriminate", stop(x)), made("discriminate", stop(again))
        )
        told = {"adversary_weight": jnp.broadcast_to(d, g.shape), "generator_loss": g,
                "discriminator_loss": own}  # fmt: skip
        return on * (d * g + own), told


class Made:
    """A network and its parameters; calling it calls one of its methods."""

    def __init__(self, network: Autoencoder, params: Any) -> None:
        self.network, self.params = network, params

    def __call__(self, method: str, *args: Any, **options: Any) -> Any:
        return self.network.apply({"params": self.params}, *args, method=method, **options)

    def constant(self) -> Made:
        """The same, of which no derivative is taken by the parameters."""
        return Made(self.network, jax.lax.stop_gradient(self.params))

    def with_last(self, kernel: Array) -> Made:
        """The same with another kernel of the last layer."""
        return Made(self.network, self.params | {"last": self.params["last"] | {"kernel": kernel}})


def _symmetric(network: Autoencoder, x: Image) -> Image:
    return x if network.centered else 2 * x - 1


def _moments(z: Latents) -> Measures:
    means = jnp.mean(z.reshape(len(z), -1, z.shape[-1]), axis=1)
    squares = jnp.mean(z.reshape(len(z), -1, z.shape[-1]) ** 2, axis=1)
    named = {f"latent_{k}": means[:, k] for k in range(z.shape[-1])}
    return named | {f"latent_square_{k}": squares[:, k] for k in range(z.shape[-1])}


def psnr(x: Image, again: Image) -> Losses:
    """Peak signal-to-noise ratio in dB of reconstructions clipped to the range of x, [-1, 1]."""
    squares = _mean((x - jnp.clip(again, -1.0, 1.0)) ** 2)
    return 10 * jnp.log10(PEAK**2 / jnp.maximum(squares, 1e-12))


def deviations(means: dict[str, float]) -> dict[str, float]:
    """Measurements with latent_std_k, channel k's standard deviation, for its two moments."""
    moments = [name for name in means if name.startswith("latent_")]
    found = {name: mean for name, mean in means.items() if name not in moments}
    for k in range(len(moments) // 2):
        variance = means[f"latent_square_{k}"] - means[f"latent_{k}"] ** 2
        found[f"latent_std_{k}"] = math.sqrt(max(variance, 0.0))
    return found


def build(config: Any) -> Autoencoding:
    """The objective of a config; ValueError, in the user's terms, for settings that do not fit."""
    training, model = config.training, config.model
    network = models.build_autoencoder(config)
    return Autoencoding(
        kl_weight=0.0 if network.codes else training.kl_weight,
        codebook_weight=training.codebook_weight if network.codes else 0.0,
        commitment=training.commitment if network.codes else 0.0,
        logvar=training.reconstruction_logvar,
        perceptual=_perceptual(config),
        adversary=_adversary(training) if model.discriminator else None,
        reconstruction=choose(
            "training.reconstruction", training.reconstruction, {k: k for k in RECONSTRUCTIONS}
        ),
        reduce_mean=training.reduce_mean,
        legacy=bool(network.codes) and training.legacy_commitment,
        channels=network.latent,
        codes=bool(network.codes),
    )


def _adversary(training: Any) -> Adversary:
    kind = choose("training.adversary", training.adversary, {k: k for k in ADVERSARIES})
    return Adversary(training.adversary_weight, training.adversary_start, kind)


def _perceptual(config: Any) -> tuple[PerceptualDistance, float] | None:
    if not config.training.lpips:
        return None
    try:
        distance, _ = lpips.load(config.training.lpips)
    except PretrainedError as error:
        raise ValueError(f"training.lpips: {error}") from error
    distance.check(example(config))
    return distance, config.training.lpips_weight
