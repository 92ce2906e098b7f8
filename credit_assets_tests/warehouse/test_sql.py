"""A warehouse behind a SQLAlchemy URL: each way in which a server or file fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from credit_assets.failures import PermanentError, TransientError
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.warehouse import open_warehouse
from credit_assets_tests.support.warehouses import DAY, applications, execute, held

pytest_plugins = ["credit_assets_tests.support.postgres", "credit_assets_tests.support.warehouses"]


def test_sqlite_held_by_a_writer_is_transient(tmp_path: Path, portfolio: Portfolio) -> None:
    warehouse = open_warehouse(f"sqlite:///{tmp_path}/w.db?timeout=0.2")
    warehouse.create_tables(portfolio)
    holding = held(
        f"import sqlite3; connection = sqlite3.connect({str(tmp_path / 'w.db')!r})\n"
        "connection.execute('BEGIN EXCLUSIVE')"
    )
    try:
        with pytest.raises(TransientError, match="database is locked"):
            warehouse.date_range(portfolio)
    finally:
        holding.terminate()
        holding.wait(30)
    assert warehouse.date_range(portfolio) is None


def test_unreachable_server_is_transient_and_masked(portfolio: Portfolio) -> None:
    warehouse = open_warehouse("postgresql://risk:s3cret@127.0.0.1:9/loans?connect_timeout=3")
    with pytest.raises(TransientError, match=r"postgresql://risk:\*\*\*@127.0.0.1:9/loans.* is unreachable") as failed:
        warehouse.ping()
    assert "s3cret" not in str(failed.value)
    assert failed.value.__suppress_context__


def test_refused_by_the_server_is_permanent(postgres_url: str) -> None:
    from sqlalchemy import make_url

    absent = make_url(postgres_url).set(database="nowhere").render_as_string(hide_password=False)
    with pytest.raises(PermanentError, match=r"refused the connection: .*nowhere.*correct CREDIT_WAREHOUSE_URL"):
        open_warehouse(absent).ping()


def test_a_view_that_fails_on_a_value_does_not_show_it(postgres_database: str, portfolio: Portfolio) -> None:
    warehouse = open_warehouse(postgres_database)
    warehouse.create_tables(portfolio)
    warehouse.write(portfolio, applications(portfolio, 3, state=["1", "secret-value", "2"]), None)
    others = ", ".join(c.name for c in portfolio.columns if c.name != "open_accounts")
    execute(warehouse, f"CREATE VIEW shown AS SELECT {others}, state::int AS open_accounts FROM loan_applications")
    viewed = portfolio.model_copy(update={"applications_table": "shown"})
    with pytest.raises(PermanentError, match="refused a value") as refused:
        warehouse.read_applications(viewed, DAY, DAY).read_all()
    assert "secret-value" not in str(refused.value)
    assert refused.value.__suppress_context__
