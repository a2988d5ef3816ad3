"""A single file of latent diffusion's authors, and the parts of a model in it.

    model.diffusion_model.*        the network, by the authors' names
    model_ema.*                    its running average, by the same names without their dots
    first_stage_model.*            the autoencoder, which may also be alone in a file, without this
    cond_stage_model.*             the reader of texts (Stable Diffusion 1 and 2)
    conditioner.embedders.{0,1}.*  the readers of texts (Stable Diffusion XL)

in safetensors, or in PyTorch's formats, there perhaps under "state_dict" with what Lightning adds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from models.pretrained.files import torch_files
from models.pretrained.files.safetensors_file import read_tensors
from models.pretrained.files.tensors import Arrays, PretrainedError, Tensor, in_file
from models.pretrained.gate import updates
from untrusted import is_regular, limits, plain

Tensors = dict[str, Tensor]
NETWORK = "model.diffusion_model."
AVERAGE = "model_ema."
FIRST_STAGE = "first_stage_model."
TEXTS = {
    "cond_stage_model.transformer.": "clip",
    "cond_stage_model.model.": "open_clip",
    "conditioner.embedders.0.transformer.": "clip",
    "conditioner.embedders.0.model.": "open_clip",
    "conditioner.embedders.1.model.": "open_clip",
}
"""Beginning of the names of a reader of texts -> whose names these are."""
BUFFERS = frozenset({
    "betas", "alphas_cumprod", "alphas_cumprod_prev", "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod", "log_one_minus_alphas_cumprod", "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod", "posterior_variance", "posterior_log_variance_clipped",
    "posterior_mean_coef1", "posterior_mean_coef2", "lvlb_weights", "logvar", "cond_ids",
    "scale_factor", "denoiser.sigmas", "v_pred", "ztsnr",
})  # fmt: skip
"""Tables of noise levels and the like; the last two are empty, and say something by being there."""
UNREAD = ("low_scale_model.",)
"""Beginnings of the names of tables of the noise in the x4 upscaler's picture."""
COUNTS = ("decay", "num_updates")
"""The average's own numbers."""
ALONE = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.", "quantize.")
"""Beginnings of the names of an autoencoder by itself."""
LOSS = "loss."
"""Discriminator and perceptual network, beside an autoencoder."""
MARKS = {
    NETWORK: f"{NETWORK}input_blocks.0.0.weight",
    FIRST_STAGE: "encoder.mid.block_1.norm1.weight",
}
"""Part -> the end of a name that every file with it has."""
BEGINNING = 1 << 20
"""Bytes of a file of PyTorch's in which these names are."""


@dataclass(frozen=True, eq=False)
class LatentParts:
    """The parts of a file, each by its own names; one that is not there is empty.

    texts: (whose names, tensors) of the readers of texts. buffers: as in `BUFFERS`.
    step: updates made, 0 if the file does not say.
    """

    network: Tensors = field(default_factory=dict)
    network_average: Tensors = field(default_factory=dict)
    first_stage: Tensors = field(default_factory=dict)
    first_stage_average: Tensors = field(default_factory=dict)
    texts: tuple[tuple[str, Tensors], ...] = ()
    buffers: Tensors = field(default_factory=dict)
    step: int = 0


def has(path: Path, part: str) -> bool:
    """True if a file has the part `NETWORK` or `FIRST_STAGE`; reads little of it."""
    mark = MARKS[part]
    if not is_regular(path, named=True):
        return False
    if torch_files.is_torch(path):
        return mark.encode() in torch_files.head(path, BEGINNING)
    about = path.stat()
    return any(name.endswith(mark) for name in _names(path, about.st_size, about.st_mtime_ns))


# Both parts are asked for, one after the other, and a stranger's header may be long.
@lru_cache(maxsize=1)
def _names(path: Path, size: int, modified: int) -> tuple[str, ...]:
    """Names of the tensors in a safetensors file of that size and time; none for another file."""
    try:
        return tuple(read_tensors(path)[0])
    except PretrainedError:
        return ()


def read_parts(path: Path) -> LatentParts:
    """The parts of a file; no numbers are read yet.

    Raises:
      PretrainedError: it is damaged or hostile, or has a part that is not known here.
      OSError: it cannot be read.
    """
    weights, step = _weights(path)
    with in_file(path):
        alone = not any(name.startswith((NETWORK, FIRST_STAGE)) for name in weights)
        found = _sorted(weights, FIRST_STAGE if alone else "")
        network, first = found[NETWORK], found[FIRST_STAGE]
        averages = found[AVERAGE]
        return LatentParts(
            network,
            {} if alone else _averaged(averages, network, "diffusion_model."),
            first,
            _averaged(averages, first, "") if alone else {},
            tuple((kind, found[start]) for start, kind in TEXTS.items() if found[start]),
            found[""],
            step,
        )


def _weights(path: Path) -> tuple[Tensors, int]:
    """(tensors by name, updates made) of a file of either kind."""
    if not torch_files.is_torch(path):
        return dict(read_tensors(path)[0].tensors), 0
    content = torch_files.read(path)
    with in_file(path):
        step: Any = 0
        if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
            step, content = content.get("global_step", 0), content["state_dict"]
        if not isinstance(content, dict) or not all(
            isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()
        ):
            raise PretrainedError("it must hold tensors by name, alone or under 'state_dict'")
        if len(content) > limits.TENSORS:
            raise PretrainedError(f"it has more than {limits.TENSORS:,} tensors: refused")
        return content, updates(step)


def _sorted(weights: Tensors, bare: str) -> dict[str, Tensors]:
    """Tensors by the beginning of their names, which is left out; tables under "".

    bare: the part of names that begin as an autoencoder's do; empty if there is none.
    """
    starts = (NETWORK, AVERAGE, FIRST_STAGE, *TEXTS)
    found: dict[str, Tensors] = {start: {} for start in ("", *starts)}
    for name, tensor in weights.items():
        start = next((start for start in starts if name.startswith(start)), None)
        if start is None and bare and name.startswith((*ALONE, LOSS)):
            found[bare][name] = tensor
        elif start is not None:
            found[start][name.removeprefix(start)] = tensor
        elif name in BUFFERS:
            found[""][name] = tensor
        elif not name.startswith(UNREAD):
            raise PretrainedError(
                f"it has {plain(name, 120)}, of a part that has no counterpart here (of Stable "
                "Diffusion 1, 2 and XL, and of autoencoders, files are read)"
            )
    first = found[FIRST_STAGE]
    found[FIRST_STAGE] = {k: v for k, v in first.items() if not k.startswith(LOSS)}
    return found


def _averaged(averages: Mapping[str, Tensor], raw: Tensors, start: str) -> Tensors:
    """The average of the tensors `raw`, by their names; empty if there is none."""
    left = set(averages) - {*COUNTS}
    if not left:
        return {}
    flat = {name: f"{start}{name}".replace(".", "") for name in raw}
    if lacking := [name for name, short in flat.items() if short not in averages]:
        raise PretrainedError(
            f"its average, {AVERAGE}*, lacks {plain(lacking[0], 120)}: damaged or mixed"
        )
    return {name: averages[short] for name, short in flat.items()}


def arrays(tensors: Tensors, names: Mapping[str, str]) -> Arrays:
    """Tensors by other names: names[old] is the new one."""
    return Arrays({names[name]: tensor for name, tensor in tensors.items()})
