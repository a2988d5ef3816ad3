"""The changes that tests are held to notice are those that are meant, and their table is whole."""

import ast

import pytest

from benchmarks import mutations
from benchmarks.mutations import ROOMS, ROOT, Outcome
from benchmarks.mutations_explained import EXPLAINED
from benchmarks.mutators import mutants, mutated

CHANGES = {
    "y = 2.5": {"y = 5.0"},
    "y = 0.0": {"y = 1.0"},
    "y = 3": {"y = 4", "y = 2"},
    "y = 0": {"y = 1"},
    "y = -x": {"y = x"},
    "y = a + b": {"y = a - b"},
    "y = a - b": {"y = a + b"},
    "y = a * b": {"y = a / b"},
    "y = a / b": {"y = a * b"},
    "y = a ** b": {"y = a * b"},
    "y = a < b": {"y = a <= b", "y = a > b"},
    "y = a <= b": {"y = a < b", "y = a >= b"},
    "y = a > b": {"y = a >= b", "y = a < b"},
    "y = a == b": {"y = a != b"},
    "y = min(a, b)": {"y = max(a, b)"},
    "y = np.maximum(a, b)": {"y = np.minimum(a, b)"},
    "y = x.argmin()": {"y = x.argmax()"},
    "y = x[1]": {"y = x[2]", "y = x[0]"},
    "f(x, axis=0)": {"f(x, axis=1)"},
    "def f(n: int=1):\n    return n": {f"def f(n: int={k}):\n    return n" for k in (0, 2)},
    # What no test is meant to hold.
    "y = True": set(),
    "y = 'a' + b": set(),
    "y = f'{a:.3f}'": set(),
    "y = minimum": set(),
    "def f(x: Float[Array, '3']) -> Literal[3]:\n    return x": set(),
    "x: Literal[3] = y": set(),
    "Pair = Float[Array, '2'] | Float[Array, '3']": set(),
    "raise ValueError(f'at most {a + 1}')": set(),
}


@pytest.mark.parametrize("source", CHANGES)
def test_mutants_are_those_that_are_meant(source: str) -> None:
    found = [mutated(source, mutant.number) for mutant in mutants(source)]
    assert sorted(found) == sorted(CHANGES[source])


SOURCE = "a = 1\nif a < 2 and 2 > 1:\n    b = max(a, 2.0) - a\n"


def test_each_mutant_differs_in_one_place_and_has_a_name_and_a_line_of_its_own() -> None:
    found = mutants(SOURCE)
    sources = [mutated(SOURCE, mutant.number) for mutant in found]
    assert len({*sources, ast.unparse(ast.parse(SOURCE))}) == len(found) + 1
    assert len({mutant.name for mutant in found}) == len(found)
    assert [mutant.number for mutant in found] == list(range(len(found)))
    for mutant, source in zip(found, sources, strict=True):
        pairs = zip(SOURCE.splitlines(), source.splitlines(), strict=True)
        assert [i for i, (old, new) in enumerate(pairs, 1) if old != new] == [mutant.line]
    assert "b = max(a, 2.0) - a | 2.0 -> 4.0" in {mutant.name for mutant in found}
    assert "if a < 2 and 2 > 1: | 2 -> 3 #2" in {mutant.name for mutant in found}


NOT_NUMERICS = {
    "sde_lib": {"pytree", "tables"},
    "samplers": set(),
    "samplers/planned": set(),
    "samplers/rules": set(),
    "samplers/adaptive": set(),
    "eval_lib/likelihood": {"coder", "evaluator"},
    "eval_lib/metrics": set(),
    "eval_lib/array_metrics": set(),
}
"""Files of folders that are mutated otherwise whole."""


def test_the_table_has_every_file_of_the_numerics_and_every_test_exists() -> None:
    known = {file: tests for room in ROOMS.values() for file, tests in room.items()}
    for path in (*known, *(test for tests in known.values() for test in tests)):
        file, _, test = path.partition("::")
        assert (ROOT / file).is_file(), path
        assert f"def {test}" in (ROOT / file).read_text(), path
    for folder, others in NOT_NUMERICS.items():
        names = {path.stem for path in (ROOT / folder).glob("*.py")} - {"__init__"}
        assert {f"{folder}/{name}.py" for name in names - others} <= known.keys()


@pytest.mark.parametrize("file", EXPLAINED)
def test_every_explanation_is_of_a_mutant_that_there_is(file: str) -> None:
    names = {mutant.name for mutant in mutants((ROOT / file).read_text())}
    assert EXPLAINED[file].keys() <= names, EXPLAINED[file].keys() - names
    assert all(EXPLAINED[file].values())


def test_the_score_is_of_what_is_not_explained() -> None:
    came = ["killed"] * 6 + ["timeout", "survived", "explained", "explained"]
    found = [Outcome("a" if i % 2 else "b", "f", 1, "", c, 1.0) for i, c in enumerate(came)]
    rows = mutations.table(found).splitlines()
    assert rows[-1] == "| all | 10 | 6 | 1 | 1 | 2 | 87.5% |"
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| b", "| a", "| all"]


def test_a_source_that_is_put_anew_is_read_anew(tmp_path) -> None:
    """Two of one length within a second: by their times Python tells them apart."""
    moments = []
    for text in ("x = 1\n", "x = 2\n"):
        mutations.put(tmp_path / "a.py", text)
        moments.append(int((tmp_path / "a.py").stat().st_mtime))
    assert moments[0] != moments[1]


def test_a_sample_is_drawn_from_all_rooms_and_the_same_for_a_seed() -> None:
    draw = lambda seed: mutations.chosen(["data_lib", "eval_lib/metrics"], 40, seed)
    assert draw(1) == draw(1) != draw(2)
    assert sum(map(len, draw(1).values())) == 40
    assert {room for one in draw(1).values() for room, _ in one} == {"data_lib", "eval_lib/metrics"}


def test_files_are_drawn_from_by_their_names() -> None:
    files = ["data_lib/bounds.py", "models/layers/pieces.py"]
    found = mutations.chosen(files, 0, 0)
    assert sorted(found) == files
    assert all(len(found[f]) == len(mutants((ROOT / f).read_text())) for f in files)
