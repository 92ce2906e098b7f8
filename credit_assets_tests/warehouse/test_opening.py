"""Opening a warehouse by its URL: forms, refusals, and what it costs."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from credit_assets.failures import PermanentError
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.warehouse import open_warehouse
from credit_assets_tests.support.warehouses import DAY

pytest_plugins = ["credit_assets_tests.support.postgres", "credit_assets_tests.support.warehouses"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "not of the form dialect"),
        ("postgresql:/host/x", "not of the form dialect"),
        ("cobol://user:s3cret@host/x", "knows no such dialect"),
        ("postgresql+nodriver://user:s3cret@host/x", "knows no such dialect"),
        ("mysql+mysqldb://user:s3cret@host/x", "driver MySQLdb is not installed"),
        ("postgresql://user:s3cret@host:port/x", "not a SQLAlchemy URL"),
        ("postgresql://user:s3@cret@host/x", "more than one @"),
        ("duckdb:///:memory:", "name a file"),
        ("duckdb://", "name a file"),
        ("duckdb:///x.duckdb?access_mode=read_only", "no options"),
        ("duckdb:////data/a\\b.duckdb", "backslash for a slash"),
        ("duckdb:///$NOWHERE/x.duckdb", "not set"),
        ("sqlite://", "name a file"),
    ],
)
def test_bad_urls_are_permanent(url: str, message: str) -> None:
    with pytest.raises(PermanentError, match=message) as refused:
        open_warehouse(url).ping()
    assert "s3cret" not in str(refused.value)
    assert "cret@" not in str(refused.value)


@pytest.mark.parametrize("kind", ["duckdb", "sqlite"])
def test_missing_and_broken_files(kind: str, tmp_path: Path, portfolio: Portfolio) -> None:
    absent = open_warehouse(f"{kind}:///{tmp_path}/none.db")
    with pytest.raises(PermanentError, match="no such file; run `credit-assets generate`"):
        absent.read_applications(portfolio, DAY, DAY)
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "text.db").write_text("not a database, but long enough to hold the header of one" * 100)
    with pytest.raises(PermanentError, match=r"text\.db"):
        open_warehouse(f"{kind}:///{tmp_path}/text.db").ping()


def test_url_forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, portfolio: Portfolio) -> None:
    assert open_warehouse("postgres://u:p@h/d").describe() == "postgresql://u:***@h/d"
    secrets = open_warehouse("postgresql://u:a:b@c/d?sslPassword=q&sslmode=x")
    assert secrets.describe() == "postgresql://u:***@c/d?sslPassword=***&sslmode=x"
    monkeypatch.chdir(tmp_path)
    relative = open_warehouse("duckdb:///in/a/folder.duckdb")
    relative.create_tables(portfolio)
    monkeypatch.chdir("/")
    copied = pickle.loads(pickle.dumps(relative))
    assert copied.date_range(portfolio) is None
    assert copied.describe() == f"duckdb:///{tmp_path}/in/a/folder.duckdb"
    assert "hunter2" not in repr(open_warehouse("postgresql://u:hunter2@h/d"))


def test_opening_is_cheap() -> None:
    code = (
        "import sys; from credit_assets.warehouse import open_warehouse\n"
        "for url in ('duckdb:///x.duckdb', 'postgresql://u@h/d'): open_warehouse(url).describe()\n"
        "assert not {'duckdb', 'sqlalchemy', 'pyarrow', 'pandas', 'psycopg'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
