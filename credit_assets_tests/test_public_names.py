"""The public names of the library: each costs what it needs and no more."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import credit_assets

HEAVY = {
    *("numpy", "pandas", "pyarrow", "scipy", "sqlalchemy", "duckdb", "xgboost", "lightgbm", "catboost", "matplotlib"),
    *("dagster", "mlflow", "kubernetes", "apprise"),
}
WITH_NUMPY = [
    "CreditScorer",
    "DriftPolicy",
    "TrainingConfig",
    "compare",
    "evaluate",
    "measure_drift",
    "train_candidate",
]
ALLOWED = {
    "build_definitions": {"dagster"},
    # Whoever makes or reads a book has it as an Arrow table a moment later.
    "generate_book": {"numpy", "pyarrow", "scipy"},
    "read_lending_club": {"numpy", "pandas", "pyarrow"},
    **{name: {"numpy"} for name in WITH_NUMPY},
}


def test_each_name_loads_only_what_it_needs() -> None:
    # One interpreter, and a fork of it for all names that may load the same, one after the other: the first that loads
    # more is told. What is not heavy and most of them need is there already.
    alike: dict[tuple[str, ...], list[str]] = {}
    for name in credit_assets.__all__:
        alike.setdefault(tuple(sorted(ALLOWED.get(name, set()))), []).append(name)
    code = (
        "import json, os, sys, dotenv, pydantic_settings, yaml, credit_assets\n"
        f"heavy = {HEAVY!r}\n"
        "print(json.dumps(['', sorted(heavy & set(sys.modules))]), flush=True)\n"
        f"for names in {list(alike.values())!r}:\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        for name in names:\n"
        "            getattr(credit_assets, name)\n"
        "            print(json.dumps([name, sorted(heavy & set(sys.modules))]), flush=True)\n"
        "        os._exit(0)\n"
        "    assert os.waitpid(child, 0)[1] == 0, names\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = {name: set(modules) for name, modules in map(json.loads, done.stdout.splitlines())}
    assert loaded == {name: ALLOWED.get(name, set()) for name in ["", *credit_assets.__all__]}


def test_the_type_checker_knows_the_same_names() -> None:
    tree = ast.parse(Path(credit_assets.__file__).read_text("utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    typed = {
        alias.asname: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    }
    assert typed == {name: f"credit_assets.{module}" for name, module in credit_assets._MODULE_OF.items()}
    assert set(credit_assets.__all__) <= set(dir(credit_assets))


def test_type_checkers_of_others_may_read_the_package() -> None:
    """Without the marker every decorator and base class of an extension would be Any to its author's type checker."""
    assert (Path(credit_assets.__file__).parent / "py.typed").is_file()
    packaged = (Path(credit_assets.__file__).parents[1] / "pyproject.toml").read_text("utf-8")
    assert '"py.typed"' in packaged


def test_another_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        credit_assets.train  # noqa: B018
