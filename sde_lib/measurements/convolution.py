"""Circular convolution with any kernel: blur by motion, or by a kernel of the user's.

A x = k * x along the spatial axes, each channel alone, with the far side for what lies beyond a
border. With F the unitary Fourier transform and H = sqrt(n) F k, A = F^-1 diag(H) F. The Hartley
transform V = Re F - Im F is real, orthogonal and its own inverse. A maps the plane of the two
coordinates at frequencies w and -w into itself, as |H(w)| times a rotation by the angle of H(w), so
that A = U S V^T with S = |H| and U = F^-1 diag(H / |H|) F V (Bracewell 1983).
"""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Float64

from sde_lib.measurements.base import Decomposed
from sde_lib.pytree import pytree


def fourier(x: Float[Array, "b *d"] | Complex[Array, "b *d"]) -> Complex[Array, "b *d"]:
    """F x along the spatial axes, all but the first and the last."""
    return jnp.fft.fftn(x, axes=tuple(range(1, x.ndim - 1)), norm="ortho")


def inverse_fourier(z: Complex[Array, "b *d"]) -> Complex[Array, "b *d"]:
    """F^-1 z along the spatial axes."""
    return jnp.fft.ifftn(z, axes=tuple(range(1, z.ndim - 1)), norm="ortho")


def hartley(x: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
    """(Re F - Im F) x, its own inverse."""
    z = fourier(x)
    return z.real - z.imag


@pytree
class CircularConvolution(Decomposed):
    """k * x, along the spatial axes; the origin of the kernel is its first place."""

    kernel: Float[Array, "b *d"]
    channelwise = True

    def _multiplier(self) -> Complex[Array, "b *d"]:
        """H, n times F k / sqrt(n)."""
        return fourier(self.kernel) * math.sqrt(math.prod(self.kernel.shape[1:-1]))

    def _phase(self) -> Complex[Array, "b *d"]:
        """H / |H|, and 0 where nothing is measured."""
        h = self._multiplier()
        measured = self.measured()
        return jnp.where(measured, h / jnp.where(measured, jnp.abs(h), 1).astype(h.dtype), 0)

    def __call__(self, x: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """k * x."""
        return inverse_fourier(self._multiplier() * fourier(x)).real

    def transpose(self, u: Float[Array, "b *d"], x: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """The convolution with the kernel reflected at its origin."""
        return inverse_fourier(self._multiplier().conj() * fourier(u)).real

    def singular_values(self) -> Float[Array, "b *d"]:
        """|H|."""
        return jnp.abs(self._multiplier())

    def analyse(self, x: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """The Hartley transform."""
        return hartley(x)

    def synthesise(self, c: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """The Hartley transform."""
        return hartley(c)

    def analyse_measurement(self, y: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """U^T y."""
        return hartley(inverse_fourier(self._phase().conj() * fourier(y)).real)

    def synthesise_measurement(self, c: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """U c."""
        return inverse_fourier(self._phase() * fourier(hartley(c))).real


def placed(kernel: Float64[np.ndarray, "*k"], axes: tuple[int, ...]) -> CircularConvolution:
    """The convolution of arrays of these spatial axes with a kernel whose origin is in its middle.

    The middle is place n // 2 of n. Raises ValueError for a kernel that is larger than the arrays.
    """
    if kernel.ndim != len(axes) or any(k > n for k, n in zip(kernel.shape, axes, strict=True)):
        raise ValueError(
            f"the kernel must have at most {'x'.join(map(str, axes))} places, as the examples do, "
            f"got {'x'.join(map(str, kernel.shape))}"
        )
    whole = np.pad(kernel, [(0, n - k) for k, n in zip(kernel.shape, axes, strict=True)])
    whole = np.roll(whole, [-(k // 2) for k in kernel.shape], range(whole.ndim))
    return CircularConvolution(jnp.asarray(whole)[None, ..., None])


def motion(length: float, angle: float) -> Float64[np.ndarray, "n n"]:
    """The kernel of a motion along a line of some length in pixels, of sum 1.

    angle: in degrees; 0 is along a row, 90 along a column, 45 to the upper right. The line is
    divided among the four pixels around each of its points.
    """
    reach = math.ceil(length / 2) + 1
    count = max(1, math.ceil(64 * length))
    at = ((np.arange(count) + 0.5) / count - 0.5) * length
    rows, columns = -at * math.sin(math.radians(angle)), at * math.cos(math.radians(angle))
    offsets = np.arange(-reach, reach + 1)
    hat = lambda places: np.maximum(0, 1 - np.abs(offsets[:, None] - places))
    return hat(rows) @ hat(columns).T / count
