"""The bar: within 80 columns, a rate of its own for each part of the work, nothing where nobody looks."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console
from rich.progress import Progress

from credit_assets.cli import shown
from credit_assets.cli.shown import progress_bar, working

LONG = "ingest 2024-01-01 .. 2024-12-31 of the portfolio of consumer loans"


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a terminal of 80 columns is sent, by a clock that goes a second a look."""
    out, clock = io.StringIO(), iter(range(10**6))
    console = Console(file=out, width=80, force_terminal=True, color_system=None)
    monkeypatch.setattr(shown, "Console", lambda **_: console)

    class Told(Progress):
        def __init__(self, *columns: object, **how: object) -> None:
            super().__init__(*columns, **{**how, "auto_refresh": False, "get_time": lambda: float(next(clock))})  # type: ignore[arg-type]

    monkeypatch.setattr(shown, "Progress", Told)
    return out


def test_the_bar_fits_and_tells_rate_and_time_left(screen: io.StringIO) -> None:
    with progress_bar() as progress:
        for done in range(5):
            progress(LONG, 100 * done, 1000)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue()).replace("\r", "\n")
    lines = [line.rstrip() for line in text.splitlines() if "/1000" in line]
    assert "/s" in lines[-1]
    assert re.search(r"\d\d:\d\d$", lines[-1])
    assert max(map(len, lines)) <= 80


def test_a_log_has_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter(range(0, 10**6, 4))
    monkeypatch.setattr(shown, "monotonic", lambda: float(next(clock)))
    with progress_bar() as progress:
        for done in range(7):
            progress(LONG, 100 * done, 1000)
    said = capsys.readouterr()
    assert said.err.splitlines() == [f"{LONG}: {done} of 1000" for done in (0, 300, 600)]
    assert said.out == ""


def test_nothing_is_drawn_where_json_is_wanted(screen: io.StringIO) -> None:
    with progress_bar(quiet=True) as progress:
        progress("train as of 2024-01-01", 1, 2)
    with working("reading loans.csv", quiet=True):
        pass
    assert screen.getvalue() == ""


def test_what_has_no_parts_says_that_it_is_being_done(screen: io.StringIO) -> None:
    with working("reading loans.csv"):
        pass
    assert "reading loans.csv" in screen.getvalue()
