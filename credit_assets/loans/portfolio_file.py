"""A file of one of a portfolio's tables, with columns by the portfolio's names or renamed.

Belongs here: which column is which, its type and unit, and the rows that cannot be used. Does not belong here: which
tables there are (`tables`), reading the file (`table_files`), forms of numbers and days (`published_values`, `dates`),
and which values a column may have (`credit_assets.ml.data.contracts`), but for a unit that is plainly another one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from credit_assets.failures import PermanentError
from credit_assets.loans.copies import copy_numbers
from credit_assets.loans.dates import days, moments, order_of
from credit_assets.loans.first_look import names_in, portfolio_name
from credit_assets.loans.layouts import NOT_A_ROW, WITHOUT_OUTCOME, Layout, RawTable, ReadOptions
from credit_assets.loans.loaded_file import LoadedFile
from credit_assets.loans.published_values import Numbers, is_text, read_numbers, text
from credit_assets.loans.rejections import REPEATED, Mask, Rejections, account
from credit_assets.loans.scales import ENOUGH_VALUES, sizes_of
from credit_assets.loans.table_files import read_columns
from credit_assets.loans.tables import APPLICATIONS, OUTCOMES, LoadedTable, table_named
from credit_assets.ml.data.portfolio import Column, Portfolio
from credit_assets.ml.data.schemas import arrow_schema
from credit_assets.ml.data.values import read

# Above this share of values outside a column's range the column is in another unit; single values are the contract's.
MAX_OUTSIDE_RANGE = 0.5
_FRACTIONS = ("fraction", "share", "ratio")
# Beyond this a float is no longer the whole number that was written.
_EXACT = 2.0**53 - 1
# Databases keep keys of so many characters.
_LONGEST_ID = 255
# What stands for nothing in text of any meaning. Not NA or none: Namibia's code, a level of home ownership.
_NO_TEXT = ("", "null", "<na>", "nan", "n/a", "#n/a")


@dataclass(frozen=True)
class Columns:
    """What the user says of the columns: other names in the file, by the portfolio's; factors into the portfolio's
    units."""

    names: Mapping[str, str] = field(default_factory=dict)
    factors: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PortfolioFile:
    """The rows of a file as the table of the portfolio, what was left out, and the record to be kept with the book."""

    rows: pa.Table
    rejected: pd.DataFrame
    reasons: dict[str, int]
    file: LoadedFile

    @property
    def rejected_rows(self) -> pd.DataFrame:
        """Those that are kept aside: an application without an outcome is none of them."""
        return self.rejected[self.rejected["reason"] != WITHOUT_OUTCOME]

    def to_record(self) -> dict[str, Any]:
        return {
            "rows_read": self.file.rows_read,
            "rows_kept": self.file.rows_kept,
            "rejected": {why: count for why, count in self.reasons.items() if why != WITHOUT_OUTCOME},
            "read_as": dict(self.file.read_as),
        }


def read_portfolio_file(
    path: Path, portfolio: Portfolio, table: str, columns: Columns, reading: ReadOptions, *, in_the_row: bool = False
) -> PortfolioFile:
    """Read a file of one of the portfolio's tables, by what it is called. Outcomes `in_the_row` of the application
    stand in some rows alone: those without the day of one are no outcomes, unless they say that the loan defaulted.
    Times with a distance from UTC become those of a clock in the portfolio's `timezone`.

    Raises PermanentError where the file cannot be read, lacks columns, can be read in two ways, or has plainly another
    unit than the portfolio says.
    """
    of = table_named(portfolio, table)
    wanted = of.columns
    theirs = _names_in_file(path, wanted, columns, reading)
    raw = read_columns(path, _layout(portfolio, of, theirs), reading)
    given = raw.columns.select(list(theirs.values())).rename_columns(list(theirs))
    rejections = Rejections(raw.columns.num_rows)
    rejections.add(_empty(given), NOT_A_ROW)
    values, notes = _values(path, given, of, (columns, reading, portfolio.timezone or "UTC"), rejections)
    if renamed := [f"{there} is {name}" for name, there in theirs.items() if there != name]:
        notes["renamed"] = ", ".join(renamed)
    if in_the_row and of.what == OUTCOMES:
        without = _without_outcome(values, portfolio)
        notes["rows without an outcome"] = f"{int((without & rejections.usable).sum()):,}"
        rejections.add(without, WITHOUT_OUTCOME)
    for column in wanted:
        if not column.nullable:
            rejections.add(np.asarray(pc.is_null(values[column.name])), f"{column.name} is missing")
    equal = copy_numbers(given) > 0 if of.repeats else np.zeros(given.num_rows, dtype=bool)
    if of.copies:
        if alike := int((equal & rejections.usable).sum()):
            notes["rows equal to an earlier one, kept"] = f"{alike:,}"
    elif of.repeats:
        rejections.add(equal, REPEATED)
    else:
        # Rows without an id are rejected already, so that they repeat nothing.
        rejections.add_repeated(given, values[of.id].to_pandas().astype(object).to_numpy())

    kept = np.flatnonzero(rejections.usable)
    rows = pa.table({name: column.take(pa.array(kept)) for name, column in values.items()}).cast(_schema(of, values))
    _refuse_other_units(path, wanted, rows)
    rejected = rejections.rows(raw)
    rows_read, reasons = account(raw, len(kept), rejected)
    file = LoadedFile(
        digest=_digest(raw, of),
        name=path.name,
        kind=of.what,
        rows_read=rows_read,
        rows_kept=len(kept),
        read_as={**raw.read_as, **notes},
        conventions={"currency": notes.get("currency sign", "")},
        sizes={} if of.what == OUTCOMES else sizes_of(rows, (of.id,)),
    )
    return PortfolioFile(rows, rejected, reasons, file)


def _names_in_file(path: Path, wanted: tuple[Column, ...], columns: Columns, reading: ReadOptions) -> dict[str, str]:
    """Names in the file by the portfolio's: as told, the same, or one that a portfolio can only have in this form."""
    try:
        given = names_in(path, reading)
    except PermanentError:
        given = ()  # Refused below, with what is missing.
    alike: dict[str, list[str]] = {}
    for name in given:
        alike.setdefault(portfolio_name(name), []).append(name)
    found = {}
    for column in wanted:
        ours = column.name
        names = [] if ours in columns.names or ours in given else alike.get(ours, [])
        if len(names) > 1:
            raise PermanentError(
                f"{path}: its columns {' and '.join(names)} could each be {ours}: say which with --map "
                f"{names[0]}={ours}, or rename one"
            )
        found[ours] = columns.names.get(ours) or next(iter(names), ours)
    return found


def _without_outcome(values: Mapping[str, pa.ChunkedArray], portfolio: Portfolio) -> Mask:
    """Rows of applications that say nothing of a loan: no status of an outcome, or no day and no default."""
    names = portfolio.outcomes
    status = values[names.says]
    if names.status is None:
        bad, nothing = pc.equal(status, True), pa.scalar(False)
    else:
        bad = pc.is_in(status, pa.array([one for one, of in names.classes.items() if of == "bad"], pa.string()))
        nothing = pc.invert(pc.is_in(status, pa.array(list(names.classes), pa.string())))
    undated = pc.and_(pc.is_null(values[names.date]), pc.invert(pc.fill_null(bad, False)))
    return np.asarray(pc.or_(undated, nothing))


def _schema(of: LoadedTable, values: Mapping[str, pa.ChunkedArray]) -> pa.Schema:
    """The types of the columns; moments are days where the file has no times."""
    flags = of.what == OUTCOMES
    schema = arrow_schema([(one.name, "flag" if flags and one.type == "boolean" else one.type) for one in of.columns])
    for name in of.moments:
        schema = schema.set(schema.get_field_index(name), pa.field(name, values[name].type))
    return schema


def _digest(raw: RawTable, of: LoadedTable) -> str:
    # One file may hold several tables side by side; each has a record of its own.
    if of.in_the_book:
        return raw.digest if of.what == APPLICATIONS else f"{raw.digest[:-1]}o"
    return hashlib.sha256(f"{raw.digest} {of.what}".encode()).hexdigest()


def _layout(portfolio: Portfolio, of: LoadedTable, theirs: Mapping[str, str]) -> Layout:
    renamed = f"--map THEIRS=OURS renames, ours being {', '.join(column.name for column in of.columns)}"
    return Layout(
        name=f"{portfolio.name} {of.what}",
        required=tuple(theirs.values()),
        optional=(),
        sign=theirs[of.id],
        few_values=frozenset(theirs[column.name] for column in of.columns if column.type == "category"),
        advice=f"{renamed}; or correct the columns of portfolio {portfolio.name}",
    )


def _empty(given: pa.Table) -> NDArray[np.bool_]:
    """Rows in which nothing stands, as spreadsheets leave them below a table."""
    empty = np.ones(given.num_rows, dtype=bool)
    for column in given.columns:
        nothing = pc.is_null(column)
        if is_text(column.type):
            nothing = pc.or_(
                nothing, pc.fill_null(pc.equal(pc.utf8_trim_whitespace(column.cast(pa.string())), ""), True)
            )
        empty &= np.asarray(nothing)
    return empty


def _refuse_other_units(path: Path, wanted: tuple[Column, ...], rows: pa.Table) -> None:
    for column in wanted:
        if column.minimum is None and column.maximum is None:
            continue
        values = rows[column.name].drop_null().cast(pa.float64()).to_numpy()
        low, high = column.minimum, column.maximum
        outside = np.zeros(len(values), dtype=bool)
        if low is not None:
            outside |= values < low
        if high is not None:
            outside |= values > high
        if outside.sum() > MAX_OUTSIDE_RANGE * len(values):
            raise PermanentError(
                f"{path}: {int(outside.sum()):,} of {len(values):,} values of {column.name} lie outside the "
                "portfolio's "
                f"range ({low} to {high}): another unit, or another column; nothing was written. Give --scale "
                f"{column.name}=FACTOR, or correct the range in the portfolio"
            )


# Values, and the rows that hold something else


def _values(
    path: Path,
    given: pa.Table,
    of: LoadedTable,
    says: tuple[Columns, ReadOptions, str],
    rejections: Rejections,
) -> tuple[dict[str, pa.ChunkedArray], dict[str, str]]:
    """The columns as their types, null where missing or unreadable, and what to say of how they were written."""
    columns, reading, zone = says
    wanted = of.columns
    numeric = [column for column in wanted if _is_number(column)]
    written = read_numbers({column.name: given[column.name] for column in numeric}, reading.decimal, path)
    dated = [given[column.name] for column in wanted if column.type == "date"]
    order = order_of((text(days_) for days_ in dated if is_text(days_.type)), reading.dates, path)
    values, timed = {}, dict[str, list[str]]()
    for column in wanted:
        name, factor = column.name, columns.factors.get(column.name)
        if name in of.moments:
            values[name], unreadable, form = moments(_text_or_typed(given[name]), order, zone)
            timed.setdefault(form, []).append(name)
        elif _is_number(column):
            values[name], unreadable = _number(path, column, written.columns[name], factor)
            if column.type == "integer" and factor is None and written.columns[name].percent is None:
                values[name], unreadable = _exact(given[name], values[name], unreadable)
        elif column.type == "date":
            values[name], unreadable = days(_text_or_typed(given[name]), order)
        elif column.role == "id":
            values[name], unreadable = _id(given[name], column, rejections)
        elif column.type == "boolean" or (column.role == "customer" and column.type == "integer"):
            as_read = pa.bool_() if column.type == "boolean" else pa.int64()
            values[name], unreadable = _read(_text_or_typed(given[name]), as_read)
        else:
            values[name], unreadable = _category(given[name], column)
        rejections.add(unreadable, f"{name} cannot be read as {column.type}")
    factors = ", ".join(f"{name} x {factor:g}" for name, factor in columns.factors.items())
    times = {what: ", ".join(names) for what, names in timed.items() if what}
    notes = {**written.notes, "order of days": order, **times, "scaled": factors}
    return values, {what: note for what, note in notes.items() if note}


def _is_number(column: Column) -> bool:
    # What says who it is has no decimal mark and no thousands.
    return column.type in ("integer", "float") and column.role not in ("id", "customer")


def _read(given: pa.ChunkedArray, type_: pa.DataType) -> tuple[pa.ChunkedArray, Mask]:
    reading = read(given, type_)
    return reading.values, np.zeros(len(given), dtype=bool) if reading.misfits is None else reading.misfits


def _text_or_typed(given: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text without blanks and words for nothing; anything else as it is."""
    return text(given) if is_text(given.type) else given


def _number(path: Path, column: Column, given: Numbers, factor: float | None) -> tuple[pa.ChunkedArray, Mask]:
    values = given.values
    if given.percent is not None and factor is None:
        unit = column.unit.lower()
        if "percent" not in unit and not any(word in unit for word in _FRACTIONS):
            raise PermanentError(
                f"{path}: column {column.name} is written with percent signs, and portfolio says of it neither percent "
                f"nor fraction: give its unit in the portfolio, or --scale {column.name}=1 or =0.01"
            )
        if "percent" not in unit:
            values = np.where(given.percent, values / 100, values)
    if factor is not None:
        values = values * factor
    elif given.percent is None and "percent" in column.unit.lower():
        _refuse_fractions(path, column, values)
    unreadable = given.unreadable
    if factor is not None:
        unreadable = unreadable | np.isinf(values)
    if column.type == "integer":
        unreadable = unreadable | (np.isfinite(values) & ((values != np.round(values)) | (np.abs(values) > _EXACT)))
    missing = ~np.isfinite(values) | unreadable
    array = pa.array(np.where(missing, 0.0, values), mask=missing)
    return pa.chunked_array([array.cast(pa.int64()) if column.type == "integer" else array]), unreadable


def _exact(given: pa.ChunkedArray, values: pa.ChunkedArray, unreadable: Mask) -> tuple[pa.ChunkedArray, Mask]:
    """Whole numbers with those that floats cannot hold read from what was written."""
    if not unreadable.any():
        return values, unreadable
    exact, misfits = _read(_text_or_typed(given), pa.int64())
    long = unreadable & ~misfits & np.asarray(exact.is_valid())
    return pc.if_else(pa.array(long), exact, values), unreadable & ~long


def _refuse_fractions(path: Path, column: Column, values: NDArray[np.float64]) -> None:
    some = values[np.isfinite(values) & (values != 0)]
    if len(some) >= ENOUGH_VALUES and np.quantile(np.abs(some), 0.9) <= 1:
        raise PermanentError(
            f"{path}: nine in ten of {len(some):,} values of {column.name} lie below 1, but the portfolio's unit is "
            f"{column.unit!r}: they are fractions of one. Give --scale {column.name}=100, or =1 where they are right"
        )


def _id(given: pa.ChunkedArray, column: Column, rejections: Rejections) -> tuple[pa.ChunkedArray, Mask]:
    if column.type == "integer":
        return _read(_text_or_typed(given), pa.int64())
    values, unreadable = _read(given, pa.string())
    values = text(values)
    if not is_text(given.type):
        # Whole numbers with gaps arrive as floats.
        values = pc.replace_substring_regex(values, r"\.0$", "")
    rejections.add_lost_ids(values)
    long = pc.fill_null(pc.greater(pc.utf8_length(values), _LONGEST_ID), False)
    rejections.add(np.asarray(long.to_numpy(), dtype=bool), f"{column.name} has more than {_LONGEST_ID} characters")
    return values, unreadable


def _category(given: pa.ChunkedArray, column: Column) -> tuple[pa.ChunkedArray, Mask]:
    values, unreadable = _read(given, pa.string())
    trimmed = pc.utf8_trim_whitespace(values)
    nothing = [word for word in _NO_TEXT if word not in {level.lower() for level in column.allowed or ()}]
    missing = pc.is_in(pc.utf8_lower(trimmed), pa.array(nothing))
    return pc.if_else(missing, pa.scalar(None, pa.string()), trimmed), unreadable
