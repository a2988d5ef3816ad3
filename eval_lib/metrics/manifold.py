"""Precision and recall by nearest neighbours: samples among real images, and the reverse."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from eval_lib.metrics.base import Compared, Numbers, Others, Vectors, chosen_rows, present

MOST = 10_000
"""Largest number of vectors of each set that are used."""
ROWS = 1000


def squared_distances(x: Vectors, y: Others) -> Iterator[tuple[int, Float[np.ndarray, "r m"]]]:
    """(first row, |x_i - y_j|^2 of the next rows of x and all of y), in float64."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    centre = y.mean(axis=0)  # differences of large squares have few digits
    x, y = x - centre, y - centre
    squares = np.sum(y**2, axis=1)
    for first in range(0, len(x), ROWS):
        rows = x[first : first + ROWS]
        gaps = np.sum(rows**2, axis=1)[:, None] + squares[None] - 2 * rows @ y.T
        yield first, np.maximum(gaps, 0.0)


def neighbour_distances(x: Vectors, *orders: int) -> list[Float[np.ndarray, " n"]]:
    """Squared distance of each vector to its k-th nearest among the others, for each k."""
    found: list[list[np.ndarray]] = [[] for _ in orders]
    for first, gaps in squared_distances(x, x):
        own = np.arange(len(gaps))
        gaps[own, first + own] = -1.0  # so that its 0-th neighbour is itself
        nearest = np.partition(gaps, orders, axis=1)
        for values, k in zip(found, orders, strict=True):
            values.append(nearest[:, k])
    return [np.concatenate(values) for values in found]


def nearest_neighbours(x: Vectors, y: Others) -> tuple[Float[np.ndarray, " n"], np.ndarray]:
    """(squared distance, number) of the vector of y nearest to each of x."""
    pairs = [(g.min(axis=1), g.argmin(axis=1)) for _, g in squared_distances(x, y)]
    distance, number = zip(*pairs, strict=True)
    return np.concatenate(distance), np.concatenate(number)


def precision_recall(c: Compared) -> Numbers:
    """Precision and recall with k = 3 neighbours, density and coverage with k = 5.

    precision: the share of samples within the k-th neighbour's distance of some real image; recall:
    the same with samples and real images exchanged (Kynkaanniemi et al. 2019, arXiv:1904.06991, eq.
    1-2). density: the number of such balls that contain a sample, over k; coverage: the share of
    real images whose ball contains a sample (Naeem et al. 2020, arXiv:2002.09797, eq. 6-7). At most
    `MOST` of each set are used, and at least six are needed, one and its five neighbours.
    """
    samples = present(c.samples.pool, "samples.pool")
    reference = present(c.reference.pool, "reference.pool")
    real = reference[chosen_rows(len(reference), MOST)]
    fake = samples[chosen_rows(len(samples), MOST)]
    names = ("precision", "recall", "density", "coverage")
    real_3, real_5 = neighbour_distances(real, 3, 5)
    (fake_3,) = neighbour_distances(fake, 3)
    precise, balls = 0, 0
    recalled, covered = np.zeros(len(real), bool), np.zeros(len(real), bool)
    for first, gaps in squared_distances(fake, real):
        precise += int((gaps <= real_3).any(axis=1).sum())
        balls += int((gaps <= real_5).sum())
        recalled |= (gaps <= fake_3[first : first + len(gaps), None]).any(axis=0)
        covered |= (gaps <= real_5).any(axis=0)
    n = len(fake)
    values = precise / n, recalled.mean(), balls / (5 * n), covered.mean()
    return {name: float(value) for name, value in zip(names, values, strict=True)}
