"""A lender's package with extensions, in a folder of its own on the path of this process."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from credit_assets.ml.data import extension_sources, extensions

FEATURES = '''
"""Features of a lender's own."""
from credit_assets.ml.extensions import Numbers, Texts, feature

from OWN.rates import FACTOR

@feature
def own_burden(debt: Numbers, income: Numbers) -> Numbers:
    """Debt over income, scaled."""
    return FACTOR * debt / income
'''
MODULES = {"features": FEATURES, "rates": "FACTOR = 2.0\n"}

TRIGGER = '''
"""A trigger."""
from collections.abc import Mapping
from typing import Any
from credit_assets.ml.extensions import Condition, trigger

@trigger(of="drift_report")
def own_shift(report: Mapping[str, Any], *, psi: float = 0.25) -> Condition:
    """The scores have moved."""
    found = report["psi"]
    return Condition(None if found is None else found >= psi, f"PSI {found}")
'''


class Lender:
    """Writes a package, installed or not. OWN in a text is the package's name."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.name = folder / "site", f"own_{uuid4().hex[:10]}"
        self._monkeypatch = monkeypatch
        self.folder.mkdir()
        monkeypatch.syspath_prepend(str(self.folder))
        monkeypatch.setattr(extensions, "_named", None)
        monkeypatch.delenv(extensions.SETTING, raising=False)

    def write(self, **modules: str) -> Lender:
        """Modules of the package by name; what was imported of it is forgotten, as in a new process."""
        package = self.folder / self.name
        package.mkdir(exist_ok=True)
        (package / "__init__.py").touch()
        for name, text in modules.items():
            (package / f"{name}.py").write_text(text.replace("OWN", self.name), "utf-8")
        self.restart()
        return self

    def edit(self, module: str, old: str, new: str) -> None:
        file = self.folder / self.name / f"{module}.py"
        text = file.read_text("utf-8")
        assert old in text
        self.write(**{module: text.replace(old, new)})

    def install(self, version: str = "1.2.0", module: str = "features") -> Lender:
        """As an installed distribution would be: with an entry point."""
        for old in self.folder.glob(f"{self.name}-*.dist-info/*"):
            old.unlink()
        for old in self.folder.glob(f"{self.name}-*.dist-info"):
            old.rmdir()
        info = self.folder / f"{self.name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {self.name}\nVersion: {version}\n")
        (info / "top_level.txt").write_text(f"{self.name}\n")
        (info / "entry_points.txt").write_text(f"[{extensions.GROUP}]\nown = {self.name}.{module}\n")
        self.restart()
        return self

    def uninstall(self) -> None:
        for old in self.folder.glob("*.dist-info/entry_points.txt"):
            old.unlink()
        self.restart()

    def named(self, module: str = "features") -> Lender:
        """By CREDIT_EXTENSIONS."""
        self._monkeypatch.setenv(extensions.SETTING, f"{self.name}.{module}")
        self.restart()
        return self

    def on_path(self, folder: Path) -> None:
        self._monkeypatch.syspath_prepend(str(folder))
        self.restart()

    def restart(self) -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == self.name]:
            del sys.modules[name]
        importlib.invalidate_caches()
        # Python takes byte code for that of a source of the same second and size.
        for cached in self.folder.rglob("*.pyc"):
            cached.unlink()
        extensions._loaded.cache_clear()
        extension_sources._maker.cache_clear()


def own_features(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Lender:
    """An installed package with the feature `own_burden`."""
    return Lender(folder, monkeypatch).write(**MODULES).install()
