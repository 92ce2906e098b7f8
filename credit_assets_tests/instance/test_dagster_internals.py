"""The door to Dagster's insides: what it promises the type checker is what it gives, and it stands alone."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

import credit_assets
from credit_assets.instance import dagster_internals

PACKAGE = Path(credit_assets.__file__ or "").parent
DOOR = Path(dagster_internals.__file__)


# What the documentation of dagster-k8s names.
DOCUMENTED = {"K8sRunLauncher", "k8s_job_executor"}


def imports(file: Path) -> set[tuple[str, str]]:
    """Module and name of each `from ... import ...`, and of each `import ...` with no name, wherever it stands."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {(node.module, one.name) for one in node.names}
        elif isinstance(node, ast.Import):
            found |= {(one.name, "") for one in node.names}
    return found


def inside(module: str, name: str) -> bool:
    parts = module.split(".")
    if parts[0] == "dagster_k8s":
        return name not in DOCUMENTED
    return parts[0].startswith("dagster") and (any(part.startswith("_") for part in parts[1:]) or name.startswith("_"))


def test_each_name_is_where_the_type_checker_looks_for_it() -> None:
    given = {(module, name) for module, names in dagster_internals._NAMES.items() for name in names}
    (checked,) = (
        node
        for node in ast.parse(DOOR.read_text()).body
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
    )
    assert given == {(node.module, one.name) for node in checked.body for one in node.names}  # type: ignore[attr-defined]
    for module, name in given:
        assert getattr(dagster_internals, name) is getattr(import_module(module), name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dagster_internals.nothing


def test_no_other_module_goes_inside() -> None:
    found = {
        f"{file.relative_to(PACKAGE)}: {module} {name}"
        for file in PACKAGE.rglob("*.py")
        if file != DOOR
        for module, name in imports(file)
        if inside(module, name)
    }
    assert found == set()
