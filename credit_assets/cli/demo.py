"""The demo: a loan book, its history replayed, a champion trained, registered, promoted and scoring.

Belongs here: which book, which dates, which settings make a good first look. Every step is one that the other commands
take too.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console

from credit_assets.assets.stored_days import ScoredDays
from credit_assets.cli.loans import generate_into_warehouse, load_lending_club_file
from credit_assets.cli.models import models_record, print_models
from credit_assets.cli.replay import OnProgress, Replay
from credit_assets.cli.trainings import ReplayReport
from credit_assets.failures import PermanentError
from credit_assets.instance.home import instance_of
from credit_assets.ml.rules.decisions import summary_of
from credit_assets.places import database_file
from credit_assets.settings import PREFIX, Settings, load_settings, settings_file
from credit_assets.warehouse import open_warehouse


@dataclass(frozen=True)
class Book:
    """A loan book to show, and the settings that suit it."""

    name: str
    start: date
    end: date
    train: str
    settings: dict[str, str]
    rows: int = 0
    train_from: date | None = None


# 120 loans a day: the 90-day default lookback then holds about 10,000 loans, and the whole demo takes two minutes.
GENERATED = Book(
    "generated",
    date(2024, 1, 1),
    date(2025, 8, 31),
    "month-end",
    {"CREDIT_START_DATE": "2024-01-01"},
    rows=73_000,
    train_from=date(2025, 6, 1),
)
# The public book of 2007-2011 has eight loans a day at first: it needs a longer lookback to hold enough bads.
LENDING_CLUB = Book(
    "lending-club",
    date(2007, 6, 1),
    date(2011, 12, 31),
    "quarter-end",
    {"CREDIT_START_DATE": "2007-06-01", "CREDIT_LOOKBACK_DAYS": "730"},
    train_from=date(2010, 1, 1),
)


@dataclass
class DemoReport:
    settings: Settings
    book: Book
    loans: dict[str, Any]
    replay: ReplayReport
    models: dict[str, Any]
    scored: int
    why_promoted: str

    @property
    def champion(self) -> dict[str, Any] | None:
        return next((v for v in self.models["versions"] if "champion" in v["aliases"]), None)

    def to_record(self) -> dict[str, Any]:
        return {
            "book": self.book.name,
            "home": str(self.settings.home_dir),
            "loans": self.loans,
            "replay": self.replay.to_record(),
            **self.models,
            "champion": self.champion,
            "scored_applications": self.scored,
        }

    def print(self, console: Console) -> None:
        print_models(self.models, console)
        champion = self.champion
        if champion is None:
            console.print("[bold]No model passed its gates:[/] the table says why.")
        else:
            m = champion["metrics"]
            console.print(
                f"\n[bold green]Champion: {self.models['model']} version {champion['version']}[/], "
                f"{champion['variant']}, as of {champion['as_of']}: out-of-time AUC {m['auc']:.4f}, "
                f"Gini {m['gini']:.4f}, KS {m['ks']:.4f}, Brier {m['brier']:.4f}"
            )
            console.print(f"Promoted because: {self.why_promoted}")
            console.print(f"{self.scored:,} applications scored, each by the champion of its day.")
        home, command = _shell_home(self.settings), _shell_command()
        mlflow = f", MLflow http://127.0.0.1:{self.settings.dev_mlflow_port}"
        verbs = {
            "dev": f"Dagster http://127.0.0.1:{self.settings.dev_port}"
            + (mlflow if database_file(self.settings.tracking_uri) else ""),
            "status": "how things stand, on one screen",
            "models": "champions and rejected models",
        }
        console.print("\nLook at it:")
        for verb, what in verbs.items():
            console.print(f"  {home}{command} {verb}", markup=False, soft_wrap=True)
            console.print(f"      {what}", markup=False, style="dim")


def run_demo(loans: Path | None, on_progress: OnProgress) -> DemoReport:
    """Make or load the book, replay it, and gather what came of it. A second run finds everything done.

    Raises PermanentError where CREDIT_HOME already holds the demo of another book.
    """
    book = LENDING_CLUB if loans else GENERATED
    if loans and not loans.is_file():
        raise PermanentError(f"LOANS={loans}: no such file; give the path of a LendingClub CSV or Parquet file")
    _refuse_other_books(load_settings())
    _write_settings(book)
    # mlflow and the UI that are started later read the same home.
    settings = load_settings()
    portfolio = settings.portfolio_contract
    on_progress(f"{book.name} loans", 0, 1)
    if loans:
        loaded = load_lending_club_file(settings, loans)
    else:
        loaded = generate_into_warehouse(settings, book.rows, book.start, book.end, settings.seed)
    known = open_warehouse(settings.warehouse, settings.timezone).date_range(portfolio)
    if known is None:
        raise PermanentError("the warehouse is empty after loading: see the report of rejected rows")
    # From the first partition on: a day before the first loan is a valid empty day of every window that spans it.
    start, end = book.start, min(book.end, known[1])

    with instance_of(settings) as instance:
        replay = Replay(settings, instance)
        report = replay.run(start, end, book.train, train_from=book.train_from, on_progress=on_progress)
        report.raise_rejected()
    models = models_record(settings)
    days = [date.fromisoformat(day) for day in replay.store.days("loan_scores")]
    scored = sum(day.scored for day in ScoredDays(replay.store).of(days).values())
    demo = DemoReport(settings, book, loaded, report, models, scored, "")
    if demo.champion:
        path = replay.store.path("registered_model", f"{demo.champion['as_of']}.json")
        demo.why_promoted = summary_of(replay.store.read_record(path)["reasons"])
    return demo


def _write_settings(book: Book) -> None:
    """Leave the book's settings in CREDIT_HOME, so that the UI and later commands read them too."""
    file = settings_file()
    text = f"# Settings of the demo with the {book.name} book. The environment goes before this file.\n"
    text += "".join(f"{name}={value}\n" for name, value in sorted(book.settings.items()))
    if file.is_file() and file.read_text("utf-8") != text:
        raise PermanentError(
            f"{file.parent} holds another book or settings of your own ({file.name} differs from the demo's); "
            f"give the demo a home of its own: {PREFIX}HOME=/some/folder"
        )
    set_elsewhere = [n for n in book.settings if os.environ.get(n) not in (None, "", book.settings[n])]
    if set_elsewhere:
        raise PermanentError(f"unset {', '.join(set_elsewhere)} for the demo: its book needs {book.settings}")
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".tmp")
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


def _shell_home(settings: Settings) -> str:
    default = (Path.cwd() / Settings.model_fields["home"].default).absolute()
    return "" if settings.home_dir == default else f"CREDIT_HOME={shlex.quote(str(settings.home_dir))} "


def _shell_command() -> str:
    """How this program is called here: by its name where the shell finds it, else by its path from here."""
    program = Path(sys.executable).with_name("credit-assets")
    if not program.exists():
        return f"{shlex.quote(sys.executable)} -m credit_assets.cli.main"
    found = shutil.which("credit-assets")
    if found and Path(found).samefile(program):
        return "credit-assets"
    here = Path.cwd()
    return shlex.quote(str(program.relative_to(here) if program.is_relative_to(here) else program))
