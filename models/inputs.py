"""Inputs of a network beside the noisy example and the noise level, as a config states them."""

from __future__ import annotations

from dataclasses import dataclass

from ml_collections import ConfigDict

from configs.kinds import Kinds, hidden_of, replaces_captions, seen
from models.checks import flag, integer, number, numbers
from models.layers.text import Text
from models.shapes import Shape, example, written
from sde_lib.condition import CONDITIONS


@dataclass(frozen=True)
class Inputs:
    """Shapes and kinds of the inputs; see `models.layers.conditions`.

    Attributes:
      shape: of one example, channels last.
      kinds: of model.condition, with their shapes; none for no condition beside labels.
      dropout: model.condition_dropout, the fraction of conditions hidden while training.
      missing: whether examples may have missing values.
      periodic: the spatial axes that are periodic.
      pieces: number of exchangeable pieces of a vector, 1 for none.
      outputs: numbers that the network gives for each of the example: 2 if it says a variance.
      shows_known: whether a channel beside an image says where it is known.
      pooled: whether the mean of tokens is added to the embedding, too.
      text: sizes of the reader of a text; None for another kind.
      kept: kinds that are never hidden.
    """

    shape: Shape
    kinds: Kinds = Kinds()
    dropout: float = 0.0
    missing: bool = False
    periodic: tuple[int, ...] = ()
    outputs: int = 1
    shows_known: bool = True
    pieces: int = 1
    text: Text | None = None
    pooled: bool = False
    kept: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        """Channels of the raw output."""
        return self.outputs * self.shape[-1]

    @property
    def tokens(self) -> bool:
        """True if there are tokens, or features of those of a text."""
        return "tokens" in self.kinds or "text" in self.kinds

    @property
    def beside(self) -> tuple[str, ...]:
        """The parts that are embedded beside noise level and class."""
        return tuple(name for name in self.kinds.names if name in ("vector", "level"))

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts that a condition may have beside label and augmentation."""
        parts = [part for name in self.kinds.names for part in CONDITIONS[name].parts]
        return (*parts, *(("observed",) if self.missing else ()))


def read(config: ConfigDict) -> Inputs:
    """Read `config.model` and `config.data`; settings that are absent have their defaults.

    Raises:
      ValueError: they do not fit one another, or the shape of the examples.
    """
    model, shape = config.model, example(config)
    kinds = _kinds(config, shape)
    rule = "at least 0 and below 1"
    rate = 0.0
    if kinds.names and "condition_dropout" in model:
        rate = number(model, "model.condition_dropout", rule, lambda p: 0 <= p < 1)
        if replaces_captions(config):  # before the network is given them (`train_lib.step.Untold`)
            rate = 0.0
    missing = config.data.get("missing", "refuse") == "mask"
    told = (
        "image" not in kinds
        or "condition_known" not in model
        or flag(model, "model.condition_known")
    )
    outputs = 2 if model.get("learn_variance", False) else 1
    pieces, periodic = _pieces(config, kinds), _periodic(model, shape)
    text = _text(model) if "text" in kinds else None
    some = not {"text", "tokens"}.isdisjoint(kinds.names)
    pooled = some and "pooled_tokens" in model and flag(model, "model.pooled_tokens")
    hidden = hidden_of(config) if kinds.names else ()
    kept = tuple(name for name in kinds.names if name not in hidden)
    return Inputs(shape, kinds, rate, missing, periodic, outputs, told, pieces, text, pooled, kept)


def _text(model: ConfigDict) -> Text:
    vocabulary, width, layers, heads = (
        integer(model, f"model.{name}", least=least)
        for name, least in (("vocabulary", 0), ("text_width", 1), ("text_layers", 0),
                            ("text_heads", 0))
    )  # fmt: skip
    if not vocabulary:
        raise ValueError("model.vocabulary must be set with model.condition='text' for data "
                         "without captions: the number of different tokens")  # fmt: skip
    if layers and (not heads or width % heads):
        raise ValueError(
            f"model.text_heads must be set, and divide model.text_width = {width}, got {heads}"
        )
    return Text(vocabulary, width, layers, heads)


def _pieces(config: ConfigDict, kinds: Kinds) -> int:
    pieces = int(config.data.get("exchangeable", 1)) if kinds.names else 1
    if pieces > 1 and len(kinds.names) > 1:
        raise ValueError("data.exchangeable must be 1 with several kinds in model.condition, got "
                         f"{pieces}")  # fmt: skip
    shown = kinds.stored
    if pieces > 1 and shown[0] % pieces:
        raise ValueError(
            f"data.exchangeable must divide the first axis of the condition {written(shown)}, got "
            f"{pieces}"
        )
    return pieces


def _periodic(model: ConfigDict, shape: Shape) -> tuple[int, ...]:
    axes = len(shape) - 1
    if "periodic" not in model or not model.periodic:
        return ()
    rule = (
        f"a list of different spatial axes, of which data.shape={written(shape)} has {axes}, "
        "counted from 0"
    )
    chosen = numbers(model, "model.periodic", rule, int, lambda axis: 0 <= axis < axes)
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"model.periodic must be {rule}, got {model.periodic!r}")
    return tuple(sorted(chosen))


def _vector(shape: Shape, example: Shape) -> bool:
    return len(shape) == 1


def _image(shape: Shape, example: Shape) -> bool:
    return len(shape) == len(example)


def _tokens(shape: Shape, example: Shape) -> bool:
    return len(shape) == 2


def _nothing(shape: Shape, example: Shape) -> bool:
    return not shape


FITS = {"vector": _vector, "image": _image, "tokens": _tokens, "text": _vector, "level": _nothing}
RULES = {
    "vector": "the length of a vector, such as 10",
    "image": "a shape of the rank of data.shape, channels last, such as 8,8,1",
    "tokens": "the number of tokens and their length, such as 77,512",
    "text": "the largest number of tokens, such as 128",
    "level": "no number",
}


def _kinds(config: ConfigDict, shape: Shape) -> Kinds:
    if "condition" not in config.model:
        return Kinds()
    condition = config.model.condition
    if not isinstance(condition, str):
        raise ValueError(f"model.condition must be a text, got {condition!r}")
    found = seen(config)
    for name, own in zip(found.names, found.shapes, strict=True):
        if not FITS[name](own, shape):
            beside = " among its shapes" if len(found.names) > 1 else ""
            raise ValueError(
                f"data.condition must be {RULES[name]}{beside}, with model.condition="
                f"{condition!r}, got {written(tuple(config.data.get('condition', ())))}"
            )
    return found
