"""Settings of NCSN++ and DDPM inferred from names and shapes of their weights.

A residual block that has a shortcut although its channels do not change halves or doubles the
image. Without those, blocks come as (blocks per level) for each level down, two in the middle, and
one more per level up; that and their channels determine the rest.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from models.pretrained.files.tensors import PretrainedError
from untrusted import plain

Shape = tuple[int, ...]


class Weight(NamedTuple):
    """Input and output channels of one map."""

    inputs: int
    outputs: int


class BlockChannels(NamedTuple):
    """Channels of a residual block, and whether its shortcut has weights."""

    inputs: int
    outputs: int
    shortcut: bool

    @property
    def resizes(self) -> bool:
        """True if it halves or doubles the image."""
        return self.shortcut and self.inputs == self.outputs


@dataclass
class NetworkParts:
    """The modules of a network by kind, each list in the order of the calls.

    order: kinds of all modules in the order of their calls, if the file determines it.
    """

    blocks: list[BlockChannels] = field(default_factory=list)
    attention: list[int] = field(default_factory=list)
    convs: list[Weight] = field(default_factory=list)
    resamplers: list[Weight] = field(default_factory=list)
    dense: int = 0
    combines: int = 0
    fourier: bool = False
    fir: bool = False
    biggan: bool = False
    network: str = ""
    order: list[str] | None = None


def _modules(shapes: Mapping[str, Shape], separator: str) -> dict[str, dict[str, Shape]]:
    """{module: {name within it: shape}}."""
    found: dict[str, dict[str, Shape]] = defaultdict(dict)
    for name, shape in shapes.items():
        pieces = name.removeprefix("all_modules.").split(separator)
        found[pieces[0]][".".join(pieces[1:])] = shape
    return found


def _natural(name: str) -> tuple[Any, ...]:
    return tuple(int(n) for n in re.findall(r"\d+$", name))


def _kind(leaves: Mapping[str, Shape]) -> str:
    """The kind of a module, from the PyTorch names of its parameters."""
    tests = (
        ("W" in leaves, "fourier"),
        ("NIN_3.W" in leaves, "attention"),
        ("Conv_1.weight" in leaves, "block"),
        ("Conv2d_0.weight" in leaves, "resampler"),
        (leaves.get("Conv_0.weight", ())[2:] == (1, 1), "combine"),
        ("Conv_0.weight" in leaves, "resampler"),
        (len(leaves.get("weight", ())) == 4, "conv"),
        (len(leaves.get("weight", ())) == 2, "dense"),
        (len(leaves.get("weight", ())) == 1, "norm"),
    )
    return next((kind for holds, kind in tests if holds), "")


class Inferred(NamedTuple):
    """Settings by "section.key", and the levels that have attention if that is certain.

    unknown: the reason why there are no settings.
    """

    settings: dict[str, Any]
    attention: tuple[int, ...] | None
    unknown: str = ""


def infer(shapes: Mapping[str, Shape], kind: str) -> Inferred:
    """Settings of a file; none if its network is another one. `kind` is "torch" or "jax"."""
    marks, parts = {
        "torch": (("all_modules.",), parts_of_torch),
        "jax": (("ResnetBlockBigGANpp_", "ResnetBlockDDPM"), parts_of_jax),
    }[kind]
    if not any(name.startswith(marks) for name in shapes):
        return Inferred({}, None)
    return of_parts(parts(shapes))


def parts_of_torch(shapes: Mapping[str, Shape]) -> NetworkParts:
    """The parts of a PyTorch file: `all_modules.k....`, numbered as they are called."""
    found = _modules(shapes, ".")
    modules = [found[name] for name in sorted(found, key=_natural)]
    parts = NetworkParts(order=[_kind(leaves) for leaves in modules])
    for kind, leaves in zip(parts.order or (), modules, strict=True):
        if kind not in _READERS:
            raise PretrainedError(
                f"it has weights that neither NCSN++ nor DDPM has ({plain(next(iter(leaves)))})"
            )
        _READERS[kind](parts, leaves)
    plus = parts.fourier or parts.biggan or parts.fir or parts.combines
    parts.network = "ncsnpp" if plus else "ddpm"
    return parts


def parts_of_jax(shapes: Mapping[str, Shape]) -> NetworkParts:
    """The parts of a JAX file: `Class_i/...`, numbered within each class."""
    found = _modules({n: _as_torch(n, s) for n, s in shapes.items()}, "/")
    parts = NetworkParts(network="ncsnpp" if any("pp_" in name for name in found) else "ddpm")
    for name in sorted(found, key=_natural):
        leaves = {_torch_leaf(leaf): shape for leaf, shape in found[name].items()}
        kind = _kind(leaves)
        if kind not in _READERS:
            raise PretrainedError(
                f"it has weights that neither NCSN++ nor DDPM has ({plain(name)})"
            )
        _READERS[kind](parts, leaves)
    return parts


def _torch_leaf(leaf: str) -> str:
    return re.sub(r"(^|\.)(kernel|scale)$", r"\1weight", leaf)


def _as_torch(name: str, shape: Shape) -> Shape:
    leaf = name.rsplit("/", 1)[-1]
    if leaf in ("scale", "bias", "b"):
        return shape[-1:]
    if leaf in ("kernel", "weight"):
        return shape[::-1] if len(shape) == 2 else (shape[-1], shape[-2], *shape[:-2])
    return shape


def _read_block(parts: NetworkParts, leaves: Mapping[str, Shape]) -> None:
    parts.biggan |= "Conv_2.weight" in leaves
    outputs, inputs = leaves["Conv_0.weight"][:2]
    parts.blocks.append(
        BlockChannels(inputs, outputs, "Conv_2.weight" in leaves or "NIN_0.W" in leaves)
    )


def _read_resampler(parts: NetworkParts, leaves: Mapping[str, Shape]) -> None:
    parts.fir |= "Conv2d_0.weight" in leaves
    name = "Conv2d_0.weight" if "Conv2d_0.weight" in leaves else "Conv_0.weight"
    parts.resamplers.append(Weight(leaves[name][1], leaves[name][0]))


def _read_fourier(parts: NetworkParts, leaves: Mapping[str, Shape]) -> None:
    parts.fourier = True


def _read_dense(parts: NetworkParts, leaves: Mapping[str, Shape]) -> None:
    parts.dense += 1


def _read_combine(parts: NetworkParts, leaves: Mapping[str, Shape]) -> None:
    parts.combines += 1


def _read_conv(parts: NetworkParts, leaves: Mapping[str, Shape]) -> None:
    parts.convs.append(Weight(leaves["weight"][1], leaves["weight"][0]))


def _read_attention(parts: NetworkParts, leaves: Mapping[str, Shape]) -> None:
    parts.attention.append(leaves["NIN_3.W"][0])


def _read_norm(parts: NetworkParts, leaves: Mapping[str, Shape]) -> None:
    """Nothing to infer: a normalization has the channels of its convolution."""


_READERS = {
    "fourier": _read_fourier, "dense": _read_dense, "conv": _read_conv, "norm": _read_norm,
    "block": _read_block, "attention": _read_attention, "resampler": _read_resampler,
    "combine": _read_combine,
}  # fmt: skip


def of_parts(parts: NetworkParts) -> Inferred:
    """The settings that the parts determine.

    Raises:
      PretrainedError: they are not those of an NCSN++ or DDPM.
    """
    if not parts.convs or len(parts.blocks) < 5:
        raise PretrainedError("its weights are not those of an NCSN++ or DDPM")
    channels, nf = parts.convs[0]
    regular = [block for block in parts.blocks if not (parts.biggan and block.resizes)]
    levels = _levels(parts, regular)
    per_level, odd = divmod(len(regular) - 2 - levels, 2 * levels)
    widths = [regular[level * per_level].outputs for level in range(levels)]
    if odd or per_level < 1 or any(width % nf for width in widths):
        raise PretrainedError("its blocks are not those of an NCSN++ or DDPM")
    settings: dict[str, Any] = {
        "model.name": parts.network,
        "data.num_channels": channels,
        "model.nf": nf,
        "model.ch_mult": tuple(width // nf for width in widths),
        "model.num_res_blocks": per_level,
        "model.conditional": parts.dense > 0,
    }
    if parts.network == "ncsnpp":
        settings |= {
            "model.resblock_type": "biggan" if parts.biggan else "ddpm",
            "model.embedding_type": "fourier" if parts.fourier else "positional",
            "model.progressive": _output(parts, channels, levels),
            "model.progressive_input": _input(parts, channels),
        }
        if parts.combines:
            doubled = regular[per_level].inputs == 2 * widths[0]
            settings["model.progressive_combine"] = "cat" if doubled else "sum"
        if parts.resamplers:
            settings["model.fir"] = parts.fir
    if not parts.biggan and levels > 1:
        residual = [k for k in ("progressive", "progressive_input")
                    if settings.get(f"model.{k}") == "residual"]  # fmt: skip
        settings["model.resamp_with_conv"] = len(parts.resamplers) > len(residual) * (levels - 1)
    return Inferred(settings, _attention(parts, widths, per_level))


def _levels(parts: NetworkParts, regular: Sequence[BlockChannels]) -> int:
    if parts.biggan:
        return 1 + (len(parts.blocks) - len(regular)) // 2
    # Every level has an odd number of blocks, down and up together; the channels decide.
    n = len(regular) - 2
    fitting = [k for k in range(1, n) if n % k == 0 and n // k % 2 and n // k > 1]
    doubled = (1, 2) if parts.combines else (1,)
    flows = [k for k in fitting if any(_flow(regular, k, (n // k - 1) // 2, d) for d in doubled)]
    halvings = len(parts.resamplers) // 2
    return next((k for k in flows if k == halvings + 1), flows[0] if flows else 1)


def _flow(blocks: Sequence[BlockChannels], levels: int, per_level: int, factor: int) -> bool:
    """True if the channels are those of a U-Net of so many levels.

    `factor`: multiplication of the channels by the input pyramid after a halving.
    """
    widths = [blocks[level * per_level].outputs for level in range(levels)]
    outputs = [w for w in widths for _ in range(per_level)] + [widths[-1]] * 2
    outputs += [w for w in reversed(widths) for _ in range(per_level + 1)]
    if [block.outputs for block in blocks] != outputs:
        return False
    skips = [blocks[0].inputs]
    for level, width in enumerate(widths):
        skips += [skips[-1] * factor] * (level > 0) + [width] * per_level
    before = [b.outputs for b in blocks[levels * per_level + 1 : -1]]
    up = blocks[levels * per_level + 2 :]
    return all(b.inputs - h == s for b, h, s in zip(up, before, reversed(skips), strict=True))


def _output(parts: NetworkParts, channels: int, levels: int) -> str:
    middle = parts.convs[1:]
    if levels < 2 or len(middle) < 2:
        return "none"
    return "output_skip" if middle[0].outputs == channels else "residual"


def _input(parts: NetworkParts, channels: int) -> str:
    if parts.combines:
        return "input_skip"
    return "residual" if any(r.inputs == channels for r in parts.resamplers) else "none"


def _attention(
    parts: NetworkParts, widths: Sequence[int], per_level: int
) -> tuple[int, ...] | None:
    """The levels with attention; without the order of calls, only if channels determine them."""
    down = len(widths) * per_level
    if parts.order is None:
        wanted = parts.attention
        few = (len(wanted) - 1) // (per_level + 1)
        fits = [
            levels for levels in _subsets(len(widths), few)
            if [widths[k] for k in levels for _ in range(per_level)] + [widths[-1]]
            + [widths[k] for k in reversed(levels)] == wanted
        ]  # fmt: skip
        return fits[0] if len(fits) == 1 else None
    found, seen, blocks = set(), 0, iter(parts.blocks)
    for kind in parts.order:
        if kind == "block":
            seen += not (next(blocks).resizes and parts.biggan)
        elif kind == "attention" and seen <= down:
            found.add((seen - 1) // per_level)
    return tuple(sorted(found))


def _subsets(n: int, size: int) -> list[tuple[int, ...]]:
    if n < 12:
        return [s for bits in range(1 << n)
                if len(s := tuple(i for i in range(n) if bits >> i & 1)) == size]  # fmt: skip
    return []
