"""Where a command ends: whatever was raised becomes one line that says what to do, and an exit code.

Belongs here: printing failures, as text and as JSON, without a secret; standard streams that are closed, full or of
another encoding. Does not belong here: what an exception means (`credit_assets.failures`) and how signals are heard
(`signals`).

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 Ctrl-C, 143 SIGTERM, 141 the reader of the output has gone.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from credit_assets import stopping
from credit_assets.cli import signals
from credit_assets.failures import PermanentError, explained, kind_in_words, without_values
from credit_assets.masking import Secrets

DEBUG, JSON, PORTFOLIO = "--debug", "--json", "--portfolio"
_USAGE, _PIPE = 2, 141
_LONGEST_ARGUMENT = 4_096


class _Ended(NamedTuple):
    """How a command ended: its exit code, and what is said of it, if anything."""

    code: int
    kind: str = ""
    line: str = ""


def run(app: Callable[[Sequence[str]], object], arguments: Sequence[str]) -> int:
    """Run the command line `app` on these arguments; returns the exit code. A failure has been printed by then."""
    _open_streams()
    options = list(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    debug, as_json = DEBUG in options, JSON in options
    given = _portfolio_first([one for one in options if one != DEBUG]) + list(arguments[len(options) :])
    raised: BaseException | None = None
    with signals.heard():
        try:
            _refuse_long(arguments)
            app(given)
            ended = _Ended(0)
        except BaseException as error:
            raised, ended = error, _ended(error)
        number = stopping.requested()
        if number is not None:
            ended = _stopped(number, raised)
    if not ended.code:
        raised, ended = None, _flushed()
    return _shown(ended, raised if debug else None, as_json)


def _refuse_long(arguments: Sequence[str]) -> None:
    """Raise PermanentError where an argument is longer than any can be: usage errors and messages repeat them."""
    for place, one in enumerate(arguments, start=1):
        if len(one) > _LONGEST_ARGUMENT:
            raise PermanentError(
                f"argument {place} ({one[:20]}...) has {len(one):,} characters: none has more than "
                f"{_LONGEST_ARGUMENT:,}; give a file where one is taken"
            )


def _portfolio_first(options: list[str]) -> list[str]:
    """Before the verb, where the command line's own options stand, also where it was given after it."""
    first, rest = [], []
    given = iter(options)
    for one in given:
        if one == PORTFOLIO:
            # Without a value it comes last, and is refused as such.
            first += [one, *([value] if (value := next(given, None)) is not None else [])]
        elif one.startswith(f"{PORTFOLIO}="):
            first.append(one)
        else:
            rest.append(one)
    return [*rest, *first] if first[-1:] == [PORTFOLIO] else [*first, *rest]


def _ended(error: BaseException) -> _Ended:
    """What an exception says of the end. typer prints wrong usage itself, and gives a broken pipe as SystemExit(1)."""
    behind = list(_chain(error))
    if any(isinstance(one, BrokenPipeError) for one in behind) and isinstance(error, SystemExit | BrokenPipeError):
        return _Ended(_PIPE)
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        usage = next((one for one in behind[1:] if hasattr(one, "format_message")), None)
        return _Ended(code, "usage", str(usage.format_message())) if usage and code == _USAGE else _Ended(code)
    return _Ended(1, kind_in_words(error), explained(error))


def _stopped(number: int, error: BaseException | None) -> _Ended:
    """A note that somebody raised the interrupt with is what to do after it."""
    notes = [str(one) for one in _chain(error) if isinstance(one, KeyboardInterrupt) and str(one)]
    line = signals.stop_line(number, notes[0] if notes else "")
    return _Ended(signals.exit_code(number), "stopped", line)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _flushed() -> _Ended:
    """Whether what was printed arrived: a full disk is told of here, and by no exception before."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return _Ended(_PIPE)
    except OSError as error:
        return _Ended(1, "failed", f"standard output cannot be written: {error.strerror or error}")
    return _Ended(0)


def _shown(ended: _Ended, raised: BaseException | None, as_json: bool) -> int:
    """Print how it ended; returns the exit code. What cannot be printed must not hide the code."""
    if ended.code == _PIPE:
        # Python would flush once more when it ends, and complain.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not ended.line:
        return ended.code
    secrets = _secrets()
    line = secrets.hide(" ".join(ended.line.split()))
    trace = secrets.hide("".join(traceback.format_exception(without_values(raised)))) if raised else ""
    with suppress(OSError, ValueError):
        if as_json:
            error = {"kind": ended.kind, "message": line, "exit_code": ended.code}
            print(json.dumps({"error": {**error, **({"traceback": trace} if trace else {})}}), flush=True)  # noqa: T201
    with suppress(OSError, ValueError):
        if ended.kind != "usage":  # typer has printed it.
            print(f"{trace}credit-assets: {line}", file=sys.stderr, flush=True)  # noqa: T201
    return ended.code


def _secrets() -> Secrets:
    """What the settings hold of secrets, also where they cannot be used as they are."""
    # Half of what a process takes to begin: a verb that needs no settings, and one that does not fail, does without.
    from dotenv import dotenv_values
    from pydantic import SecretStr

    from credit_assets.settings import Settings, settings_file, variable

    given: dict[str, str | None] = dict(os.environ)
    with suppress(Exception):
        given = {**dotenv_values(settings_file()), **given}
    names = {variable(name) for name, field in Settings.model_fields.items() if field.annotation is SecretStr}
    services = (given.get("CREDIT_ALERT_URLS") or "").replace(",", " ").split()
    names -= {"CREDIT_ALERT_URLS"}
    tokens = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    return Secrets([value for name in (*names, *tokens, "PGPASSWORD") if (value := given.get(name))], services)


def _open_streams() -> None:
    """Give closed streams a place: the next file that is opened would get their number, and what others print."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            # A locale that lacks a letter must not end a command whose work is done.
            stream.reconfigure(errors="backslashreplace")


__all__ = ["run"]
