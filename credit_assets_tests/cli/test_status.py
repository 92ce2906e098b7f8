"""What `status` and `models` print: as it stands on a screen of 80 columns, and on one of 120."""

from __future__ import annotations

import json
import os
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from credit_assets.cli.models import print_models
from credit_assets.cli.shown import console, shortened
from credit_assets.cli.state import _alarms
from credit_assets.cli.status import print_status

SCREENS = Path(__file__).parents[1] / "data" / "screens"
WIDTHS = (80, 120)


@pytest.fixture
def record() -> dict[str, Any]:
    """The state of a demo's home, with a model on trial, a day that was rejected and a sensor that fails."""
    found: dict[str, Any] = json.loads((SCREENS / "status.json").read_text("utf-8"))
    return found


def printed(show: Any, record: dict[str, Any], width: int, **how: Any) -> str:
    out = Console(file=StringIO(), width=width, highlight=False)
    show(record, out, **how)
    assert isinstance(out.file, StringIO)
    return "".join(f"{line.rstrip()}\n" for line in out.file.getvalue().splitlines())


def is_as_kept(name: str, text: str) -> None:
    """Written anew with UPDATE_SNAPSHOTS=1; a change of one is a change of what people read."""
    file = SCREENS / name
    if os.environ.get("UPDATE_SNAPSHOTS"):
        file.write_text(text, "utf-8")
    assert text == file.read_text("utf-8")


@pytest.mark.parametrize("width", WIDTHS)
def test_the_state_of_things_is_one_screen(width: int, record: dict[str, Any]) -> None:
    text = printed(print_status, record, width)
    is_as_kept(f"status-{width}.txt", text)
    assert max(map(len, text.splitlines())) <= width
    assert len(text.splitlines()) <= 40


@pytest.mark.parametrize("width", WIDTHS)
def test_the_models_fit_and_each_reason_can_be_read(width: int) -> None:
    record = json.loads((SCREENS / "models.json").read_text("utf-8"))
    text = printed(print_models, record, width)
    is_as_kept(f"models-{width}.txt", text)
    assert max(map(len, text.splitlines())) <= width
    for one in record["rejected"]:
        assert one["reason"] in " ".join(text.split())


def test_the_whole_has_each_asset_and_every_text_at_its_length(record: dict[str, Any]) -> None:
    text = " ".join(printed(print_status, record, 80, whole=True).split())
    assert record["last_decision"]["reason"] in text
    assert all(name in text for name in record["assets"])
    assert "…" not in text


def test_what_somebody_has_to_look_at_comes_worst_first(record: dict[str, Any]) -> None:
    record |= {"daemon": {"running": False, "last_heard": None}, "warnings": ["version 1 cannot score here"]}
    record["runs"][0] |= {"status": "FAILURE", "job": "score_loans"}
    record["runs"][1] |= {"status": "FAILURE", "job": "score_loans"}
    rejected, warning, drift, run, sensor, daemon = _alarms(record)
    assert "loan_outcomes 2025-08-31 is rejected: Rows without a date: 3" in rejected
    assert warning == "version 1 cannot score here"
    assert "term_months" in drift
    assert "the last run of score_loans failed" in run
    assert "drift_trigger" in sensor
    assert "no daemon ticks them" in daemon
    record |= {"gates": [], "warnings": [], "runs": [], "drift": None, "sensors": {"on": 0, "failing": []}}
    record["schedule"]["on"] = False
    # Nothing is to be ticked: that there is no daemon is no alarm.
    assert list(_alarms(record)) == []


def test_a_run_that_failed_and_went_well_since_is_no_alarm(record: dict[str, Any]) -> None:
    record |= {"gates": [], "drift": None, "sensors": {"on": 0, "failing": []}}
    record["runs"] = [{"run": "b", "job": "j", "partition": "p", "status": status} for status in ("SUCCESS", "FAILURE")]
    assert list(_alarms(record)) == []


def test_a_long_text_ends_with_a_word() -> None:
    assert shortened("one two three", 20) == "one two three"
    assert shortened("one two, three", 9) == "one two …"


def test_a_table_uses_the_width_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "93")
    assert console().width == 93
    monkeypatch.delenv("COLUMNS")
    # Into a file: as wide as its longest tables want.
    assert console().width == 140
