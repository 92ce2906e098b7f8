"""Dagster UI, daemon and MLflow on one machine, for looking and trying. A deployment runs them apart.

Belongs here: which programs, on which ports, and that one end of them is the end of all. What they print goes to files;
what one that fails said last is shown.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from credit_assets.aside import DEV_PREFIX, own
from credit_assets.cli import servers_internals
from credit_assets.cli.dev_family import ProcessGroups, end_groups, family, outlived
from credit_assets.cli.dev_ready import Locations, Ready, listens
from credit_assets.cli.guard import everywhere
from credit_assets.failures import PermanentError
from credit_assets.instance.home import instance_of
from credit_assets.masking import masked
from credit_assets.naming import PACKAGED
from credit_assets.places import database_file
from credit_assets.resources import build_resources
from credit_assets.settings import Settings, load_settings, portfolio_names, setting_sources, variable
from credit_assets.settings.portfolio_files import name_by_place
from credit_assets.tracking.database import migration_lock

LOGS = "logs"
DEFAULT, _BY_NAME = "credit_assets.definitions", "credit_assets.locations"
"""The modules of a code location: of the portfolio of the settings, and of one by its name."""
_LAST_LINES = 15


@dataclass(frozen=True)
class Program:
    """A server to start: where it listens, how it is started, and what changes its port."""

    name: str
    port: int
    command: Sequence[str]
    change: str
    ready: Ready = listens
    """Whether it can be used."""


def serve(
    settings: Settings, host: str, port: int | None = None, mlflow_port: int | None = None, *, verbose: bool = False
) -> int:
    """Start the programs, say when they can be opened, and wait; when one ends, or this process is asked to stop, end
    the others. With `verbose` what they print is shown, too.

    Returns the exit code of the one that ended. Raises PermanentError where a port cannot be used, before anything is
    started.
    """
    programs = programs_of(settings, host, port or settings.dev_port, mlflow_port or settings.dev_mlflow_port)
    logs = settings.home_dir / LOGS
    refuse_others(logs)
    refuse_taken_ports(host, programs)
    portfolios = served(settings)
    for one in portfolios.values():
        with instance_of(one):
            # Another book's records are refused before anything is started.
            pass
    prepare_tracking(settings)
    logs.mkdir(parents=True, exist_ok=True)
    if list(portfolios) != [DEFAULT]:
        _workspace(settings).write_text(workspace_of(portfolios), encoding="utf-8")
    out = Console(highlight=False)
    urls = [_url(host, program.port) for program in programs]
    for program, url in zip(programs, urls, strict=True):
        out.print(f"{program.name:<8} {url}")
    if len(programs) == 1:
        out.print("MLflow   the server of MLFLOW_TRACKING_URI")
    out.print(f"What they print: {logs}. Ctrl-C stops {'both' if len(programs) > 1 else 'it'}.", soft_wrap=True)
    if not _is_loopback(host):
        out.print(f"Neither asks for a login: whoever reaches {host} of this machine can do all that you can.")
    tell = _Progress(programs, host, logs, verbose)
    return run(programs, {**_environment(settings, *urls), **_guard(settings, host)}, logs, tell)


def prepare_tracking(settings: Settings) -> None:
    """Have the tables of an embedded MLflow made under the lock that the commands take: its server makes them without
    one, beside a command that may be at it.
    """
    if (file := database_file(settings.tracking_uri)) is None:
        return
    with migration_lock(settings.tracking_uri):
        there = file.exists()
    if not there:
        build_resources(settings)["tracking"].server.prepare()


def served(settings: Settings) -> dict[str, Settings]:
    """The code locations, by name, with the settings of each: the portfolio that CREDIT_PORTFOLIO names, else the
    packaged one and every portfolio of the home. Raises SettingsError where one of them cannot be used.
    """
    home = settings.home_dir
    if os.environ.get(variable("portfolio")) or settings.portfolio is not None:
        return {name_by_place(settings.portfolio, home) or DEFAULT: settings}
    others = [name for name in portfolio_names(home) if name != PACKAGED]
    return {DEFAULT: settings, **{name: load_settings(home=home, portfolio=name) for name in others}}


def workspace_of(locations: Iterable[str]) -> str:
    """The workspace file of these code locations."""
    lines = ["# Written by `credit-assets dev` each time it starts: a location for each portfolio.", "load_from:"]
    for name in locations:
        module = f"module_name: {DEFAULT}" if name == DEFAULT else f"module_name: {_BY_NAME}, attribute: {name}"
        lines.append(f"  - python_module: {{{module}, location_name: {name}}}")
    return "\n".join(lines) + "\n"


def _workspace(settings: Settings) -> Path:
    return settings.home_dir / "workspace.yaml"


def _locations(settings: Settings) -> list[str]:
    return ["-m", DEFAULT] if list(served(settings)) == [DEFAULT] else ["-w", str(_workspace(settings))]


def programs_of(settings: Settings, host: str, port: int, mlflow_port: int) -> list[Program]:
    """Dagster, and MLflow where its store is a file of this machine."""
    # -P: a folder beside which this is started must not be taken for one of their modules.
    python = [sys.executable, "-P", "-m"]
    python += [servers_internals.__name__]
    dagster = [*python, "dagster", "dev", *_locations(settings), "-h", host, "-p", str(port)]
    loaded = Locations(lambda line: print(masked(line), flush=True))  # noqa: T201
    programs = [Program("Dagster", port, dagster, "--port, CREDIT_DEV_PORT or make dev PORT=", loaded)]
    file = database_file(settings.tracking_uri)
    if file is not None:
        # Its own check would not know the names of CREDIT_DEV_HOSTS, and takes 10.evil.example for an address.
        server = [*python, "mlflow", "server", "--backend-store-uri", settings.tracking_uri, "--host", host]
        options = ["--port", str(mlflow_port), "--workers", "1", "--disable-security-middleware"]
        mlflow = [*server, *options, "--default-artifact-root", (file.parent / "artifacts").as_uri()]
        change = "--mlflow-port, CREDIT_DEV_MLFLOW_PORT or make dev MLFLOW_PORT="
        programs.append(Program("MLflow", mlflow_port, mlflow, change))
    return programs


def _url(host: str, port: int) -> str:
    """Where a browser of this machine finds it."""
    host = "localhost" if everywhere(host) else f"[{host}]" if ":" in host else host
    return f"http://{host}:{port}"


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host.lower() == "localhost"


def _guard(settings: Settings, host: str) -> dict[str, str]:
    """Variables by which the servers know whom to let in."""
    return {servers_internals.LISTENS: host, servers_internals.NAMES: ",".join(settings.dev_hosts)}


@contextmanager
def _private_folder(of_this: ProcessGroups) -> Iterator[dict[str, str]]:
    """A temporary folder of the user alone, for what they start: Dagster puts the sockets of its code servers there.
    Its name is short, since the path of a socket has 107 characters at most.
    """
    with TemporaryDirectory(prefix=DEV_PREFIX, ignore_cleanup_errors=True) as folder:
        own(Path(folder))
        of_this.keeps(folder)
        yield {"TMPDIR": folder}


def refuse_others(logs: Path) -> None:
    """Raise PermanentError naming the processes of an earlier one that was killed, where some are left."""
    if left := outlived(logs):
        raise PermanentError(
            f"an earlier `credit-assets dev` of this home was killed, and these of its processes still run: "
            f"{'; '.join(left)}; nothing was started"
        )


def refuse_taken_ports(host: str, programs: Sequence[Program]) -> None:
    """Raise PermanentError naming every port that cannot be listened on."""
    problems, taken = [], set()
    for program in programs:
        why = "is wanted twice" if program.port in taken else _why_not(host, program.port)
        taken.add(program.port)
        if why:
            problems.append(f"port {program.port} of {program.name} {why}: choose another one with {program.change}")
    if problems:
        raise PermanentError(f"{'; '.join(problems)}; nothing was started")


def _why_not(host: str, port: int) -> str:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, ValueError) as error:  # A name that is too long for one is no OSError.
        why = getattr(error, "strerror", None) or "no name of a machine"
        raise PermanentError(f"--host {host!r} is no address of this machine ({why})") from error
    with socket.socket(family, kind, protocol) as probe:
        # As the servers do: a port that was in use a moment ago is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise PermanentError(f"--host {host!r} is no address of this machine") from error
            return {
                errno.EADDRINUSE: "is in use by another program (perhaps another `credit-assets dev`)",
                errno.EACCES: "may not be used by this user (below 1024)",
            }.get(error.errno or 0, f"cannot be used ({error.strerror})")
    return ""


class _Progress:
    """What is said while they run: that all can be opened, once; and what they print, where that is wanted."""

    def __init__(self, programs: Sequence[Program], host: str, logs: Path, verbose: bool) -> None:
        self._waits, self._host, self._began = list(programs), host, time.monotonic()
        self._read = {_log(logs, program): 0 for program in programs} if verbose else {}
        self._ready = not programs

    def look(self) -> None:
        for file in self._read:
            with suppress(FileNotFoundError), file.open("rb") as log:
                log.seek(self._read[file])
                new = log.read()
                self._read[file] += len(new)
            if new:
                print(masked(new.decode("utf-8", "replace")), end="", flush=True)  # noqa: T201
        self._waits = [program for program in self._waits if not program.ready(self._host, program.port)]
        if not self._waits and not self._ready:
            self._ready = True
            print(f"ready after {time.monotonic() - self._began:.0f} s", flush=True)  # noqa: T201


def run(
    programs: Sequence[Program], environment: Mapping[str, str], logs: Path, progress: _Progress | None = None
) -> int:
    """Start all and wait for the first to end. Raises PermanentError with its last words where it was not told to."""
    with family(logs) as of_this, _private_folder(of_this) as sockets:
        return _run(programs, {**environment, **sockets}, logs, progress, of_this)


def _run(
    programs: Sequence[Program],
    environment: Mapping[str, str],
    logs: Path,
    progress: _Progress | None,
    of_this: ProcessGroups,
) -> int:
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for program in programs:
            with _log(logs, program).open("wb") as log:
                # A session of its own: Ctrl-C reaches this process alone, which then ends them with all they started.
                started = subprocess.Popen(
                    program.command,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            processes.append(started)
            of_this.joins(program.name, started.pid)
        while True:
            for program, process in zip(programs, processes, strict=True):
                if (code := process.poll()) is not None:
                    _tell(program, code, logs)
                    return _exit_code(code)
            if progress is not None:
                progress.look()
            time.sleep(0.2)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("Dagster and MLflow are stopped") from None
    finally:
        _end(processes)


def _log(logs: Path, program: Program) -> Path:
    return logs / f"dev-{program.name.lower()}.log"


def _tell(program: Program, code: int, logs: Path) -> None:
    file = _log(logs, program)
    last_lines = [line for line in file.read_text("utf-8", "replace").splitlines() if line.strip()][-_LAST_LINES:]
    ended = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    text = "\n".join([*last_lines, f"credit-assets: {program.name} {ended}, so all is stopped; see {file}"])
    print(masked(text), file=sys.stderr, flush=True)  # noqa: T201


def _exit_code(code: int) -> int:
    # A server that ends by itself has failed, whatever it says.
    return 128 - code if code < 0 else code or 1


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """All of them, and whatever they started."""
    end_groups([process.pid for process in processes], lambda: any(process.poll() is None for process in processes))
    for process in processes:
        process.wait()


def _environment(settings: Settings, url: str, mlflow_url: str = "") -> dict[str, str]:
    environment = {
        **os.environ,
        "CREDIT_HOME": str(settings.home_dir),
        "DAGSTER_HOME": str(settings.dagster_dir),
        "PYTHONUNBUFFERED": "1",
        # Else MLflow starts ten workers for jobs that nobody here submits, and leaves them behind when it is stopped.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    if setting_sources()["dagster_url"] == "default":
        environment["CREDIT_DAGSTER_URL"] = url
    if mlflow_url and setting_sources()["mlflow_url"] == "default":
        environment["CREDIT_MLFLOW_URL"] = mlflow_url
    return environment
