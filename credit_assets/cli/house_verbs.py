"""Verbs about the house as a whole: their arguments. What they do stands in the modules of their names.

Belongs here: how things stand, what is wrong, and what other programs need to find the house. Does not belong here:
loans, models and days.
"""

from __future__ import annotations

import os
import shlex
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from credit_assets.cli.shown import FILE, MOST_DAYS, Json, console, output, progress_bar
from credit_assets.masking import masked_url
from credit_assets.settings import load_settings, variable

house_app = typer.Typer()
"""Without a name of its own: its verbs are the command's."""


def print_version(wanted: bool) -> None:
    """The version of the package, and the end of the command, where it is asked for."""
    if wanted:
        from importlib.metadata import version

        typer.echo(f"credit-assets {version('credit-assets')}")
        raise typer.Exit


@house_app.command()
def status(
    all_: Annotated[
        bool, typer.Option("--all", help="Every text at its full length, and each asset's partitions.")
    ] = False,
    json_: Json = False,
) -> None:
    """How things stand, on one screen: alarms, models, gates, drift, performance, partitions, next tick, runs.

    Example: credit-assets status
    """
    from credit_assets.cli.completed import complete_what_can_be
    from credit_assets.cli.state import status_record
    from credit_assets.cli.status import print_status
    from credit_assets.instance.embedded_reads import readable_instance

    settings = load_settings()
    with readable_instance(settings) as instance:
        complete_what_can_be(settings)
        record = status_record(settings, instance)
    output(record, partial(print_status, record, whole=all_), json_)


@house_app.command()
def models(json_: Json = False) -> None:
    """Registered versions with their metrics and times in force, and the models that were rejected.

    Example: credit-assets models --json
    """
    from credit_assets.cli.completed import complete_what_can_be
    from credit_assets.cli.models import models_record, print_models

    settings = load_settings()
    complete_what_can_be(settings)
    record = models_record(settings)
    output(record, partial(print_models, record), json_)


@house_app.command()
def doctor(
    all_: Annotated[bool, typer.Option("--all", help="Also the settings that are at their defaults.")] = False,
    cluster: Annotated[
        bool,
        typer.Option("--cluster", help="Instead: what the cluster of the kubeconfig would refuse; makes nothing."),
    ] = False,
    namespace: Annotated[str, typer.Option(help="With --cluster: where to install; default: the context's.")] = "",
    image: Annotated[str, typer.Option(help="With --cluster: the image that policies are asked about.")] = "",
    secret: Annotated[
        list[str] | None, typer.Option(help="With --cluster: NEED=NAME of a Secret of another name; repeatable.")
    ] = None,
    json_: Json = False,
) -> None:
    """Say what is wrong and what to do about it; try each connection, and print each setting with its source.

    Example: credit-assets doctor --all, or before an install: credit-assets doctor --cluster --namespace lending
    """
    from credit_assets.cli.doctor import doctor as examine

    if cluster:
        from credit_assets.cli.cluster_doctor import examine as examine_cluster
        from credit_assets.cli.cluster_doctor import target_of

        target = target_of(namespace, image, secret or [])
        raise typer.Exit(examine_cluster(load_settings(), target, console(), json=json_))
    raise typer.Exit(examine(json=json_, console=console(), whole=all_))


@house_app.command()
def clean(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    older: Annotated[
        float,
        typer.Option(
            "--older",
            min=1,
            max=87_600,
            help="Hours after which a file is left over whose process cannot be looked at: another machine's.",
        ),
    ] = 24,
    retention: Annotated[
        bool,
        typer.Option(
            "--retention", help="Also take out what CREDIT_KEEP_EVENTS_DAYS and its like say is kept no longer."
        ),
    ] = False,
    json_: Json = False,
) -> None:
    """Remove what commands and runs have left that were killed: files that never became whole, and runs without an end.

    Example: credit-assets clean --retention --dry-run. Nothing is removed that a living process still writes, and no
    day, record, run or model; with --retention events, output and candidates that are old, by the settings. Every
    command that makes runs does the former as it goes, and the sensor housekeeping both.
    """
    from credit_assets.cli.left_over import clean as clear
    from credit_assets.cli.left_over import print_cleaned

    cleaned = clear(load_settings(), dry_run=dry_run, older_hours=older, retention=retention)
    output(cleaned.to_record(), partial(print_cleaned, cleaned), json_)


@house_app.command()
def dev(
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the Dagster UI; default CREDIT_DEV_PORT.")
    ] = None,
    mlflow_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the MLflow UI; default CREDIT_DEV_MLFLOW_PORT.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show what they print, too; it goes to files anyway.")
    ] = False,
) -> None:
    """Start the Dagster UI and daemon, and MLflow where its store is embedded, until Ctrl-C; says when they are ready.

    Example: credit-assets dev --port 3001
    """
    from credit_assets.cli.dev import serve

    raise typer.Exit(serve(load_settings(), host, port, mlflow_port, verbose=verbose))


@house_app.command()
def metrics(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: one that is free.")] = 9464,
    host: Annotated[str, typer.Option(help="Address to listen on; all of this machine: 0.0.0.0.")] = "127.0.0.1",
) -> None:
    """Answer Prometheus, until Ctrl-C: runs, queue, partitions behind, checks, scores, drift, AUC, champion, trial.

    Example: credit-assets metrics --port 9464, and then http://127.0.0.1:9464/metrics. It changes nothing and needs no
    password of the warehouse. A place that cannot be read is `credit_assets_up 0`.
    """
    from credit_assets.cli.doctor import secrets_of
    from credit_assets.cli.exporter.server import serve

    settings = load_settings()
    serve(settings, host, port, secrets_of(settings).hide, lambda url: typer.echo(f"figures at {url}"))


@house_app.command()
def env(json_: Json = False) -> None:
    """Print what other programs need in their environment: after it `dagster`, `dg` and `mlflow` find the same house.

    Example: eval "$(credit-assets env)"; dagster asset list -m credit_assets.definitions
    """
    from credit_assets.instance.home import ensure_instance

    settings = load_settings()
    found = {"CREDIT_HOME": str(settings.home_dir), "DAGSTER_HOME": str(ensure_instance(settings))}
    # A password is in the environment already, or is not for a terminal.
    if masked_url(settings.tracking_uri) == settings.tracking_uri:
        found["MLFLOW_TRACKING_URI"] = settings.tracking_uri
    if portfolio := os.environ.get(variable("portfolio")):
        found[variable("portfolio")] = portfolio
    lines = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in found.items())
    output(found, lambda out: print(lines, end="", file=out.file), json_)


@house_app.command()
def report(
    out: Annotated[Path, typer.Option(help="Folder to write it to; its index.html is the first page.", **FILE)] = Path(
        "report"
    ),
    days: Annotated[int, typer.Option(min=1, max=MOST_DAYS, help="Newest days of monitoring to show.")] = 180,
    json_: Json = False,
) -> None:
    """Write the portfolio's report as a site of files: how things stand, models, monitoring, decisions, dossiers.

    Example: credit-assets report --out report --days 365. Each page is one file that asks for nothing, in light and
    dark, and prints; no page has a row of an applicant.
    """
    from credit_assets.cli.report import print_report, write_report
    from credit_assets.instance.embedded_reads import readable_instance

    settings = load_settings()
    with readable_instance(settings) as instance, progress_bar(quiet=json_) as progress:
        record = write_report(settings, instance, out, days, progress)
    output(record, partial(print_report, record), json_)
