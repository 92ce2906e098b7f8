"""`credit-assets explain`: why one application has the score that it has, by the model that decided about it.

Belongs here: finding application and model, and what is shown. Does not belong here: the explanation
(`credit_assets.ml.reports.explanation`). No message and no log has the id, which may be a person's.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from credit_assets.aside import aside
from credit_assets.assets.model_inputs import ModelInputs
from credit_assets.assets.reasons_given import Decider
from credit_assets.failures import PermanentError
from credit_assets.resources import build_resources
from credit_assets.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

    from credit_assets.ml.data.portfolio import Portfolio
    from credit_assets.storage.store import Store

STDIN = "-"


def explain_record(settings: Settings, application: str, day: date) -> dict[str, Any]:
    """The explanation of an application of a day, as `explanation` has it, with where it comes from.

    `application` is its id, or STDIN, from which one line is read then. Raises PermanentError where the day is not
    scored, or has no such application.
    """
    from credit_assets.ml.data.extensions import ExtensionError
    from credit_assets.ml.data.reasons import ReasonContract
    from credit_assets.ml.reports.explanation import explanation

    portfolio = settings.portfolio_contract
    wanted = _id(portfolio, sys.stdin.readline().strip() if application == STDIN else application)
    resources = build_resources(settings)
    store, registry = resources["store"], resources["registry"]
    scored = _row(store, portfolio, "loan_scores", day, wanted).to_pylist()[0]
    version = registry.version(scored["model_version"])
    try:
        decider = Decider.load(registry.download(version))
    except ExtensionError as error:
        raise PermanentError(f"version {version.version}: {error}") from error
    contract, own = decider.contract, True
    if contract is None and decider.scorer.explains:
        contract, own = ReasonContract.of(portfolio), False
    features = _row(store, portfolio, "processed_features", day, wanted)
    explained = explanation(decider.scorer, contract, ModelInputs(store, portfolio).beside(features, decider.scorer))
    recorded = scored.get("reasons")
    return {
        "application_id": scored[portfolio.id_column],
        "day": day.isoformat(),
        "portfolio": portfolio.description.rstrip(".") or portfolio.name,
        "version": version.version,
        "variant": version.variant,
        "arm": scored["arm"],
        "contract": "version" if own else "portfolio",
        # What is stored may have been made again since the day was scored.
        "as_recorded": explained["pd"] == scored["pd"] and (recorded is None or recorded == explained["reasons"]),
        **explained,
    }


def write_page(record: dict[str, Any], place: Path) -> None:
    """The page of the applicant, for whoever may read the file: it has an applicant's id."""
    from credit_assets.ml.reports.explanation import officer_page

    text = officer_page(record)
    draft = aside(place)
    try:
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, place)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise PermanentError(f"{place} cannot be written: {error.strerror}") from error


def print_explanation(record: dict[str, Any], console: Console) -> None:
    """The decision, the reasons as the customer reads them, and the points of all of them."""
    from credit_assets.ml.reports.explanation import DECISIONS

    points = "" if record["score"] is None else f", {record['score']:.0f} points (PD {record['pd']:.4f})"
    limit = "" if record["cut_off"] is None else f"; it declines above a PD of {record['cut_off']:.4f}"
    console.print(
        f"{DECISIONS[record['decision']]}{points}, by version {record['version']} ({record['variant']}){limit}",
        markup=False,
    )
    if record["lacks"]:
        console.print(f"Not scored without {', '.join(record['lacks'])}.", markup=False)
    if not record["as_recorded"]:
        console.print(
            "What is stored of this application is not what was scored on that day; the scores of the day have the "
            "decision that was recorded.",
            markup=False,
        )
    if record["reasons"] is None:
        if record["decision"] != "refused":
            console.print("The learner of this version does not say what each feature adds: no reasons.", markup=False)
        return
    if record["contract"] == "portfolio":
        console.print("The version was registered without reasons: in the words of the portfolio as it is today.")
    if not record["reasons"]:
        console.print("Nothing that may be given as a reason speaks against the applicant.", markup=False)
    for place, (code, text) in enumerate(zip(record["reasons"], record["texts"], strict=True), start=1):
        console.print(f"{place}. {text} ({code})", markup=False)
    table = Table("", "points")
    table.add_row("reference: the mean over the training rows", f"{record['reference_points']:.1f}")
    for one in record["effects"]:
        table.add_row(one["code"], f"{one['points']:+.1f}")
    if record["rest"]:
        table.add_row(f"no reason: {', '.join(record['rest'])}", f"{record['rest_points']:+.1f}")
    table.add_row("score", f"{record['score']:.1f}")
    console.print(table)


def _id(portfolio: Portfolio, text: str) -> int | str:
    if not text:
        raise PermanentError(f"no {portfolio.id_column} is given: name one, or write it to standard input for {STDIN}")
    if portfolio.column(portfolio.id_column).type != "integer":
        return text
    try:
        return int(text)
    except ValueError:
        # Without the text: it may be a person's id.
        raise PermanentError(f"what is given is no {portfolio.id_column}, which is a whole number") from None


def _row(store: Store, portfolio: Portfolio, asset: str, day: date, wanted: int | str) -> pa.Table:
    """The application in the partition of the day."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = store.read_partitions(asset, [day.isoformat()])
    key = table[portfolio.id_column]
    try:
        rows = table.filter(pc.equal(key, pa.scalar(wanted, key.type)))
    except (pa.ArrowException, OverflowError):
        rows = table.slice(0, 0)
    if rows.num_rows:
        return rows.slice(0, 1)
    if asset == "loan_scores" and not table.num_rows:
        raise PermanentError(f"nobody was scored on {day}: no champion was in force, or nobody applied")
    raise PermanentError(
        f"{asset} {day} has no application with this {portfolio.id_column}: see that date and id are the application's "
        "own; an application that broke the contract stands in quarantine, unscored"
    )
