"""Loans into the warehouse: from files, or generated.

Belongs here: what a load is held against before anything is written (rejected rows, the book's units), and what is kept
of it. Does not belong here: reading files (`credit_assets.loans`) and the arguments of the commands (`main`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from credit_assets.aside import aside
from credit_assets.failures import PermanentError
from credit_assets.instance.ownership import own_tables
from credit_assets.loans.loaded_file import Load, LoadedFile
from credit_assets.ml.data.portfolio import Portfolio, PortfolioError
from credit_assets.settings import Settings
from credit_assets.warehouse import Warehouse, open_warehouse

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from credit_assets.loans.layouts import ReadOptions
    from credit_assets.loans.lending_club import DebtScale
    from credit_assets.loans.portfolio_file import Columns
    from credit_assets.loans.tables import LoadedTable

# Of a file's applications, the share whose ids may be in the book with another day: corrections, and no other loans.
MAX_MOVED_SHARE = 0.01
# Of a book without records, the newest days up to about this many rows stand for it.
_SAMPLE_DAYS = 90
_SAMPLE_ROWS = 200_000
_SAMPLE_BYTES = 128 * 2**20


@dataclass(frozen=True)
class LoadRules:
    """What a file may do: the share of its rows that may be rejected (none: the usual one), and the columns whose
    scale may differ from the book's.
    """

    max_rejected: float | None = None
    accepted: Sequence[str] = field(default_factory=tuple)


def load_lending_club_file(
    settings: Settings,
    file: Path,
    *,
    reading: ReadOptions | None = None,
    debt: DebtScale = "auto",
    rules: LoadRules | None = None,
) -> dict[str, Any]:
    """Read the file, write kept rows into the warehouse and rejected ones aside. Returns the report.

    Raises PermanentError where the file cannot be used or contradicts the book: nothing is written then.
    """
    from credit_assets.loans.lending_club import COLUMNS, read_lending_club

    _refuse_absent(file)
    portfolio = settings.portfolio_contract
    if lacking := [column.name for column in portfolio.columns if column.name not in COLUMNS]:
        raise PermanentError(
            f"LendingClub files give no column {', '.join(lacking)}, which portfolio {portfolio.name} names: take a "
            "portfolio without them, or read the file with `credit-assets load csv applications` and --map"
        )
    warehouse = open_warehouse(settings.warehouse, settings.timezone)
    known = warehouse.loaded_files(portfolio)
    holds = warehouse.holds_applications(portfolio)

    def loans_between(start: date, end: date) -> pa.Table:
        return warehouse.read_applications(portfolio, start, end).read_all()

    # Loans with ids of their own are looked for among those of made ids, where there are any.
    book = read_lending_club(
        file, debt=debt, reading=reading, known=loans_between if holds else None, look=any(f.made_ids for f in known)
    )
    aside = _keep_aside(settings, book.file, book.rejected)
    _hold(settings, warehouse, (book.file, known), (book.report.rows_kept, book.report.rejected, aside), rules)
    written = _write(settings, warehouse, (book.applications, book.outcomes), _load(book.file, known, settings, rules))
    return {
        "file": str(file),
        **book.report.to_record(),
        "rejected_rows_file": aside,
        "warehouse": written,
    }


def load_table_file(
    settings: Settings,
    tables: Sequence[LoadedTable],
    file: Path,
    columns: Columns,
    *,
    reading: ReadOptions | None = None,
    rules: LoadRules | None = None,
) -> dict[str, Any]:
    """Read a file of one of the portfolio's tables, or of applications with outcomes in a row, otherwise as
    `load_lending_club_file`.
    """
    from credit_assets.loans.layouts import ReadOptions
    from credit_assets.loans.portfolio_file import read_portfolio_file

    _refuse_absent(file)
    portfolio = settings.portfolio_contract
    if tables[0].in_the_book:
        portfolio = _with_columns_of(file, portfolio, reading or ReadOptions())
    warehouse = open_warehouse(settings.warehouse, settings.timezone)
    known = warehouse.loaded_files(portfolio)
    of_row = len(tables) > 1
    # A portfolio that says nothing of its clock has that of the days.
    clocked = portfolio.model_copy(update={"timezone": portfolio.timezone or settings.timezone})
    reads = {
        table.what: read_portfolio_file(file, clocked, table.what, columns, reading or ReadOptions(), in_the_row=of_row)
        for table in tables
    }
    aside = {table: _keep_aside(settings, read.file, read.rejected_rows) for table, read in reads.items()}
    for table, read in reads.items():
        like = [other for other in known if _same_columns(other.kind, table)]
        _hold(settings, warehouse, (read.file, like), (read.file.rows_kept, read.reasons, aside[table]), rules)
    first = reads[tables[0].what]
    load = _load(first.file, known, settings, rules)
    if tables[0].in_the_book:
        rows = tuple(reads[name].rows if name in reads else None for name in ("applications", "outcomes"))
        written = _write(settings, warehouse, (rows[0], rows[1]), load, portfolio)
    else:
        settings.home_dir.mkdir(parents=True, exist_ok=True)
        own_tables(settings, tables[0].table)
        counts = warehouse.append(portfolio, tables[0], first.rows, load)
        written = {"url": warehouse.describe(), "inserted": counts.inserted, "unchanged": counts.unchanged}
    records = {table: {**read.to_record(), "rejected_rows_file": aside[table]} for table, read in reads.items()}
    report: Mapping[str, Any] = records if of_row else records[tables[0].what]
    return {"file": str(file), "table": " and ".join(records), **report, "warehouse": written}


def _same_columns(kind: str, what: str) -> bool:
    """Whether a loaded file of that kind has the columns of the table: histories and decisions have their own."""
    from credit_assets.loans.tables import DECISIONS

    apart = (DECISIONS, "history ")
    return kind == what if what.startswith(apart) else not kind.startswith(apart)


def _with_columns_of(file: Path, portfolio: Portfolio, reading: ReadOptions) -> Portfolio:
    """The portfolio with its patterns resolved by the file, where there is no table yet: the file makes it."""
    from credit_assets.loans.first_look import names_in, portfolio_name

    if not portfolio.columns_matching:
        return portfolio
    try:
        return portfolio.with_columns([portfolio_name(name) for name in names_in(file, reading)])
    except PortfolioError as error:
        raise PermanentError(f"{file}: {error}") from error


def generate_into_warehouse(settings: Settings, rows: int, start: date, end: date, seed: int) -> dict[str, Any]:
    """Generate a book and write it into the warehouse. Raises PermanentError for an impossible range."""
    from credit_assets.loans.generator import generate_book

    if start > end:
        raise PermanentError(f"--start {start} lies after --end {end}")
    try:
        tables = generate_book(rows, start, end, seed)
    except ValueError as error:
        raise PermanentError(f"generate: {error}") from error
    written = _write_generated(settings, f"generated, {rows} rows, {start} to {end}, seed {seed}", tables)
    return written | {"start": start.isoformat(), "end": end.isoformat(), "seed": seed}


def generate_demo_into_warehouse(settings: Settings, end: date) -> dict[str, Any]:
    """Generate the demo's book that ends on this day, by the seed of the settings, and write it into the warehouse."""
    from credit_assets.loans.demo_book import demo_book, first_day

    start, seed = first_day(end), settings.seed
    written = _write_generated(settings, f"the demo's, {start} to {end}, seed {seed}", demo_book(end, seed))
    return written | {"start": start.isoformat(), "end": end.isoformat(), "seed": seed}


def _write_generated(settings: Settings, name: str, tables: tuple[pa.Table, pa.Table]) -> dict[str, Any]:
    from credit_assets.loans.lending_club import DEBT_SERVICE
    from credit_assets.loans.scales import sizes_of

    applications, outcomes = tables
    warehouse = open_warehouse(settings.warehouse, settings.timezone)
    portfolio = settings.portfolio_contract
    file = LoadedFile(
        digest=hashlib.sha256(name.encode()).hexdigest(),
        name=name,
        kind="generated",
        rows_read=applications.num_rows,
        rows_kept=applications.num_rows,
        conventions={"total_debt": DEBT_SERVICE},
        sizes=sizes_of(applications, ()),
    )
    known = warehouse.loaded_files(portfolio)
    _hold(settings, warehouse, (file, known), (file.rows_kept, {}, None), None)
    return {
        "rows": applications.num_rows,
        "outcomes": outcomes.num_rows,
        "warehouse": _write(settings, warehouse, tables, _load(file, known, settings, None)),
    }


def generate_lender_into_warehouse(
    settings: Settings, rows: int, days: tuple[date, date], seed: int, known_until: date, truth: Path | None = None
) -> dict[str, Any]:
    """Generate a lender's book and write its tables into the warehouse, and its truth into a file where one is named.

    Raises PermanentError for an impossible range, a file that is not Parquet, or tables of another book.
    """
    import pyarrow.parquet as pq

    from credit_assets.loans.lender_book import generate_lender_book

    start, end = days
    if truth is not None and truth.suffix != ".parquet":
        raise PermanentError(f"--truth {truth}: the truth is written as Parquet; name a file that ends in .parquet")
    try:
        book = generate_lender_book(rows, start, end, seed, known_until=known_until)
    except ValueError as error:
        raise PermanentError(f"generate: {error}") from error
    settings.home_dir.mkdir(parents=True, exist_ok=True)
    warehouse = open_warehouse(settings.warehouse, settings.timezone)
    written = warehouse.replace_rows(book.tables())
    if truth is not None:
        truth.parent.mkdir(parents=True, exist_ok=True)
        partial_file = aside(truth)
        pq.write_table(book.truth, partial_file)
        partial_file.replace(truth)
    statuses = book.applications["status"].value_counts().to_pylist()
    return {
        "rows": rows,
        "start": start.isoformat(),
        "end": end.isoformat(),
        "known_until": known_until.isoformat(),
        "seed": seed,
        "statuses": {one["values"]: one["counts"] for one in sorted(statuses, key=lambda one: one["values"])},
        "tables": written,
        "truth": None if truth is None else str(truth),
        "warehouse": {"url": warehouse.describe()},
    }


def _refuse_absent(file: Path) -> None:
    if not file.exists():
        raise PermanentError(f"{file}: no such file; give the path of a delimited text, Parquet or Arrow file")


def _load(file: LoadedFile, known: Sequence[LoadedFile], settings: Settings, rules: LoadRules | None) -> Load:
    """The file as it is to be recorded, now. Read again in another way it may move its own loans."""
    again = any(other.digest == file.digest for other in known)
    accepted = rules is not None and settings.portfolio_contract.date_column in rules.accepted
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    return Load(replace(file, loaded_at=now), tuple(known), 1.0 if again or accepted else MAX_MOVED_SHARE)


def _keep_aside(settings: Settings, file: LoadedFile, rejected: pd.DataFrame) -> str | None:
    """The file with the rejected rows; its name tells files of one name apart by their content, and outcomes from the
    applications in whose rows they may stand.
    """
    from credit_assets.loans.rejections import for_spreadsheets

    table = "-outcomes" if file.kind == "outcomes" else ""
    kept = settings.own_dir / "rejected" / f"{file.name}-{file.digest[:8]}{table}.csv"
    if not len(rejected):
        kept.unlink(missing_ok=True)
        return None
    kept.parent.mkdir(parents=True, exist_ok=True)
    partial_file = aside(kept)
    for_spreadsheets(rejected).to_csv(partial_file, index=False)
    partial_file.replace(kept)
    return str(kept)


def _hold(
    settings: Settings,
    warehouse: Warehouse,
    compared: tuple[LoadedFile, Sequence[LoadedFile]],
    account: tuple[int, dict[str, int], str | None],
    rules: LoadRules | None,
) -> None:
    """Raise PermanentError where too many rows were rejected, or the file contradicts the book."""
    from credit_assets.loans.rejections import MAX_REJECTED_SHARE, refuse_too_many
    from credit_assets.loans.scales import refuse_contradictions

    rules = rules or LoadRules()
    allowed = MAX_REJECTED_SHARE if rules.max_rejected is None else rules.max_rejected
    (file, known), (kept, reasons, aside) = compared, account
    refuse_too_many(kept, reasons, allowed, file.name, aside)
    book = list(known)
    recorded = any(other.sizes for other in book)
    if _of_applications(file) and not recorded and warehouse.holds_applications(settings.portfolio_contract):
        book.append(_unrecorded(settings, warehouse))
    refuse_contradictions(file, book, rules.accepted, file.name)


def _of_applications(file: LoadedFile) -> bool:
    return bool(file.sizes) and _same_columns(file.kind, "applications")


def _unrecorded(settings: Settings, warehouse: Warehouse) -> LoadedFile:
    """What stands for a book that nothing was recorded of: the sizes of its newest rows."""
    import pyarrow as pa

    from credit_assets.loans.scales import sizes_of
    from credit_assets.ml.data.sizes import rows_within

    portfolio = settings.portfolio_contract
    days = warehouse.date_range(portfolio)
    assert days is not None
    batches, rows = [], 0
    reader = warehouse.read_applications(portfolio, max(days[0], days[1] - timedelta(days=_SAMPLE_DAYS)), days[1])
    most = rows_within(_SAMPLE_BYTES, reader.schema.types, _SAMPLE_ROWS)
    for batch in reader:
        batches.append(batch)
        rows += batch.num_rows
        if rows >= most:
            break
    reader.close()
    table = pa.Table.from_batches(batches, reader.schema)
    return LoadedFile(
        digest="",
        name="the rows that are there",
        kind="unrecorded",
        rows_read=rows,
        rows_kept=rows,
        sizes=sizes_of(table, (portfolio.id_column,)),
    )


def _write(
    settings: Settings,
    warehouse: Warehouse,
    tables: tuple[pa.Table | None, pa.Table | None],
    load: Load,
    portfolio: Portfolio | None = None,
) -> dict[str, Any]:
    portfolio = portfolio or settings.portfolio_contract
    settings.home_dir.mkdir(parents=True, exist_ok=True)
    own_tables(settings)
    warehouse.create_tables(portfolio)
    return {"url": warehouse.describe(), **warehouse.write(portfolio, *tables, load).to_record()}


def print_report(report: dict[str, Any], console: Console) -> None:
    table = Table(show_header=False, box=None)
    for key, value in report.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k}: {v:,}" if isinstance(v, int) else f"{k}: {v}" for k, v in value.items()) or "none"
        shown = f"{value:,}" if type(value) is int and key != "seed" else "none" if value is None else str(value)
        table.add_row(key.replace("_", " "), shown)
    console.print(table)
