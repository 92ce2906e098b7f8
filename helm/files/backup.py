"""Keeps store, MLflow's files and the dumps of both databases as one backup, and says whether a backup fits together.

    listing FILE NAME=URI ...            what lies in these places, before the databases are dumped
    keep DESTINATION --listing FILE --dumps FOLDER NAME=URI ...
                                         copies them, and writes the manifest last
    check BACKUP                         every file of the manifest is there, dumps byte for byte
    fetch BACKUP --dumps FOLDER NAME=URI ...
                                         brings it back, into places that are empty
    drill BACKUP --postgres URL          brings it back beside the pipeline, and audits what is there

Three states that are copied one after another fit together only where nothing was decided in between: `keep` compares
the places with the listing, refuses what has changed meanwhile (exit code 1), and the backup without a manifest counts
for nothing. Places are folders or URIs of fsspec (s3://, gs://, abfs://); credentials come from the environment.
It runs in the pipeline's image; `drill` needs PostgreSQL's programs as well.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from urllib.request import urlopen

import fsspec

MANIFEST = "manifest.json"
DUMPS = "dumps"
DATABASES = ("dagster", "mlflow")
_START_SECONDS = 120


class RefusedError(RuntimeError):
    """The backup is none, or would overwrite something; the message says why."""


def listed(uri: str) -> dict[str, str]:
    """What lies below a place: of each file its path, and what changes when it is written again."""
    files, root = fsspec.core.url_to_fs(uri)
    # What another process has written meanwhile counts too.
    files.invalidate_cache()
    if not files.exists(root):
        return {}
    found = files.find(root, detail=True)
    start = len(root.rstrip("/")) + 1
    return {path[start:]: f"{about['size']} {_mark(about)}" for path, about in sorted(found.items())}


def _mark(about: Mapping[str, Any]) -> str:
    return str(next((about[key] for key in ("ETag", "etag", "md5Hash", "mtime", "LastModified") if key in about), ""))


def keep(destination: str, name: str, listing: Mapping[str, Any], dumps: Path, places: Mapping[str, str]) -> str:
    """Copy the places and the dumps, and write the manifest. Raises RefusedError where a place changed meanwhile."""
    backup = f"{destination.rstrip('/')}/{name}"
    if listed(backup):
        raise RefusedError(f"{backup} is there already")
    missing = [one for one in DATABASES if not (dumps / f"{one}.dump").stat().st_size]
    if missing:
        raise RefusedError(f"empty dumps of {', '.join(missing)}")
    sizes: dict[str, int] = {}
    for place, uri in places.items():
        for path, mark in listing["places"][place].items():
            _copy(f"{uri.rstrip('/')}/{path}", f"{backup}/{place}/{path}")
            sizes[f"{place}/{path}"] = int(mark.split()[0])
    changed = [f"{p}/{f}" for p, uri in places.items() for f in _differing(listing["places"][p], listed(uri))]
    if changed:
        raise RefusedError(
            f"{len(changed)} files were written while this backup was made ({', '.join(changed[:3])}): store, MLflow "
            "and Dagster would not fit together. Take it while no run is under way"
        )
    hashes = {}
    for database in DATABASES:
        file = dumps / f"{database}.dump"
        hashes[database] = hashlib.sha256(file.read_bytes()).hexdigest()
        _copy(str(file), f"{backup}/{DUMPS}/{file.name}")
    manifest = {"taken_at": listing["at"], "places": sorted(places), "files": sizes, "dumps": hashes}
    with fsspec.open(f"{backup}/{MANIFEST}", "w") as written:
        json.dump(manifest, written, indent=1, sort_keys=True)
    return backup


def _differing(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    return sorted(path for path in {*one, *other} if one.get(path) != other.get(path))


def _copy(source: str, target: str) -> None:
    files, path = fsspec.core.url_to_fs(target)
    files.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
    with fsspec.open(source, "rb") as given, files.open(path, "wb") as taken:
        shutil.copyfileobj(given, taken, 1 << 20)


def check(backup: str) -> dict[str, Any]:
    """The manifest. Raises RefusedError where the backup is not what it says."""
    try:
        with fsspec.open(f"{backup}/{MANIFEST}", "r") as read:
            manifest: dict[str, Any] = json.load(read)
    except FileNotFoundError:
        raise RefusedError(f"{backup} has no {MANIFEST}: it was not finished, or is no backup") from None
    there = listed(backup)
    wrong = [path for path, size in manifest["files"].items() if there.get(path, "").split(" ")[0] != str(size)]
    for database, expected in manifest["dumps"].items():
        path = f"{DUMPS}/{database}.dump"
        if path not in there or _hash(f"{backup}/{path}") != expected:
            wrong.append(path)
    if wrong:
        raise RefusedError(f"{len(wrong)} files of {backup} are missing or differ: {', '.join(sorted(wrong)[:3])}")
    return manifest


def _hash(uri: str) -> str:
    digest = hashlib.sha256()
    with fsspec.open(uri, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def fetch(backup: str, dumps: Path, places: Mapping[str, str]) -> dict[str, Any]:
    """Bring a backup back. Raises RefusedError where it is damaged, or something is in the way."""
    manifest = check(backup)
    if unknown := sorted(set(places) ^ set(manifest["places"])):
        raise RefusedError(
            f"{backup} has the places {', '.join(manifest['places'])}; not in both: {', '.join(unknown)}"
        )
    if full := [uri for uri in places.values() if listed(uri)]:
        raise RefusedError(f"{full[0]} is not empty: bring a backup back into places of its own")
    for path in manifest["files"]:
        place, rest = path.split("/", 1)
        _copy(f"{backup}/{path}", f"{places[place].rstrip('/')}/{rest}")
    dumps.mkdir(parents=True, exist_ok=True)
    for database in manifest["dumps"]:
        _copy(f"{backup}/{DUMPS}/{database}.dump", str(dumps / f"{database}.dump"))
    return manifest


def drill(backup: str, postgres: str, store: str = "store") -> int:
    """Bring a backup back beside the pipeline, start MLflow on it and audit it: 0 where the three states fit together.

    The databases are made for this and dropped again; files go to a temporary folder. The pipeline is not touched.
    """
    with tempfile.TemporaryDirectory(prefix="credit-assets-drill-") as text:
        folder = Path(text)
        places = {name: str(folder / name) for name in check(backup)["places"]}
        fetch(backup, folder / DUMPS, places)
        made = {name: f"credit_drill_{name}_{os.getpid()}" for name in DATABASES}
        try:
            for name, database in made.items():
                _sql(postgres, f'CREATE DATABASE "{database}"')
                dump = folder / DUMPS / f"{name}.dump"
                command = ["pg_restore", "--no-owner", "--no-privileges", "--exit-on-error"]
                subprocess.run([*command, "-d", _database(postgres, database), str(dump)], check=True)
                _found_by_all(_database(postgres, database), database)
            with _mlflow(_database(postgres, made["mlflow"]), places["artifacts"], folder) as address:
                home = folder / "dagster"
                home.mkdir()
                url = _database(postgres, made["dagster"]).replace("postgresql://", "postgresql+psycopg2://", 1)
                instance = {"storage": {"postgres": {"postgres_url": {"env": "DRILL_DAGSTER_URL"}}}}
                (home / "dagster.yaml").write_text(json.dumps({**instance, "telemetry": {"enabled": False}}))
                env = {**os.environ, "DAGSTER_HOME": str(home), "DRILL_DAGSTER_URL": url}
                env |= {"MLFLOW_TRACKING_URI": address, "CREDIT_STORE_URI": places[store]}
                return subprocess.run([sys.executable, "-m", "credit_assets.cli.main", "audit"], env=env).returncode
        finally:
            for database in made.values():
                _sql(postgres, f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')


def _found_by_all(url: str, database: str) -> None:
    """Have the tables found by whoever opens the database: a role that owns a schema has its search path by itself, and
    no dump has that.
    """
    for (schema,) in _sql(url, "SELECT schemaname FROM pg_tables WHERE tablename = 'alembic_version'"):
        _sql(url, f'ALTER DATABASE "{database}" SET search_path = "{schema}"')


def _sql(url: str, statement: str) -> list[tuple[str, ...]]:
    import psycopg2

    connection = psycopg2.connect(url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def _database(url: str, name: str) -> str:
    """The same server, another database."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"/{name}"))


@contextmanager
def _mlflow(database: str, artifacts: str, folder: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    driver = database.replace("postgresql://", "postgresql+psycopg2://", 1)
    env = {**os.environ, "MLFLOW_BACKEND_STORE_URI": driver, "MLFLOW_DISABLE_TELEMETRY": "true"}
    env["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    env.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--artifacts-destination", artifacts]
    with (folder / "mlflow.log").open("wb") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(f"{address}/health"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RefusedError(f"MLflow does not start on the backup: {(folder / 'mlflow.log').read_text()[-800:]}")
            time.sleep(0.5)
        yield address
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 9)
        process.wait()


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def _places(words: list[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in words)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, positional in (
        ("listing", "file"),
        ("keep", "destination"),
        ("check", "backup"),
        ("fetch", "backup"),
        ("drill", "backup"),
    ):
        one = verbs.add_parser(verb)
        one.add_argument(positional)
        if verb in ("listing", "keep", "fetch"):
            one.add_argument("places", nargs="+", metavar="NAME=URI")
        if verb in ("keep", "fetch"):
            one.add_argument("--dumps", type=Path, required=True)
        if verb == "keep":
            one.add_argument("--listing", type=Path, required=True)
            one.add_argument("--name", default=datetime.now(UTC).strftime("%Y-%m-%dT%H%M%SZ"))
        if verb == "drill":
            one.add_argument("--postgres", required=True, help="a database of a server on which two may be made")
            one.add_argument("--store", default="store", help="of several portfolios, the place of the one to audit")
    given = parser.parse_args(arguments)
    try:
        return _done(given)
    except RefusedError as error:
        print(f"backup: {error}", file=sys.stderr)
        return 1


def _done(given: argparse.Namespace) -> int:
    if given.verb == "drill":
        return drill(given.backup.rstrip("/"), given.postgres, given.store)
    if given.verb == "listing":
        found = {name: listed(uri) for name, uri in _places(given.places).items()}
        Path(given.file).write_text(json.dumps({"at": datetime.now(UTC).isoformat(), "places": found}))
        print(f"{sum(map(len, found.values()))} files in {len(found)} places")
    elif given.verb == "keep":
        listing = json.loads(given.listing.read_text())
        print(keep(given.destination, given.name, listing, given.dumps, _places(given.places)))
    else:
        backup = given.backup.rstrip("/")
        fetching = given.verb == "fetch"
        manifest = fetch(backup, given.dumps, _places(given.places)) if fetching else check(backup)
        print(f"{len(manifest['files'])} files and {len(manifest['dumps'])} dumps of {manifest['taken_at']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
