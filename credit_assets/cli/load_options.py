"""The options that every command which loads a file takes, in one place, and those of a generated book.

Belongs here: their names, help and checks. Does not belong here: what they do (`credit_assets.loans`, `loans`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_type_hints

import typer

from credit_assets.failures import PermanentError
from credit_assets.places import PlaceError, local_path

if TYPE_CHECKING:
    from credit_assets.cli.loans import LoadRules
    from credit_assets.loans.layouts import ReadOptions
    from credit_assets.loans.lending_club import DebtScale
    from credit_assets.loans.portfolio_file import Columns
    from credit_assets.loans.tables import LoadedTable
    from credit_assets.ml.data.portfolio import Portfolio


def local_file(text: str) -> Path:
    """A file that is given to a verb, read as the settings read paths."""
    try:
        return local_path(text)
    except PlaceError as error:
        raise typer.BadParameter(str(error)) from error


@dataclass(frozen=True)
class ReadingOptions:
    """What overrules what is recognised of a file."""

    encoding: Annotated[
        str, typer.Option(help="Encoding of the text: utf-8, utf-16, cp1252, ...; default: recognised.")
    ] = ""
    delimiter: Annotated[
        str, typer.Option(help="What parts the fields: one character, or tab; default: recognised.")
    ] = ""
    decimal: Annotated[
        str, typer.Option(help="Decimal mark of all columns: . or ,; default: recognised for each column.")
    ] = ""
    dates: Annotated[
        str, typer.Option(help="Order of days like 01/02/2015: day-first or month-first; default: recognised.")
    ] = ""
    no_quotes: Annotated[
        bool, typer.Option("--no-quotes", help="Double quotes are plain characters and enclose nothing.")
    ] = False

    def reading(self) -> ReadOptions:
        """As the readers take them. Raises PermanentError where an option has no such value."""
        from credit_assets.loans.layouts import ReadOptions

        return ReadOptions(self.encoding, self.delimiter, self.decimal, self.dates, not self.no_quotes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class FileOptions(ReadingOptions):
    """What overrules what is recognised of a file, and what is allowed of it."""

    max_rejected: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of rows that may be rejected; default 0.05.")
    ] = None
    accept_scale: Annotated[
        list[str] | None,
        typer.Option(help="Column whose values may be of another size or meaning than the book's; repeatable."),
    ] = None

    def rules(self) -> LoadRules:
        from credit_assets.cli.loans import LoadRules

        return LoadRules(self.max_rejected, tuple(self.accept_scale or ()))


@dataclass(frozen=True)
class BookOptions:
    """Which book is made, and what is said of it besides."""

    book: Annotated[
        str,
        typer.Option(
            help="loans: everybody was lent to; lender: everyone who applied, with decisions, statuses and histories."
        ),
    ] = "loans"
    known_until: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Day by which a lender's book knows what it knows; default: --end."),
    ] = None
    truth: Annotated[
        Path | None,
        typer.Option(
            help="Parquet file for the true PD and outcome of everyone in a lender's book.",
            parser=local_file,
            metavar="FILE",
        ),
    ] = None

    def is_lender(self) -> bool:
        """Raises PermanentError for another word, or for what only a lender's book has."""
        if self.book not in ("loans", "lender"):
            raise PermanentError(f"--book is loans or lender, not {self.book!r}")
        given = {"--known-until": self.known_until, "--truth": self.truth}
        if self.book == "loans" and (alone := [name for name, value in given.items() if value is not None]):
            raise PermanentError(
                f"{' and '.join(alone)}: give --book lender too; in the book of loans all were lent to"
            )
        return self.book == "lender"


def with_options(kind: type[Any], name: str = "options") -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Fills a command's parameter `name` from the options of `kind`, a dataclass: typer sees each of them."""
    hints = get_type_hints(kind, include_extras=True)
    shared = [
        inspect.Parameter(item.name, inspect.Parameter.KEYWORD_ONLY, default=item.default, annotation=hints[item.name])
        for item in fields(kind)
    ]

    def taking(command: Callable[..., None]) -> Callable[..., None]:
        own_hints = get_type_hints(command, include_extras=True)
        given = inspect.signature(command).parameters.values()
        own = [parameter.replace(annotation=own_hints[parameter.name]) for parameter in given if parameter.name != name]

        @wraps(command)
        def wrapper(**arguments: Any) -> None:
            options = kind(**{item.name: arguments.pop(item.name) for item in fields(kind)})
            command(**arguments, **{name: options})

        parameters = [*(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own), *shared]
        del wrapper.__wrapped__
        wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return wrapper

    return taking


with_file_options = with_options(FileOptions)


def debt_scale(given: str) -> DebtScale:
    """The value of --debt. Raises PermanentError for another word."""
    if given not in ("auto", "balance", "debt_service"):
        raise PermanentError(f"--debt is auto, balance or debt_service, not {given!r}")
    return cast("DebtScale", given)


def tables_named(portfolio: Portfolio, given: list[str] | None) -> tuple[LoadedTable, ...]:
    """The tables that are loaded, by what they hold or by their names. Raises PermanentError for another word."""
    from credit_assets.loans.tables import APPLICATIONS, table_named

    named = {table.what: table for table in (table_named(portfolio, name) for name in given or [APPLICATIONS])}
    tables = tuple(sorted(named.values(), key=lambda table: table.what))
    if len(tables) > 1 and (apart := [table.what for table in tables if not table.in_the_book]):
        raise PermanentError(
            f"--table: {' and '.join(apart)} stand in files of their own, one table a load; applications and outcomes "
            "alone may stand in the same rows"
        )
    return tables


def table_columns(
    portfolio: Portfolio, tables: Sequence[LoadedTable], names: list[str] | None, scales: list[str] | None
) -> Columns:
    """The values of --map and --scale. Raises PermanentError where one names no column of the tables."""
    from credit_assets.loans.portfolio_file import Columns

    ours = list(dict.fromkeys(column.name for table in tables for column in table.columns))
    table = " and ".join(table.what for table in tables)
    renamed = _pairs(names, "--map")
    named = {"--map": list(renamed.values()), "--scale": list(factors := _factors(scales))}
    for option, columns in named.items():
        if unknown := sorted(set(columns) - set(ours)):
            raise PermanentError(
                f"{option}: portfolio {portfolio.name} has no column {', '.join(unknown)} in its {table}; it has "
                f"{', '.join(ours)}"
            )
    if twice := sorted({name for name in renamed.values() if list(renamed.values()).count(name) > 1}):
        raise PermanentError(f"--map: {', '.join(twice)} is given two columns of the file; give it one")
    return Columns({name: theirs for theirs, name in renamed.items()}, factors)


def _pairs(given: list[str] | None, option: str) -> dict[str, str]:
    """`A=B` texts as a mapping from A to B, cut at the last sign. Raises PermanentError for other texts."""
    result: dict[str, str] = {}
    for text in given or []:
        left, sign, right = (part.strip() for part in text.rpartition("="))
        if not (left and sign and right) or left in result:
            raise PermanentError(f"{option} {text}: write NAME=VALUE, each name once")
        result[left] = right
    return result


def _factors(given: list[str] | None) -> dict[str, float]:
    """Factors by column. Raises PermanentError where one is no number, or zero."""
    result = {}
    for name, text in _pairs(given, "--scale").items():
        try:
            result[name] = float(text)
        except ValueError:
            result[name] = 0.0
        if not 0 < abs(result[name]) < float("inf"):
            raise PermanentError(f"--scale {name}={text}: give a factor, for instance 1000 or 0.01")
    return result
