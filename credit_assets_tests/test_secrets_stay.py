"""No secret stands in anything that is written: a whole life of a house, told its secrets in every way in which one can
be, with all that it wrote, printed and sent looked through for them.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, unquote
from urllib.request import urlopen

import pytest
from aiosmtpd.smtp import AuthResult

from credit_assets.build import build_definitions
from credit_assets.cli.main import main
from credit_assets.instance.home import instance_of
from credit_assets.settings import load_settings
from credit_assets.stages import DAILY
from credit_assets_tests.support.environment import environment
from credit_assets_tests.support.houses import SMALL, START, fast_forward, write_book
from credit_assets_tests.support.mail import Relay
from credit_assets_tests.support.mlflow_server import CANARY, Server
from credit_assets_tests.support.postgres import asking_for_a_password
from credit_assets_tests.support.sensors import Ticker
from credit_assets_tests.support.synthetic import canonical_book
from credit_assets_tests.support.written import written

pytest_plugins = [f"credit_assets_tests.support.{name}" for name in ("mlflow_server", "postgres", "s3")]

LAST = date(2024, 3, 31)
# Each of its own: whatever is found says where it came from.
WAREHOUSE, TRACKING = "wC4/nary:1?x", "tC4/nary:2#y"
SECRETS = {
    "MLflow's server": CANARY,
    "MLflow's database": TRACKING,
    "the warehouse": WAREHOUSE,
    "S3": "sC4naryKey/3+z",
    "mail": "mC4naryMail4",
    "the webhook": "hC4naryHook5",
    "its header": "kC4naryHead6",
}


def forms(secret: str) -> set[bytes]:
    """A secret as it is, encoded, in JSON, and the longest of the parts that a reader of its URL would cut it into."""
    whole = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]}
    part = max((one for cut in "/:@?#%" for one in secret.split(cut) if len(one) < len(secret)), key=len, default="")
    return {one.encode() for one in whole} | ({part.encode()} if len(part) > 3 else set())


@dataclass
class Said:
    """What left the house: by where it was met, its bytes."""

    at: list[tuple[str, bytes]] = field(default_factory=list)

    def leaks(self) -> dict[str, list[str]]:
        """Where a secret stands, by whose it is."""
        found: dict[str, list[str]] = {}
        for whose, secret in SECRETS.items():
            wanted = forms(secret)
            for place, text in self.at:
                if any(one in text for one in wanted):
                    found.setdefault(whose, []).append(place)
        return found


class Hook:
    """A web service that takes messages; keeps what they say."""

    def __init__(self) -> None:
        taken: list[bytes] = []

        class Taker(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                taken.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.taken = taken
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Taker)

    def __enter__(self) -> Hook:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


class LockedRelay(Relay):
    """A mail server that asks for the password."""

    def options(self) -> dict[str, Any]:
        def login(*arguments: Any) -> AuthResult:
            return AuthResult(success=arguments[-1].password == SECRETS["mail"].encode())

        return {"authenticator": login, "auth_required": True, "auth_require_tls": False}


@contextmanager
def services(place: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URI of MLflow, behind a login or in a database that asks for a password."""
    if place == "server":
        request.getfixturevalue("empty_server")
        # As people paste it: in percent form, without thinking.
        yield f"http://risk:{quote(CANARY, safe='')}@{request.getfixturevalue('behind_a_login')}"
        return
    server = request.getfixturevalue("postgres_url")
    with asking_for_a_password(server, database(server, "tracking"), "locked_tracking", TRACKING) as uri:
        yield uri


def database(server: str, name: str) -> str:
    import psycopg
    from sqlalchemy import make_url

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return make_url(server).set(database=name).render_as_string(hide_password=False)


class Command:
    """The program within this process: another one a verb would take longer than all that they do."""

    def __init__(self, said: Said, patch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self.said, self.patch, self.capfd = said, patch, capfd

    def __call__(self, *arguments: str, ends_well: bool = True) -> None:
        self.printed("before")
        self.patch.setattr(sys, "argv", ["credit-assets", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        shown = self.printed(f"credit-assets {' '.join(arguments)}")
        assert (not ended.value.code) is ends_well, shown[-3000:]

    def printed(self, where: str) -> str:
        printed = self.capfd.readouterr()
        self.said.at.append((where, f"{printed.out}{printed.err}".encode()))
        return f"{printed.out}{printed.err}"


def everything_in(bucket: str) -> Iterator[tuple[str, bytes]]:
    import boto3

    client = boto3.client("s3")
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for one in page.get("Contents", []):
            yield f"s3: {one['Key']}", client.get_object(Bucket=bucket, Key=one["Key"])["Body"].read()


def rows_of(address: str) -> Iterator[tuple[str, bytes]]:
    """All that stands in a database."""
    import psycopg

    with psycopg.connect(address) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (table,) in tables:
            yield f"table {table}", str(connection.execute(f'SELECT * FROM "{table}"').fetchall()).encode()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("place", ["server", "database"])
def test_no_secret_is_in_anything_that_is_written_printed_or_sent(
    place: str,
    bucket: str,
    postgres_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    capfd: pytest.CaptureFixture[str],
) -> None:
    said, home, loans = Said(), tmp_path / "home", f"loans_{place}"
    command = Command(said, monkeypatch, capfd)
    # Where a command leaves what it is asked for, a dossier among them.
    (here := tmp_path / "here").mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRETS["S3"])
    with (
        asking_for_a_password(postgres_url, database(postgres_url, loans), f"locked_{loans}", WAREHOUSE) as warehouse,
        services(place, request) as tracking,
        LockedRelay() as relay,
        Hook() as hook,
    ):
        values = {**SMALL, "variants": "lightgbm", "variant_params": {"lightgbm": {"num_leaves": 7}}, "home": home}
        values |= {"warehouse_url": warehouse, "store_uri": bucket, "days_per_run": 100}
        values["alert_urls"] = ",".join(
            (
                f"mailto://risk:{SECRETS['mail']}@127.0.0.1:{relay.port}?from=a@b.org&to=c@d.org&mode=insecure",
                f"json://127.0.0.1:{hook.server.server_port}/{SECRETS['the webhook']}?+X-Token={SECRETS['its header']}",
            )
        )
        for name, value in {**environment(values), "MLFLOW_TRACKING_URI": tracking}.items():
            monkeypatch.setenv(name, value)
        write_book(load_settings(), *fast_forward(canonical_book(6_000, START, LAST, seed=7)))
        command("replay", "--start", str(START), "--end", str(LAST), "--train", "last")
        for verb in ("status", "doctor", "audit", "models", "env", "dossier 1", "reproduce 1", "clean"):
            command(*verb.split())
        # As the daemon has it: a run that fails since the database will have nobody any more, and what is told of it.
        settings = load_settings()
        with instance_of(settings) as instance:
            defs = build_definitions(settings)
            tickers = [
                Ticker(defs, name, instance) for name in ("failure_alerts", "gate_notices", "retraining_notices")
            ]
            job = defs.resolve_job_def(DAILY)
            with refused(postgres_url, f"locked_{loans}"):
                run = job.execute_in_process(instance=instance, partition_key=str(LAST), raise_on_error=False)
                assert not run.success
                command("doctor", "--json", ends_well=False)
                command("backfill", "--start", str(LAST), "--end", str(LAST), "--again", ends_well=False)
                command("status", "--debug")
            for ticker in tickers:
                said.at.append(("a tick", repr(ticker.tick()).encode()))
        assert relay.inbox.messages
        assert hook.taken
        said.at += [("a mail", message.as_bytes()) for message in relay.inbox.messages]
        said.at += [("a web message", unquote(body.decode()).encode()) for body in hook.taken]
        if place == "server":
            server: Server = request.getfixturevalue("mlflow_server")
            # What the server shows of itself, and what it logs.
            said.at.append(("MLflow's page", urlopen(f"{server.uri}/version").read()))
            said.at += list(written(server.database.parent))
        else:
            said.at += list(rows_of(tracking))
        said.at += [(name, text) for name, text in written(home) if name != "settings.env"]
        said.at += list(everything_in("lender"))
        said.at += list(written(here))
        assert any("dossier" in name for name, _ in said.at)
    command.printed("at the end")
    assert len(said.at) > 300
    assert said.leaks() == {}
    # The search finds each of them, where it is written as a library would.
    for whose, secret in SECRETS.items():
        planted = Said([("x", f"could not open a://u:{secret}@h or {quote(secret, safe='')}".encode())])
        assert whose in planted.leaks()


@contextmanager
def refused(server: str, role: str) -> Iterator[None]:
    """The role is not let in meanwhile, and the server says so."""
    import psycopg

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"ALTER ROLE \"{role}\" PASSWORD 'another'")
        yield
        connection.execute(f"ALTER ROLE \"{role}\" PASSWORD '{WAREHOUSE}'")
