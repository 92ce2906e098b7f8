"""The README says what the code does: settings, commands and links."""

from __future__ import annotations

import re
from pathlib import Path

from credit_assets.settings import Settings, variable

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def test_every_setting_stands_in_the_table_with_its_meaning() -> None:
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| .*? \| (.*) \|$", README, flags=re.MULTILINE))
    assert rows == {variable(name): field.description for name, field in Settings.model_fields.items()}


def test_every_local_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).exists(), target
