"""What pyproject.toml installs is what the package imports, no more and no less."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Programs that `credit-assets dev` and the image start.
PROGRAMS = {"dagster-webserver"}
EXTRAS = ("dask", "gpu", "cluster", "scorecard", "search")
# Modules that come with another package, in the version that it works with.
WITH_OTHERS = {
    "kubernetes": "dagster-k8s",
    "alembic": "dagster",
    "pydantic_core": "pydantic",
    "distributed": "dask",
    "markupsafe": "jinja2",
    "starlette": "dagster-webserver",
    "uvicorn": "dagster-webserver",
    "urllib3": "dagster-k8s",
    "fsspec": "universal-pathlib",
}


def normal(requirement: str) -> str:
    """The name of a requirement: "lightgbm[arrow]>=4.7" is "lightgbm"."""
    return re.split(r"[\[<>=!~; ]", requirement)[0].lower().replace("_", "-")


def imported() -> set[str]:
    """Top-level modules that the package imports anywhere."""
    found: set[str] = set()
    for file in (ROOT / "credit_assets").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"credit_assets"}


def test_every_dependency_is_imported_and_every_import_is_a_dependency() -> None:
    installed = packages_distributions()
    providers = {module: {normal(name) for name in installed.get(module, ())} for module in imported()}
    required = {normal(one) for one in PROJECT["dependencies"]}
    optional = {normal(one) for extra in EXTRAS for one in PROJECT["optional-dependencies"][extra]}
    assert required - set().union(*providers.values()) == PROGRAMS
    undeclared = {module for module, names in providers.items() if names and not names & (required | optional)}
    assert undeclared == set(WITH_OTHERS)
    assert set(WITH_OTHERS.values()) <= required | optional
