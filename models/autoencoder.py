"""Autoencoders of pictures: the coder and decoder of latent diffusion, and its two kinds of latent.

Rombach et al., 2022, "High-Resolution Image Synthesis with Latent Diffusion Models",
arXiv:2112.10752, appendix G; Esser et al., 2021, arXiv:2012.09841. The encoder halves a picture
once less often than it has widths, the decoder is its mirror image with a block more on each
resolution. The last layer of the decoder is a module by itself, since the weight of the adversarial
loss is made of gradients by its kernel (`train_lib.adversary`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from models import settings
from models.checks import centered, flag, integer
from models.layers.attention import Attention
from models.layers.blocks import biggan_block, ddpm_down, ddpm_up
from models.layers.conv import Conv
from models.layers.norm import FixedGroups
from models.layers.resampling import Plain
from models.layers.style import Style, default_init
from models.patches import PatchJudge, least_side
from models.shapes import Shape, picture, resolutions, written

Image = Float[Array, "b h w c"]
Latents = Float[Array, "b p q k"]
LOWEST, HIGHEST = -30.0, 20.0
"""Ends of the range to which a log-variance is clipped."""


class Floors(NamedTuple):
    """Widths of the resolutions, finest first, blocks on each, and where attention is.

    attention: whether it follows every block, at each resolution. middle: whether it is between the
    two blocks at the bottom.
    """

    widths: tuple[int, ...]
    blocks: int
    attention: tuple[bool, ...]
    middle: bool


class PictureEncoder(nn.Module):
    """A picture [b, h, w, c] as features [b, h / f, w / f, channels], f = 2^(resolutions - 1)."""

    style: Style
    floors: Floors
    channels: int

    @nn.compact
    def __call__(self, x: Image) -> Latents:
        style, remat = self.style, self.style.remat
        h = _conv(style.exact, self.floors.widths[0], "stem")(x).astype(style.dtype)
        for level, width in enumerate(self.floors.widths):
            if level:
                h = remat(ddpm_down(style, h.shape[-1], f"down_{level}_halve"))(h)
            for i in range(self.floors.blocks):
                h = _floor(style, self.floors, level, f"down_{level}", i, width, h)
        h = _across(style, self.floors.middle, h)
        h = style.activation(style.norm(h.shape[-1], "output_norm")(h))
        return _conv(style.exact, self.channels, "output_conv")(h)


class PictureDecoder(nn.Module):
    """Features before the last layer, [b, f h, f w, d], of latents [b, h, w, c]."""

    style: Style
    floors: Floors

    @nn.compact
    def __call__(self, z: Latents) -> Image:
        style, remat = self.style, self.style.remat
        h = _conv(style.exact, self.floors.widths[-1], "stem")(z).astype(style.dtype)
        h = _across(style, self.floors.middle, h)
        for level, width in reversed([*enumerate(self.floors.widths)]):
            for i in range(self.floors.blocks + 1):
                h = _floor(style, self.floors, level, f"up_{level}", i, width, h)
            if level:
                h = remat(ddpm_up(style, h.shape[-1], f"up_{level}_double"))(h)
        return style.activation(style.norm(h.shape[-1], "output_norm")(h)).astype(jnp.float32)


def _floor(
    style: Style, floors: Floors, level: int, name: str, i: int, width: int, h: Image
) -> Float[Array, "b h w d"]:
    """The i-th block of a resolution, and its attention; within a module."""
    h = style.remat(biggan_block(style, width, f"{name}_block_{i}"))(h)
    if floors.attention[level]:
        h = style.remat(Attention(style, name=f"{name}_attention_{i}"))(h)
    return h


def _across(style: Style, attention: bool, h: Image) -> Image:
    """The two blocks at the bottom, with attention between them; within a module."""
    first, last = (biggan_block(style, h.shape[-1], f"middle_block_{i}") for i in range(2))
    h = style.remat(first)(h)
    if attention:
        h = style.remat(Attention(style, name="middle_attention"))(h)
    return style.remat(last)(h)


def _conv(style: Style, features: int, name: str) -> Conv:
    return Conv(features, kernel_init=default_init(), dtype=style.dtype, name=name)


class LatentGaussian(NamedTuple):
    """q(z | x) = N(mean, e^logvar): the latents of a picture as an encoder gives them."""

    mean: Latents
    logvar: Latents

    @classmethod
    def of(cls, moments: Latents) -> LatentGaussian:
        """The two halves of the channels, the log-variances clipped to [-30, 20]."""
        mean, logvar = jnp.split(moments, 2, axis=-1)
        return cls(mean, jnp.clip(logvar, LOWEST, HIGHEST))

    def sample(self, noise: Latents) -> Latents:
        """mean + std noise."""
        return self.mean + jnp.exp(0.5 * self.logvar) * noise

    def kl(self) -> Float[Array, " b"]:
        """KL(q || N(0, I)) of each example, summed over all its latents, in nats."""
        each = self.mean**2 + jnp.exp(self.logvar) - 1.0 - self.logvar
        return 0.5 * jnp.sum(each.reshape(len(each), -1), axis=1)


class Autoencoder(nn.Module):
    """Coder and decoder around latents of one kind.

    Attributes:
      style: shared choices of all layers.
      floors: sizes.
      latent: channels of the latents as they are decoded and diffused.
      inner: channels at the coder's last and the decoder's first layer.
      channels: of pictures.
      maps: whether a linear map of each pixel follows the coder, and precedes the decoder.
      centered: True if pictures are in [-1, 1]; if not, they are in [0, 1] and mapped to [-1, 1].
      codes: number of codes; 0: latents are Gaussian.
      judge: the discriminator of its training, whose parameters are beside its own, or None.
    """

    style: Style
    floors: Floors
    latent: int
    inner: int
    channels: int
    maps: tuple[bool, bool] = (True, True)
    centered: bool = True
    codes: int = 0
    judge: PatchJudge | None = None

    def setup(self) -> None:
        """The modules, by their names among the parameters."""
        wide = 1 if self.codes else 2
        self.encoder = PictureEncoder(self.style, self.floors, wide * self.inner)
        self.decoder = PictureDecoder(self.style, self.floors)
        self.last = Conv(self.channels, kernel_init=default_init())
        if self.maps[0]:
            self.quant = self.style.exact.dense(wide * self.latent)
        if self.maps[1]:
            self.post_quant = self.style.exact.dense(self.inner)
        if self.judge is not None:
            self.discriminator = self.judge.clone()
        if self.codes:
            init = nn.initializers.uniform(2 / self.codes)
            centred: Any = lambda *args: init(*args) - 1 / self.codes
            self.codebook = self.param("codebook", centred, (self.codes, self.latent))

    @nn.nowrap
    def factor(self) -> int:
        """Pixels along an axis for each latent."""
        return int(2 ** (len(self.floors.widths) - 1))

    def moments(self, x: Image) -> Latents:
        """The coder's output: mean and log-variance side by side, or codes before rounding."""
        h = self.encoder(x if self.centered else 2 * x - 1)
        return self.quant(h) if self.maps[0] else h

    def posterior(self, x: Image) -> LatentGaussian:
        """q(z | x); that of codes is a point, the vector before it is rounded to a code."""
        found = self.moments(x)
        return (
            LatentGaussian(found, jnp.full_like(found, LOWEST))
            if self.codes
            else LatentGaussian.of(found)
        )

    def features(self, z: Latents, rounded: bool = False) -> Image:
        """Features before the last layer, of latents; codes are rounded first, unless they are."""
        if self.codes and not rounded:
            z = self.quantize(z)[0]
        return self.decoder(self.post_quant(z) if self.maps[1] else z)

    def picture(self, h: Float[Array, "b h w d"]) -> Image:
        """A picture of the features before the last layer; no value is clipped."""
        x = self.last(h)
        return x if self.centered else (x + 1) / 2

    def decode(self, z: Latents, rounded: bool = False) -> Image:
        """Pictures of latents."""
        return self.picture(self.features(z, rounded))

    def quantize(self, h: Latents) -> tuple[Latents, Int[Array, "b p q"]]:
        """(the nearest code of each vector, its number)."""
        flat = h.reshape(-1, h.shape[-1])
        squares = jnp.sum(self.codebook**2, axis=1)
        distances = squares[None] - 2 * jnp.einsum("nc,kc->nk", flat, self.codebook)
        numbers = jnp.argmin(distances, axis=1)
        return self.codebook[numbers].reshape(h.shape), numbers.reshape(h.shape[:-1])

    def discriminate(self, x: Image) -> Float[Array, "b p q 1"]:
        """The discriminator's logits of patches of pictures in [-1, 1]."""
        return self.discriminator(x)

    def __call__(
        self, x: Image, label: Any = None, condition: Any = None, *, train: bool = False
    ) -> Image:
        """The picture of the mean of the latents; label and condition have no effect."""
        if self.judge is not None and self.is_initializing():
            self.discriminate(x)
        return self.decode(self.posterior(x).mean)


def build(config: ConfigDict, codes: int = 0) -> Autoencoder:
    """The autoencoder with Gaussian latents that `config.model` and `config.data` describe.

    Raises:
      ValueError: a key is missing or does not fit the others.
    """
    model, widths = config.model, settings.widths_of(config.model)
    halvings = len(widths) - 1
    why = f"model.ch_mult has {len(widths)} entries and the coder halves pictures {halvings} times"
    shape = picture(config, halvings, why, padded=False)
    groups = FixedGroups(integer(model, "model.norm_num_groups", least=1))
    blocks = integer(model, "model.num_res_blocks", least=1)
    _check_groups(groups.groups, widths)
    latent = integer(model, "model.latent_channels", least=1)
    maps = flag(model, "model.quant_conv"), flag(model, "model.post_quant_conv")
    style = Style(
        activation=jax.nn.silu,
        groups=groups,
        resample=Plain(),
        resample_with_conv=True,
        dropout=0.0,
        rescale=False,
        init_scale=1.0,
        dtype=settings.dtype(model),
        attend=settings.attend(model),
        remat=settings.remat(model),
    )
    attention = settings.attention(model, resolutions(shape, len(widths)))
    floors = Floors(widths, blocks, attention, flag(model, "model.add_attention"))
    found = Autoencoder(style, floors, latent, latent, shape[-1], maps, centered(config), codes)
    return found.clone(judge=_judge(model, shape))


def _judge(model: ConfigDict, shape: Shape) -> PatchJudge | None:
    width = integer(model, "model.discriminator", least=0)
    if not width:
        return None
    layers = integer(model, "model.discriminator_layers", least=1)
    if min(shape[:2]) < least_side(layers):
        raise ValueError(
            f"model.discriminator_layers must be fewer than {layers} for pictures of "
            f"{written(shape)}: a patch of so many is {least_side(layers)} pixels at least"
        )
    return PatchJudge(width, layers, parent=None)


def _check_groups(groups: int, widths: tuple[int, ...]) -> None:
    if uneven := [width for width in widths if width % groups]:
        raise ValueError(
            f"model.norm_num_groups must divide the channels of every resolution, "
            f"{', '.join(map(str, widths))}, got {groups}: {uneven[0]} do not fall into such groups"
        )


def build_vq(config: ConfigDict) -> Autoencoder:
    """The autoencoder whose latents are rounded to codes.

    Raises:
      ValueError: a key is missing or does not fit the others.
    """
    model = config.model
    found = build(config, integer(model, "model.codes", least=2))
    size = integer(model, "model.code_channels", least=0) or found.latent
    if size != found.inner and not all(found.maps):
        raise ValueError(
            "model.code_channels must be model.latent_channels, or 0, without model.quant_conv and "
            f"model.post_quant_conv, got {size} and {found.inner}"
        )
    return found.clone(latent=size)
