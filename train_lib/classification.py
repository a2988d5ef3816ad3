"""Training of a classifier of noisy examples: cross-entropy at random noise levels.

    loss = -log p(y | x_t),   x_t = alpha x_0 + sigma eps,   one t for each example

(Dhariwal & Nichol 2021, arXiv:2105.05233, section 4.1; Song et al. 2021, arXiv:2011.13456, appendix
I.1). Beside it the accuracy is measured: whether y is the most likely class.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from models.layers.conditions import as_parts
from sde_lib import ModelScore
from sde_lib.classifier import logits, picked
from sde_lib.condition import Condition
from sde_lib.pytree import pytree, static
from train_lib.loss import draw
from train_lib.times import TimeLaw

CROPS = 0
"""Number folded into a batch's key for its crops."""


def random_crops(
    key: PRNGKeyArray, images: Float[Array, "b h w c"], least: float
) -> Float[Array, "b h w c"]:
    """A random part of each picture, enlarged (bicubic) by a factor ~ U(1, 1 / least) to the whole.

    Dhariwal & Nichol's crops are cut from the larger original instead, and reduced.
    """
    batch, height, width, channels = images.shape
    draws = jax.random.uniform(key, (batch, 3))
    factors = 1 + (1 / least - 1) * draws[:, 0]
    sides = jnp.array([height, width], draws.dtype)
    starts = draws[:, 1:] * (1 - 1 / factors)[:, None] * sides[None]

    def cut(image: Array, factor: Array, start: Array) -> Array:
        scale = jnp.stack([factor, factor])
        shape = (height, width, channels)
        return jax.image.scale_and_translate(
            image, shape, (0, 1), scale, -start * factor, "cubic", antialias=False
        )

    return jax.vmap(cut)(images, factors, starts)


@pytree
class Classification:
    """Law of t, as in `train_lib.objective.Objective`; the score has a classifier's network.

    crop: least side of the squares that are cut from training pictures, as a share; 1 for none.
    """

    law: TimeLaw
    stratified: bool = static(default=False)
    crop: float = static(default=1.0)

    trains_schedule: ClassVar[bool] = False
    measures: ClassVar[tuple[str, ...]] = ("accuracy",)

    def __call__(
        self,
        score: ModelScore,
        key: PRNGKeyArray,
        x0: Float[Array, "b *d"],
        condition: Condition = None,
        *,
        train: bool,
    ) -> Float[Array, " b"]:
        """Losses of a batch at random times and noises; with dropout if `train`."""
        return self.measured(score, key, x0, condition, train=train)[0]

    def measured(
        self,
        score: ModelScore,
        key: PRNGKeyArray,
        x0: Float[Array, "b *d"],
        condition: Condition = None,
        *,
        train: bool,
    ) -> tuple[Float[Array, " b"], dict[str, Float[Array, " b"]]]:
        """(losses, {"accuracy": 1 where the true class is the most likely one, else 0})."""
        if train and self.crop < 1:
            x0 = random_crops(jax.random.fold_in(key, CROPS), x0, self.crop)
        t, noise, dropout_key = draw(self, score.sde, key, x0, train)
        model = replace(score, dropout_key=dropout_key)
        found = logits(model, score.sde.perturb(x0, noise, t), t)
        label = as_parts(condition)["label"]
        hits = (jnp.argmax(found, axis=-1) == label).astype(jnp.float32)
        return -picked(found, label), {"accuracy": hits}
