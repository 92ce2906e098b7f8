"""The warehouse: where a lender's applications and outcomes are read from and written to.

Belongs here: opening a warehouse by its URL. `base` holds what every warehouse does and the one way a query is built,
`duckdb_file` and `sql` how each kind connects, `postgres` how PostgreSQL is read as Arrow, `ordering` how rows in no
order are sorted, `arrow_columns` how values take on the portfolio's types. Does not belong here: rules about values
(`credit_assets.ml.data.contracts`) and reading of files (`credit_assets.loans`).

Nothing heavy is imported before the first connection: the code location holds a warehouse that it never opens.
"""

from __future__ import annotations

import re

from credit_assets.failures import PermanentError
from credit_assets.warehouse.base import TableCounts, Warehouse, WriteReport

__all__ = ["TableCounts", "Warehouse", "WriteReport", "open_warehouse"]


def open_warehouse(url: str) -> Warehouse:
    """The warehouse of a URL; connects on first use, and can be pickled.

    `duckdb:///file.duckdb` (three slashes: relative to the working directory, four: absolute) is DuckDB. Everything
    else is a SQLAlchemy URL: `postgresql://user:password@host/database` (psycopg 3), `sqlite:////abs/file.db`, ...
    Raises PermanentError where the text is no URL; its password is never shown.
    """
    found = re.match(r"([A-Za-z][A-Za-z0-9_]*)(\+[A-Za-z0-9_]+)?://", url)
    if not found:
        raise PermanentError(
            "the warehouse URL is not of the form dialect://...: set CREDIT_WAREHOUSE_URL to duckdb:///file.duckdb, "
            "postgresql://user:password@host/database or another SQLAlchemy URL"
        )
    if found[1].lower() == "duckdb":
        from credit_assets.warehouse.duckdb_file import DuckDBWarehouse

        return DuckDBWarehouse(url)
    from credit_assets.warehouse.sql import SqlWarehouse

    # libpq and most hosting services say postgres://, which SQLAlchemy no longer knows.
    return SqlWarehouse(re.sub(r"^postgres(\+|:)", r"postgresql\1", url))
