"""`credit-assets backtest`: models of past as-of dates, each on the applications that came after it.

Belongs here: which as-of dates, the model of each (the recorded one, else one trained in memory), and the tables for
people. Does not belong here: the measures (`credit_assets.ml.reports.backtest`). Nothing is written: no model is
registered, no partition made, no run logged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from credit_assets.assets.due import calendar_of, training_set_of
from credit_assets.assets.model_inputs import ModelInputs
from credit_assets.assets.policies import drift_policy, training_config
from credit_assets.assets.stored_days import StoredDays
from credit_assets.checks import gates_of
from credit_assets.failures import PermanentError, error_text
from credit_assets.ledger.registry import Registry
from credit_assets.resources import build_resources
from credit_assets.settings import Settings
from credit_assets.storage.store import Store
from credit_assets.tracking import Tracking
from credit_assets.warehouse import Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

    from credit_assets.ml.evidence.drift_reference import DriftReference
    from credit_assets.ml.learners.scorer import CreditScorer
    from credit_assets.ml.reports.backtest import BacktestBook, PastModel

OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class BacktestDays:
    """The as-of dates of a backtest, `every` so many days from the first to the last, where they are None those that
    can be judged; and how many days of use count.
    """

    start: date | None = None
    end: date | None = None
    every: int = 90
    horizon_days: int = 90


def backtest_record(settings: Settings, walk: BacktestDays, on_progress: OnProgress) -> dict[str, Any]:
    """The models of past as-of dates and how each did in use, their totals, and the vintages of the book.

    A date with a record of `trained_model` has that model, registered or rejected; for one without, the variants of
    CREDIT_VARIANTS are trained as of it in memory, and the best on the validation rows is taken, as the pipeline does.
    Raises PermanentError where no date can be judged.
    """
    from credit_assets.ml.reports.backtest import judge_past_model, totals, vintages

    backtest = Backtest(settings)
    days = backtest.as_of_dates(walk)
    book, models = backtest.book(), []
    for n, day in enumerate(days):
        on_progress(f"as of {day}", n, len(days))
        models.append(
            backtest.judge(day, lambda model: judge_past_model(model, book, walk.horizon_days, backtest.policy))
        )
    on_progress("vintages", len(days), len(days))
    return {
        "every": walk.every,
        "horizon_days": walk.horizon_days,
        "window_days": settings.window_days,
        "known_to": book.last.isoformat(),
        "models": models,
        "totals": totals(models),
        "vintages": vintages(book),
    }


class Backtest:
    """What a walk over past as-of dates reads of a book, opened once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        resources = build_resources(settings)
        self._store: Store = resources["store"]
        self._tracking: Tracking = resources["tracking"]
        self._registry: Registry = resources["registry"]
        self._warehouse: Warehouse = resources["warehouse"]
        self._tables, self._portfolio = StoredDays(self._store), settings.portfolio_contract
        self._inputs = ModelInputs(self._store, self._portfolio)
        self._versions = {version.fingerprint: version.version for version in self._registry.versions()}
        self.policy = drift_policy(settings)
        self._calendar = calendar_of(settings, self._store)

    def as_of_dates(self, walk: BacktestDays) -> list[date]:
        """The dates of a walk. Raises PermanentError where there is none."""
        last = self._last_day()
        # The last date whose first day of use has a closed window, unless another is asked for.
        end = walk.end or last - timedelta(self._settings.window_days + 1)
        start = walk.start or self._calendar.full
        days = [start + timedelta(n) for n in range(0, (end - start).days + 1, walk.every)]
        if not days and (walk.start or walk.end):
            raise PermanentError(f"there is no as-of date from {start} (--from) to {end} (--to)")
        if not days:
            closes = start + timedelta(self._settings.window_days + 1)
            raise PermanentError(
                f"no model can be judged in use yet: the first that can be made is as of {start}, the window of its "
                f"first applicants closes on {closes}, and outcomes are there up to {last}"
            )
        return days

    def book(self) -> BacktestBook:
        """All stored days, with what became known of them."""
        from credit_assets.ml.reports.backtest import BacktestBook
        from credit_assets.ml.reports.daily import days_between, known_in

        first, last = self._calendar.first_day, self._last_day()
        known = known_in(self._tables, days_between(first, last), self._portfolio)
        return BacktestBook(self._tables, first, last, known, self._settings.window_days, self._portfolio)

    def judge(self, day: date, judged: Callable[[PastModel], dict[str, Any]]) -> dict[str, Any]:
        """The record of an as-of date: what `judged` says of its model and where that is from, or why there is none."""
        try:
            model, source = self._recorded(day) or self._trained(day)
            return {**judged(model), **source}
        except (PermanentError, ValueError) as error:
            return {
                "as_of": day.isoformat(),
                "variant": None,
                "source": None,
                "version": None,
                "why": error_text(error),
            }

    def _recorded(self, day: date) -> tuple[PastModel, dict[str, Any]] | None:
        from credit_assets.ml.evidence.drift_reference import DriftReference
        from credit_assets.ml.learners.scorer import CreditScorer
        from credit_assets.ml.reports.backtest import PastModel, Promise

        record = self._tables.record("trained_model", day)
        if record is None or "model_uri" not in record:
            return None
        folder = self._tracking.models.of_record(record)
        try:
            reference: DriftReference | None = DriftReference.load(folder)
        except FileNotFoundError:
            reference = None
        scorer = CreditScorer.load(folder)
        model = PastModel(day, record["variant"], Promise.of_record(record), self._score(scorer), reference)
        return model, {"source": "recorded", "version": self._versions.get(record["fingerprint"])}

    def _trained(self, day: date) -> tuple[PastModel, dict[str, Any]]:
        """The best of the variants as of a day. Raises PermanentError naming the gates that stop its training."""
        from credit_assets.ml.evidence.performance import realised
        from credit_assets.ml.learners.candidates import train_candidate
        from credit_assets.ml.reports.backtest import PastModel, Promise

        names = tuple(gates_of("training_set", self._portfolio))
        made = training_set_of(self._settings, self._warehouse, self._store, day, names)
        if blocking := [gate.line() for gate in made.gates if gate.blocks]:
            raise PermanentError("; ".join(blocking))
        if not made.table.num_rows:
            raise PermanentError(f"{made.metadata.get('why', 'there is no training set')}")
        trained = [
            train_candidate(made.table, variant, self._portfolio, training_config(self._settings, variant))
            for variant in self._settings.variants
        ]
        best = max(trained, key=lambda one: one.metrics["validation"].auc)
        test = best.predictions["test"]
        promise = Promise.of(realised(test.target, test.pd))
        model = PastModel(day, best.variant, promise, self._score(best.scorer), best.reference)
        return model, {"source": "trained now", "version": None}

    def _score(self, scorer: CreditScorer) -> Callable[[pa.Table], Any]:
        def score(rows: pa.Table) -> Any:
            scores = scorer.score(self._inputs.beside(rows, scorer), threads=self._settings.training_threads)
            return scores["pd"].to_numpy(), scores["score"].to_numpy()

        return score

    def _last_day(self) -> date:
        """The newest day of which both applications and outcomes are there."""
        days = set(self._store.days("processed_features")) & set(self._store.days("loan_outcomes"))
        if not days:
            raise PermanentError("no day is ingested yet: `credit-assets backfill` or `replay` does it")
        return date.fromisoformat(max(days))


def draw_backtest(record: dict[str, Any]) -> bytes:
    """The walk and the vintages as PNG. Raises PermanentError where no model could be judged."""
    from credit_assets.ml.reports.figures import Point, backtest, png

    def points(of: Callable[[dict[str, Any]], Any]) -> list[Point]:
        found = [(date.fromisoformat(one["as_of"]), of(one)) for one in record["models"] if one.get("realised")]
        return [Point(day, value["value"], value["low"], value["high"]) for day, value in found if value]

    def in_use(one: dict[str, Any]) -> Any:
        measured = one["realised"]["evaluation"]
        return measured and {"value": measured["auc"], "low": measured["auc_ci_low"], "high": measured["auc_ci_high"]}

    curves = {one["quarter"]: [month["value"] for month in one["months"]] for one in record["vintages"]}
    label = f"models every {record['every']} days, each on the {record['horizon_days']} days after its as-of date"
    try:
        figure = backtest(
            points(lambda one: one["promised"]["auc"]),
            points(in_use),
            points(lambda one: one["realised"]["observed_over_expected"]),
            curves,
            label,
        )
    except ValueError as error:
        raise PermanentError(error_text(error)) from error
    return png(figure)


def print_backtest(record: dict[str, Any], console: Console) -> None:
    """What is judged, a line a model, and the totals."""
    console.print(
        f"Each model on the applications of the {record['horizon_days']} days after its as-of date whose "
        f"{record['window_days']} days have closed by {record['known_to']}, beside what its out-of-time test promised.",
        markup=False,
    )
    table = Table("as of", "model", "AUC promised", "in use", "bads in use", "O/E promised", "O/E in use", "shifted")
    for one in record["models"]:
        if not one.get("realised"):
            promised = f"{one['promised']['auc']['value']:.3f}" if one.get("promised") else ""
            table.add_row(one["as_of"], one["variant"] or "none", promised, *("",) * 5)
            continue
        used = one["realised"]
        name = f"{one['variant']} {'v' + one['version'] if one['version'] else '(' + one['source'] + ')'}"
        measured = used["evaluation"]
        auc = measured and {"value": measured["auc"], "low": measured["auc_ci_low"], "high": measured["auc_ci_high"]}
        table.add_row(
            one["as_of"],
            name,
            f"{one['promised']['auc']['value']:.3f}",
            _within(auc, 3),
            f"{used['bads']:,} of {used['rows']:,}",
            _alone(one["promised"]["observed_over_expected"]),
            _within(used["observed_over_expected"], 2),
            ", ".join((one["drift"] or {}).get("shifted", ())) or "-",
        )
    console.print(table)
    for one in record["models"]:
        if one.get("why"):
            console.print(f"{one['as_of']}: {one['why']}", markup=False)
    for line in _totals(record["totals"]):
        console.print(line, markup=False)


def _totals(of: dict[str, Any]) -> list[str]:
    if not of["judged"]:
        return ["No model could be judged yet."]
    lines = []
    if of["mean_auc_change"] is not None:
        lines.append(
            f"AUC in use less the promised one: {of['mean_auc_change']:+.3f} on average; beyond chance below it in "
            f"{of['auc_below_promise']} and above it in {of['auc_above_promise']} of {of['judged']} models (by chance "
            "1 in 40 each)."
        )
    if of["median_observed_over_expected"] is not None:
        lines.append(
            f"Observed over expected in use: {of['median_observed_over_expected']:.2f} in the middle; beyond chance "
            f"above 1 (risk understated) in {of['risk_understated']} and below in {of['risk_overstated']}."
        )
    return lines


def _within(of: dict[str, float] | None, digits: int) -> str:
    return f"{of['value']:.{digits}f} ({of['low']:.{digits}f} .. {of['high']:.{digits}f})" if of else "-"


def _alone(of: dict[str, float] | None) -> str:
    return f"{of['value']:.2f}" if of else "-"
