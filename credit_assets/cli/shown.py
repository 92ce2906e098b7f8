"""What commands have in common: options that several of them take, and how they show what came of them.

Belongs here: JSON or text on standard output, the progress bar on standard error. Does not belong here: any command.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from credit_assets import stopping
from credit_assets.cli.load_options import local_file
from credit_assets.failures import PermanentError

# A file that is given to a verb, read as the settings read paths.
FILE: dict[str, Any] = {"parser": local_file, "metavar": "FILE"}
_SECONDS_A_LINE = 10.0
# What a number may ask for at most: a century, and the rows that a machine of one node can hold.
MOST_DAYS, MOST_ROWS = 36_525, 100_000_000
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON instead of a table.")]


def console() -> Console:
    """As wide as the terminal, or as COLUMNS says; 140 where the output goes into a file or to another program."""
    return Console(highlight=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 140)


def output(record: Any, text: Callable[[Console], None], as_json: bool) -> None:
    """What a command came to: its record as JSON for programs, or its text for people."""
    try:
        if as_json:
            typer.echo(json.dumps(record, indent=1, sort_keys=True, default=str))
        else:
            text(console())
    except BrokenPipeError:
        raise
    except OSError as error:
        raise PermanentError(f"standard output cannot be written ({error.strerror}); what was done is done") from error


def shortened(text: str, length: int) -> str:
    """The text, or its beginning to the end of a word where it is longer."""
    return text if len(text) <= length else f"{text[:length].rsplit(' ', 1)[0].rstrip(',;:')} …"


class _Rate(ProgressColumn):
    """How many a second, or a minute where it takes longer than that."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{60 * speed:.1f}/min", style="dim")


@contextmanager
def progress_bar(quiet: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """A callback (what, done, of) that draws one bar on standard error, with rate and time left, within 80 columns.

    The first word of `what` names the part of the work: each part has a rate of its own. In a log, where
    no bar can be drawn over, it is a line now and then.
    """
    console = Console(stderr=True)
    if not (quiet or console.is_terminal):
        yield _lines(console)
        stopping.check()
        return
    columns = (
        TextColumn("{task.description}", table_column=Column(no_wrap=True, max_width=30)),
        BarColumn(12),
        TextColumn("{task.completed}/{task.total}"),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, disable=quiet) as bar:
        task, part = bar.add_task("starting", total=1), ""

        def show(what: str, done: int, of: int) -> None:
            nonlocal part
            stopping.check()
            if part != (part := what.partition(" ")[0]):
                bar.reset(task)
            bar.update(task, description=what, completed=done, total=max(of, 1))

        yield show
        # A last part that swallowed the interrupt.
        stopping.check()


def _lines(console: Console) -> Callable[[str, int, int], None]:
    """The callback that writes lines, at least `_SECONDS_A_LINE` apart."""
    due = monotonic()

    def show(what: str, done: int, of: int) -> None:
        nonlocal due
        stopping.check()
        if (now := monotonic()) >= due:
            due = now + _SECONDS_A_LINE
            console.print(f"{what}: {done} of {max(of, 1)}", markup=False, highlight=False, soft_wrap=True)

    return show


@contextmanager
def working(what: str, quiet: bool = False) -> Iterator[None]:
    """Says on standard error, while it takes, that something without parts is being done, and for how long."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet, transient=True) as bar:
        bar.add_task(what, total=None)
        yield
