"""What a value that goes missing makes of the PD, by learner: `python -m benchmarks.missing_values [real] [generated]`.

Belongs here: books, the values taken away, and the table. Does not belong here: any rule. What a missing value counts
as is `ml.learners.missing`; the portfolio is the packaged one, which states nothing, or states the policy that is
named: `python -m benchmarks.missing_values real --policy allowed`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.drift_errors import table
from benchmarks.first_days import Book, W, generated, real_book, real_loans
from credit_assets.ml.data.cohorts import CohortWindow, assemble_training_set
from credit_assets.ml.data.features import feature_table
from credit_assets.ml.data.portfolio import Portfolio, load_portfolio
from credit_assets.ml.learners import VARIANTS
from credit_assets.ml.learners.candidates import train_candidate
from credit_assets.ml.learners.training import TrainingConfig

if TYPE_CHECKING:
    import pyarrow as pa

_ASKED_DAYS, _ASKED_ROWS = 200, 6_000


def stating(policy: str | None) -> Portfolio:
    """The packaged portfolio, with the policy for each of its columns."""
    packaged = load_portfolio(None)
    columns = (
        column.model_copy(update={"missing": policy} if column.role == "feature" else {}) for column in packaged.columns
    )
    return packaged.model_copy(update={"columns": tuple(columns)})


def cases(rows: pa.Table, portfolio: Portfolio) -> Iterator[tuple[str, pa.Table]]:
    """The rows without each column's values, and with a level that nobody has seen."""
    import pyarrow as pa

    for name in [column.name for column in portfolio.input_columns]:
        place = rows.column_names.index(name)
        yield name, rows.set_column(place, name, pa.nulls(len(rows), rows.schema.field(name).type))
        if name in portfolio.categorical_features:
            yield f"{name}, a new level", rows.set_column(place, name, pa.array(["never seen"] * len(rows)))


def measured(book: Book, as_of: date, lookback: int, portfolio: Portfolio) -> list[list[str]]:
    """One row a value taken away: its train rows without it, and of each learner the mean PD over that with the value,
    with the share of applications whose PD falls by more than a thousandth.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    training = assemble_training_set(
        book.features, book.outcomes, CohortWindow(as_of, W, lookback), portfolio, test_share=0.25, validation_share=0.2
    )
    train = training.filter(pc.equal(training["split"], "train"))
    days = book.days()
    newest = (days > np.datetime64(as_of - timedelta(_ASKED_DAYS))) & (days <= np.datetime64(as_of))
    raw = [portfolio.id_column, portfolio.date_column, *(column.name for column in portfolio.input_columns)]
    asked = book.features.filter(pa.array(newest)).slice(0, _ASKED_ROWS).select(raw)
    found: dict[str, list[str]] = {}
    for learner in VARIANTS:
        scorer = train_candidate(training, learner, portfolio, TrainingConfig(threads=1)).scorer
        before = scorer.pd(feature_table(asked, portfolio))
        for name, rows in cases(asked, portfolio):
            after = scorer.pd(feature_table(rows, portfolio))
            gone = f"{train[name].null_count:,}" if name in train.column_names else ""
            lower = (after < 0.999 * before).mean()
            found.setdefault(name, [name, gone]).append(f"{after.mean() / before.mean():.2f} ({lower:.0%})")
    return list(found.values())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.missing_values", description=__doc__)
    parser.add_argument("books", nargs="*", choices=["real", "generated"], default=["real", "generated"])
    parser.add_argument("--policy", choices=["allowed", "worst_case"], default=None)
    asked = parser.parse_args()
    for name in asked.books:
        folder = real_loans()
        if name == "real" and folder is None:
            print("the public loans are not here: set CREDIT_TEST_DATA to their folder")
            continue
        if name == "real" and folder is not None:
            book, as_of, lookback = real_book(folder), date(2011, 12, 31), 730
        else:
            book, as_of, lookback = generated(100, 0, date(2010, 1, 1), 1100), date(2013, 1, 3), 365
        rows = measured(book, as_of, lookback, stating(asked.policy))
        print(f"\n{book.name} as of {as_of}, policy {asked.policy or 'not stated'}\n")
        print(table(["taken away", "train rows without", *VARIANTS], rows))


if __name__ == "__main__":
    main()
