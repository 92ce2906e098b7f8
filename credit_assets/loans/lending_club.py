"""The public LendingClub files, read into the canonical columns of the packaged portfolio.

Belongs here: the layouts of the published files and what they mean. Does not belong here: writing to a warehouse
(`credit_assets.warehouse`) and rules about plausible values (`credit_assets.ml.data.contracts`).

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
import gzip
import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from credit_assets.failures import PermanentError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

REQUIRED = (
    "loan_amnt", "term", "int_rate", "emp_length", "home_ownership", "annual_inc", "issue_d", "loan_status", "purpose",
    "addr_state", "dti", "delinq_2yrs", "inq_last_6mths", "open_acc", "revol_bal", "revol_util", "last_pymnt_d",
)  # fmt: skip
OPTIONAL = ("id", "tot_cur_bal", "total_rev_hi_lim")
_NUMBERS = (
    "loan_amnt", "term", "int_rate", "annual_inc", "dti", "delinq_2yrs", "inq_last_6mths", "open_acc", "revol_bal",
    "revol_util", "tot_cur_bal", "total_rev_hi_lim",
)  # fmt: skip
_FEW_VALUES = ("term", "int_rate", "emp_length", "home_ownership", "issue_d", "loan_status", "purpose", "addr_state",
               "last_pymnt_d")  # fmt: skip
_MISSING = ("", "n/a", "na", "nan", "null", "none", "<na>", "nat")
_MONTHS = {
    "jan": 0, "feb": 1, "mar": 2, "apr": 3, "may": 4, "jun": 5, "jul": 6, "aug": 7, "sep": 8, "oct": 9, "nov": 10,
    "dec": 11,
}  # fmt: skip
_MONTH_FORMS = (
    r"(?P<name>[a-z]{3})[a-z]*[-/ ](?P<year>\d{4}|\d{2})",
    r"(?P<year>\d{4}|\d{2})[-/ ](?P<name>[a-z]{3})[a-z]*",  # "15-Dec", as spreadsheets turn "Dec-15"
    r"\d{1,2}[-/ ](?P<name>[a-z]{3})[a-z]*[-/ ](?P<year>\d{4}|\d{2})",
    r"(?P<year>\d{4})-(?P<month>\d{1,2})(-\d{1,2}([t ].*)?)?",
    r"(?P<month>\d{1,2})/(\d{1,2}/)?(?P<year>\d{4})",
)
_POLICY = re.compile(r"does not meet the credit policy\.?\s*(status:)?\s*", re.IGNORECASE)
_STATUS = {
    "fully paid": 0, "charged off": 1, "default": 1, "current": -1, "issued": -1, "in grace period": -1,
    "late (16-30 days)": -1, "late (31-120 days)": -1,
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
_BLOCK_BYTES = 1 << 24

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

    `total_debt` has one scale in a book: the balance of all accounts (`balance`) or dti x annual income, the
    annualised debt service (`debt_service`). `auto` takes balances where nearly all loans of every month have them.
    Give it when several files go into one warehouse.

    Raises PermanentError where the file cannot be read or lacks columns; it lists them.
    """
    path = Path(path)
    raw, rows, strays = _read_parquet(path) if _is_parquet(path) else _read_csv(path)
    return _Reading(path, raw, rows, strays, debt).book()


# Files


def _is_parquet(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PAR1"
    except OSError as error:
        raise PermanentError(f"{path} cannot be read: {error.strerror}") from error


def _present(path: Path, names: Sequence[str]) -> list[str]:
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise PermanentError(
            f"{path} has no known LendingClub layout: missing columns {', '.join(missing)}; give the published file "
            "with its original column names (accepted loans, not rejected applications)"
        )
    return [name for name in names if name in REQUIRED + OPTIONAL]


def _read_parquet(path: Path) -> tuple[pa.Table, np.ndarray, list[tuple[int, str]]]:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        present = _present(path, pq.read_schema(path).names)
        raw = pq.read_table(path, columns=present)
    except (pa.ArrowInvalid, OSError) as error:
        raise PermanentError(f"{path} is not a readable Parquet file") from error
    return raw, np.arange(1, raw.num_rows + 1), []


def _read_csv(path: Path) -> tuple[pa.Table, np.ndarray, list[tuple[int, str]]]:
    """Only the columns needed are held, as text; the published 2 GB file never is in memory."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.csv as pacsv

    above, names = _header(path)
    present = _present(path, names)
    strays: list[tuple[int, str]] = []

    def set_aside(row: Any) -> str:
        strays.append((row.number, row.text))
        return "skip"

    with path.open("rb") as file:
        compression = "gzip" if file.read(2) == b"\x1f\x8b" else None
    parts: list[Any] = []
    try:
        with pa.input_stream(str(path), compression=compression) as stream:
            reader = pacsv.open_csv(
                stream,
                # One thread: only then are the rows that have another number of fields reported with their number.
                read_options=pacsv.ReadOptions(
                    column_names=names, skip_rows=above, block_size=_BLOCK_BYTES, use_threads=False
                ),
                parse_options=pacsv.ParseOptions(newlines_in_values=True, invalid_row_handler=set_aside),
                convert_options=pacsv.ConvertOptions(
                    include_columns=present, column_types=dict.fromkeys(present, pa.string()), strings_can_be_null=False
                ),
            )
            for batch in reader:
                columns = [
                    c.dictionary_encode() if n in _FEW_VALUES else c for n, c in zip(present, batch, strict=True)
                ]
                parts.append(pa.RecordBatch.from_arrays(columns, names=present))
    except (pa.ArrowInvalid, OSError, EOFError) as error:
        raise PermanentError(f"{path} is not a readable CSV file: {str(error).split(':')[0]}") from error
    kinds = [pa.dictionary(pa.int32(), pa.string()) if n in _FEW_VALUES else pa.string() for n in present]
    raw = pa.Table.from_batches(parts, schema=pa.schema(list(zip(present, kinds, strict=True))))
    strays = [(number - above, text) for number, text in strays]
    everything = np.arange(1, raw.num_rows + len(strays) + 1)
    return raw, everything[~np.isin(everything, [number for number, _ in strays])], strays


def _header(path: Path) -> tuple[int, list[str]]:
    """Lines up to and including the header, and its names. The published files carry a note line above it."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    opener: Any = gzip.open if packed else open
    best: list[str] = []
    with opener(path, "rt", encoding="utf-8-sig", errors="replace", newline="") as file:
        for number in range(1, 11):
            names = next(csv.reader([file.readline(1 << 20)]), [])
            names = [name.strip() for name in names]
            if "loan_amnt" in names or len(set(names) & set(REQUIRED)) > len(REQUIRED) // 2:
                return number, names
            best = max(best, names, key=len)
    raise PermanentError(
        f"{path} has no known LendingClub layout: no header in its first 10 lines; missing columns "
        f"{', '.join(name for name in REQUIRED if name not in best)}"
    )


# Values


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Trimmed text; what stands for nothing is null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = pc.utf8_trim_whitespace(column.cast(pa.string()))
    return pc.if_else(pc.is_in(pc.utf8_lower(text), pa.array(_MISSING)), pa.scalar(None, pa.string()), text)


def _numbers(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray, bool]:
    """Values (NaN where missing), which could not be read, and whether percent signs were seen."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_string(column.type) and not pa.types.is_dictionary(column.type):
        return (
            pd.to_numeric(column.to_pandas(), errors="coerce").to_numpy("float64"),
            np.zeros(len(column), bool),
            False,
        )
    text = _text(column)
    percent = bool(pc.any(pc.ends_with(text, "%")).as_py())
    bare = pc.replace_substring_regex(text, r"[%$,]|\s*months?$", "")
    try:
        values = bare.cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        values = pd.to_numeric(bare.to_pandas(), errors="coerce").to_numpy("float64")
    return values, np.isnan(values) & pc.is_valid(text).to_numpy(), percent


def month_of(text: str) -> int | None:
    """Months since year 0 of a month as the files write it; None where it is no month.

    >>> month_of("Dec-2015") == month_of("2015-12-01") == month_of("12/1/2015") == month_of("Dec-15") == 2015 * 12 + 11
    True
    """
    text = text.strip().lower()
    for form in _MONTH_FORMS:
        found = re.fullmatch(form, text)
        if found:
            parts = found.groupdict()
            month = _MONTHS.get(parts["name"], -1) if parts.get("name") else int(parts["month"]) - 1
            year = int(parts["year"]) + (2000 if len(parts["year"]) == 2 else 0)
            return year * 12 + month if 0 <= month < 12 else None
    return None


def _months(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Months since year 0 (-1 where missing), and which could not be read."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        months = pc.add(pc.multiply(pc.year(column), 12), pc.subtract(pc.month(column), 1))
        return pc.fill_null(months, -1).to_numpy().astype("int64"), np.zeros(len(column), bool)
    text = _text(column)
    encoded = text.combine_chunks().dictionary_encode()
    known = [month_of(value) for value in encoded.dictionary.to_pylist()]
    table = np.array([-1 if month is None else month for month in known] + [-1], dtype="int64")
    months = table[pc.fill_null(encoded.indices, len(known)).to_numpy()]
    return months, (months < 0) & pc.is_valid(text).to_numpy()


def _place_in_month(ids: Sequence[str]) -> np.ndarray:
    """A stable number in [0, 1) per id, the same on every machine."""
    import numpy as np

    digest = b"".join(hashlib.blake2b(key.encode(), digest_size=8).digest() for key in ids)
    return (np.frombuffer(digest, "<u8") >> np.uint64(11)).astype("float64") / 2.0**53


def _month_lengths(months: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First day and number of days of each month."""
    first = (months - 1970 * 12).astype("datetime64[M]")
    length = ((first + 1).astype("datetime64[D]") - first.astype("datetime64[D]")).astype("int64")
    return first.astype("datetime64[D]"), length


def _days_at(months: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The day at a place in [0, 1) of each month."""
    first, length = _month_lengths(months)
    days: np.ndarray = first + (place * length).astype("int64")
    return days


def _same_days(months: np.ndarray, days: np.ndarray) -> np.ndarray:
    """The day of the month of `days` in other months, or the last day of a shorter one."""
    import numpy as np

    first, length = _month_lengths(months)
    of_month = (days - days.astype("datetime64[M]").astype("datetime64[D]")).astype("int64")
    same: np.ndarray = first + np.minimum(of_month, length - 1)
    return same


class _Reading:
    """One file on its way from published columns to canonical ones."""

    def __init__(
        self, path: Path, raw: pa.Table, rows: np.ndarray, strays: list[tuple[int, str]], debt: DebtScale
    ) -> None:
        import numpy as np

        self.path, self.raw, self.rows, self.strays, self.debt = path, raw, rows, strays, debt
        self.count = raw.num_rows
        self.reason = np.full(self.count, None, dtype=object)
        self.number: dict[str, np.ndarray] = {}
        self.percent_sign: dict[str, bool] = {}
        self.scale: dict[str, str] = {}
        if self.count == 0:
            raise PermanentError(f"{path} holds no loans: it has a header and no rows")

    def book(self) -> LendingClubBook:
        import numpy as np
        import pyarrow as pa

        self._read_values()
        ids = self._ids()
        self._find_repeated(ids)
        kept = np.flatnonzero(self.reason == None)  # noqa: E711 - elementwise
        applied = _days_at(self.issued[kept], _place_in_month(ids[kept].tolist()))
        total_debt, debt_note = self._total_debt(kept)
        limit, limit_sources = self._credit_limit(kept)

        def numeric(name: str) -> pa.Array:
            return pa.array(self.number[name][kept], from_pandas=True)

        def whole(name: str) -> pa.Array:
            return numeric(name).cast(pa.int64(), safe=False)

        applications = pa.table(
            {
                "application_id": pa.array(ids[kept], pa.string()),
                "application_date": pa.array(applied),
                "annual_income": numeric("annual_inc"),
                "total_debt": pa.array(total_debt, from_pandas=True),
                "credit_used": numeric("revol_bal"),
                "credit_limit": pa.array(limit, from_pandas=True),
                "loan_amount": numeric("loan_amnt"),
                "interest_rate": pa.array(
                    np.round(self.number["int_rate"][kept] * (100 if self.scale["int_rate"] == "fraction" else 1), 6),
                    from_pandas=True,
                ),
                "term_months": whole("term"),
                "purpose": self._category("purpose", kept, upper=False),
                "home_ownership": self._category("home_ownership", kept, upper=True),
                "employment_years": pa.array(self.employment[kept], from_pandas=True),
                "state": self._category("addr_state", kept, upper=True),
                "inquiries_6m": whole("inq_last_6mths"),
                "delinquencies_2y": whole("delinq_2yrs"),
                "open_accounts": whole("open_acc"),
            }
        )
        known = np.flatnonzero((self.status[kept] >= 0) & (self.known_in[kept] >= 0))
        outcomes = pa.table(
            {
                "application_id": applications["application_id"].take(pa.array(known)),
                "outcome_date": pa.array(_same_days(self.known_in[kept][known], applied[known])),
                "defaulted": pa.array(self.status[kept][known], pa.int8()),
            }
        )
        rejected = self._rejected()
        defaults = int((self.status[kept] == 1).sum())
        report = LendingClubReport(
            layout=self._layout(),
            rows_read=self.count + len(self.strays),
            rows_kept=len(kept),
            rejected=dict(Counter(rejected["reason"]).most_common()),
            first_date=applied.min().item() if len(kept) else None,
            last_date=applied.max().item() if len(kept) else None,
            outcomes=len(known),
            defaults=defaults,
            default_rate=round(defaults / len(known), 6) if len(known) else None,
            outside_credit_policy=int(self.off_policy[kept].sum()),
            paid_without_date=int(((self.status[kept] == 0) & (self.known_in[kept] < 0)).sum()),
            ids="made from issue year and row" if self.made_ids else "from the file",
            total_debt=debt_note,
            credit_limit=limit_sources,
        )
        return LendingClubBook(applications, outcomes, rejected, report)

    def _reject(self, where: np.ndarray, reason: str) -> None:
        """The first reason found stays."""
        self.reason[where & (self.reason == None)] = reason  # noqa: E711 - elementwise

    def _read_values(self) -> None:
        import numpy as np
        import pandas as pd
        import pyarrow.compute as pc

        unreadable: dict[str, np.ndarray] = {}
        for name in _NUMBERS:
            if name in self.raw.column_names:
                self.number[name], unreadable[name], self.percent_sign[name] = _numbers(self.raw[name])
            else:
                self.number[name] = np.full(self.count, np.nan)
        self.issued, unreadable["issue_d"] = _months(self.raw["issue_d"])
        last_paid, unreadable["last_pymnt_d"] = _months(self.raw["last_pymnt_d"])

        status = _text(self.raw["loan_status"]).combine_chunks().dictionary_encode()
        texts = status.dictionary.to_pylist()
        codes = [_STATUS.get(_POLICY.sub("", text).strip().lower(), -3) for text in texts]
        outside = [bool(_POLICY.match(text)) for text in texts]
        index = pc.fill_null(status.indices, len(texts)).to_numpy()
        self.status = np.array([*codes, -2])[index]
        self.off_policy = np.array([*outside, False])[index]

        amount, term = self.number["loan_amnt"], self.number["term"]
        nothing = np.isnan(amount) & np.isnan(term) & (self.issued < 0) & (self.status < -1)
        self._reject(nothing, NOT_A_LOAN)
        for name, bad in unreadable.items():
            self._reject(bad, f"{name} cannot be read")
        whole = ("term", "delinq_2yrs", "inq_last_6mths", "open_acc")
        for name in whole:
            values = self.number[name]
            self._reject(~np.isnan(values) & (values != np.round(values)), f"{name} is no whole number")
        self._reject(np.isnan(amount), "loan_amnt is missing")
        self._reject(np.isnan(term), "term is missing")
        self._reject(self.issued < 0, "issue_d is missing")
        self._reject(self.status == -2, "loan_status is missing")
        self._reject(self.status == -3, "loan_status is not known")
        self._reject((last_paid >= 0) & (last_paid < self.issued), "last_pymnt_d lies before issue_d")

        defaulted = np.where(last_paid >= 0, last_paid + MONTHS_TO_CHARGE_OFF, self.issued + MONTHS_NEVER_PAID)
        self.known_in = np.where(self.status == 1, defaulted, last_paid)
        years = pd.Series(_text(self.raw["emp_length"]).to_pandas(), dtype="object")
        levels = {level: _employment_years(level) for level in years.dropna().unique()}
        self._reject(years.isin([level for level, value in levels.items() if value is None]).to_numpy(),
                     "emp_length cannot be read")  # fmt: skip
        self.employment = years.map(levels).to_numpy("float64")
        usable = self.reason == None  # noqa: E711 - elementwise
        self.scale["int_rate"] = self._scale_of("int_rate", usable, largest_fraction=1.0)
        self.scale["revol_util"] = self._scale_of("revol_util", usable, largest_fraction=2.0)

    def _scale_of(self, name: str, usable: np.ndarray, largest_fraction: float) -> str:
        """Percent or fraction, judged from the whole column; the largest plausible fraction parts them."""
        import numpy as np

        values = self.number[name][usable]
        if self.percent_sign[name]:
            return "percent with sign"
        # A rate is judged by its middle: one wrong value must not turn the scale. Utilisation has many small values.
        judged = np.nanmedian(values) if name == "int_rate" else np.nanmax(values) if np.isfinite(values).any() else 0
        return "percent" if judged > largest_fraction else "fraction"

    def _ids(self) -> np.ndarray:
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        if "id" in self.raw.column_names:
            text = _text(self.raw["id"].cast(pa.string()))
            ids = pc.replace_substring_regex(text, r"\.0$", "").to_numpy().astype(object)
        else:
            ids = np.full(self.count, None, dtype=object)
        without = np.flatnonzero((ids == None) & (self.reason == None))  # noqa: E711 - elementwise
        for i in without:
            ids[i] = f"LC{self.issued[i] // 12}-{self.rows[i]:07d}"
        self.made_ids = len(without) > 0
        self._without_id = without
        return ids

    def _find_repeated(self, ids: np.ndarray) -> None:
        import numpy as np
        import pandas as pd

        usable = np.flatnonzero(self.reason == None)  # noqa: E711 - elementwise
        later = usable[pd.Series(ids[usable]).duplicated().to_numpy()]
        if len(later):
            wanted = set(ids[later])
            first = {ids[i]: i for i in usable[::-1] if ids[i] in wanted}
            originals = self.raw.take([first[ids[i]] for i in later]).to_pylist()
            for i, copy, original in zip(later, self.raw.take(later).to_pylist(), originals, strict=True):
                self.reason[i] = REPEATED if copy == original else SAME_ID
        if len(self._without_id):
            values = self.raw.take(self._without_id).to_pandas()
            self.reason[self._without_id[values.duplicated().to_numpy()]] = REPEATED

    def _total_debt(self, kept: np.ndarray) -> tuple[np.ndarray, str]:
        import numpy as np
        import pandas as pd

        balance = self.number["tot_cur_bal"][kept]
        has = pd.Series(~np.isnan(balance)).groupby(self.issued[kept]).mean()
        everywhere = len(has) > 0 and bool(has.min() >= LEAST_BALANCE_SHARE)
        if self.debt == "balance" or (self.debt == "auto" and everywhere):
            return balance, "balance: tot_cur_bal"
        service = np.round(self.number["dti"][kept] / 100 * self.number["annual_inc"][kept], 2)
        return service, "annualised debt service: dti x annual_inc"

    def _credit_limit(self, kept: np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
        import numpy as np

        stated = self.number["total_rev_hi_lim"][kept]
        used = self.number["revol_util"][kept] / (1 if self.scale["revol_util"] == "fraction" else 100)
        balance = self.number["revol_bal"][kept]
        # Some rows state a utilisation beside a balance of nothing: no limit follows from them.
        enough = (used >= LEAST_UTILISATION) & (balance > 0)
        computed = np.round(balance / np.where(enough, used, np.nan), 2)
        limit = np.where(np.isnan(stated), computed, stated)
        from_file, missing = int((~np.isnan(stated)).sum()), int(np.isnan(limit).sum())
        return limit, {
            "total_rev_hi_lim": from_file,
            "revol_bal / revol_util": len(kept) - from_file - missing,
            "missing": missing,
        }

    def _category(self, name: str, kept: np.ndarray, *, upper: bool) -> pa.Array:
        import pyarrow as pa
        import pyarrow.compute as pc

        # "NONE" is a level of home ownership, so only blanks are missing here.
        text = pc.utf8_trim_whitespace(self.raw[name].cast(pa.string()).take(pa.array(kept)))
        text = pc.utf8_upper(text) if upper else pc.utf8_lower(text)
        return pc.if_else(
            pc.is_in(text, pa.array(["", "N/A", "n/a", "NAN", "nan"])), pa.scalar(None, pa.string()), text
        )

    def _rejected(self) -> pd.DataFrame:
        import numpy as np
        import pandas as pd
        import pyarrow as pa

        out = np.flatnonzero(self.reason != None)  # noqa: E711 - elementwise
        values = pa.table(
            {name: self.raw[name].take(pa.array(out)).cast(pa.string()) for name in self.raw.column_names}
        ).to_pandas()
        values.insert(0, "row", self.rows[out])
        values.insert(1, "reason", self.reason[out])
        values.insert(2, "text", None)
        lines = pd.DataFrame(
            {
                "row": [number for number, _ in self.strays],
                "reason": [_stray(text) for _, text in self.strays],
                "text": [text for _, text in self.strays],
            }
        )
        both = [frame for frame in (values, lines) if len(frame)]
        frame = pd.concat(both, ignore_index=True) if both else values
        return frame.reindex(columns=values.columns).sort_values("row", kind="stable", ignore_index=True)

    def _layout(self) -> str:
        import pyarrow as pa

        container = "Parquet" if _is_parquet(self.path) else "CSV"
        kind = self.raw["issue_d"].type
        months = "timestamps" if pa.types.is_temporal(kind) else f"like {_text(self.raw['issue_d'])[0].as_py()}"
        return (
            f"{container}, interest rate as {self.scale['int_rate']}, utilisation as {self.scale['revol_util']}, "
            f"months {months}"
        )


def _stray(text: str) -> str:
    fields = [field for field in next(csv.reader([text]), []) if field.strip()]
    return NOT_A_LOAN if len(fields) <= 2 else "another number of fields than the header"


def _employment_years(level: str) -> float | None:
    """Years of "10+ years", "< 1 year" (0), "3 years" or 3; None where it is none of these."""
    found = re.fullmatch(r"(<?)\s*(\d+(?:\.\d+)?)\+?\s*(?:years?)?", level.strip().lower())
    if not found:
        return None
    return 0.0 if found[1] else float(found[2])
