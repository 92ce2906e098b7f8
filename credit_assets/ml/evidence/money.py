"""What each cut-off would bring on loans whose outcome is known: approvals, bads, losses, profit; and who changes sides
against another model.

Belongs here: the measures. Does not belong here: the cut-off itself (`cutoffs`), and which loans these are
(`credit_assets.assets.cutoffs`).

All of it is on funded loans: what declined applicants would have done is not known, and nothing is assumed of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from credit_assets.ml.data.policies import CutoffPolicy
from credit_assets.ml.evidence.cutoffs import cut_off
from credit_assets.ml.evidence.intervals import TAIL, proportion

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATES = tuple(n / 20 for n in range(1, 20))
"""Approval rates of the table, beside that of everyone."""
SWAP_RATES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_SEED = 20071


@dataclass(frozen=True)
class FundedLoans:
    """Funded loans: whether each was bad, its PD and its amount, and whose it is, an integer a loan, where customers
    have several.
    """

    bad: NDArray[np.bool_]
    pd: NDArray[np.float64]
    amount: NDArray[np.float64]
    groups: NDArray[np.int64] | None = None

    def kept(self, rows: NDArray[np.bool_]) -> FundedLoans:
        groups = None if self.groups is None else self.groups[rows]
        return FundedLoans(self.bad[rows], self.pd[rows], self.amount[rows], groups)


def break_even(policy: CutoffPolicy) -> float:
    """The PD at which approving brings as much as declining: (m + g) / (m + g + l - b), with margin m, loss given
    default l, and the costs g and b of declining a good and a bad loan. 1 where approving always pays.

    Examples
    --------
    >>> break_even(CutoffPolicy(margin=0.1, loss_given_default=0.4))
    0.2
    """
    gain = policy.margin + policy.declined_good
    lost = policy.loss_given_default - policy.declined_bad
    return 1.0 if lost <= 0 else gain / (gain + lost)


def measure_money(
    loans: FundedLoans, applied: NDArray[np.float64], policy: CutoffPolicy, own: float | None = None
) -> dict[str, Any]:
    """What each of some twenty cut-offs would have brought, and the best one.

    Parameters
    ----------
    loans
        Loans whose PDs are known.
    applied
        PDs of those who applied: a share of these is the approval rate of a cut-off. None among them is NaN.
    policy
        What approving and declining cost.
    own
        The model's own cut-off, which gets a row as well.

    Returns
    -------
    dict
        JSON types: numbers of `loans` and `bads`, their `amount`; `costs`; `break_even`; `table`, a row a cut-off,
        the strictest first; `own`, the row of the model's own cut-off, or None; `best`, the row of the cut-off of
        largest profit with the 95% interval of its place (`low`, `high`: percentiles of a bootstrap of customers).

    Raises
    ------
    ValueError
        Where there are no loans, or nobody applied.

    Examples
    --------
    Five loans of one each; a loan that is repaid brings .1, one that defaults costs .6:

    >>> loans = FundedLoans(np.array([0, 0, 1, 0, 1], bool), np.array([0.02, 0.05, 0.1, 0.1, 0.3]), np.ones(5))
    >>> found = measure_money(loans, loans.pd, CutoffPolicy(), own=0.1)
    >>> found["best"]["pd"], round(found["best"]["profit"], 2), round(found["own"]["profit"], 2)
    (0.05, 0.2, -0.3)
    """
    if not len(loans.bad) or not len(applied):
        raise ValueError("no loans with a known outcome, or nobody who applied, to measure cut-offs on")
    gain, without = _gains(loans, policy)
    every = float(max(applied.max(), loans.pd.max()))
    cuts = [_at_rate(applied, rate) for rate in RATES] + [every]

    def row(cut: float) -> dict[str, Any]:
        inside = loans.pd <= cut
        some, bads = int(inside.sum()), int(loans.bad[inside].sum())
        found = proportion(bads, some)
        loss = policy.loss_given_default * loans.amount[inside]
        return {
            "pd": cut,
            "approval_rate": float((applied <= cut).mean()),
            "loans": some,
            "bads": bads,
            "bad_rate": found.to_record() if found else None,
            "expected_loss": float(loss @ loans.pd[inside]),
            "loss": float(loss @ loans.bad[inside]),
            "profit": without + float(gain[inside].sum()),
        }

    best, ends = _best(loans, gain, policy.bootstrap)
    return {
        "loans": len(loans.bad),
        "bads": int(loans.bad.sum()),
        "amount": float(loans.amount.sum()),
        "costs": {
            name: getattr(policy, name) for name in ("loss_given_default", "margin", "declined_good", "declined_bad")
        },
        "break_even": break_even(policy),
        "table": [row(cut) for cut in dict.fromkeys(cuts)],
        "own": None if own is None else row(own),
        "best": {**row(best), "low": ends[0], "high": ends[1], "draws": policy.bootstrap},
    }


def profit_at(loans: FundedLoans, cut: float, policy: CutoffPolicy) -> float:
    """What approving up to a cut-off brings, less what declining the others costs."""
    gain, without = _gains(loans, policy)
    return without + float(gain[loans.pd <= cut].sum())


def measure_swap(
    ours: FundedLoans, theirs: NDArray[np.float64], cuts: tuple[float, float], policy: CutoffPolicy
) -> Any:
    """Loans by whether each of two models approves them: `in` by ours alone, `out` by theirs alone, `both`, `neither`,
    each with its loans, bads, bad rate and interval; and `gain`, what approving `in` brings more than `out`.

    Parameters
    ----------
    ours
        Loans with the PDs of our model.
    theirs
        PDs of the other model, in the same order.
    cuts
        Our cut-off and theirs.
    policy
        What approving and declining cost.

    Examples
    --------
    >>> loans = FundedLoans(np.array([0, 1, 0, 1], bool), np.array([0.1, 0.3, 0.1, 0.3]), np.ones(4))
    >>> found = measure_swap(loans, np.array([0.3, 0.1, 0.1, 0.3]), (0.2, 0.2), CutoffPolicy())
    >>> found["in"]["bads"], found["out"]["bads"], round(found["gain"], 2)
    (0, 1, 0.7)
    """
    we, they = ours.pd <= cuts[0], theirs <= cuts[1]
    gain, _ = _gains(ours, policy)
    sides = {"in": we & ~they, "out": ~we & they, "both": we & they, "neither": ~we & ~they}
    record: dict[str, Any] = {"cut_offs": list(cuts)}
    for name, inside in sides.items():
        some, bads = int(inside.sum()), int(ours.bad[inside].sum())
        rate = proportion(bads, some)
        record[name] = {"loans": some, "bads": bads, "bad_rate": rate.to_record() if rate else None}
    return {**record, "gain": float(gain[sides["in"]].sum() - gain[sides["out"]].sum())}


def swaps_at_equal_rates(ours: FundedLoans, theirs: NDArray[np.float64], policy: CutoffPolicy) -> list[dict[str, Any]]:
    """`measure_swap` where both models approve the same share of these loans, for each of SWAP_RATES."""
    return [
        {"rate": rate, **measure_swap(ours, theirs, (_at_rate(ours.pd, rate), _at_rate(theirs, rate)), policy)}
        for rate in SWAP_RATES
    ]


def _at_rate(pd: NDArray[np.float64], rate: float) -> float:
    found = cut_off(pd, CutoffPolicy(approval_rate=rate))
    assert found is not None
    return found


def _gains(loans: FundedLoans, policy: CutoffPolicy) -> tuple[NDArray[np.float64], float]:
    """What approving each loan brings more than declining it, and what declining all of them would come to."""
    good = (policy.margin + policy.declined_good) * loans.amount
    bad = (policy.loss_given_default - policy.declined_bad) * loans.amount
    declined = np.where(loans.bad, policy.declined_bad, policy.declined_good) * loans.amount
    return np.where(loans.bad, -bad, good), -float(declined.sum())


def _best(loans: FundedLoans, gain: NDArray[np.float64], draws: int) -> tuple[float, tuple[float, float]]:
    """The PD up to which approving brings most, 0 where nobody should be approved, and the ends of its interval."""
    order = np.argsort(loans.pd, kind="stable")
    pd, gain = loans.pd[order], gain[order]
    groups = np.arange(len(pd)) if loans.groups is None else np.unique(loans.groups[order], return_inverse=True)[1]
    # A cut-off cannot lie between equal PDs.
    last = np.flatnonzero(np.append(pd[1:] > pd[:-1], True))
    places = np.concatenate([[0.0], pd[last]])

    def best(weights: NDArray[np.float64]) -> float:
        return float(places[np.concatenate([[0.0], np.cumsum(weights * gain)[last]]).argmax()])

    rng, count = np.random.default_rng(_SEED), int(groups.max()) + 1
    drawn = [
        best(np.bincount(rng.integers(count, size=count), minlength=count)[groups].astype(np.float64))
        for _ in range(draws)
    ]
    low, high = np.quantile(drawn, [TAIL, 1 - TAIL])
    return best(np.ones(len(pd))), (float(low), float(high))
