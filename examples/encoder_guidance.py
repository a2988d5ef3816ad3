"""Samples led by an encoder of images and words, as CLIP leads pictures to a text.

    python examples/encoder_guidance.py
    python main.py --config configs/vp_digits.py --mode sample --workdir runs/digits \\
        --config.sampling.guidance_kind=denoised_classifier --config.sampling.guidance=1 \\
        --config.sampling.guide=examples/encoder_guidance.py:towards_the_word

The first command trains the encoder in half a minute on two CPU cores and writes encoder.npz into
the current folder: a network of images and a table of words, trained so that a digit's embedding
points where its word's does, and no other's (Radford et al. 2021, arXiv:2103.00020). It knows clean
digits only, so it is shown the denoised ones (`denoised_classifier`). Guidance is the gradient of

    log p(word | image) = scale cos(image, word),

averaged over shifted copies of the image ("cutouts"), so that no single pixel decides.
"""

from functools import cache, partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

WORDS = "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"
FILE = "encoder.npz"
SHIFTS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
SCALE, UPDATES, BATCH = 20.0, 1500, 256
PRECISE = partial(jnp.matmul, precision="highest")


def initial(key, sizes=(64, 256, 64)):
    """Parameters: layers of the network of images, and the table of words."""
    keys = jax.random.split(key, len(sizes))
    params = {"words": jax.random.normal(keys[-1], (len(WORDS), sizes[-1]))}
    for i, (rows, columns) in enumerate(pairwise(sizes)):
        params[f"w{i}"] = jax.random.normal(keys[i], (rows, columns)) / np.sqrt(rows)
        params[f"b{i}"] = jnp.zeros(columns)
    return params


def unit(x):
    """Rows of length 1; the constant keeps gradients finite at 0."""
    return x / jnp.sqrt(jnp.sum(x**2, axis=-1, keepdims=True) + 1e-12)


def embedded(params, images):
    """Directions [b, e] of images [b, 8, 8, 1] in [0, 1]."""
    h = images.reshape(len(images), -1) - 0.5
    h = jax.nn.silu(PRECISE(h, params["w0"]) + params["b0"][None])
    return unit(PRECISE(h, params["w1"]) + params["b1"][None])


def similarities(params, images):
    """Cosines [b, words] of images and words."""
    return PRECISE(embedded(params, images), unit(params["words"]).T)


def loss(params, images, labels):
    """Cross-entropy of the word among all words."""
    logits = SCALE * similarities(params, images)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def train():
    """Train the encoder on the first 1500 digits, and write it."""
    data = load_digits()
    images, labels = jnp.asarray(data.images[..., None] / 16, jnp.float32), jnp.asarray(data.target)
    optimizer = optax.adamw(1e-3, weight_decay=1e-2)
    params = initial(jax.random.key(0))
    state = optimizer.init(params)

    @jax.jit
    def update(params, state, key):
        rows, shift = jax.random.split(key)
        some = jax.random.randint(rows, (BATCH,), 0, 1500)
        moved = jnp.roll(images[some], jax.random.randint(shift, (2,), -1, 2), axis=(1, 2))
        gradients = jax.grad(loss)(params, moved, labels[some])
        changes, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, changes), state

    for step in range(UPDATES):
        params, state = update(params, state, jax.random.key(step))
    found = similarities(params, images[1500:]).argmax(axis=1)
    print(f"{(found == labels[1500:]).mean():.1%} of 297 digits that were held out are known")
    np.savez(FILE, **params)
    print(f"wrote {FILE}")


@cache
def encoder():
    """The parameters of the encoder that was trained."""
    with np.load(FILE) as file:
        return {name: jnp.asarray(file[name]) for name in file.files}


def towards_the_word(x, t, label):
    """log p(word of the label | image), up to a constant."""
    copies = [jnp.roll(x, shift, axis=(1, 2)) for shift in SHIFTS]
    each = [similarities(encoder(), copy) for copy in copies]
    logits = SCALE * sum(each[1:], each[0]) / len(each)
    return jnp.take_along_axis(logits, label[:, None], axis=1)[:, 0]


towards_the_word.classes = len(WORDS)

if __name__ == "__main__":
    train()
