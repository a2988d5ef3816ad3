"""The wrapper around networks: padding, parts of a condition that are unknown, and refusals."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from configs.kinds import Kinds
from models import inputs
from models.fitted import Fitted
from models.inputs import Inputs
from models.layers.attend import plain_attention, shown_attention
from models.layers.conditions import known
from models.layers.embeddings import ConditionEmbedding, Positional
from models.layers.mappings import ADMMapping, SongMapping
from models.layers.pieces import summary
from models.layers.text import Text, TextReader
from models.unet import UNet
from tests.models.cases import Case, config_of

NAN = float("nan")
LABEL = jnp.array([-0.5, 1.0])


def draw(*shape: int, seed: int = 5) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


class Twice(nn.Module):
    """A network that doubles all of its inputs, and keeps what it was given."""

    @nn.compact
    def __call__(self, x: Any, label: Any, condition: Any = None, *, train: bool = False) -> Any:
        self.sow("seen", "x", x)
        self.sow("seen", "condition", condition)
        return 2 * x


def given(x: Any, told: Any = None, train: bool = False, **inputs: Any) -> tuple[Any, Any]:
    """(what a network is given for x, the condition that remains); x comes out doubled."""
    own = {name: inputs.pop(name) for name in ("multiples", "lifted", "observes") if name in inputs}
    fitted = Fitted(Twice(), Inputs(x.shape[1:], **inputs), **own)
    rngs = {"dropout": jax.random.key(0)}
    label = jnp.zeros(len(x))
    out, seen = fitted.apply({}, x, label, told, train=train, rngs=rngs, mutable=["seen"])
    if not inputs.get("missing"):
        np.testing.assert_array_equal(out, 2 * x)
    return seen["seen"]["x"][0], seen["seen"]["condition"][0]


def test_axes_are_padded_by_mirror_images_on_both_sides_and_cropped():
    x = draw(2, 5, 7, 3)
    found, rest = given(x, multiples=(4, 4))
    np.testing.assert_array_equal(found, np.pad(x, [(0, 0), (1, 2), (0, 1), (0, 0)], "symmetric"))
    assert rest is None


def test_exchangeable_pieces_are_summed_up():
    """Three pieces (1, 10), (3, 10), (NaN, 10): mean 2 and deviation 1, and mean 10 and none."""
    vector = jnp.array([[1.0, 10.0, 3.0, 10.0, NAN, 10.0]])
    _, rest = given(draw(1, 4), {"vector": vector}, kinds=Kinds.of("vector", (6,)), pieces=3)
    told = rest["vector"][0, 12:]
    least = 1e-4  # which is added in square to the deviations
    wanted = [2, 10, 0, np.log(least), -1, 0, 1, 0, 0, 0, 0]
    np.testing.assert_allclose(told, wanted, atol=1e-6)
    assert len(rest["vector"][0]) == 2 * 6 + 6 + 2 * 6 // 3 + 1
    # In another order they are the same pieces.
    other = jnp.array([[3.0, 10.0, NAN, 10.0, 1.0, 10.0]])
    _, again = given(draw(1, 4), {"vector": other}, kinds=Kinds.of("vector", (6,)), pieces=3)
    np.testing.assert_allclose(again["vector"][0, 12:16], wanted[:4], atol=1e-6)


def test_correlations_of_exchangeable_pieces_are_told_as_fishers_z():
    pieces = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    pieces[0, :, 1] = -2 * pieces[0, :, 0]  # a correlation of -1
    pieces[1, 4, 2] = NAN  # left out of the third number's mean and deviation
    told = summary(*known(pieces.reshape(2, 15), (15,), np.zeros(2, bool)), 5)
    wanted = np.corrcoef(pieces[0].T)[[0, 0, 1], [1, 2, 2]]
    np.testing.assert_allclose(np.tanh(told[0, -3:]), 0.9999 * wanted, atol=1e-5)
    # 1 - LEAST^2 / (2 deviation^2) of each deviation is lost beside 1e-5.
    x, y, z = (pieces[1, :, i] for i in range(3))
    unit = [(v - np.nanmean(v)) / np.nanstd(v) for v in (x, y, z)]
    wanted = [np.nanmean(unit[i] * unit[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    np.testing.assert_allclose(np.tanh(told[1, -3:]), 0.9999 * np.array(wanted), atol=1e-5)


def test_what_few_pieces_show_is_summed_up_of_those_alone():
    """The first number is in one piece, so that its mean is itself and it has no deviation; the
    others are together in two of four, where their product is beyond what a correlation may be."""
    values = jnp.array([[5.0, 1, 1, NAN, -1, -1, NAN, 0, NAN, NAN, 0, NAN]])
    told = summary(jnp.nan_to_num(values), jnp.isfinite(values), 4)[0]
    np.testing.assert_allclose(told[:3], [5, 0, 0])
    np.testing.assert_allclose(jnp.tanh(told[-1]), 0.9999, rtol=1e-6)
    mirrored = values * jnp.array([[1.0, 1, -1] * 4])
    told = summary(jnp.nan_to_num(mirrored), jnp.isfinite(mirrored), 4)[0]
    np.testing.assert_allclose(jnp.tanh(told[-1]), -0.9999, rtol=1e-6)


def test_a_correlation_over_one_piece_is_the_product_there():
    """x = 3, 1, none and y = none, 4, 2: units -1 and 1 where both are shown."""
    values = jnp.array([[3.0, NAN, 1.0, 4.0, NAN, 2.0]])
    told = summary(jnp.nan_to_num(values), jnp.isfinite(values), 3)[0]
    np.testing.assert_allclose(jnp.tanh(told[-1]), -0.9999, rtol=1e-6)


@pytest.mark.parametrize(("numbers", "more"), [(32, 32 * 31 // 2), (33, 0)])
def test_correlations_are_told_of_pieces_of_few_numbers(numbers, more):
    values = draw(1, 3 * numbers)
    assert summary(values, jnp.isfinite(values), 3).shape == (1, 2 * numbers + 3 * numbers + more)


def test_unknown_entries_are_zero_and_told():
    vector = jnp.array([[1.0, NAN, 3.0], [4.0, 5.0, 6.0]])
    _, rest = given(draw(2, 4), {"vector": vector}, kinds=Kinds.of("vector", (3,)))
    wanted = [[1, 0, 3, 1, 0, 1], [4, 5, 6, 1, 1, 1]]
    np.testing.assert_array_equal(rest["vector"], wanted)
    for absent in ({"vector": None}, {}, None, {"vector": jnp.full((2, 3), NAN)}):
        _, rest = given(draw(2, 4), absent, kinds=Kinds.of("vector", (3,)))
        np.testing.assert_array_equal(rest["vector"], np.zeros((2, 6)))


def test_an_image_follows_the_example_with_where_it_is_known():
    x, image = draw(2, 4, 3, 2), draw(2, 4, 3, 2, seed=1).at[0, 1, 2, 0].set(NAN)
    kind = {"kinds": Kinds.of("image", (4, 3, 2))}
    found, rest = given(x, {"image": image, "label": jnp.array([1, 2])}, **kind)
    assert rest.keys() == {"label"}
    np.testing.assert_array_equal(found[..., :2], x)
    np.testing.assert_array_equal(found[..., 2:4], np.nan_to_num(image))
    shown = np.ones((2, 4, 3))
    shown[0, 1, 2] = 0
    np.testing.assert_array_equal(found[..., 4], shown)
    found, rest = given(x, None, **kind)
    np.testing.assert_array_equal(found[..., 2:], np.zeros((2, 4, 3, 3)))
    assert rest is None


def test_an_image_of_another_resolution_is_resized():
    x, image = draw(2, 4, 6, 1), draw(2, 2, 12, 1, seed=1)
    found, _ = given(x, {"image": image}, kinds=Kinds.of("image", (8, 3, 1)))
    wanted = jax.image.resize(image, (2, 4, 6, 1), "linear")
    np.testing.assert_allclose(found[..., 1:2], wanted, atol=1e-6)


@pytest.mark.parametrize("lifted", [False, True])
def test_missing_values_are_zero_and_told(lifted):
    x, observed = draw(2, 4).at[0, 1].set(NAN), jnp.array([[1.0, 0, 1, 1], [1, 1, 1, 0]])
    found, rest = given(x, {"observed": observed}, missing=True, lifted=lifted, observes=lifted)
    if lifted:
        np.testing.assert_array_equal(rest["observed"][..., 0], observed)
        found = jnp.concatenate([found[..., 0], found[..., 1]], -1)
    np.testing.assert_array_equal(found[:, :4], np.where(observed > 0, x, 0))
    np.testing.assert_array_equal(found[:, 4:], observed)
    found, _ = given(x, missing=True)
    np.testing.assert_array_equal(found[:, 4:], np.ones((2, 4)))


def test_tokens_that_are_not_numbers_are_not_shown():
    tokens = draw(2, 3, 4).at[0, 1, 2].set(NAN)
    kind = {"kinds": Kinds.of("tokens", (5, 4))}
    _, rest = given(draw(2, 4), {"tokens": tokens}, **kind)
    np.testing.assert_array_equal(rest["mask"], [[True, False, True], [True] * 3])
    assert np.isfinite(rest["tokens"]).all()
    mask = jnp.array([[True, True, False], [False] * 3])
    _, rest = given(draw(2, 4), {"tokens": tokens, "mask": mask}, **kind)
    np.testing.assert_array_equal(rest["mask"], [[True, False, False], [False] * 3])
    _, rest = given(draw(2, 4), None, **kind)
    assert not rest["mask"].any()


TEXT = Text(5, 4, 1, 2)
STYLE = models.build(config_of("mlp", (5,))).style


def read(told: Any, **own: Any) -> Any:
    """Features of texts of three words."""
    own = {"kinds": Kinds.of("text", (3,)), "text": TEXT, **own}
    x = draw(2, 4)
    fitted = Fitted(Twice(), Inputs(x.shape[1:], **own))
    words, shown = jnp.zeros((1, 3), int), jnp.ones((1, 3), bool)
    params = TextReader(TEXT).init(jax.random.key(0), words, shown)["params"]
    label = jnp.zeros(2)
    _, seen = fitted.apply({"params": {"text": params}}, x, label, told, mutable=["seen"])
    rest = seen["seen"]["condition"][0]
    assert rest["mask"].all()
    return rest["tokens"]


def test_a_text_is_read_and_places_without_a_word_are_alike_whatever_they_hold():
    words = jnp.array([[1, 2, 3], [1, 2, 3]])
    whole = read({"tokens": words})
    np.testing.assert_array_equal(whole[0], whole[1])
    mask = jnp.array([[True, True, False]] * 2)
    short = read({"tokens": words, "mask": mask})
    np.testing.assert_array_equal(short, read({"tokens": words.at[:, 2].set(4), "mask": mask}))
    assert np.abs(short - whole).max() > 1e-2
    other = read({"tokens": words.at[1, 0].set(4), "mask": mask})
    # Every place hears of the first one.
    assert (np.abs(other[1] - short[1]).max(-1) > 1e-4).all()
    np.testing.assert_array_equal(other[0], short[0])
    nothing = read({"tokens": words, "mask": jnp.zeros_like(mask)})
    np.testing.assert_array_equal(nothing, read(None))


def test_a_text_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"tokens must have the shape 2,3.*got 2,4"):
        read({"tokens": jnp.zeros((2, 4), int)})


@pytest.mark.parametrize(
    "settings, told",
    [
        ({"vocabulary": 0}, r"model\.vocabulary must be set"),
        (
            {"text_heads": 3},
            r"model\.text_heads must be set, and divide .* = 8, got 3",
        ),
        ({"data__condition": (3, 4)}, r"largest number of tokens, such as 128"),
    ],
)
def test_a_reader_that_cannot_be_built_is_refused(settings, told):
    own = {"condition": "text", "data__condition": (3,), "vocabulary": 5, "text_width": 8}
    with pytest.raises(ValueError, match=told):
        models.build(config_of("transformer", (5,), **own | settings))


KINDS = {
    "vector": ({"vector": jnp.ones((4000, 1))}, (1,), lambda x, rest: rest["vector"][:, 1]),
    "image": ({"image": jnp.ones((4000, 2, 1))}, (2, 1), lambda x, rest: x[:, :, 2].all(1)),
    "tokens": ({"tokens": jnp.ones((4000, 2, 1))}, (2, 1), lambda x, rest: rest["mask"].all(1)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_conditions_are_hidden_whole_at_their_rate_and_in_training_only(kind):
    condition, shape, shown = KINDS[kind]
    x, own = jnp.zeros((4000, 2, 1)), {"kinds": Kinds.of(kind, shape), "dropout": 0.3}
    seen = np.asarray(shown(*given(x, condition, train=True, **own)), bool)
    # The standard error of a rate of 0.3 from 4000 draws is 0.0072: four of them.
    assert seen.mean() == pytest.approx(0.7, abs=0.029)
    assert np.asarray(shown(*given(x, condition, **own)), bool).all()


def test_attention_to_the_shown_is_attention_to_them_alone():
    query, key, value = draw(2, 5, 2, 4), draw(2, 3, 2, 4, seed=1), draw(2, 3, 2, 4, seed=2)
    shown = jnp.array([[True, False, True], [False] * 3])
    found = shown_attention(query, key, value, shown)
    wanted = plain_attention(query[:1], key[:1, ::2], value[:1, ::2])
    np.testing.assert_allclose(found[0], wanted[0], atol=1e-6)
    np.testing.assert_array_equal(found[1], np.zeros((5, 2, 4)))
    gradient = jax.grad(lambda q: shown_attention(q, key, value, shown).sum())(query)
    assert np.isfinite(gradient).all()


def test_a_network_that_fits_is_not_wrapped_and_one_wrapped_is_the_same():
    of = Case("ncsnpp", (4, 6, 1))
    assert isinstance(of.network, UNet)
    wrapped = Fitted(of.network, Inputs((4, 6, 1)), (2, 2))
    names = lambda network: jax.tree.structure(
        jax.eval_shape(lambda key: models.init(network, key, of.config), jax.random.key(0))
    )
    assert names(wrapped) == names(of.network)
    traced = lambda network: str(jax.make_jaxpr(network.apply)({"params": of.params}, x, LABEL))
    x = of.examples()
    assert traced(wrapped) == traced(of.network)
    assert traced(Fitted(of.network, Inputs((4, 6, 1)), (2, 4))) != traced(of.network)


def test_square_pictures_are_the_same_network_however_they_are_stated():
    square, shape = config_of("ncsnpp", ()), config_of("ncsnpp", (8, 8, 3))
    square.data.image_size = 8
    assert models.build(square) == models.build(shape)


def test_the_longer_side_counts_for_attention():
    network = models.build(config_of("ncsnpp", (11, 6, 1), attn_resolutions=(6,)))
    assert network.network.attention == (False, True)


REFUSED = [
    ({"sound": draw(2, 3)}, {}, r"a condition may have the parts label, .*, got 'sound'"),
    ({"vector": draw(2, 3)}, {}, r"model\.condition must be 'vector' for a condition with"),
    ({"mask": jnp.ones((2, 3))}, {}, r"must be 'text' or 'tokens' .* part 'mask'"),
    ({"observed": draw(2, 5)}, {}, r"data\.missing is 'refuse', so"),
    ({"image": draw(2, 3)}, {"condition": "vector", "data__condition": (3,)}, r"must be 'image'"),
    ({"vector": draw(2, 4)}, {"condition": "vector", "data__condition": (3,)},
     r"the condition's vector must have the shape 2,3, of which .*, got 2,4"),
    ({"vector": draw(2, 3, 1)}, {"condition": "vector", "data__condition": (3,)}, r"got 2,3,1"),
    ({"image": draw(2, 3)}, {"condition": "image", "data__condition": (4,)}, r"shape 2,4.*got 2,3"),
    ({"observed": draw(2, 4)}, {"data__missing": "mask"}, r"observed must have the shape 2,5"),
    (jnp.array([1, 2]), {}, r"model\.num_classes is 0"),
    ({"label": jnp.array([1, 2])}, {"data__missing": "mask"}, r"model\.num_classes is 0"),
]  # fmt: skip


@pytest.mark.parametrize("condition, settings, message", REFUSED)
def test_parts_that_do_not_fit_are_refused(condition, settings, message):
    network = models.build(config_of("mlp", (5,), **settings))
    with pytest.raises(ValueError, match=message) as refused:
        jax.eval_shape(network.init, jax.random.key(0), draw(2, 5), LABEL, condition)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("tokens, mask, got", [
    ((2, 3, 5), (2, 3), r"tokens must have the shape 2,3,4.*got 2,3,5"),
    ((2, 7, 4), (2, 3), r"mask must have the shape 2,7,.*got 2,3"),
])  # fmt: skip
def test_tokens_that_do_not_fit_are_refused(tokens, mask, got):
    config = config_of("transformer", (5,), condition="tokens", data__condition=(3, 4))
    condition = {"tokens": draw(*tokens), "mask": jnp.ones(mask, bool)}
    with pytest.raises(ValueError, match=got):
        jax.eval_shape(models.build(config).init, jax.random.key(0), draw(2, 5), LABEL, condition)


def test_several_kinds_are_given_at_once_and_hidden_together():
    kinds = Kinds.of("tokens+vector+image+level", (2, 1, 1, 2, 1))
    condition = {
        "tokens": jnp.ones((4000, 2, 1)), "mask": jnp.ones((4000, 2), bool),
        "vector": jnp.ones((4000, 1)), "image": jnp.ones((4000, 2, 1)),
        "level": jnp.full(4000, 0.3),
    }  # fmt: skip
    x = jnp.zeros((4000, 2, 1))
    seen, rest = given(x, condition, train=True, kinds=kinds, dropout=0.3)
    shown = np.isfinite(rest["level"])
    # The standard error of a rate of 0.3 from 4000 draws is 0.0072: four of them.
    assert shown.mean() == pytest.approx(0.7, abs=0.029)
    np.testing.assert_array_equal(rest["level"][shown], np.float32(0.3))
    for part in (rest["mask"].all(1), rest["vector"][:, 1], seen[:, :, 2].all(1)):
        np.testing.assert_array_equal(part, shown)
    _, rest = given(x, {"image": jnp.ones((4000, 2, 1))}, kinds=kinds)
    assert not np.isfinite(rest["level"]).any()
    assert not rest["mask"].any()


EMBEDDINGS = {
    "condition": lambda beside: ConditionEmbedding(STYLE, 8, None, beside=beside),
    "song": lambda beside: SongMapping(STYLE, 8, Positional(4), beside=beside),
    "adm": lambda beside: ADMMapping(8, Positional(4), beside=beside),
}


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_a_level_changes_the_embedding_and_one_that_is_not_known_adds_nothing(name):
    made, level = EMBEDDINGS[name](("level",)), jnp.asarray([0.0, 0.02, 0.9, NAN])
    label = jnp.zeros(4)
    params = made.init(jax.random.key(0), label, {"level": level})
    found = made.apply(params, label, {"level": level})
    assert np.isfinite(found).all()
    apart = np.linalg.norm(found[:, None] - found[None], axis=-1)[np.triu_indices(4, 1)]
    assert apart.min() > 0.05
    if name != "condition":  # which has nothing else here
        own = {k: v for k, v in params["params"].items() if k != "level"}
        np.testing.assert_array_equal(
            found[3], EMBEDDINGS[name](()).apply({"params": own}, label)[3]
        )
    with pytest.raises(ValueError, match="must be 'level' for a condition with the part 'level'"):
        EMBEDDINGS[name](()).apply(params, label, {"level": level})


def test_networks_that_cannot_be_told_a_level_refuse_it():
    own = {"condition": "image+level", "data__condition": (4,)}
    with pytest.raises(ValueError, match=r"model\.name='mlp', got 'level', which ncsnpp, ddpm, "):
        models.build(config_of("mlp", (5,), **own))


def test_kinds_that_are_kept_are_never_hidden():
    kinds = Kinds.of("vector+image+level", (1, 2, 1))
    condition = {"vector": jnp.ones((64, 1)), "image": jnp.ones((64, 2, 1)), "level": jnp.ones(64)}
    own = {"kinds": kinds, "dropout": 0.9, "kept": ("image", "level")}
    seen, rest = given(jnp.zeros((64, 2, 1)), condition, train=True, **own)
    assert not rest["vector"][:, 1].all()
    assert np.isfinite(rest["level"]).all()
    assert (seen[:, :, 2] == 1).all()


def test_kinds_to_hide_are_those_of_the_condition():
    own = {"condition": "vector+image", "data__condition": (3, 5), "condition_hidden": "text"}
    with pytest.raises(ValueError, match=r"condition_hidden must be kinds of .*, got 'text'"):
        models.build(config_of("mlp", (5,), **own))
    read = inputs.read(config_of("mlp", (5,), **own | {"condition_hidden": "vector"}))
    assert read.kept == ("image",)
