"""The row of an autoencoder: held-out images coded and decoded again.

Its numbers are the ceiling of every model in its latents: samples decoded by it cannot be nearer to
the data than the data themselves are.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from data_lib import Images
from data_lib.base import fingerprint
from data_lib.transforms import to_unit
from eval_lib.features.featuring import quantize
from eval_lib.metrics import Numbers
from eval_lib.restoration import psnr
from models.latents import LatentCodec
from modes.autoencoders import codec_of_weights
from modes.evaluation.cells import FOLDER, Cell, Work, cell_of, remembered
from modes.evaluation.draws import Drawn, Draws
from modes.trained import load_weights


def again(
    made: LatentCodec, images: Images
) -> tuple[Float[np.ndarray, "n h w c"], dict[str, float]]:
    """(reconstructions by the mean latents, numbers of the latents and of the error).

    psnr: mean over images, in dB. kl_nats: mean KL(q(z | x) || N(0, I)) of an image. posterior_std:
    mean deviation of the latents given the image. latent_std_k: of channel k, over all draws.
    """
    x = to_unit(images.pixels, images.levels)
    mean, logvar = np.split(made.moments(x), 2, axis=-1)
    decoded = made.decode(mean)
    axes = tuple(range(mean.ndim - 1))
    variance = mean.var(axes, dtype=np.float64) + np.exp(logvar).mean(axes, dtype=np.float64)
    kl = 0.5 * (mean**2 + np.exp(logvar) - 1 - logvar).sum(dtype=np.float64) / len(x)
    found = {
        "psnr": float(psnr(decoded.clip(0, 1), x, 1.0).mean()),
        "kl_nats": float(kl),
        "posterior_std": float(np.exp(0.5 * logvar).mean()),
        **{f"latent_std_{k}": float(np.sqrt(v)) for k, v in enumerate(variance)},
    }
    if made.network.codes:  # which have no law
        found = {k: v for k, v in found.items() if k not in ("kl_nats", "posterior_std")}
    return decoded, found


def reconstructed_cell(work: Work, step: int | None, rate: float, average: int | None) -> Cell:
    """The row of an autoencoder at one step: its reconstructions in place of samples."""
    config, images = work.experiment.config, work.splits.test
    score, step = load_weights(work.experiment, work.folder, step, average, work.log)
    made = codec_of_weights(config, score)
    name = f"reconstructions, step {step}, " + (f"EMA {rate:g}" if rate else "raw weights")
    work.log(f"evaluating {name}")
    decoded, own = again(made, images)
    lost = int((~np.isfinite(decoded.reshape(len(decoded), -1)).all(axis=1)).sum())
    pixels = quantize(decoded, work.levels, config.eval.quantize)
    labels = images.labels if config.model.num_classes else None
    identity = {
        "samples": "reconstructions of held-out images",
        "step": step,
        "ema_rate": rate,
        "weights": made.identity,
        "tile": made.tile,
        "of": fingerprint(images),
        "levels": work.levels,
        "quantize": config.eval.quantize,
    }
    store = Draws(work.folder / FOLDER / "draws", identity, work.featurer.size)
    drawn = Drawn(pixels, labels, np.zeros(0), lost)
    measure = lambda: work.numbers(store.features(work.featurer, drawn, 0, work.log))
    numbers = remembered(work, store.folder, {"count": len(pixels)}, measure)
    told: Numbers = {k: v if np.isfinite(v) else "it is not finite" for k, v in own.items()}
    return cell_of(name, identity, [drawn], [numbers], told, {})
