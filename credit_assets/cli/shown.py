"""What commands have in common: options that several of them take, and how they show what came of them.

Belongs here: JSON or text on standard output, the progress bar on standard error. Does not belong here: any command.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from credit_assets import stopping
from credit_assets.cli.load_options import local_file
from credit_assets.failures import PermanentError

# A file that is given to a verb, read as the settings read paths.
FILE: dict[str, Any] = {"parser": local_file, "metavar": "FILE"}
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


@contextmanager
def progress_bar(quiet: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """A callback (what, done, of) that draws one bar on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(30), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), disable=quiet) as bar:
        task = bar.add_task("starting", total=1)

        def show(what: str, done: int, of: int) -> None:
            stopping.check()
            bar.update(task, description=f"{what:<40}", completed=done, total=max(of, 1))

        yield show
        # A last part that swallowed the interrupt.
        stopping.check()
