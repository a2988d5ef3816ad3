"""The adversarial term of an autoencoder's training, and the weight that it is given.

Esser et al., 2021, "Taming Transformers for High-Resolution Image Synthesis", arXiv:2012.09841,
equations 5 to 7. The discriminator's logits D are learned beside the autoencoder, by gradients of
their own:

    hinge     1/2 [mean relu(1 - D(x)) + mean relu(1 + D(x'))]
    vanilla   1/2 [mean softplus(-D(x)) + mean softplus(D(x'))]

and the autoencoder is given g = -mean D(x') with the weight `balance`.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sde_lib.base import Number

Logits = Float[Array, "b *s"]
LARGEST = 1e4
TINY = 1e-4


def _mean(x: Logits) -> Float[Array, " b"]:
    return jnp.mean(x.reshape(len(x), -1), axis=1)


def hinge(real: Logits, fake: Logits) -> Float[Array, " b"]:
    """The discriminator's loss of each pair."""
    return 0.5 * (_mean(jax.nn.relu(1.0 - real)) + _mean(jax.nn.relu(1.0 + fake)))


def vanilla(real: Logits, fake: Logits) -> Float[Array, " b"]:
    """The discriminator's loss of each pair, of the cross-entropy."""
    return 0.5 * (_mean(jax.nn.softplus(-real)) + _mean(jax.nn.softplus(fake)))


ADVERSARIES: dict[str, Callable[[Logits, Logits], Float[Array, " b"]]] = {
    "hinge": hinge,
    "vanilla": vanilla,
}


def fooling(fake: Logits) -> Float[Array, " b"]:
    """g of each reconstruction."""
    return -_mean(fake)


def balance(
    losses: Callable[[Array], tuple[Float[Array, ""], Float[Array, ""]]],
    last: Array,
    weight: Number,
) -> Float[Array, ""]:
    """weight min(|grad nll| / (|grad g| + 1e-4), 1e4), constant in derivatives.

    losses: the kernel of the decoder's last layer -> (nll, g); the gradients are by it, `last`.
    """
    (nll, g), back = jax.vjp(losses, jax.lax.stop_gradient(last))
    one, none = jnp.ones_like(nll), jnp.zeros_like(g)
    (of_nll,), (of_g,) = back((one, none)), back((none, one))
    norm = lambda x: jnp.sqrt(jnp.sum(x**2))
    return jax.lax.stop_gradient(weight * jnp.minimum(norm(of_nll) / (norm(of_g) + TINY), LARGEST))
