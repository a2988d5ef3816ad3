"""Configs with other settings than those of their file: of a saved run, or of a caller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from configs import defaults, schema


def with_settings(config: ConfigDict, *changes: Mapping[str, Any]) -> ConfigDict:
    """A copy of the config with other settings; ValueError for a bad one."""
    found = config.copy_and_resolve_references()
    for values in changes:
        for name, value in values.items():
            schema.check_name(name)
            kind = type(defaults.SETTINGS[name].default)
            section, _, key = name.rpartition(".")
            (found[section] if section else found)[key] = tuple(value) if kind is tuple else value
    schema.check(found)
    return found
