"""The published configuration that a score_sde checkpoint most likely belongs to.

A file determines the network. It does not determine the image size, the range of the images, the
SDE, nor the meaning of the output; those are taken from the published configuration that agrees
best.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from configs import defaults
from configs.score_sde import CONFIGS, Table
from models.pretrained.base import Checkpoint, Weights
from models.pretrained.gate import updates
from models.pretrained.score_sde.unet_settings import Inferred

UNSAID = ("sde.name", "training.continuous", "data.image_size", "data.centered",
          "model.scale_by_sigma")  # fmt: skip
"""Settings that no file states although a model depends on them."""


def checkpoint(
    family: str,
    path: Path,
    inferred: Inferred,
    *,
    raw: Weights | None,
    ema: Weights | None,
    rate: Any,
    step: Any,
    levels: Table | None = None,
) -> Checkpoint:
    """A checkpoint of either of score_sde's repositories.

    Args:
      family: the key of its format.
      path: the file.
      inferred: settings inferred from names and shapes.
      raw: weights as trained.
      ema: their average.
      rate: the file's decay of that average, if any.
      step: the file's number of updates.
      levels: settings implied by the file's table of noise levels.
    """
    settings = {**inferred.settings, **(levels or {})}
    if isinstance(rate, float) and 0 <= rate < 1:
        settings["model.ema_rate"] = float(f"{rate:.6g}")  # JAX's is in float32
    assumed, note = complete(settings, path)
    return Checkpoint(
        family,
        settings,
        raw,
        ema,
        updates(step),
        inferred.attention,
        assumed,
        note,
        guessed=frozenset(inferred.settings) | {"model.attn_resolutions"},
        unknown=inferred.unknown,
    )


def complete(settings: Table, path: Path) -> tuple[Table, str]:
    """(settings of the nearest published configuration, their source in words for the user)."""
    nearest, others = _nearest(settings, path)
    said = ", ".join(f"{name}={value!r}" for name, value in _unsaid(nearest).items())
    rivals = f" ({', '.join(others)} fit as well)" if others else ""
    note = (
        f"the file does not state {said}: taken from the nearest published configuration, "
        f"{nearest}{rivals}; give --config if that is not what it was trained with"
    )
    return CONFIGS[nearest], note


def _unsaid(name: str) -> dict[str, Any]:
    return {key: CONFIGS[name].get(key, defaults.SETTINGS[key].default) for key in UNSAID}


def _nearest(settings: Table, path: Path) -> tuple[str, list[str]]:
    """The name of the configuration that agrees in most settings, and those that agree equally.

    A directory of the file's path that is a published name decides between equals, as in
    vp/cifar10_ddpmpp/checkpoint_14.pth.
    """

    def agreement(name: str) -> tuple[bool, bool, int]:
        table = CONFIGS[name]
        same = [table.get(k, defaults.SETTINGS[k].default) == v for k, v in settings.items()]
        network = table.get("model.name", defaults.SETTINGS["model.name"].default)
        wanted = settings.get("model.name", network)
        # ncsnv2_256 was published in no configuration: its smaller kin come next.
        return network == wanted, network[:6] == wanted[:6], sum(same)

    best = max(map(agreement, CONFIGS))
    equals = [name for name in CONFIGS if agreement(name) == best]
    named = [name for name in equals if f"/{name}/" in path.absolute().as_posix()]
    # Those who publish a model of either kind as a rule mean the continuous one.
    chosen = max(named or equals, key=lambda name: CONFIGS[name].get("training.continuous", True))
    rivals = [name for name in equals if _unsaid(name) != _unsaid(chosen)]
    return chosen, [] if named else rivals
