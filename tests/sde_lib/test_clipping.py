"""A clamped denoiser: in its range, its noise beside it, and nothing changed inside."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from sde_lib import VP, Predicted, Score, expand, pytree
from sde_lib.clipping import Clipped


@pytree
class Said(Score):
    """The x_0 that is given, and a fraction."""

    sde: object
    x0: object

    def predict(self, x, t, condition=None):
        alpha, sigma = (expand(c, x) for c in self.marginal(t))
        return Predicted(self.x0, (x - alpha * self.x0) / sigma, 0 * x + 0.25)


def test_x_0_is_clamped_and_the_noise_belongs_to_it() -> None:
    x0 = jnp.asarray([[-3.0, -0.5], [0.2, 1.7]])
    x, t = jnp.asarray([[0.1, -0.2], [0.4, 2.0]]), jnp.asarray([0.3, 0.7])
    score = Said(VP(), x0)
    found, plain = Clipped(score, -1.0, 0.5).predict(x, t), score.predict(x, t)
    np.testing.assert_array_equal(found.x0, jnp.clip(x0, -1.0, 0.5))
    alpha, sigma = (expand(c, x) for c in score.marginal(t))
    np.testing.assert_allclose(alpha * found.x0 + sigma * found.noise, x, rtol=1e-6, atol=1e-6)
    inside = np.abs(x0 - found.x0) == 0
    np.testing.assert_allclose(found.noise[inside], plain.noise[inside], rtol=1e-5)
    np.testing.assert_array_equal(found.fraction, plain.fraction)
    assert Clipped(score) == Clipped(score, -1.0, 1.0)
