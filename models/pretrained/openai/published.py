"""Overrides that a state dict of OpenAI's cannot say, by the published model that it is or is like.

A file of a published name and of that model's shapes is that model. Without the name, shapes that
only one kind of published model has are taken for it; else the user has to say what is missing.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

from configs import openai, schema
from models.pretrained.base import Overrides
from models.pretrained.openai.layout import Inference

MEANT = ("model.num_heads", "model.num_heads_upsample", "model.attention_head_dim",
         "model.attention_order", "model.rescale_timesteps", "sde.name", "sde.num_scales",
         "sde.schedule", "data.image_size")  # fmt: skip
"""Overrides on which the model depends and of which the shapes of its weights say nothing."""
UNSAID = (("model.num_heads", "model.attention_head_dim"), ("model.attention_order",),
          ("sde.schedule",), ("sde.num_scales",), ("model.rescale_timesteps",),
          ("data.image_size",))  # fmt: skip
"""The same for the user to say: in each group one is enough."""

TEXT_DROPOUT = 0.2
"""Fraction of texts that were hidden while GLIDE was trained for guidance (section 4)."""


class Found(NamedTuple):
    """The settings of the published model, as facts or to be assumed, and the reason for the user.

    unsaid: as in `models.pretrained.base.Checkpoint`.
    """

    facts: Overrides
    assumed: Overrides
    note: str
    unsaid: tuple[tuple[str, ...], ...] = ()


def complete(layout: Inference, path: Path) -> Found:
    """The settings that the layout leaves open."""
    alike = [name for name in openai.PUBLISHED if _is(layout, name)]
    if path.stem in alike:
        facts = {name: _flat(path.stem)[name] for name in MEANT}
        return Found(facts, _own(path.stem), f"{path.stem} is a published model")
    meanings = {tuple(_flat(name)[key] for key in MEANT) for name in alike}
    if len(meanings) == 1:
        said = ", ".join(f"{key}={_flat(alike[0])[key]!r}" for key in MEANT)
        note = (
            f"the file does not state {said}: taken from the published model of these shapes, "
            f"{' or '.join(alike)}; give --config if it is another"
        )
        return Found({}, _own(alike[0]), note)
    return Found({}, _alike(layout), "", _missing(layout))


def _missing(layout: Inference) -> tuple[tuple[str, ...], ...]:
    kinds = {"image": "data.condition", "text": "model.text_heads"}
    more = kinds.get(layout.settings.get("model.condition", ""))
    asked = (*UNSAID, *(((more,),) if more else ()))
    return tuple(names for names in asked if not set(names) & layout.settings.keys())


def _kind(layout: Inference) -> str:
    """A published model of the same kind."""
    if layout.settings.get("model.name") == "noisy_classifier":
        return "64x64_classifier"
    given = layout.settings.get("model.condition") == "image"
    return "64_256_upsampler" if given else "64x64_diffusion"


def _is(layout: Inference, name: str) -> bool:
    """True if the published model has this layout."""
    flat = _flat(name)
    floors = range(len(flat["model.ch_mult"]))
    sizes = flat["model.attn_resolutions"]
    attention = tuple(k for k in floors if flat["data.image_size"] >> k in sizes)
    same = all(flat[key] == value for key, value in layout.settings.items())
    return same and bool(layout.settings) and attention == layout.attention


@cache
def _flat(name: str) -> Overrides:
    return schema.flatten(openai.get_config(name))


@cache
def _defaults() -> Overrides:
    return schema.flatten(schema.get_default())


def _own(name: str) -> Overrides:
    """The settings in which a published model's config differs from the defaults."""
    return {key: value for key, value in _flat(name).items() if value != _defaults()[key]}


def _alike(layout: Inference) -> Overrides:
    """Those of all published models of its kind."""
    sections = ("training.", "optim.", "sampling.", "data.")
    left = {*MEANT, "data.condition"} - {"sde.name"}
    found = {
        key: value
        for key, value in _own(_kind(layout)).items()
        if (key.startswith(sections) or key == "sde.name") and key not in left
    }
    if layout.settings.get("model.condition") == "text":
        found["model.condition_dropout"] = TEXT_DROPOUT
    if layout.settings.get("model.learn_variance", True):
        return found
    # The authors' default of a network that says no variance.
    return found | {"sampling.ancestral_variance": "kernel", "training.objective": "denoising"}
