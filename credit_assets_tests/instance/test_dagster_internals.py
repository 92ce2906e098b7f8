"""The door to Dagster's insides: what it promises the type checker is what it gives, and it stands alone."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

from credit_assets.instance import dagster_internals

DOOR = Path(dagster_internals.__file__)


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
