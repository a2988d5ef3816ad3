"""Networks for examples of every rank: their outputs, gradients, and what they are sensitive to."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from models.fitted import Fitted
from models.mlp import MLP
from models.transformer import from_tokens, to_tokens
from models.unet_nd import UNetND
from tests.models.cases import QUICK, Case, config_of
from tests.slow import but_slow


def draw(*shape: int, seed: int = 5) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


CASES = {
    "mlp": lambda: (
        Case("mlp", (5,), condition="vector", data__condition=(3,), num_classes=3),
        {"vector": draw(2, 3), "label": jnp.array([0, 2])},
    ),
    "mlp with missing values": lambda: (
        Case("mlp", (5,), condition="image", data__condition=(3,), data__missing="mask"),
        {"image": draw(2, 3), "observed": jnp.array([[1.0, 0, 1, 1, 0], [1, 1, 0, 1, 1]])},
    ),
    "series": lambda: (
        Case("unet", (3, 14, 2), ch_mult=(1, 1), condition="vector", data__condition=(3,)),
        {"vector": draw(2, 3)},
    ),
    "volume": lambda: (
        Case("unet", (2, 7, 8, 1), condition="tokens", data__condition=(3, 4)),
        {"tokens": draw(2, 3, 4), "mask": jnp.array([[True, False, True], [True] * 3])},
    ),
    "features": lambda: (
        Case("transformer", (7,), data__missing="mask", num_classes=2),
        {"observed": jnp.array([[1.0, 0, 1, 1, 0, 1, 1], [1] * 7]), "label": jnp.array([0, 1])},
    ),
    "sequence": lambda: (
        Case("transformer", (11, 2), patch=(4,), condition="tokens", data__condition=(3, 4)),
        {"tokens": draw(2, 3, 4), "mask": jnp.array([[True, False, True], [True] * 3])},
    ),
    "text": lambda: (
        Case(
            "transformer",
            (11, 2),
            patch=(4,),
            condition="text",
            data__condition=(3,),
            vocabulary=9,
            text_width=8,
            text_layers=1,
            text_heads=2,
        ),
        {"tokens": jnp.array([[1, 2, 8], [0, 3, 4]])},
    ),
    "rectangle": lambda: (
        Case("ncsnpp", (13, 6, 5), condition="image", data__condition=(4, 4, 2)),
        {"image": draw(2, 3, 7, 2)},
    ),
    "adm": lambda: (
        Case("adm", (6, 9, 2), ch_mult=(1, 1), condition="vector", data__condition=(3,)),
        {"vector": draw(2, 3)},
    ),
    "songunet": lambda: (
        Case("songunet", (6, 9, 2), ch_mult=(1, 1), condition="vector", data__condition=(3,)),
        {"vector": draw(2, 3)},
    ),
    "ncsnv2": lambda: (
        Case("ncsnv2_64", (7, 9, 2), normalization="InstanceNorm++", data__missing="mask"),
        {"observed": (draw(2, 7, 9, 2) > 0).astype(jnp.float32)},
    ),
}


REPEATING = "adm", "songunet", "ncsnv2"


@functools.cache
def case(name):
    return CASES[name]()


@pytest.mark.parametrize("name", but_slow(CASES, *REPEATING))
def test_the_output_is_like_the_example_and_of_it_alone(name):
    of, condition = case(name)
    x = of.examples()
    found = of(x, condition)
    assert found.shape == x.shape
    assert found.dtype == jnp.float32
    # The program and the first example are the same, whatever the second is.
    others = jax.tree.map(lambda part: part.at[1].set(part[0]), (x, condition))
    np.testing.assert_array_equal(of(*others)[0], found[0])
    assert np.abs(of(*others)[1] - found[1]).max() > 1e-3


@pytest.mark.parametrize("name", but_slow(CASES, *REPEATING))
def test_every_part_of_the_condition_changes_the_output(name):
    of, condition = case(name)
    x = of.examples()
    for part in condition:
        changed = {"label": jnp.array([1, 0]), "mask": jnp.zeros((2, 3), bool)}
        other = changed.get(part, jnp.flip(condition[part], -1))
        found = of(x, condition | {part: other})
        assert np.abs(found - of(x, condition)).max() > 1e-3, part


TRAINED = "mlp with missing values", "series", "sequence"


@pytest.mark.parametrize("name", TRAINED)
def test_gradients_are_finite_and_reach_every_parameter(name):
    of, condition = case(name)
    x, label = of.examples(), jnp.array([-0.5, 1.0])

    def loss(params):
        raw = of.network.apply({"params": params}, x, label, condition)
        return jnp.square(raw - x).mean()

    gradients = jax.jit(jax.grad(loss), compiler_options=QUICK)(of.params)
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        place = jax.tree_util.keystr(path)
        assert np.isfinite(gradient).all(), place
        # softmax does not see a shift of all its logits, which is all a bias of the keys can do.
        assert ("key" in place and "bias" in place) or np.abs(gradient).max() > 0, place


@pytest.mark.parametrize("shape, kind", [((3,), MLP), ((9, 1), UNetND), ((4, 5, 6, 1), UNetND)])
def test_auto_is_chosen_by_the_rank(shape, kind):
    network = models.build(config_of("auto", shape))
    assert isinstance(network.network if isinstance(network, Fitted) else network, kind)


def test_short_axes_are_left_whole_and_periodic_ones_dilated():
    config = config_of("unet", (5, 1024, 16, 2), ch_mult=(1, 1, 1, 1), periodic=(2,))
    network = models.build(config)
    assert network.halved == ((), (1,), (1,), (1,))
    assert network.dilations[-1] == (1, 1, 8)
    assert network.multiples() == (1, 8, 1)
    assert not network.middle_attention  # 5 x 128 x 16 places
    assert models.build(config_of("unet", (9, 2))).network.halved == ((), (0,))


def test_patches_are_cut_and_put_back():
    x = draw(2, 4, 6, 3)
    tokens = to_tokens(x, (2, 3))
    np.testing.assert_array_equal(tokens[1, 3], x[1, 2:4, 3:6].ravel())
    np.testing.assert_array_equal(from_tokens(tokens, (2, 3), x.shape), x)


def test_long_sequences_are_cut_where_they_are_longest():
    of = lambda shape: models.build(config_of("transformer", shape)).multiples()
    assert of((1000, 2)) == (4,)
    assert of((3, 200, 2)) == (1, 4)
    assert of((16, 16, 16, 1)) == (4, 2, 2)


@pytest.mark.parametrize("name, shape, settings, message", [
    ("ncsnpp", (40,), {}, r"data\.shape must be that of pictures such as 64,96,3 with model\.name="
                          r"'ncsnpp', got 40: choose model\.name='auto'"),
    ("ncsnv2_64", (40, 2), {"normalization": "InstanceNorm++"}, r"data\.shape must be that of pic"),
    ("mlp", (40, 2), {}, r"data\.shape must be that of vectors such as 40 with model\.name='mlp'"),
    ("unet", (40,), {}, r"data\.shape must be that of series such as 1000,2 or pictures"),
    ("unet", (4, 4, 4, 4, 1), {}, r"data\.shape must be that of series .* got 4,4,4,4,1$"),
    ("ncsnpp", (3, 9, 1), {"ch_mult": (1, 1, 1)}, r"data\.shape must have sides of at least 4, .*"
                                                  r"got 3,9,1: choose model\.name='unet'"),
    ("ncsnpp", (8, 10, 1), {"ch_mult": (1, 1, 1), "periodic": (1,)},
     r"model\.periodic axes must be a multiple of 4 long, .* got 10: choose model\.name='unet'"),
    ("unet", (8, 10, 1), {"periodic": (2,)}, r"model\.periodic must be a list of different spatial"
                                             r" axes, of which data\.shape=8,10,1 has 2"),
    ("unet", (8, 10, 1), {"periodic": (1, 1)}, r"model\.periodic must be a list of different"),
    ("transformer", (8, 10, 1), {"periodic": (1,)}, r"model\.periodic must be \(\) with .*only "
                                                    r"ncsnpp, .*, unet have periodic axes"),
    ("transformer", (8, 10, 1), {"patch": (2,)}, r"model\.patch must be \(\) or .*8,10, got 2"),
    ("unet", (56, 40, 1), {"attn_resolutions": (20,)}, r"model\.attn_resolutions .* 56, 28, got"),
    ("unet", (8, 1), {"condition": "vektor"},
     r"model\.condition must be none, one of text, tokens, vector, ima"),
    ("unet", (8, 1), {"condition": "vector"}, r"data\.condition must be the length of .* got \(\)"),
    ("unet", (8, 1), {"condition": "image", "data__condition": (8,)},
     r"data\.condition must be a shape of the rank of data\.shape.* got 8"),
    ("ncsnpp", (8, 8, 1), {"condition": "tokens", "data__condition": (3, 4)},
     r"model\.condition must be one of none, vector, image, level with model\.name='ncsnpp', got "
     r"'tokens', which prior, unet, unet_condition, transformer take"),
    ("dit", (8, 8, 1), {"nf": 6, "num_heads": 2, "patch": (2,)},
     r"model\.nf must be a multiple of 4 and of model\.num_heads .*'dit', got 6 with 2 heads"),
    ("dit", (8, 8, 1), {"num_heads": 3, "patch": (2,)}, r"'dit', got 8 with 3 heads"),
    ("prior", (8,), {"nf": 5, "num_heads": 1},
     r"model\.nf must be a multiple of 2 and of model\.num_heads .*'prior', got 5 with 1 heads"),
    ("prior", (8,), {"num_heads": 3}, r"'prior', got 8 with 3 heads"),
    ("unet", (8, 1), {"augment_dim": 2}, r"model\.augment_dim must be 0 .* songunet, adm take"),
])  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(name, shape, settings, message):
    with pytest.raises(ValueError, match=message) as refused:
        models.check(config_of(name, shape, **settings))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", ["vector", "none"])
def test_the_first_layer_of_a_perceptron_sees_the_vector_if_told_to(kind):
    seen = []
    for beside in (False, True):
        config = config_of("mlp", (5,), condition=kind, data__condition=(3,), vector_at_stem=beside)
        network = models.build(config)
        tree = jax.eval_shape(
            lambda k, n=network, c=config: models.init(n, k, c), jax.random.key(0)
        )
        seen.append(tree["stem"]["kernel"].shape[0])
    # x, sines and cosines of three frequencies; 3 values of the vector and which are known.
    assert seen == [7 * 5, 7 * 5 + (2 * 3 if kind == "vector" else 0)]
