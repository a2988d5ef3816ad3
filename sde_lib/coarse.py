"""The coarse picture that a super-resolution stage is given, made of the example itself.

With x an example, low(x) its area average and up a filter (`sde_lib.resizing`), the condition is

    image    alpha(s) up(low) + sigma(s) n,    n ~ N(0, I),    alpha^2 + sigma^2 = 1
    level    s, told to the network

(Ho et al. 2022, "Cascaded Diffusion Models", arXiv:2106.15282, section 4.2; Saharia et al. 2022,
arXiv:2205.11487, who tell s.) In training s ~ U(0, most) for each example; in sampling it is one
number. n may be added before the filter instead: up(alpha(s) low + sigma(s) n). In training, low of
a share of the examples may be blurred before. All is in the units of what is diffused.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from configs.kinds import Kinds, coarse_lengths, fine_shape, kinds_of, with_coarse
from configs.names import choose
from configs.shapes import area_mean
from sde_lib.base import expand
from sde_lib.condition import Condition, assembled
from sde_lib.iddpm import scaled_linear
from sde_lib.pytree import pytree, static
from sde_lib.resizing import UPSAMPLINGS, upsampled

Level = Float[Array, " b"]


def _cosine(s: Level) -> tuple[Level, Level]:
    return jnp.cos(s * (math.pi / 2)), jnp.sin(s * (math.pi / 2))


def _linear(s: Level) -> tuple[Level, Level]:
    rate = 1e-4 + 10 * s**2
    return jnp.exp(-rate / 2), jnp.sqrt(-jnp.expm1(-rate))


LEVELS = np.cumprod(1 - scaled_linear(1000, 0.1, 20.0)).astype(np.float32)
"""alpha^2 of the levels of noise in the picture that Stable Diffusion's x4 upscaler is given."""


def _of_levels(s: Level) -> tuple[Level, Level]:
    squared = jnp.asarray(LEVELS)[jnp.round(s * (len(LEVELS) - 1)).astype(jnp.int32)]
    return jnp.sqrt(squared), jnp.sqrt(1 - squared)


COARSE_SCHEDULES: dict[str, Callable[[Level], tuple[Level, Level]]] = {
    "cosine": _cosine,
    "linear": _linear,
    "scaled_linear": _of_levels,
}
"""data.coarse_schedule -> (alpha, sigma) of a level s in [0, 1]: the cosine of Nichol & Dhariwal,
without noise at 0; and log(alpha^2 / sigma^2) = -log(exp(1e-4 + 10 s^2) - 1), that of VP with
a rate of noise that grows linearly, of Imagen's open implementations; and the nearest of the 1000
levels of Stable Diffusion's x4 upscaler."""
PLACES = ("fine", "coarse")
"""data.coarse_noise: where noise is added, after the filter or before it."""


@pytree
class Coarse:
    """The coarse picture of an example.

    Attributes:
      level: s in sampling.
      most: the largest s in training.
      blurred: share of the examples that are blurred in training.
      blur_std: least and largest standard deviation of the blur, in coarse pixels.
      lengths: of the coarse picture's spatial axes.
      shape: of the example.
      filtering: a name in `UPSAMPLINGS`.
      schedule: a name in `COARSE_SCHEDULES`.
      place: one of `PLACES`.
      told: whether the network is told s.
      rows: number of levels of noise, of which it is told the number; 0: it is told s itself.
      latent: whether the examples are latents, of which no coarse picture can be made.
      ends: black and white, between which coarse pictures are clipped; None for other data.
      gray_levels: number of levels between both to which they are rounded; 0: none.
      periodic: the spatial axes that are periodic.
    """

    level: Any
    most: Any
    blurred: Any
    blur_std: tuple[Any, Any]
    lengths: tuple[int, ...] = static()
    shape: tuple[int, ...] = static()
    filtering: str = static()
    schedule: str = static()
    place: str = static()
    told: bool = static()
    ends: tuple[float, float] | None = static()
    gray_levels: int = static()
    periodic: tuple[int, ...] = static()
    rows: int = static(default=0)
    latent: bool = static(default=False)

    def low(self, x: Float[Array, "b *s c"]) -> Float[Array, "b *t c"]:
        """The area averages of examples."""
        return self.tidied(area_mean(x, self.lengths))

    def tidied(self, low: Float[Array, "b *t c"]) -> Float[Array, "b *t c"]:
        """Coarse pictures within black and white, and on their gray levels if there are any."""
        if self.ends is None:
            return low
        black, white = self.ends
        low = jnp.clip(low, black, white)
        if not self.gray_levels:
            return low
        step = (white - black) / (self.gray_levels - 1)
        return black + step * jnp.round((low - black) / step)

    def up(self, low: Float[Array, "b *t c"]) -> Float[Array, "b *s c"]:
        """Coarse pictures at the size of examples."""
        return upsampled(low, self.shape[:-1], self.filtering, self.periodic)

    def noisy(
        self, low: Float[Array, "b *t c"], s: Level, n: Float[Array, "b *d"]
    ) -> Float[Array, "b *s c"]:
        """The condition's image, of coarse pictures, levels and noise of the place's shape."""
        alpha, sigma = COARSE_SCHEDULES[self.schedule](s)
        add = lambda x: expand(alpha, x) * x + expand(sigma, x) * n
        return add(self.up(low)) if self.place == "fine" else self.up(add(low))

    def parts(self, image: Array, s: Level) -> dict[str, Array]:
        """The parts of the condition."""
        level = s * (self.rows - 1) if self.rows else s
        return {"image": image, "level": level} if self.told else {"image": image}

    def trained(self, key: PRNGKeyArray, x: Float[Array, "b *s c"]) -> dict[str, Array]:
        """The parts for training on examples x, with levels and noise of `key`.

        Raises ValueError for latents.
        """
        if self.latent:
            raise ValueError("data.coarse must be empty to train in latents, of which no coarse "
                             "picture can be made: imported models only are given one")  # fmt: skip
        noise, uniform = jax.random.split(key)
        u = jax.random.uniform(uniform, (len(x), 3))
        low = self._blurred(self.low(x), u[:, 1], u[:, 2])
        s = u[:, 0] * self.most
        n = jax.random.normal(noise, (len(x), *self._noise_shape))
        image = jax.lax.stop_gradient(self.noisy(low, s, n))
        return self.parts(image, s)

    def given(self, low: Float[Array, "b *t c"], keys: PRNGKeyArray) -> dict[str, Array]:
        """The parts for sampling, with noise of each sample's key."""
        return self.parts(*_given(self, low, keys))

    def as_handed_on(self, low: Float[Array, "b *t c"]) -> dict[str, Array]:
        """The parts, of coarse pictures that have the noise of `level` already."""
        return self.parts(self.up(low), jnp.full(len(low), self.level, jnp.float32))

    @property
    def _noise_shape(self) -> tuple[int, ...]:
        return self.shape if self.place == "fine" else (*self.lengths, self.shape[-1])

    def _blurred(
        self, low: Float[Array, "b *t c"], coin: Level, u: Level
    ) -> Float[Array, "b *t c"]:
        """Coarse pictures, of which those with coin < blurred are blurred by 3 taps an axis."""
        least, most = self.blur_std
        side = jnp.exp(-0.5 / (least + (most - least) * u) ** 2)
        side = jnp.where(coin < self.blurred, side / (1 + 2 * side), 0.0)
        for axis in range(1, low.ndim - 1):
            ends = "wrap" if axis - 1 in self.periodic else "edge"
            pads = [(1, 1) if a == axis else (0, 0) for a in range(low.ndim)]
            wide, n = jnp.pad(low, pads, mode=ends), low.shape[axis]
            before, after = (jax.lax.slice_in_dim(wide, k, k + n, axis=axis) for k in (0, 2))
            share = expand(side, low)
            low = (1 - 2 * share) * low + share * (before + after)
        return low


@jax.jit
def _given(coarse: Coarse, low: Array, keys: PRNGKeyArray) -> tuple[Array, Level]:
    draw = lambda key: jax.random.normal(key, coarse._noise_shape)
    s = jnp.full(len(low), coarse.level, jnp.float32)
    return coarse.noisy(coarse.tidied(low), s, jax.vmap(draw)(keys)), s


@pytree
class Assembly:
    """The condition of a batch, of its labels and of rows as data and earlier stages give them.

    Attributes:
      coarse: the maker of the image; None: the rows have it, if there is one.
      kinds: kinds of the rows.
      handed_on: whether coarse pictures have their noise already.
    """

    coarse: Coarse | None
    kinds: Kinds = static()
    handed_on: bool = static(default=False)

    def __call__(
        self, labels: Any, rows: Any, keys: Any, observed: Array | None = None
    ) -> Condition:
        """The condition. keys: one for each row, of the noise in a coarse picture."""
        found = assembled(self.kinds, labels, rows, observed)
        if self.coarse is None or rows is None:
            return found
        low = found.pop("image")
        made = self.coarse.as_handed_on(low) if self.handed_on else self.coarse.given(low, keys)
        return {**found, **made}


def assembly(config: Any) -> Assembly:
    """The assembly of a config's conditions outside of training."""
    return Assembly(build(config), with_coarse(config))


def build(config: Any) -> Coarse | None:
    """The coarse picture of a config; None without one.

    Raises ValueError, in the user's terms, for settings that do not fit one another.
    """
    data, training, sampling = config.data, config.training, config.sampling
    if not tuple(data.coarse):
        return None
    kinds, shape = kinds_of(config.model.condition), fine_shape(config)
    if "image" not in kinds:
        raise ValueError(
            "data.coarse needs model.condition with an image, such as 'image+level', got "
            f"{config.model.condition!r}"
        )
    most, told = float(training.coarse_level), "level" in kinds
    if most and not told:
        raise ValueError(
            "training.coarse_level needs a model that is told the level: set model.condition="
            f"'{config.model.condition}+level'"
        )
    if sampling.coarse_level > most:
        raise ValueError(
            f"sampling.coarse_level must be at most training.coarse_level = {most:g}, the largest "
            f"level that the model was trained for, got {sampling.coarse_level:g}"
        )
    if data.missing != "refuse":
        raise ValueError("data.missing must be refuse with data.coarse, whose averages need every "
                         "value")  # fmt: skip
    least, largest = _blur(training)
    return Coarse(
        level=jnp.float32(sampling.coarse_level),
        most=jnp.float32(most),
        blurred=jnp.float32(training.coarse_blur),
        blur_std=(jnp.float32(least), jnp.float32(largest)),
        lengths=coarse_lengths(config),
        shape=shape,
        filtering=_row("data.coarse_filter", data.coarse_filter, UPSAMPLINGS),
        schedule=_row("data.coarse_schedule", data.coarse_schedule, COARSE_SCHEDULES),
        place=_row("data.coarse_noise", data.coarse_noise, dict.fromkeys(PLACES)),
        told=told,
        ends=_ends(data),
        gray_levels=int(data.coarse_gray_levels),
        periodic=tuple(config.model.periodic),
        rows=int(config.model.level_rows) if config.model.level_embedding == "table" else 0,
        latent=data.codec == "autoencoder",
    )


def _row(key: str, name: str, table: Any) -> str:
    choose(key, name, table)
    return name


def _blur(training: Any) -> tuple[float, float]:
    found = tuple(training.coarse_blur_std)
    if len(found) != 2 or not 0 < found[0] <= found[1]:
        raise ValueError(
            f"training.coarse_blur_std must be a least and a largest positive number, got {found}"
        )
    return found


def _ends(data: Any) -> tuple[float, float] | None:
    if data.codec in ("levels", "autoencoder"):
        return (-1.0, 1.0) if data.centered else (0.0, 1.0)
    if data.codec not in ("standardize", "identity"):
        raise ValueError(
            "data.coarse needs data.codec levels, standardize or identity, in which an average of "
            f"encoded data is one of the data, got {data.codec!r}"
        )
    if data.coarse_gray_levels:
        raise ValueError("data.coarse_gray_levels must be 0 without gray levels: "
                         f"data.codec={data.codec!r}")  # fmt: skip
    return None
