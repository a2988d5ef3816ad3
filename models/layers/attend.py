"""Implementations of attention.

Each is called as `attend(query, key, value, train=..., bias=...)` with arrays [b, n, h, c], of n
pixels and h heads, and gives softmax(Q K^T / sqrt(c) + bias) V of each head, softmax in float32
(Vaswani et al., 2017, "Attention Is All You Need", arXiv:1706.03762, equation 1). The bias [b, m],
of m keys, is that of `unseen`; None: 0. All can be differentiated in both modes, except that fused
attention in training has a backward derivative only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

PerHead = Float[Array, "b n h c"]
Attend = Callable[..., PerHead]
Bias = Float[Array, "b m"] | None
QUERIES = 1024
"""Pixels in the largest block of queries."""
HIDDEN = -1e30
"""The logit of a key that is not shown: finite, so that no key at all gives no NaN."""
UNSEEN = -1e4
"""Added to the logit of a key that is not to be seen, in published networks. As it leaves the
differences of logits, all keys are seen where none is to be."""


def unseen(shown: Bool[Array, "b m"] | None) -> Bias:
    """The bias of keys of which some are not to be seen; None for none."""
    return None if shown is None else jnp.where(shown, 0.0, UNSEEN).astype(jnp.float32)


def attend(
    query: Float[Array, "b n c"],
    key: Float[Array, "b m c"],
    value: Float[Array, "b m c"],
    bias: Bias = None,
) -> Float[Array, "b n c"]:
    """softmax(Q K^T / sqrt(c) + bias) V with one head; logits and softmax in float32."""
    logits = jnp.einsum("bnc,bmc->bnm", query, key, preferred_element_type=jnp.float32)
    logits = logits * query.shape[-1] ** -0.5
    weights = jax.nn.softmax(logits if bias is None else logits + bias[:, None], axis=-1)
    return jnp.einsum("bnm,bmc->bnc", weights.astype(value.dtype), value)


def shown_attention(
    query: PerHead, key: PerHead, value: PerHead, shown: Bool[Array, "b m"]
) -> Float[Array, "b n h c"]:
    """Attention to the keys that are shown; zero where none is."""
    logits = jnp.einsum("bnhc,bmhc->bhnm", query, key, preferred_element_type=jnp.float32)
    there = shown[:, None, None]
    logits = jnp.where(there, logits * query.shape[-1] ** -0.5, HIDDEN)
    weights = jnp.where(there, jax.nn.softmax(logits, axis=-1), 0.0)
    return jnp.einsum("bhnm,bmhc->bnhc", weights.astype(value.dtype), value)


def biased_attention(
    query: PerHead,
    key: PerHead,
    value: PerHead,
    bias: Float[Array, "#b #h n m"],
    scale: float | None = None,
) -> PerHead:
    """softmax(scale Q K^T + bias) V of each head, in float32; scale: c^(-1/2) if None."""
    logits = jnp.einsum("bnhc,bmhc->bhnm", query, key, preferred_element_type=jnp.float32)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    weights = jax.nn.softmax(logits * scale + bias, axis=-1)
    return jnp.einsum("bhnm,bmhc->bnhc", weights.astype(value.dtype), value)


def causal(length: int) -> Float[Array, "1 1 n n"]:
    """The bias with which nothing sees what comes after it."""
    return jnp.triu(jnp.full((length, length), HIDDEN, jnp.float32), 1)[None, None]


def hidden(shown: Bool[Array, "b m"]) -> Float[Array, "b 1 1 m"]:
    """The bias with which no key is seen that is not shown."""
    return jnp.where(shown, 0.0, HIDDEN)[:, None, None].astype(jnp.float32)


def plain_attention(
    query: PerHead, key: PerHead, value: PerHead, *, train: bool = False, bias: Bias = None
) -> PerHead:
    """`attend` on each head; all n x n weights are in memory at once."""
    return jax.vmap(partial(attend, bias=bias), in_axes=2, out_axes=2)(query, key, value)


def in_blocks(
    query: PerHead, key: PerHead, value: PerHead, *, train: bool = False, bias: Bias = None
) -> PerHead:
    """`plain_attention` for at most 1024 queries at a time, recomputed in the backward pass.

    The results are the same; memory grows with n, not with n^2 (Rabe and Staats, 2021,
    arXiv:2112.05682; keys need no blocks of their own while one block's weights fit).
    """
    n = query.shape[1]
    size = max(d for d in range(1, min(n, QUERIES) + 1) if n % d == 0)
    # Their gradients are summed over the blocks, which is to happen in float32.
    keys, values = key.astype(jnp.float32), value.astype(jnp.float32)

    @partial(jax.checkpoint, prevent_cse=False)
    def block(queries: PerHead) -> PerHead:
        own = keys.astype(key.dtype), values.astype(value.dtype)
        return plain_attention(queries, *own, bias=bias)

    blocks = query.reshape(query.shape[0], n // size, size, *query.shape[2:]).swapaxes(0, 1)
    return lax.map(block, blocks).swapaxes(0, 1).reshape(query.shape)


def cuda_capability() -> tuple[int, ...] | None:
    """(major, minor) of the first CUDA GPU; None if computations run on anything else."""
    device = jax.devices()[0]
    if device.platform != "gpu" or "cuda" not in device.client.platform_version.lower():
        return None
    return tuple(int(n) for n in device.compute_capability.split("."))


def obstacle(capability: tuple[int, ...] | None, dtype: Any, head: int) -> str | None:
    """The reason why attention with heads of so many channels cannot be fused; None if it can.

    These are cuDNN's limits for training (docs.nvidia.com/cudnn, "Attention", of version 9.18).
    """
    largest = 256 if capability and capability >= (9, 0) else 128
    if capability is None or capability < (8, 0):
        return "a CUDA GPU of compute capability 8.0 or more"
    if dtype != jnp.bfloat16:
        return "model.dtype='bfloat16'"
    if head > largest or head % 8:
        return f"heads of a multiple of 8 and at most {largest} channels on this GPU, not {head}"
    return None


def check_fused(dtype: Any, head: int = 8) -> None:
    """Raise ValueError, in the user's terms, if there is an `obstacle` on this machine."""
    if missing := obstacle(cuda_capability(), dtype, head):
        raise ValueError(f"model.attention='fused' needs {missing}: set model.attention='auto'")


def cudnn(query: PerHead, key: PerHead, value: PerHead, bias: Bias = None) -> PerHead:
    """Flash attention (Dao et al., 2022, arXiv:2205.14135), which has no forward derivative."""
    compute = partial(jax.nn.dot_product_attention, implementation="cudnn")
    if bias is None:
        return compute(query, key, value)
    n, odd = query.shape[1], key.shape[1] % 2
    query, key, value = map(_even, (query, key, value))
    # Keys are made even in number, as is needed with a bias, by one that no query sees.
    bias = jnp.pad(bias, ((0, 0), (0, odd)), constant_values=HIDDEN).astype(query.dtype)
    shape = (len(bias), 1, query.shape[1], key.shape[1])
    return compute(query, key, value, bias=jnp.broadcast_to(bias[:, None, None], shape))[:, :n]


def _even(x: PerHead) -> PerHead:
    """x, or x with zeros at the end, so that its second axis is of even length."""
    return jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0), (0, 0)))


@jax.custom_jvp
def evaluated(query: PerHead, key: PerHead, value: PerHead, bias: Bias = None) -> PerHead:
    """`cudnn` if nothing is differentiated, as in sampling; `plain_attention` if something is."""
    return cudnn(query, key, value, bias)


@evaluated.defjvp
def _evaluated_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[PerHead, PerHead]:
    plain = lambda *qkv: plain_attention(*qkv[:3], bias=qkv[3])
    return jax.jvp(plain, primals, tangents)


def fused(
    query: PerHead, key: PerHead, value: PerHead, *, train: bool = False, bias: Bias = None
) -> PerHead:
    """cuDNN's attention; ValueError if it is not available."""
    check_fused(query.dtype, query.shape[-1])
    told = () if bias is None else (bias,)
    return (cudnn if train else evaluated)(query, key, value, *told)


def auto(
    query: PerHead, key: PerHead, value: PerHead, *, train: bool = False, bias: Bias = None
) -> PerHead:
    """`fused` if it is available, else `plain_attention`."""
    absent = obstacle(cuda_capability(), query.dtype, query.shape[-1])
    return (plain_attention if absent else fused)(query, key, value, train=train, bias=bias)


ATTENTIONS: dict[str, Attend] = {
    "auto": auto,
    "plain": plain_attention,
    "fused": fused,
    "blocks": in_blocks,
}
