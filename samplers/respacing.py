"""Respacing: the levels of a discrete model that make up a shorter chain.

(Nichol & Dhariwal 2021, arXiv:2102.09672, section 4, and its code's `timestep_respacing`.)
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from samplers.grids import Grid
from sde_lib import SDE
from sde_lib.pytree import pytree, static

STRIDED = "ddim"
"""Beginning of a respacing by one stride, as in 'ddim50'."""


def respaced(num_scales: int, respacing: str, key: str) -> Int[np.ndarray, " k"]:
    """Rising indices, among those of `num_scales` levels, that a respacing chooses.

    '90,60,20': the levels in sections of equal length, longer by one at first if they do not come
    out even, and that many of each, both ends included. 'ddim50': every n-th, from 0, for the least
    n that makes them 50. '': all.

    key: the setting, for messages. Raises ValueError for a respacing that does not exist.
    """
    if not respacing:
        return np.arange(num_scales)
    by_stride = respacing.startswith(STRIDED)
    counts = [_count(word, respacing, key) for word in respacing.removeprefix(STRIDED).split(",")]
    if not by_stride:
        sizes = [len(part) for part in np.array_split(np.arange(num_scales), len(counts))]
        parts = [_section(*both, respacing, key) for both in zip(sizes, counts, strict=True)]
        return np.concatenate([a + b for a, b in zip(np.cumsum([0, *sizes]), parts, strict=False)])
    strides = np.arange(1, num_scales + 1)
    fitting = strides[-(-num_scales // strides) == counts[0]]
    if len(counts) > 1 or not len(fitting):
        raise ValueError(
            f"{key} must be one number of which some stride makes as many of sde.num_scales = "
            f"{num_scales} levels, got {respacing!r}"
        )
    return np.arange(0, num_scales, fitting[0])


def _count(word: str, respacing: str, key: str) -> int:
    if not (word.strip().isdecimal() and int(word)):
        raise ValueError(
            f"{key} must be positive numbers of levels for sections of equal length, such as '250' "
            f"or '90,60,20', or one after 'ddim', such as 'ddim50', got {respacing!r}"
        )
    return int(word)


def _section(size: int, count: int, respacing: str, key: str) -> Int[np.ndarray, " count"]:
    if count > size:
        raise ValueError(
            f"{key} must ask for at most as many levels as a section of sde.num_scales has, "
            f"{size}, got {count} in {respacing!r}"
        )
    stride = (size - 1) / (count - 1) if count > 1 else 1.0
    # Added up one by one, as published, since halves are rounded to the even number.
    return np.rint(np.cumsum([0.0, *[stride] * (count - 1)])).astype(int)


@pytree
class Respaced(Grid):
    """The times i / (num_scales - 1) of the levels that a respacing chooses, from the noisiest.

    A run through the k levels takes k - 1 steps, and the denoiser at the last one does the rest:
    k evaluations, those of the published chain. Without a respacing there are n + 1 levels, as
    '{n + 1}' says. None passes `end`.

    Raises:
        ValueError: the respacing does not exist, or is of one level.
    """

    num_scales: int = static()
    respacing: str = static(default="")
    numbered = True

    @property
    def steps(self) -> int | None:
        """The number of steps; None if it is not fixed."""
        return len(self._indices(0)) - 1 if self.respacing else None

    def most(self, num_scales: int) -> int:
        """The steps through all levels."""
        return num_scales - 1

    def _indices(self, n: int) -> Int[np.ndarray, " k"]:
        if not self.respacing and n >= self.num_scales:
            raise ValueError(
                f"sampling.num_steps must be below sde.num_scales = {self.num_scales} on a grid of "
                f"a discrete model's times, got {n}"
            )
        asked = self.respacing or str(n + 1)
        chosen = respaced(self.num_scales, asked, "sampling.respacing")
        if len(chosen) < 2:
            raise ValueError(
                "sampling.respacing must have two levels at least, since a chain of the least "
                f"noisy one generates nothing, got {self.respacing!r}"
            )
        return chosen

    def __call__(self, sde: SDE, n: int, start: float, end: float) -> Float[Array, " n_plus_1"]:
        times = self._indices(n)[::-1] / (self.num_scales - 1) * float(start)
        return jnp.maximum(jnp.asarray(times), end)
