"""Tables of the names that settings take."""

import importlib
import re
from collections.abc import Mapping

import pytest

from configs import defaults
from train_lib import names

CLOSED = {
    "model.resblock_type", "model.progressive", "model.progressive_input",
    "model.progressive_combine", "model.embedding_type", "model.normalization", "model.refinenet",
    "model.interpolation", "model.dtype", "data.filter", "sampling.pc_order",
    "sampling.second_order", "sampling.third_order", "sampling.ancestral_variance",
    "sampling.restart_solver", "sampling.step_control", "data.missing", "model.attention_order",
    "data.coarse_noise",
}  # fmt: skip
"""Choices within one network or sampler, to which no row is added without changing its code."""


def tables(name: str) -> list[Mapping[str, object]]:
    """The tables that a setting's meaning refers to."""
    told = defaults.SETTINGS[name].meaning.partition("; all: ")[2]
    places = re.findall(r"([A-Z_]+) in (\S+)\.py", told)
    modules = [path.replace("/", ".").removesuffix(".__init__") for _, path in places]
    return [
        getattr(importlib.import_module(m), t) for m, (t, _) in zip(modules, places, strict=True)
    ]


REFERRING = [name for name, setting in defaults.SETTINGS.items() if "; all: " in setting.meaning]


@pytest.mark.parametrize("name", REFERRING)
def test_a_meaning_refers_to_the_table_in_which_names_are_looked_up(name):
    found = tables(name)
    assert found
    if name in names.TABLES:
        assert all(any(table is known for known in names.TABLES[name]) for table in found)
    default = defaults.SETTINGS[name].default
    assert default in {"", "all", "published", *(key for table in found for key in table)}


def test_a_table_to_which_rows_are_added_is_referred_to():
    assert names.TABLES.keys() - CLOSED <= set(REFERRING)
    assert names.TABLES.keys() >= CLOSED
