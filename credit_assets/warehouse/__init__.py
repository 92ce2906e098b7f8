"""The warehouse: where a lender's applications and outcomes are read from and written to.

Belongs here: opening a warehouse by its URL. `base` holds what every warehouse does, `queries` and `writing` the SQL of
it, `source` the two tables, `session` what each kind of warehouse fills in: `duckdb_file` and `sql`, with `postgres`
where PostgreSQL is read as Arrow and `driver_internals` for what drivers do not document. `ordering` sorts rows that
come in no order. Does not belong here: what a value is read as (`credit_assets.ml.data.values`), rules about values
(`credit_assets.ml.data.contracts`) and reading of files (`credit_assets.loans`).

Nothing heavy is imported before the first connection: the code location holds a warehouse that it never opens.
"""

from __future__ import annotations

import re

from credit_assets.failures import PermanentError
from credit_assets.warehouse.base import Warehouse
from credit_assets.warehouse.writing import TableCounts, WriteReport

__all__ = ["WITHHELD", "TableCounts", "Warehouse", "WriteReport", "open_warehouse"]

WITHHELD = "withheld://"
"""The URL of whoever is given no warehouse. An unset one would be the embedded warehouse, which is empty there."""


def open_warehouse(url: str, timezone: str = "UTC") -> Warehouse:
    """The warehouse of a URL; connects on first use, and can be pickled.

    `duckdb:///file.duckdb` (three slashes: relative to the working directory, four: absolute) is DuckDB. Everything
    else is a SQLAlchemy URL: `postgresql://user:password@host/database` (psycopg 3), `sqlite:////abs/file.db`, ...
    `timezone` is the IANA zone in which days are cut: that of the partitions, CREDIT_TIMEZONE.
    Raises PermanentError where the text is no URL; its password is never shown.
    """
    if url == WITHHELD:
        from credit_assets.warehouse.withheld import WithheldWarehouse

        return WithheldWarehouse(url, timezone)
    scheme = re.match(r"([A-Za-z][A-Za-z0-9_]*)(\+[A-Za-z0-9_]+)?://", url)
    if not scheme:
        raise PermanentError(
            "the warehouse URL is not of the form dialect://...: set CREDIT_WAREHOUSE_URL to duckdb:///file.duckdb, "
            "postgresql://user:password@host/database or another SQLAlchemy URL"
        )
    if scheme[1].lower() == "duckdb":
        from credit_assets.warehouse.duckdb_file import DuckDBWarehouse

        return DuckDBWarehouse(url, timezone)
    from credit_assets.warehouse.sql import SqlWarehouse

    # libpq and most hosting services say postgres://, which SQLAlchemy no longer knows.
    return SqlWarehouse(re.sub(r"^postgres(\+|:)", r"postgresql\1", url), timezone)
