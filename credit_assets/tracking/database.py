"""Where MLflow keeps its tables and its files, and who may migrate the tables.

Belongs here: what the URI of a tracking store means, and locks on a database. Does not belong here: calling MLflow
(`server`).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from credit_assets.failures import PermanentError, TransientError
from credit_assets.masking import masked_url
from credit_assets.places import database_file
from credit_assets.tracking.failures import failures

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_SERVERS = ("http", "https", "databricks", "uc")
# Any constant: sessions that lock the same number wait for each other.
_MIGRATION_LOCK = 7_021_935


def artifact_location(uri: str, experiment: str, store_uri: str) -> str | None:
    """Where files of the experiment go: beside an SQLite file, else in the store; None leaves it to the server.

    MLflow's own default for a database is ./mlruns: of whatever folder a process happens to stand in.
    """
    scheme = _scheme(uri)
    if scheme not in _DATABASES:
        return None
    root = str(_sqlite_file(uri).parent / "artifacts") if scheme == "sqlite" else f"{store_uri.rstrip('/')}/mlflow"
    if "://" not in root:
        root = Path(root).absolute().as_uri()
    return f"{root.rstrip('/')}/{re.sub(r'[^A-Za-z0-9_.-]+', '_', experiment)}"


@contextlib.contextmanager
def migration_lock(uri: str) -> Iterator[None]:
    """Hold what keeps other processes from migrating the same database. A server migrates its own.

    Raises PermanentError for a URI that steps in several processes cannot share.
    """
    scheme = _scheme(uri)
    if scheme == "sqlite":
        with _file_lock(_sqlite_file(uri)):
            yield
    elif scheme in _DATABASES:
        with _session_lock(uri, scheme):
            yield
    elif scheme in _SERVERS or uri == "databricks":
        yield
    else:
        raise PermanentError(
            f"MLFLOW_TRACKING_URI {masked_url(uri)!r} is neither a database nor a server: use "
            "sqlite:////path/mlflow.db, postgresql://... or http(s)://server"
        )


@contextlib.contextmanager
def _file_lock(file: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    lock = FileLock(f"{file}.lock", timeout=120)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise TransientError(f"{file}.lock is held by another process for two minutes") from error
    except OSError as error:
        raise PermanentError(
            f"the MLflow database {file} cannot be opened ({error}); see that its folder can be written, or "
            "name another place in MLFLOW_TRACKING_URI"
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _session_lock(uri: str, scheme: str) -> Iterator[None]:
    # Asked for first, with a timeout: MLflow tries a database that is not there for more than a minute.
    with contextlib.ExitStack() as stack:
        with failures(uri, "cannot be reached"):
            import sqlalchemy as sa

            arguments = {"connect_timeout": 10} if scheme in ("postgresql", "mysql") else {}
            engine = sa.create_engine(uri, poolclass=sa.NullPool, connect_args=arguments)
            connection = stack.enter_context(engine.connect())
            if scheme == "postgresql":
                # Given back by the server when the connection ends, however it ends.
                connection.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": _MIGRATION_LOCK})
        yield


def _scheme(uri: str) -> str:
    return urlsplit(uri).scheme.split("+")[0]


def _sqlite_file(uri: str) -> Path:
    file = database_file(uri)
    if file is None:
        raise PermanentError("MLFLOW_TRACKING_URI must name a file (sqlite:////path/mlflow.db): steps share it")
    return file
