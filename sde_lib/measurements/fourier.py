"""Measurement of some frequencies, as in magnetic resonance imaging.

The transform is unitary, over the spatial axes, with the frequency 0 and the origin of space in the
middle of an array, at n // 2 (as fastMRI: Zbontar et al. 2018, arXiv:1811.08839). Complex numbers
are two channels, the real and the imaginary part: of data of c complex numbers a pixel channels are
re_1, im_1, ..., re_c, im_c, and so they are of every measurement.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from sde_lib.measurements.base import Decomposed, Operator
from sde_lib.measurements.convolution import fourier, hartley, inverse_fourier
from sde_lib.pytree import pytree, static


def paired(x: Float[Array, "b *d c2"]) -> Complex[Array, "b *d c"]:
    """Channels re, im, re, im, ... as complex numbers."""
    return jax.lax.complex(x[..., 0::2], x[..., 1::2])


def parted(z: Complex[Array, "b *d c"]) -> Float[Array, "b *d c2"]:
    """Complex numbers as channels re, im, re, im, ..."""
    return jnp.stack([z.real, z.imag], axis=-1).reshape(*z.shape[:-1], -1)


def _axes(x: Array) -> tuple[int, ...]:
    return tuple(range(1, x.ndim - 1))


def centred(x: Array) -> Complex[Array, "b *d"]:
    """F x with both origins in the middle."""
    return jnp.fft.fftshift(fourier(jnp.fft.ifftshift(x, _axes(x))), _axes(x))


def inverse_centred(z: Complex[Array, "b *d"]) -> Complex[Array, "b *d"]:
    """F^-1 z with both origins in the middle."""
    return jnp.fft.fftshift(inverse_fourier(jnp.fft.ifftshift(z, _axes(z))), _axes(z))


@pytree
class ComplexFourier(Decomposed):
    """Some frequencies of complex data, 0 for the others; kept is 0 or 1 [b, *d, 1]."""

    kept: Float[Array, "b *d"]

    def __call__(self, x: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """The observed frequencies."""
        return self.kept * parted(centred(paired(x)))

    def observed(self, u: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """The observed frequencies, whatever stands in the place of the others."""
        return jnp.where(self.kept > 0, u, jnp.zeros_like(u))

    def singular_values(self) -> Float[Array, "b *d"]:
        """1 for what is observed."""
        return self.kept

    def analyse(self, x: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """The frequencies."""
        return parted(centred(paired(x)))

    def synthesise(self, c: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """The data of frequencies."""
        return parted(inverse_centred(paired(c)))

    def analyse_measurement(self, y: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """The observed frequencies."""
        return self.kept * y

    def synthesise_measurement(self, c: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """The observed frequencies."""
        return self.kept * c


@pytree
class RealFourier(Decomposed):
    """Some frequencies of real data, each channel's as two; kept is 0 or 1 [b, *d, 1].

    Those at w and -w are conjugate. V is the Hartley transform, for which |F x|^2 at w and at -w
    are both the mean of the squares of the two coordinates there, so that S^2 = (kept(w) +
    kept(-w)) / 2.
    """

    kept: Float[Array, "b *d"]
    channelwise = True

    def __call__(self, x: Float[Array, "b *d"]) -> Float[Array, "b *m"]:
        """The observed frequencies."""
        return self.kept * parted(centred(x))

    def transpose(self, u: Float[Array, "b *m"], x: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """The real part of the data of the observed frequencies."""
        return self._back(u)

    def _back(self, u: Array) -> Array:
        return inverse_centred(paired(self.kept * u)).real

    def observed(self, u: Float[Array, "b *m"]) -> Float[Array, "b *m"]:
        """The observed frequencies, whatever stands in the place of the others."""
        return jnp.where(self.kept > 0, u, jnp.zeros_like(u))

    def singular_values(self) -> Float[Array, "b *d"]:
        """1, or sqrt(1/2) where only one of w and -w is observed."""
        kept = jnp.fft.ifftshift(self.kept, _axes(self.kept))
        other = jnp.roll(jnp.flip(kept, _axes(kept)), 1, _axes(kept))
        return jnp.sqrt((kept + other) / 2)

    def analyse(self, x: Float[Array, "b *d"]) -> Float[Array, "b *k"]:
        """The Hartley transform, the frequency 0 first."""
        return hartley(jnp.fft.ifftshift(x, _axes(x)))

    def synthesise(self, c: Float[Array, "b *k"]) -> Float[Array, "b *d"]:
        """The data of Hartley coordinates."""
        return jnp.fft.fftshift(hartley(c), _axes(c))

    def analyse_measurement(self, y: Float[Array, "b *m"]) -> Float[Array, "b *k"]:
        """S^-1 V^T A^T y."""
        return self._divided(self.analyse(self._back(y)), self.singular_values())

    def synthesise_measurement(self, c: Float[Array, "b *k"]) -> Float[Array, "b *m"]:
        """A V S^-1 c."""
        return self(self.synthesise(self._divided(c, self.singular_values())))


@pytree
class CoilFourier(Operator):
    """Some frequencies of the data times the complex sensitivity of each of several coils.

    sensitivities: [b, *d, 2 coils], coils as pairs of channels. Coil i of channel j of the data
    is pair coils j + i of the measurement. complex: whether channels of the data are pairs too.
    """

    kept: Float[Array, "b *d"]
    sensitivities: Float[Array, "b *d"]
    complex: bool = static(default=False)

    def __call__(self, x: Float[Array, "b *d"]) -> Float[Array, "b *m"]:
        """The observed frequencies of each coil."""
        coils = paired(self.sensitivities)
        z = paired(x) if self.complex else jax.lax.complex(x, jnp.zeros_like(x))
        seen = z[..., :, None] * coils[..., None, :]
        flat = seen.reshape(*seen.shape[:-2], -1)
        return self.kept * parted(centred(flat))

    def observed(self, u: Float[Array, "b *m"]) -> Float[Array, "b *m"]:
        """The observed frequencies, whatever stands in the place of the others."""
        return jnp.where(self.kept > 0, u, jnp.zeros_like(u))
