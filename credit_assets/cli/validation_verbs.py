"""The verbs of a validator: their arguments. What they do stands in the modules beside it."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from credit_assets.cli.shown import Json, output, progress_bar
from credit_assets.settings import load_settings

validation_app = typer.Typer()
"""Without a name of its own: its verbs are the command's."""


@validation_app.command()
def reproduce(
    version: Annotated[str | None, typer.Argument(help="Version of the model; default: the champion.")] = None,
    json_: Json = False,
) -> None:
    """Make a version again from what it saw and compare: training set, model, metrics, evidence, decision.

    Example: credit-assets reproduce 3. It writes nothing; the exit code is 0 where all is equal, 1 where anything
    differs, which it names: the partition, the function, the parameter, the library.
    """
    from credit_assets.cli.reproduce import print_reproduction, reproduction_record

    record = reproduction_record(load_settings(), version)
    output(record, partial(print_reproduction, record), json_)
    raise typer.Exit(0 if record["equal"] else 1)


@validation_app.command()
def audit(json_: Json = False) -> None:
    """Decide everything that was decided again from its evidence, and walk every version, move, request and day.

    Example: credit-assets audit --json. It writes nothing; the exit code is 0 where there is no gap, 1 where there is
    one, each named with asset, day and version, and what to do.
    """
    from credit_assets.cli.audit import audit_record, print_audit
    from credit_assets.instance.home import instance_of

    settings = load_settings()
    with instance_of(settings) as instance, progress_bar(quiet=json_) as progress:
        record = audit_record(settings, instance, progress)
    output(record, partial(print_audit, record), json_)
    raise typer.Exit(0 if record["clean"] else 1)
