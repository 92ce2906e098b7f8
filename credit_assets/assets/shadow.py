"""What a trial shows: the model on trial beside the champion, every day, until the trial is decided and beyond."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from credit_assets.assets.conventions import asset_options, days_of, dependencies, note_days, retry_transient_only
from credit_assets.checks import table_of_text
from credit_assets.ledger.deployment import ACTOR, SHADOW
from credit_assets.ledger.registry import Registry, Version
from credit_assets.ledger.requests import Requests
from credit_assets.ml.rules.periods import Period, champion_history, period_on
from credit_assets.settings import Settings
from credit_assets.storage.io_managers import ByDay
from credit_assets.storage.store import Store

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from pandas import DataFrame

    from credit_assets.ledger.requests import Kind
    from credit_assets.ml.evidence.shadow import TrialPolicy

LONGEST = 366
"""Days of a trial that a report looks at, the newest: a trial that nobody ends must not cost more every day."""
_REQUEST: dict[str, Kind] = {"promote": "promote", "end": "reject"}


@dataclass(frozen=True)
class Trial:
    """Two models beside each other, and the application dates `first` .. `last` that are looked at.

    `since` is the first day of the trial; `first` is later where the champion has changed since, or a year has passed.
    """

    champion: str
    shadow: str
    since: date
    first: date
    last: date


def assets(settings: Settings, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    @dg.asset(
        deps=dependencies("shadow_report", settings),
        description="The model on trial beside the champion, on the applications that both scored since the trial "
        f"began (its newest {LONGEST} days): correlation, PSI, who would be approved by one and not by the other, "
        "performance once matured, the two arms, and the decision. After a trial, its cohort as it matures.",
        **asset_options("shadow_report", settings, partitions, "json"),
    )
    @retry_transient_only
    def shadow_report(
        context: dg.AssetExecutionContext,
        store: dg.ResourceParam[Store],
        registry: dg.ResourceParam[Registry],
        requests: dg.ResourceParam[Requests],
    ) -> dg.MaterializeResult[Any]:
        from credit_assets.ml.data.fingerprints import fingerprint

        days = days_of(context)
        records = shadow_records(settings, days, store, registry)
        request_decisions(records, requests)
        metadata = {day: summary(record) for day, record in records.items()}
        last = days[-1].isoformat()
        metadata[last] |= report_tables(records[last])
        note_days(context, metadata)
        return dg.MaterializeResult(value=ByDay(records), data_version=dg.DataVersion(fingerprint(**records)))

    return [shadow_report]


def shadow_records(
    settings: Settings, days: Sequence[date], store: Store, registry: Registry
) -> dict[str, dict[str, Any]]:
    """The report of each of `days`, by ISO day. Every partition is read once, whatever needs it.

    Raises PermanentError naming partitions that are not there.
    """
    from credit_assets.ml.evidence.shadow import compare_arms, compare_scores, decide_trial, side_by_side

    key, applied = settings.portfolio_contract.id_column, settings.portfolio_contract.date_column
    policy, versions = trial_policy(settings), registry.versions()
    periods = [Period(p.version, max(p.first, settings.start_date), p.last) for p in registry.history(SHADOW)]
    running = {day: trial_on(day, versions, periods) for day in days}
    former = {day: followed_up(day, settings, versions, periods) for day in days}
    looked_at = [(trial, day) for trials in (running, former) for day, trial in trials.items() if trial]
    scores = _scored(settings, looked_at, store)

    def described(trial: Trial, day: date) -> dict[str, Any]:
        dates = scores[applied].to_numpy().astype("datetime64[D]")
        inside = (dates >= _day(trial.first)) & (dates <= _day(trial.last))
        frame = side_by_side(scores[inside], trial.champion, trial.shadow)
        # An id that comes again is one loan, whose outcome would count twice: as in a training set, the first stays.
        frame = frame.drop_duplicates(key)
        mature = frame[applied].to_numpy().astype("datetime64[D]") <= _day(day - timedelta(settings.window_days))
        frame["default"] = frame["default"].where(mature)
        return {
            "champion": trial.champion,
            "shadow": trial.shadow,
            "since": trial.since.isoformat(),
            "from": trial.first.isoformat(),
            "to": trial.last.isoformat(),
            "days": (trial.last - trial.first).days + 1,
            **compare_scores(frame, settings.approval_rate),
            "arms": compare_arms(frame, settings.performance_min_bads),
        }

    # A day without a trial has the same keys.
    nothing: dict[str, Any] = dict.fromkeys(("shadow", "since", "from", "to", "correlation", "psi", "swap", "mean_pd"))
    nothing |= {"days": 0, "rows": 0, "approval_rate": settings.approval_rate}
    nothing |= {"matured": None, "calibration": None, "arms": None, "decision": "none", "reasons": []}
    records = {}
    for day, trial in running.items():
        champion = registry.champion_at(day, versions)
        record: dict[str, Any] = {"day": day.isoformat(), "champion": champion.version if champion else None, **nothing}
        if trial:
            record |= described(trial, day)
            record["decision"], reasons = decide_trial(policy, record)
            record["reasons"] = [reason.to_record() for reason in reasons]
        before = former[day]
        record["followed_up"] = described(before, day) if before else None
        records[day.isoformat()] = record
    return records


def request_decisions(records: Mapping[str, Mapping[str, Any]], requests: Requests) -> None:
    """Ask the deployment for what a trial came to: once a trial, however often and over however many days it is told.

    A trial that is decided in the middle of a range goes on in its later days: the alias has not moved yet.
    """
    from credit_assets.ml.rules.decisions import Decision, Reason

    asked = set()
    for day, record in records.items():
        identity = f"trial:{record['shadow']}:{record['since']}"
        if record["decision"] in _REQUEST and identity not in asked:
            asked.add(identity)
            requests.add(
                _REQUEST[record["decision"]],
                record["shadow"],
                by=ACTOR,
                reason=Decision.of([Reason.from_record(reason) for reason in record["reasons"]]).summary(),
                effective_from=date.fromisoformat(day) + timedelta(1),
                identity=identity,
            )


def trial_policy(settings: Settings) -> TrialPolicy:
    from credit_assets.ml.evidence.shadow import TrialPolicy

    return TrialPolicy(
        promotion=settings.promotion,
        days=settings.shadow_days,
        min_loans=settings.shadow_min_loans,
        min_correlation=settings.shadow_min_correlation,
        max_psi=settings.shadow_max_psi,
        min_bads=settings.performance_min_bads,
    )


def trial_on(day: date, versions: Sequence[Version], periods: Sequence[Period]) -> Trial | None:
    """The trial that runs on a day, up to and with it; None without a champion and another model beside it."""
    period, champion = period_on(day, periods), period_on(day, champion_history(versions))
    if period is None or champion is None or champion.version == period.version:
        return None
    first = max(period.first, champion.first, day - timedelta(LONGEST - 1))
    return Trial(champion.version, period.version, period.first, first, day)


def followed_up(day: date, settings: Settings, versions: Sequence[Version], periods: Sequence[Period]) -> Trial | None:
    """The newest former trial with applications that have matured by `day`, up to the last of these.

    Outcomes come a performance window after the application, when most trials are long over. None where that trial
    still runs, since its own report has its matured applications, and when all of it matured longer ago than what a
    performance report looks back on.
    """
    mature = day - timedelta(settings.window_days)
    period = next((p for p in reversed(periods) if p.first <= mature), None)
    if period is None or period.last is None or period.covers(day):
        return None
    if period.last <= mature - timedelta(settings.performance_cohort_days):
        return None
    return trial_on(min(mature, period.last), versions, periods)


def _scored(settings: Settings, looked_at: Sequence[tuple[Trial, date]], store: Store) -> DataFrame:
    """Scores of all trials, each day read once, with `default` of the applications that have matured on the last of the
    days on which the trial is looked at: an application's target is the same from the day its window closed.
    """
    import numpy as np

    from credit_assets.ml.data.cohorts import CohortWindow, targets
    from credit_assets.ml.data.schemas import outcomes_schema, scores_schema

    portfolio, window = settings.portfolio_contract, timedelta(settings.window_days)

    def read(asset: str, schema: pa.Schema, spans: Iterable[tuple[date, date]]) -> DataFrame:
        days = {first + timedelta(n) for first, last in spans for n in range((last - first).days + 1)}
        keys = [day.isoformat() for day in sorted(days)]
        table = store.read_partitions(asset, keys) if keys else schema.empty_table()
        return table.to_pandas(date_as_object=False)

    frame = read("loan_scores", scores_schema(portfolio), [(trial.first, trial.last) for trial, _ in looked_at])
    # No default counts that became known more than a window after the last application.
    known = [(trial.first, min(day, trial.last + window)) for trial, day in looked_at if trial.first + window <= day]
    frame["default"] = np.nan
    if not known:
        return frame
    outcomes = read("loan_outcomes", outcomes_schema(portfolio), known)
    as_of, first = max(last for _, last in known), min(trial.first for trial, _ in looked_at)
    mature = frame[portfolio.date_column].to_numpy().astype("datetime64[D]") <= _day(as_of - window)
    cohorts = CohortWindow(as_of, settings.window_days, (as_of - window - first).days + 1)
    frame.loc[mature, "default"] = targets(frame[mature], outcomes, cohorts, portfolio)
    return frame


def _day(day: date) -> np.datetime64:
    import numpy as np

    return np.datetime64(day, "D")


# For people


def summary(record: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of one day: few keys, since a range has many days."""
    if record["shadow"] is None:
        return {"decision": "none", "champion": record["champion"] or "none in force"}
    from credit_assets.ml.rules.decisions import Decision, Reason

    return {
        "decision": record["decision"],
        "champion": record["champion"],
        "shadow": record["shadow"],
        "why": Decision.of([Reason.from_record(reason) for reason in record["reasons"]]).summary(),
        "seen": f"{record['rows']} applications of {record['days']} days",
    }


def report_tables(record: Mapping[str, Any]) -> dict[str, Any]:
    """Tables of one day: the comparison, the reasons, and the former trial as it matures."""
    tables: dict[str, Any] = {}
    if record["shadow"] is not None:
        tables["comparison"] = dg.MetadataValue.md(comparison_table(record))
        tables["reasons"] = table_of_text(record["reasons"], ("rule", "passed", "value", "threshold", "text"))
    if record["followed_up"] is not None:
        tables["followed_up"] = dg.MetadataValue.md(comparison_table(record["followed_up"]))
    return tables


def comparison_table(record: Mapping[str, Any]) -> str:
    """Markdown: both models on the same applications, then what differs."""
    matured, calibration, swap, arms = (record[name] for name in ("matured", "calibration", "swap", "arms"))

    def number(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    rows = [("mean PD", *(number(record["mean_pd"][side], ".2%") for side in ("champion", "shadow")))]
    if matured and matured["difference"]:
        sides = [matured[side] for side in ("champion", "shadow")]
        rows += [
            (name, *(number(side[name], ".4f") for side in sides)) for name in ("auc", "gini", "ks", "brier", "ece")
        ]
    if calibration:
        ratios = [calibration[side]["observed_over_expected"] for side in ("champion", "shadow")]
        rows.append(("observed / expected", *(f"{ratio['value']:.2f}" if ratio else "" for ratio in ratios)))
    lines = [
        f"| {record['from']} .. {record['to']} | champion {record['champion']} | shadow {record['shadow']} |",
        "|---|---:|---:|",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        f"{record['rows']:,} applications; points correlate by {number(record['correlation']['spearman'], '.3f')} "
        f"(ranks), PSI {number(record['psi'], '.3f')}. With {record['approval_rate']:.0%} approved, {swap['in']:,} "
        f"would be approved by the shadow alone and as many by the champion alone ({number(swap['in_share'], '.1%')}).",
    ]
    if matured:
        difference = matured["difference"]
        lines.append(
            f"\n{matured['rows']:,} matured, {matured['bads']:,} defaults: "
            + (
                f"AUC {difference['difference']:+.4f} over the champion "
                f"({difference['ci_low']:+.4f} .. {difference['ci_high']:+.4f})."
                if difference
                else f"{matured['why']}."
            )
        )
    if arms:
        counts = ", ".join(f"{arms[arm]['applications']:,} by the {arm}" for arm in ("champion", "challenger"))
        lines.append(f"\nDecided: {counts}. {arms['why'][0].upper()}{arms['why'][1:]}.")
    return "\n".join(lines)
