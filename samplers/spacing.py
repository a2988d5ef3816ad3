"""The grids of published samplers of discrete models: levels by number, and what follows the last.

A published run of n steps evaluates the network at n falling levels of the N that the model has,
numbered 0 (the least noisy) to N - 1, and then makes a last step: to the sample without noise, or
to level 0. Here the first is the denoiser at the last of the times (`sampling.noise_removal`), the
second a step of the sampler to one more time.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import betaincinv

from samplers.grids import Grid
from sde_lib import SDE, choose
from sde_lib.base import Number
from sde_lib.pytree import pytree, static
from sde_lib.tables import made, parameters

Numbers = Float[np.ndarray, " n"]


def _leading(num_scales: int, n: int, steps_offset: int) -> Numbers:
    return np.arange(n)[::-1] * (num_scales // n) + float(steps_offset)


def _leading_open(num_scales: int, n: int, steps_offset: int) -> Numbers:
    return _leading(num_scales, n + 1, steps_offset)[:-1]


def _trailing(num_scales: int, n: int) -> Numbers:
    return np.round(num_scales - np.arange(n) * (num_scales / n)) - 1


def _linspace(num_scales: int, n: int) -> Numbers:
    return np.linspace(0, num_scales - 1, n)[::-1]


def _linspace_whole(num_scales: int, n: int) -> Numbers:
    return np.round(_linspace(num_scales, n))


def _linspace_open(num_scales: int, n: int) -> Numbers:
    return _linspace_whole(num_scales, n + 1)[:-1]


def _distilled(num_scales: int, n: int, distilled_steps: int) -> Numbers:
    if not n <= distilled_steps <= num_scales:
        raise ValueError(
            f"sampling.distilled_steps must be at least sampling.num_steps={n} and at most "
            f"sde.num_scales={num_scales}, got {distilled_steps}"
        )
    among = np.arange(distilled_steps, 0, -1) * (num_scales // distilled_steps) - 1.0
    return among[np.floor(np.linspace(0, distilled_steps, n, endpoint=False)).astype(int)]


SPACINGS: dict[str, Callable[..., Numbers]] = {
    "leading": _leading,
    "leading_open": _leading_open,
    "trailing": _trailing,
    "linspace": _linspace,
    "linspace_whole": _linspace_whole,
    "linspace_open": _linspace_open,
    "distilled": _distilled,
}
"""Numbers of the n levels that are evaluated, as functions of N, n and settings (Lin et al. 2024,
arXiv:2305.08891, table 2). The open ones are n + 1 levels without the last, the distilled ones n of
the `distilled_steps` trailing levels with which a consistency model was trained. Only `linspace`
has fractions."""

BETA = 0.6
"""Both parameters of the beta law whose quantiles 'beta' takes: more levels at both ends."""

WARPS: dict[str, Callable[[Numbers, Number], Numbers] | None] = {
    "none": None,
    "karras": lambda r, rho: np.linspace(r[0] ** (1 / rho), r[-1] ** (1 / rho), len(r)) ** rho,
    "exponential": lambda r, rho: np.exp(np.linspace(np.log(r[0]), np.log(r[-1]), len(r))),
    "beta": lambda r, rho: r[-1] + (r[0] - r[-1]) * betaincinv(
        BETA, BETA, np.linspace(1.0, 0.0, len(r))
    ),
}  # fmt: skip
"""sigma / alpha between those of the first and the last level, in place of the levels between them
(Karras et al. 2022, arXiv:2206.00364, eq. 5; quantiles of a beta law: Lee et al. 2024,
arXiv:2407.12173); None leaves the levels."""


@pytree
class SpacedLevels(Grid):
    """Times i / (N - 1) of the levels i of a spacing in `SPACINGS`, warped as in `WARPS`.

    n steps have n of them. With `noise_removal` these are all, since the denoiser at the last one
    is the last step; without it level 0 comes after them, unless it is the last already.

    steps_offset: added to the numbers of a leading spacing.

    Raises:
        ValueError: a level that the model does not have, or one twice.
    """

    num_scales: int = static()
    spacing: str = static(default="leading")
    steps_offset: int = static(default=0)
    warp: str = static(default="none")
    rho: Number = 7.0
    noise_removal: bool = static(default=True)
    distilled_steps: int = static(default=50)
    numbered = True

    def __call__(self, sde: SDE, n: int, start: float, end: float) -> Float[Array, " n_plus_1"]:
        times = self._numbers(n) / (self.num_scales - 1) * float(start)
        warp = choose("sampling.warp", self.warp, WARPS)
        if warp:
            log_ratio = -0.5 * np.asarray(sde.log_snr(jnp.asarray(times)), np.float64)
            inner = warp(np.exp(log_ratio), float(self.rho))[1:-1]
            found = np.asarray(sde.time_of_log_snr(-2 * jnp.log(jnp.asarray(inner))))
            times = np.concatenate([times[:1], found, times[1:][-1:]])
        if not self.noise_removal and times[-1] > end:
            times = np.append(times, end)
        return jnp.maximum(jnp.asarray(times), end)

    def _numbers(self, n: int) -> Numbers:
        """The numbers of the n levels."""
        row = choose("sampling.spacing", self.spacing, SPACINGS)
        last = self.num_scales - 1
        own = {"steps_offset": self.steps_offset, "distilled_steps": self.distilled_steps}
        found = made(row, own, num_scales=self.num_scales, n=n)
        if found[0] > last:
            offset = f" and sampling.steps_offset={self.steps_offset}" if self._shifted else ""
            raise ValueError(
                f"sampling.num_steps={n} with sampling.spacing={self.spacing!r}{offset} begins at "
                f"level {found[0]:g}, and the last of sde.num_scales = {self.num_scales} levels is "
                f"{last}: take fewer steps"
            )
        if not np.all(np.diff(found) < 0):
            raise ValueError(
                f"sampling.num_steps={n} with sampling.spacing={self.spacing!r} visits one of "
                f"sde.num_scales = {self.num_scales} levels twice: take fewer steps"
            )
        return found

    @property
    def _shifted(self) -> bool:
        return "steps_offset" in parameters(SPACINGS[self.spacing])
