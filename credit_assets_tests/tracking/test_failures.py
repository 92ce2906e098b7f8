"""What MLflow's database raises is a line: no statement, none of its values, no page."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from credit_assets.failures import PermanentError, TransientError
from credit_assets.tracking.failures import failures

URI = "sqlite:////data/mlflow.db"
STATEMENT = "INSERT INTO tags (key, value) VALUES (?, ?)" * 200


def raised(words: str) -> Exception:
    return sa.exc.OperationalError(STATEMENT, ("auc", "48211.5"), Exception(words))


@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        ("server closed the connection unexpectedly", TransientError, "server closed the connection unexpectedly"),
        ("database is locked", TransientError, "database is locked"),
        ("database or disk is full", PermanentError, "a database has no space left on its disk; free some space"),
        ("attempt to write a readonly database", PermanentError, "a database may not be written; give this user"),
        ("no such table: runs", PermanentError, "no such table: runs"),
    ],
)
def test_no_sql_is_shown(words: str, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind) as told, failures(URI, "cannot log to a run"):
        raise raised(words)
    line = str(told.value)
    assert line.startswith(f"MLflow at {URI} cannot log to a run: ")
    assert said in line
    assert "INSERT" not in line
    assert "48211" not in line
    assert "sqlalche.me" not in line


def test_what_mlflow_calls_a_moments_fault_is_not_one_where_a_disk_is_full() -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

    def said(words: str) -> str:
        with pytest.raises((PermanentError, TransientError)) as told, failures(URI, "cannot create a run"):
            raise MlflowException(f"(sqlite3.OperationalError) {words}\n[SQL: {STATEMENT}]", TEMPORARILY_UNAVAILABLE)
        return f"{type(told.value).__name__}: {told.value}"

    assert said("database or disk is full").startswith("PermanentError")
    assert "free some space" in said("database or disk is full")
    assert said("unable to connect").startswith("TransientError")
    assert said("unable to connect").endswith("is what MLFLOW_TRACKING_URI names running?")


def test_what_is_long_is_cut() -> None:
    with pytest.raises(TransientError) as told, failures(URI, "cannot log"):
        raise raised("x" * 100_000)
    assert len(str(told.value)) < 700
