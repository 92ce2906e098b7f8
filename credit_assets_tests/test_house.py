"""The house as it was drawn: sizes, circles and doors. Layers are import-linter's to hold (`make lint`)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import grimp
import pytest

import credit_assets

PACKAGE = Path(credit_assets.__file__).parent
TESTS = Path(__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
LONGEST_MODULE, LONGEST_CLASS = 500, 250
WORDLESS = {"told", "said", "asked"}
"""Parts of names by which nobody finds a thing: of a message, a request, a setting."""


@pytest.fixture(scope="module")
def trees() -> dict[Path, ast.Module]:
    return {module: ast.parse(module.read_text("utf-8")) for module in MODULES}


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """Which modules of the package each module imports, lazily and for types too."""
    graph = grimp.build_graph("credit_assets", cache_dir=None)
    return {name: set(graph.find_modules_directly_imported_by(name)) for name in graph.modules}


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of two nodes and more (Tarjan 1972), each sorted."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for following in sorted(graph.get(node, ())):
            if following not in index:
                visit(following)
                low[node] = min(low[node], low[following])
            elif following in stack:
                low[node] = min(low[node], index[following])
        if low[node] == index[node]:
            at = stack.index(node)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def room(module: str) -> str:
    """The folder of a module, or the module where it stands at the top."""
    parts = module.split(".")
    return ".".join(parts[: 3 if parts[1:2] == ["ml"] else 2])


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]
    assert circles({"a": {"b"}, "b": set()}) == []


def test_no_circle_between_files(imports: dict[str, set[str]]) -> None:
    assert circles(imports) == []


def test_no_circle_between_folders(imports: dict[str, set[str]]) -> None:
    rooms: dict[str, set[str]] = {}
    for module, imported in imports.items():
        # A package's own __init__ belongs to no room of its parts.
        rooms.setdefault(room(module), set()).update({room(one) for one in imported} - {room(module)})
    assert circles(rooms) == []


def test_no_module_and_no_class_is_too_long(trees: Mapping[Path, ast.Module]) -> None:
    long = []
    for module, tree in trees.items():
        if (lines := len(module.read_text("utf-8").splitlines())) > LONGEST_MODULE:
            long.append(f"{module.relative_to(PACKAGE)}: {lines} lines")
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and (lines := (node.end_lineno or 0) - node.lineno + 1) > LONGEST_CLASS:
                long.append(f"{module.relative_to(PACKAGE)}: class {node.name} of {lines} lines")
    assert long == []


def test_every_module_says_what_belongs_in_it(trees: Mapping[Path, ast.Module]) -> None:
    silent = [one for one, tree in trees.items() if one.read_text("utf-8").strip() and not ast.get_docstring(tree)]
    assert silent == []


def names(tree: ast.Module) -> Iterator[str]:
    """What a module gives a name: functions, classes, arguments, variables, attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def test_names_say_what_a_thing_is_and_not_that_somebody_spoke_of_it(trees: Mapping[Path, ast.Module]) -> None:
    found = {
        f"{module.relative_to(PACKAGE)}: {name}"
        for module, tree in trees.items()
        for name in (module.stem, *names(tree))
        if not WORDLESS.isdisjoint(word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name))
    }
    assert sorted(found) == []


def test_no_two_public_classes_have_one_name(trees: Mapping[Path, ast.Module]) -> None:
    homes: dict[str, list[str]] = {}
    for module, tree in trees.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(str(module.relative_to(PACKAGE)))
    assert {name: where for name, where in homes.items() if len(where) > 1} == {}


def imported_by(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def test_no_test_module_imports_another() -> None:
    guilty = [
        f"{test.relative_to(TESTS)} imports {name}"
        for test in sorted(TESTS.rglob("test_*.py"))
        for name in imported_by(test)
        if name.startswith("credit_assets_tests.") and any(part.startswith("test_") for part in name.split("."))
    ]
    assert guilty == []


def test_tests_mirror_the_package() -> None:
    """Every folder of tests is a folder of the package, but those of helpers, data and the ways through its pages."""
    for folder in TESTS.rglob("*"):
        inner = folder.relative_to(TESTS)
        others = {"support", "browser", "data", "snapshots", "screens", "__pycache__"}
        if folder.is_dir() and not others & set(inner.parts):
            assert (PACKAGE / inner).is_dir(), inner
