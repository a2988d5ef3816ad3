"""Rules around steps: published steps and runs, laws of replacement, what holds for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samplers import DDIM, AdaptiveODE, Ancestral, DPMSolver, respaced, sample, sample_keys
from samplers.rules import projection
from samplers.rules.base import with_rule
from samplers.rules.daps import DAPS
from samplers.rules.ddrm import DDRM
from samplers.rules.filtering import FPS
from samplers.rules.gradient import MisfitDescent
from samplers.rules.particles import TwistedSMC
from samplers.rules.projection import Projection
from samplers.rules.pseudo_inverse import PseudoInverseStep
from samplers.rules.repaint import RePaint
from samplers.rules.variational import RedDiff
from sde_lib import VP, Gaussian
from sde_lib.clipping import Clipped
from sde_lib.iddpm import iddpm
from sde_lib.measurements.base import Measurement, Operator
from sde_lib.measurements.masks import Mask
from sde_lib.pytree import pytree
from sde_lib.score import Wrapped
from tests.samplers.rules import golden, laws

# Published steps and runs -------------------------------------------------------------------------


@pytree
class Means(Operator):
    """The means of 2 x 2 patches."""

    def __call__(self, x):
        return x.reshape(-1, 4, 2, 4, 2, 3).mean((2, 4))

    def pseudo_inverse(self, u, x):
        return jnp.repeat(jnp.repeat(u, 2, 1), 2, 2)


def dps(kind: str) -> tuple[dict[str, Any], jax.Array]:
    """(the arrays, the state after the step) of one step of two images or one."""
    told, c = golden.told("dps_step"), golden.stored("dps_step")
    b = len(c[f"{kind}_x"])
    score = Clipped(golden.score_of(c["y"][:b]))
    times = golden.times_of(np.asarray(c["steps"])[[told["index"], told["index"] - 1]])
    measured = Measurement(Mask(c["mask"]), c[f"{kind}_measurement"], jnp.zeros(()))
    sampler = with_rule(Ancestral(learned=True), MisfitDescent(measured, told["scale"]))
    state = golden.Given(c[f"{kind}_x"], c[f"{kind}_noise"][None])
    return c, golden.steps(sampler, score, times, state)[1][0].x


def test_a_step_of_dps_is_theirs() -> None:
    c, found = dps("single")
    assert golden.apart(found, c["single_result"]) < 1e-5
    moved = c["single_result"] - c["single_unguided"]
    assert golden.apart(found - c["single_unguided"], moved) < 1e-4


def test_a_batch_of_dps_is_two_steps_and_not_their_one() -> None:
    """Theirs divides the gradient of each image's square by the norm of both."""
    c, found = dps("batch")
    both = float(c["batch_norm"][0])
    residual = c["batch_measurement"] - c["mask"] * c["batch_pred_xstart"]
    own = jnp.sqrt(jnp.sum(residual**2, axis=(1, 2, 3), keepdims=True))
    assert float(jnp.sum(own**2)) ** 0.5 == pytest.approx(both, rel=1e-5)
    expected = both / own * (c["batch_result"] - c["batch_unguided"])
    assert golden.apart(found - c["batch_unguided"], expected) < 1e-4
    assert golden.apart(found, c["batch_result"]) > 1e-3


RUNS: dict[str, Callable[[Measurement], Any]] = {
    "pigdm": lambda known: PseudoInverseStep(known),
    "dps": lambda known: MisfitDescent(known, 2.0),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_ends_where_theirs_does(name: str) -> None:
    told, c = golden.told("pigdm_run"), golden.stored("pigdm_run")
    measured = Measurement(Means(), c["measurement"], jnp.zeros(()))
    score = golden.score_of(c["y"])
    times = golden.times_of(np.asarray(told["times"])[::-1])
    alpha, sigma = score.marginal(times[0])
    start = alpha * Means().pseudo_inverse(c["measurement"], None) + sigma * c[f"{name}_draws"][0]
    assert golden.apart(start, c[f"{name}_start"]) < 1e-6
    sampler = with_rule(DDIM(told["eta"]), RUNS[name](measured))
    state = golden.Given(start, c[f"{name}_draws"][1:])
    method, states = golden.steps(sampler, score, times, state)
    assert golden.apart(states[0].x, c[f"{name}_after_step_1"]) < 1e-5
    assert golden.apart(method.finish(score, states[-1], times[-1]), c[f"{name}_x"]) < 1e-5


def test_without_awd_the_prediction_is_moved_and_the_noise_with_it() -> None:
    """w alpha_t (alpha_s - c_2 alpha_t / sigma_t) J^T A^+ (y - A x_0), on a line."""
    score, x = Gaussian.isotropic(VP(), jnp.zeros(1), 0.5), jnp.asarray([[0.7]])
    times, eta = jnp.asarray([0.6, 0.4]), 0.8
    measured = Measurement(Mask(jnp.ones((1, 1))), jnp.asarray([[1.3]]), jnp.zeros(()))
    state = golden.Given(x, jnp.asarray([[[0.2]]]))
    rule = PseudoInverseStep(measured, 0.9, awd=False)
    plain = golden.steps(DDIM(eta), score, times, state, True)[1][0].x
    found = golden.steps(with_rule(DDIM(eta), rule), score, times, state, True)[1][0].x
    (a_t, a_s), (s_t, s_s) = score.marginal(times)
    c2 = jnp.sqrt(s_s**2 - eta**2 * s_s**2 * (1 - (s_s * a_t / a_s / s_t) ** 2))
    jacobian = a_t * 0.5 / (a_t**2 * 0.5 + s_t**2)
    change = 0.9 * a_t * (a_s - c2 * a_t / s_t) * jacobian * (1.3 - jacobian * 0.7)
    np.testing.assert_allclose(found - plain, change[None, None], rtol=2e-5)


# Laws of replacement ------------------------------------------------------------------------------

COVARIANCE = np.array([[1.0, 0.8], [0.8, 1.0]])
LINEAR = iddpm("linear", 1000)
TABLE = {50: (0.480339991893, 0.428126385178), 250: (0.496156663939, 0.477429607155)}
"""Steps -> (mean, variance) of what is unknown beside x_1 = 1."""


def replacement(times: Any, first: bool, late: bool, least: float) -> tuple[float, float]:
    """The moments of x_2 by recursion: replacement after each step, before the first if `first`."""
    alpha, sigma = (np.asarray(v) for v in LINEAR.marginal(times))
    mean, spread = np.zeros(2), np.eye(2)

    def known(k: int) -> None:
        mean[0], spread[0], spread[:, 0] = alpha[k], 0, 0
        spread[0, 0] = sigma[k] ** 2

    if first:
        known(0)
    for k in range(len(times)):
        t2 = sigma[k] ** 2
        gain = alpha[k] * COVARIANCE @ np.linalg.inv(alpha[k] ** 2 * COVARIANCE + t2 * np.eye(2))
        if k == len(times) - 1:
            mean, spread = gain @ mean, gain @ spread @ gain.T
            return mean[1], spread[1, 1]
        s2, a = sigma[k + 1] ** 2, alpha[k] / alpha[k + 1]
        b = t2 - a**2 * s2
        step = alpha[k + 1] * b / t2 * gain + a * s2 / t2 * np.eye(2)
        mean, spread = step @ mean, step @ spread @ step.T + b * s2 / t2 * np.eye(2)
        if sigma[k + 1] / alpha[k + 1] >= least:
            known(k if late else k + 1)
    raise AssertionError


@pytest.fixture
def exactly(monkeypatch):
    """Draws by columns in place of random ones, in float64."""
    monkeypatch.setattr(projection, "aside", laws.aside)
    with jax.enable_x64(True):
        yield


def times_of(levels: int) -> jax.Array:
    return jnp.asarray(respaced(1000, str(levels), "key")[::-1] / 999)


@pytest.mark.parametrize("levels", TABLE)
@pytest.mark.usefixtures("float64")
def test_the_recursion_is_that_of_the_published_values(levels: int) -> None:
    found = replacement(times_of(levels), first=False, late=False, least=0.0)
    np.testing.assert_allclose(found, TABLE[levels], rtol=0, atol=1e-11)


CASES = {"usual": {}, "late": {"late": True}, "above a level": {"least": 0.3}}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.usefixtures("exactly")
def test_the_law_of_projection_is_that_of_replacement(name: str) -> None:
    case: dict[str, Any] = {"late": False, "least": 0.0} | CASES[name]
    size, times = 1 + 2 * (4 * 50 + 16), times_of(50)
    rule = Projection(laws.known([1.0, 0.0], [1, 0], size), **case, ends=False)
    score = laws.law_of(LINEAR, COVARIANCE)
    found = laws.moments(with_rule(Ancestral(), rule), score, times, 2, size)
    expected = replacement(times, first=True, **case)
    np.testing.assert_allclose([found[0][1], found[1][1, 1]], expected, rtol=0, atol=1e-10)


# Every one ----------------------------------------------------------------------------------------

TIMES = jnp.linspace(1.0, 0.02, 7)
GAUSSIAN = Gaussian.of(VP(), jnp.asarray([0.5, -0.3]), jnp.asarray(COVARIANCE, jnp.float32))
Made = Callable[[Measurement, jax.Array], Any]
EVERY: dict[str, Made] = {
    "projection": lambda known, w: with_rule(Ancestral(), Projection(known, w)),
    "dps": lambda known, w: with_rule(Ancestral(), MisfitDescent(known, w)),
    "pigdm": lambda known, w: with_rule(Ancestral(), PseudoInverseStep(known, w)),
    "replacement": lambda known, w: RePaint(known, jump_n_sample=1),
    "repaint": lambda known, w: RePaint(known, jump_length=2, jump_n_sample=2),
    "ddrm": lambda known, w: DDRM(known, w, w),
    "daps": lambda known, w: DAPS(known, 2, w / 100, w),
    "langevin": lambda known, w: DAPS(known, 2, langevin=3, lr=w / 1e3, tau=w),
    "fps": lambda known, w: FPS(known, 2, w, w, w),
    "reddiff": lambda known, w: RedDiff(known, w, w),
    "tds": lambda known, w: TwistedSMC(known, 3, data_variance=w, share=w),
}
NEUTRAL = "projection", "dps", "pigdm", "replacement"
"""Those that are plain sampling where nothing is measured."""
KEEPING = "projection", "replacement", "repaint", "ddrm", "daps", "fps"
"""Those that return what is measured without noise."""
NEARLY = "daps", "fps"
"""Those of them that solve a system for it."""
EXACT = "projection", "pigdm", "dps", "langevin", "replacement", "repaint", "reddiff"
"""Those that do not ask how noisy y is."""


@pytree
class Counted(Wrapped):
    """A score that counts how often it is traced."""

    score: Any

    def predict(self, x, t, condition=None):
        TRACED.append(x.shape)
        return self.score.predict(x, t, condition)


TRACED: list[Any] = []


def drawn(sampler: Any, numbers: Any = (0, 1, 2), score: Any = GAUSSIAN) -> np.ndarray:
    keys = sample_keys(jax.random.key(0), jnp.asarray(numbers))
    promotion = "standard" if isinstance(sampler, RedDiff) else "strict"  # optax's own
    with jax.numpy_dtype_promotion(promotion):
        return np.asarray(sample(Counted(score), sampler, TIMES, keys, shape=(2,)).x)


def known(kept: Any, deviation: float = 0.3) -> Measurement:
    mask = jnp.asarray(kept, jnp.float32)
    y = jnp.asarray([[0.3, -0.2], [1.1, 0.4], [-0.7, 0.9]])
    return Measurement(Mask(mask), y * mask, jnp.float32(deviation))


@pytest.mark.parametrize("name", EVERY)
def test_whatever_is_changed_compiles_nothing_and_no_sample_knows_of_others(name: str) -> None:
    made = lambda measured, w=0.85: EVERY[name](measured, jnp.float32(w))
    half, ones, none = ([[k]] * 3 for k in ((1, 0), (1, 1), (0, 0)))
    half, ones, none = (np.array(k, float).reshape(3, -1) for k in (half, ones, none))
    first = drawn(made(known(half)))
    TRACED.clear()
    other = half.copy()
    other[1] = [0, 1]
    apart = drawn(made(known(other)), (0, 7, 2))
    np.testing.assert_array_equal(apart[::2], first[::2])
    assert np.any(apart[1] != first[1])
    assert np.any(drawn(made(known(half, 0.4))) != first) == (name not in EXACT)
    assert np.any(drawn(made(known(half), 0.4)) != first) == (
        name not in ("replacement", "repaint")
    )
    wider = Gaussian.of(VP(), jnp.asarray([0.1, 0.2]), jnp.eye(2))
    assert np.any(drawn(made(known(half)), score=wider) != first)
    if name in KEEPING:
        everything = known(ones, 0.0)
        found = drawn(EVERY[name](everything, jnp.float32(1.0)))
        np.testing.assert_allclose(found, everything.y, rtol=0, atol=1e-6 if name in NEARLY else 0)
    nothing = drawn(made(known(none)))
    assert not TRACED
    if name in NEUTRAL:
        np.testing.assert_array_equal(nothing, drawn(Ancestral()))


SQUARE = Measurement(laws.Square(), jnp.ones((3, 2)), jnp.zeros(()))
REFUSED = {
    "no step of its own": (AdaptiveODE(), Projection(known([[1, 0]])), "chooses its own steps"),
    "two evaluations": (DPMSolver(), MisfitDescent(known([[1, 0]])), "uses the one evaluation"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_rule_cannot_change_is_refused_in_one_line(name: str) -> None:
    sampler, rule, message = REFUSED[name]
    with pytest.raises(ValueError, match=message) as error:
        drawn(with_rule(sampler, rule))
    assert "\n" not in str(error.value)
