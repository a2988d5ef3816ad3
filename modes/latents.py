"""`--mode encode` and `--mode interpolate`: latent codes of images, and images between them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

import samplers
from data_lib import Images
from data_lib.base import Log
from data_lib.conditions import rows_of
from data_lib.transforms import to_unit
from eval_lib import pictures
from eval_lib.likelihood.coder import Coder, build
from eval_lib.likelihood.estimators import build_flow
from eval_lib.likelihood.flow import slerp
from modes import sizes, texts
from modes.experiment import LIKELIHOOD_STREAM, Experiment
from modes.images import chosen, identity
from modes.trained import load_score
from runtime_lib import workdir
from runtime_lib.files import Content
from runtime_lib.results import Arrays, npz, publish, read_own_json, same, set_results_aside
from sde_lib.condition import Condition

SHOWN = 16
"""Most images, or rows of interpolations, in a picture."""
SETTINGS = ("split", "images", "num_images", "eps", "ode_solver", "ode_clock", "step_control",
            "rtol", "atol", "max_steps", "temperature", "interpolations")  # fmt: skip
"""Settings of the `eval` section on which codes depend."""
PRIOR = "prior"


def _condition(images: Images, experiment: Experiment) -> Condition:
    """The condition of images, as arrays on the host."""
    config = experiment.config
    labels = images.labels if config.model.num_classes else None
    return experiment.condition(labels, rows_of(config, images))


class _Results:
    """NAME.npz, NAME.png and NAME.json of one identity in FOLDER/NAME; others' are moved aside."""

    def __init__(self, folder: Path, name: str, identity: dict[str, Any], log: Log) -> None:
        self._folder, self._name, self._identity, self._log = folder / name, name, identity, log
        report = read_own_json(self._folder / f"{name}.json")
        other = report is not None and not same(report, identity)
        with workdir.writing(self._folder):
            why = "results made with other settings" if other else None
            set_results_aside(self._folder, why, log)
            self._folder.mkdir(parents=True, exist_ok=True)

    def write(self, arrays: Arrays, shown: Float[np.ndarray, "r c *d"], found: dict) -> None:
        """Write the files of the results; rows of pictures only if they are pictures."""
        name = self._name
        is_picture = shown.ndim == 5 and shown.shape[-1] in (1, 3)
        files: dict[str, Content | None] = {
            f"{name}.npz": npz(arrays),
            f"{name}.png": pictures.rows_png(shown) if is_picture else None,
        }
        with workdir.writing(self._folder):
            publish(self._folder, files, f"{name}.json", {**self._identity, **found}, self._log)
        told = ", ".join(file for file, content in files.items() if content is not None)
        self._log(f"wrote {self._folder}: {told}, {name}.json")


def _identity(experiment: Experiment, step: int, data: dict[str, str]) -> dict[str, Any]:
    config = experiment.config
    listed = config.eval.to_dict()
    settings = {key: listed[key] for key in SETTINGS}
    coarse = {"coarse_level": config.sampling.coarse_level} if tuple(config.data.coarse) else {}
    return {**data, **coarse, "step": step, "seed": config.seed, "ema": config.sampling.ema,
            "guidance": experiment.guidance_settings, "eval": settings}  # fmt: skip


def encode(experiment: Experiment, folder: Path, log: Log = print) -> int:
    """Write codes of `eval.split` or `eval.images` into FOLDER/latents; returns 0.

    latents.npz: codes z [n, h, w, c], the images, the decoded codes, labels; latents.png: rows of
    images, codes (brighter is higher) and decoded images; latents.json: distances between images
    and decoded codes, and the codes' moments.
    """
    config = experiment.config
    build_flow(config)
    workdir.check_model(folder, config)
    images, name = chosen(config, texts.load_data(config, folder, log), log)
    score, step = load_score(experiment, folder, log)
    coder = build(config, score, experiment.guidance, experiment.codec)
    told = _condition(images, experiment)
    x = to_unit(images.pixels, images.levels)
    log(f"encoding {len(images)} examples of {name} at step {step}")
    own = _identity(experiment, step, identity(images, name))
    results = _Results(folder, "latents", own, log)
    z, evaluations = coder.encode(x, told)
    decoded, back = coder.decode(config.eval.temperature * z, told)
    scaled = z / float(score.sde.prior_std)
    error = np.sqrt(np.mean((decoded - x) ** 2, axis=tuple(range(1, x.ndim))))
    found = {
        "images": len(x),
        "evaluations_to_encode": float(evaluations.mean()),
        "evaluations_to_decode": float(back.mean()),
        "round_trip_rms": {"mean": float(error.mean()), "max": float(error.max())},
        "code_mean": float(scaled.mean()),
        "code_std": float(scaled.std()),
    }
    arrays = {"z": z, "images": x, "decoded": decoded}
    arrays |= {} if images.labels is None else {"labels": images.labels}
    rows = [x, *([np.clip(0.5 + scaled / 6, 0, 1)] if z.shape == x.shape else []), decoded]
    results.write(arrays, np.stack(rows)[:, :SHOWN], found)
    log(f"decoded again within {error.mean():.2e} of the examples (root mean square)"
        f", {evaluations.mean():.0f} evaluations to encode")  # fmt: skip
    return 0


def interpolate(experiment: Experiment, folder: Path, log: Log = print) -> int:
    """Write images between pairs of images into FOLDER/interpolations; returns 0.

    Images 0 and 1, 2 and 3, ... of `eval.split` (test, train, or prior: codes drawn at random) or
    of `eval.images` are encoded; `eval.interpolations` codes are spread on the great circle between
    them, multiplied by `eval.temperature`, and decoded. A model of classes or conditions is given
    that of the nearer end. interpolations.npz: images [pairs, n, h, w, c] and their codes;
    interpolations.png: one row per pair; interpolations.json.
    """
    config = experiment.config
    build_flow(config)
    workdir.check_model(folder, config)
    pairs = (config.eval.num_images or 2 * SHOWN) // 2
    if not pairs:
        raise ValueError("eval.num_images must be at least 2 to interpolate, got 1")
    of_prior = config.eval.split == PRIOR and not config.eval.images
    if of_prior:
        sizes.check("eval.num_images", 2 * pairs, config)
    ends = _prior_ends if of_prior else partial(_image_ends, folder)
    score, step = load_score(experiment, folder, log)
    coder = build(config, score, experiment.guidance, experiment.codec)
    codes, told, data = ends(experiment, coder, pairs, log)
    pairs, n = len(codes) // 2, config.eval.interpolations
    sizes.check("eval.interpolations", pairs * n, config)
    results = _Results(folder, "interpolations", _identity(experiment, step, data), log)
    log(f"interpolating {pairs} pairs of {data['data']} at step {step}, {n} examples each")
    part = np.linspace(0.0, 1.0, n, dtype=np.float32)
    between = slerp(jnp.asarray(codes[0::2]), jnp.asarray(codes[1::2]), jnp.asarray(part))
    z = config.eval.temperature * np.asarray(between).swapaxes(0, 1)  # [pairs, n, ...]
    own = jax.tree.map(partial(_nearer, part=part), told)
    x, evaluations = coder.decode(z.reshape(-1, *z.shape[2:]), own)
    x = x.reshape(*z.shape[:2], *x.shape[1:])
    found = {"pairs": pairs, "evaluations_to_decode": float(evaluations.mean())}
    results.write({"images": x, "z": z}, x[:SHOWN], found)
    return 0


def _nearer(rows: Shaped[np.ndarray, "m *c"], part: np.ndarray) -> Shaped[np.ndarray, "k *c"]:
    """The condition of the nearer end at each part of the way between pairs of ends."""
    near = part.reshape(1, -1, *(1,) * (rows.ndim - 1)) < 0.5
    found = np.where(near, np.asarray(rows)[0::2, None], np.asarray(rows)[1::2, None])
    return found.reshape(-1, *rows.shape[1:])


def _image_ends(
    folder: Path, experiment: Experiment, coder: Coder, pairs: int, log: Log
) -> tuple[np.ndarray, Condition, dict[str, str]]:
    """(codes [2 pairs, ...], condition, name and hash of the images) of the first images."""
    config = experiment.config
    images, name = chosen(config, texts.load_data(config, folder, log), log)
    images = images.take(np.arange(min(2 * pairs, len(images) // 2 * 2)))
    if not len(images):
        raise ValueError(f"{name} holds one example: give two at least to interpolate between")
    told = _condition(images, experiment)
    codes, _ = coder.encode(to_unit(images.pixels, images.levels), told)
    return codes, told, identity(images, name)


def _prior_ends(
    experiment: Experiment, coder: Coder, pairs: int, log: Log
) -> tuple[np.ndarray, Condition, dict[str, str]]:
    """`_image_ends` with codes drawn from the prior and classes assigned round-robin."""
    keys = samplers.sample_keys(experiment.key(LIKELIHOOD_STREAM), jnp.arange(2 * pairs))
    draw = lambda key: experiment.sde.prior_sample(key, experiment.shape)
    classes, kind = experiment.config.model.num_classes, experiment.config.model.condition
    if kind != "none":
        raise ValueError(f"eval.split must be test or train with model.condition={kind!r}: codes "
                         "of the prior come without a condition")  # fmt: skip
    labels = np.arange(2 * pairs, dtype=np.int32) % classes if classes else None
    return np.asarray(jax.vmap(draw)(keys)), labels, {"data": "codes of the prior"}
