"""The reasons of applicants: which groups of features speak most against each, by what they add to the model's margin.

Belongs here: from contributions of features to reasons in order. Does not belong here: the contributions themselves
(`scorer`, `tree_contributions`), what the reasons are called (`credit_assets.ml.data.reasons`), and who is declined.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from credit_assets.ml.data.reasons import ReasonContract
    from credit_assets.ml.data.rows import Data
    from credit_assets.ml.learners.scorer import CreditScorer

DIGITS = 5
"""Of log-odds: what differs by less is equal, so that the last bits of a sum decide nothing."""


@dataclass(frozen=True)
class Effects:
    """What each group of a contract adds to what the model says of some rows, rows by groups; NaN where it refuses one.

    `log_odds` is of default before calibration, rounded; positive speaks against the applicant. `points` is the same on
    the scale of scores, where negative does; `rest` the points of the features that are no reason, and `reference` what
    nobody in particular has: all of them together are the row's score.
    """

    log_odds: NDArray[np.float64]
    points: NDArray[np.float64]
    rest: NDArray[np.float64]
    reference: float


def effects(scorer: CreditScorer, contract: ReasonContract, data: Data, *, threads: int = 1) -> Iterator[Effects]:
    """The effects of a batch of rows at a time, in their order.

    Parameters
    ----------
    scorer
        The model that decides about them.
    contract
        Its groups; a feature of the model that it does not know is a group of its own (`covering`).
    data
        As of `CreditScorer.score`.
    threads
        To compute with.

    Raises
    ------
    ValueError
        As `CreditScorer.contributions`.
    """
    place = {name: at for at, name in enumerate(scorer.features)}
    groups = [[place[name] for name in group.features if name in place] for group in contract.groups]
    inside = {at for group in groups for at in group}
    rest = [at for at in range(len(scorer.features)) if at not in inside]
    for found in scorer.contributions(data, threads=threads):
        log_odds = np.stack([_sum(found.values, group) for group in groups], axis=1)
        points = np.stack([_sum(found.points, group) for group in groups], axis=1)
        reference = float(scorer.scale.points(scorer.calibration.log_odds(found.base)))
        # Without negative zeros.
        yield Effects(np.round(log_odds, DIGITS) + 0.0, points, _sum(found.points, rest), reference)


def reason_codes(
    scorer: CreditScorer, contract: ReasonContract, data: Data, *, threads: int = 1
) -> list[list[str] | None]:
    """The codes of the reasons of each row, the gravest first: `contract.most` at most, and none that does not speak
    against the applicant. Equal ones come in the order of the contract. None for a row that the model refuses.

    Takes and raises what `effects` does.
    """
    codes = np.array([group.code for group in contract.groups], dtype=object)
    found: list[list[str] | None] = []
    for batch in effects(scorer, contract, data, threads=threads):
        order = np.argsort(-batch.log_odds, axis=1, kind="stable")[:, : contract.most]
        adverse = np.take_along_axis(batch.log_odds, order, axis=1) > 0
        refused = np.isnan(batch.rest)
        for names, shown, gone in zip(codes[order], adverse, refused, strict=True):
            found.append(None if gone else names[shown].tolist())
    return found


def in_words(contract: ReasonContract, codes: Sequence[str]) -> list[str]:
    """What an applicant with these reasons reads."""
    texts: Mapping[str, str] = {group.code: group.text for group in contract.groups}
    return [texts[code] for code in codes]


def _sum(values: NDArray[Any], columns: Sequence[int]) -> NDArray[np.float64]:
    # One column after the other: a sum over an axis adds in an order that depends on how many rows there are.
    total = np.zeros(len(values))
    for column in columns:
        total += values[:, column]
    return total
