"""The daily report of a trial: the model on trial beside the champion, until the trial is decided and beyond.

Belongs here: which trial runs on a day and which applications its report looks at, the report as a record, what it asks
for once the trial is decided, and what people read of it. Does not belong here: the comparison and the decision
(`credit_assets.ml.evidence.shadow`) and where tables are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from credit_assets.ml.data.cohorts import final
from credit_assets.ml.data.customers import groups_of
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.data.schemas import ADDED_LATER, scores_schema
from credit_assets.ml.evidence.scores import side_by_side
from credit_assets.ml.evidence.shadow import compare_arms, compare_scores
from credit_assets.ml.reports.daily import DAY, DailyTables, ScoredLoans, days_between, days_of, known_in, number
from credit_assets.ml.rules.decisions import summary_of
from credit_assets.ml.rules.periods import Period, period_on
from credit_assets.ml.rules.trials import LONGEST, TrialPolicy, decide_trial

if TYPE_CHECKING:
    import pandas as pd


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


@dataclass(frozen=True)
class TrialView:
    """How trials are looked at: no application before `first_day`; targets after `window_days`; a former trial until
    all of it has matured for `cohort_days`; the swap set at `approval_rate` (0 .. 1). `recalibrates` names, for a
    version that is another with a new calibration, that other.
    """

    first_day: date
    window_days: int
    cohort_days: int
    approval_rate: float
    recalibrates: Mapping[str, str] = field(default_factory=dict)


class TrialRequest(NamedTuple):
    """What a decided trial asks of the deployment."""

    kind: Literal["promote", "reject"]
    version: str
    reason: str
    effective_from: date
    identity: str
    """The same for every report of the same trial."""


def shadow_reports(
    days: Sequence[date],
    histories: tuple[Sequence[Period], Sequence[Period]],
    tables: DailyTables,
    view: TrialView,
    portfolio: Portfolio,
    policy: TrialPolicy,
) -> dict[str, dict[str, Any]]:
    """The report of the trial of each day. Every table is read once, whatever needs it.

    Parameters
    ----------
    days
        Days, oldest first.
    histories
        Who was champion when, and who was on trial when, each oldest first.
    tables
        Reads `loan_scores`, `loan_outcomes` and, where the portfolio has them, `loan_decisions`.
    view, portfolio
        Which applications are looked at, and the names of their columns.
    policy
        By which a trial is decided.

    Returns
    -------
    dict
        By ISO day a record of JSON types: the trial (`champion`, `shadow`, `since`, `from`, `to`, `days`), the keys of
        `compare_scores`, `arms`, `decision` with `reasons`, and `followed_up`: the same of the newest former trial. A
        day without a trial has the same keys.
    """
    champions, trials = histories
    trials = [Period(p.version, max(p.first, view.first_day), p.last) for p in trials]
    running = {day: trial_on(day, champions, trials) for day in days}
    former = {day: followed_up(day, view, champions, trials) for day in days}
    looked_at = [(trial, day) for of_day in (running, former) for day, trial in of_day.items() if trial]
    scored = _scored(looked_at, tables, view, portfolio)
    nothing: dict[str, Any] = dict.fromkeys(("shadow", "since", "from", "to", "correlation", "psi", "swap", "mean_pd"))
    nothing |= {"days": 0, "rows": 0, "approval_rate": view.approval_rate}
    nothing |= {"matured": None, "calibration": None, "arms": None, "decision": "none", "reasons": []}
    records = {}
    for day, trial in running.items():
        champion = period_on(day, champions)
        record: dict[str, Any] = {"day": day.isoformat(), "champion": champion.version if champion else None, **nothing}
        if trial:
            record |= _described(trial, day, scored, view, portfolio, policy.min_bads)
            same = view.recalibrates.get(trial.shadow) == trial.champion
            record["decision"], reasons = decide_trial(policy, record | {"recalibrates": same})
            record["reasons"] = [reason.to_record() for reason in reasons]
        before = former[day]
        record["followed_up"] = _described(before, day, scored, view, portfolio, policy.min_bads) if before else None
        records[day.isoformat()] = record
    return records


def trial_on(day: date, champions: Sequence[Period], trials: Sequence[Period]) -> Trial | None:
    """The trial that runs on a day, up to and with it; None without a champion and another model beside it."""
    period, champion = period_on(day, trials), period_on(day, champions)
    if period is None or champion is None or champion.version == period.version:
        return None
    first = max(period.first, champion.first, day - timedelta(LONGEST - 1))
    return Trial(champion.version, period.version, period.first, first, day)


def followed_up(day: date, view: TrialView, champions: Sequence[Period], trials: Sequence[Period]) -> Trial | None:
    """The newest former trial with applications that have matured by `day`, up to the last of these.

    Outcomes come a performance window after the application, when most trials are long over. None where that trial
    still runs, since its own report has its matured applications, and when all of it matured longer ago than what a
    performance report looks back on.
    """
    mature = day - timedelta(view.window_days)
    period = next((p for p in reversed(trials) if p.first <= mature), None)
    if period is None or period.last is None or period.covers(day):
        return None
    if period.last <= mature - timedelta(view.cohort_days):
        return None
    return trial_on(min(mature, period.last), champions, trials)


def trial_requests(records: Mapping[str, Mapping[str, Any]]) -> list[TrialRequest]:
    """What the trials of these reports came to: one request a trial, from the first day that decided it.

    A trial that is decided in the middle of a range goes on in its later days: the alias has not moved yet.
    """
    kinds: dict[str, Literal["promote", "reject"]] = {"promote": "promote", "end": "reject"}
    requests: dict[str, TrialRequest] = {}
    for day, record in records.items():
        identity = f"trial:{record['shadow']}:{record['since']}"
        if record["decision"] in kinds and identity not in requests:
            start = date.fromisoformat(day) + DAY
            reason = summary_of(record["reasons"])
            requests[identity] = TrialRequest(kinds[record["decision"]], record["shadow"], reason, start, identity)
    return list(requests.values())


def _described(
    trial: Trial,
    day: date,
    scored: tuple[pd.DataFrame, ScoredLoans | None],
    view: TrialView,
    portfolio: Portfolio,
    min_bads: int,
) -> dict[str, Any]:
    scores, loans = scored
    dates = days_of(scores, portfolio.date_column)
    inside = (dates >= np.datetime64(trial.first)) & (dates <= np.datetime64(trial.last))
    if loans is not None:
        scores = scores.assign(default=loans.on(day).targets)
    frame = side_by_side(scores[inside], trial.champion, trial.shadow)
    # An id that comes again is one loan, whose outcome would count twice: as in a training set, the first stays.
    frame = frame.drop_duplicates(portfolio.id_column)
    groups = groups_of(frame, portfolio)
    return {
        "champion": trial.champion,
        "shadow": trial.shadow,
        "since": trial.since.isoformat(),
        "from": trial.first.isoformat(),
        "to": trial.last.isoformat(),
        "days": (trial.last - trial.first).days + 1,
        **compare_scores(frame, view.approval_rate, groups),
        "arms": compare_arms(frame, min_bads, groups),
    }


def _scored(
    looked_at: Sequence[tuple[Trial, date]], tables: DailyTables, view: TrialView, portfolio: Portfolio
) -> tuple[pd.DataFrame, ScoredLoans | None]:
    """Scores of all trials, each day read once, and what became of them; None where nothing has matured."""
    window = timedelta(view.window_days)
    days = sorted({day for trial, _ in looked_at for day in days_between(trial.first, trial.last)})
    # Why somebody was declined is no part of a comparison.
    columns = [name for name in scores_schema(portfolio).names if name not in ADDED_LATER["loan_scores"]]
    table = tables.table("loan_scores", days, columns) if days else scores_schema(portfolio).empty_table()
    scores: pd.DataFrame = table.to_pandas(date_as_object=False)
    scores["default"] = np.nan
    matured = [(trial, day) for trial, day in looked_at if trial.first + window <= day]
    if not matured:
        return scores, None
    # Where decisions and outcomes do not change any more, none counts that became known more than a window later.
    spans = [(trial.first, min(day, trial.last + window) if final(portfolio) else day) for trial, day in matured]
    known = known_in(tables, sorted({day for span in spans for day in days_between(*span)}), portfolio)
    return scores, ScoredLoans(scores, known, max(day for _, day in matured), view.window_days, portfolio)


# For people


def summary(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a person reads of one day: few keys, since a range has many days."""
    if record["shadow"] is None:
        return {"decision": "none", "champion": record["champion"] or "none in force", "applications": record["rows"]}
    return {
        "decision": record["decision"],
        "champion": record["champion"],
        "shadow": record["shadow"],
        "why": summary_of(record["reasons"]),
        "applications": record["rows"],
        "days": record["days"],
        "mean_pd_champion": record["mean_pd"]["champion"],
        "mean_pd_shadow": record["mean_pd"]["shadow"],
        "rank_correlation": (record["correlation"] or {}).get("spearman"),
        "psi": record["psi"],
        "swapped_share": (record["swap"] or {}).get("in_share"),
        **_matured_numbers(record["matured"] or {}),
    }


def _matured_numbers(matured: Mapping[str, Any]) -> dict[str, Any]:
    difference = matured.get("difference") or {}
    sides = {side: (matured.get(side) or {}).get("auc") for side in ("champion", "shadow")} if difference else {}
    return {
        **{f"auc_{side}": auc for side, auc in sides.items()},
        "auc_difference": difference.get("difference"),
        "matured_loans": matured.get("rows"),
        "matured_bads": matured.get("bads"),
    }


def comparison_table(record: Mapping[str, Any]) -> str:
    """Markdown: both models on the same applications, then what differs."""
    matured, calibration, swap, arms = (record[name] for name in ("matured", "calibration", "swap", "arms"))

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
