"""`credit-assets policy`: its arguments. What the commands do stands in `policy`."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from credit_assets.cli.shown import FILE, Json, output, working
from credit_assets.settings import load_settings

policy_app = typer.Typer(no_args_is_help=True, help="What decides about models: the policy in force, and another one.")


@policy_app.command()
def show(json_: Json = False) -> None:
    """The policy in force: every key with its value, unit, meaning and source, and the rules that it rules.

    Example: credit-assets policy show --json
    """
    from credit_assets.cli.policy import policy_record, print_policy

    record = policy_record(load_settings())
    output(record, partial(print_policy, record), json_)


@policy_app.command()
def simulate(
    policy: Annotated[Path, typer.Option(help="A policy file, or a portfolio file with the key `policy`.", **FILE)],
    first: Annotated[datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First as-of date.")] = None,
    last: Annotated[datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last as-of date.")] = None,
    json_: Json = False,
) -> None:
    """Judge the recorded evidence of all past decisions under another policy: what would be decided, and by which rule.

    Example: credit-assets policy simulate --policy stricter.yaml --from 2024-01-01. It changes nothing.
    """
    from credit_assets.cli.policy import print_simulation, simulation_record

    days = (first.date() if first else None, last.date() if last else None)
    with working("judging the recorded decisions", quiet=json_):
        record = simulation_record(load_settings(), policy, *days)
    output(record, partial(print_simulation, record), json_)
