"""The real loans of 2009 to 2011 lived through by two policies: which models each brings into force, and what they are
worth on the loans that come next.

Belongs here: one book, one schedule of trainings, the decisions of each policy, and what became of the loans of the
next days. Does not belong here: how often a policy errs where the truth is known (`decisions`).

`python -m benchmarks.policies [EVERY]` prints the tables of docs/policy.md: a training every 30 days, or EVERY. The
policies meet the same models, and judge them by the rules of section `comparison` alone, each beside its own champion.
One of them gives the champion a new calibration where no model takes over, by the rules of section `calibration`; one
takes each training for a refresh, and one knows besides that applicants have moved, which drift says of these loans
every day (`credit-assets simulate`).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.first_days import REAL, real_loans
from credit_assets.loans.lending_club import read_lending_club
from credit_assets.ml.data.cohorts import CohortWindow, assemble_training_set
from credit_assets.ml.data.features import feature_table
from credit_assets.ml.data.policies import Policy
from credit_assets.ml.data.portfolio import load_portfolio
from credit_assets.ml.evidence.evaluation import compare, evaluate
from credit_assets.ml.learners.candidates import train_candidate
from credit_assets.ml.learners.recalibration import parts_of, recalibrate
from credit_assets.ml.learners.scorer import CreditScorer
from credit_assets.ml.learners.training import TrainingConfig
from credit_assets.ml.reports.selection import (
    beside_scorecard,
    calibration_record,
    comparable,
    comparison,
    difference,
    unseen_rows,
)
from credit_assets.ml.rules.chains import NOT_WORSE, how_shown
from credit_assets.ml.rules.comparison_rules import days_to_spend
from credit_assets.ml.rules.levels import YEAR, saved_after
from credit_assets.ml.rules.model_rules import MODEL_RULES, judge_model

FIRST, LAST, EVERY, LOOKBACK, W = date(2009, 6, 30), date(2011, 12, 31), 30, 730, 365
NEXT = 90
"""Days after a takeover on whose loans it is measured."""
RECALIBRATING, REFRESH, MOVED = "default, recalibrated", "refresh", "refresh, applicants have moved"
POLICIES = {
    "default": Policy(),
    RECALIBRATING: Policy(),
    REFRESH: Policy(),
    MOVED: Policy(),
    # The point estimate against 0.005, whatever the test can show.
    "plain 0.005": Policy.model_validate(
        {
            "comparison": {
                "rule": "point",
                "min_bads": 2,
                "min_goods": 2,
                "first_level": 0.5,
                "scorecard_margin": 0.49,
            }
        }
    ),
}
_CALIBRATION = [rule for rule in MODEL_RULES if rule.name == "calibration"]
RULES = [rule for rule in MODEL_RULES if rule.name in ("skill", "plausible_skill", "comparison", "first_champion")]


@dataclass(frozen=True)
class Model:
    """A candidate, the first day of its test, and what it is judged by before anything else is there."""

    as_of: date
    scorer: CreditScorer
    training_set: pa.Table
    test_from: date
    recalibrated: bool = False


@dataclass
class Life:
    """What one policy made of the models. `first`: of the champion's chain of refreshes; `tests`: every comparison, by
    the days of its rows and whom it was with.
    """

    refresh: bool = False
    moved: bool = False
    first: Model | None = None
    tests: list[dict[str, Any]] = field(default_factory=list)
    champions: list[Model] = field(default_factory=list)
    claimed: list[float | None] = field(default_factory=list)
    rejected: int = 0
    before: date | None = None
    left: float = 0.0


class Book:
    """The loans, by day, with what became of them."""

    def __init__(self, folder: Path) -> None:
        read = read_lending_club(folder / REAL)
        self.portfolio = load_portfolio(None)
        self.features = feature_table(read.applications.sort_by("application_date"), self.portfolio)
        self.outcomes = read.outcomes
        self._days = self.features["application_date"].to_numpy()

    def between(self, first: date, last: date) -> pa.Table:
        at = np.searchsorted(self._days, [np.datetime64(first), np.datetime64(last + timedelta(1))])
        return self.features.slice(int(at[0]), int(at[1] - at[0]))

    def known(self, first: date, last: date) -> pa.Table:
        """Loans of these days with their target, by what is known a window later."""
        window = CohortWindow(last + timedelta(W), W, (last - first).days + 1)
        # Cut into splits, which nobody looks at here.
        return assemble_training_set(
            self.between(first, last), self.outcomes, window, self.portfolio, test_share=0.2, validation_share=0.2
        )

    def model(self, as_of: date) -> Model:
        window = CohortWindow(as_of, W, LOOKBACK)
        rows = assemble_training_set(
            self.features, self.outcomes, window, self.portfolio, test_share=0.2, validation_share=0.2
        )
        config = TrainingConfig(max_rounds=400, threads=1)
        scorer = train_candidate(rows, "lightgbm", self.portfolio, config).scorer
        test = rows.filter(pc.equal(rows["split"], "test"))
        return Model(as_of, scorer, rows, pc.min(test["application_date"]).as_py())


def evidence(book: Book, model: Model, life: Life, policy: Policy) -> dict[str, Any]:
    """What `trained_model` records of a model for the rules of section `comparison`."""
    test = model.training_set.filter(pc.equal(model.training_set["split"], "test"))
    record: dict[str, Any] = {
        "evaluation": evaluate(test["default"].to_numpy(), model.scorer.pd(test, threads=1)).to_record(),
        "champion": None,
        "mode": "non_inferiority" if life.refresh else "improvement",
    }
    saved = saved_after(life.left, (model.as_of - life.before).days) if life.before else YEAR
    found: dict[str, Any] = {"previous": life.before.isoformat() if life.before else None, "saved": saved}
    found |= {"scorecard": None, "first": None, "earlier": None, "moved": None}
    if life.champions:
        champion = life.champions[-1]
        record["champion"], found["earlier"] = beside(model, champion, champion.test_from, life)
        if life.first and life.first.as_of != champion.as_of:
            found["first"], earlier = beside(model, life.first, champion.test_from, life)
            found["first"]["earlier"] = earlier
        if life.moved:
            newer = (model.as_of - champion.as_of).days
            found["moved"] = {"newer_by": newer, "days": 5, "of": 5, "shifted": ["interest_rate"]}
    else:
        found["scorecard"] = beside_scorecard(model.training_set, book.portfolio, partial(model.scorer.pd, threads=1))
    record["comparison"] = {**found, "days": days_to_spend(record, saved, policy.comparison)}
    return record


def beside(model: Model, other: Model, since: date, life: Life) -> tuple[dict[str, Any], dict[str, Any]]:
    """The comparison with another model on rows that neither has used, and the tests before, as in the records."""
    record: dict[str, Any] = {"version": str(other.as_of), "comparable": False, "why": "too few rows"}
    newer = (model.as_of - other.as_of).days
    rows = unseen_rows(model.training_set, "application_date", since)
    tests, before = [], model.test_from
    for one in reversed(life.tests):
        if one["version"] == record["version"] and one["last"] < before:
            tests.append(one)
            before = one["first"]
    if comparable(rows):
        ours, theirs = model.scorer.pd(rows, threads=1), other.scorer.pd(rows, threads=1)
        record |= comparison(rows, ours, theirs)
        chosen_on = unseen_rows(model.training_set, "application_date", since, "validation")
        ours, theirs = (one.scorer.pd(chosen_on, threads=1) for one in (model, other))
        record["validation"] = difference(chosen_on, ours, theirs)
        last = pc.max(rows["application_date"]).as_py()
        known = {"version": record["version"], "newer_by": newer, "first": model.test_from, "last": last}
        life.tests.append({**known, **record["difference"]})
    return record, {"newer_by": newer, "tests": tests}


def decide(book: Book, model: Model, life: Life, policy: Policy) -> str:
    record = evidence(book, model, life, policy)
    reasons = [reason for one in judge_model(record, policy, RULES) for reason in one.reasons]
    against = [reason.text for reason in reasons if not reason.passed]
    life.before, life.left = model.as_of, record["comparison"]["saved"] - record["comparison"]["days"]
    if against:
        life.rejected += 1
        if policy is POLICIES[RECALIBRATING] and life.champions and (new := recalibrated(book, model, life, policy)):
            life.champions.append(new)
            life.claimed.append(None)
            return "the champion has a new calibration"
        return "; ".join(against)
    if not life.champions:
        # What is saved for comparisons with a champion is saved since there is one.
        life.left = 0.0
    if how_shown(reasons) != NOT_WORSE:
        life.first = model
    life.claimed.append(record["champion"]["difference"]["difference"] if life.champions else None)
    life.champions.append(model)
    return "champion"


def recalibrated(book: Book, model: Model, life: Life, policy: Policy) -> Model | None:
    """The champion with a new calibration, on the rows of the day's training set, where the rules let it take over."""
    champion = life.champions[-1]
    limits = policy.calibration
    parts = parts_of(model.training_set, "application_date", champion.test_from, limits.recalibration_bads)
    made = recalibrate(champion.scorer, parts, limits)
    if made.why or not comparable(parts.test):
        return None
    pds = [scorer.pd(parts.test, threads=1) for scorer in (made.scorer, champion.scorer)]
    days = [str(end.as_py()) for end in pc.min_max(parts.fit["application_date"]).values()]
    fitted = {"version": str(champion.as_of), "rows": parts.fit.num_rows, "bads": parts.bads, "days": days}
    record = {
        "mode": "recalibration",
        "evaluation": evaluate(parts.test["default"].to_numpy(), pds[0]).to_record(),
        "calibration": calibration_record(parts.test, lambda _: pds[0], book.portfolio, None),
        "champion": {"version": str(champion.as_of), **comparison(parts.test, *pds)},
        "recalibrates": {**made.to_record(), **fitted},
    }
    if all(reason.passed for one in judge_model(record, policy, _CALIBRATION) for reason in one.reasons):
        return replace(champion, as_of=model.as_of, scorer=made.scorer, recalibrated=True)
    return None


def worth(book: Book, life: Life) -> list[dict[str, Any]]:
    """Every takeover on the loans of the next days, beside the model that it took over from."""
    found = []
    pairs = zip(life.champions, life.champions[1:], life.claimed[1:], strict=False)
    for before, after, claimed in pairs:
        if after.recalibrated:
            continue
        rows = book.known(after.as_of + timedelta(1), min(after.as_of + timedelta(NEXT), LAST))
        if not comparable(rows):
            continue
        target = rows["default"].to_numpy()
        difference = compare(target, after.scorer.pd(rows, threads=1), before.scorer.pd(rows, threads=1))
        found.append({"as_of": after.as_of, "claimed": claimed, **difference.to_record()})
    return found


def in_use(book: Book, life: Life) -> tuple[Any, dict[str, Any]]:
    """Every loan by the champion of its day, and those of each quarter."""
    targets, pds, days = [], [], []
    ends = [model.as_of for model in life.champions[1:]] + [LAST]
    for model, end in zip(life.champions, ends, strict=True):
        rows = book.known(model.as_of + timedelta(1), end)
        targets.append(rows["default"].to_numpy())
        pds.append(model.scorer.pd(rows, threads=1))
        days.append(rows["application_date"].to_numpy().astype("datetime64[M]").astype(int))
    target, pd, month = (np.concatenate(parts) for parts in (targets, pds, days))
    quarters = 1970 * 4 + month // 3
    by_quarter = {
        f"{one // 4} Q{one % 4 + 1}": evaluate(target[quarters == one], pd[quarters == one])
        for one in np.unique(quarters)
    }
    return evaluate(target, pd), by_quarter


def main(every: int = EVERY) -> str:
    folder = real_loans()
    if folder is None:
        raise SystemExit("the real LendingClub file is not there: set CREDIT_TEST_DATA to its folder")
    book = Book(folder)
    lives = {name: Life(name in (REFRESH, MOVED), name == MOVED) for name in POLICIES}
    days = [FIRST + timedelta(n) for n in range(0, (LAST - FIRST).days, every)]
    for day in days:
        model = book.model(day)
        for name, life in lives.items():
            print(f"{day} {name}: {decide(book, model, life, POLICIES[name])}", file=sys.stderr, flush=True)
    return markdown(days, lives, {name: (worth(book, life), in_use(book, life)) for name, life in lives.items()})


def markdown(
    days: Sequence[date], lives: Mapping[str, Life], found: Mapping[str, tuple[list[Any], tuple[Any, dict[str, Any]]]]
) -> str:
    """The policies side by side, by quarter, then each takeover."""
    rows: dict[str, list[str]] = {}
    for name, (takeovers, (used, _)) in found.items():
        values = [one["difference"] for one in takeovers]
        for what, shown in {
            "rejected": f"{lives[name].rejected}",
            "first champion as of": f"{lives[name].champions[0].as_of}",
            "takeovers after it": f"{len(values)}",
            "new calibrations": f"{sum(model.recalibrated for model in lives[name].champions)}",
            "claimed by them on their tests, mean AUC": mean([one["claimed"] for one in takeovers]),
            f"worth on the loans of the next {NEXT} days, mean AUC": mean(values),
            "of them worth less than nothing": f"{sum(value < 0 for value in values)}",
            "loans, bads, each by the champion of its day": f"{used.rows:,}, {used.bads:,}",
            "their AUC": f"{used.auc:.4f} ({used.auc_ci_low:.3f} .. {used.auc_ci_high:.3f})",
            "observed over expected defaults": f"{used.observed_over_expected:.2f}",
        }.items():
            rows.setdefault(what, []).append(shown)
    lines = [f"| {len(days)} trainings, {days[0]} .. {days[-1]} | {' | '.join(found)} |"]
    lines += ["|---|" + "---:|" * len(found), *(f"| {what} | {' | '.join(of)} |" for what, of in rows.items())]
    quarters = {name: used[1] for name, (_, used) in found.items()}
    heads = [f"{name}: AUC | O/E" for name in found]
    lines += ["", f"| quarter | bads | {' | '.join(heads)} |", "|---|---:|" + "---:|---:|" * len(found)]
    for quarter, one in quarters["default"].items():
        cells = [f"{of[quarter].auc:.3f} | {of[quarter].observed_over_expected:.2f}" for of in quarters.values()]
        lines.append(f"| {quarter} | {one.bads} | {' | '.join(cells)} |")
    for name, (takeovers, _) in found.items():
        lines += ["", f"Takeovers, {name}:", "", "| as of | claimed | worth | 95% | bads |", "|---|---:|---:|---|---:|"]
        lines += [
            f"| {one['as_of']} | {one['claimed']:+.4f} | {one['difference']:+.4f} | {one['ci_low']:+.3f} .. "
            f"{one['ci_high']:+.3f} | {one['bads']} |"
            for one in takeovers
        ]
    return "\n".join(lines)


def mean(values: list[float]) -> str:
    return f"{sum(values) / len(values):+.4f}" if values else "-"


if __name__ == "__main__":
    print(main(*map(int, sys.argv[1:2])))
