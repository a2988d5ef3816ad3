"""Laws of whole chains that are told of a measurement, exactly and without Monte Carlo.

Data, operator and measurement are those of tests/sde_lib/test_posteriors.py. A chain without noise
is an affine map of its start, so that mean and covariance of its end follow from its values at the
origin and at the unit vectors.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samplers import DDIM, Karras, run
from samplers.base import State
from sde_lib import Score
from sde_lib.karras import KarrasVE
from sde_lib.measurements.base import Measurement
from sde_lib.posteriors.moments import MomentMatching, PointLikelihood, PseudoInverse, RowSums
from sde_lib.posteriors.proximal import Proximal
from tests.sde_lib.test_posteriors import measurement, posterior, prior

pytestmark = pytest.mark.usefixtures("float64")

START, END = 50.0, 0.01

# Final mean, variances, covariance of the first two numbers after 20 steps.
LAWS: dict[str, tuple[Callable[[Score, Measurement], Score], list[float]]] = {
    "no measurement": (
        lambda score, known: score,
        [0.493788571834, -0.300577587925, 0.098151844176,
         0.807895506805, 0.402039888757, 0.237408490527, 0.486808727275],
    ),
    "mmps": (
        lambda score, known: MomentMatching(score, known, 2),
        [0.862499559164, -0.172757136387, 0.393258948970,
         0.029393877346, 0.048308029543, 0.060765302275, -0.012023215335],
    ),
    "pigdm": (
        PseudoInverse,
        [0.866342278075, -0.156928649943, 0.333897640027,
         0.025270828052, 0.045934081970, 0.079200536410, -0.015805173708],
    ),
    "pigdm of any variance": (
        lambda score, known: PseudoInverse(score, known, jnp.inf),
        [0.792175490907, -0.207462338431, 0.270523963502,
         0.060160156551, 0.065299035916, 0.096644302927, 0.009896333511],
    ),
    "tmpd": (
        RowSums,
        [0.776253906442, -0.205359284073, 0.276347190333,
         0.054613633055, 0.051660588469, 0.105591161442, -0.003092165472],
    ),
    "likelihood": (
        PointLikelihood,
        [1.079335756601, -0.911241374271, 1.776574252360,
         0.012601391105, 0.041661353858, 0.040371464117, -0.022669889334],
    ),
    "diffpir of weight 1, which has no Jacobian": (
        lambda score, known: Proximal(score, known, 1.0),
        [0.894638370612, -0.226186003988, 0.348714566129,
         0.023111697182, 0.059031367424, 0.075859505551, -0.010324415519],
    ),
}  # fmt: skip


def law(change: Callable[[Score, Measurement], Score], steps: int) -> np.ndarray:
    """[mean (3), variances (3), covariance of the first two] of x_0 after DDIM."""
    sde = KarrasVE(END, START)
    times = jnp.asarray(Karras(7.0)(sde, steps, START, END), jnp.float64)
    score = change(prior(sde), measurement(4))
    x = jnp.concatenate([jnp.zeros((1, 3)), START * jnp.eye(3)])
    keys = jax.random.split(jax.random.key(0), 4)
    ends = np.asarray(run(score, DDIM().plan(score, times), State.of(x, keys)).x)
    mean, columns = ends[0], ends[1:] - ends[0]
    covariance = columns.T @ columns
    return np.array([*mean, *np.diag(covariance), covariance[0, 1]])


@pytest.mark.parametrize("name", LAWS)
def test_the_law_of_twenty_steps_is_as_computed(name: str) -> None:
    change, expected = LAWS[name]
    np.testing.assert_allclose(law(change, 20), expected, rtol=0, atol=1e-9)


def test_the_exact_score_leads_to_the_posterior() -> None:
    found = law(LAWS["mmps"][0], 2000)
    np.testing.assert_allclose(
        found,
        [0.862080390671, -0.172693006720, 0.393085276455,
         0.038456259688, 0.062306902967, 0.078222959228, found[-1]],
        rtol=0, atol=1e-9,
    )  # fmt: skip
    mean, covariance = posterior()
    # What is left is the start, N(0, 2500 I) in place of the marginal there.
    np.testing.assert_allclose(found[:3], mean, atol=4e-3)
    np.testing.assert_allclose(found[3:6], np.diag(covariance), rtol=2e-3)
