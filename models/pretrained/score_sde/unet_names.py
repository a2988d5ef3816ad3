"""score_sde's names of the parameters of NCSN++ and DDPM.

Its PyTorch code numbers the modules in the order of their calls (`all_modules.7.Conv_0.weight`),
its JAX code those of each class (`ResnetBlockBigGANpp_2/Conv_0/kernel`). Modules without
parameters are counted, too. Inside a module both use the same names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ml_collections import ConfigDict

Path = tuple[str, ...]


class Names(NamedTuple):
    """A parameter's published names: `torch` with dots, `jax` with slashes."""

    torch: str
    jax: str


Leaves = dict[str, Names]
"""Our name of a parameter -> its published ones, all within one module."""

CONV = {"kernel": Names("weight", "kernel"), "bias": Names("bias", "bias")}
NORM = {"scale": Names("weight", "scale"), "bias": Names("bias", "bias")}
NIN = {"kernel": Names("W", "W"), "bias": Names("b", "b")}
FIR = {"kernel": Names("weight", "weight"), "bias": Names("bias", "bias")}
FOURIER = {"frequencies": Names("W", "W")}


def _inner(**modules: tuple[str, Leaves]) -> Leaves:
    return {
        f"{ours}/{leaf}": Names(f"{name}.{names.torch}", f"{name}/{names.jax}")
        for ours, (name, leaves) in modules.items()
        for leaf, names in leaves.items()
    }


def _block(shortcut: tuple[str, Leaves]) -> Leaves:
    return _inner(
        norm_0=("GroupNorm_0", NORM), conv_0=("Conv_0", CONV), embed=("Dense_0", CONV),
        norm_1=("GroupNorm_1", NORM), conv_1=("Conv_1", CONV), shortcut=shortcut,
    )  # fmt: skip


ATTENTION = _inner(
    norm=("GroupNorm_0", NORM), query=("NIN_0", NIN), key=("NIN_1", NIN), value=("NIN_2", NIN),
    project=("NIN_3", NIN),
)  # fmt: skip
BLOCKS = {"biggan": _block(("Conv_2", CONV)), "ddpm": _block(("NIN_0", NIN))}
RESAMPLE = {False: _inner(conv=("Conv_0", CONV)), True: _inner(conv=("Conv2d_0", FIR))}
COMBINE = _inner(project=("Conv_0", CONV))


class Module(NamedTuple):
    """One of score_sde's modules: its class in JAX, our module, and the names of its parameters.

    ours: prefix of our paths; None for a module that has no counterpart among ours.
    listed: whether it is among `all_modules` in PyTorch.
    """

    kind: str
    ours: str | None
    leaves: Leaves
    listed: bool = True


def modules(config: ConfigDict) -> Iterator[Module]:
    """The modules of the network that `config` describes, in the order of their calls."""
    model, size = config.model, config.data.image_size
    plus = model.name.lower() == "ncsnpp"
    kind = model.resblock_type.lower() if plus else "ddpm"
    pyramid_in = model.progressive_input.lower() if plus else "none"
    pyramid_out = model.progressive.lower() if plus else "none"
    fir, last = plus and model.fir, len(model.ch_mult) - 1
    classes = {"biggan": "ResnetBlockBigGANpp", "ddpm": f"ResnetBlockDDPM{'pp' * plus}"}
    attention_class = f"AttnBlock{'pp' * plus}"

    def block(ours: str) -> Module:
        return Module(classes[kind], ours, BLOCKS[kind])

    def attention(ours: str) -> Module:
        return Module(attention_class, ours, ATTENTION)

    def resized(ours: str, name: str) -> Module:
        return block(ours) if kind == "biggan" else Module(name, ours, RESAMPLE[fir])

    def attends(level: int) -> bool:
        return size // 2**level in tuple(model.attn_resolutions)

    if plus and model.embedding_type.lower() == "fourier":
        ours = "conditioning/embedding" if model.conditional else None
        yield Module("GaussianFourierProjection", ours, FOURIER)
    if model.conditional:
        yield Module("Dense", "conditioning/time_0", CONV)
        yield Module("Dense", "conditioning/time_1", CONV)
    yield Module("Conv", "stem", CONV)
    for level in range(last + 1):
        if level:
            yield resized(f"down_{level}_halve", "Downsample")
            ours = f"down_{level}_input"
            if pyramid_in == "input_skip":
                yield Module("Downsample", None, {}, listed=False)
                yield Module("Combine", ours, COMBINE)
            elif pyramid_in == "residual":
                yield Module("Downsample", f"{ours}/down", RESAMPLE[fir])
        for i in range(model.num_res_blocks):
            yield block(f"down_{level}_block_{i}")
            if attends(level):
                yield attention(f"down_{level}_attention_{i}")
    yield block("middle_block_0")
    yield attention("middle_attention")
    yield block("middle_block_1")
    for level in reversed(range(last + 1)):
        for i in range(model.num_res_blocks + 1):
            yield block(f"up_{level}_block_{i}")
        if attends(level):
            yield attention(f"up_{level}_attention")
        ours = f"up_{level}_output"
        if pyramid_out == "residual" and level != last:
            yield Module("Upsample", f"{ours}/up", RESAMPLE[fir])
        elif pyramid_out != "none":
            if level != last:
                yield Module("Upsample", None, {}, listed=False)
            yield from _head(f"{ours}/head")
        if level:
            yield resized(f"up_{level}_double", "Upsample")
    if pyramid_out != "output_skip":
        yield from _head("output/head")


def _head(ours: str) -> Iterator[Module]:
    yield Module("GroupNorm", f"{ours}/norm", NORM)
    yield Module("Conv", f"{ours}/conv", CONV)


def names(config: ConfigDict, paths: Iterable[Path]) -> dict[Path, Names]:
    """The published names of our parameters; those without one are left out."""
    known: dict[str, Names] = {}
    position, counts = 0, Counter[str]()
    for module in modules(config):
        torch, jax = f"all_modules.{position}", f"{module.kind}_{counts[module.kind]}"
        position += module.listed
        counts[module.kind] += 1
        for leaf, inner in module.leaves.items() if module.ours else ():
            full = Names(f"{torch}.{inner.torch}", f"{jax}/{inner.jax}")
            known[f"{module.ours}/{leaf}"] = full
    return {path: known["/".join(path)] for path in paths if "/".join(path) in known}


def unused(config: ConfigDict, name: str) -> bool:
    """True if no output depends on a parameter: the noise embedding of an unconditional network."""
    fourier = name.endswith("W") and "NIN" not in name
    return not config.model.conditional and (fourier or "Dense_0" in name)
