"""The roles of `examples/postgresql` on a real PostgreSQL: databases made by those files, their addresses by role."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

FILES = Path(__file__).resolve().parents[2] / "examples" / "postgresql"
ROLES = {
    "credit_loader": "warehouse",
    "credit_reader": "warehouse",
    "credit_scores": "scores",
    "credit_dagster": "dagster",
    "credit_mlflow": "mlflow",
}
"""Each role, and the file that makes it."""


def database(server: str, name: str, *files: str) -> str:
    """A new database on a server that is reached by a socket, with the roles of these files; its address, of its
    administrator.
    """
    import psycopg

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    address = f"postgresql://postgres@/{name}?host={parse_qs(urlsplit(server).query)['host'][0]}"
    for file in files:
        apply(address, file)
    return address


def apply(address: str, file: str) -> None:
    import psycopg

    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute((FILES / f"{file}.sql").read_bytes())


def address_of(role: str, address: str, driver: str = "postgresql") -> str:
    """The address of a database for a role."""
    return address.replace("postgresql://postgres@", f"{driver}://{role}@")
