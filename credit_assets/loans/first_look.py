"""What the columns of a table nobody has described look like: type, levels, size, what is missing.

Belongs here: facts, each read off the values. Does not belong here: what follows from them for a portfolio
(`credit_assets.loans.guesses`), and how values are written (`published_values`, `decimal_marks`, `dates`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from credit_assets.failures import PermanentError
from credit_assets.loans.arrow_files import read_names
from credit_assets.loans.containers import open_container
from credit_assets.loans.dates import Order, day_of, days, order_of
from credit_assets.loans.decimal_marks import MAX_CONTRADICTING_SHARE, forms_of
from credit_assets.loans.layouts import Layout, RawTable, ReadOptions
from credit_assets.loans.published_values import Numbers, is_text, read_numbers, text
from credit_assets.loans.table_files import read_columns
from credit_assets.loans.text_files import recognise
from credit_assets.ml.data.values import read

Kind: TypeAlias = Literal["integer", "float", "boolean", "date", "category", "string", "empty"]
Values: TypeAlias = NDArray[np.float64]

# What is read of a table at most, every so many rows of it: enough for each share and quantile that is written.
MOST_ROWS = 200_000
# Share of a column's values that may be something else than the type that it is taken for.
_ODD_SHARE = 0.005
# Numbers in text that are no amounts: a whole number up to here is counted, above it is measured.
_LARGEST_COUNT = 1_000
_FEW_LEVELS = 50
# Share of the rows of a table of outcomes whose ids must be among the applications.
_MET = 0.5
_NUMBER = r"^\s*[-+]?[\s$€£¥₹]*\d[\d.,'\s]*([eE][-+]?\d+)?\s*%?\s*[$€£¥₹]?\s*(months?)?\s*$"
_LEADING_ZERO = r"^0\d"
_TRUE_WORDS, _FALSE_WORDS = {"true", "t", "yes", "y"}, {"false", "f", "no", "n"}


@dataclass(frozen=True)
class ColumnLook:
    """One column. `given` is its name in the table, `name` that in a portfolio."""

    given: str
    name: str
    kind: Kind
    rows: int
    missing: int
    distinct: int
    levels: Mapping[str, int]
    """Each text and how often it stands there, the frequent ones first; of columns with few of them."""
    values: Values | None
    """Numbers, days since 1970, places in `levels`: NaN where missing; None of text with many."""
    percent: bool = False
    odd: int = 0
    """Values that are none of the kind."""

    @property
    def missing_share(self) -> float:
        return self.missing / self.rows

    @property
    def unique(self) -> bool:
        return not self.missing and self.distinct == self.rows

    def quantile(self, share: float) -> float:
        assert self.values is not None
        return float(np.nanquantile(self.values, share))


@dataclass(frozen=True)
class FirstLook:
    """The columns of a table, in its order, and what the table was taken for."""

    columns: tuple[ColumnLook, ...]
    rows: int
    read_as: Mapping[str, str]

    def of(self, name: str) -> ColumnLook:
        return next(column for column in self.columns if column.name == name)


def portfolio_name(given: str) -> str:
    """The name that a portfolio can give a column: letters of other alphabets as near as may be, signs as _.

    >>> [portfolio_name(name) for name in ("Höhe (EUR)", "Straße", "2nd income", "id", "État civil")]
    ['Hoehe_EUR', 'Strasse', '_2nd_income', 'id', 'Etat_civil']
    """
    for letter, plain in {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss"}.items():
        given = given.replace(letter, plain)
    plain = unicodedata.normalize("NFKD", given).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", plain).strip("_.-" if plain[:1] != "_" else ".-")[:63]
    return plain if re.match(r"[A-Za-z_]", plain) else f"_{plain}"[:63]


class _AnyLayout(Layout):
    """A table of unknown columns: its header is the line whose fields all look like names, of which no two are the
    same."""

    def is_header(self, names: Any) -> bool:
        named = [name for name in names if name]
        return len(named) > 1 and len(named) >= len(names) - 1 == len(set(names)) - 1 and all(map(_is_name, named))

    def count_known(self, names: Any) -> int:
        return len(names)

    def present(self, path: Path, names: Any, how: str) -> list[str]:  # noqa: ARG002 - all are wanted
        twice = sorted({name for name in names if list(names).count(name) > 1})
        if twice:
            raise PermanentError(f"{path}: column {', '.join(twice)} stands there more than once: rename or remove one")
        return [name for name in names if name]


def _is_name(text: str) -> bool:
    return any(letter.isalpha() for letter in text) and day_of(text) is None and text.lower() not in ("nan", "null")


def read_file(path: Path, reading: ReadOptions) -> RawTable:
    """All columns of a file, whatever they are called. Raises PermanentError where it cannot be read."""
    anything = _AnyLayout("table", (), (), "", frozenset(), "give --delimiter or --encoding")
    container = open_container(path)
    if container.kind != "text":
        return read_columns(path, anything, reading)
    names = [name for name in recognise(container, anything, reading).names if name]
    layout = replace(anything, required=tuple(names), sign=names[0])
    return read_columns(path, Layout(**vars(layout)), reading)


def names_in(path: Path, reading: ReadOptions) -> tuple[str, ...]:
    """The names of a file's columns. Raises PermanentError where none of its first lines is a header."""
    anything = _AnyLayout("table", (), (), "", frozenset(), "")
    container = open_container(path)
    if container.kind == "text":
        return recognise(container, anything, reading).names
    return read_names(container)


def look_at(
    table: pa.Table, reading: ReadOptions, where: object, read_as: Mapping[str, str] | None = None
) -> FirstLook:
    """What the columns of a table look like. Raises PermanentError where how its values are written cannot be told."""
    step = -(-table.num_rows // MOST_ROWS)
    if step > 1:
        table = table.take(pa.array(np.arange(0, table.num_rows, step)))
    bare = {name: text(column) if is_text(column.type) else column for name, column in _columns(table)}
    kinds = {name: _kind_of_type(column.type) or _kind_of_text(column) for name, column in bare.items()}
    order = order_of((c for n, c in bare.items() if kinds[n] == "date" and is_text(c.type)), reading.dates, where)
    given = reading.decimal
    numbers = read_numbers(_of_one_mark(bare, kinds, given), given, where)
    looks = [_look(name, column, kinds[name], order, numbers.columns.get(name)) for name, column in bare.items()]
    notes = {**numbers.notes, **({"order of days": order} if order else {})}
    return FirstLook(_named(looks), table.num_rows, {**(read_as or {}), **notes})


def beside(applications: pa.Table, key: str, outcomes: pa.Table, where: object) -> pa.Table:
    """The columns of a table of outcomes, its id first, row by row of the applications; null where there is none, and
    the last one where there are several. Raises PermanentError where no column has ids of applications.
    """
    ids = text(applications[key].cast(pa.string())).to_pylist()
    known = set(ids)
    shares = {}
    for name in outcomes.column_names:
        texts = text(outcomes[name].cast(pa.string()))
        shares[name] = sum(one in known for one in texts.to_pylist() if one is not None) / max(1, len(texts))
    theirs = max(shares, key=lambda name: (shares[name], name == key))
    if shares[theirs] < _MET:
        raise PermanentError(
            f"{where}: no column has ids that are among those of {key}: give the outcomes of these applications, with "
            "their ids as they are there"
        )
    row_of = {one: row for row, one in enumerate(text(outcomes[theirs].cast(pa.string())).to_pylist())}
    rows = pa.array([row_of.get(one) for one in ids], pa.int64())
    names = [theirs, *(name for name in outcomes.column_names if name != theirs)]
    return pa.table({name: outcomes[name].take(rows) for name in names})


def _columns(table: pa.Table) -> list[tuple[str, pa.ChunkedArray]]:
    plain = []
    for name in table.column_names:
        column = table[name]
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        plain.append((name, column))
    return plain


def _named(looks: list[ColumnLook]) -> tuple[ColumnLook, ...]:
    """With names that differ."""
    seen: set[str] = set()
    named = []
    for look in looks:
        name, number = look.name, 2
        while name.lower() in seen:
            name, number = f"{look.name[:60]}_{number}", number + 1
        seen.add(name.lower())
        named.append(replace(look, name=name))
    return tuple(named)


def _kind_of_type(kind: pa.DataType) -> str:
    """What a column is by its type; nothing of text, whose values tell."""
    types = pa.types
    if types.is_boolean(kind):
        return "boolean"
    if types.is_date(kind) or types.is_timestamp(kind):
        return "date"
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return "number"
    return "" if types.is_string(kind) or types.is_null(kind) else "string"


def _kind_of_text(column: pa.ChunkedArray) -> str:
    different = column.drop_null().unique()
    if not len(different):
        return "empty"
    words = {word.lower() for word in different[:10].to_pylist()}
    if words <= _TRUE_WORDS | _FALSE_WORDS and len(different) <= 8:
        return "boolean" if words & _TRUE_WORDS and words & _FALSE_WORDS else "text"
    some = different[:: max(1, len(different) // 500)].to_pylist()
    if sum(_is_day(one) for one in some) >= (1 - _ODD_SHARE) * len(some):
        return "date"
    if _share(different, _NUMBER) >= 1 - _ODD_SHARE and _share(different, _LEADING_ZERO) < _ODD_SHARE:
        return "number"
    return "text"


def _is_day(text_: str) -> bool:
    return day_of(text_, "day-first") is not None or day_of(text_, "month-first") is not None or _is_iso(text_)


def _is_iso(text_: str) -> bool:
    return bool(re.match(r"\d{4}-\d{2}-\d{2}", text_)) and read([text_], pa.date32()).misfits is None


def _share(values: pa.ChunkedArray, pattern: str) -> float:
    return float(pc.mean(pc.match_substring_regex(values, pattern).cast(pa.float64())).as_py())


def _of_one_mark(bare: dict[str, pa.ChunkedArray], kinds: dict[str, str], given: str) -> dict[str, pa.ChunkedArray]:
    """The columns of numbers. Text with decimal commas as well as points is none of them: a version, an address."""
    found = {}
    for name, column in bare.items():
        if kinds[name] != "number":
            continue
        if is_text(column.type) and not given:
            forms = forms_of(column)
            if forms.contradicting > MAX_CONTRADICTING_SHARE * (forms.comma + forms.point):
                kinds[name] = "text"
                continue
        found[name] = column
    return found


def _look(name: str, column: pa.ChunkedArray, kind: str, order: Order, numbers: Numbers | None) -> ColumnLook:
    rows = len(column)
    facts = (name, portfolio_name(name))
    if kind == "empty" or column.null_count == rows:
        return ColumnLook(*facts, "empty", rows, rows, 0, {}, None)
    if kind == "number" and numbers is not None:
        return _of_numbers(facts, column, numbers)
    if kind == "boolean":
        flags = read(column, pa.bool_())
        values = flags.values.cast(pa.float64()).to_numpy()
        return ColumnLook(*facts, "boolean", rows, column.null_count, 2, {}, values, odd=flags.misfit_count)
    if kind == "date":
        found, odd = days(column, order)
        values = found.cast(pa.int32()).cast(pa.float64()).to_numpy()
        distinct = int(pc.count_distinct(found).as_py())
        return ColumnLook(*facts, "date", rows, column.null_count, distinct, {}, values, odd=int(odd.sum()))
    return _of_text(facts, column)


def _of_numbers(facts: tuple[str, str], column: pa.ChunkedArray, numbers: Numbers) -> ColumnLook:
    values = np.where(np.isfinite(numbers.values), numbers.values, np.nan)
    there = values[~np.isnan(values)]
    missing = len(values) - len(there) - int(numbers.unreadable.sum())
    whole = bool(len(there)) and bool((there == np.round(there)).all())
    typed = pa.types.is_integer(column.type)
    counted = whole and (typed or np.abs(there).max() <= _LARGEST_COUNT or len(np.unique(there)) == len(there))
    kind: Kind = "integer" if counted else "float"
    return ColumnLook(
        *facts, kind, len(values), missing, len(np.unique(there)), {}, values,
        percent=numbers.percent is not None, odd=int(numbers.unreadable.sum()),
    )  # fmt: skip


def _of_text(facts: tuple[str, str], column: pa.ChunkedArray) -> ColumnLook:
    texts = read(column, pa.string()).values
    rows, given = len(texts), len(texts) - texts.null_count
    encoded = texts.combine_chunks().dictionary_encode()
    distinct = len(encoded.dictionary)
    if distinct > _FEW_LEVELS and distinct * 20 > given:
        return ColumnLook(*facts, "string", rows, texts.null_count, distinct, {}, None)
    places = pc.fill_null(encoded.indices.cast(pa.float64()), float("nan")).to_numpy().copy()
    counts = np.bincount(places[~np.isnan(places)].astype(np.int64), minlength=distinct)
    ranked = np.argsort(-counts, kind="stable")
    names = encoded.dictionary.to_pylist()
    place_of = np.empty(distinct)
    place_of[ranked] = np.arange(distinct)
    there = ~np.isnan(places)
    places[there] = place_of[places[there].astype(np.int64)]
    levels = {names[at]: int(counts[at]) for at in ranked}
    return ColumnLook(*facts, "category", rows, texts.null_count, distinct, levels, places)
