"""What a validator reads of a trained model and no rule decides by: the information in its features, how alike its
splits are, and its curves on the out-of-time test.

Belongs here: which rows are measured. Does not belong here: the measures (`credit_assets.ml.evidence`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from credit_assets.assets.first_days import thinned
from credit_assets.assets.policies import drift_policy
from credit_assets.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

    from credit_assets.ml.learners.scorer import CreditScorer


def described_record(settings: Settings, scorer: CreditScorer, training_set: pa.Table) -> dict[str, Any]:
    """`information_value`, `stability` and `curves` of the record of `trained_model`. At most 20,000 rows of a split
    are looked at, evenly taken, but for the curves, which are of the whole test as its evaluation is.
    """
    import pyarrow.compute as pc

    from credit_assets.ml.data.cohorts import SPLIT, SPLITS, TARGET
    from credit_assets.ml.evidence.curves import measure_curves
    from credit_assets.ml.evidence.information import measure_information
    from credit_assets.ml.evidence.stability import measure_stability

    parts = {name: training_set.filter(pc.equal(training_set[SPLIT], name)) for name in SPLITS}
    test = parts["test"]
    # A derived feature that has left the portfolio is in no table.
    features = [name for name in scorer.features if name in training_set.column_names]
    categorical = [name for name in features if name in scorer.categories]
    some = {name: thinned(rows) for name, rows in parts.items()}
    scored = scorer.score(test, threads=settings.training_threads)
    of_test = scorer.score(some["test"], threads=settings.training_threads) if some["test"] is not test else scored
    points = {
        name: scorer.score(rows, threads=settings.training_threads)["score"].to_numpy()
        for name, rows in some.items()
        if name != "test" and rows.num_rows
    }
    points["test"] = of_test["score"].to_numpy()
    return {
        "information_value": _information(some["train"], features, categorical, measure_information, TARGET),
        "stability": measure_stability(some, points, features, categorical, drift_policy(settings)),
        "curves": measure_curves(test[TARGET].to_numpy(), scored["pd"].to_numpy(), scored["score"].to_numpy()),
    }


def _information(train: pa.Table, features: list[str], categorical: list[str], measure: Any, target: str) -> Any:
    found = train[target].to_numpy()
    if len(set(found.tolist())) < 2:
        return {"why": "the train rows have one outcome only"}
    return {"rows": train.num_rows, "bads": int(found.sum()), "features": measure(train, found, features, categorical)}
