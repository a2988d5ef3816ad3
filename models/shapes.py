"""Shapes of examples as networks see them: their ranks, halvings and resolutions."""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.shapes import diffused_shape
from models.checks import integer, numbers

Shape = tuple[int, ...]
AXES = ("vectors such as 40", "series such as 1000,2", "pictures such as 64,96,3",
        "volumes such as 16,16,16,1")  # fmt: skip
"""Examples by their rank, from 1."""


def written(shape: Shape) -> str:
    """A shape as it is given on a command line."""
    return ",".join(map(str, shape)) or "()"


def named(config: ConfigDict) -> str:
    """The setting that states the shape."""
    if config.data.get("codec", "levels") == "autoencoder":
        return "data.latent_shape"
    return "data.shape" if config.data.get("shape", ()) else "data.image_size"


def example(config: ConfigDict) -> Shape:
    """`diffused_shape` of a config whose settings may be missing or of another type."""
    if named(config) == "data.latent_shape":
        if not config.data.latent_shape:
            raise ValueError("data.latent_shape must be known: it is that of data.autoencoder")
    elif named(config) == "data.image_size":
        integer(config.data, "data.image_size", least=1)
        integer(config.data, "data.num_channels", least=1)
    else:
        rule = "a tuple of positive integers"
        numbers(config.data, "data.shape", rule, int, lambda n: n > 0)
    return diffused_shape(config)


def check_rank(config: ConfigDict, ranks: tuple[int, ...]) -> None:
    """Raise ValueError if the network does not take examples of this rank."""
    shape = example(config)
    if len(shape) not in ranks:
        known = " or ".join(AXES[rank - 1] for rank in ranks)
        other = ": choose model.name='auto' for another" if len(shape) <= len(AXES) else ""
        raise ValueError(
            f"data.shape must be that of {known} with model.name={config.model.name!r}, got "
            f"{written(shape)}{other}"
        )


def picture(config: ConfigDict, halvings: int, why: str, *, padded: bool = True) -> Shape:
    """(height, width, channels) of a picture that a network halves so many times.

    Pictures of data.image_size must have a side that can be halved, since they are resized to it
    anyway; those of data.shape are as they are, and may be padded unless `padded` is False.

    Raises:
      ValueError: examples are no pictures or too small; `why` says why they are halved.
    """
    check_rank(config, (3,))
    shape, factor, name = example(config), 2**halvings, named(config)
    if (name == "data.image_size" or not padded) and any(side % factor for side in shape[:2]):
        got = shape[0] if name == "data.image_size" else written(shape)
        raise ValueError(f"{name} must be a multiple of {factor}, since {why}, got {got}")
    if min(shape[:2]) < factor:
        raise ValueError(
            f"data.shape must have sides of at least {factor}, since {why}, got {written(shape)}: "
            "choose model.name='unet', which halves no short side"
        )
    return shape


def resolutions(shape: Shape, levels: int) -> list[int]:
    """The longest spatial axis, padded as far as need be, at each of a U-Net's floors."""
    factor = 2 ** (levels - 1)
    longest = -(-max(shape[:-1]) // factor) * factor
    return [longest // 2**level for level in range(levels)]
