"""Verbs that read what was registered: their arguments. What the commands do stands in the modules of their names.

Belongs here: verbs about one version, and the audit of all; none writes a record. Does not belong here: moves of
aliases (`main`, `moves`).
"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from credit_assets.cli.shown import FILE, Json, output, progress_bar
from credit_assets.cli.who import who
from credit_assets.failures import PermanentError
from credit_assets.settings import load_settings

version_app = typer.Typer()
"""Without a name of its own: its verbs are the command's."""


@version_app.command()
def sensitivity(
    version: Annotated[str | None, typer.Argument(help="Version of the model; default: the champion.")] = None,
    factor: Annotated[
        list[float] | None,
        typer.Option(help="How many times as bad as the booked the declined are; repeatable; default 1, 2, 3 and 4."),
    ] = None,
    bands: Annotated[int | None, typer.Option(min=1, max=1000, help="Bands of PD for parcelling; default 10.")] = None,
    json_: Json = False,
) -> None:
    """A version's figures on booked loans, and what they would be on everyone under stated assumptions.

    Example: credit-assets sensitivity 3 --factor 2 --factor 4. Nothing of it is used in training or in a decision.
    """
    from credit_assets.cli.sensitivity import print_sensitivity, sensitivity_record

    record = sensitivity_record(load_settings(), version, factor or (), bands)
    output(record, partial(print_sensitivity, record), json_)


@version_app.command()
def dossier(
    version: Annotated[str | None, typer.Argument(help="Version of the model; default: the champion.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the two files.", metavar="FOLDER")] = Path(),
    json_: Json = False,
) -> None:
    """Write the validation document of a version: a page to read and print, and the same as JSON.

    Example: credit-assets dossier 3 --out validation
    """
    from credit_assets.cli.dossier import print_dossier, write_dossier

    record = write_dossier(load_settings(), version, out)
    output(record, partial(print_dossier, record), json_)


@version_app.command()
def explain(
    application: Annotated[str, typer.Argument(help="Id of the application; - reads it from standard input.")],
    day: Annotated[datetime, typer.Option("--date", formats=["%Y-%m-%d"], help="Day of the application.")],
    html: Annotated[
        Path | None, typer.Option(help="Also write the page for the credit officer to this file.", **FILE)
    ] = None,
    json_: Json = False,
) -> None:
    """Why an application has its score: the decision and its reasons, by the version that decided.

    Example: credit-assets explain A-1024 --date 2024-05-01 --html decision.html
    """
    from credit_assets.cli.explain import explain_record, print_explanation, write_page

    record = explain_record(load_settings(), application, day.date())
    if html is not None:
        write_page(record, html)
    output(record, partial(print_explanation, record), json_)


@version_app.command()
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


@version_app.command()
def audit(
    verify: Annotated[
        bool, typer.Option("--verify", help="Also read the rows of every partition and hold them against their hash.")
    ] = False,
    accept: Annotated[
        bool,
        typer.Option("--accept", help="Go on in spite of what is broken in the ledger now; recorded with who and why."),
    ] = False,
    reason: Annotated[str, typer.Option(help="Why it is accepted.")] = "",
    by: Annotated[str, typer.Option(help="Who accepts it; default: CREDIT_OPERATOR, else the login name.")] = "",
    json_: Json = False,
) -> None:
    """Decide everything that was decided again from its evidence, and walk every version, move, request and day.

    Example: credit-assets audit --verify. Without --accept it writes nothing; the exit code is 0 where there is no
    gap, 1 where there is one, each named with asset, day and version, and what to do.
    """
    from credit_assets.cli import audit as audits
    from credit_assets.instance.home import instance_of

    settings = load_settings()
    with instance_of(settings) as instance, progress_bar(quiet=json_) as progress:
        if accept:
            record = audits.accept(settings, instance, reason, by=who(settings, by))
            output(record, partial(audits.print_accepted, record), json_)
            return
        record = audits.audit_record(settings, instance, progress, verify=verify)
    output(record, partial(audits.print_audit, record), json_)
    raise typer.Exit(0 if record["clean"] else 1)


@version_app.command()
def sign(
    request: Annotated[int, typer.Argument(min=1, help="Number of the request that waits.")],
    signature: Annotated[
        Path | None, typer.Option(help="File with its signature; without one, the text to sign is printed.", **FILE)
    ] = None,
    json_: Json = False,
) -> None:
    """Sign a promotion that another asked for, where CREDIT_APPROVERS wants it; first without a signature, then with.

    Example: credit-assets sign 7 > request.txt; ssh-keygen -Y sign -n credit-assets-request -f KEY request.txt; then
    credit-assets sign 7 --signature request.txt.sig
    """
    from credit_assets.cli.moves import sign_request, text_to_sign
    from credit_assets.instance.home import instance_of
    from credit_assets.ml.data.documents import text_of

    settings = load_settings()
    if signature is None:
        text = text_to_sign(settings, request)
        output({"request": request, "text": text}, lambda out: print(text, end="", file=out.file), json_)
        return
    try:
        signed = text_of(signature, f"--signature {signature}")
    except ValueError as error:
        raise PermanentError(str(error)) from error
    with instance_of(settings) as instance:
        record = sign_request(settings, instance, request, signed)
    output(
        record,
        lambda out: out.print(f"version {record['to']}: {record['move']} signed by {record['signed_by']}"),
        json_,
    )


@version_app.command()
def withdraw(
    request: Annotated[int, typer.Argument(min=1, help="Number of the request that waits for a signature.")],
    reason: Annotated[str, typer.Option(help="Why; recorded as what came of the request.")],
    by: Annotated[str, typer.Option(help="Who withdraws it; default: CREDIT_OPERATOR, else the login name.")] = "",
    json_: Json = False,
) -> None:
    """Give up a request that waits for a signature, and that nobody is to sign any more.

    Example: credit-assets withdraw 7 --reason "asked for the wrong version"
    """
    from credit_assets.cli.moves import withdraw_request

    settings = load_settings()
    record = withdraw_request(settings, request, by=who(settings, by), reason=reason)
    output(record, lambda out: out.print(f"request {request}: {record['outcome']}", markup=False), json_)
