"""The `credit-assets` command: arguments, progress and tables. What the commands do stands in the modules beside it."""

from __future__ import annotations

import gc
import os
import sys
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from credit_assets.cli.edge import DEBUG, PORTFOLIO, run
from credit_assets.cli.house_verbs import house_app, print_version
from credit_assets.cli.load_options import (
    BookOptions,
    FileOptions,
    ReadingOptions,
    debt_scale,
    local_file,
    table_columns,
    tables_named,
    with_file_options,
    with_options,
)
from credit_assets.cli.policy_verbs import policy_app
from credit_assets.cli.retrain_verb import retrain
from credit_assets.cli.shown import FILE, MOST_DAYS, MOST_ROWS, Json, output, progress_bar, working
from credit_assets.cli.version_verbs import version_app
from credit_assets.cli.who import who
from credit_assets.failures import PermanentError
from credit_assets.settings import load_settings, restrict_files, variable

if TYPE_CHECKING:
    from credit_assets.ledger.requests import Kind

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 done, 1 failed or differs, 2 wrong usage, 130 Ctrl-C, 143 SIGTERM, 141 its reader has gone. "
    "Completion of verbs and options by the shell: credit-assets --install-completion",
)
load_app = typer.Typer(no_args_is_help=True, help="Load loans from files into the warehouse.")
app.add_typer(load_app, name="load")
app.add_typer(policy_app, name="policy")
app.add_typer(version_app)
app.add_typer(house_app)


Reason = Annotated[str, typer.Option(help="Why; recorded with the move.")]
By = Annotated[
    str, typer.Option(help="Who decides; recorded with the move. Default: CREDIT_OPERATOR, else the user running this.")
]
Accept = Annotated[
    list[str] | None,
    typer.Option(
        help="What stands against it and is accepted, recorded with the move: first_days (the newest days differ from "
        "its test), leaks (its skill may come from a column that knows the outcome), fairness (how it treats "
        "protected groups)."
    ),
]
From = Annotated[
    datetime | None,
    typer.Option("--from", formats=["%Y-%m-%d"], help="First day the move takes effect for scores; default today."),
]


@app.callback()
def _options(
    portfolio: Annotated[
        str,
        typer.Option(
            PORTFOLIO,
            metavar="NAME|FILE",
            help="The portfolio: a file, or the name of one in CREDIT_HOME/portfolios; default: CREDIT_PORTFOLIO. Also "
            "after any verb.",
        ),
    ] = "",
    version: Annotated[  # noqa: ARG001 - its callback has printed it by then
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    debug: Annotated[  # noqa: ARG001 - `edge` has read it by then
        bool, typer.Option(DEBUG, help="Show the whole trace of a failure. Also after any verb.")
    ] = False,
) -> None:
    """Credit scoring: load loans, replay the daily pipeline, look at models, move them into and out of force."""
    if portfolio:
        # For this process and all that it starts.
        os.environ[variable("portfolio")] = portfolio


def main() -> None:
    """Run the command; a failure is one line on standard error and a non-zero exit code."""
    # What a command imports stays until it ends: looking it through for garbage took a seventh of what `status` costs.
    gc.set_threshold(20_000)
    # Before mlflow is imported anywhere: its chatter has no place between a progress bar and a table.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    restrict_files()
    sys.exit(run(app, sys.argv[1:]))


@app.command()
def demo(
    loans: Annotated[
        Path | None, typer.Option(help="A LendingClub file; default: a generated loan book.", **FILE)
    ] = None,
    json_: Json = False,
) -> None:
    """Main job: make or read a loan book, replay its history, train, register, promote, score, and say what came.

    Example: credit-assets demo
    """
    from credit_assets.cli.demo import run_demo

    with progress_bar(quiet=json_) as progress:
        report = run_demo(loans, progress)
    output(report.to_record(), report.print, json_)


@app.command()
@with_options(BookOptions)
def generate(
    rows: Annotated[
        int, typer.Option(min=1, max=MOST_ROWS, help="Number of loans; of a lender's book, of applications.")
    ],
    start: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="First application date.")],
    end: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Last application date.")],
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="The same seed gives the same bytes.")] = 20071,
    json_: Json = False,
    *,
    options: BookOptions,
) -> None:
    """Make a deterministic loan book and write it into the warehouse.

    Example: credit-assets generate --rows 60000 --start 2023-01-01 --end 2024-12-31 --book lender --truth truth.parquet
    """
    from credit_assets.cli.loans import generate_into_warehouse, generate_lender_into_warehouse, print_report

    settings, days = load_settings(), (start.date(), end.date())
    with working(f"making {rows:,} loans", quiet=json_):
        if options.is_lender():
            until = options.known_until.date() if options.known_until else days[1]
            report = generate_lender_into_warehouse(settings, rows, days, seed, until, options.truth)
        else:
            report = generate_into_warehouse(settings, rows, *days, seed)
    output(report, partial(print_report, report), json_)


@app.command()
@with_options(ReadingOptions)
def init(
    source: Annotated[str, typer.Argument(help="A file of applications, or a table of the warehouse.")],
    out: Annotated[Path, typer.Option(help="Where the portfolio file goes.", **FILE)] = Path("portfolio.yaml"),
    outcomes: Annotated[
        str, typer.Option(help="A file or table of outcomes, where they stand apart: directions are guessed from them.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    json_: Json = False,
    *,
    options: ReadingOptions,
) -> None:
    """Write a first portfolio file from a table: types, roles, ranges, directions and leakage suspects as guesses.

    Example: credit-assets init applications.csv --out portfolio.yaml
    """
    from credit_assets.cli.init import print_init, tried, write_portfolio

    with working(f"looking at {Path(source).name}", quiet=json_):
        report = write_portfolio(load_settings(), source, out, options.reading(), outcomes=outcomes, force=force)
        report["doctor"] = tried(out)
    output(report, partial(print_init, report), json_)


@load_app.command("lending-club")
@with_file_options
def load_lending_club(
    file: Annotated[
        Path,
        typer.Argument(
            help="Public LendingClub file: CSV, TSV, semicolons or pipes (also .gz, .zip, .bz2, .xz, .zst), Parquet or "
            "Arrow.",
            **FILE,
        ),
    ],
    debt: Annotated[
        str, typer.Option(help="What total_debt is: balance, debt_service, or auto, as the file allows.")
    ] = "auto",
    json_: Json = False,
    *,
    options: FileOptions,
) -> None:
    """Read a public LendingClub file into the warehouse. Rejected rows are kept aside in a file, with the reason.

    Example: credit-assets load lending-club accepted_2007_to_2018Q4.csv.gz
    """
    from credit_assets.cli.loans import load_lending_club_file, print_report

    with working(f"reading {file.name}", quiet=json_):
        report = load_lending_club_file(
            load_settings(), file, reading=options.reading(), debt=debt_scale(debt), rules=options.rules()
        )
    output(report, partial(print_report, report), json_)


@load_app.command("csv")
@with_file_options
def load_csv(
    file: Annotated[
        list[str],
        typer.Argument(
            help="CSV, TSV, semicolons or pipes (also .gz, .zip, .bz2, .xz, .zst), Parquet or Arrow. A table may "
            "stand before it instead of in --table.",
            metavar="FILE",
        ),
    ],
    table: Annotated[
        list[str] | None,
        typer.Option(
            help="Table of the portfolio: applications (the default), outcomes, decisions, or a history by its name; "
            "applications and outcomes both where a row has both."
        ),
    ] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", help="THEIRS=OURS: a column's name in the file, and in the portfolio; repeatable."),
    ] = None,
    scale: Annotated[
        list[str] | None,
        typer.Option(help="COLUMN=FACTOR: what a column's values are multiplied with; repeatable."),
    ] = None,
    json_: Json = False,
    *,
    options: FileOptions,
) -> None:
    """Read a file of the portfolio's tables into the warehouse; columns go by the portfolio's names.

    Example: credit-assets load csv loans.csv.gz --table applications --map customer=application_id
    """
    from credit_assets.cli.loans import load_table_file, print_report

    settings = load_settings()
    *before, path = file
    if len(before) > 1:
        raise PermanentError("load csv takes one file at a time")
    portfolio = settings.portfolio_contract
    tables = tables_named(portfolio, [*before, *(table or [])])
    columns = table_columns(portfolio, tables, map_, scale)
    with working(f"reading {Path(path).name}", quiet=json_):
        report = load_table_file(
            settings, tables, local_file(path), columns, reading=options.reading(), rules=options.rules()
        )
    output(report, partial(print_report, report), json_)


@app.command()
def replay(
    start: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="First day.")],
    end: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Last day.")],
    train: Annotated[
        str, typer.Option(help="As-of dates to train: every, last, none, month-end, quarter-end, or every N days.")
    ] = "last",
    again: Annotated[bool, typer.Option(help="Run days again that are already there.")] = False,
    recalibrate: Annotated[
        bool, typer.Option(help="Give the champion a new calibration as of these dates, and train no model.")
    ] = False,
    json_: Json = False,
) -> None:
    """Run the daily pipeline over a range of days; go on where an earlier replay stopped.

    Example: credit-assets replay --start 2024-01-01 --end 2025-06-30 --train month-end
    """
    from credit_assets.cli.replay import RecalibratingReplay, Replay
    from credit_assets.cli.trainings import print_trainings
    from credit_assets.instance.home import instance_of

    settings = load_settings()
    with instance_of(settings) as instance, progress_bar(quiet=json_) as progress:
        made = (RecalibratingReplay if recalibrate else Replay)(settings, instance)
        report = made.run(start.date(), end.date(), train, again=again, on_progress=progress)
    output(report.to_record(), partial(print_trainings, report), json_)
    report.raise_rejected()
    report.raise_blocked()


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
    """Make assets for a range of days, in runs of up to CREDIT_DAYS_PER_RUN days; trains nothing.

    Example: credit-assets backfill --start 2024-01-01 --end 2024-03-31 --assets drift_report --again
    """
    from credit_assets.cli.replay import Replay, backfilled
    from credit_assets.cli.trainings import print_backfill
    from credit_assets.instance.home import instance_of

    settings = load_settings()
    chosen = tuple(name.strip() for name in assets.split(",") if name.strip()) or backfilled(settings.graph)
    with instance_of(settings) as instance, progress_bar(quiet=json_) as progress:
        made = Replay(settings, instance).backfill(start.date(), end.date(), chosen, again=again, on_progress=progress)
    output(made.to_record(), partial(print_backfill, made, chosen), json_)
    made.raise_rejected()


@app.command()
def recheck(
    days: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_DAYS, help="Newest ingested days to compare; default: CREDIT_RECHECK_DAYS."),
    ] = None,
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Compare all ingested days from this one on instead.")
    ] = None,
    json_: Json = False,
) -> None:
    """Compare ingested days with the warehouse, and make again what has changed there since.

    Example: credit-assets recheck --days 30. Days on which rows arrived, went or changed are ingested again, with their
    features, scores and reports; versions that were trained on them are named.
    """
    from credit_assets.cli.recheck import print_recheck, run_recheck
    from credit_assets.instance.home import instance_of

    settings = load_settings()
    with instance_of(settings) as instance, working("comparing days with the warehouse", quiet=json_):
        record = run_recheck(settings, instance, days, since.date() if since else None)
    output(record, partial(print_recheck, record), json_)


@app.command()
def backtest(
    start: Annotated[
        datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], help="First as-of date; default: the first with a full lookback."),
    ] = None,
    end: Annotated[
        datetime | None,
        typer.Option("--to", formats=["%Y-%m-%d"], help="Last as-of date; default: the last that can be judged."),
    ] = None,
    every: Annotated[int, typer.Option(min=1, max=MOST_DAYS, help="Days from one as-of date to the next.")] = 90,
    days: Annotated[int, typer.Option(min=1, max=MOST_DAYS, help="Days of use on which each model is judged.")] = 90,
    picture: Annotated[Path | None, typer.Option(help="Where to draw it (PNG).", **FILE)] = None,
    json_: Json = False,
) -> None:
    """Models of past as-of dates, each on the applications that came after it, beside what its test promised.

    Example: credit-assets backtest --from 2009-12-31 --every 90 --picture backtest.png. Writes nothing else.
    """
    from credit_assets.cli.backtest import BacktestDays, backtest_record, draw_backtest, print_backtest

    walk = BacktestDays(start.date() if start else None, end.date() if end else None, every, days)
    with progress_bar(quiet=json_) as progress:
        record = backtest_record(load_settings(), walk, progress)
    if picture is not None:
        picture.write_bytes(draw_backtest(record))
    output(record, partial(print_backtest, record), json_)


app.command()(retrain)


def _move_verb(kind: Kind, purpose: str, which: str, default: Any = None) -> None:
    """One of the verbs by which people ask for a move of an alias; `which` says what version it takes."""

    example = f'credit-assets {kind} {"3 " if default is ... else ""}--reason "committee of 3 May"'

    @app.command(kind, help=f"{purpose}\n\nExample: {example}")
    def verb(
        reason: Reason,
        version: str | None = typer.Argument(default, help=which),
        by: By = "",
        effective: From = None,
        accept: Accept = None,
        json_: Json = False,
    ) -> None:
        from credit_assets.cli.moves import MoveRequest, print_move, request_move
        from credit_assets.instance.home import instance_of

        start = effective.date() if effective else None
        settings = load_settings()
        with instance_of(settings) as instance:
            wanted = MoveRequest(kind, version, who(settings, by), reason, start, tuple(accept or ()))
            record = request_move(settings, instance, wanted)
        output(record, partial(print_move, record), json_)


_ON_TRIAL = "A registered version; default: the one on trial."
_move_verb("promote", "Make a registered version the champion by hand.", "A registered version.", default=...)
_move_verb("approve", "Bring the model on trial into force.", _ON_TRIAL)
_move_verb("reject", "End the trial of a model without bringing it into force.", _ON_TRIAL)
_move_verb(
    "rollback",
    "Put a former champion back in force. No automatic promotion undoes it until a newer model passes.",
    "A former champion; default: the one before this.",
)


@app.command()
def trigger(
    kind: Annotated[
        str,
        typer.Argument(
            help="What was seen: drift, performance, volume or other; calibration asks for a new calibration alone; "
            "replace: the champion reads columns that have left the portfolio, and a model without them is to take its "
            "place."
        ),
    ],
    reason: Reason,
    by: By = "",
    as_of: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="As-of date; default: the newest day ingested.")
    ] = None,
    json_: Json = False,
) -> None:
    """Ask for a retraining because of something seen outside. One retraining a day, whoever asks.

    Example: credit-assets trigger other --reason "new product since May"
    """
    from credit_assets.cli.completed import complete_what_can_be
    from credit_assets.cli.trigger import report_trigger
    from credit_assets.instance.home import instance_of

    settings = load_settings()
    with instance_of(settings) as instance:
        day = as_of.date() if as_of else None
        complete_what_can_be(settings)
        record = report_trigger(settings, instance, kind, reason=reason, by=who(settings, by), as_of=day)
    shown = record["as_of"] or "the newest day ingested"
    what = "a new calibration of the champion" if record["kind"] == "calibration" else "a retraining"
    text = f"requested {what} as of {shown}; the sensor external_trigger starts it within a tick"
    if record["not_due"]:
        text = f"requested {what} as of {shown}, which is passed by: {record['not_due']}"
    output(record, lambda out: out.print(text), json_)


@app.command()
def simulate(
    start: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="First day; the first model comes after it.")],
    end: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Last day.")],
    ways: Annotated[str, typer.Option(help="Ways to retrain, comma separated.")] = "never,monthly,triggered",
    every: Annotated[
        int,
        typer.Option(
            min=1, max=MOST_DAYS, help="Days after which triggers and trials are looked at; more are lived faster."
        ),
    ] = 1,
    picture: Annotated[Path | None, typer.Option(help="Where to draw the timeline (PNG).", **FILE)] = None,
    json_: Json = False,
) -> None:
    """Live through years of the book day by day with the real sensors, and compare ways to retrain.

    Example: credit-assets simulate --start 2024-01-01 --end 2025-12-31 --picture lives.png. Works in a home of its own
    below CREDIT_HOME and changes no model, score or alias of yours.
    """
    from credit_assets.cli.simulate import simulate as live_through
    from credit_assets.cli.timeline import draw_lives, print_lives

    with progress_bar(quiet=json_) as progress:
        names = [way.strip() for way in ways.split(",") if way.strip()]
        lives = live_through(start.date(), end.date(), names, progress, every=every)
    if picture is not None:
        picture.write_bytes(draw_lives(lives))
    output({way: life.to_record() for way, life in lives.items()}, partial(print_lives, lives), json_)


if __name__ == "__main__":
    main()
