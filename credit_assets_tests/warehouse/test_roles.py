"""The roles of `examples/postgresql`, tried on a real server: each does its work, and is refused all else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date

import psycopg
import pytest

from credit_assets.failures import PermanentError
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.warehouse import open_warehouse
from credit_assets_tests.support.roles import FILES, ROLES, address_of, apply, database
from credit_assets_tests.support.warehouses import DAY, applications

pytest_plugins = ["credit_assets_tests.support.postgres", "credit_assets_tests.support.warehouses"]


@pytest.fixture(scope="module")
def addresses(postgres_url: str) -> Iterator[dict[str, str]]:
    """By role the address of the database where it belongs: loans and scores share one, as they may."""
    loans = database(postgres_url, "roles_loans", "warehouse", "scores")
    own = {name: database(postgres_url, f"roles_{name}", name) for name in ("dagster", "mlflow")}
    everything = {"warehouse": loans, "scores": loans, **own}
    yield {role: address_of(role, everything[file]) for role, file in ROLES.items()}
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for name in ("roles_loans", "roles_dagster", "roles_mlflow"):
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        for role in ROLES:
            connection.execute(f"DROP ROLE {role}")


@pytest.fixture
def loaded(addresses: dict[str, str], portfolio: Portfolio) -> dict[str, str]:
    """With a table of loans that the loader wrote, and one of Dagster's and of MLflow's that each made itself."""
    warehouse = open_warehouse(addresses["credit_loader"])
    warehouse.create_tables(portfolio)
    warehouse.write(portfolio, applications(portfolio, 20), None)
    for role in ("credit_dagster", "credit_mlflow"):
        with psycopg.connect(addresses[role], autocommit=True) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS runs (id int)")
            connection.execute("ALTER TABLE runs ADD COLUMN IF NOT EXISTS tags text")
            connection.execute("INSERT INTO runs VALUES (1, 'a')")
    return addresses


def test_the_loader_loads_and_the_reader_reads(loaded: dict[str, str], portfolio: Portfolio) -> None:
    loader = open_warehouse(loaded["credit_loader"])
    again = loader.write(portfolio, applications(portfolio, 30), None).applications
    assert (again.inserted, again.updated) == (10, 20)
    reader = open_warehouse(loaded["credit_reader"])
    assert reader.read_applications(portfolio, DAY, date(2034, 1, 1)).read_all().num_rows == 30
    with pytest.raises(PermanentError):
        reader.write(portfolio, applications(portfolio, 40), None)
    assert reader.read_applications(portfolio, DAY, date(2034, 1, 1)).read_all().num_rows == 30


INSERT = "INSERT INTO scores.loan_scores VALUES ('{}', '2026-01-01', '1', .5, 600)"


def test_scores_are_added_and_never_changed(loaded: dict[str, str]) -> None:
    with psycopg.connect(loaded["credit_scores"], autocommit=True) as connection:
        connection.execute(INSERT.format("a"))
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute(INSERT.format("a"))
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute(INSERT.format("b").replace(".5", "5"))
        assert connection.execute("SELECT count(*) FROM loan_scores").fetchone() == (1,)


REFUSED = {
    "credit_reader": [
        "INSERT INTO loan_outcomes SELECT * FROM loan_outcomes",
        "UPDATE loan_applications SET state = 'CA'",
        "DELETE FROM loan_applications",
        "TRUNCATE loan_applications",
        "DROP TABLE loan_applications",
        "CREATE TABLE loans.mine (x int)",
        "CREATE TEMPORARY TABLE mine (x int)",
        "SELECT * FROM scores.loan_scores",
        INSERT.format("c"),
        "SET ROLE credit_loader",
    ],
    "credit_loader": [
        "SELECT * FROM scores.loan_scores",
        INSERT.format("c"),
        "CREATE TABLE public.mine (x int)",
        "SET ROLE credit_scores",
    ],
    "credit_scores": [
        "UPDATE loan_scores SET pd = 0",
        "DELETE FROM loan_scores",
        "TRUNCATE loan_scores",
        "DROP TABLE loan_scores",
        "ALTER TABLE loan_scores ADD COLUMN x int",
        "CREATE TABLE scores.mine (x int)",
        "CREATE TEMPORARY TABLE mine (x int)",
        "SELECT * FROM loans.loan_applications",
        "SET ROLE credit_reader",
    ],
    "credit_dagster": ["CREATE TABLE public.mine (x int)", "SET ROLE credit_mlflow"],
    "credit_mlflow": ["CREATE TABLE public.mine (x int)", "SET ROLE credit_dagster"],
}
OF_NONE = [
    "CREATE SCHEMA mine",
    "CREATE DATABASE mine",
    "CREATE ROLE mine",
    "ALTER ROLE {role} CREATEROLE",
    "ALTER ROLE {role} SUPERUSER",
    "ALTER ROLE postgres PASSWORD 'x'",
    "SET ROLE postgres",
    "GRANT postgres TO {role}",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY (SELECT 1) TO '/tmp/x'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT rolpassword FROM pg_authid",
    "ALTER SYSTEM SET fsync = off",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE internal AS 'pg_backend_pid'",
    "DROP DATABASE roles_mlflow",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'",
]


@pytest.mark.parametrize("role", ROLES)
def test_no_role_does_more_than_its_work(role: str, loaded: dict[str, str]) -> None:
    """Each statement by itself, with the default of reading only taken away, which is no right."""
    done = []
    with (
        psycopg.connect(loaded["credit_scores"].replace("credit_scores@", "postgres@"), autocommit=True),
        psycopg.connect(loaded[role], autocommit=True) as connection,
    ):
        connection.execute("SET default_transaction_read_only = off")
        for statement in [*REFUSED[role], *(one.format(role=role) for one in OF_NONE)]:
            try:
                connection.execute(statement)
            except psycopg.errors.InsufficientPrivilege:
                continue
            except psycopg.Error as other:
                done.append(f"{statement}: {type(other).__name__}")
            else:
                done.append(statement)
    assert done == []


@pytest.mark.parametrize("role", ROLES)
def test_no_role_enters_a_database_of_another(role: str, loaded: dict[str, str]) -> None:
    own = loaded[role]
    for other in set(loaded.values()):
        database_, mine = (re.search("/(roles_[a-z]+)", address) for address in (other, own))
        assert database_
        assert mine
        if database_[1] != mine[1]:
            with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
                psycopg.connect(own.replace(mine[1], database_[1]))


def test_the_files_may_be_run_again_and_are_what_the_roles_come_from(loaded: dict[str, str]) -> None:
    for role, file in ROLES.items():
        apply(loaded[role].replace(f"{role}@", "postgres@"), file)
    assert {file.stem for file in FILES.glob("*.sql")} == set(ROLES.values())
    with psycopg.connect(loaded["credit_reader"]) as connection:
        assert connection.execute("SELECT count(*) > 0 FROM loan_applications").fetchone() == (True,)
