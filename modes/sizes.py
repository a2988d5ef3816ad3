"""Early refusal of more examples than the machine's memory could hold."""

from __future__ import annotations

import math
from typing import Any

import jax

from configs.shapes import in_words, shape_of
from runtime_lib import hardware


def told(size: float) -> str:
    """A number of bytes in words."""
    units = {"TiB": 2**40, "GiB": 2**30, "MiB": 2**20, "KiB": 2**10, "B": 1}
    name, unit = next((u for u in units.items() if size >= u[1]), ("B", 1))
    return f"{size / unit:.3g} {name}"


def check(key: str, images: int, config: Any, item: int = 4) -> None:
    """Raise ValueError if `images` images of the config's, requested by `key`, exceed all memory.

    item: bytes of a number. Values computed from them take a multiple of it.
    """
    shape, one = shape_of(config), hardware.memory(jax.local_devices()[0])
    need = images * math.prod(shape) * item
    if one is not None and need > (have := one * jax.device_count()):
        raise ValueError(
            f"{key} asks for {images:,} examples of {in_words(shape)} at once, {told(need)}, and "
            f"the machine has {told(have)}: lower it"
        )


def check_batches(config: Any) -> None:
    """`check` of every setting that is a number of images at a time."""
    training = config.training
    check("training.batch_size", training.batch_size * training.n_jitted_steps, config)
    check("sampling.batch_size", config.sampling.batch_size, config)
    check("eval.batch_size", config.eval.batch_size, config)
