"""The keys of a diffusers config.json: every one is known, and its value keeps a rule."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from models.pretrained.diffusers.rules import Json, JsonRule, check
from models.pretrained.files.tensors import PretrainedError
from untrusted import plain

Keys = Mapping[str, tuple[Any, JsonRule]]
"""Key -> its value where a file is silent, and the rule of its values."""


def values(file: str, content: Json, keys: Keys, harmless: Collection[str] = ()) -> dict[str, Any]:
    """The values of `keys`; those that begin with an underscore say where a file comes from.

    harmless: keys that say nothing of what is computed.

    Raises:
      PretrainedError: there is another key, or a value breaks its rule.
    """
    for key in content:
        if key not in keys and key not in harmless and not key.startswith("_"):
            raise PretrainedError(
                f"its {file} has the key {plain(key)}, of which nothing is known here: refused"
            )
    found = {key: content.get(key, default) for key, (default, _) in keys.items()}
    check(file, found, {key: rule for key, (_, rule) in keys.items()})
    return found
