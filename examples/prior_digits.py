"""Embeddings of the digits for `configs/prior_digits.py`, and a judge of those that it draws.

    python examples/prior_digits.py embed                       writes digits_embeddings.npz
    python examples/prior_digits.py judge runs/prior/samples/samples.npz

An embedding is the last hidden layer of the house's classifier of 8x8 digits
(`eval_lib.features.digits_network`), without the features that are the same for all digits. The
judge is the classifier's own last layer: the share of drawn embeddings that it takes for the class
that was asked for, and the same of real ones.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

from eval_lib.features import digits_network

FILE = "digits_embeddings.npz"


def embedded():
    """(embeddings [n, 64] of all digits, their classes)."""
    data = load_digits()
    network, _ = digits_network.load()
    found = network(jnp.asarray(data.images[..., None] / 16, jnp.float32))
    return np.asarray(found.pool), data.target.astype(np.int32)


def varied(embeddings):
    """True for the features that are not the same for all digits."""
    return embeddings.std(axis=0) > 0


def embed():
    """Write the embeddings and classes."""
    embeddings, classes = embedded()
    np.savez(FILE, images=embeddings[:, varied(embeddings)], labels=classes)
    print(f"{len(classes)} embeddings of {varied(embeddings).sum()} numbers in {FILE}")


def judged(samples):
    """The class that the classifier takes each embedding for; samples: [n, k]."""
    network, _ = digits_network.load()
    kernel, bias = np.asarray(network.kernels[-1]), np.asarray(network.biases[-1])
    return np.argmax(samples @ kernel[varied(embedded()[0])] + bias, axis=1)


def judge(path):
    """Print the share of samples, and of real embeddings, that are of their class."""
    with np.load(path) as found:
        samples, asked = found["samples"], found["labels"]
    embeddings, classes = embedded()
    real = np.mean(judged(embeddings[:, varied(embeddings)]) == classes)
    print(f"of their class: {np.mean(judged(samples) == asked):.1%} drawn, {real:.1%} real")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["embed"]:
            embed()
        case ["judge", path]:
            judge(path)
        case _:
            sys.exit(__doc__)
