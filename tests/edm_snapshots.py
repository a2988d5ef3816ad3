"""EDM's snapshots as plain dicts, as the reader gives them, from weights by name."""

from __future__ import annotations

import collections
from typing import Any

PRECOND_ONLY = {"use_fp16", "beta_d", "beta_min", "M", "epsilon_t", "sigma_min", "sigma_max",
                "C_1", "C_2", "sigma_data", "model_type"}  # fmt: skip


def module(class_name: str, weights: dict[str, Any], init_kwargs: dict[str, Any]) -> dict[str, Any]:
    """An object and, within it, the modules that the dotted names of its weights speak of."""
    own = {k: v for k, v in weights.items() if "." not in k}
    inner: dict[str, dict[str, Any]] = collections.defaultdict(dict)
    for name, value in weights.items():
        if "." in name:
            head, _, rest = name.partition(".")
            inner[head][rest] = value
    modules = {name: module("Module", part, {}) for name, part in inner.items()}
    state = {"_parameters": own, "_buffers": {}, "_modules": modules}
    return {"class_name": class_name, "init_args": [], "init_kwargs": init_kwargs, "state": state}


def preconditioned(class_name: str, kwargs: dict[str, Any], weights: Any) -> dict[str, Any]:
    """The network's arguments from a preconditioning of that class, made with `kwargs`."""
    rest = {k: v for k, v in kwargs.items() if k not in PRECOND_ONLY}
    channels = rest.pop("img_channels")
    twice = 2 if class_name == "iDDPMPrecond" else 1
    network = {"in_channels": channels, "out_channels": twice * channels, **rest}
    made = module(class_name, dict(weights), kwargs)
    model = made["state"]["_modules"]["model"]
    model["class_name"], model["init_kwargs"] = kwargs["model_type"], network
    return made
