"""From the command line to a config: a config file, its argument, and single settings.

    --config configs/vp_cifar.py:deep --config.training.batch_size=64 --config.model.ch_mult=1,2,2

Settings are read by the types of their defaults in `schema`.
"""

import argparse
import ast
import runpy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ml_collections import ConfigDict

from configs import schema

PREFIX = "--config."


class Parser(argparse.ArgumentParser):
    """Raises ValueError where its parent would leave the program."""

    def error(self, message: str) -> NoReturn:
        """Called by argparse."""
        raise ValueError(message)


def split(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The arguments that are no settings, and the text given for each setting.

    Both `--config.section.key=value` and `--config.section.key value` are understood.
    Raises ValueError for a setting without a value.
    """
    others: list[str] = []
    settings: dict[str, str] = {}
    rest = iter(arguments)
    for argument in rest:
        if not argument.startswith(PREFIX):
            others.append(argument)
            continue
        name, equals, text = argument.removeprefix(PREFIX).partition("=")
        value = text if equals else next(rest, None)
        if value is None:
            raise ValueError(f"{argument} must be followed by a value")
        settings[name] = value
    return others, settings


def load(argument: str, settings: dict[str, str]) -> ConfigDict:
    """The config of `path` or `path:argument`, with `settings` (texts by name) put in.

    Raises ValueError, in the user's terms, for a file that gives no config and for settings that
    do not exist or are of another type.
    """
    path, colon, variant = argument.partition(":")
    config = _run(Path(path), [variant] if colon else [])
    schema.check(config)
    override(config, settings)
    return config


def override(config: ConfigDict, settings: dict[str, str]) -> None:
    """Put `settings` (texts by name) into a config. Raises ValueError as `load`."""
    for name, text in settings.items():
        section, _, key = name.rpartition(".")
        (config[section] if section else config)[key] = parse(name, text)


def _run(path: Path, arguments: list[str]) -> ConfigDict:
    if not path.is_file():
        raise ValueError(f"--config must be a config file, there is no {path}")
    try:
        get_config = runpy.run_path(str(path)).get("get_config")
        if get_config is None:
            raise ValueError("it has no function get_config")
        config = get_config(*arguments)
    except Exception as error:  # it is the user's program, which may do anything
        told = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise ValueError(f"--config {path} gives no config: {told}") from error
    if not isinstance(config, ConfigDict):
        raise ValueError(
            f"--config {path} gives no config: get_config must return a ConfigDict, "
            f"got {type(config).__name__}"
        )
    return config


def parse(name: str, text: str) -> Any:
    """The value of setting `name` from its text; ValueError for no such setting or a bad text."""
    schema.check_name(name)
    kind = type(schema.SETTINGS[name].default)
    words, read = _READERS[kind]
    try:
        return read(text)
    except (ValueError, SyntaxError, KeyError, TypeError) as error:
        raise ValueError(f"{name} must be {words}, got {text!r}") from error


def _tuple(text: str) -> tuple[int | float, ...]:
    value = ast.literal_eval(text.strip())
    entries = tuple(value) if isinstance(value, tuple | list) else (value,)
    if not all(type(entry) in (int, float) for entry in entries):
        raise ValueError
    return entries


_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_READERS: dict[type, tuple[str, Callable[[str], Any]]] = {
    bool: ("True or False", lambda text: _TRUTH[text.strip().lower()]),
    int: ("an integer", int),
    float: ("a number", float),
    str: ("a text", str),
    tuple: ("numbers in brackets, such as (1, 2, 2)", _tuple),
}
