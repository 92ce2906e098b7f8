"""The verbs of a validator: what they print, and their exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from credit_assets.cli import audit, reproduce
from credit_assets.cli.edge import run
from credit_assets.cli.main import app

DIFFERENCE = {"kind": "data", "where": "loan_outcomes 2024-02-03", "text": "gone [sic]", "do": "bring it back"}
NOTE = {"kind": "library", "where": "numpy", "text": "2.4 then, 2.5 here", "do": ""}
GAP = {"check": "periods", "where": "model_aliases/champion 2024-04-01 version 2", "text": "two", "do": "restore it"}


def made_again(*differences: dict[str, str]) -> dict[str, Any]:
    return {
        "version": "3", "as_of": "2024-03-31", "variant": "xgboost", "fingerprint": "f", "recalibrates": "2",
        "equal": not differences, "compared": {"model": "equal to the byte"}, "differences": list(differences),
        "notes": [NOTE], "tolerance": 1e-6, "cpu_seconds": 1.5,
    }  # fmt: skip


def walked(*gaps: dict[str, str]) -> dict[str, Any]:
    checks = [{"check": "periods", "looks at": "The champions follow one another.", "gaps": len(gaps)}]
    found = {"clean": not gaps, "walked": {"versions": 2, "moves": 1200}, "checks": checks, "gaps": list(gaps)}
    return found | {"accepted": [{"by": "ann", "at": "3 May", "reason": "moved", "named": ["the log: edited"]}]}


@pytest.mark.parametrize(
    ("record", "code", "words"),
    [
        (made_again(), 0, ["made again, and equal", "which recalibrates version 2", "note (library) numpy"]),
        (made_again(DIFFERENCE), 1, ["NOT shown to be equal", "DIFFERS (data) loan_outcomes 2024-02-03: gone [sic]"]),
    ],
)  # fmt: skip
def test_reproduce_says_what_differs_by_its_text_and_exit_code(
    record: dict[str, Any], code: int, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    asked: list[str | None] = []

    def given(_settings: Any, version: str | None) -> dict[str, Any]:
        asked.append(version)
        return record

    monkeypatch.setattr(reproduce, "reproduction_record", given)
    assert run(app, ["reproduce", "3"]) == code
    shown = " ".join(capsys.readouterr().out.split())
    assert all(word in shown for word in words)
    assert run(app, ["reproduce", "--json"]) == code
    assert json.loads(capsys.readouterr().out) == record
    assert asked == ["3", None]


@pytest.mark.parametrize(
    ("record", "code", "words"),
    [
        (
            walked(),
            0,
            ["2 versions, 1,200 moves", "ok The champions follow", "accepted by ann at 3 May (moved): the log: edited"],
        ),
        (walked(GAP), 1, ["GAPS The champions", "GAP (periods) model_aliases/champion 2024-04-01", "-> restore it"]),
    ],
)
def test_audit_names_gaps_by_its_text_and_exit_code(
    record: dict[str, Any], code: int, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def given(
        _settings: Any, _instance: Any, on_progress: Callable[[str, int, int], None], *, verify: bool
    ) -> dict[str, Any]:
        assert not verify
        on_progress("records", 1, 2)
        return record

    monkeypatch.setattr(audit, "audit_record", given)
    assert run(app, ["audit"]) == code
    shown = " ".join(capsys.readouterr().out.split())
    assert all(word in shown for word in words)
    assert run(app, ["audit", "--json"]) == code
    assert json.loads(capsys.readouterr().out) == record
