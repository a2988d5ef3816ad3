"""Guidance by log p(y | x) against the densities that it claims."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samplers import DDIM, Ancestral
from samplers.base import Last, State, denoised
from sde_lib import VE, VP, ClassifierFree, Gaussian, Mixture, Score, SubVP, pytree
from sde_lib.base import expand
from sde_lib.iddpm import iddpm
from sde_lib.likelihood_guidance import LikelihoodGuidance, MeanShift
from sde_lib.parametrization import Predicted
from tests.slow import slow

pytestmark = pytest.mark.usefixtures("float64")

WEIGHTS = np.asarray([0.3, 0.5, 0.2])
MEANS, DEVIATIONS = np.asarray([[-1.0], [0.4], [1.3]]), np.asarray([0.25, 0.15, 0.3])
X = np.asarray([[0.5], [0.5], [0.5], [-0.2], [-0.2], [-0.2]])
LABELS = jnp.asarray([0, 1, 2, 0, 1, 2])


def points() -> jnp.ndarray:
    return jnp.asarray(X)


def mixture(sde) -> Mixture:
    return Mixture(sde, *map(jnp.asarray, (WEIGHTS, MEANS, DEVIATIONS**2)))


@pytree
class Bayes:
    """log p(class | x_t) of the mixture, a class being a component."""

    sde: object

    def __call__(self, x, t, label):
        alpha, sigma = self.sde.marginal(t)
        each = jax.vmap(mixture(self.sde)._component_log_probs)(x, alpha, sigma)
        return jnp.take_along_axis(jax.nn.log_softmax(each), label[:, None], axis=1)[:, 0]


@pytree
class Classes(Score):
    """Components of the mixture by class, and the mixture for class -1."""

    sde: object

    def predict(self, x, t, condition=None):
        t = jnp.broadcast_to(t, x.shape[:1])
        whole = mixture(self.sde).predict(x, t)
        alpha, sigma = (expand(c, x) for c in self.sde.marginal(t))
        mean, std = jnp.asarray(MEANS)[condition], jnp.asarray(DEVIATIONS)[condition][:, None]
        noise = sigma * (x - alpha * mean) / (alpha**2 * std**2 + sigma**2)
        own = ((x - sigma * noise) / alpha, noise)
        known = (condition >= 0)[:, None]
        return Predicted(*(jnp.where(known, a, b) for a, b in zip(own, whole[:2], strict=True)))


@pytest.mark.parametrize(
    ("sde", "weight"),
    [(VP(), 1.0), (SubVP(), 2.0), (VE(0.01, 50.0), 3.5)],
    ids=["vp", "subvp", "ve"],
)
def test_by_bayes_classifier_it_is_classifier_free_guidance_of_the_same_weight(sde, weight):
    t = jnp.linspace(0.15, 0.9, 6)
    null = jnp.full_like(LABELS, -1)
    free = ClassifierFree(Classes(sde), LABELS, null, weight).predict(points(), t)
    guided = LikelihoodGuidance(mixture(sde), None, Bayes(sde), LABELS, weight).predict(
        jnp.asarray(X), t
    )
    for one, other in zip(guided[:2], free[:2], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


def test_values_at_one_noise_level() -> None:
    """alpha = 0.8, sigma = 0.6; values computed in float64 by hand."""
    sde = VP()
    t = sde.time_of_log_snr(jnp.asarray(2 * np.log(0.8 / 0.6)))
    found = {
        w: LikelihoodGuidance(mixture(sde), None, Bayes(sde), LABELS, w).denoise(points(), t)[:, 0]
        for w in (0.0, 1.0, 2.0, 3.5)
    }
    np.testing.assert_allclose(found[0.0][0], 0.505760803647, rtol=1e-9)
    np.testing.assert_allclose(found[1.0][:3], [-0.8375, 0.408653846154, 1.206896551724], rtol=1e-9)
    twice = [-2.180760803647, 0.311546888661, 1.908032299801]
    np.testing.assert_allclose(found[2.0][:3], twice, rtol=1e-9)
    more = [-4.195652009117, 0.165886452421, 2.959735921917]
    np.testing.assert_allclose(found[3.5][:3], more, rtol=1e-9)
    other = [-1.836015562741, 0.763984437259, 2.186398230362]
    np.testing.assert_allclose(found[2.0][3:], other, rtol=1e-9)


@pytree
class Linear:
    """log p(y | x_0) = x_0 + constant."""

    def __call__(self, x, t, label):
        return x[:, 0]


def test_a_function_of_clean_examples_is_given_the_denoised_one() -> None:
    """For N(0, 1) under VP the denoiser is alpha x, so the gradient at x_t is alpha: exact here."""
    sde = VP()
    score = Gaussian.isotropic(sde, jnp.zeros(1), 1.0)
    t = jnp.linspace(0.1, 0.9, 6)
    guided = LikelihoodGuidance(score, None, Linear(), None, 1.0, denoised=True)
    alpha = sde.alpha(t)[:, None]
    np.testing.assert_allclose(
        guided.gradient(points(), t), jnp.broadcast_to(alpha, X.shape), rtol=1e-9
    )
    # log p(y | x_0) = x_0 makes x_0 ~ N(1, 1), whose denoiser this is.
    exact = Gaussian.isotropic(sde, jnp.ones(1), 1.0).denoise(points(), t)
    np.testing.assert_allclose(guided.denoise(points(), t), exact, rtol=1e-9)
    assert guided.evaluations == 4
    # The same function of x_t itself has the gradient 1.
    plain = LikelihoodGuidance(score, None, Linear(), None, 1.0)
    np.testing.assert_allclose(plain.gradient(points(), t), 1.0)
    assert plain.evaluations == 3


def test_without_weight_or_outside_of_the_interval_it_is_the_score_to_the_last_bit() -> None:
    sde = VE(0.01, 50.0)
    score, nan = mixture(sde), Broken()
    sigmas = jnp.asarray([0.1, 0.19, 0.21, 1.0, 1.9, 2.1])
    t = sde.time_of_log_snr(-2 * jnp.log(sigmas))
    plain = score.predict(points(), t)
    for found in (
        LikelihoodGuidance(score, None, nan, LABELS, 0.0).predict(points(), t),
        LikelihoodGuidance(score, None, nan, LABELS, 2.0, 1e3, 1e4).predict(points(), t),
    ):
        for one, other in zip(found[:2], plain[:2], strict=True):
            np.testing.assert_array_equal(one, other)
    part = LikelihoodGuidance(score, None, Bayes(sde), LABELS, 2.0, 0.2, 2.0).noise(
        jnp.asarray(X), t
    )
    whole = LikelihoodGuidance(score, None, Bayes(sde), LABELS, 2.0).noise(points(), t)
    inside = np.asarray([False, False, True, True, True, False])
    np.testing.assert_array_equal(part[inside], whole[inside])
    np.testing.assert_array_equal(part[~inside], plain[1][~inside])


@pytree
class Broken:
    """No number."""

    def __call__(self, x, t, label):
        return jnp.nan * x[:, 0]


@pytest.mark.parametrize(
    ("steps", "kind", "mean", "variance"),
    [
        (25, "kernel", 0.8913968230, 0.9999),
        (25, "posterior", 0.6555441737, 0.7466311547),
        pytest.param(250, "kernel", 0.9887826824, 0.9999, marks=slow),
        (250, "posterior", 0.9550780709, 0.9660923705),
        (25, "ddim", 0.9941131682, 0.8586781704),
        pytest.param(250, "ddim", 0.9936939269, 0.9853378416, marks=slow),
    ],
)
def test_guided_chains_have_the_law_that_theory_gives(steps, kind, mean, variance) -> None:
    """Data N(0, 1), log p(y | x_t) = alpha x_t + constant, DDPM's thousand levels respaced.

    All steps are linear, so that mean and variance of the end follow from three runs: from 0, from
    1 and, for what the noise adds, in closed form by the steps' own weights. Values were computed
    in float64 without sampling.
    """
    sde = iddpm("linear", 1000)
    kept = np.round(np.arange(steps) * (999 / (steps - 1)))
    times = jnp.asarray(kept[::-1] / 999)
    guided = LikelihoodGuidance(
        Gaussian.isotropic(sde, jnp.zeros(1), 1.0), None, Tilted(sde), None, 1.0
    )
    score = guided if kind == "ddim" else MeanShift(guided)
    sampler = DDIM() if kind == "ddim" else Ancestral(large=float(kind == "kernel"))
    program = sampler.plan(score, times).program
    rows = jax.tree.map(jnp.asarray, program.rows)

    def step(state, row):
        x, spread = state
        moved = jnp.concatenate([x, x[:1] + 1])
        found = score.predict(moved, row["t"])
        f = row["x0"] * found.x0 + row["eps"] * found.noise
        moved = row["x"] * moved + row["f"][0] * f
        noise = row["z"][0]
        if found.shift is not None:
            moved = moved + noise**2 * found.shift
        gain = (moved[2] - moved[0])[0]
        return (moved[:2], gain**2 * spread + noise**2), None

    start = jnp.asarray([[0.0], [1.0]]), jnp.zeros(())
    (x, spread), _ = jax.lax.scan(step, start, rows)
    state = State.of(jnp.concatenate([x, x[:1] + 1]), None)
    if kind == "kernel":  # also in the last step, where the published chain has another
        program = replace(program, last=Last(sde.sigma(times[-1]) ** 2))
    end = denoised(score, program, state, times[-1])[:, 0]
    found_variance = (end[1] - end[0]) ** 2 + (end[2] - end[0]) ** 2 * spread
    np.testing.assert_allclose(end[0], mean, atol=1e-8)
    np.testing.assert_allclose(found_variance, variance, atol=1e-8)


@pytree
class Tilted:
    """log p(y | x_t) = alpha x_t."""

    sde: object

    def __call__(self, x, t, label):
        return self.sde.alpha(t) * x[:, 0]
