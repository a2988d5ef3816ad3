"""Golden networks of NCSN, NCSNv2 and the WideResNet: see tests/golden/ncsn/README.md."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

import models
from configs.schema import get_default
from models.pretrained.score_sde import classifier, networks

FOLDER = Path(__file__).parents[1] / "golden" / "ncsn"
CASES = json.loads((FOLDER / "cases.json").read_text())
ORIGINAL = [case for case in CASES if case.startswith("original")]
SCORE_SDE = [case for case in CASES if case.startswith("score_sde")]
CLASSIFIERS = [case for case in CASES if case.startswith("wideresnet")]


def arrays(case: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / "outputs.npz") as stored:
        prefix = f"{case}/"
        return {k.removeprefix(prefix): stored[k] for k in stored if k.startswith(prefix)}


def _weight(name: str, shape: tuple[int, ...], stream: np.random.RandomState) -> np.ndarray:
    """Frequencies N(0, 16^2); tables, scales and shifts N(1, 0.2^2); kernels N(0, 1 / fan-in)."""
    draw = stream.standard_normal(shape)
    if name.endswith("/W"):
        draw = 16 * draw
    elif "embed" in name or np.prod(shape) == max(shape):
        draw = 1 + 0.2 * draw
    else:
        features = shape[-1] if "/" in name else shape[0]
        draw = draw / np.sqrt(np.prod(shape) / features)
    return draw.astype(np.float32)


def weights(case: str) -> dict[str, np.ndarray]:
    """The other implementation's weights by its names."""
    with np.load(FOLDER / "outputs.npz") as stored:
        shapes = json.loads(str(stored[f"weights/{CASES[case]['weights']}"]))
    stream = np.random.RandomState(CASES[case]["seed"])
    return {name: _weight(name, tuple(shape), stream) for name, shape in shapes.items()}


def make(model: dict, data: dict | None = None, levels: int = 7) -> ConfigDict:
    """A complete config of discrete VE training with these settings."""
    config = get_default().unlock()
    config.sde.update(name="ve", num_scales=levels)
    config.training.continuous = False
    config.model.update({k: tuple(v) if isinstance(v, list) else v for k, v in model.items()})
    config.data.update(data or {})
    return config


def config_of(case: str) -> ConfigDict:
    facts = CASES[case]
    return make(facts["model"], facts["data"], facts["levels"] or 7)


def kind_of(case: str) -> str:
    """The library whose names the weights have."""
    return "torch" if case in ORIGINAL else "jax"


@functools.cache
def golden(case: str):
    """Config, network, parameters, x and label of one case, and its other arrays."""
    config, stored = config_of(case), arrays(case)
    if case in CLASSIFIERS:
        network = models.build_classifier(config)
        params = classifier.params(weights(case), network, config)
    else:
        network = models.build(config)
        params = networks.to_params(weights(case), network, config, kind_of(case))
    x, label = (jnp.asarray(stored.pop(name)) for name in ("x", "label"))
    return config, network, params, x, label, stored


def relative(found, expected) -> float:
    """Norm of the difference over norm."""
    return float(np.linalg.norm(np.asarray(found) - expected) / np.linalg.norm(expected))
