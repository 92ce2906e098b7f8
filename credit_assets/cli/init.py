"""`credit-assets init`: the first portfolio file, from a file or a table of the warehouse.

Belongs here: reading the table, writing the file and trying it. Does not belong here: what is guessed
(`credit_assets.loans.guesses`) and how it is written down (`credit_assets.loans.first_portfolio`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from credit_assets.aside import aside
from credit_assets.failures import PermanentError
from credit_assets.settings import Settings, load_settings

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console

    from credit_assets.loans.first_look import FirstLook
    from credit_assets.loans.first_portfolio import Written
    from credit_assets.loans.guesses import Guesses
    from credit_assets.loans.layouts import ReadOptions

_SAMPLE = 200_000


def write_portfolio(
    settings: Settings, source: str, out: Path, reading: ReadOptions, *, outcomes: str = "", force: bool = False
) -> dict[str, Any]:
    """Write the file and load it. `outcomes`: a file or table of them. Returns the report.

    Raises PermanentError where nothing could be written.
    """
    from credit_assets.loans.first_look import beside, look_at
    from credit_assets.loans.first_portfolio import portfolio_text
    from credit_assets.loans.guesses import guess
    from credit_assets.ml.data.portfolio import PortfolioError, load_portfolio

    if out.exists() and not force:
        raise PermanentError(
            f"{out} is there already: nothing was written; give --force to replace it, or another --out"
        )
    rows, written = _rows(settings, source, reading)
    look = look_at(rows.columns, reading, source, rows.read_as)
    apart = None
    if outcomes:
        theirs, _ = _rows(settings, outcomes, reading)
        given = guess(look, source).named("id").look.given
        apart = look_at(beside(rows.columns, given, theirs.columns, outcomes), reading, outcomes)
        if not theirs.is_file:
            written = replace(written, outcomes=outcomes)
    guesses = guess(look, source, apart)
    text = portfolio_text(look, guesses, written)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = aside(out)
    try:
        draft.write_text(text, encoding="utf-8")
        load_portfolio(draft)
        draft.replace(out)
    except PortfolioError as error:
        raise PermanentError(f"{source}: no valid portfolio came of it ({error}): please report it") from error
    finally:
        draft.unlink(missing_ok=True)
    return _report(source, out, look, guesses, text)


def _report(source: str, out: Path, look: FirstLook, guesses: Guesses, text: str) -> dict[str, Any]:
    outcome = guesses.outcome
    return {
        "source": source,
        "portfolio": str(out),
        "rows": look.rows,
        "read_as": dict(look.read_as),
        "id": guesses.named("id").look.name,
        "date": guesses.named("date").look.name,
        "roles": dict(Counter(one.role for one in guesses.columns)),
        "monotone": {one.look.name: one.monotone for one in guesses.columns if one.monotone},
        "suspects": [one.look.name for one in guesses.columns if one.suspect],
        "protected": [one.look.name for one in guesses.columns if one.role == "protected"],
        "outcome": outcome.column if outcome else None,
        "population": guesses.population[0] if guesses.population else None,
        "to_confirm": text.count("TODO"),
    }


@dataclass(frozen=True)
class _Rows:
    """What was read of a file or a table."""

    columns: pa.Table
    read_as: Mapping[str, str]
    is_file: bool


def _rows(settings: Settings, source: str, reading: ReadOptions) -> tuple[_Rows, Written]:
    from credit_assets.loans.first_look import portfolio_name, read_file
    from credit_assets.loans.first_portfolio import Written

    path = Path(source).expanduser()
    if path.is_file():
        raw = read_file(path, reading)
        name = portfolio_name(path.name.split(".")[0])
        written = Written(path.name, name, "loan_applications")
        return _Rows(raw.columns, raw.read_as, True), written
    table = _table(settings, source, path)
    if not table.num_rows:
        raise PermanentError(f"table {source} has no rows: load some, and begin again")
    changed = [name for name in table.column_names if portfolio_name(name) != name]
    if changed:
        raise PermanentError(
            f"table {source}: a portfolio cannot name column {', '.join(changed)}: up to 63 letters of the English "
            "alphabet, digits, _, . and -, beginning with a letter; let a view show them under such names"
        )
    written = Written(f"table {source}", portfolio_name(source), source)
    return _Rows(table, {}, False), written


def _table(settings: Settings, source: str, path: Path) -> Any:
    from credit_assets.warehouse import open_warehouse

    missing = PermanentError(
        f"{source} is neither a file nor a table of the warehouse: give the path of a delimited text, Parquet or Arrow "
        "file, or the name of a table in CREDIT_WAREHOUSE_URL"
    )
    if "/" in source or path.suffix in (".csv", ".parquet", ".gz", ".zip", ".txt", ".tsv"):
        raise missing
    rows = open_warehouse(settings.warehouse, settings.timezone).first_rows(source, _SAMPLE)
    if rows is None:
        raise missing
    return rows


def tried(out: Path) -> dict[str, Any]:
    """What `doctor` finds of the file: its failures and warnings."""
    from credit_assets.cli.doctor import diagnose, record

    found = record(diagnose(load_settings(portfolio=out)))
    return {"ok": found["ok"], "findings": [one for one in found["findings"] if one["status"] != "ok"]}


def print_init(report: dict[str, Any], console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None)
    for key in ("source", "portfolio", "rows", "read_as", "id", "date", "roles", "protected", "outcome", "population"):
        value = report[key]
        if isinstance(value, dict):
            value = ", ".join(f"{name}: {one}" for name, one in value.items())
        shown = ", ".join(value) if isinstance(value, list) else "none found" if value is None else str(value)
        table.add_row(key.replace("_", " "), Text(shown or "none"))
    directions = ", ".join(f"{name} {'+' if sign > 0 else '-'}" for name, sign in report["monotone"].items())
    table.add_row("directions", Text(directions or "none"))
    table.add_row("leakage suspects", Text(", ".join(report["suspects"]) or "none"))
    console.print(table)
    for one in report["doctor"]["findings"]:
        console.print(Text(f"{one['status']}: {one['name']}: {one['value']} {one['advice']}"))
    todo = f"{report['to_confirm']} lines marked TODO are to be confirmed in {report['portfolio']}"
    console.print(Text(f"{todo}; then set CREDIT_PORTFOLIO to it"))
