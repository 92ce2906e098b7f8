"""What a model says of itself and what is true, by what the portfolio says about who was lent to.

Belongs here: books with known truth, and the figures of models on them. Does not belong here: any rule, gate or
measure. Tables in memory stand in for the files; models come from `ml.learners`, sets from `ml.data.cohorts`, with the
packaged portfolio `lender_decisions`.

True figures are expectations over the true PDs of the applications of the out-of-time test: free of the chance of their
outcomes, and of everyone, whether lent to or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import credit_assets
from benchmarks.drift_errors import table
from credit_assets.loans.lender_book import LenderBook, generate_lender_book
from credit_assets.ml.data.cohorts import Cohort, CohortWindow, Known, Loans
from credit_assets.ml.data.features import feature_table
from credit_assets.ml.data.portfolio import Portfolio, load_portfolio
from credit_assets.ml.evidence.evaluation import Evaluation
from credit_assets.ml.evidence.intervals import proportion
from credit_assets.ml.evidence.performance import realised
from credit_assets.ml.evidence.reject_inference import Sensitivity, sensitivity
from credit_assets.ml.learners.candidates import train_candidate
from credit_assets.ml.learners.training import TrainingConfig
from credit_assets.ml.rules.population_gates import population_gate

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

START, END, KNOWN_UNTIL = date(2022, 1, 1), date(2023, 12, 31), date(2024, 12, 31)
AS_OF, WINDOW, LOOKBACK = date(2024, 4, 30), 365, 300
VARIANT = "lightgbm"
SHARES = (0.25, 0.2)
BEST = 0.4
PORTFOLIO = Path(credit_assets.__file__).parent / "portfolios" / "lender_decisions.yaml"


@dataclass(frozen=True)
class Found:
    """One model: what it reports, on whom, and what is true of it on the applications of its test."""

    name: str
    reported: Evaluation
    of: str
    true_booked: float
    true_all: float
    pd_declined: float
    true_pd_declined: float
    best: float
    chance: float
    ratio: float
    later: str
    stopped: str
    sensitivity: Sensitivity | None

    @property
    def holds(self) -> bool:
        """Whether the true AUC on the booked lies in the reported interval."""
        return self.reported.auc_ci_low <= self.true_booked <= self.reported.auc_ci_high


class Book:
    """A lender's book, as the pipeline keeps it, and its truth."""

    def __init__(self, rows: int, seed: int) -> None:
        self.portfolio = load_portfolio(PORTFOLIO)
        made: LenderBook = generate_lender_book(rows, START, END, seed, known_until=KNOWN_UNTIL)
        self.features = feature_table(made.applications, self.portfolio)
        self.decisions = kept(made.decisions, "decided_on")
        self.outcomes = kept(made.performance, "recorded_at")
        self.truth: pd.DataFrame = made.truth.to_pandas(date_as_object=False)

    def not_stated(self) -> tuple[Portfolio, Known]:
        """What the portfolio would be without its population: whoever has no bad outcome counts as good."""
        return self.portfolio.model_copy(update={"population": None}), Known(self.outcomes)

    def stated(self) -> tuple[Portfolio, Known]:
        return self.portfolio, Known(self.outcomes, self.decisions)

    def oracle(self) -> tuple[Portfolio, Known]:
        """Everyone's outcome as it would have been."""
        import pyarrow as pa

        bad = self.truth[self.truth["outcome"] == "bad"]
        day = pa.array((bad["application_date"] + np.timedelta64(WINDOW, "D")).dt.date)
        outcomes = pa.table(
            {
                "loan_no": pa.array(bad["application_id"]),
                "recorded_at": day,
                "effective_on": day,
                "status": pa.repeat("90_dpd", len(bad)),
                "known_at": pa.repeat(0, len(bad)),
            }
        )
        return self.portfolio.model_copy(update={"population": "all"}), Known(outcomes)


def kept(rows: pa.Table, day: str) -> pa.Table:
    """Rows as the pipeline keeps them: the day on which each became known, and its moment."""
    import pyarrow as pa

    moment = rows[day].cast(pa.timestamp("us")).cast(pa.int64())
    at = rows.schema.get_field_index(day)
    return rows.set_column(at, day, rows[day].cast(pa.date32())).append_column("known_at", moment)


def figures(book: Book, name: str, *, threads: int = 1) -> Found:
    """Train as the portfolio says, and hold what the model reports against the truth."""
    import pyarrow as pa
    import pyarrow.compute as pc

    portfolio, known = {"not stated": book.not_stated, "stated": book.stated, "oracle": book.oracle}[name]()
    cohort = Cohort(book.features, known, CohortWindow(AS_OF, WINDOW, LOOKBACK), portfolio)
    rows = cohort.training_set(*SHARES)
    candidate = train_candidate(rows, VARIANT, portfolio, TrainingConfig(max_rounds=300, threads=threads))
    first = pc.min(rows.filter(pc.equal(rows["split"], "test"))["application_date"]).as_py()
    last = AS_OF - timedelta(WINDOW)
    day = book.truth["application_date"].dt.date
    inside = ((day >= first) & (day <= last)).to_numpy()
    pds = candidate.scorer.pd(book.features.filter(pa.array(inside)))
    truth = book.truth[inside].reset_index(drop=True)
    true, status = truth["pd"].to_numpy(), truth["status"].to_numpy()
    booked, declined = status == "booked", status == "declined"
    best = np.argsort(pds, kind="stable")[: int(BEST * len(pds))]
    gate = population_gate(portfolio, cohort.counts())
    return Found(
        name=name,
        reported=candidate.metrics["test"],
        of="booked" if name == "stated" else "everyone",
        true_booked=expected_auc(true[booked], pds[booked]),
        true_all=expected_auc(true, pds),
        pd_declined=float(pds[declined].mean()),
        true_pd_declined=float(true[declined].mean()),
        best=float(true[best].mean()),
        chance=float(true.mean()),
        ratio=float(true.sum() / pds.sum()),
        later=_later(book, candidate.scorer, portfolio, known),
        stopped=gate.message() if gate.blocks else "",
        sensitivity=_sensitivity(cohort, pds, first) if name == "stated" else None,
    )


def _later(book: Book, scorer: Any, portfolio: Portfolio, known: Known) -> str:
    """What the performance report says a year later of the applications after the training."""
    import pyarrow as pa

    later = (book.truth["application_date"].dt.date > AS_OF - timedelta(WINDOW)).to_numpy()
    applications = book.features.filter(pa.array(later))
    target = Loans(applications, known, WINDOW, portfolio).on(KNOWN_UNTIL).targets
    measured = ~np.isnan(target)
    found = realised(target[measured], scorer.pd(applications)[measured])
    assert found.evaluation is not None
    return f"{found.evaluation.auc:.3f}, {found.evaluation.observed_over_expected:.2f}"


def _sensitivity(cohort: Cohort, pds: Any, first: date) -> Sensitivity:
    """As `credit-assets sensitivity`: the applications of the test, as decided by the as-of date."""
    import pyarrow.compute as pc

    days = pc.greater_equal(cohort.table["application_date"], first).to_numpy()
    decisions = cohort.loans.decisions
    assert decisions is not None
    decided, target = decisions.as_of(AS_OF).classes(cohort.loans.ids)[days], cohort.on_the_day.targets[days]
    measured = ((decided == "booked") & ~np.isnan(target)) | (decided == "declined") | (decided == "withdrawn")
    return sensitivity(pds[measured], target[measured], decided[measured])


def expected_auc(true: Any, pds: Any) -> float:
    """The expected pairs in which the bad has the larger PD, over the expected pairs of a bad and a good."""
    _, place = np.unique(pds, return_inverse=True)
    bads, goods = np.bincount(place, true), np.bincount(place, 1 - true)
    itself = (true * (1 - true)).sum()
    return float(((bads * (np.cumsum(goods) - goods / 2)).sum() - itself / 2) / (bads.sum() * goods.sum() - itself))


def main(rows: int = 90_000, books: int = 12, book_rows: int = 60_000) -> str:
    """The tables: of one book the three models, and of more how often the reported interval holds the truth."""
    one = Book(rows, seed=5)
    found = [figures(one, name) for name in ("not stated", "stated", "oracle")]
    more = [figures(Book(book_rows, seed), "stated") for seed in range(100, 100 + books)]
    return markdown(found, more, rows)


def markdown(found: list[Found], more: list[Found], rows: int) -> str:
    names = {"not stated": "not stated (the gate stops it)", "stated": "stated", "oracle": "oracle: everyone's outcome"}
    lines = [
        (
            names[one.name],
            f"{one.reported.auc:.3f} ({one.reported.auc_ci_low:.3f} .. {one.reported.auc_ci_high:.3f}) of {one.of}",
            f"{one.true_booked:.3f}",
            f"{one.true_all:.3f}",
            f"{one.pd_declined:.4f}",
            f"{one.best:.1%}",
            one.later,
        )
        for one in found
    ]
    heads = [
        "population", "reported AUC", "true AUC, booked", "true AUC, all", "PD of declined", f"bad, best {BEST:.0%}",
        "later: AUC, O/E",
    ]  # fmt: skip
    stated = next(one for one in found if one.name == "stated")
    text = [
        f"One book of {rows:,} applications, `{VARIANT}`, as of {AS_OF}. The truth: PD of the declined "
        f"{stated.true_pd_declined:.4f}, bad among all {stated.chance:.1%}, which chance takes.",
        table(heads, lines),
        f'The gate: "{next(one for one in found if one.name == "not stated").stopped}"',
        "The stated one with sensitivity, on the same applications:",
        _assumptions(stated),
    ]
    if more:
        inside = sum(one.holds for one in more)
        interval = proportion(inside, len(more))
        assert interval is not None
        text.append(
            f"Of {len(more)} further books, population stated, the reported interval holds the true AUC on the booked "
            f"in {inside} ({interval.low:.0%} .. {interval.high:.0%}). Reported less true on average: on the booked "
            f"{np.mean([one.reported.auc - one.true_booked for one in more]):+.3f}, on everyone "
            f"{np.mean([one.reported.auc - one.true_all for one in more]):+.3f}."
        )
    return "\n\n".join(text)


def _assumptions(stated: Found) -> str:
    found = stated.sensitivity
    assert found is not None
    heads = ["on", "bad rate of declined", "AUC", "observed / expected", f"bad, best {BEST:.0%}"]
    lines = [("booked, measured", "-", *_shown(found.booked))]
    for one in found.assumed:
        lines.append((f"{one.method}, k = {one.factor:g}", f"{one.declined_bad_rate:.1%}", *_shown(one.measures)))
    lines.append(
        (
            "**the truth**",
            f"{stated.true_pd_declined:.1%}",
            f"{stated.true_all:.3f}",
            f"{stated.ratio:.2f}",
            f"{stated.best:.1%}",
        )
    )
    return table(heads, lines)


def _shown(one: Any) -> tuple[str, str, str]:
    def interval(value: Any, form: str) -> str:
        return f"{value.value:{form}} ({value.low:{form}} .. {value.high:{form}})"

    at = next(approval for approval in one.approvals if approval.share == BEST)
    return interval(one.auc, ".3f"), interval(one.observed_over_expected, ".2f"), interval(at.bad_rate, ".1%")
