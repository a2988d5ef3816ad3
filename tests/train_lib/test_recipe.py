"""The recipe of training, number by number against closed forms that the library has no part in.

A table of tests has a row for every row of the library's table: who adds a weighting, a law, an
optimizer, a guidance or a norm adds what it is. Mathematics is held in float64, to round-off; what
the step computes in float32 (averages, learning rates, updates) to the round-off of that.
"""

from __future__ import annotations

from dataclasses import fields, replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

import sde_lib
from configs.schema import get_default
from samplers.named import NORMS
from sde_lib import (
    GUIDANCE,
    Autoguidance,
    KarrasVE,
    ModelScore,
    Noise,
    Parametrization,
    Score,
    TimeLabel,
    pytree,
)
from tests.closed_forms import LEVELS, PROCESSES, Process, built, configured
from train_lib import objective, optimizer
from train_lib.ema import EMA
from train_lib.objective import ERRORS, LAWS, WEIGHTINGS
from train_lib.optimizer import DECAYS, OPTIMIZERS
from train_lib.times import UniformTime, draw_times

exactly = pytest.mark.usefixtures("float64")

EXACT = 1e-10
"""Round-off of float64, a million times over: of exponentials of up to 10 and their differences."""
POINTS = 200
"""Everywhere the same, so that programs are."""
EPS = 2e-3
"""`training.eps`, above every SDE's own first time but EDM's."""
SIGMA_DATA, SIGMA_MEAN, SIGMA_STD = 0.3, -0.7, 1.9
RECIPE = {
    "training.eps": EPS, "model.sigma_data": SIGMA_DATA, "training.sigma_mean": SIGMA_MEAN,
    "training.sigma_std": SIGMA_STD,
}  # fmt: skip


def recipe(name: str):
    """The config of an SDE and odd numbers of training."""
    config = configured(name)
    config.update_from_flattened_dict(RECIPE)
    return config


# SDEs ---------------------------------------------------------------------------------------------


def test_every_sde_has_a_closed_form() -> None:
    named = {name.partition(" ")[0] for name in PROCESSES}
    assert named == set(sde_lib.SDES)


@exactly
@pytest.mark.parametrize("name", PROCESSES)
def test_levels_ends_and_prior_are_those_of_the_closed_form(name: str) -> None:
    form, sde = PROCESSES[name], built(name)
    t = form.times(POINTS)
    found = sde.alpha(jnp.asarray(t)), sde.sigma(jnp.asarray(t)), sde.diffusion(jnp.asarray(t))
    # 1 - alpha^2 cancels here, in what is expected, to 1e-6 of itself at the first time.
    for ours, exact in zip(found, (form.alpha, form.sigma, form.g), strict=True):
        np.testing.assert_allclose(ours[1:-1], exact(t)[1:-1], rtol=1e-9)
    ends = sde.t_min, sde.T, sde.t_min_sampling, float(sde.prior_std)
    assert ends == (form.start, form.end, form.end_sampling, form.prior)


# Weightings ---------------------------------------------------------------------------------------

WEIGHTS = {
    # |sigma score + z|^2 as it is: Song et al. 2021 (2011.13456), lambda = sigma^2.
    "noise": lambda alpha, sigma, g: np.ones_like(sigma),
    # g^2 |score - true score|^2, of which the noise's error is sigma times: 2101.09258, theorem 1.
    "likelihood": lambda alpha, sigma, g: (g / sigma) ** 2,
    # The denoiser's error, which is sigma / alpha times the noise's, as it is.
    "data": lambda alpha, sigma, g: (sigma / alpha) ** 2,
    # (s^2 + d^2) / (s d)^2 on the denoiser's error, which is s times the noise's: 2206.00364,
    # table 1, with s = sigma / alpha.
    "edm": lambda alpha, sigma, g: (
        ((sigma / alpha) ** 2 + SIGMA_DATA**2)
        / (sigma / alpha * SIGMA_DATA) ** 2
        * (sigma / alpha) ** 2
    ),
}


def test_every_weighting_has_a_closed_form() -> None:
    assert set(WEIGHTS) == set(WEIGHTINGS)


@exactly
@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_are_those_of_the_closed_form_under_every_sde(name: str) -> None:
    for sde, form in PROCESSES.items():
        t = form.times(POINTS)
        found = WEIGHTINGS[name](recipe(sde))(built(sde), jnp.asarray(t))
        expected = WEIGHTS[name](form.alpha(t), form.sigma(t), form.g(t))
        np.testing.assert_allclose(found[1:-1], expected[1:-1], rtol=1e-9, err_msg=sde)


OF_ERROR = {"squared": np.square, "absolute": np.abs}


def test_every_error_has_a_closed_form() -> None:
    assert set(OF_ERROR) == set(ERRORS)


@exactly
@pytest.mark.parametrize("error", OF_ERROR)
@pytest.mark.parametrize("reduce_mean", [True, False])
@pytest.mark.parametrize("law", LAWS)
def test_a_loss_is_weight_times_correction_times_the_reduced_error(law, reduce_mean, error) -> None:
    """A network that predicts 0 errs by the noise; published: its mean square, or half the sum."""
    config, form = recipe("vp"), PROCESSES["vp"]
    config.training.update(time_law=law, weighting="edm", reduce_mean=reduce_mean, error=error)
    score = ModelScore(
        lambda params, x, *others: 0 * x, None, built("vp"), Parametrization(Noise(), TimeLabel())
    )
    noise, t = np.random.default_rng(0).standard_normal((3, 2, 5)), np.asarray([0.1, 0.4, 0.9])
    found = objective.build(config).at(score, jnp.ones((3, 2, 5)), *map(jnp.asarray, (noise, t)))
    each = OF_ERROR[error](noise)
    reduced = each.mean(axis=(1, 2)) if reduce_mean else each.sum(axis=(1, 2)) / 2
    weight = WEIGHTS["edm"](form.alpha(t), form.sigma(t), form.g(t))
    np.testing.assert_allclose(found, weight * CORRECTIONS[law](form, t) * reduced, rtol=1e-9)


# Laws of training times ---------------------------------------------------------------------------


def _first(form: Process) -> float:
    return max(EPS, form.start)


def _even_in_log_snr(form: Process, u: np.ndarray) -> np.ndarray:
    first, last = form.log_ratio(np.asarray([_first(form), form.end]))
    return first + u * (last - first)


QUANTILES = {
    "uniform": lambda form, u: form.log_ratio(EPS + u * (form.end - EPS)),
    "importance": _even_in_log_snr,
    "level": lambda form, u: form.log_ratio(np.floor(u * LEVELS) / (LEVELS - 1)),
    "lognormal_sigma": lambda form, u: np.clip(
        SIGMA_MEAN + SIGMA_STD * stats.norm.ppf(u),
        *form.log_ratio(np.asarray([form.start, form.end])),
    ),
}
"""log(sigma / alpha) of the time that a part u of the law lies below: laws differ in it alone."""
CORRECTIONS = {
    "uniform": lambda form, t: np.ones_like(t),
    # p_uniform / p: 1 / (T - eps) over (g / sigma)^2 / (its integral, the fall of the log-SNR).
    "importance": lambda form, t: (
        2 * np.ptp(form.log_ratio(np.asarray([_first(form), form.end])))
        / (form.end - _first(form)) / (form.g(t) / form.sigma(t)) ** 2
    ),
    "level": lambda form, t: np.ones_like(t),
    "lognormal_sigma": lambda form, t: np.ones_like(t),
}  # fmt: skip


def test_every_law_has_a_closed_form() -> None:
    assert set(QUANTILES) == set(CORRECTIONS) == set(MOMENTS) == set(LAWS)


@exactly
@pytest.mark.parametrize("name", LAWS)
def test_times_are_the_quantiles_of_the_closed_form(name: str) -> None:
    """From the least to the largest u that a generator gives, within what the SDE allows.

    Of the widest law, a few times in a hundred would be beyond it at each end.
    """
    u = np.asarray([0.0, *(np.arange(POINTS - 2) + 0.5) / (POINTS - 2), 1 - 2.0**-53])
    for sde, form in PROCESSES.items():
        if name == "level" and sde not in ("ve", "iddpm", "vp discrete"):
            continue  # others have no levels
        law = LAWS[name](recipe(sde))
        t = law.quantile(built(sde), jnp.asarray(u))
        expected = QUANTILES[name](form, u)
        np.testing.assert_allclose(form.log_ratio(np.asarray(t)), expected, rtol=1e-7, atol=1e-7)
        least = {"level": 0.0, "uniform": EPS}.get(name, form.start)
        assert least <= t.min() < t.max() <= form.end, sde
        correction = np.asarray(law.correction(built(sde), t))
        inside = (t > _first(form)) & (t < form.end)
        exact = CORRECTIONS[name](form, np.asarray(t[inside]))
        np.testing.assert_allclose(correction[inside], exact, rtol=1e-6)


WIDE = KarrasVE(1e-6, 1e6)
"""An SDE with ends that no law of log sigma reaches."""
MOMENTS = {
    "uniform": (lambda t: t, (EPS + 1e6) / 2, (1e6 - EPS) / 12**0.5),
    "importance": (np.log, np.log(EPS * 1e6) / 2, np.log(1e6 / EPS) / 12**0.5),
    "level": (lambda t: t, 0.5, ((LEVELS + 1) / (LEVELS - 1) / 12) ** 0.5),
    "lognormal_sigma": (np.log, SIGMA_MEAN, SIGMA_STD),
}
"""A function of the times, its mean and its deviation under the law, where t is sigma."""


@exactly
@pytest.mark.parametrize("stratified", [True, False])
@pytest.mark.parametrize("name", LAWS)
def test_drawn_times_have_the_mean_and_the_deviation_of_the_law(name, stratified) -> None:
    variable, mean, std = MOMENTS[name]
    n, law = 20_000, LAWS[name](recipe("edm"))
    t = draw_times(law, WIDE, jax.random.key(3), n, stratified=stratified)
    found = variable(np.asarray(t))
    # Standard errors, four of them; spread evenly, the error is of one stratum: the normal's tail.
    slack = 1e-3 if stratified else 4 / n**0.5
    assert found.mean() == pytest.approx(mean, abs=slack * std)
    assert found.std() == pytest.approx(std, rel=slack)


@exactly
def test_stratified_times_follow_one_another_by_the_golden_ratio() -> None:
    n, golden = 16, 0.6180339887498949
    t = draw_times(UniformTime(0.0), built("vp"), jax.random.key(5), n, stratified=True)
    place = [sorted(k * golden % 1 for k in range(n)).index(k * golden % 1) for k in range(n)]
    # The strata are in order but for where the first of them is put at random.
    np.testing.assert_allclose((np.asarray(t - t[0]) * n) % n, place, atol=1e-9)


def test_published_laws_are_the_defaults() -> None:
    """score_sde trains from 1e-5; EDM's log sigma has mean -1.2 and deviation 1.2."""
    config = get_default()
    assert LAWS["uniform"](config) == UniformTime() == UniformTime(1e-5)
    law = LAWS["lognormal_sigma"](config)
    assert (law.mean, law.std) == (-1.2, 1.2)
    assert replace(law) == type(law)()
    assert WEIGHTINGS["edm"](config).sigma_data == objective.EDMWeight().sigma_data == 0.5


# Averages -----------------------------------------------------------------------------------------

AVERAGES = {
    # score_sde in JAX.
    "constant": ({}, lambda n: 1.0),
    # score_sde in PyTorch: n counts the update that is being made.
    "warmup": ({"warmup": True}, lambda n: (1 + n) / (10 + n)),
    # EDM: 0.5^(batch / half-life), half-life at most 0.05 of the images seen before this batch.
    "rampup": ({"rampup": 0.05}, lambda n: 0.5 ** (1 / max(0.05 * (n - 1), 1e-8))),
    "both": (
        {"warmup": True, "rampup": 0.2},
        lambda n: min((1 + n) / (10 + n), 0.5 ** (1 / max(0.2 * (n - 1), 1e-8))),
    ),
}
"""Settings of `EMA` and the largest rate after n updates."""


def test_every_setting_of_the_average_is_in_the_table() -> None:
    said = {name for settings, _ in AVERAGES.values() for name in settings}
    assert said | {"rates"} == {field.name for field in fields(EMA)}


@pytest.mark.parametrize("name", AVERAGES)
@pytest.mark.parametrize("rate", [0.0, 0.9, 0.999, 0.9999])
def test_rates_of_the_average_are_those_of_the_closed_form(name: str, rate: float) -> None:
    settings, largest = AVERAGES[name]
    for n in (1, 2, 3, 10, 80, 81, 8989, 8990, 8991, 90_000, 10**6):
        found = EMA((rate,), **settings).rate(rate, jnp.asarray(n, jnp.int32))
        # Rates are kept in float32, of which 1 - rate keeps three digits at 0.9999.
        assert float(found) == pytest.approx(min(rate, largest(n)), abs=2e-7), n


def test_the_warmup_is_over_when_the_original_says() -> None:
    """0.999 is reached at update 8,990 and 0.9999 at 89,990 (run with score_sde's PyTorch code)."""
    rate = lambda rate, n: float(EMA(warmup=True).rate(rate, jnp.asarray(n, jnp.int32)))
    for limit, n in ((0.999, 8_990), (0.9999, 89_990)):
        assert rate(1.0, n) == pytest.approx(limit, abs=1e-7)
        assert rate(limit, n - 90) < rate(limit, n + 90) == rate(limit, n + 9_000)


@pytest.mark.parametrize("name", AVERAGES)
def test_averages_keep_their_rate_of_what_was_and_take_the_rest(name: str) -> None:
    settings, largest = AVERAGES[name]
    rates, path = (0.5, 0.97), np.asarray([3.0, -1.0, 4.0, 1.5, -9.0])
    ema = EMA(rates, **settings)
    found, expected = ema.init({"w": jnp.asarray(path[0])}), [path[0]] * 2
    for n, value in enumerate(path[1:], 1):
        found = ema.update(found, {"w": jnp.asarray(value)}, jnp.asarray(n, jnp.int32))
        kept = [min(rate, largest(n)) for rate in rates]
        expected = [r * old + (1 - r) * value for r, old in zip(kept, expected, strict=True)]
        np.testing.assert_allclose([one["w"] for one in found], expected, rtol=1e-6)


# Learning rate, optimizer, clipping ---------------------------------------------------------------

LR, WARMUP, UPDATES = 0.02, 7, 40
FALLS = {
    "constant": lambda k: 1.0,
    "cosine": lambda k: (1 + np.cos(np.pi * min(k / UPDATES, 1))) / 2,
    "linear": lambda k: max(1 - k / UPDATES, 0),
}
"""The factor of the learning rate at update k, counted from 0, by a schedule."""


def expected_rate(schedule: str, warmup: int, k: int) -> float:
    """lr min(k / warmup, 1), k counted from 0, as both published codes count."""
    return LR * (min(k / warmup, 1) if warmup else 1.0) * FALLS[schedule](k)


def settings(**given: object):
    """The `optim` section with odd numbers; eps so large that the scale of a gradient tells."""
    section = get_default().optim
    section.update({"lr": LR, "warmup": WARMUP, "beta1": 0.8, "beta2": 0.95, "eps": 0.07, **given})
    return section


def test_every_schedule_has_a_closed_form() -> None:
    assert set(FALLS) == set(DECAYS)


@pytest.mark.parametrize("warmup", [0, 1, WARMUP])
@pytest.mark.parametrize("schedule", FALLS)
def test_learning_rates_are_those_of_the_closed_form(schedule: str, warmup: int) -> None:
    rate = optimizer.learning_rate(settings(schedule=schedule, warmup=warmup), UPDATES)
    for k in (0, 1, 2, 6, 7, 8, 20, 39, 40, 50):
        expected = expected_rate(schedule, warmup, k)
        with jax.numpy_dtype_promotion("standard"):  # optax promotes
            found = [float(rate(step)) for step in (k, jnp.asarray(k, jnp.int32))]
        assert found == pytest.approx([expected] * 2, rel=1e-6, abs=1e-8), k


LIMIT = 0.5
NORMS_OF_GRADIENTS = np.asarray([0.1, 0.49, 0.5, 0.51, 0.75, 0.99, 1.0, 1.01, 3.0, 0.2]) / 0.5
"""In limits: below it, between the limit and its double, and beyond."""


def gradients() -> list[np.ndarray]:
    """Gradients of four numbers, of those norms, in directions that turn."""
    directions = np.random.default_rng(2).standard_normal((len(NORMS_OF_GRADIENTS), 4))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return list(directions * NORMS_OF_GRADIENTS[:, None] * LIMIT)


def adam(start, gradients, rates, decay, limit):
    """Kingma & Ba 2015, algorithm 1, eps outside of the root; decoupled decay (Loshchilov & Hutter
    2019, algorithm 2), clipping of the whole gradient to `limit` (0: none) before it."""
    x, m, v, path = start, 0.0, 0.0, []
    for k, (g, lr) in enumerate(zip(gradients, rates, strict=True)):
        size = np.sqrt(np.sum(g**2))
        g = g * min(1.0, limit / size) if limit else g
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g**2
        first, second = m / (1 - 0.8 ** (k + 1)), v / (1 - 0.95 ** (k + 1))
        x = x - lr * (first / (np.sqrt(second) + 0.07) + decay * x)
        path.append(x)
    return path


WEIGHT_DECAYS = {"Adam": 0.0, "AdamW": 0.3}
"""Every optimizer, and a decay that it takes."""


def test_every_optimizer_has_a_closed_form() -> None:
    assert set(WEIGHT_DECAYS) == set(OPTIMIZERS)


@pytest.mark.parametrize("limit", [LIMIT, 0.0, -1.0])
@pytest.mark.parametrize("name", WEIGHT_DECAYS)
def test_updates_are_those_of_the_closed_form_clipped_and_warmed_up(name, limit) -> None:
    decay = WEIGHT_DECAYS[name]
    section = settings(optimizer=name, weight_decay=decay, grad_clip=limit, schedule="cosine")
    rule, tree = optimizer.build(section, UPDATES), lambda x: {"a": x[:1], "b": x[1:].reshape(3, 1)}
    start = np.asarray([0.3, -1.0, 2.0, 0.7])
    params, rates = tree(jnp.asarray(start)), [
        expected_rate("cosine", WARMUP, k) for k in range(len(NORMS_OF_GRADIENTS))
    ]  # fmt: skip
    state = rule.init(params)
    expected = adam(start, gradients(), rates, decay, max(limit, 0))
    for k, (g, after) in enumerate(zip(gradients(), expected, strict=True)):
        with jax.numpy_dtype_promotion("standard"):  # optax promotes
            change, state = rule.update(tree(jnp.asarray(g)), state, params)
            params = jax.tree.map(jnp.add, params, change)
        found = np.concatenate([np.ravel(params["a"]), np.ravel(params["b"])])
        np.testing.assert_allclose(found, after, rtol=3e-6, err_msg=str(k))
        assert np.array_equal(found, start.astype(np.float32)) == (
            k == 0
        )  # the first update has rate 0


def test_clipping_leaves_at_most_the_limit_and_the_direction() -> None:
    clip = optax.clip_by_global_norm(LIMIT)
    for g in gradients():
        tree = {"a": jnp.asarray(g[:1]), "b": jnp.asarray(g[1:])}
        clipped, _ = clip.update(tree, clip.init(tree))
        found = np.concatenate([clipped["a"], clipped["b"]])
        expected = g * min(1.0, LIMIT / np.linalg.norm(g))
        np.testing.assert_allclose(found, expected, rtol=1e-6)


# The interval of guidance -------------------------------------------------------------------------

WEIGHT = 3.5
WITH, WITHOUT = (2.0, 0.5), (-1.0, 0.3)
"""Predictions of (x_0, noise) with a class, and without one or by a worse model."""


@pytree
class Labelled(Score):
    """Those predictions, whatever x is."""

    sde: object

    def predict(self, x, t, condition=None):
        known = (condition >= 0)[:, None]
        pairs = zip(WITH, WITHOUT, strict=True)
        return sde_lib.Predicted(*(jnp.where(known, a, b) + 0 * x for a, b in pairs))


def guided(inside: np.ndarray) -> list[np.ndarray]:
    """With + (weight - 1) (with - without) inside of the interval, elsewhere as it is."""
    pairs = zip(WITH, WITHOUT, strict=True)
    return [np.where(inside, a + (WEIGHT - 1) * (a - b), a) for a, b in pairs]


def omega(inside: np.ndarray) -> list[np.ndarray]:
    """(1 + omega) with - omega without."""
    pairs = zip(WITH, WITHOUT, strict=True)
    return [np.where(inside, (1 + WEIGHT) * a - WEIGHT * b, a) for a, b in pairs]


def renoised(inside: np.ndarray) -> list[np.ndarray]:
    """CFG++: x_0 extrapolated, the noise of the prediction without a class."""
    return [guided(inside)[0], np.where(inside, WITHOUT[1], WITH[1])]


SLOPE = 0.7
"""Gradient of log p(y | x), for all classes."""


@pytree
class Sloped:
    """log p(y | x) = SLOPE x."""

    def __call__(self, x, t, label):
        return SLOPE * x[:, 0]


def sloped(inside: np.ndarray, alpha: np.ndarray, sigma: np.ndarray) -> list[np.ndarray]:
    """x_0 + weight sigma^2 / alpha g and noise - weight sigma g."""
    step = np.where(inside, WEIGHT * SLOPE, 0.0)
    return [WITH[0] + sigma**2 / alpha * step, WITH[1] - sigma * step]


GUIDED = {
    "none": lambda inside: guided(np.zeros_like(inside)),
    "classifier_free": guided,
    "classifier_free_omega": omega,
    "autoguidance": guided,
    "cfg_pp": renoised,
    "classifier": sloped,
}


def test_every_guidance_has_a_closed_form() -> None:
    # The others are not linear, or the network's own: tests/sde_lib/test_combinations.py,
    # test_likelihood_guidance.py and test_guidance.py.
    others = {"rescaled", "thresholded", "apg", "denoised_classifier", "classifier_mean",
              "first_channels", "embedded"}  # fmt: skip
    assert set(GUIDED) == set(GUIDANCE) - others


def within(form: Process) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Times, whether sigma / alpha there is within an interval, and its ends (between times).

    Where alpha is not 1 some have sigma within and sigma / alpha not, or the other way round.
    """
    t = form.times(40)[1:-1]
    ratio = form.sigma(t) / form.alpha(t)
    least, most = np.sqrt(ratio[15] * ratio[16]), np.sqrt(ratio[30] * ratio[31])
    inside = (ratio > least) & (ratio < most)
    sigma = form.sigma(t)
    if form.alpha(t).min() < 0.9:
        assert (inside != ((sigma > least) & (sigma < most))).any()
    return t, inside, least, most


@pytest.mark.parametrize("kind", GUIDED)
@pytest.mark.parametrize("name", PROCESSES)
def test_guidance_acts_where_sigma_over_alpha_is_within_its_interval(name, kind) -> None:
    t, inside, least, most = within(PROCESSES[name])
    config = configured(name)
    config.model.num_classes, config.model.label_dropout = 3, 0.1
    config.sampling.update(
        guidance_kind=kind, guidance=WEIGHT, guidance_min=float(least), guidance_max=float(most),
        predictor="ddim",
    )  # fmt: skip
    labels = jnp.zeros(len(t), jnp.int32)
    worse = sde_lib.Conditional(Labelled(built(name)), labels - 1)
    told = sde_lib.Told(guide=worse, guide_conditional=True, log_density=Sloped())
    score = sde_lib.build_guidance(config, told)(Labelled(built(name)), labels)
    found = score.predict(jnp.zeros((len(t), 1)), jnp.asarray(t))
    form = PROCESSES[name]
    levels = (form.alpha(t), form.sigma(t)) if kind == "classifier" else ()
    for ours, expected in zip(found[:2], GUIDED[kind](inside, *levels), strict=True):
        # Differences of numbers near 1 have the rounding of those.
        np.testing.assert_allclose(ours[:, 0], expected, rtol=1e-5, atol=2e-7)


@pytest.mark.parametrize("name", PROCESSES)
def test_autoguidance_acts_within_the_same_interval(name) -> None:
    t, inside, least, most = within(PROCESSES[name])
    fixed = lambda label: sde_lib.Conditional(
        Labelled(built(name)), jnp.full(len(t), label, jnp.int32)
    )
    score = Autoguidance(fixed(0), fixed(-1), WEIGHT, least, most)
    found = score.predict(jnp.zeros((len(t), 1)), jnp.asarray(t))
    for ours, expected in zip(found[:2], guided(inside), strict=True):
        np.testing.assert_allclose(ours[:, 0], expected, rtol=1e-6)


def test_the_ends_of_the_interval_belong_to_it() -> None:
    t = jnp.asarray([0.25, 0.5, 2.0, *[4.0] * 35])
    null = jnp.full(38, -1, jnp.int32)
    sde = KarrasVE(0.1, 10.0)
    score = sde_lib.ClassifierFree(Labelled(sde), 0 * null, null, WEIGHT, 0.5, 2.0)
    found = score.predict(jnp.zeros((38, 1)), t).x0[:4, 0]
    np.testing.assert_allclose(found, guided(np.asarray([False, True, True, False]))[0])


# Norms of the Langevin corrector ------------------------------------------------------------------

ALPHA, SIGMA = 0.6, 0.9


def _lengths(x: np.ndarray) -> np.ndarray:
    return np.sqrt((x**2).sum(axis=(1, 2)))


RATIOS = {
    "noise_level": lambda z, g: np.full(len(z), SIGMA),
    # sqrt(d) over |score|, which is no less than that of data of unit variance on average.
    "sample": lambda z, g: np.minimum(
        np.sqrt(g[0].size) / np.maximum(_lengths(g), 1e-300), np.sqrt(ALPHA**2 + SIGMA**2)
    ),
    "batch": lambda z, g: np.full(len(z), _lengths(z).mean() / _lengths(g).mean()),
}


def test_every_norm_has_a_closed_form() -> None:
    assert set(RATIOS) == set(NORMS)


@exactly
@pytest.mark.parametrize("name", RATIOS)
def test_norm_ratios_are_those_of_the_closed_form(name: str) -> None:
    """Scores of lengths from 0 to a hundred times the floor."""
    random = np.random.default_rng(4)
    z, g = random.standard_normal((2, 6, 3, 5))
    floor = np.sqrt(15 / (ALPHA**2 + SIGMA**2))
    lengths = floor * np.asarray([0.0, 0.01, 0.6, 1.0, 1.7, 100.0])
    g *= (lengths / _lengths(g))[:, None, None]
    found = NORMS[name]()(*map(jnp.asarray, (z, g, ALPHA, SIGMA)))
    np.testing.assert_allclose(found, RATIOS[name](z, g), rtol=EXACT)
