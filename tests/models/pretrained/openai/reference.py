"""OpenAI's networks a second time, in NumPy and in float64, from facts about them alone.

A network is a function of a state dict and of flags; `make` draws a state dict for flags. Images
are [b, c, h, w] here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

GROUPS, EPSILON = 32, 1e-5


class Flags(NamedTuple):
    """The original command line's flags; `pool` is a classifier's, "" for a network."""

    size: int = 8
    nf: int = 32
    mult: tuple[float, ...] = (1, 2)
    blocks: int = 1
    attention: tuple[int, ...] = (4,)
    heads: int = 1
    heads_up: int = 0
    wide: int = 0
    new_order: bool = False
    scale_shift: bool = True
    updown: bool = True
    conv_resample: bool = True
    classes: int = 0
    learn_sigma: bool = True
    small: int = 0
    pool: str = ""


def silu(x):
    return x / (1 + np.exp(-x))


def norm(x, p, name):
    b, c = x.shape[:2]
    grouped = x.reshape(b, GROUPS, -1)
    mean = grouped.mean(2, keepdims=True)
    deviation = np.sqrt(grouped.var(2, keepdims=True) + EPSILON)
    tail = (1, c) + (1,) * (x.ndim - 2)
    scale, shift = p[f"{name}.weight"].reshape(tail), p[f"{name}.bias"].reshape(tail)
    return ((grouped - mean) / deviation).reshape(x.shape) * scale + shift


def linear(x, p, name):
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def conv(x, p, name, stride=1):
    kernel = p[f"{name}.weight"]
    reach = kernel.shape[2] // 2
    padded = np.pad(x, ((0, 0), (0, 0), (reach, reach), (reach, reach)))
    h, w = x.shape[2] // stride, x.shape[3] // stride
    out = sum(
        np.einsum("bchw,oc->bohw", padded[:, :, i::stride, j::stride][:, :, :h, :w],
                  kernel[:, :, i, j])
        for i in range(kernel.shape[2]) for j in range(kernel.shape[3])
    )  # fmt: skip
    return out + p[f"{name}.bias"][None, :, None, None]


def halved(x):
    return (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4


def doubled(x):
    return x.repeat(2, 2).repeat(2, 3)


def block(x, emb, p, name, scale_shift, resize=lambda x: x):
    h = conv(resize(silu(norm(x, p, f"{name}.in_layers.0"))), p, f"{name}.in_layers.2")
    told = linear(silu(emb), p, f"{name}.emb_layers.1")[:, :, None, None]
    if scale_shift:
        scale, shift = np.split(told, 2, axis=1)
        h = norm(h, p, f"{name}.out_layers.0") * (1 + scale) + shift
    else:
        h = norm(h + told, p, f"{name}.out_layers.0")
    h = conv(silu(h), p, f"{name}.out_layers.3")
    skip = f"{name}.skip_connection"
    x = resize(x)
    return h + (conv(x, p, skip) if f"{skip}.weight" in p else x)


def attend(qkv, heads, new_order):
    """[b, 3 c, n] -> [b, c, n]."""
    b, width, n = qkv.shape
    c = width // (3 * heads)
    if new_order:
        q, k, v = (part.reshape(b * heads, c, n) for part in np.split(qkv, 3, axis=1))
    else:
        q, k, v = np.split(qkv.reshape(b * heads, 3 * c, n), 3, axis=1)
    logits = np.einsum("bct,bcs->bts", q * c**-0.25, k * c**-0.25)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("bts,bcs->bct", weights, v).reshape(b, -1, n)


def mix(x, p, name):
    """A convolution over one axis, of width 1."""
    return np.einsum("bcn,oc->bon", x, p[f"{name}.weight"][..., 0]) + p[f"{name}.bias"][:, None]


def attention(x, p, name, heads, new_order):
    b, c = x.shape[:2]
    h = norm(x.reshape(b, c, -1), p, f"{name}.norm")
    h = mix(attend(mix(h, p, f"{name}.qkv"), heads, new_order), p, f"{name}.proj_out")
    return x + h.reshape(x.shape)


def waves(t, nf):
    angle = t[:, None] * np.exp(-np.log(10000) * np.arange(nf // 2) / (nf // 2))
    return np.concatenate([np.cos(angle), np.sin(angle)], axis=1)


def enlarged(x, size):
    """Bilinear, with half-pixel centres."""
    for axis in (2, 3):
        n = x.shape[axis]
        at = np.clip((np.arange(size) + 0.5) * n / size - 0.5, 0, n - 1)
        low = np.floor(at).astype(int)
        high, part = np.minimum(low + 1, n - 1), at - low
        part = part.reshape([-1 if a == axis else 1 for a in range(4)])
        x = x.take(low, axis) * (1 - part) + x.take(high, axis) * part
    return x


def run(f: Flags, p, x, t, y=None, low=None):
    """The output of a network or the logits of a classifier."""
    if low is not None:
        x = np.concatenate([x, enlarged(low, f.size)], axis=1)
    emb = linear(silu(linear(waves(t, f.nf), p, "time_embed.0")), p, "time_embed.2")
    if y is not None:
        emb = emb + p["label_emb.weight"][y]
    heads = lambda h, up=False: h.shape[1] // f.wide if f.wide else (up and f.heads_up) or f.heads
    floors = range(len(f.mult))
    attends = [f.size >> k in f.attention for k in floors]

    h = conv(x, p, "input_blocks.0.0")
    skips, k = [h], 1
    for floor in floors:
        if floor:
            name = f"input_blocks.{k}.0"
            if f.updown:
                h = block(h, emb, p, name, f.scale_shift, halved)
            else:
                h = conv(h, p, f"{name}.op", 2) if f.conv_resample else halved(h)
            skips, k = [*skips, h], k + 1
        for _ in range(f.blocks):
            h = block(h, emb, p, f"input_blocks.{k}.0", f.scale_shift)
            if attends[floor]:
                h = attention(h, p, f"input_blocks.{k}.1", heads(h), f.new_order)
            skips, k = [*skips, h], k + 1
    h = block(h, emb, p, "middle_block.0", f.scale_shift)
    h = attention(h, p, "middle_block.1", heads(h), f.new_order)
    h = block(h, emb, p, "middle_block.2", f.scale_shift)
    if f.pool:
        return POOLS[f.pool](f, p, [*skips, h])

    k = 0
    for floor in reversed(floors):
        for i in range(f.blocks + 1):
            h = np.concatenate([h, skips.pop()], axis=1)
            h, part = block(h, emb, p, f"output_blocks.{k}.0", f.scale_shift), 1
            if attends[floor]:
                h = attention(h, p, f"output_blocks.{k}.1", heads(h, True), f.new_order)
                part = 2
            if floor and i == f.blocks:
                name = f"output_blocks.{k}.{part}"
                if f.updown:
                    h = block(h, emb, p, name, f.scale_shift, doubled)
                else:
                    h = doubled(h)
                    h = conv(h, p, f"{name}.conv") if f.conv_resample else h
            k += 1
    return conv(silu(norm(h, p, "out.0")), p, "out.2")


def _attention(f, p, layers):
    h = silu(norm(layers[-1], p, "out.0"))
    h = h.reshape(*h.shape[:2], -1)
    h = np.concatenate([h.mean(2, keepdims=True), h], axis=2) + p["out.2.positional_embedding"]
    seen = attend(mix(h, p, "out.2.qkv_proj"), h.shape[1] // f.wide, True)
    return mix(seen, p, "out.2.c_proj")[:, :, 0]


def _adaptive(f, p, layers):
    h = silu(norm(layers[-1], p, "out.0")).mean((2, 3), keepdims=True)
    return conv(h, p, "out.3")[:, :, 0, 0]


def _means(layers):
    return np.concatenate([layer.mean((2, 3)) for layer in layers], axis=1)


def _spatial(f, p, layers):
    return linear(np.maximum(linear(_means(layers), p, "out.0"), 0), p, "out.2")


def _spatial_v2(f, p, layers):
    h = silu(norm(linear(_means(layers), p, "out.0"), p, "out.1"))
    return linear(h, p, "out.3")


POOLS = {"attention": _attention, "adaptive": _adaptive, "spatial": _spatial,
         "spatial_v2": _spatial_v2}  # fmt: skip


# State dicts --------------------------------------------------------------------------------------


class Shapes(dict):
    """Shapes by name, collected layer by layer."""

    def pair(self, name, *shape, bias=None):
        self[f"{name}.weight"], self[f"{name}.bias"] = shape, (bias or shape[0],)

    def block(self, name, before, after, emb, scale_shift):
        self.pair(f"{name}.in_layers.0", before)
        self.pair(f"{name}.in_layers.2", after, before, 3, 3)
        self.pair(f"{name}.emb_layers.1", (2 if scale_shift else 1) * after, emb)
        self.pair(f"{name}.out_layers.0", after)
        self.pair(f"{name}.out_layers.3", after, after, 3, 3)
        if before != after:
            self.pair(f"{name}.skip_connection", after, before, 1, 1)

    def attention(self, name, c):
        self.pair(f"{name}.norm", c)
        self.pair(f"{name}.qkv", 3 * c, c, 1)
        self.pair(f"{name}.proj_out", c, c, 1)


def shapes(f: Flags) -> dict[str, tuple[int, ...]]:
    """Names and shapes in the order of the file."""
    s, emb = Shapes(), 4 * f.nf
    widths = [int(f.nf * m) for m in f.mult]
    attends = [f.size >> k in f.attention for k in range(len(widths))]
    s.pair("time_embed.0", emb, f.nf)
    s.pair("time_embed.2", emb, emb)
    if f.classes and not f.pool:
        s["label_emb.weight"] = (f.classes, emb)
    s.pair("input_blocks.0.0", widths[0], 6 if f.small else 3, 3, 3)
    h, skips, k = widths[0], [widths[0]], 1
    for floor, width in enumerate(widths):
        if floor:
            if f.updown:
                s.block(f"input_blocks.{k}.0", h, h, emb, f.scale_shift)
            elif f.conv_resample:
                s.pair(f"input_blocks.{k}.0.op", h, h, 3, 3)
            skips, k = [*skips, h], k + 1
        for _ in range(f.blocks):
            s.block(f"input_blocks.{k}.0", h, width, emb, f.scale_shift)
            if attends[floor]:
                s.attention(f"input_blocks.{k}.1", width)
            h, k = width, k + 1
            skips.append(h)
    for i in (0, 2):
        s.block(f"middle_block.{i}", h, h, emb, f.scale_shift)
    s.attention("middle_block.1", h)
    if f.pool:
        _head(s, f, h, sum(skips) + h)
        return s
    k = 0
    for floor, width in reversed(list(enumerate(widths))):
        for i in range(f.blocks + 1):
            s.block(f"output_blocks.{k}.0", h + skips.pop(), width, emb, f.scale_shift)
            h = width
            if attends[floor]:
                s.attention(f"output_blocks.{k}.1", h)
            if floor and i == f.blocks:
                name = f"output_blocks.{k}.{2 if attends[floor] else 1}"
                if f.updown:
                    s.block(name, h, h, emb, f.scale_shift)
                elif f.conv_resample:
                    s.pair(f"{name}.conv", h, h, 3, 3)
            k += 1
    s.pair("out.0", h)
    s.pair("out.2", 6 if f.learn_sigma else 3, h, 3, 3)
    return s


def _head(s: Shapes, f: Flags, h: int, features: int) -> None:
    if f.pool.startswith("spatial"):
        s.pair("out.0", 2048, features)
        if f.pool == "spatial_v2":
            s.pair("out.1", 2048)
        s.pair("out.3" if f.pool == "spatial_v2" else "out.2", f.classes, 2048)
        return
    s.pair("out.0", h)
    if f.pool == "adaptive":
        s.pair("out.3", f.classes, h, 1, 1)
        return
    side = f.size >> (len(f.mult) - 1)
    s["out.2.positional_embedding"] = (h, side**2 + 1)
    s.pair("out.2.qkv_proj", 3 * h, h, 1)
    s.pair("out.2.c_proj", f.classes, h, 1)


def make(f: Flags, seed: int = 0) -> dict[str, np.ndarray]:
    """A random state dict, of numbers that float32 holds."""
    rng = np.random.default_rng(seed)

    def draw(name, shape):
        if name.endswith("bias"):
            return 0.1 * rng.normal(size=shape)
        scales = len(shape) == 1  # of normalizations
        return rng.normal(size=shape) * (0.2 if scales else np.prod(shape[1:]) ** -0.5) + scales

    return {name: np.float32(draw(name, shape)) for name, shape in shapes(f).items()}
