"""The house: imports go one way, a room holds one subject, and what is public says what it is."""

from __future__ import annotations

import ast
import graphlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
FLOORS = (
    ("untrusted",),
    ("configs",),
    ("sde_lib", "data_lib"),
    ("models", "samplers", "runtime_lib"),
    ("train_lib", "eval_lib"),
    ("modes",),
    ("main",),
)
"""Rooms from the lowest; a room imports from itself and from floors below its own."""
FLOOR = {room: k for k, rooms in enumerate(FLOORS) for room in rooms}
OWNERS = {
    "flax.linen": "models", "diffrax": "samplers", "grain": "data_lib",
    "tensorflow_datasets": "data_lib", "orbax": "runtime_lib.checkpoints",
}  # fmt: skip
"""Libraries that one room alone imports."""
RUN = {
    "modes.train", "modes.sample", "modes.samplers", "modes.evaluate", "modes.stats",
    "modes.likelihood", "modes.latents", "modes.profile", "modes.import_", "modes.export",
}  # fmt: skip
"""Modules of --mode's names: none of them imports another. `modes.evaluation` is one's parts."""
OF_ALL = ("modes.reading", "modes.model")
"""Modules that speak of all modes, and may import them."""
LONGEST = 350
LONG = {"runtime_lib/checkpoints/store.py"}
"""Files of more lines: what a checkpoint survives."""
ADVERBIAL = re.compile(
    r"(Of|As|What|Where|Whether|So|That|How|Which|Why|Whose|When|While|There|Does)\b"
)


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the library, by its dotted name."""
    files = (path for room in FLOOR for path in (ROOT / room).rglob("*.py"))
    return {name_of(path): ast.parse(path.read_text()) for path in (*files, ROOT / "main.py")}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def file_of(module: str) -> str:
    path = module.replace(".", "/")
    return f"{path}.py" if (ROOT / f"{path}.py").exists() else f"{path}/__init__.py"


def imported(tree: ast.Module) -> Iterator[str]:
    """Dotted names of what a module imports, those inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports() -> Iterator[tuple[str, str]]:
    """(a module, what of ours it imports), the latter by module."""
    for module, tree in modules().items():
        for name in imported(tree):
            if name.split(".")[0] in FLOOR:
                yield module, name if name in modules() else name.rpartition(".")[0] or name


def room(module: str) -> str:
    return module.split(".")[0]


def test_imports_go_down():
    wrong = [
        f"{module} imports {name}"
        for module, name in imports()
        if room(name) != room(module) and FLOOR[room(name)] >= FLOOR[room(module)]
    ]
    assert not wrong


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Modules of which each imports the one before it, the first the last; [] without a circle."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_no_modules_import_one_another_in_a_circle():
    graph: dict[str, set[str]] = {}
    for module, name in imports():
        graph.setdefault(module, set()).add(name)
    assert "modes.train" in graph["main"]
    assert not circle(graph)
    assert set(circle({**graph, "modes.train": {"main"}})) == {"main", "modes.train"}


def test_a_library_is_imported_by_its_room_alone():
    wrong = [
        f"{module} imports {name}"
        for module, tree in modules().items()
        for name in imported(tree)
        for library, owner in OWNERS.items()
        if f"{name}.".startswith(f"{library}.") and not f"{module}.".startswith(f"{owner}.")
    ]
    assert not wrong


def test_no_mode_imports_another():
    assert modules().keys() >= RUN
    of_eval = lambda module: module == "modes.evaluate" or module.startswith("modes.evaluation")
    wrong = [
        f"{module} imports {name}"
        for module, name in imports()
        if room(module) == room(name) == "modes" and module not in OF_ALL
        if name in RUN or (of_eval(name) and not of_eval(module))
    ]
    assert not wrong


def test_a_module_is_called_by_its_own_name():
    paths = [path for folder in (*FLOOR, "tests", "benchmarks", "examples")
             for path in (ROOT / folder).rglob("*.py")]  # fmt: skip
    ours = {*FLOOR, "tests", "benchmarks"}
    wrong = [
        f"{path.relative_to(ROOT)}: {alias.name} as {alias.asname}"
        for path in paths
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if alias.asname and room(getattr(node, "module", None) or alias.name) in ours
    ]
    assert not wrong


def test_what_builds_lies_in_a_file_with_a_name():
    wrong = [
        file_of(module)
        for module, tree in modules().items()
        if file_of(module).endswith("__init__.py")
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    ]
    assert not wrong


def test_a_file_holds_no_more_than_one_can_read():
    lengths = {
        file: len((ROOT / file).read_text().splitlines()) for file in map(file_of, modules())
    }
    assert {file for file, length in lengths.items() if length > LONGEST} <= LONG


def test_an_override_is_declared_and_not_ignored():
    marked = [file for file in map(file_of, modules())
              if "ignore[override]" in (ROOT / file).read_text()]  # fmt: skip
    assert not marked


Definition = ast.ClassDef | ast.FunctionDef


def definitions(tree: ast.Module | ast.ClassDef) -> Iterator[tuple[Definition, bool]]:
    """(a class, function or method, whether it is a method), those of private classes left out."""
    for node in tree.body:
        if isinstance(node, Definition):
            yield node, isinstance(tree, ast.ClassDef)
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from definitions(node)


def test_a_public_class_has_its_name_alone():
    owners: dict[str, list[str]] = {}
    for module, tree in modules().items():
        for node, method in definitions(tree):
            if isinstance(node, ast.ClassDef) and not method and not node.name.startswith("_"):
                owners.setdefault(node.name, []).append(module)
    assert not {name: found for name, found in owners.items() if len(found) > 1}


def test_what_is_public_is_documented():
    """A method may leave it to the class whose method it overrides."""
    every = [(module, node, method) for module, tree in modules().items()
             for node, method in definitions(tree)]  # fmt: skip
    explained = {node.name for _, node, method in every if method and ast.get_docstring(node)}
    bare = [
        f"{file_of(module)}: {node.name}"
        for module, node, method in every
        if not node.name.startswith("_")
        and not ast.get_docstring(node)
        and not (method and node.name in explained)
    ]
    bare += [file_of(name) for name, tree in modules().items() if not ast.get_docstring(tree)]
    assert not bare


def docstrings(tree: ast.Module) -> Iterator[str]:
    """Docstrings of a module and of everything in it, attributes and constants included."""
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield text.strip()


def test_docstrings_open_with_a_noun_or_a_verb():
    rooms = ("benchmarks", "examples", "tests")
    others = [path for room in rooms for path in (ROOT / room).rglob("*.py")]
    trees = {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in others}
    trees |= {file_of(module): tree for module, tree in modules().items()}
    wrong = [
        f"{file}: {text.splitlines()[0]}"
        for file, tree in trees.items()
        for text in docstrings(tree)
        if ADVERBIAL.match(text)
    ]
    assert not wrong
