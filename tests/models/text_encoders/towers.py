"""Small readers of texts, written as transformers writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from models.text_encoders.config import described
from models.text_encoders.files import wanted
from models.text_encoders.names import NAMES, TABLES

CONFIG = {
    "architectures": ["CLIPTextModelWithProjection"], "model_type": "clip_text_model",
    "vocab_size": 677, "hidden_size": 8, "intermediate_size": 16, "num_attention_heads": 2,
    "num_hidden_layers": 2, "max_position_embeddings": 77, "projection_dim": 4, "eos_token_id": 2,
    "hidden_act": "gelu",
}  # fmt: skip


def written(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """A directory with a config.json and drawn weights."""
    folder.mkdir(parents=True)
    content = CONFIG | changes
    (folder / "config.json").write_text(json.dumps(content))
    about = described(content)
    shapes = wanted(about.network)
    names, stream = NAMES[about.kind](shapes), np.random.RandomState(seed)
    drawn = {names[path]: stream.standard_normal(shape).astype(np.float32) / 3
             for path, shape in shapes.items()}  # fmt: skip
    matrix = lambda name, array: array.ndim == 2 and name not in TABLES
    theirs = {name: np.ascontiguousarray(array.T) if matrix(name, array) else array
              for name, array in drawn.items()}  # fmt: skip
    prefix = "text_model." if about.kind == "clip" else ""
    save_file(
        {name if name.startswith("text_projection") else f"{prefix}{name}": array
         for name, array in theirs.items()},
        folder / "model.safetensors",
    )  # fmt: skip
    return folder
