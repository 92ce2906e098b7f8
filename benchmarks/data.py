"""Books of any size for benchmarks, made by DuckDB in seconds: ten million loans in less than one minute.

Belongs here: loans of the packaged portfolio that pass every gate and from which a model learns something, and homes
prepared with them. Does not belong here: a book that looks like a real one (`credit_assets.loans.generator`).

Every draw is a hash of (seed, day, number of the loan in its day, variable): the same arguments give the same rows
with the same version of DuckDB. Outcomes come within days, so that a short performance window matures.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.processes import Cost

_LOANS = """
WITH loans AS (
    SELECT day, n, hash(xor(hash(xor(hash(?), hash(day))), hash(n))) AS k
    FROM incoming_days, range(incoming_days.loans) AS numbers(n)
), draws AS (
    SELECT day, n,
        u(k, 1) AS u_purpose, u(k, 2) AS u_home, u(k, 3) AS u_term, u(k, 4) AS u_state, u(k, 5) AS u_missing,
        u(k, 6) AS u_default, u(k, 7) AS u_when, u(k, 8) AS u_years, u(k, 9) AS u_late,
        z(k, 11) AS z_income, z(k, 13) AS z_debt, z(k, 15) AS z_use, z(k, 17) AS z_amount, z(k, 19) AS z_rate,
        u(k, 21) AS u_inquiries, u(k, 22) AS u_open
    FROM loans
), applicants AS (
    SELECT *,
        round(58000 * exp(0.5 * z_income), -2) AS income,
        1 / (1 + exp(-1.3 * z_use - 0.2 * z_debt)) AS utilisation,
        round(11000 * exp(0.7 * z_income + 0.4 * z_debt), 0) AS card_limit,
        round(8500 * exp(0.3 * z_income + 0.6 * z_amount) / 25 + 20, 0) * 25 AS amount,
        round(greatest(5, least(26, 12.5 + 3 * z_rate + 1.5 * z_use)), 2) AS rate,
        CASE WHEN u_term < 0.3 THEN 60 ELSE 36 END AS term,
        floor(-0.9 * ln(u_inquiries)) AS inquiries,
        CASE WHEN u_late < 0.12 THEN 1 + floor(-0.5 * ln(u_late / 0.12)) ELSE 0 END AS late
    FROM draws
)
SELECT
    'B' || ? || '-' || strftime(day, '%Y%m%d') || '-' || lpad(n::VARCHAR, 8, '0') AS application_id,
    day AS application_date,
    income AS annual_income,
    CASE WHEN u_missing < 0.02 THEN NULL ELSE round(income * greatest(0, 0.14 + 0.06 * z_debt), 2) END AS total_debt,
    round(card_limit * utilisation, 0) AS credit_used,
    CASE WHEN u_missing > 0.98 THEN NULL ELSE card_limit END AS credit_limit,
    amount AS loan_amount,
    rate AS interest_rate,
    term::BIGINT AS term_months,
    ['debt_consolidation', 'credit_card', 'other', 'home_improvement', 'major_purchase', 'small_business', 'car',
     'medical'][1 + floor(8 * u_purpose * u_purpose)::INTEGER] AS purpose,
    ['RENT', 'MORTGAGE', 'OWN', 'OTHER'][1 + floor(4 * u_home * u_home)::INTEGER] AS home_ownership,
    CASE WHEN u_years < 0.03 THEN NULL ELSE floor(11 * u_years)::DOUBLE END AS employment_years,
    ['CA', 'NY', 'FL', 'TX', 'NJ', 'IL', 'PA', 'GA'][1 + floor(8 * u_state)::INTEGER] AS state,
    inquiries::BIGINT AS inquiries_6m,
    late::BIGINT AS delinquencies_2y,
    (2 + floor(12 * u_open))::BIGINT AS open_accounts,
    day + 1 + floor(? * u_when)::INTEGER AS known,
    (u_default < 1 / (1 + exp(3.1 - 0.16 * (rate - 12.5) - 0.35 * z_use - 0.15 * inquiries - 0.3 * late
                              + 0.4 * z_income - 0.3 * z_amount - 0.5 * (term = 60)::INTEGER)))::TINYINT AS defaulted
FROM applicants
"""
_APPLICATIONS = """application_id, application_date, annual_income, total_debt, credit_used, credit_limit, loan_amount,
    interest_rate, term_months, purpose, home_ownership, employment_years, state, inquiries_6m, delinquencies_2y,
    open_accounts"""
# Rows made at a time: bounds the memory of making a day of ten million.
_CHUNK = 2_000_000


def write_book(file: Path, loans: Mapping[date, int], *, outcome_days: int, seed: int = 1) -> None:
    """Add the applications of these days, and the outcome of each, to the DuckDB file `file`.

    `loans`: applications of each day. The outcome of a loan becomes known 1 .. `outcome_days` days after it; about 6%
    default. Rows are stored by (day, id). No key on the tables: a warehouse need not have one, and DuckDB would spend
    more on it than on the rows.
    """
    import duckdb
    import pyarrow as pa

    file.parent.mkdir(parents=True, exist_ok=True)
    days = sorted(loans)
    with duckdb.connect(str(file)) as con:
        # hash(k, v) of DuckDB leaves its results dependent; hash of one number mixes well.
        con.execute("CREATE MACRO u(k, v) AS ((hash(xor(k, hash(v))) >> 11)::DOUBLE + 0.5) / 9007199254740992")
        con.execute("CREATE MACRO z(k, v) AS sqrt(-2 * ln(u(k, v))) * cos(2 * pi() * u(k, v + 1))")
        for first, last in _chunks([loans[day] for day in days]):
            chunk = days[first:last]
            con.register("incoming_days", pa.table({"day": chunk, "loans": [loans[day] for day in chunk]}))
            con.execute(f"CREATE TEMP TABLE made AS {_LOANS}", [seed, str(seed), outcome_days])
            con.unregister("incoming_days")
            for table, what, order in (
                ("loan_applications", _APPLICATIONS, "application_date, application_id"),
                ("loan_outcomes", "application_id, known AS outcome_date, defaulted", "outcome_date, application_id"),
            ):
                con.execute(f"CREATE TABLE IF NOT EXISTS {table} AS SELECT {what} FROM made LIMIT 0")
                con.execute(f"INSERT INTO {table} SELECT {what} FROM made ORDER BY {order}")
            con.execute("DROP TABLE made")
        con.execute("DROP MACRO u")
        con.execute("DROP MACRO z")


def _chunks(counts: list[int]) -> Iterable[tuple[int, int]]:
    first, rows = 0, 0
    for n, count in enumerate(counts):
        if n > first and rows + count > _CHUNK:
            yield first, n
            first, rows = n, 0
        rows += count
    if first < len(counts):
        yield first, len(counts)


def days_from(first: date, count: int) -> list[date]:
    return [first + timedelta(n) for n in range(count)]


# Homes


def settings_of(home: Path, **settings: Any) -> dict[str, str]:
    """The environment variables of these settings, with a Dagster folder of their own."""
    values = {"home": home, **settings}
    named = {
        f"CREDIT_{name.upper()}": json.dumps(value) if isinstance(value, dict) else str(value)
        for name, value in values.items()
    }
    return {**named, "DAGSTER_HOME": str(home / "dagster")}


class Home:
    """A CREDIT_HOME that every measured run finds as it was prepared.

    It stays in its place, since MLflow keeps absolute paths: the prepared state is put aside and copied back.
    """

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.path = folder / "home"
        # Only read by what is measured, so it need not be copied back.
        self.warehouse = folder / "warehouse.duckdb"
        self._aside = folder / "prepared"
        self.environment = settings_of(self.path, warehouse_url=f"duckdb:///{self.warehouse}", **settings)

    def run(self, *argv: str, timeout: float = 3600) -> Cost:
        """`python -m ...` with the settings of this home, at its cost. Raises ProcessError."""
        from benchmarks.processes import child_environment, run

        environment = child_environment(**self.environment)
        return run([sys.executable, "-m", *argv], env=environment, cwd=Path(__file__).parents[1], timeout=timeout)

    def replay(self, first: date, last: date, train: str) -> None:
        """`credit-assets replay` over these days. Raises ProcessError."""
        self.command("replay", "--train", train, "--start", first.isoformat(), "--end", last.isoformat())

    def command(self, *argv: str) -> Cost:
        """`credit-assets ...` with the settings of this home, at its cost. Raises ProcessError."""
        from benchmarks.processes import child_environment, run

        script = str(Path(sys.executable).with_name("credit-assets"))
        return run([script, *argv], env=child_environment(**self.environment))

    def prepared(self) -> None:
        """Take the present state as the prepared one."""
        shutil.rmtree(self._aside, ignore_errors=True)
        shutil.copytree(self.path, self._aside)

    def restore(self) -> None:
        """Back to the prepared state."""
        shutil.rmtree(self.path)
        shutil.copytree(self._aside, self.path)
