"""Checks of configs against the table of every setting, `configs.defaults`.

`check` compares a config with the table before anything is built: unknown keys (with the nearest
known name), types and ranges. Names in the library's tables, and combinations of settings, are
checked where the object is built.
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from configs.defaults import CHOICES, RETIRED, SETTINGS
from configs.names import did_you_mean
from configs.rules import (
    LARGEST,
    LONGEST_TEXT,
)
from untrusted import plain, shown


def chooser(name: str) -> str:
    """The setting whose value decides whether `name` has an effect; '' if there is none."""
    section, _, key = name.partition(".")
    chosen = (by for by, keys in CHOICES.items() if by.startswith(f"{section}.") and key in keys)
    by = next(chosen, {"model": "model.name", "sde": "sde.name"}.get(section, ""))
    return "" if by == name else by


def get_default() -> ConfigDict:
    """A config of all defaults, which are score_sde's CIFAR-10 values wherever it has them."""
    config = ConfigDict()
    for name, setting in SETTINGS.items():
        section, _, key = name.rpartition(".")
        if section and section not in config:
            config[section] = ConfigDict()
        (config[section] if section else config)[key] = setting.default
    return config.lock()


def flatten(config: ConfigDict) -> dict[str, Any]:
    """{'section.key': value} of a config; nested values deeper than that are left as they are."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        inner = value.items() if isinstance(value, ConfigDict) else [("", value)]
        flat.update({f"{key}.{k}" if k else str(key): v for k, v in inner})
    return flat


def check_name(name: str) -> None:
    """Raise ValueError, with the nearest known name, if there is no such setting."""
    if name not in SETTINGS:
        told = RETIRED.get(name) or did_you_mean(name, SETTINGS)
        raise ValueError(f"unknown setting {plain(name)}{told}")


def check_value(name: str, value: Any) -> None:
    """Raise ValueError, in the user's terms, for a value that setting `name` cannot have."""
    check_name(name)
    setting = SETTINGS[name]
    wanted, given = type(setting.default), type(value)
    if given is not wanted and (wanted, given) != (float, int):
        raise ValueError(f"{name} must be {wanted.__name__}, got {shown(value)} ({given.__name__})")
    if given in (str, tuple):
        text = given is str
        longest = max(LONGEST_TEXT, setting.longest) if text else setting.longest
        most, of = longest, "characters" if text else "numbers"
        if len(value) > most:
            raise ValueError(f"{name} must have at most {most:,} {of}, got {len(value):,}")
    numbers = {str: (), bool: (), tuple: value}.get(given, (value,))
    if not all(type(v) in (int, float) and abs(v) <= LARGEST for v in numbers):
        words = "numbers" if given is tuple else "a number"
        raise ValueError(f"{name} must be {words} of at most {LARGEST:g}, got {shown(value)}")
    if not setting.rule.holds(value):
        raise ValueError(f"{name} must be {setting.rule.words}, got {shown(value)}")


def check(config: ConfigDict) -> None:
    """Raise ValueError, in the user's terms, for the first setting that breaks its rule."""
    flat = flatten(config)
    for name, value in flat.items():
        check_value(name, value)
    missing = [name for name in SETTINGS if name not in flat]
    if missing:
        raise ValueError(f"the config lacks {missing[0]}: start from configs.schema.get_default()")


def of_model(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings among these that travel with a model; see `Setting`."""
    return {k: v for k, v in settings.items() if k in SETTINGS and SETTINGS[k].travels}
