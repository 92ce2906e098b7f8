"""`credit-assets sensitivity`: a version's figures on booked loans, and on everyone under stated assumptions.

Belongs here: which applications, from what is stored as of the version's day, and the tables for people. Does not
belong here: the assumptions and measures (`credit_assets.ml.evidence.reject_inference`). Nothing here is read by
training, a gate or a decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from rich.console import Console
from rich.table import Table

from credit_assets.assets.model_inputs import ModelInputs
from credit_assets.assets.stored_days import StoredDays
from credit_assets.failures import PermanentError, error_text
from credit_assets.ml.data.population import BOOKED, DECLINED, STATED, WITHDRAWN
from credit_assets.resources import build_resources
from credit_assets.settings import Settings


def sensitivity_record(
    settings: Settings, version: str | None, factors: Sequence[float], bands: int | None
) -> dict[str, Any]:
    """The figures of a version (the champion where none is named) on the applications of its out-of-time test.

    Raises PermanentError where the portfolio does not say who was declined, there is no such version, days are not
    there, or nothing can be measured.
    """
    from credit_assets.ml.data.cohorts import Cohort, CohortWindow
    from credit_assets.ml.evidence.reject_inference import BANDS, FACTORS, sensitivity
    from credit_assets.ml.learners.scorer import CreditScorer
    from credit_assets.ml.reports.daily import days_between, known_in

    portfolio = settings.portfolio_contract
    if portfolio.population is None:
        raise PermanentError(
            f"portfolio {portfolio.name} does not say who was lent to, so nobody is known to be declined: write "
            f"`{STATED}`"
        )
    if portfolio.decisions is None:
        raise PermanentError(
            f"portfolio {portfolio.name} says that everyone in {portfolio.applications_table} was lent to (population: "
            "all): nobody was declined, and nothing has to be assumed of anybody"
        )
    resources = build_resources(settings)
    registry, tables = resources["registry"], StoredDays(resources["store"])
    found = registry.named(version)
    first, window_days = date.fromisoformat(found.tags["test_from"]), settings.window_days
    last = found.as_of - timedelta(window_days)
    # Where windows start at the booking, applications of the days before may have been booked within those of the test.
    read = days_between(max(first - timedelta(portfolio.booking_days), tables.first_day(settings.start_date)), last)
    known = known_in(tables, days_between(read[0], found.as_of), portfolio)
    window = CohortWindow(found.as_of, window_days, (last - first).days + 1)
    cohort = Cohort(tables.table("processed_features", read), known, window, portfolio)
    decisions = cohort.loans.decisions
    assert decisions is not None
    decided = decisions.as_of(found.as_of).classes(cohort.loans.ids)
    target = cohort.on_the_day.targets
    kept = ((decided == BOOKED) & (target == target)) | (decided == DECLINED) | (decided == WITHDRAWN)
    scorer = CreditScorer.load(registry.download(found))
    rows = ModelInputs(resources["store"], portfolio).beside(cohort.table, scorer)
    pds = scorer.pd(rows, threads=settings.training_threads)
    # Those that the model refuses for a value that is missing it has no say about.
    kept &= pds == pds
    if not kept.any():
        raise PermanentError(f"no application of {first} .. {last} was decided about by {found.as_of} and scored")
    try:
        result = sensitivity(
            pds[kept], target[kept], decided[kept], factors=factors or FACTORS, bands=BANDS if bands is None else bands
        )
    except ValueError as error:
        raise PermanentError(
            f"version {found.version}, applications of {first} .. {last}: {error_text(error)}"
        ) from error
    return {
        "version": found.version,
        "as_of": found.as_of.isoformat(),
        "from": first.isoformat(),
        "to": last.isoformat(),
        "window_days": window_days,
        "applications": len(kept),
        "left_out": int((~kept).sum()),
        # The test itself is of customers whom the model had not met; whoever applies in use may be one whom it has.
        "known_customers_among_them": portfolio.customer_column is not None,
        **result.to_record(),
    }


def print_sensitivity(record: dict[str, Any], console: Console) -> None:
    """What is assumed, then the tables."""
    booked, assumed = record["booked"], record["assumed"]
    for line in (
        f"Version {record['version']}, as of {record['as_of']}, on the {record['applications']:,} applications of its "
        f"out-of-time test, {record['from']} .. {record['to']}: {booked['rows']:,} booked with an outcome, "
        f"{record['declined']:,} declined, {record['withdrawn']:,} withdrawn, {record['left_out']:,} left out "
        "(undecided, or neither good nor bad)."
        + (
            " Customers who stand in its training rows too are among them; its own test leaves them out."
            if record["known_customers_among_them"]
            else ""
        ),
        "ASSUMED, NOT MEASURED: outcomes of loans that were never made. Parcelling: the declined are k times as bad as "
        f"the booked of the same band of PD ({record['bands']} bands). Fuzzy: the odds of each declined are k times "
        "those of its PD. The withdrawn are as bad as the booked (k = 1). Nothing of this is used in training or in a "
        "decision.",
        f"{record['beyond']:.0%} of the declined have a PD above that of 99 in 100 booked: of them the booked say next "
        "to nothing. Intervals of 95% hold chance, and not whether an assumption is true.",
    ):
        console.print(line, markup=False)
    table = Table("on", "bad rate of declined", "AUC", "observed / expected", "ECE (by chance)", "intercept", "slope")
    table.add_row("booked, measured", "-", *_measures(booked))
    for one in assumed:
        table.add_row(_name(one), f"{one['declined_bad_rate']:.1%}", *_measures(one["measures"]))
    console.print(table)
    rates = Table("approved", "booked, measured", *(_name(one) for one in assumed), title="bad rate of the approved")
    for n, approval in enumerate(booked["approvals"]):
        columns = [booked, *(one["measures"] for one in assumed)]
        rates.add_row(f"{approval['share']:.0%}", *(_rate(column["approvals"][n]["bad_rate"]) for column in columns))
    console.print(rates)


def _name(one: dict[str, Any]) -> str:
    return f"{one['method']}, k = {one['factor']:g}"


def _measures(of: dict[str, Any]) -> tuple[str, ...]:
    def shown(name: str, digits: int) -> str:
        one = of[name]
        return f"{one['value']:.{digits}f} ({one['low']:.{digits}f} .. {one['high']:.{digits}f})"

    ece = f"{of['ece']:.4f} ({of['ece_by_chance']:.4f})"
    return shown("auc", 3), shown("observed_over_expected", 2), ece, shown("intercept", 2), shown("slope", 2)


def _rate(one: dict[str, float]) -> str:
    return f"{one['value']:.1%} ({one['low']:.1%} .. {one['high']:.1%})"
