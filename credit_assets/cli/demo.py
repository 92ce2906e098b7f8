"""The demo: a loan book, its history replayed, a champion trained, registered, promoted and scoring.

Belongs here: which book, which dates, which settings make a good first look. Every step is one that the other commands
take too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from credit_assets.aside import aside
from credit_assets.cli.demo_report import DemoReport, report_of
from credit_assets.cli.lived import LivedReplay
from credit_assets.cli.loans import generate_demo_into_warehouse, load_lending_club_file
from credit_assets.cli.replay import OnProgress
from credit_assets.cli.trainings import ReplayReport
from credit_assets.failures import PermanentError
from credit_assets.instance.home import instance_of
from credit_assets.partitions import today
from credit_assets.settings import PREFIX, Settings, load_settings, settings_file
from credit_assets.warehouse import open_warehouse


@dataclass(frozen=True)
class DemoBook:
    """A loan book to show, and the settings that suit it."""

    name: str
    start: date
    end: date
    settings: dict[str, str]

    @property
    def title(self) -> str:
        return self.name

    def replay(self, replay: LivedReplay, end: date, on_progress: OnProgress) -> ReplayReport:
        raise NotImplementedError


class PublicBook(DemoBook):
    """The public loans of 2007 to 2011, trained each quarter; with eight loans a day at first, they need a longer
    lookback to hold enough bads.
    """

    def replay(self, replay: LivedReplay, end: date, on_progress: OnProgress) -> ReplayReport:
        return replay.run(self.start, end, "quarter-end", train_from=date(2010, 1, 1), on_progress=on_progress)


class MadeUpBook(DemoBook):
    """The generated loans, lived through: after the first model the sensors say when another is trained."""

    @property
    def title(self) -> str:
        return f"{self.name} (to {self.end})"

    def replay(self, replay: LivedReplay, end: date, on_progress: OnProgress) -> ReplayReport:
        # The first day on which the cohorts span the whole lookback.
        first_model = self.start + timedelta(replay.settings.window_days + replay.settings.lookback_days)
        return replay.live(self.start, end, first_model, _LOOK_EVERY, on_progress)


# Days that are scored in one run before the sensors look. Fewer would be more runs, more would be scored twice.
_LOOK_EVERY = 30
LENDING_CLUB = PublicBook(
    "lending-club",
    date(2007, 6, 1),
    date(2011, 12, 31),
    {"CREDIT_START_DATE": "2007-06-01", "CREDIT_LOOKBACK_DAYS": "730"},
)


def generated_book(end: date) -> DemoBook:
    """The generated book that ends on this day.

    Its models are trained where a sensor asks, and tried beside the champion; no calendar asks, and the volume of new
    loans not before eight months: each training is a third of what the demo costs.
    """
    from credit_assets.loans.demo_book import first_day

    start = first_day(end)
    lived = {"RETRAINING": "triggered", "REFRESH": "none", "VOLUME_TRIGGER_SHARE": "2.5", "PROMOTION": "shadow"}
    settings = {"CREDIT_START_DATE": start.isoformat(), **{f"{PREFIX}{name}": value for name, value in lived.items()}}
    return MadeUpBook("generated", start, end, settings)


def run_demo(loans: Path | None, on_progress: OnProgress) -> DemoReport:
    """Make or load the book, replay it, and gather what came of it. A second run finds everything done, and one that
    comes while the first is at work waits for its end.

    Raises PermanentError where CREDIT_HOME already holds the demo of another book.
    """
    if loans and not loans.is_file():
        raise PermanentError(f"LOANS={loans}: no such file; give the path of a LendingClub CSV or Parquet file")
    with _alone(load_settings().home_dir, on_progress):
        return _made(loans, on_progress)


@contextmanager
def _alone(home: Path, on_progress: OnProgress) -> Iterator[None]:
    """Hold the home against another demo: both would write the same loans, and train the same models twice."""
    from filelock import FileLock, Timeout

    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / ".demo.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        on_progress("wait for another demo in this home", 0, 1)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _made(loans: Path | None, on_progress: OnProgress) -> DemoReport:
    settings = load_settings()
    book = LENDING_CLUB if loans else generated_book(_end_of_book() or today(settings) - timedelta(1))
    _refuse_other_books(settings)
    _write_settings(book)
    # mlflow and the UI that are started later read the same home.
    settings = load_settings()
    portfolio = settings.portfolio_contract
    on_progress(f"{book.name} loans", 0, 1)
    loaded = load_lending_club_file(settings, loans) if loans else generate_demo_into_warehouse(settings, book.end)
    known = open_warehouse(settings.warehouse, settings.timezone).date_range(portfolio)
    if known is None:
        raise PermanentError("the warehouse is empty after loading: see the report of rejected rows")
    # From the first partition on: a day before the first loan is a valid empty day of every window that spans it.
    end = min(book.end, known[1])

    with instance_of(settings) as instance:
        replay = LivedReplay(settings, instance)
        report = book.replay(replay, end, on_progress)
        report.raise_rejected()
    return report_of(settings, replay.store, (book.name, end), loaded, report)


def _end_of_book() -> date | None:
    """The last day of the generated book that the home has the demo of: begun on a day before, it goes on with that."""
    file = settings_file()
    found = re.match(r"# Settings of the demo with the generated \(to (\S+)\) book", _text(file))
    return date.fromisoformat(found[1]) if found else None


def _text(file: Path) -> str:
    return file.read_text("utf-8") if file.is_file() else ""


def _write_settings(book: DemoBook) -> None:
    """Leave the book's settings in CREDIT_HOME, so that the UI and later commands read them too."""
    file = settings_file()
    text = f"# Settings of the demo with the {book.title} book. The environment goes before this file.\n"
    text += "".join(f"{name}={value}\n" for name, value in sorted(book.settings.items()))
    if file.is_file() and _text(file) != text:
        raise PermanentError(
            f"{file.parent} holds another book or settings of your own ({file.name} differs from the demo's); "
            f"give the demo a home of its own: {PREFIX}HOME=/some/folder"
        )
    set_elsewhere = [n for n in book.settings if os.environ.get(n) not in (None, "", book.settings[n])]
    if set_elsewhere:
        raise PermanentError(f"unset {', '.join(set_elsewhere)} for the demo: its book needs {book.settings}")
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = aside(file)
    partial.write_text(text, "utf-8")
    partial.replace(file)


def _refuse_other_books(settings: Settings) -> None:
    """Raise PermanentError before a loan is written where the demo's loans would come among those of somebody else."""
    with instance_of(settings):
        pass
    if settings_file().is_file() or not settings.warehouse_url.get_secret_value():
        return
    warehouse, known = open_warehouse(settings.warehouse), None
    # Without the tables there is nothing to come among; what else is wrong, writing says.
    with suppress(PermanentError):
        known = warehouse.date_range(settings.portfolio_contract)
    if known:
        raise PermanentError(
            f"CREDIT_WAREHOUSE_URL names {warehouse.describe()}, which holds applications of {known[0]} .. {known[1]}: "
            "the demo would write its own among them; unset CREDIT_WAREHOUSE_URL for the demo"
        )
