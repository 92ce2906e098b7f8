"""How commands end: one line, the right exit code, no secret, whatever was raised and whatever streams there are."""

from __future__ import annotations

import errno
import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from credit_assets import stopping
from credit_assets.cli.edge import run
from credit_assets.cli.who import who
from credit_assets.failures import PermanentError, TransientError, explained, is_transient, kind_in_words
from credit_assets.settings import load_settings

SECRET = "s3cr3tPassw0rd"
APPLICANT = "A0010003"


def raising(error: BaseException) -> Any:
    def app(_: Any) -> None:
        raise error

    return app


def program(body: str) -> list[str]:
    code = f"import sys, time\nfrom credit_assets.cli.edge import run\n{textwrap.dedent(body)}\n"
    return [sys.executable, "-c", f"{code}sys.exit(run(app, sys.argv[1:]))"]


def failed_with(error: type[Exception], text: str, cause: Exception) -> Exception:
    try:
        raise error(text) from cause
    except Exception as raised:
        return raised


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (PermanentError("no such table;\n make it"), "permanent", "no such table; make it"),
        (TransientError("held by another"), "transient", "held by another"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/data/x"),
            "permanent",
            "/data/x: no space left on the disk",
        ),
        (OSError(errno.EROFS, "Read-only", "/data/x"), "permanent", "/data/x: the file system is read-only"),
        (PermissionError(errno.EACCES, "Permission denied", "/data/x"), "permanent", "/data/x: permission denied"),
        (NotADirectoryError(errno.ENOTDIR, "x", "/data/x"), "permanent", "a file stands where a folder is needed"),
        (FileNotFoundError(2, "No usable temporary directory found in ['/tmp']"), "permanent", "set TMPDIR"),
        (sqlite3.OperationalError("database or disk is full"), "permanent", "no space left"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "permanent", "may not be written"),
        (sqlite3.OperationalError("unable to open database file"), "permanent", "cannot be opened"),
        (sqlite3.OperationalError("database is locked"), "transient", "another process holds"),
        (sqlite3.DatabaseError("database disk image is malformed"), "permanent", "is damaged"),
        (sqlite3.DatabaseError("file is not a database"), "permanent", "is none"),
        (RuntimeError("Can't locate revision identified by 'abc'"), "permanent", "newer version"),
        (ConnectionRefusedError(111, "Connection refused"), "transient", "credit-assets doctor"),
        (MemoryError(), "unexpected", "memory"),
        (ModuleNotFoundError("No module named 's3fs'", name="s3fs"), "unexpected", "s3fs cannot be imported"),
        (ValueError(f"could not convert {APPLICANT}"), "unexpected", "unexpected ValueError"),
        (failed_with(RuntimeError, "x", OSError(errno.ENOSPC, "No space")), "unexpected", "no space left"),
        (failed_with(RuntimeError, "x", PermanentError("set CREDIT_HOME")), "unexpected", "set CREDIT_HOME"),
    ],
)
def test_whatever_is_raised_is_one_line_that_says_what_to_do(
    error: Exception, kind: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(raising(error), []) == 1
    shown = capsys.readouterr()
    (line,) = shown.err.splitlines()
    assert line.startswith("credit-assets: ")
    assert said in line
    assert APPLICANT not in line
    assert shown.out == ""
    assert run(raising(error), ["--json"]) == 1
    shown = capsys.readouterr()
    assert len(shown.err.splitlines()) == 1
    record = json.loads(shown.out)["error"]
    assert (record["kind"], record["exit_code"]) == (kind, 1)
    assert f"credit-assets: {record['message']}" == line
    assert kind_in_words(error) == kind
    assert explained(error) in line


def test_debug_shows_the_trace_and_takes_no_argument_away(capsys: pytest.CaptureFixture[str]) -> None:
    given: list[Any] = []

    def app(arguments: Any) -> None:
        given.append(arguments)
        raise ValueError(APPLICANT)

    assert run(app, ["status", "--debug", "--", "--debug"]) == 1
    assert given == [["status", "--", "--debug"]]
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "test_edge.py" in shown
    # What it prints is to be reported.
    assert APPLICANT not in shown
    assert shown.splitlines()[-1].startswith("credit-assets: unexpected ValueError")
    assert run(app, ["--json", "--debug"]) == 1
    assert "Traceback" in json.loads(capsys.readouterr().out)["error"]["traceback"]


@pytest.mark.parametrize("arguments", [[], ["--json"], ["--debug"], ["--json", "--debug"]])
def test_no_secret_is_shown(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Path(os.environ["CREDIT_HOME"])
    home.mkdir()
    (home / "settings.env").write_text(f"MLFLOW_TRACKING_URI=https://risk:{SECRET}2@mlflow\n")
    monkeypatch.setenv("CREDIT_WAREHOUSE_URL", f"postgresql://risk:{SECRET}@db/loans")
    monkeypatch.setenv("CREDIT_ALERT_URLS", f"slack://{SECRET}3/{SECRET}4/x, mailto://a:{SECRET}5@relay")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", f"{SECRET}6")
    text = f"no database: postgresql://risk:{SECRET}@db/loans, {SECRET}, {SECRET}2, {SECRET}3, {SECRET}4, {SECRET}6"
    for error in (PermanentError(text), failed_with(ValueError, text, RuntimeError(text))):
        run(raising(error), arguments)
    shown = capsys.readouterr()
    assert SECRET not in shown.out + shown.err


def test_a_database_that_no_retry_mends_is_not_transient() -> None:
    assert not is_transient(sqlite3.OperationalError("database or disk is full"))
    assert not is_transient(sqlite3.OperationalError("no such table: runs"))
    assert is_transient(sqlite3.OperationalError("database is locked"))


# Signals


def interrupted(body: str, number: signal.Signals, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The program, to which the signal is sent once it has printed "ready"."""
    process = subprocess.Popen(
        program(body) + list(arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Tests that run under nohup, or in the background of a script, were started with it ignored.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "ready"
    process.send_signal(number)
    out, err = process.communicate()
    return subprocess.CompletedProcess([], process.returncode, out, err)


NEVER_ENDS = """
        from credit_assets.cli import signals
        signals.GRACE_SECONDS = 0.2
        def app(_):
            print("ready", flush=True)
            while True:
                try:
                    time.sleep(600)
                except BaseException:
                    pass
    """
BODIES = {
    "waits": """
        def app(_):
            print("ready", flush=True)
            time.sleep(600)
    """,
    "swallowed": """
        def app(_):
            try:
                print("ready", flush=True)
                time.sleep(600)
            except BaseException:
                pass
    """,
    "told as something else": """
        def app(_):
            try:
                print("ready", flush=True)
                time.sleep(600)
            except BaseException:
                raise ImportError("cannot import name 'x' from partially initialized module")
    """,
    "exit": """
        def app(_):
            try:
                print("ready", flush=True)
                time.sleep(600)
            except BaseException:
                sys.exit(0)
    """,
    "never ends": NEVER_ENDS,
    "never ends, with a thousand files": """
        import os, resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (2_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1_100)]
    """
    + NEVER_ENDS,
    "a handler of another": """
        import signal
        from credit_assets import stopping
        def app(_):
            for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(one, lambda *_: None)
            print("ready", flush=True)
            while stopping.requested() is None:
                time.sleep(0.05)
    """,
    "typer": """
        import typer
        app = typer.Typer()
        @app.command()
        def verb():
            print("ready", flush=True)
            time.sleep(600)
    """,
}


OF_EACH_SIGNAL = ("waits", "a handler of another")
SIGNALS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}
# A process each. What becomes of an exception is the same code for each signal; who has the handler is not.
MET = [
    pytest.param(body, number, marks=() if number == signal.SIGINT or body in OF_EACH_SIGNAL else pytest.mark.slow)
    for body in BODIES
    for number in SIGNALS
]


@pytest.mark.parametrize(("body", "number"), MET)
def test_a_signal_ends_with_one_line_and_its_exit_code(body: str, number: signal.Signals) -> None:
    ended = interrupted(BODIES[body], number)
    assert ended.returncode == 128 + number
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"credit-assets: stopped ({SIGNALS[number]})")
    assert ended.stdout == ""


@pytest.mark.parametrize(
    "does", ["swallowed()", *(pytest.param(one, marks=pytest.mark.slow) for one in ("time.sleep(600)", "translated()"))]
)
def test_an_interrupt_in_a_step_is_not_taken_for_a_reason_to_try_it_again(does: str) -> None:
    body = f"""
        import dagster as dg
        from credit_assets.assets.conventions import retry_policy, retry_transient_only
        from credit_assets.settings import load_settings

        def swallowed():
            try:
                time.sleep(600)
            except BaseException:
                pass

        def translated():
            try:
                time.sleep(600)
            except BaseException:
                raise ConnectionError("a server is away")

        @dg.asset(retry_policy=retry_policy(load_settings(retry_delay_seconds=0)))
        @retry_transient_only
        def first(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            print("ready", flush=True)
            {does}
            return dg.MaterializeResult()

        @dg.asset(deps=[first])
        @retry_transient_only
        def second(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            print("went on", flush=True)
            return dg.MaterializeResult()

        @dg.asset
        @retry_transient_only
        def third(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            return dg.MaterializeResult()

        def app(_):
            quiet = {{"loggers": {{"console": {{"config": {{"log_level": "CRITICAL"}}}}}}}}
            result = dg.materialize([first, second, third], raise_on_error=False, run_config=quiet)
            assert not result.success
    """
    ended = interrupted(body, signal.SIGINT)
    assert ended.returncode == 130, ended.stderr
    assert ended.stdout == ""
    assert ended.stderr.splitlines() == [
        "credit-assets: stopped (Ctrl-C); what was finished stays; run the same command to go on"
    ]


def test_a_note_says_what_became_of_what_was_asked_for() -> None:
    body = """
        def app(_):
            try:
                print("ready", flush=True)
                time.sleep(600)
            except KeyboardInterrupt:
                raise KeyboardInterrupt("request 3 is entered") from None
    """
    ended = interrupted(body, signal.SIGINT, "--json")
    assert ended.stderr == "credit-assets: stopped (Ctrl-C); request 3 is entered\n"
    assert json.loads(ended.stdout)["error"] == {
        "kind": "stopped",
        "message": "stopped (Ctrl-C); request 3 is entered",
        "exit_code": 130,
    }


def test_an_ignored_signal_stays_ignored() -> None:
    body = """
        import os, signal
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        def app(_):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)
            print("done", flush=True)
    """
    done = subprocess.run(program(body), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_a_forked_child_does_not_stop_its_parent() -> None:
    body = """
        import os, signal
        def app(_):
            child = os.fork()
            if not child:
                signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(60)
            os.waitpid(child, 0)
            time.sleep(0.2)
            print("done", flush=True)
    """
    done = subprocess.run(program(body), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert run(lambda _: None, []) == 0
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    assert stopping.requested() is None


# Streams and locales

PRINTS = """
    import typer
    app = typer.Typer()
    @app.command()
    def verb(n: int = 1):
        for _ in range(n):
            typer.echo("Gr\\u00f6\\u00dfe \\u2501 \\u65e5\\u672c")
        typer.echo("done", err=True)
"""


def shell(redirected: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = " ".join(f"'{part}'" for part in program(PRINTS.replace("'", '"')))
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} {redirected}"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        errors="replace",
    )


@pytest.mark.parametrize("redirected", [">&-", "<&- >&-", "</dev/null >/dev/null"])
def test_closed_streams_are_no_failure(redirected: str) -> None:
    done = shell(redirected)
    assert (done.returncode, done.stderr.strip()) == (0, "done")
    assert shell(f"{redirected} 2>&-").returncode == 0


def test_the_reader_that_has_seen_enough_gets_no_trace() -> None:
    done = shell("--n 100000 | head -1")
    assert done.returncode == 141
    assert done.stdout.strip() == "Größe ━ 日本"
    assert done.stderr.strip() in ("", "done")


def test_a_full_disk_behind_the_output_is_a_failure() -> None:
    done = shell(">/dev/full")
    assert done.returncode == 1
    assert "credit-assets: " in done.stderr
    assert "space" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "locale",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"TERM": "dumb"},
    ],
)
def test_a_locale_without_the_letters_does_not_end_a_command(locale: dict[str, str]) -> None:
    done = shell("", **locale)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


# Who is recorded


def test_who_asks_is_named_also_without_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)

    def nobody(uid: int) -> Any:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr("pwd.getpwuid", nobody)
    assert who(load_settings()) == f"uid {os.getuid()}"
    monkeypatch.setenv("LOGNAME", "ana")
    assert who(load_settings()) == "ana"
    monkeypatch.setenv("CREDIT_OPERATOR", " risk \n desk ")
    assert who(load_settings()) == "risk desk"
    assert who(load_settings(), "bo") == "bo"
