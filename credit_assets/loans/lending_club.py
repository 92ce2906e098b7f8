"""The public LendingClub files, read into the canonical columns of the packaged portfolio.

Belongs here: which columns the published files have and what they mean. Does not belong here: reading the files
(`table_files`), forms of numbers and months (`published_values`, `dates`), ids (`made_ids`), units (`scales`),
writing to a warehouse (`credit_assets.warehouse`) and rules about plausible values
(`credit_assets.ml.data.contracts`).

What the files do not say is filled in by rule, and the report names it:

- The issue date is a month. A loan's day in it is a hash of its id, so a month's loans spread over its days, and the
  same loan gets the same day from every file. Outcome dates take the application's day of the month, which keeps
  the distance between application and outcome at whole months.
- No charge-off date is published. LendingClub charges off at about 150 days past due: a default becomes known five
  months after the last payment, or six months after issue where nothing was ever paid. A loan paid in full becomes
  known with its last payment. A loan that is current or late has no outcome yet.
- A file without ids gets them from issue year and row; loans that the book has already keep theirs (`made_ids`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from credit_assets.failures import PermanentError
from credit_assets.loans.dates import order_of
from credit_assets.loans.layouts import NOT_A_ROW, Layout, RawTable, ReadOptions
from credit_assets.loans.loaded_file import LoadedFile
from credit_assets.loans.made_ids import KnownLoans, loans_under_made_ids, made_ids, year_bounds
from credit_assets.loans.published_values import Numbers, by_level, is_text, months, read_numbers, text
from credit_assets.loans.rejections import REPEATED, Mask, Rejections, account
from credit_assets.loans.scales import percent_rows, sizes_of
from credit_assets.loans.table_files import read_columns

Floats: TypeAlias = NDArray[np.float64]
Days: TypeAlias = NDArray[np.datetime64]

LAYOUT = Layout(
    name="LendingClub",
    required=(
        "loan_amnt", "term", "int_rate", "emp_length", "home_ownership", "annual_inc", "issue_d", "loan_status",
        "purpose", "addr_state", "dti", "delinq_2yrs", "inq_last_6mths", "open_acc", "revol_bal", "revol_util",
        "last_pymnt_d",
    ),
    optional=("id", "tot_cur_bal", "total_rev_hi_lim"),
    sign="loan_amnt",
    few_values=frozenset({"term", "int_rate", "emp_length", "home_ownership", "issue_d", "loan_status", "purpose",
                          "addr_state", "last_pymnt_d"}),
    advice="give the published file with its original column names (accepted loans, not rejected applications)",
)  # fmt: skip
COLUMNS = (
    "application_id", "application_date", "annual_income", "total_debt", "credit_used", "credit_limit", "loan_amount",
    "interest_rate", "term_months", "purpose", "home_ownership", "employment_years", "state", "inquiries_6m",
    "delinquencies_2y", "open_accounts",
)  # fmt: skip
"""What the files give, by the names of the packaged portfolio."""
_NUMBERS = (
    "loan_amnt", "term", "int_rate", "annual_inc", "dti", "delinq_2yrs", "inq_last_6mths", "open_acc", "revol_bal",
    "revol_util", "tot_cur_bal", "total_rev_hi_lim",
)  # fmt: skip
_WHOLE_NUMBERS = ("term", "delinq_2yrs", "inq_last_6mths", "open_acc")
_OFF_POLICY = re.compile(r"does not meet the credit policy\.?\s*(status:)?\s*", re.IGNORECASE)
_PAID, _DEFAULTED, _NOT_ENDED = 0, 1, -1
_STATUS = {
    "fully paid": _PAID, "charged off": _DEFAULTED, "default": _DEFAULTED, "current": _NOT_ENDED, "issued": _NOT_ENDED,
    "in grace period": _NOT_ENDED, "late (16-30 days)": _NOT_ENDED, "late (31-120 days)": _NOT_ENDED,
}  # fmt: skip
NOT_A_LOAN = NOT_A_ROW
MONTHS_TO_CHARGE_OFF = 5
MONTHS_NEVER_PAID = 6
# Below this utilisation (1 %) the limit is not computed from balance and utilisation: rounding would multiply.
LEAST_UTILISATION = 0.01
# Loans of which the book has another with the same values at issue: more than chance.
MAX_UNDER_MADE_IDS = 0.001
# A book takes total_debt from balances only where every month of issue has them for this share of its loans.
LEAST_BALANCE_SHARE = 0.75

DebtScale = Literal["auto", "balance", "debt_service"]
BALANCE, DEBT_SERVICE = "balance: tot_cur_bal", "annualised debt service: dti x annual_inc"


@dataclass(frozen=True)
class LendingClubReport:
    """What was read and how it was understood. Counts are rows; rates are shares."""

    layout: str
    read_as: dict[str, str]
    rows_read: int
    rows_kept: int
    rejected: dict[str, int]
    first_date: date | None
    last_date: date | None
    outcomes: int
    defaults: int
    default_rate: float | None
    outside_credit_policy: int
    paid_without_date: int
    ids: str
    total_debt: str
    credit_limit: dict[str, int]

    def to_record(self) -> dict[str, Any]:
        """Plain values, dates in ISO form."""
        record = asdict(self)
        for key in ("first_date", "last_date"):
            record[key] = record[key] and record[key].isoformat()
        return record


@dataclass(frozen=True)
class LendingClubBook:
    """Kept loans as the two tables, and what was left out.

    `rejected` holds the row number (data rows counted from 1 after the header, blank lines not counted), the line, the
    reason, the line's text where it was no row, and the published values as text. `file` is the record to be kept with
    the book.
    """

    applications: pa.Table
    outcomes: pa.Table
    rejected: pd.DataFrame
    report: LendingClubReport
    file: LoadedFile


def read_lending_club(
    path: str | Path,
    *,
    debt: DebtScale = "auto",
    reading: ReadOptions | None = None,
    known: KnownLoans | None = None,
    look: bool = False,
) -> LendingClubBook:
    """Read a published file: delimited text, Parquet or Arrow, packed or not, in any of the known layouts.

    Percentages come as 13.56, "13.56%" or .1356, terms as 36 or " 36 months", months as timestamps, "Dec-2015" and
    other forms; a note line above the header, total lines between or below the loans and repeated rows are set aside.

    Parameters
    ----------
    path
        The file.
    debt
        What `total_debt` is, which has one scale in a book: the balance of all accounts (`balance`), or dti x annual
        income, the annualised debt service (`debt_service`). `auto` takes balances where nearly all loans of every
        month have them. Give it when several files go into one warehouse.
    reading
        What overrules what is recognised of the text.
    known
        The loans of the book that the file is to go into. Loans without ids are looked for in it.
    look
        Whether loans with ids are looked for in it too, under ids that were made.

    Raises
    ------
    PermanentError
        Where the file cannot be read, lacks columns, or can be read in two ways.
    """
    path, reading = Path(path), reading or ReadOptions()
    raw = read_columns(path, LAYOUT, reading)
    rejections = Rejections(raw.columns.num_rows)
    values, notes = _read_values(path, raw.columns, rejections, reading)
    ids = _given_ids(raw.columns, rejections)
    without = np.flatnonzero(pd.isna(ids) & rejections.usable)
    scales = _scales(path, values, rejections.usable)
    _reject_repeated_without_id(raw.columns, without, rejections)
    rejections.add_repeated(raw.columns, _with_places(ids))

    kept = np.flatnonzero(rejections.usable)
    values = values.take(kept)
    applications, debt_note, limit_sources = _applications(raw, values, kept, scales, debt)
    all_ids = _all_ids(path, (ids[kept], raw.numbers[kept]), applications, values.issued, known, look=look)
    applied = _days_at(values.issued, _place_in_month(all_ids))
    applications = applications.set_column(0, "application_id", pa.array(all_ids, pa.string()))
    applications = applications.set_column(1, "application_date", pa.array(applied))
    known_outcomes = np.flatnonzero((values.status != _NOT_ENDED) & ~np.isnan(values.known_in))
    outcomes = pa.table(
        {
            "application_id": applications["application_id"].take(pa.array(known_outcomes)),
            "outcome_date": pa.array(_same_days(values.known_in[known_outcomes], applied[known_outcomes])),
            "defaulted": pa.array(values.status[known_outcomes].astype("int8")),
        }
    )
    rejected = rejections.rows(raw)
    rows_read, reasons = account(raw, len(kept), rejected)
    defaults = int((values.status == _DEFAULTED).sum())
    some_made = bool(len(without))
    report = LendingClubReport(
        layout=_layout_note(raw, scales),
        read_as={**raw.read_as, **notes},
        rows_read=rows_read,
        rows_kept=len(kept),
        rejected=reasons,
        first_date=applied.min().item() if len(kept) else None,
        last_date=applied.max().item() if len(kept) else None,
        outcomes=len(known_outcomes),
        defaults=defaults,
        default_rate=round(defaults / len(known_outcomes), 6) if len(known_outcomes) else None,
        outside_credit_policy=int(values.off_policy.sum()),
        paid_without_date=int(((values.status == _PAID) & np.isnan(values.known_in)).sum()),
        ids="made from issue year and row" if some_made else "from the file",
        total_debt=debt_note,
        credit_limit=limit_sources,
    )
    file = LoadedFile(
        digest=raw.digest,
        name=path.name,
        kind="lending-club",
        rows_read=rows_read,
        rows_kept=len(kept),
        read_as={**report.read_as, "layout": report.layout},
        conventions={"total_debt": debt_note, "currency": notes.get("currency sign", "")},
        sizes=sizes_of(applications, ()),
        made_ids=some_made,
    )
    return LendingClubBook(applications, outcomes, rejected, report, file)


def _applications(
    raw: RawTable, values: _Values, kept: NDArray[np.intp], scales: Mapping[str, _Scale], debt: DebtScale
) -> tuple[pa.Table, str, dict[str, int]]:
    """The canonical columns, id and day null yet; what `total_debt` is, and where limits come from."""
    total_debt, debt_note = _total_debt(values, debt)
    in_percent = {name: scale.percent[kept] for name, scale in scales.items()}
    limit, limit_sources = _credit_limit(values, in_percent["revol_util"])
    rate = values.numbers["int_rate"] * np.where(in_percent["int_rate"], 1, 100)
    applications = pa.table(
        {
            "application_id": pa.nulls(len(kept), pa.string()),
            "application_date": pa.nulls(len(kept), pa.date32()),
            "annual_income": _nullable(values.numbers["annual_inc"]),
            "total_debt": _nullable(total_debt),
            "credit_used": _nullable(values.numbers["revol_bal"]),
            "credit_limit": _nullable(limit),
            "loan_amount": _nullable(values.numbers["loan_amnt"]),
            "interest_rate": _nullable(np.round(rate, 6)),
            "term_months": _whole(values.numbers["term"]),
            "purpose": pc.utf8_lower(_category(raw.columns["purpose"], kept)),
            "home_ownership": pc.utf8_upper(_category(raw.columns["home_ownership"], kept)),
            "employment_years": _nullable(values.employment_years),
            "state": pc.utf8_upper(_category(raw.columns["addr_state"], kept)),
            "inquiries_6m": _whole(values.numbers["inq_last_6mths"]),
            "delinquencies_2y": _whole(values.numbers["delinq_2yrs"]),
            "open_accounts": _whole(values.numbers["open_acc"]),
        }
    )
    return applications, debt_note, limit_sources


# Values of all rows, and the rows that cannot be used


@dataclass(frozen=True)
class _Scale:
    """Which rows of a column are in percent, and what to say of the column."""

    percent: Mask
    form: str


@dataclass(frozen=True)
class _Values:
    """What the rows say. Months are counted since year 0, NaN where there is none; so is `status`, else of _STATUS."""

    numbers: dict[str, Floats]
    read: Mapping[str, Numbers]
    """The columns of numbers that the file has, with all its rows."""
    issued: Floats
    known_in: Floats
    """The month in which the outcome of a loan that ended became known."""
    status: Floats
    off_policy: Mask
    employment_years: Floats

    def take(self, rows: NDArray[np.intp]) -> _Values:
        return _Values(
            {name: values[rows] for name, values in self.numbers.items()},
            self.read,
            self.issued[rows],
            self.known_in[rows],
            self.status[rows],
            self.off_policy[rows],
            self.employment_years[rows],
        )


def _read_values(
    path: Path, raw: pa.Table, rejections: Rejections, reading: ReadOptions
) -> tuple[_Values, dict[str, str]]:
    """The values, and what to say of how they were written."""
    columns = {name: raw[name] for name in _NUMBERS if name in raw.column_names}
    written = read_numbers(columns, reading.decimal, path)
    read = written.columns
    order = order_of(
        (text(raw[name]) for name in ("issue_d", "last_pymnt_d") if is_text(raw[name].type)),
        reading.dates,
        path,
        monthly=True,
    )
    nothing = np.full(raw.num_rows, np.nan)
    values = {name: read[name].values if name in read else nothing for name in _NUMBERS}
    issued, last_paid = months(raw["issue_d"], order), months(raw["last_pymnt_d"], order)
    status = by_level(raw["loan_status"], lambda level: _STATUS.get(_OFF_POLICY.sub("", level).strip().lower()))
    off_policy = by_level(raw["loan_status"], lambda level: float(_OFF_POLICY.match(level) is not None))
    employment = by_level(raw["emp_length"], _employment_years)

    no_amount, no_term = np.isnan(values["loan_amnt"]), np.isnan(values["term"])
    no_issue, no_status = np.isnan(issued.values), np.isnan(status.values)
    rejections.add(no_amount & no_term & no_issue & no_status, NOT_A_LOAN)
    for name, given in {**read, "issue_d": issued, "last_pymnt_d": last_paid}.items():
        rejections.add(given.unreadable, f"{name} cannot be read")
    for name in _WHOLE_NUMBERS:
        column = values[name]
        whole = (column == np.round(column)) & (np.abs(column) < 2.0**53)
        rejections.add(~np.isnan(column) & ~whole, f"{name} is no whole number")
    rejections.add(no_amount, "loan_amnt is missing")
    rejections.add(no_term, "term is missing")
    rejections.add(no_issue, "issue_d is missing")
    rejections.add(no_status & ~status.unreadable, "loan_status is missing")
    rejections.add(status.unreadable, "loan_status is not known")
    rejections.add(last_paid.values < issued.values, "last_pymnt_d lies before issue_d")
    rejections.add(employment.unreadable, "emp_length cannot be read")
    never_paid = np.isnan(last_paid.values)
    defaulted_in = np.where(never_paid, issued.values + MONTHS_NEVER_PAID, last_paid.values + MONTHS_TO_CHARGE_OFF)
    result = _Values(
        values,
        read,
        issued.values,
        np.where(status.values == _DEFAULTED, defaulted_in, last_paid.values),
        status.values,
        off_policy.values == 1,
        employment.values,
    )
    return result, written.notes | ({"order of days": order} if order else {})


def _employment_years(level: str) -> float | None:
    """Years of "10+ years", "< 1 year" (0), "3 years" or 3; None where it is none of these."""
    match = re.fullmatch(r"(<?)\s*(\d+(?:\.\d+)?)\+?\s*(?:years?)?", level.strip().lower())
    if not match:
        return None
    return 0.0 if match[1] else float(match[2])


def _scales(path: Path, values: _Values, usable: Mask) -> dict[str, _Scale]:
    """Percent or fraction, judged from whole columns."""
    rate = _Scale(*percent_rows("int_rate", values.read["int_rate"], usable, rate=True, otherwise="", where=path))
    used = percent_rows(
        "revol_util", values.read["revol_util"], usable, rate=False, otherwise=rate.form.split(" ")[0], where=path
    )
    return {"int_rate": rate, "revol_util": _Scale(*used)}


def _given_ids(raw: pa.Table, rejections: Rejections) -> NDArray[np.object_]:
    if "id" not in raw.column_names:
        return np.full(raw.num_rows, None, dtype=object)
    given = pc.replace_substring_regex(text(raw["id"]), r"\.0$", "")
    rejections.add_lost_ids(given)
    return np.asarray(given.to_numpy(), dtype=object)


def _with_places(ids: NDArray[np.object_]) -> NDArray[np.object_]:
    """The ids, with the number of the row where there is none: such rows share no id."""
    missing = pd.isna(ids)
    return np.where(missing, np.arange(len(ids)), ids)


def _reject_repeated_without_id(raw: pa.Table, without: NDArray[np.intp], rejections: Rejections) -> None:
    repeated = np.zeros(raw.num_rows, dtype=bool)
    if len(without):
        repeated[without] = raw.take(without).to_pandas().duplicated().to_numpy()
    rejections.add(repeated, REPEATED)


def _all_ids(
    path: Path,
    rows: tuple[NDArray[np.object_], NDArray[np.int64]],
    loans: pa.Table,
    issued: Floats,
    known: KnownLoans | None,
    *,
    look: bool,
) -> list[str]:
    """The ids of the loans, given those in the file and the numbers of the rows; made where there are none."""
    ids, numbers = rows
    without = np.flatnonzero(pd.isna(ids))
    book = known(*year_bounds(issued)) if known is not None and len(ids) and (look or len(without)) else None
    if book is not None and look and len(without) < len(ids):
        there = np.flatnonzero(~pd.isna(ids))
        twice = loans_under_made_ids(loans.take(pa.array(there)), issued[there], book)
        if twice > MAX_UNDER_MADE_IDS * len(there):
            raise PermanentError(
                f"{path}: {twice:,} of its loans are in the book already, under ids that were made for a file without "
                "any: they would be there twice; nothing was written. Load the files with ids into a book of their own"
            )
    ids[without] = made_ids(loans.take(pa.array(without)), issued[without], numbers[without], book)
    result: list[str] = ids.tolist()
    return result


# Columns of the book


def _nullable(values: Floats) -> pa.Array:
    return pa.array(values, from_pandas=True)


def _whole(values: Floats) -> pa.Array:
    return _nullable(values).cast(pa.int64())


def _category(column: pa.ChunkedArray, rows: NDArray[np.intp]) -> pa.ChunkedArray:
    trimmed = pc.utf8_trim_whitespace(column.cast(pa.string()).take(pa.array(rows)))
    # "NONE" is a level of home ownership, so only blanks are missing here.
    return pc.if_else(
        pc.is_in(pc.utf8_lower(trimmed), pa.array(["", "n/a", "nan"])), pa.scalar(None, pa.string()), trimmed
    )


def _total_debt(values: _Values, debt: DebtScale) -> tuple[Floats, str]:
    balance = values.numbers["tot_cur_bal"]
    _, month = np.unique(values.issued, return_inverse=True)
    shares = np.bincount(month, ~np.isnan(balance)) / np.maximum(np.bincount(month), 1)
    everywhere = len(shares) > 0 and bool(shares.min() >= LEAST_BALANCE_SHARE)
    if debt == "balance" or (debt == "auto" and everywhere):
        return balance, BALANCE
    service = np.round(values.numbers["dti"] / 100 * values.numbers["annual_inc"], 2)
    return service, DEBT_SERVICE


def _credit_limit(values: _Values, in_percent: Mask) -> tuple[Floats, dict[str, int]]:
    stated, balance = values.numbers["total_rev_hi_lim"], values.numbers["revol_bal"]
    used = values.numbers["revol_util"] / np.where(in_percent, 100, 1)
    # Some rows state a utilisation and a balance of nothing: no limit follows from them.
    enough = (used >= LEAST_UTILISATION) & (balance > 0)
    computed = np.round(balance / np.where(enough, used, np.nan), 2)
    limit = np.where(np.isnan(stated), computed, stated)
    from_file, missing = int((~np.isnan(stated)).sum()), int(np.isnan(limit).sum())
    return limit, {
        "total_rev_hi_lim": from_file,
        "revol_bal / revol_util": len(limit) - from_file - missing,
        "missing": missing,
    }


def _layout_note(raw: RawTable, scales: Mapping[str, _Scale]) -> str:
    issued = raw.columns["issue_d"]
    seen = "timestamps" if pa.types.is_temporal(issued.type) else f"like {text(issued)[0].as_py()}"
    return (
        f"{raw.read_as['file']}, interest rate as {scales['int_rate'].form}, utilisation as "
        f"{scales['revol_util'].form}, months {seen}"
    )


# Days within months


def _place_in_month(ids: Sequence[str]) -> Floats:
    """A stable number in [0, 1) per id, the same on every machine."""
    digest = b"".join(hashlib.blake2b(key.encode(), digest_size=8).digest() for key in ids)
    return (np.frombuffer(digest, "<u8") >> np.uint64(11)).astype("float64") / 2.0**53


def _month_lengths(months_since_0: Floats) -> tuple[Days, NDArray[np.int64]]:
    """First day and number of days of each month."""
    first = (months_since_0.astype("int64") - 1970 * 12).astype("datetime64[M]")
    length = ((first + 1).astype("datetime64[D]") - first.astype("datetime64[D]")).astype("int64")
    return first.astype("datetime64[D]"), length


def _days_at(months_since_0: Floats, place: Floats) -> Days:
    """The day at a place in [0, 1) of each month."""
    first, length = _month_lengths(months_since_0)
    days: Days = first + (place * length).astype("int64")
    return days


def _same_days(months_since_0: Floats, days: Days) -> Days:
    """The day of the month of `days` in other months, or the last day of a shorter one."""
    first, length = _month_lengths(months_since_0)
    of_month = (days - days.astype("datetime64[M]").astype("datetime64[D]")).astype("int64")
    same: Days = first + np.minimum(of_month, length - 1)
    return same
