"""The squared distance of the kernel means of two laws, and its standard error.

Any kernel k that is conditionally positive definite gives one: the squared maximum mean discrepancy
with a positive definite k, the energy distance with k(x, y) = -|x - y| (Sejdinovic et al. 2013,
arXiv:1207.6076, theorem 22).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


def _off_diagonal_sum(k: np.ndarray) -> float:
    return float(k.sum() - np.trace(k))


@dataclass(frozen=True)
class Grams:
    """Values of a symmetric kernel at all pairs within and between n and m >= 2 points."""

    xx: Float[np.ndarray, "n n"]
    yy: Float[np.ndarray, "m m"]
    xy: Float[np.ndarray, "n m"]

    @property
    def mmd2(self) -> float:
        """E k(x, x') + E k(y, y') - 2 E k(x, y) without bias (Gretton et al. 2012, eq. 3).

        It may be negative.
        """
        n, m = self.xy.shape
        return float(
            (self.xx.sum() - np.trace(self.xx)) / (n * (n - 1))
            + (self.yy.sum() - np.trace(self.yy)) / (m * (m - 1))
            - 2 * self.xy.mean()
        )

    @property
    def variance_terms(self) -> tuple[float, float]:
        """Estimates without bias of the two lines of the variance of `mmd2`, for n, m >= 4.

        With w(z) = E k(z, x) - E k(z, y) and k~ the kernel less its means in each argument, it is
        (Hoeffding 1948, section 5, for two samples)

            4 var w(x) / n + 4 var w(y) / m
            + 2 E k~(x, x')^2 / (n (n-1)) + 2 E k~(y, y')^2 / (m (m-1)) + 4 E k~(x, y)^2 / (n m).

        The first line vanishes where the laws are equal, the second is small where they are not.
        Variances of estimated w have the second line's terms in excess, which are taken off: its
        estimate may be below 0.
        """
        n, m = self.xy.shape
        within_x, within_y = _squared_interaction(self.xx), _squared_interaction(self.yy)
        between = float(np.mean(_centred(self.xy) ** 2) * n * m / ((n - 1) * (m - 1)))
        w_x = _row_effects(self.xx) - self.xy.mean(axis=1)
        w_y = _row_effects(self.yy) - self.xy.mean(axis=0)
        var_x = float(w_x.var(ddof=1)) - within_x / (n - 2) - between / m
        var_y = float(w_y.var(ddof=1)) - within_y / (m - 2) - between / n
        second = 2 * within_x / (n * (n - 1)) + 2 * within_y / (m * (m - 1))
        return 4 * var_x / n + 4 * var_y / m, second + 4 * between / (n * m)

    @property
    def standard_error(self) -> float:
        """The standard error of `mmd2`, for n, m >= 4.

        As no variance is below 0, that of equal laws is 15% to 40% too large.
        """
        first, second = self.variance_terms
        return float(np.sqrt(max(first, 0.0) + second))


def _row_effects(k: Float[np.ndarray, "n n"]) -> Float[np.ndarray, " n"]:
    """Sums of k(x_i, x_j) over j != i, so divided that f(x) + f(x') gives f and a constant."""
    return (k.sum(axis=1) - np.diagonal(k)) / (len(k) - 2)


def _centred(k: np.ndarray) -> np.ndarray:
    return k - k.mean(axis=0) - k.mean(axis=1)[:, None] + k.mean()


def _squared_interaction(k: Float[np.ndarray, "n n"]) -> float:
    """E k~(x, x')^2 over i != j, k~ centred without the diagonal (Szekely & Rizzo 2014, eq. 2.1).

    Divided by n (n - 3), it has no bias.
    """
    n = len(k)
    rows = _row_effects(k)
    whole = _off_diagonal_sum(k) / ((n - 1) * (n - 2))
    centred = k - rows - rows[:, None] + whole
    np.fill_diagonal(centred, 0.0)
    return float(np.sum(centred**2) / (n * (n - 3)))
