"""Distance of the brightness of samples from that of training images."""

import numpy as np

from eval_lib.metrics.base import Compared, Numbers, present

PARTS = np.linspace(0, 1, 101)


def brightness(c: Compared) -> Numbers:
    """The Wasserstein-1 distance of the images' mean levels, by their quantiles."""
    samples = present(c.samples.images, "samples.images")
    of = lambda images: np.quantile(images.mean(axis=(1, 2, 3)), PARTS)
    return {"brightness": float(np.abs(of(samples) - of(c.train)).mean())}
