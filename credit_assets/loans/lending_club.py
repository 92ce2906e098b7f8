"""The public LendingClub files, read into the canonical columns of the packaged portfolio.

Belongs here: which columns the published files have and what they mean. Does not belong here: reading the files
(`delimited`), forms of numbers and months (`published_values`), writing to a warehouse (`credit_assets.warehouse`) and
rules about plausible values (`credit_assets.ml.data.contracts`).

What the files do not say is filled in by rule, and the report names it:

- The issue date is a month. A loan's day in it is a hash of its id, so a month's loans spread over its days, and the
  same loan gets the same day from every file. Outcome dates take the application's day of the month, which keeps
  the distance between application and outcome at whole months.
- No charge-off date is published. LendingClub charges off at about 150 days past due: a default becomes known five
  months after the last payment, or six months after issue where nothing was ever paid. A loan paid in full becomes
  known with its last payment. A loan that is current or late has no outcome yet.
- A file without ids gets them from issue year and row, so they hold for that file only.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter
from collections.abc import Sequence
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
from credit_assets.loans.delimited import Layout, RawTable, StrayLine, read_columns
from credit_assets.loans.published_values import by_level, months, numbers, text

Mask: TypeAlias = NDArray[np.bool_]
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
NOT_A_LOAN = "not a loan: a note or total line"
REPEATED = "repeats an earlier row"
SAME_ID = "another row has the same id and other values"
MONTHS_TO_CHARGE_OFF = 5
MONTHS_NEVER_PAID = 6
# Below this utilisation (1 %) the limit is not computed from balance and utilisation: rounding would multiply.
LEAST_UTILISATION = 0.01
# A book takes total_debt from balances only where every month of issue has them for this share of its loans.
LEAST_BALANCE_SHARE = 0.75
# Values are fractions where the one that a column is judged by is not above this; else percent.
_LARGEST_FRACTION = {"int_rate": 1.0, "revol_util": 2.0}

DebtScale = Literal["auto", "balance", "debt_service"]


@dataclass(frozen=True)
class LendingClubReport:
    """What was read and how it was understood. Counts are rows; rates are shares."""

    layout: str
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

    `rejected` holds the row number (data rows counted from 1 after the header, blank lines not counted), the reason,
    the line's text where it was no row, and the published values as text.
    """

    applications: pa.Table
    outcomes: pa.Table
    rejected: pd.DataFrame
    report: LendingClubReport


def read_lending_club(path: str | Path, *, debt: DebtScale = "auto") -> LendingClubBook:
    """Read a published file: CSV, gzipped CSV or Parquet, in any of the known layouts.

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

    Raises
    ------
    PermanentError
        Where the file cannot be read or lacks columns; it lists them.
    """
    path = Path(path)
    raw = read_columns(path, LAYOUT)
    if raw.columns.num_rows == 0:
        raise PermanentError(f"{path} holds no loans: it has a header and no rows")
    rejections = _Rejections(raw.columns.num_rows)
    values = _read_values(raw.columns, rejections)
    scales = {name: _scale_of(name, values, rejections.usable) for name in _LARGEST_FRACTION}
    ids, made = _ids(raw, values.issued, rejections.usable)
    _reject_repeated(raw.columns, ids, made, rejections)

    kept = np.flatnonzero(rejections.usable)
    values = values.take(kept)
    applied = _days_at(values.issued, _place_in_month(ids[kept].tolist()))
    total_debt, debt_note = _total_debt(values, debt)
    limit, limit_sources = _credit_limit(values, scales["revol_util"])
    rate = values.numbers["int_rate"] * (100 if scales["int_rate"] == "fraction" else 1)
    applications = pa.table(
        {
            "application_id": pa.array(ids[kept], pa.string()),
            "application_date": pa.array(applied),
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
    known = np.flatnonzero((values.status != _NOT_ENDED) & ~np.isnan(values.known_in))
    outcomes = pa.table(
        {
            "application_id": applications["application_id"].take(pa.array(known)),
            "outcome_date": pa.array(_same_days(values.known_in[known], applied[known])),
            "defaulted": pa.array(values.status[known].astype("int8")),
        }
    )
    rejected = _rejected_rows(raw, rejections)
    defaults = int((values.status == _DEFAULTED).sum())
    report = LendingClubReport(
        layout=_layout_note(raw, scales),
        rows_read=raw.columns.num_rows + len(raw.stray_lines),
        rows_kept=len(kept),
        rejected=dict(Counter(rejected["reason"]).most_common()),
        first_date=applied.min().item() if len(kept) else None,
        last_date=applied.max().item() if len(kept) else None,
        outcomes=len(known),
        defaults=defaults,
        default_rate=round(defaults / len(known), 6) if len(known) else None,
        outside_credit_policy=int(values.off_policy.sum()),
        paid_without_date=int(((values.status == _PAID) & np.isnan(values.known_in)).sum()),
        ids="made from issue year and row" if len(made) else "from the file",
        total_debt=debt_note,
        credit_limit=limit_sources,
    )
    return LendingClubBook(applications, outcomes, rejected, report)


# Values of all rows, and the rows that cannot be used


class _Rejections:
    """The rows that cannot be used, each with the first reason that was found."""

    def __init__(self, rows: int) -> None:
        self.usable = np.ones(rows, dtype=bool)
        self.reasons = np.full(rows, None, dtype=object)

    def add(self, where: Mask, reason: str) -> None:
        self.reasons[where & self.usable] = reason
        self.usable &= ~where


@dataclass(frozen=True)
class _Values:
    """What the rows say. Months are counted since year 0, NaN where there is none; so is `status`, else of _STATUS."""

    numbers: dict[str, Floats]
    percent_signs: frozenset[str]
    """Columns in which percent signs stand."""
    issued: Floats
    known_in: Floats
    """The month in which the outcome of a loan that ended became known."""
    status: Floats
    off_policy: Mask
    employment_years: Floats

    def take(self, rows: NDArray[np.intp]) -> _Values:
        return _Values(
            {name: values[rows] for name, values in self.numbers.items()},
            self.percent_signs,
            self.issued[rows],
            self.known_in[rows],
            self.status[rows],
            self.off_policy[rows],
            self.employment_years[rows],
        )


def _read_values(raw: pa.Table, rejections: _Rejections) -> _Values:
    read = {name: numbers(raw[name]) for name in _NUMBERS if name in raw.column_names}
    nothing = np.full(raw.num_rows, np.nan)
    values = {name: read[name].values if name in read else nothing for name in _NUMBERS}
    issued, last_paid = months(raw["issue_d"]), months(raw["last_pymnt_d"])
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
        rejections.add(~np.isnan(column) & (column != np.round(column)), f"{name} is no whole number")
    rejections.add(no_amount, "loan_amnt is missing")
    rejections.add(no_term, "term is missing")
    rejections.add(no_issue, "issue_d is missing")
    rejections.add(no_status & ~status.unreadable, "loan_status is missing")
    rejections.add(status.unreadable, "loan_status is not known")
    rejections.add(last_paid.values < issued.values, "last_pymnt_d lies before issue_d")
    rejections.add(employment.unreadable, "emp_length cannot be read")
    never_paid = np.isnan(last_paid.values)
    defaulted_in = np.where(never_paid, issued.values + MONTHS_NEVER_PAID, last_paid.values + MONTHS_TO_CHARGE_OFF)
    return _Values(
        values,
        frozenset(name for name, given in read.items() if given.percent_signs),
        issued.values,
        np.where(status.values == _DEFAULTED, defaulted_in, last_paid.values),
        status.values,
        off_policy.values == 1,
        employment.values,
    )


def _employment_years(level: str) -> float | None:
    """Years of "10+ years", "< 1 year" (0), "3 years" or 3; None where it is none of these."""
    match = re.fullmatch(r"(<?)\s*(\d+(?:\.\d+)?)\+?\s*(?:years?)?", level.strip().lower())
    if not match:
        return None
    return 0.0 if match[1] else float(match[2])


def _scale_of(name: str, values: _Values, usable: Mask) -> str:
    """Percent or fraction, judged from the whole column."""
    if name in values.percent_signs:
        return "percent with sign"
    column = values.numbers[name][usable]
    # A rate is judged by its middle: one wrong value must not turn the scale. Utilisation has many small values.
    judge = np.nanmedian if name == "int_rate" else np.nanmax
    judged = judge(column) if np.isfinite(column).any() else 0.0
    return "percent" if judged > _LARGEST_FRACTION[name] else "fraction"


def _ids(raw: RawTable, issued: Floats, usable: Mask) -> tuple[NDArray[np.object_], NDArray[np.intp]]:
    """The ids, and the usable rows without one, which get theirs from issue year and row."""
    if "id" in raw.columns.column_names:
        given = pc.replace_substring_regex(text(raw.columns["id"]), r"\.0$", "")
        ids = given.to_numpy().astype(object)
    else:
        ids = np.full(len(usable), None, dtype=object)
    made = np.flatnonzero(pd.isna(ids) & usable)
    for row in made:
        ids[row] = f"LC{int(issued[row]) // 12}-{raw.numbers[row]:07d}"
    return ids, made


def _reject_repeated(raw: pa.Table, ids: NDArray[np.object_], made: NDArray[np.intp], rejections: _Rejections) -> None:
    rows = np.flatnonzero(rejections.usable)
    repeated = np.zeros(len(ids), dtype=bool)
    other = repeated.copy()
    later = rows[pd.Series(ids[rows]).duplicated().to_numpy()]
    if len(later):
        wanted = set(ids[later])
        first = {ids[row]: row for row in rows[::-1] if ids[row] in wanted}
        originals = raw.take([first[ids[row]] for row in later]).to_pylist()
        same = [copy == original for copy, original in zip(raw.take(later).to_pylist(), originals, strict=True)]
        repeated[later], other[later] = same, np.invert(same)
    if len(made):
        repeated[made] |= raw.take(made).to_pandas().duplicated().to_numpy()
    rejections.add(repeated, REPEATED)
    rejections.add(other, SAME_ID)


def _rejected_rows(raw: RawTable, rejections: _Rejections) -> pd.DataFrame:
    rows = np.flatnonzero(~rejections.usable)
    values = pa.table(
        {name: column.take(pa.array(rows)).cast(pa.string()) for name, column in
         zip(raw.columns.column_names, raw.columns.columns, strict=True)}
    ).to_pandas()  # fmt: skip
    values.insert(0, "row", raw.numbers[rows])
    values.insert(1, "reason", rejections.reasons[rows])
    values.insert(2, "text", None)
    lines = pd.DataFrame(
        {
            "row": [line.number for line in raw.stray_lines],
            "reason": [_why_stray(line) for line in raw.stray_lines],
            "text": [line.text for line in raw.stray_lines],
        }
    )
    both = [frame for frame in (values, lines) if len(frame)]
    rejected: pd.DataFrame = pd.concat(both, ignore_index=True) if both else values
    return rejected.reindex(columns=values.columns).sort_values("row", kind="stable", ignore_index=True)


def _why_stray(line: StrayLine) -> str:
    fields = [field for field in next(csv.reader([line.text]), []) if field.strip()]
    return NOT_A_LOAN if len(fields) <= 2 else "another number of fields than the header"


# Columns of the book


def _nullable(values: Floats) -> pa.Array:
    return pa.array(values, from_pandas=True)


def _whole(values: Floats) -> pa.Array:
    return _nullable(values).cast(pa.int64(), safe=False)


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
        return balance, "balance: tot_cur_bal"
    service = np.round(values.numbers["dti"] / 100 * values.numbers["annual_inc"], 2)
    return service, "annualised debt service: dti x annual_inc"


def _credit_limit(values: _Values, scale: str) -> tuple[Floats, dict[str, int]]:
    stated, balance = values.numbers["total_rev_hi_lim"], values.numbers["revol_bal"]
    used = values.numbers["revol_util"] / (1 if scale == "fraction" else 100)
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


def _layout_note(raw: RawTable, scales: dict[str, str]) -> str:
    issued = raw.columns["issue_d"]
    seen = "timestamps" if pa.types.is_temporal(issued.type) else f"like {text(issued)[0].as_py()}"
    return (
        f"{raw.container}, interest rate as {scales['int_rate']}, utilisation as {scales['revol_util']}, months {seen}"
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
