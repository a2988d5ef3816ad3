"""Detection of samples that are copies of training images."""

from __future__ import annotations

import numpy as np

from eval_lib.metrics.base import Compared, Numbers, chosen_rows, present, too_few
from eval_lib.metrics.manifold import nearest_neighbours, neighbour_distances

MOST = 2000
"""Largest number of samples, and of held-out images, that are used."""
CLOSE = 0.05
FEWEST = 20
"""Fewest held-out images: 5% of them are one image."""


def flat(images: np.ndarray) -> np.ndarray:
    """Images as vectors."""
    return images.reshape(len(images), -1).astype(np.float32)


def memorisation(c: Compared) -> Numbers:
    """Distances, pixel by pixel, from samples to the nearest training image.

    train_close: the share of samples nearer to a training image than 95% of the held-out images
    are; 0.05 for new images of the same law. train_distance_ratio: the samples' median distance
    over that of held-out images. train_copies: the share of samples equal to a training image in
    every level.
    """
    images, train = present(c.samples.images, "samples.images"), flat(c.train)
    chosen = images[chosen_rows(len(images), MOST)]
    fake, _ = nearest_neighbours(flat(chosen), train)
    held_out, _ = nearest_neighbours(flat(c.test[chosen_rows(len(c.test), MOST)]), train)
    close, usual = (float(np.quantile(held_out, part)) for part in (CLOSE, 0.5))
    # Levels are integers: distinct images are at least 1 apart.
    copied = lambda limit, part: (
        f"{part:.0%} of the held-out images are training images" if limit < 0.5 else ""
    )
    lacking = too_few(c, {"held-out images": FEWEST}) or copied(close, CLOSE)
    return {
        "train_close": lacking or float((fake < close).mean()),
        "train_distance_ratio": copied(usual, 0.5) or float(np.sqrt(np.median(fake) / usual)),
        "train_copies": float((fake < 0.5).mean()),
    }


def authenticity(c: Compared) -> Numbers:
    """The share of samples whose nearest reference image, by features, has a nearer neighbour
    among the other reference images: 1/2 for new draws from the reference's law, less for copies
    (Alaa et al. 2022, arXiv:2102.08921, section 3.2)."""
    samples = present(c.samples.pool, "samples.pool")
    reference = present(c.reference.pool, "reference.pool")
    real = reference[chosen_rows(len(reference), 10_000)]
    (own,) = neighbour_distances(real, 1)
    chosen = samples[chosen_rows(len(samples), MOST)]
    distance, number = nearest_neighbours(chosen, real)
    return {"authenticity": float((distance > own[number]).mean())}
