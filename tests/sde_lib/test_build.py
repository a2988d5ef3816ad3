"""Objects that a config names: rows of SDEs, and the battery of every row of guidance."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import samplers
import sde_lib
from configs.schema import get_default
from models.layers.conditions import as_parts
from sde_lib import (
    EDM,
    GUIDANCE,
    NEUTRAL,
    VP,
    Conditional,
    Discrete,
    Family,
    LogSigmaLabel,
    ModelScore,
    Noise,
    Parametrization,
    RawScore,
    ScaledScore,
    TimeLabel,
    Told,
    build,
    build_guidance,
    build_parametrization,
    expand,
    pytree,
)
from sde_lib.labels import DescendingLevelLabel
from sde_lib.rounding import Continuous, LevelBelow, NearestLevel
from tests.slow import slow

# Rows of SDEs -------------------------------------------------------------------------------------


def config_of(name: str, continuous: bool = True):
    config = get_default()
    config.sde.name, config.training.continuous = name, continuous
    return config


PUBLISHED = {
    ("vp", True): (Noise(), TimeLabel(999.0), Continuous()),
    ("vp", False): (Noise(), TimeLabel(999.0), LevelBelow(1000)),
    ("vpsde", True): (Noise(), TimeLabel(999.0), Continuous()),
    ("subvp", True): (Noise(), TimeLabel(999.0), Continuous()),
    ("ve", True): (RawScore(), LogSigmaLabel(1.0), Continuous()),
    ("ve", False): (RawScore(), DescendingLevelLabel(1000), NearestLevel(1000)),
    ("edm", True): (EDM(0.5), LogSigmaLabel(0.25), Continuous()),
    ("learned", True): (Noise(), LogSigmaLabel(0.25), Continuous()),
}


@pytest.mark.parametrize("name, continuous", PUBLISHED)
def test_a_row_has_its_authors_parametrization(name: str, continuous: bool) -> None:
    found = build_parametrization(config_of(name, continuous))
    assert found == Parametrization(*PUBLISHED[name, continuous])


@pytest.mark.parametrize("name", sde_lib.CONDITIONINGS)
def test_a_label_that_follows_a_schedule_is_linear_in_log_sigma(name: str) -> None:
    config = config_of("edm")
    config.model.conditioning = name
    label = build_parametrization(config).conditioning
    # Two SDEs whose times mean other levels: the line fitted to one has to meet the other.
    levels, found = [], []
    for sde, t in (
        (VP(), jnp.linspace(0.1, 0.9, 9)),
        (sde_lib.KarrasVE(), jnp.geomspace(0.01, 9, 9)),
    ):
        levels.append(-0.5 * sde.log_snr(t))
        found.append(label.label(sde, t))
    x, y = np.concatenate(levels), np.concatenate(found)
    line = np.poly1d(np.polyfit(x[9:], y[9:], 1))
    # Labels of a few units, in float32.
    assert np.allclose(y, line(x), atol=1e-4) == label.of_log_sigma


def test_scaling_by_sigma_is_what_the_authors_of_ve_call_a_scaled_score() -> None:
    config = config_of("ve")
    config.model.scale_by_sigma = True
    assert build_parametrization(config).prediction == ScaledScore()


FORMS = [(name, continuous) for name, family in sde_lib.SDES.items()
         for continuous in (True, False) if continuous or family.discrete]  # fmt: skip


@pytest.mark.parametrize("name, continuous", FORMS)
def test_every_row_of_the_table_is_built_whole(name: str, continuous: bool) -> None:
    """Label, input and both predictions are finite from the smallest time to T, and of one x_t."""
    config = config_of(name, continuous)
    sde, parametrization = build(config), build_parametrization(config)
    score = ModelScore(lambda params, x, *others: 0.5 * x, None, sde, parametrization)
    t = sde.t_min + jnp.asarray([0.0, 1e-5, 0.1, 0.5, 1.0]) * (sde.T - sde.t_min)
    x = jnp.full((5, 2), 0.4)
    scaled, label = parametrization.inputs(sde, x, t)
    assert label.shape == t.shape
    x0, noise, *_ = score.predict(x, t)
    for found in (scaled, label, x0, noise):
        assert bool(jnp.isfinite(found).all())
    alpha, sigma = (expand(c, x) for c in score.marginal(t))
    # Terms of up to 1 / alpha = 150 cancel.
    np.testing.assert_allclose(alpha * x0 + sigma * noise, x, rtol=1e-4)


def test_a_row_needs_no_more_than_what_builds_its_sde(monkeypatch) -> None:
    monkeypatch.setitem(sde_lib.SDES, "mine", Family(lambda beta_min: VP(beta_min, 7.0)))
    assert build(config_of("mine")) == VP(0.1, 7.0)
    found = build_parametrization(config_of("mine"))
    assert found == Parametrization(Noise(), TimeLabel(999.0), Continuous())


BAD_ROWS = {
    "prediction": (Family(VP, "nois"), True, r"model\.prediction .* mean 'noise'"),
    "conditioning": (Family(VP, conditioning="tim"), True, r"conditioning .* 'time'"),
    "rounding": (Family(VP, discrete=Discrete("time", "down")), False, "rounding"),
    "no discrete form": (Family(VP), False, r"use training\.continuous=True"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_what_a_row_lacks_or_misspells_is_said_in_one_line(monkeypatch, case: str) -> None:
    family, continuous, words = BAD_ROWS[case]
    monkeypatch.setitem(sde_lib.SDES, "mine", family)
    with pytest.raises(ValueError, match=words) as error:
        build_parametrization(config_of("mine", continuous))
    assert "\n" not in str(error.value)


def test_unknown_names_are_refused_with_the_nearest() -> None:
    config = get_default()
    config.sde.name = "subvvp"
    with pytest.raises(ValueError, match=r"sde\.name must be one of .* \(did you mean 'subvp'\?\)"):
        build(config)
    config.sde.name, config.training.continuous = "subvp", False
    with pytest.raises(ValueError, match=r"use training\.continuous=True"):
        build(config)


# Guidance -----------------------------------------------------------------------------------------

LABELS = jnp.asarray([0, 1, 2, 0])
X = jnp.asarray(np.random.default_rng(0).standard_normal((4, 3)), jnp.float32)
T = jnp.asarray(0.5)
ROWS: list[int] = []
"""Examples that the network was given, one number each time that it was traced."""


def network(params, x, label, condition, key):
    ROWS.append(len(x))
    parts = as_parts(condition)
    # One that is told the weight of guidance, less one, differs from one that is not.
    told = 0.1 * (2 + parts["guidance"])[:, None] if "guidance" in parts else 0.0
    return params * x + 0.3 * parts["label"][:, None].astype(x.dtype) + told


SCORE = ModelScore(network, jnp.float32(0.5), VP(), Parametrization(Noise(), TimeLabel()))


@pytree
class Slope:
    """log p(y | x) = (0.5 + y) sum x, whose evaluation and backward pass are counted."""

    def __call__(self, x, t, label):
        ROWS.extend([len(x), len(x)])
        return (0.5 + label.astype(x.dtype)) * x.sum(axis=1)


def guidance_of(kind: str, **settings: object):
    """Guidance of a model of three classes; weights count from the neutral one, 1 above none."""
    config = get_default()
    config.model.num_classes, config.model.label_dropout = 3, 0.1
    config.model.guidance_features = 8 if kind == "embedded" else 0
    steps = {"classifier_mean": "ancestral"}.get(kind, "ddim")
    config.sampling.update({"guidance_kind": kind, "predictor": steps} | settings)
    config.sampling.guidance += max(NEUTRAL.get(kind, 1.0), 0.0) - 1
    guide = ModelScore(network, jnp.float32(0.2), VP(), SCORE.parametrization)
    told = Told(guide=guide, guide_conditional=True, log_density=Slope())
    return build_guidance(config, told)


def followed(kind: str, **settings: object):
    return guidance_of(kind, **settings)(SCORE, LABELS)


NEVER_NEUTRAL = [kind for kind, weight in NEUTRAL.items() if weight < 0]


@pytest.mark.parametrize("kind", [kind for kind in GUIDANCE if kind not in NEVER_NEUTRAL])
def test_with_a_weight_of_one_every_guidance_is_the_plain_score_to_the_last_bit(kind: str) -> None:
    """Operation by operation: how a compiler rounds depends on what it fuses."""
    found, plain = (s.predict(X, T) for s in (followed(kind), Conditional(SCORE, LABELS)))
    for one, other in zip(found[:2], plain[:2], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", GUIDANCE)
def test_every_guidance_states_the_network_evaluations_that_it_takes(kind: str) -> None:
    score = followed(kind, guidance=2.0)
    ROWS.clear()
    score.predict(X, T)
    # Backward passes of the network, which are not traced, count as well.
    backward = len(X) if kind == "denoised_classifier" else 0
    assert sum(ROWS) + backward == len(X) * score.evaluations


@pytest.mark.parametrize("kind", GUIDANCE)
def test_every_guidance_is_of_the_scores_own_process_and_does_something(kind: str) -> None:
    score = followed(kind, guidance=2.0)
    assert score.sde == SCORE.sde
    np.testing.assert_array_equal(score.marginal(T), SCORE.marginal(T))
    plain = Conditional(SCORE, LABELS)
    moved = [score.denoise(X, T) - plain.denoise(X, T), score.noise(X, T) - plain.noise(X, T)]
    assert (max(float(jnp.abs(part).max()) for part in moved) > 1e-3) == (kind != "none")


@pytest.mark.parametrize("kind", GUIDANCE)
def test_another_weight_or_interval_compiles_nothing(kind: str) -> None:
    predict = jax.jit(lambda score: score.predict(X, T))
    predict(followed(kind, guidance=2.0))
    traced = len(ROWS)
    predict(followed(kind, guidance=3.0))
    predict(followed(kind, guidance=3.0, guidance_min=0.1, guidance_max=5.0))
    assert len(ROWS) == traced


# What a guidance takes is proven with one solver, what an adaptive one takes with two guidances.
COUNTED = list(itertools.product(GUIDANCE, ["heun", "adaptive_adams"]))
ALIKE = "rescaled", "thresholded", "first_channels", "apg", "classifier_free_omega"
"""Guidances that take what the classifier-free one takes."""
LIKE_OTHERS = [c for c in COUNTED if c[0] in ALIKE]
LIKE_OTHERS += [c for c in COUNTED if c[1] != "heun" and c[0] not in ("none", "classifier_free")]


@pytest.mark.parametrize("kind, predictor", [
    pytest.param(*c, marks=slow) if c in LIKE_OTHERS else c for c in COUNTED
])  # fmt: skip
def test_the_nfe_of_samples_counts_network_evaluations(kind: str, predictor: str) -> None:
    """The network is run, for one sample each, as often as the report says.

    Tolerances are so loose that an adaptive solver takes the same first steps however it is
    guided, and all samples take as many.
    """
    seen: list[int] = []

    def counted(params, x, label, condition, key):
        jax.debug.callback(lambda rows: seen.append(len(rows)), x)
        return jnp.zeros_like(x)

    config = get_default().sampling
    config.update({"predictor": predictor, "num_steps": 3, "rtol": 1e3, "atol": 1e3})
    model = ModelScore(counted, None, VP(), SCORE.parametrization)
    score = guidance_of(kind, guidance=2.0)(model, LABELS)
    keys = samplers.sample_keys(jax.random.key(0), jnp.arange(4))
    times = samplers.build_times(config, score, 1000)
    drawn = samplers.sample(score, samplers.build(config), times, keys, shape=(3,))
    jax.effects_barrier()
    # Those of a function and of backward passes are not the network's.
    others = {"classifier": 2, "classifier_mean": 2, "denoised_classifier": 3, "autoguidance": 1}
    others = others.get(kind, 0)
    share = (score.evaluations - others) / score.evaluations
    assert drawn.evaluations.tolist() == [sum(seen) // 4 / share] * 4


@pytest.mark.parametrize("kind", GUIDANCE)
def test_a_budget_is_of_network_evaluations(kind: str) -> None:
    config = get_default().sampling
    config.update({"predictor": "ddim", "nfe": 12})
    score = followed(kind, guidance=2.0)
    times = samplers.build_times(config, score, 1000)
    # One evaluation a step and one to denoise, each as many of the network as the guidance takes.
    assert len(times) == 12 // score.evaluations


BAD_GUIDANCE = {
    "unknown": ({"guidance_kind": "classifier-free"}, 3, "did you mean 'classifier_free'"),
    "no classes": ({"guidance": 2.0}, 0, r"sampling\.guidance=2.0 needs a model of classes"),
    "never without a class": ({"guidance": 2.0, "dropout": 0.0}, 3, "never trained for"),
    "no guide": ({"guidance_kind": "autoguidance", "guidance": 2.0}, 3, r"set sampling\.guide"),
    "no function": ({"guidance_kind": "classifier"}, 3, r"needs sampling\.guide"),
    "no step": ({"guidance_kind": "cfg_pp", "predictor": "heun"}, 3, "predictor='ddim'"),
    "no levels": (
        {"guidance_kind": "thresholded", "guidance": 2.0, "codec": "identity"},
        3,
        "gray levels",
    ),
    "nowhere": ({"guidance_min": 3.0, "guidance_max": 2.0}, 3, "guidance_min must be below"),
}


@pytest.mark.parametrize("case", BAD_GUIDANCE)
def test_guidance_that_cannot_be_is_refused(case: str) -> None:
    settings, classes, words = BAD_GUIDANCE[case]
    settings = dict(settings)
    config = get_default()
    config.model.num_classes = classes
    config.data.codec = settings.pop("codec", "levels")
    config.model.label_dropout = settings.pop("dropout", 0.1)
    config.sampling.update(settings)
    with pytest.raises(ValueError, match=words):
        build_guidance(config)
