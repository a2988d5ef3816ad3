"""Configs from the command line: a config file, its argument, and single settings.

    --config configs/vp_cifar.py:deep --config.training.batch_size=64 --config.model.ch_mult=1,2,2

The type of a setting's default in `schema` decides how its text is parsed. A config file is a
program, and loading it runs it: read a stranger's first.
"""

import argparse
import ast
import runpy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ml_collections import ConfigDict

from configs import defaults, schema
from untrusted import plain, shown

PREFIX = "--config."
LONGEST_PATH, LONGEST_REASON = 200, 300
"""Most characters of a path, and of a message of a user's program, that an error repeats."""


class Parser(argparse.ArgumentParser):
    """Raise ValueError where the parent class would end the program."""

    def error(self, message: str) -> NoReturn:
        """Raise ValueError; called by argparse."""
        raise ValueError(message)


def split(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The arguments that are not settings, and the text given for each setting.

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
            raise ValueError(f"{plain(argument)} must be followed by a value")
        settings[name] = value
    return others, settings


def load(argument: str, settings: dict[str, str]) -> ConfigDict:
    """The config of `path` or `path:argument`, changed by `settings` (texts by name).

    Raises ValueError, in the user's terms, for a file that gives no config and for settings that
    do not exist, are of another type or break their rule.
    """
    path, colon, variant = argument.partition(":")
    config = _run(Path(path), [variant] if colon else [])
    override(config, settings)
    return config


def override(config: ConfigDict, settings: dict[str, str]) -> None:
    """Change a config by `settings` (texts by name) and check it. Raises ValueError as `load`."""
    for name, text in settings.items():
        section, _, key = name.rpartition(".")
        (config[section] if section else config)[key] = parse(name, text)
    schema.check(config)


def _run(path: Path, arguments: list[str]) -> ConfigDict:
    told = plain(str(path), LONGEST_PATH)
    if not path.is_file():
        wrong = f"{told} is none" if path.exists() else f"there is no {told}"
        raise ValueError(f"--config must be a config file, {wrong}")
    try:
        get_config = runpy.run_path(str(path)).get("get_config")
        if get_config is None:
            raise ValueError("it has no function get_config")
        config = get_config(*arguments)
        if not isinstance(config, ConfigDict):
            raise ValueError(f"get_config must return a ConfigDict, got {type(config).__name__}")
        schema.check(config)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # it is the user's program, which may do anything, leave too
        raise ValueError(f"--config {told} gives no config: {reason(error)}") from error
    return config


def first_line(error: BaseException) -> str:
    """First line of an error's message, without developers' detail; any class of error."""
    try:
        return next(iter(str(error).strip().splitlines()), "")
    except Exception:
        return ""


def reason(error: BaseException) -> str:
    """The reason why a user's program failed, in one line."""
    told = first_line(error)
    if not isinstance(error, ValueError) or not told:
        told = f"{type(error).__name__}: {told}"
    return plain(told, LONGEST_REASON)


def parse(name: str, text: str) -> Any:
    """The value of setting `name` from its text; ValueError for no such setting or a bad text."""
    schema.check_name(name)
    if text.strip() == defaults.AUTO and name in defaults.FROM_DATA:
        return defaults.FROM_DATA[name]
    kind = type(defaults.SETTINGS[name].default)
    words, read = _READERS[kind]
    try:
        return read(text)
    except (ValueError, SyntaxError, KeyError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError(f"{name} must be {words}, got {shown(text)}") from error


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
