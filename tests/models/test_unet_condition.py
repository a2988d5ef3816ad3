"""The U-Net of text-to-picture models: what it is given, its shapes, and settings it refuses."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from configs import stable_diffusion
from models.layers.told import numbers_in
from tests.models.cases import Case, config_of
from tests.models.every import TOLD

NAN = float("nan")
SIDE, TOKENS = 5, 3
GIVEN: dict[str, Any] = {
    **TOLD, "scale_shift": False, "resblock_updown": False, "num_classes": 0, "middle": "block",
    "condition": "tokens+vector+image+level", "data__condition": (TOKENS, 6, 4, SIDE, SIDE, 2),
    "vector_embedding": "sizes", "vector_features": 7, "number_waves": 4,
    "level_embedding": "table", "level_rows": 10, "downsample_padding": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def case() -> Case:
    """A network that is given all parts, of pictures with an odd side."""
    return Case("unet_condition", (SIDE, SIDE, 3), **GIVEN)


def parts(case: Case) -> dict[str, jax.Array]:
    """All parts of a condition of two examples."""
    draw = lambda seed, *shape: jax.random.normal(jax.random.key(seed), (2, *shape))
    return {
        "tokens": draw(1, TOKENS, 6), "mask": jnp.ones((2, TOKENS), bool), "vector": draw(2, 4),
        "image": draw(3, SIDE, SIDE, 2), "level": jnp.array([3.0, 7.0]),
    }  # fmt: skip


def zeros(case: Case) -> dict[str, jax.Array]:
    """The same with nothing known, said by numbers."""
    nothing = {name: jnp.zeros_like(part) for name, part in parts(case).items()}
    return {**nothing, "level": jnp.array([NAN, NAN])}


def test_an_odd_side_is_halved_and_doubled_again(case):
    assert case(case.examples(), parts(case)).shape == (2, SIDE, SIDE, 3)


def test_every_part_is_seen(case):
    x, given = case.examples(), parts(case)
    whole = case(x, given)
    changed = {"tokens": 1 + given["tokens"], "vector": 1 + given["vector"],
               "image": 1 + given["image"], "level": given["level"] - 1,
               "mask": given["mask"].at[:, 1].set(False)}  # fmt: skip
    for name, part in changed.items():
        assert np.abs(case(x, {**given, name: part}) - whole).max() > 1e-3, name


def test_what_is_not_known_is_zero_and_no_token_at_all_is_finite(case):
    x, nothing = case.examples(), zeros(case)
    expected = case(x, nothing)
    assert np.isfinite(expected).all()
    unknown = {name: jnp.full_like(part, NAN) for name, part in nothing.items() if name != "mask"}
    np.testing.assert_array_equal(case(x, {**unknown, "mask": nothing["mask"]}), expected)


def test_tokens_that_are_not_there_change_nothing(case):
    x, given = case.examples(), parts(case)
    shown = {**given, "mask": given["mask"].at[:, 2].set(False)}
    other = {**shown, "tokens": shown["tokens"].at[:, 2].set(5.0)}
    np.testing.assert_array_equal(case(x, shown), case(x, other))


def test_parts_of_wrong_shapes_are_refused(case):
    x, given = case.examples(), parts(case)
    for name, part in (("tokens", given["tokens"][..., :5]), ("mask", given["mask"][:, :2]),
                       ("vector", given["vector"][:1]), ("image", given["image"][..., :1]),
                       ("level", given["level"][:1])):  # fmt: skip
        with pytest.raises(ValueError, match=f"condition's {name} must have the shape"):
            jax.eval_shape(case.raw, x, x[:, 0, 0, 0], {**given, name: part})


def test_the_length_of_a_vector_of_sizes_says_how_many_are_waves(case):
    x, given = case.examples(), parts(case)
    with pytest.raises(ValueError, match=r"model\.vector_features must be the entries .* 3, of"):
        jax.eval_shape(case.raw, x, x[:, 0, 0, 0], {**given, "vector": given["vector"][:, :3]})
    with pytest.raises(ValueError, match=r"model\.vector_features"):
        numbers_in(7, 1, 4)  # two numbers of one entry
    assert [numbers_in(2816, 1286, 256), numbers_in(2560, 1285, 256), numbers_in(7, 4, 4)] == [
        6, 5, 1]  # fmt: skip


def shape_of(**settings: Any) -> dict[str, Any]:
    """Shapes of the parameters, by their first name."""
    config = config_of("unet_condition", (4, 4, 3), **{**GIVEN, **PLAIN, **settings})
    network = models.build(config)
    init = lambda key: models.init(network, key, config)
    shapes: dict[str, Any] = jax.eval_shape(init, jax.random.key(0))
    return shapes


PLAIN = {"condition": "tokens", "data__condition": (3, 6), "vector_embedding": "none",
         "level_embedding": "none"}  # fmt: skip


def test_residual_blocks_and_transformers_are_as_many_as_said():
    found = shape_of(
        level_blocks=(2, 1),
        transformer_depth=(1, 2, 0),
        transformer_depth_up=(0, 1, 0, 3, 2),
        middle="none",
        input_kernel=1,
        output_kernel=5,
    )
    depth = lambda name: sum(part.startswith("block_") for part in found.get(name, {}))
    assert [depth(f"down_0_attention_{i}") for i in range(2)] == [1, 2]
    assert "down_1_attention_0" not in found
    assert [depth(f"up_1_attention_{i}") for i in range(2)] == [0, 1]
    assert [depth(f"up_0_attention_{i}") for i in range(3)] == [0, 3, 2]
    assert not [name for name in found if name.startswith("middle")]
    assert found["stem"]["kernel"].shape[:2] == (1, 1)
    assert found["output"]["conv"]["kernel"].shape[:2] == (5, 5)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no heads": ({"num_heads": 0}, "num_heads, model.attention_head_dim or model.level_heads"),
    "heads that do not split": ({"num_heads": 3}, "3 heads of 8 channels"),
    "widths of heads that do not": ({"attention_head_dim": 3}, "no whole number of heads of 8"),
    "heads of too few levels": ({"level_heads": (2,)}, "level_heads must be () or have 2"),
    "blocks of too few levels": ({"level_blocks": (2,)}, "level_blocks must be () or have 2"),
    "levels that are not there": ({"cross_levels": (2,)}, "cross_levels must be below 2"),
    "depths of no layout": ({"transformer_depth": (1, 2, 3)}, "transformer_depth must have 2"),
    "depths within a level": (
        {"level_blocks": (2, 1), "transformer_depth": (1, 2, 0)}, "transformer_depth_up must"),
    "groups": ({"norm_num_groups": 16}, "norm_num_groups must divide"),
    "groups of sums": ({"nf": 12, "ch_mult": (1, 1.5), "norm_num_groups": 12}, "18 channels"),
    "no tokens": ({"condition": "none", "data__condition": ()}, "must have tokens"),
    "tokens that nothing sees": (
        {"transformer_depth": (0, 0), "middle": "block"}, "must have no tokens"),
    "a level without a part": ({"level_embedding": "waves"}, "level_embedding must be none"),
    "a part without its level": (
        {"condition": "tokens+image+level", "data__condition": (3, 6, 4, 4, 1)},
        "level_embedding must be waves or table"),
    "a table without rows": (
        {"condition": "tokens+image+level", "data__condition": (3, 6, 4, 4, 1),
         "level_embedding": "table", "level_rows": 0}, "level_rows must be set"),
    "a vector without a part": ({"vector_embedding": "linear"}, "vector_embedding must be none"),
    "sizes of no number": (
        {"condition": "tokens+vector", "data__condition": (3, 6, 4), "vector_embedding": "sizes",
         "vector_features": 8}, "vector_features must be the entries"),
    "pooling": ({"pool_heads": 4}, "pool_heads must divide the length"),
    "norm of tokens": ({"token_norm": "group"}, "token_norm must be 'none'"),
    "even kernels": ({"input_kernel": 2}, "input_kernel must be odd"),
    "odd sides of residual blocks": (
        {"resblock_updown": True, "data__shape": (5, 4, 3)}, "sides of a multiple of 2"),
    "odd sides halved without a border above": (
        {"downsample_padding": 0, "data__shape": (5, 4, 3)}, "sides of a multiple of 2"),
    "vectors": ({"data__shape": (4,), "condition": "none", "data__condition": ()},
                "data.shape must be that of pictures"),
    "an activation of no name": ({"time_activation": "tanh"}, "time_activation must be one of"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_settings_that_do_not_fit_are_refused(name):
    change, words = REFUSED[name]
    settings = {**GIVEN, **PLAIN, "middle": "attention", **change}
    shape = settings.pop("data__shape", (4, 4, 3))
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        models.build(config_of("unet_condition", shape, **settings))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", stable_diffusion.RELEASES)
def test_the_smoke_variant_of_a_release_is_its_network_with_fewer_channels(name):
    made = [models.build(stable_diffusion.get_config(f"{name}{v}")) for v in ("", ",smoke")]
    whole, small = (network.network for network in made)
    assert small.inputs.kinds.names == whole.inputs.kinds.names
    attends = lambda network: [any(floor.down) for floor in network.floors]
    assert attends(small) == attends(whole)
    pairs = zip(small.floors, whole.floors, strict=True)
    assert all(ours.width < theirs.width for ours, theirs in pairs)
