"""Loans into the warehouse: from the public LendingClub files, or generated."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from credit_assets.failures import PermanentError
from credit_assets.settings import Settings
from credit_assets.warehouse import open_warehouse


def load_lending_club_file(settings: Settings, file: Path) -> dict[str, Any]:
    """Read the file, write kept rows into the warehouse and rejected ones aside. Returns the report.

    Raises PermanentError where the file is absent or of an unknown layout.
    """
    from credit_assets.loans.lending_club import read_lending_club

    if not file.is_file():
        raise PermanentError(f"{file}: no such file; give the path of a LendingClub CSV or Parquet file")
    book = read_lending_club(file)
    written = _write(settings, book.applications, book.outcomes)
    aside = settings.home_dir / "rejected" / f"{file.name}.csv"
    if len(book.rejected):
        aside.parent.mkdir(parents=True, exist_ok=True)
        partial = aside.with_suffix(".tmp")
        book.rejected.to_csv(partial, index=False)
        partial.replace(aside)
    else:
        aside.unlink(missing_ok=True)
    return {
        "file": str(file),
        **book.report.to_record(),
        "rejected_rows_file": str(aside) if len(book.rejected) else None,
        "warehouse": written,
    }


def generate_into_warehouse(settings: Settings, rows: int, start: date, end: date, seed: int) -> dict[str, Any]:
    """Generate a book and write it into the warehouse. Raises PermanentError for an impossible range."""
    from credit_assets.loans.generator import generate_book

    if start > end:
        raise PermanentError(f"--start {start} lies after --end {end}")
    try:
        applications, outcomes = generate_book(rows, start, end, seed)
    except ValueError as error:
        raise PermanentError(f"generate: {error}") from error
    return {
        "rows": applications.num_rows,
        "outcomes": outcomes.num_rows,
        "start": start.isoformat(),
        "end": end.isoformat(),
        "seed": seed,
        "warehouse": _write(settings, applications, outcomes),
    }


def _write(settings: Settings, applications: Any, outcomes: Any) -> dict[str, Any]:
    portfolio = settings.portfolio_contract
    settings.home_dir.mkdir(parents=True, exist_ok=True)
    warehouse = open_warehouse(settings.warehouse, settings.timezone)
    warehouse.create_tables(portfolio)
    return {"url": warehouse.describe(), **warehouse.write(portfolio, applications, outcomes).to_record()}


def print_report(report: dict[str, Any], console: Console) -> None:
    table = Table(show_header=False, box=None)
    for key, value in report.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k}: {v:,}" if isinstance(v, int) else f"{k}: {v}" for k, v in value.items()) or "none"
        table.add_row(key.replace("_", " "), f"{value:,}" if type(value) is int and key != "seed" else str(value))
    console.print(table)
