"""Ways to compute attention: one function of all, and who gets which."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from models.layers import attend
from models.layers.attend import ATTENTIONS, obstacle, plain_attention
from tests.models.every import IMAGES, config_of, training

A100, H100 = (8, 0), (9, 0)


@pytest.fixture
def heads():
    """Query, key, value of 12 pixels, 3 heads of 8 channels, and a direction of each."""
    draws = [jax.random.normal(jax.random.key(seed), (2, 12, 3, 8)) for seed in range(6)]
    return tuple(draws[:3]), tuple(draws[3:])


@pytest.fixture
def gpu(monkeypatch):
    """An H100 by its word, whose kernel is XLA's attention without a forward derivative."""
    calls = []

    @jax.custom_vjp
    def kernel(*qkv):
        calls.append("kernel")
        return by_jax(*qkv)

    def backward(qkv, cotangent):
        calls.append("backward")
        return jax.vjp(plain_attention, *qkv)[1](cotangent)

    kernel.defvjp(lambda *qkv: (kernel(*qkv), qkv), backward)
    monkeypatch.setattr(attend, "cuda_capability", lambda: H100)
    monkeypatch.setattr(attend, "cudnn", kernel)
    return calls


def by_jax(*qkv):
    with jax.numpy_dtype_promotion("standard"):
        return jax.nn.dot_product_attention(*qkv, implementation="xla")


def derivatives(function, given, along):
    """Value, and derivatives forwards and backwards."""
    value, forward = jax.jvp(function, given, along)
    return value, forward, *jax.vjp(function, *given)[1](along[0])


def test_blocks_of_queries_change_neither_value_nor_derivatives(heads, monkeypatch):
    monkeypatch.setattr(attend, "QUERIES", 5)  # 12 pixels: three blocks of 4
    found = derivatives(ATTENTIONS["blocks"], *heads)
    for ours, theirs in zip(found, derivatives(plain_attention, *heads), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)  # round-off of sums over 12 pixels


def test_blocks_keep_no_weights(monkeypatch):
    given = [jax.ShapeDtypeStruct((1, 4096, 1, 8), jnp.bfloat16)] * 3

    def kept(function):
        tree = jax.eval_shape(lambda *qkv: jax.vjp(function, *qkv)[1], *given)
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))

    # 4096 x 8 numbers in query, key and value (float32 copies of two); 4096^2 weights.
    assert kept(ATTENTIONS["blocks"]) <= 4096 * 8 * 3 * 4
    assert kept(plain_attention) > 4096**2


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-5), (jnp.bfloat16, 0.02)])
def test_jax_dot_product_attention_is_the_same_function(heads, dtype, tolerance):
    given = [x.astype(dtype) for x in heads[0]]
    found = by_jax(*given).astype(jnp.float32)
    # bfloat16: two roundings of 0.4 %.
    np.testing.assert_allclose(found, plain_attention(*given).astype(jnp.float32), atol=tolerance)


@pytest.mark.parametrize(
    ("capability", "dtype", "head", "missing"),
    [
        (A100, jnp.bfloat16, 64, None),
        (A100, jnp.bfloat16, 128, None),
        (A100, jnp.bfloat16, 256, "at most 128"),
        (H100, jnp.bfloat16, 256, None),
        (H100, jnp.bfloat16, 512, "at most 256"),
        (H100, jnp.bfloat16, 60, "a multiple of 8"),
        (H100, jnp.float32, 64, "model.dtype='bfloat16'"),
        ((7, 5), jnp.bfloat16, 64, "8.0 or more"),
        (None, jnp.bfloat16, 64, "a CUDA GPU"),
    ],
)
def test_attention_is_fused_within_the_limits_of_cudnn(capability, dtype, head, missing):
    found = obstacle(capability, dtype, head)
    assert found is None if missing is None else missing in found


def test_fused_is_refused_in_one_line_where_it_cannot_be_had(gpu, monkeypatch, heads):
    models.check(config_of("ncsnpp", attention="fused", dtype="bfloat16"))
    with pytest.raises(ValueError, match=r"'fused' needs model\.dtype='bfloat16': set model\.att"):
        models.check(config_of("ncsnpp", attention="fused"))
    of = training("ddpm_ho", attention="fused", dtype="bfloat16")  # heads of 4 channels
    with pytest.raises(ValueError, match=r"'fused' needs heads of a multiple of 8 .* not 4: set"):
        of.shapes()
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"'fused' needs a CUDA GPU of .*: set model\.attention"):
        models.check(config_of("ncsnpp", attention="fused", dtype="bfloat16"))


def test_unknown_attention_and_remat_are_refused_by_name():
    for key, known in {"attention": "auto, plain, fused, blocks", "remat": "auto, none"}.items():
        with pytest.raises(ValueError, match=rf"model\.{key} must be one of {known}"):
            models.check(config_of("ncsnpp", **{key: "flash"}))


def test_automatic_attention_is_fused_in_training_and_sampling_but_not_in_likelihoods(gpu):
    of = training("adm", dtype="bfloat16", nf=64, ch_mult=(1,), attn_resolutions=(8,))
    params, still = of.shapes(), lambda p, x: of.network.apply({"params": p}, x, jnp.ones(2))
    jax.eval_shape(still, params, IMAGES)
    assert set(gpu) == {"kernel"}
    gpu.clear()
    jax.eval_shape(jax.grad(lambda p, x: of.loss(p, x)[0]), params, IMAGES)
    assert gpu.count("backward") == 4  # one on the way down, one in the middle, two up
    push = lambda p, x: jax.jvp(lambda x: still(p, x), (x,), (x,))
    jax.eval_shape(push, params, IMAGES)  # the kernel would refuse


def test_fused_attention_has_the_value_and_the_derivatives_of_the_plain(gpu, heads):
    given, along = (tuple(x.astype(jnp.bfloat16) for x in part) for part in heads)
    fused, trained = ATTENTIONS["fused"], lambda *qkv: ATTENTIONS["fused"](*qkv, train=True)
    backward = lambda function: jax.vjp(function, *given)[1](along[0])
    found = [fused(*given), *jax.jvp(fused, given, along), *backward(trained)]
    expected = [
        plain_attention(*given),
        *jax.jvp(plain_attention, given, along),
        *backward(plain_attention),
    ]
    for ours, theirs in zip(found, expected, strict=True):
        # Numbers of order one after some roundings of 0.4 %.
        np.testing.assert_allclose(ours.astype(float), theirs.astype(float), atol=0.05)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(trained, given, along)


@pytest.fixture
def mask():
    """Twelve keys for each of two examples: some of them seen, and none."""
    shown = np.ones((2, 12), bool)
    shown[0, 3:9] = False
    shown[1] = False
    return jnp.asarray(shown)


@pytest.mark.parametrize("way", ["plain", "blocks"])
def test_a_key_that_is_not_to_be_seen_is_as_if_it_were_not_there(heads, mask, way, monkeypatch):
    monkeypatch.setattr(attend, "QUERIES", 5)
    query, key, value = heads[0]
    found = ATTENTIONS[way](query, key, value, bias=attend.unseen(mask))
    kept = np.flatnonzero(mask[0])
    alone = plain_attention(query[:1], key[:1, kept], value[:1, kept])
    np.testing.assert_allclose(found[:1], alone, atol=1e-6)
    # Where none is to be seen, all are: logits near -10^4 have 1e-3 of round-off.
    np.testing.assert_allclose(found[1:], plain_attention(*(x[1:] for x in heads[0])), atol=1e-2)
    assert attend.unseen(None) is None


def test_fused_attention_is_given_even_lengths_and_a_bias_of_them(heads, mask, monkeypatch):
    seen = []

    def kernel(query, key, value, *, bias, implementation):
        assert implementation == "cudnn"
        seen.append((query.shape, key.shape, bias.shape))
        with jax.numpy_dtype_promotion("standard"):
            return dot_product_attention(query, key, value, bias=bias, implementation="xla")

    dot_product_attention = jax.nn.dot_product_attention
    monkeypatch.setattr(attend, "cuda_capability", lambda: H100)
    monkeypatch.setattr(jax.nn, "dot_product_attention", kernel)
    query, key, value = (x.astype(jnp.bfloat16) for x in heads[0])
    given = query[:, :11], key[:, :7], value[:, :7]
    bias = attend.unseen(mask[:, :7])
    for train in (False, True):
        found = ATTENTIONS["auto"](*given, train=train, bias=bias)
        expected = plain_attention(*given, bias=bias)
        # bfloat16 rounds the bias of the row without keys so that it changes nothing.
        np.testing.assert_allclose(found.astype(float), expected.astype(float), atol=0.03)
    assert seen == 2 * [((2, 12, 3, 8), (2, 8, 3, 8), (2, 1, 12, 8))]
