"""Every option of every verb, enumerated from the parser, with values that nobody means: a line, no trace, no hang."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from credit_assets.cli import dev, main
from credit_assets.cli.edge import run
from credit_assets_tests.support.fuzz import LONGEST_MESSAGE, fuzz

HOSTILE = (
    *("", "  ", "-1", "0", "99999999999", "9" * 400, "1e400", "nan", "1.5", "\u0663", "a" * 100_000, "é", "\udcff"),
    *("\n", "-", "2020-02-30", "0001-01-01", "9999-12-31", "2020-01-01T00:00:00", "../../etc/passwd", "/", "/dev/null"),
    *("/dev/zero", "a=b", "a=1e400", "=", "a.b=[[[", "a.b=" + "[" * 4_000, "x.y=NaN", "income=nan", "{}", "[]", "%s%n"),
    *("*", "$HOME/x", "~nobody/x", "s3://a/b", "file:///x", "xgboost,xgboost", "latest", "champion", "tab", "\x1b[31m"),
    *("idna", "hex", "rot13", "undefined", "punycode", "zlib"),
)


@dataclass(frozen=True)
class Option:
    """An option or argument of a verb, and what else the verb needs to be begun."""

    verb: tuple[str, ...]
    name: str
    kind: str
    at_most: float | None
    others: tuple[str, ...]

    def given(self, value: str) -> list[str]:
        own = [f"{self.name}={value}"] if self.name.startswith("-") else [value]
        return [*self.verb, *self.others, *own]


def verbs(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from verbs(inner, (*path, name))
    else:
        yield path, command


def needed(parameter: Any) -> list[str]:
    kind = str(parameter.type_descriptor.annotation)
    value = "2024-01-01" if "datetime" in kind else "no-such-file.csv" if parameter.name in ("file", "source") else "1"
    return [parameter.opts[0], value] if parameter.opts[0].startswith("-") else [value]


def options() -> list[Option]:
    found = []
    for verb, command in verbs(typer.main.get_command(main.app)):
        for one in command.params:
            if getattr(one, "is_flag", False) or one.name == "help":
                continue
            others = [text for other in command.params if other.required and other is not one for text in needed(other)]
            kind = str(one.type_descriptor.annotation)
            found.append(Option(verb, one.opts[0], kind, one.max, tuple(others)))
    return found


OPTIONS = options()


def test_every_verb_is_found() -> None:
    assert len({option.verb for option in OPTIONS}) > 20
    assert {("dev",), ("load", "csv"), ("generate",), ("promote",)} <= {option.verb for option in OPTIONS}


def test_every_whole_number_has_an_upper_bound() -> None:
    open_ended = [f"{' '.join(o.verb)} {o.name}" for o in OPTIONS if "int'" in o.kind and o.at_most is None]
    # The first has the bound of the same field in the launchpad, the others are the number of an entry.
    assert set(open_ended) == {"retrain --lookback", "sign request", "withdraw request"}


def ended(folder: Path, arguments: list[str]) -> tuple[int, str]:
    """The exit code, and what stands on standard error, of a verb in an empty home."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as only, redirect_stdout(io.StringIO()), redirect_stderr(said):
        only.setenv("CREDIT_HOME", str(folder / "home"))
        only.chdir(folder)
        # Servers are started nowhere here: what is tried is whether they would be.
        only.setattr(dev, "run", lambda *_: 0)
        before = dict(os.environ)
        try:
            code = run(main.app, arguments)
        finally:
            os.environ.clear()
            os.environ.update(before)
    return code, said.getvalue()


def sound(code: int, said: str) -> bool:
    # A box of usage has a frame around each line.
    bounded = len(said) <= 2 * LONGEST_MESSAGE + 5_000
    return code in (0, 1, 2) and bounded and "Traceback" not in said and "unexpected" not in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["dev", "--port", "99999999"],
        ["dev", "--port", "-1"],
        ["dev", "--host", "a" * 300],
        ["dev", "--host", "é\udcff"],
        ["generate", "--rows", "9" * 30, "--start", "2024-01-01", "--end", "2024-01-02"],
        ["load", "csv", "none.csv", "--encoding", "zlib"],
        ["load", "csv", "none.csv", "--encoding", "rot13"],
        ["load", "csv", "none.csv", "--delimiter", "\udcff"],
        ["load", "csv", "/dev/zero"],
        ["policy", "check", "/dev/zero"],
        ["sign", "1", "--signature", "/dev/zero"],
        ["--portfolio", "a" * 100_000, "status"],
        ["--portfolio", "/dev/zero", "status"],
        ["retrain", "--param", "xgboost.max_depth=" + "[" * 4_000, "--reason", "x"],
        ["report", "--days", "9" * 400],
    ],
    ids=lambda arguments: " ".join(arguments)[:40],
)
def test_arguments_that_hung_or_raised_end_in_a_line(arguments: list[str], tmp_path: Path) -> None:
    code, said = ended(tmp_path, arguments)
    assert code in (1, 2), said
    assert sound(code, said), said[-500:]


@pytest.mark.slow
@fuzz(60)
@given(option=st.sampled_from(OPTIONS), value=st.sampled_from(HOSTILE))
def test_any_value_of_any_option_ends_in_a_line(tmp_path: Path, option: Option, value: str) -> None:
    code, said = ended(tmp_path, option.given(value))
    assert sound(code, said), (option.given(value)[:6], said[-500:])
