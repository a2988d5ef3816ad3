"""Whole diffusers pipelines: a network with its scheduler, autoencoder and readers of texts.

    model_index.json, unet/ or transformer/, scheduler/, vae/ or vqvae/,
    text_encoder/, tokenizer/, text_encoder_2/, tokenizer_2/

The names of classes in model_index.json are looked up in tables, and nothing is imported by them.
The network's weights become a model of ours; its autoencoder and readers of texts are used from
where they are, so that the directory has to stay.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from flax import linen as nn
from ml_collections import ConfigDict

from configs.kinds import Kinds
from models.pretrained.base import Checkpoint, Format, Overrides
from models.pretrained.diffusers import autoencoders, conditional, directory, grids
from models.pretrained.diffusers.rules import Json
from models.pretrained.diffusers.scheduler import discrete
from models.pretrained.dit import dit_folder
from models.pretrained.files.tensors import PretrainedError
from sde_lib import coarse
from untrusted import UntrustedError, check_folder, plain, read_json, shown

FAMILY = "diffusers-pipeline"
INDEX = "model_index.json"

AUTOENCODER = ("AutoencoderKL", "VQModel")
CLIP = ("CLIPTextModel", "CLIPTextModelWithProjection")
CLIP_TOKENS = ("CLIPTokenizer", "CLIPTokenizerFast")
CLASSES: dict[str, tuple[str, ...]] = {
    "unet": ("UNet2DConditionModel", "UNet2DModel"),
    "transformer": ("DiTTransformer2DModel", "Transformer2DModel"),
    "vae": AUTOENCODER,
    "vqvae": AUTOENCODER,
    "text_encoder": CLIP,
    "text_encoder_2": CLIP,
    "tokenizer": CLIP_TOKENS,
    "tokenizer_2": CLIP_TOKENS,
}
"""Part of a pipeline -> the classes that it may be of; schedulers have a table of their own."""
LIBRARIES = ("diffusers", "transformers", "stable_diffusion")
SAFETY = "the images that it draws are not checked as the pipeline's safety_checker does"
IGNORED = {
    "safety_checker": SAFETY,
    "feature_extractor": "",
    "image_encoder": "",
    "watermarker": "images get no watermark",
    "low_res_scheduler": "",
}
"""Part that is not used -> what that changes."""
MOST_NOISE, USUAL_NOISE = 350, 20
"""Largest and usual level of the noise in the picture that is made finer."""
LOW = "low_res_scheduler"
FLAGS = ("requires_safety_checker", "force_zeros_for_empty_prompt", "add_watermarker", "id2label",
         "max_noise_level", "requires_aesthetics_score")  # fmt: skip
"""Entries of model_index.json that are no parts."""
OF_SIZE = frozenset({"data.image_size", "data.shape", "model.attn_resolutions"})
"""Overrides of the size of the pictures, which may be another than that of training."""


class PipelineRow(NamedTuple):
    """A class of pipelines: its network's part and format, and settings.

    Attributes:
      network: the network's folder. format: the reader of that folder.
      autoencoder: its folder.
      settings: of the entries of model_index.json.
      texts: parts without which it cannot read texts; () if it reads none.
      upscales: whether the picture beside the latents is one that is made finer.
    """

    network: str
    format: Format
    autoencoder: str
    settings: Callable[[Json], Overrides]
    texts: tuple[str, ...] = ("text_encoder", "tokenizer")
    upscales: bool = False


def _guided(weight: float, steps: int = 50) -> Overrides:
    return {
        "sampling.guidance_kind": "classifier_free",
        "sampling.guidance": weight,
        "sampling.num_steps": steps,
    }


def _stable_diffusion(index: Json) -> Overrides:
    return {**_guided(7.5), "model.condition_dropout": 0.1}


def _consistency(index: Json) -> Overrides:
    return _guided(8.5, 4)


def _xl(index: Json) -> Overrides:
    zeros = index.get("force_zeros_for_empty_prompt", True) is True
    return {
        **_guided(5.0),
        "model.condition_dropout": 0.1,
        "data.text_layer": -2,
        "data.text_normed": False,
        "data.text_nothing": "zeros" if zeros else "empty",
    }


def _upscale(index: Json) -> Overrides:
    most = index.get("max_noise_level", MOST_NOISE)
    if type(most) is not int or not USUAL_NOISE <= most < len(coarse.LEVELS):
        raise PretrainedError(
            f"its {INDEX} has max_noise_level = {shown(most)}, must be an integer from "
            f"{USUAL_NOISE} to {len(coarse.LEVELS) - 1}"
        )
    return {
        **_guided(9.0, 75),
        "model.condition_dropout": 0.1,
        "model.condition_hidden": "tokens",
        "data.coarse_schedule": "scaled_linear",
        "training.coarse_level": most / (len(coarse.LEVELS) - 1),
        "sampling.coarse_level": USUAL_NOISE / (len(coarse.LEVELS) - 1),
    }


def _finer(index: Json) -> Overrides:
    return {"sampling.num_steps": 100}


def _dit(index: Json) -> Overrides:
    return _guided(4.0)


PIPELINES: dict[str, PipelineRow] = {
    "StableDiffusionPipeline": PipelineRow("unet", conditional, "vae", _stable_diffusion),
    "StableDiffusionXLPipeline": PipelineRow("unet", conditional, "vae", _xl),
    "StableDiffusionXLImg2ImgPipeline": PipelineRow(
        "unet", conditional, "vae", _xl, ("text_encoder_2", "tokenizer_2")
    ),
    "StableDiffusionUpscalePipeline": PipelineRow(
        "unet", conditional, "vae", _upscale, upscales=True
    ),
    "LatentConsistencyModelPipeline": PipelineRow("unet", conditional, "vae", _consistency),
    "DiTPipeline": PipelineRow("transformer", dit_folder, "vae", _dit, texts=()),
    "LDMSuperResolutionPipeline": PipelineRow(
        "unet", directory, "vqvae", _finer, texts=(), upscales=True
    ),
    "LDMPipeline": PipelineRow("unet", directory, "vqvae", lambda index: {}, texts=()),
}
"""Pipelines by their class."""
ALONE = ("DDPMPipeline", "DDIMPipeline", "PNDMPipeline", "ScoreSdeVePipeline")
"""Pipelines of a network and a scheduler, of which `directory` reads the network's folder."""
PARAMS: dict[str, Format] = {"unet_condition": conditional, "dit": dit_folder}
"""model.name -> the format of the network's weights; `directory` of others."""


def recognises(path: Path | str) -> bool:
    """True if `path` is a directory with the model_index.json of a pipeline in latents.

    Also True if that file cannot be read or is of a pipeline that is not known; `read` says why.
    """
    path = Path(path)
    if not path.is_dir() or not os.path.lexists(path / INDEX):
        return False
    try:
        return read_json(path / INDEX).get("_class_name") not in ALONE
    except UntrustedError:
        return True


def read(path: Path | str) -> Checkpoint:
    """The network's weights, and the settings of all parts.

    Raises:
      PretrainedError: a part is missing, damaged, of a class that is not known, or has no
        counterpart here, or the parts do not fit one another; the message is one line.
      OSError: a file cannot be read.
    """
    path = Path(os.path.expanduser(path))
    try:
        index = read_json(path / INDEX)
        row, ignored = _checked(path, index)
        found = row.format.read(path / row.network)
        levels = read_json(path / "scheduler" / grids.FILE, endless=True)
        scheduled = discrete(levels)
        coder, _ = autoencoders.settings(read_json(path / row.autoencoder / "config.json"))
        latents = latent_settings(coder, row.autoencoder, found.settings)
        beside: Overrides = {"data.autoencoder": str(path.resolve())}
        if row.texts:
            beside["data.text_encoder"] = str(path.resolve())
        beside |= {"data.random_flip": False, "sampling.num_samples": 1, "sampling.batch_size": 1}
        of_pipeline = {**row.settings(index), **of_distilled(found.settings, index)}
        told = {**found.settings, **scheduled.settings, **latents, **of_pipeline}
        if row.upscales:
            _check_noise(path / LOW)
            told |= coarse_settings(told)
        other = _other_scheduler(index["scheduler"][1], levels["_class_name"])
        note = "; ".join(filter(None, (scheduled.remark, other, *ignored)))
        guessed = found.guessed | OF_SIZE
        return replace(
            found, family=FAMILY, settings=told, beside=beside, note=note, guessed=guessed
        )
    except UntrustedError as error:
        raise PretrainedError(f"{plain(str(path), 200)}: {error}") from error


def of_distilled(found: Mapping[str, Any], index: Json) -> Overrides:
    """Overrides of a pipeline whose network is told the weight of guidance; {} of any other.

    Raises PretrainedError for a pipeline that tells a weight to a network that takes none.
    """
    if found.get("model.guidance_features"):
        return {"sampling.guidance_kind": "embedded", "model.condition_dropout": 0.0}
    if index["_class_name"] == "LatentConsistencyModelPipeline":
        raise PretrainedError("its unet/config.json has time_cond_proj_dim = None, must be a "
                              "number in a LatentConsistencyModelPipeline")  # fmt: skip
    return {}


def params(weights: Mapping[str, Any], network: nn.Module, config: ConfigDict) -> Any:
    """The parameters of the network; MismatchError if the weights do not fit it."""
    form = PARAMS.get(config.model.name.lower(), directory)
    return form.params(weights, network, config)


def _checked(path: Path, index: Json) -> tuple[PipelineRow, list[str]]:
    """The pipeline's row, and what ignoring some of its parts changes.

    Raises PretrainedError for a class that is not known and for parts that are not there.
    """
    name = index.get("_class_name")
    if not isinstance(name, str) or name not in PIPELINES:
        raise PretrainedError(
            f"its {INDEX} has _class_name = {shown(name)}, must be one of "
            f"{', '.join((*PIPELINES, *ALONE))}"
        )
    parts = {key: value for key, value in index.items() if key[:1] != "_" and key not in FLAGS}
    there = {key for key, value in parts.items() if not _is_absent(value)}
    for key in sorted(there):
        _check_part(path, key, parts[key])
    row = PIPELINES[name]
    for key in (row.network, row.autoencoder, "scheduler", *row.texts):
        if key not in there:
            raise PretrainedError(f"its {INDEX} must have a part {key}, as every {name} has")
    if ("text_encoder_2" in there) != ("tokenizer_2" in there):
        raise PretrainedError(f"its {INDEX} must have both of text_encoder_2 and tokenizer_2")
    return row, [words for key, words in IGNORED.items() if key in there and words]


def _other_scheduler(named: Any, found: str) -> str:
    """Remark on an index that names another scheduler than the file of the scheduler; or ""."""
    if named == found:
        return ""
    return f"its {INDEX} names the scheduler {shown(named)}, and the file of {found} is used"


def _is_absent(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(part is None for part in value))


def _check_part(path: Path, key: str, value: Any) -> None:
    """Raise PretrainedError for a part of a class that is not known, or without a folder."""
    if key in IGNORED:
        return
    if key not in CLASSES and key != "scheduler":
        raise PretrainedError(f"its {INDEX} has the part {shown(key)}, which is not known here")
    known = isinstance(value, list) and len(value) == 2 and value[0] in LIBRARIES
    if not known or (key != "scheduler" and value[1] not in CLASSES[key]):
        allowed = " or ".join(CLASSES.get(key, ("a scheduler of diffusers",)))
        raise PretrainedError(f"its {INDEX} has {key} = {shown(value)}, must be {allowed}")
    if not os.path.lexists(path / key):
        raise PretrainedError(f"its {INDEX} names a part {key}, and it has no such folder")
    check_folder(path / key)


def _check_noise(folder: Path) -> None:
    """Raise PretrainedError for noise of other levels in the picture that is made finer."""
    if not os.path.lexists(folder / grids.FILE):
        return
    check_folder(folder)
    content = read_json(folder / grids.FILE, endless=True)
    wanted = {"beta_schedule": "scaled_linear", "beta_start": 0.0001, "beta_end": 0.02,
              "num_train_timesteps": 1000}  # fmt: skip
    for key, value in wanted.items():
        if content.get(key) != value:
            raise PretrainedError(
                f"its {folder.name} has {key} = {shown(content.get(key))}, must be {value!r}"
            )


def coarse_settings(told: Mapping[str, Any]) -> Overrides:
    """Overrides of a model whose condition has a picture of its latents' size, to be made finer.

    Raises PretrainedError for a model that is given no such picture.
    """
    kinds = Kinds.of(told["model.condition"], told["data.condition"])
    height, width, _ = told["data.latent_shape"]
    if "image" not in kinds or kinds.shape("image") != (height, width, told["data.num_channels"]):
        raise PretrainedError("its network is not given a picture of the size of its latents")
    left = kinds.without("image", "level")
    return {"data.coarse": (height, width), "data.condition": sum(left.shapes, ())}


def latent_settings(found: Overrides, name: str, network: Mapping[str, Any]) -> Overrides:
    """Overrides of latents of the shape that a network's settings state.

    found: those of the autoencoder, which is called `name`. Raises PretrainedError if its latents
    are not what the network takes.
    """
    side = network.get("data.image_size")
    square_shape = (side, side, network.get("data.num_channels"))
    height, width, own = network.get("data.shape") or square_shape
    channels = found["model.latent_channels"]
    if found["model.name"] == "vq_autoencoder":
        channels = found["model.code_channels"] or channels
    if channels != own:
        raise PretrainedError(
            f"its {name} has latents of {channels} channels, and its network takes {own}"
        )
    factor = 2 ** (len(found["model.ch_mult"]) - 1)
    square, pixels = height == width, found["data.num_channels"]
    return {
        "data.codec": "autoencoder",
        "data.image_size": factor * height,
        "data.num_channels": pixels,
        "data.shape": () if square else (factor * height, factor * width, pixels),
        "data.centered": True,
        "data.latent_shape": (height, width, own),
        "data.latent_scale": found["data.latent_scale"],
        "data.latent_shift": found["data.latent_shift"],
    }
