"""`--mode edit`: other examples that share with a given one what noise leaves of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

import samplers
from data_lib import Images, Splits
from data_lib.base import Log
from eval_lib.array_pictures.restored import DRAWS, bands_png, columns_png
from modes import sizes, texts
from modes.autoencoders import LATENT
from modes.conditions import classes_of, of_edited
from modes.experiment import Experiment
from modes.generate import collected, evaluations, pace
from modes.generator import Generator, make_generator
from modes.images import chosen
from modes.inputs import examples, numbers
from modes.measuring import mask_of
from modes.observed import (
    Observed,
    Place,
    check_guidance,
    digest,
    refuse_latents,
    sampling_of,
    told,
)
from modes.trained import load_score
from runtime_lib import sharding, workdir
from runtime_lib.files import Content
from runtime_lib.results import Parts, npz, publish, read_own_json, same, set_results_aside
from samplers.inversion import INVERSIONS
from samplers.rules.named import METHODS
from sde_lib import Conditional, Score, choose
from sde_lib.condition import Condition
from sde_lib.measurements.base import Measurement
from sde_lib.measurements.masks import Mask
from sde_lib.measurements.patterns import fitted
from untrusted import plain

FOLDER, REPORT = "edits", "edits.json"
NAMES_A_FILE = ("input", "mask")
"""Settings that name files, on whose content the results depend."""


def cut(times: Float[Array, " n"], strength: float) -> Float[Array, " m"]:
    """The last part of a grid of n steps, strength n of them: it may begin between two times.

    Strength 1 is the whole grid.
    """
    steps = len(times) - 1
    first = (1 - strength) * steps
    whole = min(int(first), steps - 1)
    begin = times[whole] + (first - whole) * (times[whole + 1] - times[whole])
    return jnp.concatenate([begin[None], times[whole + 1 :]])


@dataclass(frozen=True, eq=False)
class Noised:
    """The start of SDEdit, alpha x + sigma z at the first time of a run (Meng et al. 2022,
    arXiv:2108.01073, algorithm 1)."""

    t: Float[Array, ""]

    def __call__(
        self, score: Score, x: Float[Array, "b *d"], rows: np.ndarray, keys: PRNGKeyArray
    ) -> Float[Array, "b *d"]:
        return _noised(score, x, self.t, keys)


@jax.jit
def _noised(score: Score, x: Array, t: Array, keys: PRNGKeyArray) -> Array:
    own = jax.vmap(jax.random.fold_in, (0, None))(keys, samplers.base.PRIOR_STREAM)
    draw = lambda key: jax.random.normal(key, x.shape[1:], x.dtype)
    return score.sde.perturb(x, jax.vmap(draw)(own), score.snap(t))


@dataclass(frozen=True, eq=False)
class Inverted:
    """The start of a run that a way up from x leads to, so that the way down leads back.

    times: rising. source: numbers of examples [b] -> the condition of what is edited.
    """

    times: Float[Array, " n"]
    sampler: samplers.Sampler
    source: Callable[[np.ndarray], Condition]

    def __call__(
        self, score: Score, x: Float[Array, "b *d"], rows: np.ndarray, keys: PRNGKeyArray
    ) -> Float[Array, "b *d"]:
        own = Conditional(score, self.source(rows))
        alpha, _ = score.marginal(self.times[0])
        up = samplers.sample(
            own, self.sampler, self.times, keys, shape=x.shape[1:], start=alpha * x, denoise=False
        )
        return up.x


Begin = Callable[[Score, Array, np.ndarray, PRNGKeyArray], Array]
"""(score, encoded examples, their numbers, keys) -> the states from which they are edited."""


@dataclass(frozen=True, eq=False)
class Edited:
    """The start of each sample: sample k is an edit of example k % n of x [n, *d], encoded."""

    x: Float[np.ndarray, "n *d"]
    begin: Begin

    def __call__(
        self, score: Score, first: int, count: int, keys: PRNGKeyArray
    ) -> Float[Array, "b *d"]:
        rows = np.arange(first, first + count) % len(self.x)
        placed = sharding.distribute(self.x[rows], sharding.mesh_of(score))
        return self.begin(score, placed, rows, keys)


def _inputs(experiment: Experiment, load: Callable[[], Splits], log: Log) -> tuple[Images, str]:
    """(the examples to edit, their name): of `edit.input`, `eval.images` or `eval.split`."""
    config = experiment.config
    if not config.edit.input:
        return chosen(config, load(), log)
    path = Path(config.edit.input)
    # Latents are of pictures of any number of levels, and imported models have no data.
    levels = None if config.data.codec == LATENT else load().train.levels
    return examples(path, "edit.input", config, levels, log), plain(path.name)


class Material(NamedTuple):
    """Falling times, examples and their conditions, of which starts are made."""

    experiment: Experiment
    times: Float[Array, " n"]
    images: Images
    conditions: np.ndarray | None
    place: Place


def _inverted(inversion: Callable[[], samplers.Sampler], given: Material) -> Begin:
    """The way up of `inversion`, given the classes of the examples."""
    experiment, place, conditions = given.experiment, given.place, given.conditions
    asked, own = experiment.config.edit.source, given.images.labels
    source = classes_of(experiment, len(given.images), asked, own, "edit.source")

    def condition(rows: np.ndarray) -> Condition:
        labels = place(np.asarray(source, np.int32)[rows % len(source)]) if source else None
        values = None if conditions is None else place(conditions[rows % len(conditions)])
        return experiment.condition(labels, values)

    return Inverted(given.times[::-1], inversion(), condition)


WAYS: dict[str, Callable[[Material], Begin]] = {
    "sdedit": lambda given: Noised(given.times[0]),
    **{name: partial(_inverted, inversion) for name, inversion in INVERSIONS.items()},
}
"""Ways to the start of an edit, by the names of `edit.method`."""


def _mask(experiment: Experiment) -> Float[np.ndarray, "n *d"] | None:
    """The mask of `edit.mask`; None without one."""
    config = experiment.config
    if not config.edit.mask:
        return None
    refuse_latents(config, "edit.mask")
    return fitted(mask_of(config, config.edit.mask, "edit.mask"), experiment.shape, "edit.mask")


def _kept(experiment: Experiment, x: np.ndarray, encoded: np.ndarray) -> Observed | None:
    """The part of the examples that `edit.mask` keeps; None if it keeps none."""
    kept = _mask(experiment)
    if kept is None:
        return None
    check_guidance(experiment.config, "edit.mask")
    if len(kept) not in (1, len(x)):
        raise ValueError(f"edit.mask must hold one mask, or one for each of {len(x)} examples, got "
                         f"{len(kept)}")  # fmt: skip

    def of(rows: np.ndarray, place: Callable[[np.ndarray], jax.Array]) -> Measurement:
        own = kept if len(kept) == 1 else kept[rows]
        return Measurement(
            Mask(jnp.asarray(own, jnp.float32)), place(encoded[rows]), jnp.float32(0.0)
        )

    exact = np.where(np.broadcast_to(np.asarray(kept) > 0, x.shape), x, np.nan)
    return Observed(len(x), of, METHODS["projection"].make(), exact)


def edit(experiment: Experiment, folder: Path, log: Log = print) -> int:
    """Write edits of `edit.input`, or of held-out data, into FOLDER/edits; returns 0.

    An example gets noise up to the `edit.strength`-th part of the sampler's grid, at random or by
    running the sampler upwards, and is sampled from there, given the classes `sampling.labels`, the
    captions or the condition; what `edit.mask` shows in white stays. edits.npz: edits [n, s, ...]
    and the examples; edits.png: these beside one another; edits.json: how far they moved.
    """
    config = experiment.config
    workdir.check_model(folder, config)
    images, name = _inputs(experiment, lambda: texts.load_data(config, folder, log), log)
    x, each = numbers(images), config.edit.samples
    sizes.check("edit.samples", len(x) * each, config)
    score, step = load_score(experiment, folder, log)
    encoded = experiment.codec.encode(x).astype(np.float32)
    target = classes_of(experiment, len(x), config.sampling.labels, images.labels)
    asked = of_edited(experiment, images, folder, log)
    conditions = asked.conditions
    given = replace(asked, labels=target, observed=_kept(experiment, x, encoded), captions=None)
    made = make_generator(experiment, score, given)
    times = cut(made.times, config.edit.strength)
    place = lambda rows: sharding.distribute(rows, sharding.mesh_of(score))
    way = choose("edit.method", config.edit.method, WAYS)
    begin = way(Material(experiment, times, images, conditions, place))
    generator = replace(made, times=times, start=Edited(encoded, begin))
    alpha, sigma = (float(c) for c in score.marginal(times[0]))
    log(f"editing {len(x):,} examples of {name} at step {step} by {config.edit.method}, {each} "
        f"edits of each, from sigma / alpha = {sigma / alpha:.3g}")  # fmt: skip
    identity = _identity(experiment, x, name, step)
    for part, rows in (("conditions", conditions), ("negative", asked.negative)):
        identity |= told(part, rows, len(x))
    folder = folder / FOLDER
    with workdir.writing(folder, "finished batches"):
        found = _drawn(generator, x, config, folder, identity, log)
    log(f"edits differ from their examples by {found['distance']['mean']:.3g} (root mean square)")
    log(f"wrote {folder}: {FOLDER}.npz, {FOLDER}.png, {REPORT}")
    return 0


def _identity(experiment: Experiment, x: np.ndarray, name: str, step: int) -> dict[str, Any]:
    config, kept = experiment.config, _mask(experiment)
    return {
        "step": step,
        "seed": config.seed,
        "sampling": sampling_of(config),
        "edit": {k: v for k, v in config.edit.to_dict().items() if k not in NAMES_A_FILE},
        "mask_sha256": None if kept is None else digest(np.asarray(kept)),
        "of": name,
        "examples_sha256": digest(x),
        **experiment.guided_by,
    }


def _drawn(
    generator: Generator, x: np.ndarray, config: Any, target: Path, identity: dict[str, Any],
    log: Log,
) -> dict[str, Any]:  # fmt: skip
    """Draw and write the edits; the report."""
    each, batch = config.edit.samples, config.sampling.batch_size
    old = read_own_json(target / REPORT)
    other = old is not None and not same(old, identity)
    set_results_aside(target, "edits made with other settings" if other else None, log)
    kept = Parts(target, {**identity, "batch_size": batch}, log)
    arrays, seconds = collected(generator, len(x) * each, batch, kept, log)
    edits = arrays["samples"].reshape(each, *x.shape).swapaxes(0, 1)
    apart = np.sqrt(np.mean((edits - x[:, None]) ** 2, axis=tuple(range(2, edits.ndim))))
    found = {
        **identity,
        **evaluations(arrays["evaluations"]),
        **pace(seconds, batch),
        "distance": {"mean": float(apart.mean()), "max": float(apart.max())},
    }
    files: dict[str, Content | None] = {
        f"{FOLDER}.npz": npz({"edits": edits, "examples": x}),
        f"{FOLDER}.png": _picture(edits, x, generator, config),
    }
    publish(target, files, REPORT, found, log)
    kept.remove()
    return found


def _picture(
    edits: Float[np.ndarray, "n s *d"], x: Float[np.ndarray, "n *d"], generator: Generator,
    config: Any,
) -> Content | None:  # fmt: skip
    title = f"{config.edit.method}, strength {config.edit.strength:g}"
    if x.ndim == 4:
        shown = {f"edit {k + 1}": edits[:, k] for k in range(min(DRAWS, edits.shape[1]))}
        levels = generator.codec.of_levels
        scale = (0.0, 1.0) if levels else (float(x.min()), float(x.max()))
        return columns_png({"example": x, **shown}, scale, title)
    if x.ndim <= 3 and edits.shape[1] > 1:
        one = lambda rows: rows if x.ndim == 3 else rows[..., None]
        return bands_png(one(edits), one(x), None, title)
    return None
