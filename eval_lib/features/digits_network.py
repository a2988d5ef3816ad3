"""A small classifier of 8x8 digits, whose last hidden layer measures samples of them.

64 pixels -> 128 -> 64 -> 10 classes with ReLU, fitted to the first 1,500 digits of scikit-learn.
Its weights lie beside this file, so that its numbers are the same everywhere;

    python -m eval_lib.features.digits_network

fits and writes them anew (which changes the numbers' last digits with the machine).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from models.features import Features
from sde_lib.pytree import pytree

FILE = Path(__file__).with_name("digits_network.npz")


@pytree
class DigitsNetwork:
    """Weights [in, out] and biases [out] of each layer."""

    kernels: tuple[Float[Array, "i o"], ...]
    biases: tuple[Float[Array, " o"], ...]

    def __call__(self, images: Float[Array, "b 8 8 1"]) -> Features:
        h = images.reshape(len(images), -1)
        *hidden, last = zip(self.kernels, self.biases, strict=True)
        for kernel, bias in hidden:
            h = jax.nn.relu(jnp.matmul(h, kernel, precision="highest") + bias[None])
        return Features(h, jnp.matmul(h, last[0], precision="highest") + last[1][None])


def load() -> tuple[DigitsNetwork, str]:
    """(the network, its identity)."""
    content = FILE.read_bytes()
    with np.load(FILE, allow_pickle=False) as arrays:
        count = len(arrays.files) // 2
        take = lambda name: tuple(jnp.asarray(arrays[f"{name}_{k}"]) for k in range(count))
        network = DigitsNetwork(take("kernel"), take("bias"))
    return network, f"digits network sha256={hashlib.sha256(content).hexdigest()[:16]}"


def fit(seed: int = 1) -> dict[str, np.ndarray]:
    """Its arrays by name, fitted anew."""
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    data = load_digits()
    pixels = (data.images / 16).reshape(len(data.images), -1)[:1500]
    network = MLPClassifier((128, 64), batch_size=100, max_iter=100, tol=0.0,
                            n_iter_no_change=100, random_state=seed)  # fmt: skip
    network.fit(pixels, data.target[:1500])
    names = {"kernel": network.coefs_, "bias": network.intercepts_}
    return {
        f"{name}_{k}": np.asarray(value, np.float32)
        for name, values in names.items()
        for k, value in enumerate(values)
    }


if __name__ == "__main__":
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    warnings.simplefilter("ignore", ConvergenceWarning)
    np.savez(FILE, allow_pickle=False, **fit())
