"""The daily performance report: the model in use on matured cohorts, and, before they mature, by estimate.

Belongs here: which applications a day's report looks at, the report as a record, and what people read and see of it.
Does not belong here: the measures (`credit_assets.ml.evidence.performance`), drawing (`figures`), and where tables and
models are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from credit_assets.failures import PermanentError
from credit_assets.ml.data.cohorts import Loans
from credit_assets.ml.data.customers import groups_of
from credit_assets.ml.data.fingerprints import rounded
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.data.schemas import scores_schema
from credit_assets.ml.evidence.performance import by_version, estimate, realised, reconcile
from credit_assets.ml.reports.daily import (
    DAY,
    Counts,
    DailyTables,
    RowsByDay,
    ScoredLoans,
    days_between,
    known_in,
    with_target,
)
from credit_assets.ml.reports.figures import Point
from credit_assets.ml.reports.in_force import Champions, Cohorts, RegisteredModel
from credit_assets.ml.reports.since_training import SinceTraining, shown
from credit_assets.ml.rules.periods import period_on

if TYPE_CHECKING:
    import pyarrow as pa

    from credit_assets.ml.data.cohorts import Known

NAME = "performance_report"
WHO = {False: "applications", True: "booked loans"}
"""Whom realised and estimated performance is of, by whether some of those who applied were not lent to."""
MEASURES = ("auc", "gini", "ks", "brier", "ece")
# Records that a picture reads at most, however many days it spans and however many there are.
_PICTURED = 120


def performance_reports(
    days: Sequence[date],
    champions: Champions,
    tables: DailyTables,
    cohorts: Cohorts,
    portfolio: Portfolio,
    min_bads: int,
) -> dict[str, dict[str, Any]]:
    """The performance report of each day. Every table is read once, whatever needs it.

    Parameters
    ----------
    days
        Consecutive days, oldest first.
    champions
        The champions up to these days.
    tables
        Reads `loan_scores`, `loan_outcomes`, `processed_features` and, where the portfolio has them, `loan_decisions`,
        and the reports of earlier days.
    cohorts, portfolio
        Which applications are looked at, and the names of their columns.
    min_bads
        Bads below which no verdict should rest on what was realised.

    Returns
    -------
    dict
        By ISO day a record of JSON types with `realised`, `estimated`, `reconciled` (the estimate of one window ago
        against what became of it), `since_training` (the champion on the loans that matured since it was trained),
        `newly_matured`, `training_rows`, and the champion with its `registered` measures and their `baseline`.
        All of booked loans, as `of` says, as far as they were known to be booked by the day; `applied` says how many
        were scored in all.

    Raises
    ------
    PermanentError
        Naming days that cannot be counted; and whatever `tables` raises.
    """
    key, measure = portfolio.id_column, partial(realised, min_bads=min_bads)
    begin = champions.history[0].first if champions.history else None
    scored, since = (
        _scored(days, begin, tables, cohorts, portfolio),
        SinceTraining(days, champions, tables, cohorts, portfolio),
    )
    matured_loans = _Matured(days, champions, tables, cohorts, portfolio)
    loans = _known_of(scored, (since, matured_loans), days, tables, cohorts, portfolio)
    calibrations = {version: {"calibration": model.calibration} for version, model in champions.models.items()}
    applications = Counts(tables, "processed_features")
    records: dict[str, dict[str, Any]] = {}
    for day in days:
        champion = period_on(day, champions.history)
        model = champions.models[champion.version] if champion else None
        on_the_day = loans.on(day) if loans else None
        first, mature = cohorts.matured(day)
        rows = scored.between(first, mature)
        unscored = _count(applications, first, mature) - len(rows)
        # An id that comes again is one loan, whose outcome would count twice: as in a training set, the first stays.
        once = with_target(scored, on_the_day, (first, mature), portfolio).drop_duplicates(key)
        customers = groups_of(once, portfolio)
        measured = by_version(measure, once["model_version"], once["default"], once["pd"], customers)
        who = {"of": WHO[portfolio.decisions is not None], "applied": len(rows)}
        matured = {"unscored": unscored, **who, **_of_window(first, mature, begin, measured)}
        before = records.get(mature.isoformat())
        if before is None and mature >= cohorts.first_day:
            before = tables.record(NAME, mature)
        then = before["estimated"] if before else None
        if then and portfolio.decisions:
            # Then it was not known who would be booked: the same PDs, of those of whom it is known what became.
            then = by_version(estimate, once["model_version"], once["pd"], customers, given=calibrations)
        first, last = cohorts.newest(day)
        rows = scored.between(first, last)
        who = {"of": WHO[portfolio.decisions is not None], "applied": len(rows)}
        once = (rows if on_the_day is None else rows[on_the_day.booked[rows.index]]).drop_duplicates(key)
        customers = groups_of(once, portfolio)
        estimated = by_version(estimate, once["model_version"], once["pd"], customers, given=calibrations)
        expected = {**who, **_of_window(first, last, begin, estimated)}
        newly_matured = None
        if model:
            first = max(cohorts.first_day, (model.trained_as_of or model.as_of) - timedelta(cohorts.window_days) + DAY)
            newly_matured = matured_loans.count(first, mature, day, applications)
        records[day.isoformat()] = rounded(
            {
                "day": day.isoformat(),
                "champion": champion.version if champion else None,
                "registered": _registered(model) if model else None,
                "realised": matured,
                "since_training": since.on(day, min_bads),
                "estimated": expected,
                "reconciled": reconcile(then, matured) if then else None,
                "newly_matured": newly_matured,
                "training_rows": model.training_rows if model else None,
            }
        )
    return records


def summary(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a person reads of one day."""
    realised, estimated = record["realised"], record["estimated"]
    evaluation, ratio = realised["evaluation"], realised["observed_over_expected"]
    lines: dict[str, Any] = {"champion": record["champion"] or "none in force", **_numbers(record)}
    if ratio:
        auc = f"AUC {evaluation['auc']:.3f}, " if evaluation else ""
        lines["realised"] = (
            f"{auc}{ratio['value']:.2f} times the expected bads ({ratio['low']:.2f} .. {ratio['high']:.2f}), "
            f"{realised['bads']} bads among {realised['rows']} {_who(realised)} of {realised['from']} .. "
            f"{realised['to']}"
        )
    if realised["why"]:
        lines["not_realised_because"] = realised["why"]
    if estimated["auc"] is None:
        lines["not_estimated_because"] = estimated["why"]
    else:
        lines["estimated"] = (
            f"AUC {estimated['auc']:.3f} ({estimated['auc_low']:.3f} .. {estimated['auc_high']:.3f}), bad rate "
            f"{estimated['expected_rate']:.2%}, {estimated['rows']} {_who(estimated)} of {estimated['from']} .. "
            f"{estimated['to']}"
        )
    if since_training := shown(record):
        lines["since_training"] = since_training
    if record["newly_matured"] is not None:
        lines["newly_matured"] = record["newly_matured"]
    return lines


def _numbers(record: Mapping[str, Any]) -> dict[str, Any]:
    """What is plotted over the days."""
    realised, estimated, reconciled = record["realised"], record["estimated"], record["reconciled"]
    evaluation, ratio = realised["evaluation"] or {}, realised["observed_over_expected"] or {}
    return {
        **{f"realised_{name}": evaluation.get(name) for name in ("auc", "ks", "ece")},
        "observed_over_expected": ratio.get("value"),
        "bad_rate": evaluation.get("observed_rate"),
        "matured_loans": realised["rows"],
        "matured_bads": realised["bads"],
        "estimated_auc": estimated["auc"],
        "estimated_ks": estimated.get("ks"),
        "estimated_bad_rate": estimated["expected_rate"],
        "auc_realised_less_estimated": reconciled["difference"]["auc"] if reconciled else None,
    }


def _who(measured: Mapping[str, Any]) -> str:
    # Records made before did not say it.
    return str(measured.get("of", WHO[False]))


def measures_table(record: Mapping[str, Any]) -> str:
    """Markdown: the measures as registered, realised and estimated."""
    registered = record["registered"] or {}
    realised, estimated = record["realised"]["evaluation"] or {}, record["estimated"]
    rows = [
        (
            name.upper() if len(name) < 4 else name.capitalize(),
            registered.get(name),
            realised.get(name),
            estimated.get(name),
        )
        for name in MEASURES
    ]
    rows.append(("bad rate", None, realised.get("observed_rate"), estimated["expected_rate"]))
    lines = [
        f"| {name} | {' | '.join('' if value is None else f'{value:.4f}' for value in values)} |"
        for name, *values in rows
    ]
    return "\n".join(["| measure | registered | realised | estimated |", "|---|---:|---:|---:|", *lines])


class OverTime(NamedTuple):
    """What reports say, by last application date: AUC realised and estimated, and bads over the bads expected."""

    realised: list[Point]
    estimated: list[Point]
    ratios: list[Point]


def over_time(
    day: date, cohorts: Cohorts, record_of: Callable[[date], Mapping[str, Any] | None], most: int = _PICTURED
) -> OverTime:
    """The reports up to `day` over two performance windows: an estimate and what was realised of the same applications
    are one window apart, so half of the estimates are met by what came of them. Some `most` records are asked for,
    evenly spread.
    """
    span = 2 * cohorts.window_days
    step = -(-span // most)
    days = [day - timedelta(n) for n in range(0, span + 1, step) if day - timedelta(n) >= cohorts.first_day]
    known = [record_of(one) for one in reversed(days)]
    found = OverTime([], [], [])
    for record in (one for one in known if one is not None):
        matured, expected = record["realised"], record["estimated"]
        if matured["evaluation"]:
            values = (matured["evaluation"][name] for name in ("auc", "auc_ci_low", "auc_ci_high"))
            found.realised.append(Point(date.fromisoformat(matured["to"]), *values))
        if matured["observed_over_expected"]:
            found.ratios.append(Point(date.fromisoformat(matured["to"]), **matured["observed_over_expected"]))
        if expected["auc"] is not None:
            values = (expected[name] for name in ("auc", "auc_low", "auc_high"))
            found.estimated.append(Point(date.fromisoformat(expected["to"]), *values))
    return found


def picture(day: date, cohorts: Cohorts, record_of: Callable[[date], Mapping[str, Any] | None]) -> bytes | None:
    """The reports up to `day` as PNG, as `over_time` finds them. None where no report has anything to show."""
    from credit_assets.ml.reports.figures import performance_over_time, png

    found = over_time(day, cohorts, record_of)
    if not (found.estimated or found.ratios):
        return None
    return png(performance_over_time(*found, f"{cohorts.cohort_days} days of applications a point"))


def _scored(
    days: Sequence[date], begin: date | None, tables: DailyTables, cohorts: Cohorts, portfolio: Portfolio
) -> RowsByDay:
    """All scores that the reports of `days` need, by id, date, pd and model_version."""
    whose = [portfolio.customer_column] if portfolio.customer_column else []
    columns = [portfolio.id_column, portfolio.date_column, *whose, "pd", "model_version"]
    oldest, mature = cohorts.matured(days[0])[0] - timedelta(portfolio.booking_days), cohorts.matured(days[-1])[1]
    # Before the first champion nobody scored; those days need not even be there.
    wanted = {
        day
        for first, last in ((max(oldest, cohorts.first_day), mature), (cohorts.newest(days[0])[0], days[-1]))
        for day in days_between(max(first, begin or date.max), last)
    }
    table = tables.table("loan_scores", sorted(wanted), columns) if wanted else scores_schema(portfolio).empty_table()
    # An application that the model refused has no PD to be held against anything.
    scored = table.select(columns).filter(table["pd"].is_valid())
    return RowsByDay(scored.to_pandas(date_as_object=False), portfolio.date_column)


def _known_of(
    scored: RowsByDay,
    others: Sequence[SinceTraining | _Matured],
    days: Sequence[date],
    tables: DailyTables,
    cohorts: Cohorts,
    portfolio: Portfolio,
) -> ScoredLoans | None:
    """What became of the scored applications, None where nothing has to be known of any; it is read once, and told to
    `others` too, from the first day that any of them asks for.
    """
    first = scored.days[0].item() if len(scored.frame) else None
    due = first is not None and (first <= cohorts.matured(days[-1])[1] or portfolio.decisions is not None)
    firsts = (first if due else None, *(other.first for other in others))
    begin = min((day for day in firsts if day is not None), default=None)
    if begin is None:
        return None
    known = known_in(tables, days_between(begin, days[-1]), portfolio)
    for other in others:
        other.learn(known, days[-1])
    return ScoredLoans(scored.frame, known, days[-1], cohorts.window_days, portfolio) if due else None


def _registered(model: RegisteredModel) -> dict[str, Any]:
    return {**{name: model.measures.get(name) for name in MEASURES}, "baseline": model.baseline}


class _Matured:
    """How many loans have matured between two days: applications where everyone was lent to, else those that were."""

    def __init__(
        self,
        days: Sequence[date],
        champions: Champions,
        tables: DailyTables,
        cohorts: Cohorts,
        portfolio: Portfolio,
    ) -> None:
        self._window, self._portfolio = cohorts.window_days, portfolio
        self._loans: Loans | None = None
        self._applied: pa.Table | None = None
        self.first: date | None = None
        """The first day from which outcomes have to be known; None where none is asked for."""
        as_ofs = [model.as_of for model in champions.models.values()]
        if portfolio.decisions is None or not as_ofs:
            return
        first = max(cohorts.first_day, min(as_ofs) - timedelta(cohorts.window_days + portfolio.booking_days) + DAY)
        last = cohorts.matured(days[-1])[1]
        if first <= last:
            keys = (portfolio.id_column, portfolio.date_column)
            self._applied = tables.table("processed_features", days_between(first, last), keys)
            self.first = first

    def learn(self, known: Known, _: date) -> None:
        """Take what became known of them."""
        if self._applied is not None:
            self._loans = Loans(self._applied, known, self._window, self._portfolio)

    def count(self, first: date, last: date, day: date, applications: Counts) -> int:
        """Those whose performance window started from `first` to `last`, as known on `day`."""
        if self._loans is None:
            return _count(applications, first, last)
        loans = self._loans.on(day)
        starts = loans.starts.astype("datetime64[D]")
        return int((loans.booked & (starts >= np.datetime64(first)) & (starts <= np.datetime64(last))).sum())


def _count(applications: Counts, first: date, last: date) -> int:
    """Applications of first .. last. Raises PermanentError naming days that cannot be counted."""
    days = days_between(first, last)
    counts = applications.of(days)
    missing = [day for day, count in zip(days, counts, strict=True) if count is None]
    if missing:
        raise PermanentError(
            f"processed_features: {len(missing)} of {len(days)} partitions needed are missing or damaged "
            f"({missing[0]} .. {missing[-1]}); materialize them"
        )
    return sum(count or 0 for count in counts)


def _of_window(first: date, last: date, begin: date | None, measured: Mapping[str, Any]) -> dict[str, Any]:
    """What was measured on the applications of first .. last, with the reason where none of them has a score."""
    if last < first:
        return {"from": None, "to": None, **measured, "why": f"no application is old enough; the first is of {first}"}
    window = {"from": first.isoformat(), "to": last.isoformat()}
    if begin is None or last < begin:
        return {**window, **measured, "why": f"no champion was in force by {last}, so no application was scored"}
    return {**window, **measured}
