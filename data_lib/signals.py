"""Simulated signals: two channels that ring at two frequencies and die away.

With t = 0, 1/L, ... in records of length L = 1, frequencies f_k and a decay time T,

    x_1(t) = exp(-t / T) sum_k (a_k cos 2 pi f_k t + b_k sin 2 pi f_k t) + NOISE e_1(t)
    x_2(t) = exp(-t / T) sum_k (b_k cos 2 pi f_k t - a_k sin 2 pi f_k t) + NOISE e_2(t)

for a, b, e standard normal. The condition is (f_1, f_2, T), given which x is Gaussian: its
covariance is `covariance`, so that densities and samples of a model can be compared with it.
"""

import numpy as np
from jaxtyping import Float

from data_lib import simulated
from data_lib.base import Log, Splits
from data_lib.config import DataConfig

LENGTH, CHANNELS, SHORTEST = 128, 2, 32
LOW = (2.0, 8.0, 0.2)
HIGH = (6.0, 16.0, 1.0)
"""Ends of the uniform laws of f_1, f_2 and T."""
NOISE = 0.1


def load(config: DataConfig, log: Log) -> Splits:
    """Signals of data.shape, or [128, 2], and their frequencies and decay times."""
    shape = config.example or (LENGTH, CHANNELS)
    if len(shape) != 2 or shape[0] < SHORTEST or shape[1] != CHANNELS:
        raise ValueError(
            f"data.shape must be LENGTH,{CHANNELS} with a length of at least {SHORTEST} for "
            f"data.dataset='signals', or auto, got {','.join(map(str, shape))}"
        )
    n, law = simulated.count(config, shape[0] * CHANNELS), f"signals of length {shape[0]}"
    log(f"{law}: {n:,} are simulated")
    draw = lambda what: simulated.generator(law, what)
    told = draw("condition").uniform(LOW, HIGH, (n, 3))
    modes = draw("amplitudes").standard_normal((n, 4)).reshape(n, 2, 2)
    noise = draw("noise").standard_normal((n, *shape), dtype=np.float32)
    values = ringing(told, modes, shape[0]).astype(np.float32) + np.float32(NOISE) * noise
    return simulated.splits(values, told.astype(np.float32), config, law)


def ringing(
    told: Float[np.ndarray, "n 3"], modes: Float[np.ndarray, "n 2 2"], length: int
) -> Float[np.ndarray, "n length 2"]:
    """x without noise; modes[:, k] = (a_k, b_k)."""
    t = np.arange(length) / length
    angle = 2 * np.pi * told[:, :2, None] * t
    turning = np.einsum("nk,nkt->nt", modes[..., 0] + 1j * modes[..., 1], np.exp(-1j * angle))
    faded = np.exp(-t / told[:, 2:]) * turning
    return np.stack([faded.real, faded.imag], axis=2)


def covariance(
    told: Float[np.ndarray, " 3"], length: int
) -> Float[np.ndarray, "length 2 length 2"]:
    """Covariance of x given the condition; its mean is 0.

    E x_1(t) x_1(s) = E x_2(t) x_2(s) = exp(-(t + s) / T) sum_k cos 2 pi f_k (t - s) + NOISE^2 [t=s]
    E x_2(t) x_1(s) = -exp(-(t + s) / T) sum_k sin 2 pi f_k (t - s)
    """
    t = np.arange(length) / length
    apart = 2 * np.pi * np.multiply.outer(told[:2], t[:, None] - t)
    fade = np.exp(-(t[:, None] + t) / told[2])
    same = fade * np.cos(apart).sum(axis=0) + NOISE**2 * np.eye(length)
    other = fade * np.sin(apart).sum(axis=0)
    return np.stack([np.stack([same, other], -1), np.stack([-other, same], -1)], axis=1)
