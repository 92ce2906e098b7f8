"""How a trained model treats protected groups, and what its features tell of them.

Belongs here: gathering the evidence: protected columns of those who applied on the days of the test, and of its loans,
from `raw_loan_data`. Does not belong here: the measures (`ml.evidence.fairness`, `ml.evidence.protected_association`)
and the rules (`ml.rules.fairness_rules`).

Protected columns end in `raw_loan_data`: no table that a learner reads has one. What is joined here is measured and
forgotten, and a record holds counts of groups alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from credit_assets.assets.applied import columns_beside
from credit_assets.assets.cutoffs import FEATURES, applied_on
from credit_assets.assets.first_days import thinned
from credit_assets.assets.model_inputs import ModelInputs
from credit_assets.assets.policies import policy_of
from credit_assets.assets.stored_days import StoredDays
from credit_assets.failures import PermanentError, error_text
from credit_assets.ml.data.fairness import Attribute, Fairness, fairness_of
from credit_assets.settings import Settings
from credit_assets.storage.store import Store

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from credit_assets.ml.evidence.fairness import FairnessSample, Groups
    from credit_assets.ml.learners.scorer import CreditScorer

_MOST_ROWS = 20_000
INDICATIVE_RATE = 0.8
"""Approval rate at which approvals are compared of a model that declines nobody; nothing is judged by it."""
_RATES = (0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class _Rows:
    """Applications or loans, with the groups of each protected column."""

    table: pa.Table
    groups: Mapping[str, Groups]


def fairness_record(
    settings: Settings,
    store: Store,
    candidates: Sequence[Mapping[str, Any]],
    scorer_of: Callable[[Mapping[str, Any]], CreditScorer],
    scorer: CreditScorer,
    training_set: pa.Table,
) -> dict[str, Any]:
    """What `judge_fairness` reads; or `why` there is nothing to compare. `candidates` are the records of all candidates
    of the day, and `scorer_of` gives the model of one: one of them may discriminate less.
    """
    import pyarrow.compute as pc

    from credit_assets.ml.evidence.fairness import less_discriminatory

    portfolio = settings.portfolio_contract
    if not portfolio.protected_columns:
        return {"why": "the portfolio has no column with role: protected"}
    fairness = fairness_of(portfolio)
    test = thinned(training_set.filter(pc.equal(training_set["split"], "test")))
    days = applied_on(store, training_set, settings)
    everyone = StoredDays(store).sample(FEATURES, days, _MOST_ROWS) if days else test
    try:
        everyone = ModelInputs(store, portfolio).beside(everyone, scorer)
    except PermanentError as error:
        return {"why": f"{error}", "limits": fairness.model_dump(mode="json")}
    applied = _with_groups(settings, store, fairness, everyone)
    loans = _with_groups(settings, store, fairness, test, applied.groups)
    record: dict[str, Any] = {
        "limits": fairness.model_dump(mode="json"),
        "stated": portfolio.fairness is not None,
        "population": "all applications of the days of the test" if days else "the loans of the test",
        "days": [f"{day}" for day in _ends(test, portfolio.date_column)],
        "applications": everyone.num_rows,
        "attributes": [],
    }
    record |= _association(settings, fairness, applied, scorer.features)
    (of_applied, kept), (of_loans, kept_loans) = (
        _scored(scorer, rows.table, settings.training_threads) for rows in (applied, loans)
    )
    if not len(of_applied.pd) or not len(of_loans.pd):
        return {**record, "why": "the model scores none of them"}
    cut = scorer.cut_off if scorer.cut_off is not None else _at(of_applied.pd, INDICATIVE_RATE)
    record |= {"cut_off": cut, "indicative": scorer.cut_off is None, "refused": int((~kept).sum())}
    record["attributes"] = [
        _measured(attribute, fairness, (applied, of_applied, kept), (loans, of_loans, kept_loans), cut)
        for attribute in fairness.attributes
    ]
    approved = float((of_applied.pd <= cut).mean())
    curve = _alternatives(settings, candidates, scorer_of, (applied, loans), record, approved)
    found = less_discriminatory(curve, scorer.variant, fairness.max_auc_loss)
    return {**record, "alternatives": curve, "less_discriminatory": found}


def _with_groups(
    settings: Settings, store: Store, fairness: Fairness, rows: pa.Table, of: Mapping[str, Groups] | None = None
) -> _Rows:
    """The rows with the groups of every protected column, in the bands of other groups where these are given."""
    import numpy as np

    from credit_assets.ml.evidence.fairness import edges_of, groups_of_values

    portfolio, stated = settings.portfolio_contract, {one.column: one for one in fairness.attributes}
    columns = columns_beside(store, portfolio, rows, portfolio.protected_columns)
    days, groups = rows[portfolio.date_column], {}
    for name, values in columns.items():
        attribute = stated.get(name) or Attribute(column=name)
        before = of[name].numbers if of else None
        edges = None if before is None else edges_of(attribute, np.asarray(before))
        groups[name] = groups_of_values(attribute, values, days, edges)
    return _Rows(rows, groups)


def _association(settings: Settings, fairness: Fairness, applied: _Rows, features: Sequence[str]) -> dict[str, Any]:
    from credit_assets.ml.evidence.protected_association import measure_association, measure_proxy, shown

    portfolio, least = settings.portfolio_contract, fairness.min_group_size
    names = [name for name in features if name in applied.table.column_names]
    categorical = [name for name in names if name in portfolio.categorical_features]
    found = measure_association(applied.table, names, applied.groups, least)
    proxy = {
        column: measure_proxy(applied.table, names, categorical, groups, least)
        for column, groups in applied.groups.items()
    }
    return {"association": shown(found, fairness.max_association), "proxy": proxy}


def _measured(
    attribute: Attribute,
    fairness: Fairness,
    applied: tuple[_Rows, FairnessSample, NDArray[np.bool_]],
    loans: tuple[_Rows, FairnessSample, NDArray[np.bool_]],
    cut: float,
) -> dict[str, Any]:
    from credit_assets.ml.evidence.fairness import measure_attribute

    sides = [(rows.groups[attribute.column].part(kept), sample) for rows, sample, kept in (applied, loans)]
    return measure_attribute(attribute, fairness, sides[0], sides[1], cut)


def _scored(scorer: CreditScorer, rows: pa.Table, threads: int) -> tuple[FairnessSample, NDArray[np.bool_]]:
    """What a model says of rows, without those that it refuses; and which were kept."""
    import numpy as np

    from credit_assets.ml.evidence.fairness import FairnessSample

    scores = scorer.score(rows, threads=threads)
    pd, points = scores["pd"].to_numpy(), scores["score"].to_numpy()
    kept = ~np.isnan(pd)
    bad = rows["default"].to_numpy() == 1 if "default" in rows.column_names else None
    return FairnessSample(pd[kept], points[kept], None if bad is None else bad[kept]), kept


def _alternatives(
    settings: Settings,
    candidates: Sequence[Mapping[str, Any]],
    scorer_of: Callable[[Mapping[str, Any]], CreditScorer],
    rows: tuple[_Rows, _Rows],
    record: Mapping[str, Any],
    own_rate: float,
) -> list[dict[str, Any]]:
    """Each candidate at each of some approval rates, and at the model's own: the AUC on the loans, the profit, and the
    smallest AIR of each attribute. One that could not be scored is left out with why.
    """
    import numpy as np

    from credit_assets.ml.evidence.fairness import air_of, rank_auc
    from credit_assets.ml.evidence.money import FundedLoans, profit_at

    applied, loans = rows
    policy, threads, found = policy_of(settings).cutoff, settings.training_threads, []
    for one in candidates:
        if one.get("status") != "trained":
            continue
        try:
            other = scorer_of(one)
            of_applied, kept = _scored(other, applied.table, threads)
            of_loans, _ = _scored(other, loans.table, threads)
            assert of_loans.bad is not None
            auc = rank_auc(of_loans.bad, of_loans.pd)
        except (PermanentError, ValueError) as error:
            found.append({"variant": one["variant"], "why": error_text(error)})
            continue
        funded = FundedLoans(of_loans.bad, of_loans.pd, np.ones(len(of_loans.pd)))
        for rate in sorted({*_RATES, own_rate}):
            cut = _at(of_applied.pd, rate)
            approved = of_applied.pd <= cut
            air = {
                of["column"]: air_of(applied.groups[of["column"]].part(kept), approved, of)
                for of in record["attributes"]
            }
            own = rate == own_rate
            found.append(
                {
                    "variant": one["variant"],
                    "approval_rate": rate,
                    "own_rate": own,
                    "pd": cut,
                    "auc": auc,
                    "profit": profit_at(funded, cut, policy),
                    "air": air,
                }
            )
    return found


def _at(pd: NDArray[np.float64], rate: float) -> float:
    from credit_assets.ml.data.policies import CutoffPolicy
    from credit_assets.ml.evidence.cutoffs import cut_off

    # A model may approve nobody, or everybody; the policy asks for neither.
    found = cut_off(pd, CutoffPolicy(approval_rate=min(max(rate, 1e-12), 1 - 1e-12)))
    assert found is not None
    return found


def _ends(rows: pa.Table, column: str) -> tuple[date, date]:
    import pyarrow.compute as pc

    ends = pc.min_max(rows[column]).as_py()
    return ends["min"], ends["max"]
