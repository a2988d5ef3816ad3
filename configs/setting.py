"""A setting: what every entry of the tables in `configs.defaults` is."""

from functools import partial
from typing import Any, NamedTuple

from configs.rules import FEATURES, LONGEST_TUPLE, MOST_LEVELS, Rule


class Setting(NamedTuple):
    """A default value (its type is the setting's type), a rule, and the setting's meaning.

    longest: most entries of a tuple, or characters of a text if that is more than usual.
    travels: whether `--mode export` writes the setting into its files, and `--mode import` takes it
      from them. It is True for settings that say what the model is, how it is trained or how best
      sampled, and False for those that name a file, a program, a project or the machine. `OfModel`
      sets it.
    """

    default: Any
    rule: Rule
    meaning: str
    travels: bool = False
    longest: int = LONGEST_TUPLE


OfModel = partial(Setting, travels=True)
OfFeatures = partial(OfModel, longest=FEATURES)
OfLevels = partial(OfModel, longest=MOST_LEVELS)
OfWords = partial(OfModel, longest=2**18)
