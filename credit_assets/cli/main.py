"""The `credit-assets` command: arguments, progress and tables. What the commands do stands in the modules beside it."""

from __future__ import annotations

import getpass
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from credit_assets.failures import PermanentError, TransientError
from credit_assets.settings import SettingsError, load_settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Credit scoring: load loans, replay the daily pipeline, look at models, move them into and out of force.",
)
load_app = typer.Typer(no_args_is_help=True, help="Load loans from files into the warehouse.")
app.add_typer(load_app, name="load")

Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON instead of a table.")]
Reason = Annotated[str, typer.Option(help="Why; recorded with the move.")]
By = Annotated[str, typer.Option(help="Who decides; recorded with the move. Default: the user running this.")]
From = Annotated[
    datetime | None,
    typer.Option("--from", formats=["%Y-%m-%d"], help="First day the move takes effect for scores; default today."),
]


def console() -> Console:
    return Console(stderr=False, highlight=False, width=None if sys.stdout.isatty() else 140)


def main() -> None:
    """Run the command; a failure is one line on standard error and exit code 1."""
    # Before mlflow is imported anywhere: its chatter has no place between a progress bar and a table.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    try:
        app()
    except (SettingsError, PermanentError, TransientError) as error:
        print(f"credit-assets: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201
        sys.exit(1)
    except KeyboardInterrupt:
        print("credit-assets: stopped; what was finished stays, run the same command to go on", file=sys.stderr)  # noqa: T201
        sys.exit(130)


def print_json(record: Any) -> None:
    typer.echo(json.dumps(record, indent=1, sort_keys=True, default=str))


@contextmanager
def progress_bar(quiet: bool = False) -> Iterator[Any]:
    """A callback (what, done, of) that draws one bar on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(30), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), disable=quiet) as progress:
        task = progress.add_task("starting", total=1)

        def show(what: str, done: int, of: int) -> None:
            progress.update(task, description=f"{what:<40}", completed=done, total=max(of, 1))

        yield show


@app.command()
def demo(
    loans: Annotated[Path | None, typer.Option(help="A LendingClub file; default: a generated loan book.")] = None,
    json_: Json = False,
) -> None:
    """Main job: make or read a loan book, replay its history, train, register, promote, score, and say what came."""
    from credit_assets.cli.demo import run_demo

    with progress_bar(quiet=json_) as show:
        report = run_demo(loans, show)
    if json_:
        print_json(report.to_record())
    else:
        report.print(console())


@app.command()
def generate(
    rows: Annotated[int, typer.Option(min=1, help="Number of loans.")],
    start: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="First application date.")],
    end: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Last application date.")],
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 20071,
    json_: Json = False,
) -> None:
    """Make a deterministic loan book and write it into the warehouse."""
    from credit_assets.cli.loans import generate_into_warehouse, print_report

    report = generate_into_warehouse(load_settings(), rows, start.date(), end.date(), seed)
    print_json(report) if json_ else print_report(report, console())


@load_app.command("lending-club")
def load_lending_club(
    file: Annotated[Path, typer.Argument(help="Public LendingClub file: CSV (also .gz, .zip) or Parquet.")],
    json_: Json = False,
) -> None:
    """Read a public LendingClub file into the warehouse. Rejected rows are kept aside in a file, with the reason."""
    from credit_assets.cli.loans import load_lending_club_file, print_report

    report = load_lending_club_file(load_settings(), file)
    print_json(report) if json_ else print_report(report, console())


@app.command()
def replay(
    start: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="First day.")],
    end: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Last day.")],
    train: Annotated[
        str, typer.Option(help="As-of dates to train: every, last, none, month-end, quarter-end, or every N days.")
    ] = "last",
    again: Annotated[bool, typer.Option(help="Run days again that are already there.")] = False,
    json_: Json = False,
) -> None:
    """Run the daily pipeline over a range of days; go on where an earlier replay stopped."""
    from credit_assets.cli.models import print_trainings
    from credit_assets.cli.replay import Replay
    from credit_assets.instance.home import instance_of

    settings = load_settings()
    with instance_of(settings) as instance, progress_bar(quiet=json_) as show:
        report = Replay(settings, instance).run(start.date(), end.date(), train, again=again, on_progress=show)
    if json_:
        print_json(report.to_record())
    else:
        print_trainings(report, console())


@app.command()
def backfill(
    start: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="First day.")],
    end: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Last day.")],
    assets: Annotated[
        str, typer.Option(help="Assets to make, separated by commas; default: from the applications to their scores.")
    ] = "",
    again: Annotated[bool, typer.Option(help="Make days again that are already there.")] = False,
    json_: Json = False,
) -> None:
    """Make assets for a range of days, in runs of up to CREDIT_DAYS_PER_RUN days; trains nothing."""
    from credit_assets.cli.replay import BACKFILLED, Replay
    from credit_assets.instance.home import instance_of

    chosen = tuple(name.strip() for name in assets.split(",") if name.strip()) or BACKFILLED
    settings = load_settings()
    with instance_of(settings) as instance, progress_bar(quiet=json_) as show:
        made = Replay(settings, instance).backfill(start.date(), end.date(), chosen, again=again, on_progress=show)
    if json_:
        print_json(made.to_record())
    else:
        console().print(f"{', '.join(chosen)}: {made.days} days in {made.runs} runs")


@app.command()
def status(json_: Json = False) -> None:
    """What is there: partitions of each asset, the model in force, the latest runs."""
    from credit_assets.cli.models import print_status, status_record
    from credit_assets.instance.home import instance_of

    settings = load_settings()
    with instance_of(settings) as instance:
        record = status_record(settings, instance)
    print_json(record) if json_ else print_status(record, console())


@app.command()
def models(json_: Json = False) -> None:
    """Registered versions with their metrics and times in force, and the models that were rejected."""
    from credit_assets.cli.models import models_record, print_models

    record = models_record(load_settings())
    print_json(record) if json_ else print_models(record, console())


@app.command()
def promote(
    version: Annotated[str, typer.Argument(help="Version of credit-scorer.")],
    reason: Reason,
    by: By = "",
    effective: From = None,
    json_: Json = False,
) -> None:
    """Make a registered version the champion by hand."""
    _ask("promote", version, reason, by, effective, json_)


@app.command()
def approve(
    reason: Reason,
    version: Annotated[str | None, typer.Argument(help="Version of credit-scorer; default: the one on trial.")] = None,
    by: By = "",
    effective: From = None,
    json_: Json = False,
) -> None:
    """Bring the model on trial into force."""
    _ask("approve", version, reason, by, effective, json_)


@app.command()
def reject(
    reason: Reason,
    version: Annotated[str | None, typer.Argument(help="Version of credit-scorer; default: the one on trial.")] = None,
    by: By = "",
    effective: From = None,
    json_: Json = False,
) -> None:
    """End the trial of a model without bringing it into force."""
    _ask("reject", version, reason, by, effective, json_)


@app.command()
def rollback(
    reason: Reason,
    version: Annotated[str | None, typer.Argument(help="A former champion; default: the one before this.")] = None,
    by: By = "",
    effective: From = None,
    json_: Json = False,
) -> None:
    """Put a former champion back in force. No automatic promotion undoes it until a newer model passes."""
    _ask("rollback", version, reason, by, effective, json_)


def _ask(kind: Any, version: str | None, reason: str, by: str, effective: datetime | None, as_json: bool) -> None:
    from credit_assets.cli.models import ask
    from credit_assets.instance.home import instance_of

    settings = load_settings()
    with instance_of(settings) as instance:
        record = ask(
            settings,
            instance,
            kind,
            version,
            reason=reason,
            by=by or getpass.getuser(),
            effective_from=effective.date() if effective else None,
        )
    if as_json:
        print_json(record)
    elif kind == "reject":
        console().print(f"version {record['to']} is no longer on trial from {record['effective_from']} on")
    else:
        console().print(
            f"champion: version {record['to']} from {record['effective_from']} on (before: {record['from'] or 'none'})"
        )


@app.command()
def trigger(
    kind: Annotated[str, typer.Argument(help="What was seen: drift, performance, volume or other.")],
    reason: Reason,
    by: By = "",
    as_of: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="As-of date; default: the newest day ingested.")
    ] = None,
    json_: Json = False,
) -> None:
    """Ask for a retraining because of something seen outside. One retraining a day, whoever asks."""
    from credit_assets.cli.trigger import report_trigger
    from credit_assets.instance.home import instance_of

    settings = load_settings()
    with instance_of(settings) as instance:
        record = report_trigger(
            settings,
            instance,
            kind,
            reason=reason,
            by=by or getpass.getuser(),
            as_of=as_of.date() if as_of else None,
        )
    if json_:
        print_json(record)
    else:
        day = record["as_of"] or "the newest day ingested"
        console().print(f"asked for a retraining as of {day}; the sensor external_trigger starts it within a tick")


@app.command()
def simulate(
    start: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="First day; the first model comes after it.")],
    end: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Last day.")],
    ways: Annotated[str, typer.Option(help="Ways to retrain, comma separated.")] = "never,monthly,triggered",
    picture: Annotated[Path | None, typer.Option(help="Where to draw the timeline (PNG).")] = None,
    json_: Json = False,
) -> None:
    """Live through years of the book day by day with the real sensors, and compare ways to retrain.

    Works in a home of its own below CREDIT_HOME and changes no model, score or alias of yours.
    """
    from credit_assets.cli.simulate import simulate as live_through
    from credit_assets.cli.timeline import draw_lives, print_lives

    with progress_bar(quiet=json_) as show:
        names = [way.strip() for way in ways.split(",") if way.strip()]
        lives = live_through(start.date(), end.date(), names, show)
    if picture is not None:
        picture.write_bytes(draw_lives(lives))
    print_json({way: life.to_record() for way, life in lives.items()}) if json_ else print_lives(lives, console())


@app.command()
def doctor(json_: Json = False) -> None:
    """Print each setting with its source, try each connection, and say what to do about what fails."""
    from credit_assets.cli.doctor import doctor as examine

    raise typer.Exit(examine(json=json_, console=console()))


@app.command()
def dev(
    port: Annotated[int, typer.Option(help="Port of the Dagster UI.")] = 3000,
    mlflow_port: Annotated[int, typer.Option(help="Port of the MLflow UI.")] = 5000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Start the Dagster UI and daemon, and MLflow where its store is embedded, until Ctrl-C."""
    from credit_assets.cli.dev import serve

    raise typer.Exit(serve(load_settings(), host, port, mlflow_port))


if __name__ == "__main__":
    main()
