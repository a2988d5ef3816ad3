"""Rules of settings: the values that are allowed, and the words that say so."""

import re
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """A condition on a value and the words that state it."""

    holds: Any
    words: str


LARGEST = 1e30
"""Largest absolute value of any number: it fits into float32, its square does not."""
LONGEST_TEXT, LONGEST_TUPLE = 4096, 64
"""Most characters of a text, and most entries of a tuple."""
INT32 = 2**31 - 1
"""Largest number of updates and of samples, which are counted in 32 bits."""


def whole(least: int, most: int) -> Rule:
    """Integers of a range, whose upper end is beyond any use but can still be built."""
    return Rule(lambda v: least <= v <= most, f"from {least:,} to {most:,}")


def entries(rule: Rule) -> Rule:
    """Tuples whose entries all keep a rule."""
    return Rule(lambda v: all(map(rule.holds, v)), f"a tuple of numbers {rule.words}")


ANY = Rule(lambda v: True, "")
POSITIVE = Rule(lambda v: v > 0, "positive")
NOT_NEGATIVE = Rule(lambda v: v >= 0, "zero or positive")
INSIDE = Rule(lambda v: 0 < v < 1, "in (0, 1)")
FRACTION = Rule(lambda v: 0 <= v < 1, "in [0, 1)")
SHARE = Rule(lambda v: 0 <= v <= 1, "in [0, 1]")
EDGE = Rule(lambda v: v == 0 or 1e-3 <= v < 1, "0, or from 0.001 to below 1")
RATES = Rule(lambda v: all(0 <= r < 1 for r in v), "a tuple of rates in [0, 1)")
AXIS = Rule(lambda v: 0 < v <= 2**20 or v == -1, f"from 1 to {2**20:,}, or -1 for all others")
RANGE = Rule(lambda v: not v or (len(v) == 2 and v[0] < v[1]), "() or two ascending numbers")
BOUNDARY = Rule(lambda v: 0 <= v < 1, "in [0, 1), where 0 is the SDE's default")
SEED = Rule(lambda v: 0 <= v < 2**32, "from 0 to 4,294,967,295, 32 bits")
UPDATES, PERIOD = whole(1, INT32), whole(0, INT32)
BATCH, IMAGES = whole(1, 2**20), whole(1, 10**8)
NAME = Rule(lambda v: re.fullmatch(r"\w[\w.-]*", v) is not None,
            "a name of letters, digits, '_', '.' and '-'")  # fmt: skip
SECTIONS = Rule(lambda v: re.fullmatch(r"|ddim\d{1,6}|\d{1,6}(\s*,\s*\d{1,6})*", v) is not None,
                "empty, numbers separated by commas, or ddim and a number")  # fmt: skip
MOST_LEVELS = 10_000
LEVELS, STEPS = whole(2, MOST_LEVELS), whole(0, 10_000)
WORDS = Rule(lambda v: re.fullmatch(r"|[\w'\u2019-]+( [\w'\u2019-]+)*", v) is not None,
             "empty, or words separated by single spaces")  # fmt: skip
HASH = Rule(lambda v: re.fullmatch(r"|[0-9a-f]{16}", v) is not None,
            "empty, or 16 hexadecimal digits")  # fmt: skip
ROUNDS = whole(1, 10_000)
TRIES = whole(1, 10**7)
SIDE, CHANNELS = whole(1, 16_384), whole(1, 2**16)
BLOCKS, CLASSES = whole(1, 64), whole(0, 2**20)
AXES = entries(whole(0, 2**20))
POSITIVES = Rule(lambda v: all(x > 0 for x in v), "a tuple of positive numbers")
FEATURES = 2**14
"""Most entries of a tuple that has a number for each feature of the data."""
MULTIPLES = Rule(lambda v: all(0 < x <= 1024 for x in v),
                 "a tuple of numbers above 0 and at most 1,024")  # fmt: skip
