"""How soon a sudden shift is noticed, and how often nothing is taken for one: on generated books with a known day.

Belongs here: the books, the days after the break, and the tables. Does not belong here: any rule. Reports come from
`ml.reports.drift` (pooling, PSI, tests), decisions from `ml.rules.triggers`, models from `ml.learners`, all with
the settings in force; tables in memory stand in for the files.

How a book becomes many breaks. A loan of the generator depends on its day, its number and the seed alone. So the book
whose shift begins on day d is the book without shift before d and the book that is shifted throughout from d on, row
for row, and a pair of books gives as many breaks as it has room for. The first years, in which the generator's own
drifts are at work, are left out: after five of them little is left, and what counts as a false alarm is one.
"""

from __future__ import annotations

import statistics
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.drift_errors import table
from credit_assets.assets.policies import drift_policy, performance_trigger_policy, policy_of
from credit_assets.loans.generator import Shift, generate_book
from credit_assets.ml.data.cohorts import CohortWindow, assemble_training_set, targets
from credit_assets.ml.data.features import feature_table
from credit_assets.ml.evidence.drift import measure_drift
from credit_assets.ml.evidence.intervals import observed_over_expected
from credit_assets.ml.evidence.performance import realised
from credit_assets.ml.learners.candidates import train_candidate
from credit_assets.ml.learners.training import TrainingConfig
from credit_assets.ml.reports.drift import Pooling as Pooled
from credit_assets.ml.reports.drift import drift_reports
from credit_assets.ml.rules.periods import Period
from credit_assets.ml.rules.triggers import (
    TriggerPolicy,
    TriggerState,
    decide_drift,
    decide_performance,
)
from credit_assets.settings import Settings, load_settings

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

START = date(2010, 1, 1)
SETTLED = START + timedelta(5 * 365)
HORIZON = 90  # days after a break in which drift is looked for
MATURED = 180  # days after the first shifted loans have matured in which outcomes are looked at
VERSION = "1"
_LEAD = 90  # days of scores before the first break: what a report looks back on
_CHUNK = 10
_DAY = timedelta(1)

CONCEPT = "default_log_odds"
# How a size is printed, and the sizes: values of that field of `Shift`.
SIZES: dict[str, tuple[str, tuple[float, ...]]] = {
    "income": ("times {:g}", (1.10, 1.25, 1.50)),
    "amount": ("times {:g}", (1.25, 1.50, 2.00)),
    "inquiries": ("mean times {:g}", (1.50, 2.00, 3.00)),
    "utilisation": ("{:+g} sd", (0.25, 0.50, 1.00)),
    "rate": ("{:+g} points", (1.0, 2.0, 3.0)),
    CONCEPT: ("{:+g}", (0.25, 0.50, 1.00)),
}
# (rows that a verdict needs, days pooled at most), and the shift on which they are compared.
POOLING = ((250, 30), (500, 30), (1000, 60))
POOLING_SHIFT = ("income", 1.50)
# k of n, beside the one that is set.
RULES = ((1, 1), (2, 3), (3, 5), (5, 7))

Rule = tuple[int, int]
Pooling = tuple[int, int]


@dataclass(frozen=True)
class Size:
    """Of one number of loans a day: how many books, and how much of each."""

    loans: int
    seeds: tuple[int, ...]
    years: float
    """Without shift, of each seed."""
    breaks: int = 0
    """Of each seed and each shift, HORIZON days apart."""


@dataclass(frozen=True)
class Plan:
    """What is measured. `pooling`: the loans a day at which the pooling is varied."""

    sizes: tuple[Size, ...]
    shifts: tuple[tuple[str, float], ...] = tuple((kind, size) for kind, (_, sizes) in SIZES.items() for size in sizes)
    pooling: tuple[int, ...] = ()


FULL = Plan(
    (
        Size(1000, (1,), 0.5, breaks=2),
        Size(1000, (2, 3), 3),
        Size(120, (1, 2), 3, breaks=2),
        Size(120, (3,), 3),
        Size(20, (1, 2, 3), 2, breaks=2),
        Size(20, (4, 5), 2),
    ),
    pooling=(20,),
)
QUICK = Plan((Size(120, (1,), 0.5, breaks=1),), shifts=(POOLING_SHIFT, (CONCEPT, 1.0)))


@dataclass(frozen=True)
class Calm:
    """Days without shift: how many had which verdict, in how many spells, and how often each rule fired."""

    loans: int
    pooling: Pooling
    days: int
    verdicts: dict[str, int]
    watch_spells: int
    shifted_spells: int
    fired: dict[Rule, int]


@dataclass(frozen=True)
class Break:
    """One break: days from it to the first report `shifted`, and until each rule fired; None: not within HORIZON."""

    loans: int
    pooling: Pooling
    kind: str
    size: float
    psi: float
    """The largest of any feature and the score, on all days of the shifted book."""
    shifted: int | None
    fired: dict[Rule, int | None]


@dataclass(frozen=True)
class Outcome:
    """What outcomes said of one break (size 0: of none). Days from the break until the interval of observed over
    expected defaults lay above 1 (`before`: it did already) and until the performance trigger fired; None: not within
    the window and MATURED days. `ratio` and `auc` at the end, `registered` the AUC at training.
    """

    loans: int
    size: float
    before: bool
    above: int | None
    fired: int | None
    ratio: float
    auc: float
    registered: float


@dataclass
class Found:
    """All that was measured, with the settings that it holds for."""

    settings: Settings
    calm: list[Calm] = field(default_factory=list)
    breaks: list[Break] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    def __iadd__(self, other: Found) -> Found:
        self.calm += other.calm
        self.breaks += other.breaks
        self.outcomes += other.outcomes
        return self

    @property
    def pooling(self) -> Pooling:
        return self.settings.drift_min_rows, self.settings.drift_window_days

    @property
    def rule(self) -> Rule:
        return self.settings.drift_trigger_days, self.settings.drift_trigger_window


def main(plan: Plan = FULL, *, processes: int = 2) -> Found:
    """Measure with the settings in force. Raises SettingsError where they are wrong."""
    found = Found(load_settings(start_date=START))
    jobs = [
        (found.settings, plan, size, seed, shifts, number == 0)
        for size in plan.sizes
        for seed in size.seeds
        # Several jobs of one book, so that no process is left with the longest alone.
        for number, shifts in enumerate(_parts(plan.shifts if size.breaks else ()))
    ]
    with ProcessPoolExecutor(processes) as pool:
        for number, measured in enumerate(pool.map(_measure, *zip(*jobs, strict=True)), 1):
            found += measured
            print(f"{number} of {len(jobs)} parts of books measured", file=sys.stderr)
    return found


def _parts(shifts: Sequence[tuple[str, float]]) -> list[Sequence[tuple[str, float]]]:
    return [shifts[n : n + 6] for n in range(0, len(shifts), 6)] or [()]


def _measure(
    settings: Settings, plan: Plan, size: Size, seed: int, shifts: Sequence[tuple[str, float]], calm: bool
) -> Found:
    """One book: its days without shift where `calm`, and what follows breaks of these kinds and sizes."""
    found = Found(settings)
    others = [one for one in POOLING if one != found.pooling] if size.loans in plan.pooling else []
    book = Book(settings, size, seed)
    if calm:
        found.calm = [book.calm(pooling) for pooling in (found.pooling, *others)]
        if any(kind == CONCEPT for kind, _ in plan.shifts):
            found.outcomes += book.outcomes(0.0, book.without)
    for kind, value in shifts:
        shifted = book.applications(Shift(START, **{kind: value}))
        for pooling in (found.pooling, *(others if (kind, value) == POOLING_SHIFT else ())):
            found.breaks += book.breaks(kind, value, shifted, pooling)
        if kind == CONCEPT:
            found.outcomes += book.outcomes(value, shifted)
    return found


@dataclass(frozen=True)
class Applications:
    """Those of the day `first` and later, by day: the tables that the store would hold, PDs and targets, row for row.

    Rows of `first` + n days are `offsets[n]` .. `offsets[n + 1]`.
    """

    first: date
    tables: dict[str, pa.Table]
    offsets: NDArray[np.int64]
    pd: NDArray[np.float64]
    target: NDArray[np.int8] | None
    """None where outcomes do not matter."""

    def rows(self, first: date, last: date) -> slice:
        return slice(int(self.offsets[(first - self.first).days]), int(self.offsets[(last - self.first).days + 1]))

    def table(self, asset: str, first: date, last: date) -> pa.Table:
        rows = self.rows(first, last)
        return self.tables[asset].slice(rows.start, rows.stop - rows.start)


class Book:
    """The book without shift of one seed, the model trained on its first settled cohorts, and the days that follow."""

    def __init__(self, settings: Settings, size: Size, seed: int) -> None:
        self.settings, self.size, self.seed = settings, size, seed
        self.rules = sorted({*RULES, (settings.drift_trigger_days, settings.drift_trigger_window)})
        portfolio, wait, lookback = settings.portfolio_contract, settings.window_days, settings.lookback_days
        window = CohortWindow(SETTLED + timedelta(wait + lookback - 1), wait, lookback)
        self.in_force = window.as_of + _DAY
        self.first = self.in_force + timedelta(_LEAD)
        self.last = self.first + timedelta(max(int(size.years * 365), (size.breaks - 1) * HORIZON + MATURED))
        frame, outcomes = self._read(None, also=window)
        training = assemble_training_set(
            frame,
            outcomes,
            window,
            portfolio,
            test_share=settings.test_share,
            validation_share=settings.validation_share,
        )
        config = TrainingConfig(
            seed=settings.seed, max_rounds=settings.max_rounds, early_stopping_rounds=settings.early_stopping_rounds
        )
        self.model = train_candidate(training, "lightgbm", portfolio, config)
        self.champion = Period(VERSION, self.in_force, None)
        self.without = self._scored(frame, outcomes)

    def applications(self, shift: Shift | None) -> Applications:
        """The book with this shift throughout; that of the training keeps its loans and days."""
        frame, outcomes = self._read(shift)
        # Joining outcomes costs as much as all else, and only the concept is judged by them.
        return self._scored(frame, outcomes if shift and getattr(shift, CONCEPT) else None)

    def calm(self, pooling: Pooling) -> Calm:
        """The days without shift. A trigger that fires changes nothing: the champion stays."""
        days = int(self.size.years * 365)
        triggers = {rule: _Trigger(self.settings, rule) for rule in self.rules}
        fired = dict.fromkeys(self.rules, 0)
        verdicts = []
        for report in self._reports(SplicedTables(self.without), self.first, days, pooling, chunk=days):
            verdicts.append(report["verdict"])
            for rule, trigger in triggers.items():
                fired[rule] += trigger.fires(report)
        watch, shifted = (
            sum(now in which and before not in which for before, now in pairwise(["stable", *verdicts]))
            for which in ({"watch", "shifted"}, {"shifted"})
        )
        return Calm(self.size.loans, pooling, days, dict(Counter(verdicts)), watch, shifted, fired)

    def breaks(self, kind: str, value: float, shifted: Applications, pooling: Pooling) -> list[Break]:
        """Every break is followed until all rules have fired, HORIZON days at most."""
        everything = shifted.table("processed_features", self.first, self.last).to_pandas(date_as_object=False)
        points = shifted.table("loan_scores", self.first, self.last)["score"].to_numpy()
        whole = measure_drift(self.model.reference, everything, points, drift_policy(self.settings)).features
        psi = max(one.psi or 0.0 for one in whole)
        found = []
        for number in range(self.size.breaks):
            at = self.first + timedelta(number * HORIZON)
            triggers = {rule: _Trigger(self.settings, rule) for rule in self.rules}
            first: int | None = None
            fired: dict[Rule, int | None] = dict.fromkeys(self.rules)
            for n, report in enumerate(self._reports(SplicedTables(self.without, shifted, at), at, HORIZON, pooling)):
                if report["verdict"] == "shifted" and first is None:
                    first = n
                for rule, trigger in triggers.items():
                    if trigger.fires(report) and fired[rule] is None:
                        fired[rule] = n
                if None not in fired.values():
                    break
            found.append(Break(self.size.loans, pooling, kind, value, psi, first, fired))
        return found

    def outcomes(self, value: float, shifted: Applications) -> list[Outcome]:
        """What matured cohorts say of every second break, so that none shares its loans with the next.

        The estimate of the performance report is left out: it follows from PDs alone, which this shift does not change.
        """
        settings, wait = self.settings, timedelta(self.settings.window_days)
        reach = timedelta(settings.performance_cohort_days - 1)
        policy = performance_trigger_policy(settings)
        registered = {"auc": self.model.metrics["test"].auc}
        usual, broken = self.without.target, shifted.target
        if usual is None or broken is None:
            raise ValueError("these applications were read without their outcomes")
        found = []
        for number in range(0, self.size.breaks, 2):
            at = self.first + timedelta(number * HORIZON)
            state, before = TriggerState(), False
            above: int | None = None
            fired: int | None = None
            reports: list[dict[str, Any]] = []
            for n in range(-1, MATURED):
                last = at + timedelta(n)
                old = self.without.rows(last - reach, min(last, at - _DAY))
                new = shifted.rows(max(at, last - reach), last) if last >= at else slice(0, 0)
                target = np.concatenate([usual[old], broken[new]])
                pd = np.concatenate([self.without.pd[old], shifted.pd[new]])
                matured = realised(target, pd, min_bads=policy_of(settings).performance.min_bads)
                ratio = matured.observed_over_expected
                day = last + wait
                if n < 0:
                    before = ratio is not None and ratio.low > 1
                elif above is None and ratio is not None and ratio.low > 1 and not before:
                    above = (day - at).days
                reports = [
                    *reports,
                    {
                        "day": day.isoformat(),
                        "champion": VERSION,
                        "registered": registered,
                        "realised": {"versions": {VERSION: matured.to_record()}},
                        "estimated": None,
                    },
                ][-policy.window :]
                decision, state = decide_performance(reports, state, policy)
                if decision.accepted and fired is None:
                    fired = (day - at).days
            auc = matured.evaluation.auc if matured.evaluation else float("nan")
            level = ratio.value if ratio else float("nan")
            found.append(Outcome(self.size.loans, value, before, above, fired, level, auc, registered["auc"]))
        return found

    def _reports(
        self, tables: SplicedTables, first: date, days: int, pooling: Pooling, chunk: int = _CHUNK
    ) -> Iterator[Mapping[str, Any]]:
        policy = replace(drift_policy(self.settings), min_rows=pooling[0])
        pooled = Pooled(self.in_force, pooling[1], self.settings.portfolio_contract.date_column)
        references = {VERSION: self.model.reference}
        for begin in range(0, days, chunk):
            wanted = [first + timedelta(n) for n in range(begin, min(begin + chunk, days))]
            yield from drift_reports(wanted, [self.champion], references, tables, pooled, policy).values()

    def _read(self, shift: Shift | None, also: CohortWindow | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Model inputs of the days in force, and of a training window; defaults up to when the last window closes."""
        import pyarrow.compute as pc

        portfolio, wait = self.settings.portfolio_contract, timedelta(self.settings.window_days)
        rows = self.size.loans * ((self.last - START).days + 1)
        loans, outcomes = generate_book(rows, START, self.last, self.seed, shift, outcomes_until=self.last + wait)
        dates = loans[portfolio.date_column]
        wanted = pc.greater_equal(dates, self.in_force)
        if also:
            wanted = pc.or_(wanted, pc.and_(pc.greater_equal(dates, also.first), pc.less_equal(dates, also.last)))
        outcomes = outcomes.filter(pc.equal(outcomes[portfolio.outcomes.defaulted], 1))
        return (
            feature_table(loans.filter(wanted), portfolio).to_pandas(date_as_object=False),
            outcomes.to_pandas(date_as_object=False),
        )

    def _scored(self, frame: pd.DataFrame, outcomes: pd.DataFrame | None) -> Applications:
        import pyarrow as pa

        portfolio, wait = self.settings.portfolio_contract, self.settings.window_days
        frame = frame[frame[portfolio.date_column] >= np.datetime64(self.in_force)]
        dates = frame[portfolio.date_column].to_numpy().astype("datetime64[D]")
        window = CohortWindow(self.last + timedelta(wait), wait, (self.last - self.in_force).days + 1)
        scores = self.model.scorer.score(frame)
        day = np.arange(np.datetime64(self.in_force), np.datetime64(self.last) + 2)
        given: dict[str, Any] = {
            portfolio.date_column: pa.array(dates),
            "score": scores["score"].to_numpy(),
            "model_version": pa.repeat(VERSION, len(frame)),
            "other_score": pa.nulls(len(frame), pa.float64()),
            "other_version": pa.nulls(len(frame), pa.string()),
        }
        features = frame[[portfolio.date_column, *portfolio.feature_names]]
        return Applications(
            first=self.in_force,
            tables={
                "processed_features": pa.Table.from_pandas(features, preserve_index=False),
                "loan_scores": pa.table(given),
            },
            offsets=np.searchsorted(dates, day),
            pd=scores["pd"].to_numpy(),
            target=None if outcomes is None else targets(frame, outcomes, window, portfolio),
        )


class SplicedTables:
    """What a drift report reads, from memory: applications as `before` up to the day `at`, as `after` from then on."""

    def __init__(self, before: Applications, after: Applications | None = None, at: date = date.max) -> None:
        self._before, self._after, self._at = before, after or before, at

    def table(self, asset: str, days: Sequence[date], columns: Sequence[str] | None = None) -> pa.Table:
        import pyarrow as pa

        first, last = days[0], days[-1]
        parts = []
        if first < self._at:
            parts.append(self._before.table(asset, first, min(last, self._at - _DAY)))
        if last >= self._at:
            parts.append(self._after.table(asset, max(first, self._at), last))
        whole = pa.concat_tables(parts)
        return whole if columns is None else whole.select(columns)

    def counts(self, asset: str, days: Sequence[date]) -> Mapping[date, int | None]:
        return {day: int(self.table(asset, [day]).num_rows) for day in days}

    def record(self, asset: str, day: date) -> dict[str, Any] | None:
        return None

    def columns(self, asset: str, days: Sequence[date]) -> Mapping[date, Mapping[str, bool]]:
        import pyarrow as pa

        schemas = {day: self.table(asset, [day]).schema for day in days}
        return {day: {one.name: pa.types.is_string(one.type) for one in schema} for day, schema in schemas.items()}


class _Trigger:
    """The drift trigger from day to day."""

    def __init__(self, settings: Settings, rule: Rule) -> None:
        self._policy = TriggerPolicy(*rule, settings.cooldown_days, settings.repeat_days)
        self._state = TriggerState()
        self._last: date | None = None
        self._reports: list[Mapping[str, Any]] = []

    def fires(self, report: Mapping[str, Any]) -> bool:
        self._reports = [*self._reports, report][-self._policy.window :]
        decision, self._state = decide_drift(self._reports, self._state, self._policy, last_retraining=self._last)
        if decision.accepted:
            self._last = self._state.fired
        return decision.accepted


# Tables


def markdown(found: Found) -> str:
    """The tables, each under its heading."""
    sections = [("No shift: false alarms", _calm_table(found)), ("Shift of what applicants bring", _break_table(found))]
    if found.outcomes:
        sections.append(("Shift of what becomes of them", _outcome_table(found)))
    if any(one.pooling != found.pooling for one in found.calm):
        sections.append(("Other pooling", _pooling_table(found)))
    sections.append(("Other k of n", _rule_table(found)))
    return "\n\n".join(f"### {title}\n\n{text}" for title, text in sections)


def _calm_table(found: Found) -> str:
    rows = []
    for loans, ones in _by(found.calm, lambda one: one.loans):
        kept = [one for one in ones if one.pooling == found.pooling]
        days = sum(one.days for one in kept)
        shares = [sum(one.verdicts.get(name, 0) for one in kept) / days for name in ("unknown", "watch", "shifted")]
        counts = [
            sum(one.watch_spells for one in kept),
            sum(one.shifted_spells for one in kept),
            sum(one.fired[found.rule] for one in kept),
        ]
        rows.append(
            [
                f"{loans:,}",
                f"{days / 365:.1f}",
                *(f"{share:.1%}" for share in shares),
                *(_a_year(count, days) for count in counts),
            ]
        )
    head = ["loans a day", "years", "days unknown", "days `watch`", "days `shifted`"]
    return (
        table([*head, "spells of `watch` or more a year", "spells of `shifted` a year", "trigger a year"], rows)
        + "\n\nA spell is a run of days. In brackets the 95% interval (exact, of a Poisson count)."
    )


def _break_table(found: Found) -> str:
    sizes = sorted({one.loans for one in found.breaks})
    rows = []
    for (kind, size), ones in _by(found.breaks, lambda one: (one.kind, one.size)):
        kept = [one for one in ones if one.pooling == found.pooling]
        row = [_named(kind, size), f"{max(kept, key=lambda one: one.loans).psi:.2f}"]
        for loans in sizes:
            those = [one for one in kept if one.loans == loans]
            fired = [one.fired[found.rule] for one in those]
            row += [_days([one.shifted for one in those]), _days(fired), _share(fired)]
        rows.append(row)
    head = ["shift", "PSI"]
    for loans in sizes:
        head += [f"{loans:,} a day: `shifted`", "trigger", "found"]
    return table(head, rows) + (
        "\n\nDays from the break, itself day 0, to the first report `shifted` and to the trigger: median (smallest .. "
        f"largest). Found: breaks whose trigger fired within {HORIZON} days. PSI: the largest of any "
        "feature and the score on all shifted loans."
    )


def _outcome_table(found: Found) -> str:
    rows = []
    for (loans, size), ones in _by(found.outcomes, lambda one: (one.loans, one.size)):
        fresh = [one for one in ones if not one.before]
        rows.append(
            [
                f"{loans:,}",
                f"{size:+g}" if size else "none",
                f"{statistics.median(one.ratio for one in ones):.2f}",
                f"{len(ones) - len(fresh)} of {len(ones)}",
                _days([one.above for one in fresh]),
                _share([one.above for one in fresh]),
                f"{statistics.median(one.registered for one in ones):.3f}",
                f"{statistics.median(one.auc for one in ones):.3f}",
                _share([one.fired for one in ones]),
            ]
        )
    head = ["loans a day", "log-odds of default", "observed over expected", "above 1 before", "days until above 1"]
    return table([*head, "found", "AUC at training", "AUC realised", "performance trigger"], rows) + (
        f"\n\nRealised on cohorts of {found.settings.performance_cohort_days} days, each loan "
        f"{found.settings.window_days} days old. Above 1: the 95% interval of observed over expected defaults "
        "lies above 1; before: already at the break, so that nothing could be found. Followed for "
        f"{MATURED} days after the first shifted loans matured."
    )


def _pooling_table(found: Found) -> str:
    rows = []
    varied = {one.loans for one in found.calm if one.pooling != found.pooling}
    for (loans, pooling), calm in _by(found.calm, lambda one: (one.loans, one.pooling)):
        if loans not in varied:
            continue
        broken = [
            one
            for one in found.breaks
            if (one.loans, one.pooling) == (loans, pooling) and (one.kind, one.size) == POOLING_SHIFT
        ]
        days = sum(one.days for one in calm)
        fired = [one.fired[found.rule] for one in broken]
        rows.append(
            [
                f"{loans:,}",
                f"{pooling[0]:,}",
                str(pooling[1]),
                f"{sum(one.verdicts.get('unknown', 0) for one in calm) / days:.1%}",
                _a_year(sum(one.watch_spells for one in calm), days),
                _a_year(sum(one.fired[found.rule] for one in calm), days),
                _days(fired),
                _share(fired),
            ]
        )
    head = [
        "loans a day",
        "`drift_min_rows`",
        "`drift_window_days`",
        "days unknown",
        "spells of `watch` or more a year",
    ]
    return table([*head, "trigger a year, no shift", f"days to trigger, {_named(*POOLING_SHIFT)}", "found"], rows)


def _rule_table(found: Found) -> str:
    rows = []
    for loans, ones in _by(found.calm, lambda one: one.loans):
        calm = [one for one in ones if one.pooling == found.pooling]
        broken = [
            one
            for one in found.breaks
            if (one.loans, one.kind, one.size) == (loans, *POOLING_SHIFT) and one.pooling == found.pooling
        ]
        days = sum(one.days for one in calm)
        for rule in sorted(calm[0].fired):
            fired = [one.fired[rule] for one in broken]
            row = [f"{loans:,}", f"{rule[0]} of {rule[1]}", _a_year(sum(one.fired[rule] for one in calm), days)]
            rows.append([*row, _days(fired), _share(fired)])
    head = ["loans a day", "k of n", "trigger a year, no shift", f"days to trigger, {_named(*POOLING_SHIFT)}", "found"]
    return table(head, rows)


def _by(ones: Iterable[Any], key: Callable[[Any], Any]) -> list[tuple[Any, list[Any]]]:
    """In the order of loans a day, kinds and sizes in which they were planned."""
    groups: dict[Any, list[Any]] = {}
    for one in sorted(ones, key=lambda one: one.loans):
        groups.setdefault(key(one), []).append(one)
    kinds = list(SIZES)

    def place(name: Any) -> Any:
        return tuple(kinds.index(part) if part in kinds else part for part in name) if isinstance(name, tuple) else name

    return sorted(groups.items(), key=lambda item: place(item[0]))


def _named(kind: str, size: float) -> str:
    return f"{'log-odds of default' if kind == CONCEPT else kind} {SIZES[kind][0].format(size)}"


def _days(values: Sequence[int | None]) -> str:
    known = sorted(value for value in values if value is not None)
    if not known:
        return "-"
    middle = f"{statistics.median(known):g}"
    return middle if known[0] == known[-1] else f"{middle} ({known[0]} .. {known[-1]})"


def _share(values: Sequence[int | None]) -> str:
    return f"{sum(value is not None for value in values)} of {len(values)}"


def _a_year(count: int, days: int) -> str:
    rate = observed_over_expected(count, [1 / 365] * days)
    return f"{rate.value:.2f} ({rate.low:.2f} .. {rate.high:.2f})" if rate else "-"
