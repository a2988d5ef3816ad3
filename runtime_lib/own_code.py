"""Functions in a user's own file, FILE.py:FUNCTION, whose code is run."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from configs.command_line import reason
from untrusted import plain


def _module(file: str) -> Any:
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    if spec is None or spec.loader is None:
        raise ValueError("the name of a file of Python ends in .py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def own_function(setting: str, text: str, what: str) -> tuple[Callable[..., Any], str]:
    """(the function FILE.py:FUNCTION, its name with a hash of the file).

    what: the words that say which function is wanted. Raises ValueError, in one line that names the
    setting, for a file or a function that is not there or fails.
    """
    file, _, name = text.rpartition(":")
    if not Path(file).is_file():
        raise ValueError(f"{setting}: there is no file {file!r} to take {name!r} from")
    try:
        function = getattr(_module(file), name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # it is the user's program, which may do anything, leave too
        raise ValueError(f"{setting}={text}: {reason(error)}") from error
    if not callable(function):
        raise ValueError(f"{setting}={text}: {name} must be {what}")
    source = hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]
    return function, f"{name} of {plain(Path(file).name)} sha256={source}"
