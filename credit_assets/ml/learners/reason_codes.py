"""The reasons of applicants: which groups of features speak most against each, by what they add to the model's margin.

Belongs here: from contributions of features to reasons in order. Does not belong here: the contributions themselves
(`scorer`, `tree_contributions`), what the reasons are called (`credit_assets.ml.data.reasons`), and who is declined.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from credit_assets.ml.data.reasons import ReasonContract
    from credit_assets.ml.data.rows import Data
    from credit_assets.ml.learners.scorer import CreditScorer

    Mask = NDArray[np.bool_]

DIGITS = 5
"""Of log-odds: what differs by less is equal, so that the last bits of a sum decide nothing."""


@dataclass(frozen=True)
class Effects:
    """What each group of a contract adds to what the model says of some rows, rows by groups; NaN where it refuses one.

    `log_odds` is of default before calibration, rounded; positive speaks against the applicant. `points` is the same on
    the scale of scores, where negative does; `rest` the points of the features that are no reason, and `reference` what
    nobody in particular has: all of them together are the row's score. `missing` is where a group speaks against the
    applicant by values that are missing at least as much as by those that are there.
    """

    log_odds: NDArray[np.float64]
    points: NDArray[np.float64]
    rest: NDArray[np.float64]
    missing: Mask
    reference: float


def effects(scorer: CreditScorer, contract: ReasonContract, data: Data, *, threads: int = 1) -> Iterator[Effects]:
    """The effects of a batch of rows at a time, in their order.

    What a derived feature adds that is missing since an input is, counts with the reason of that input: nobody is told
    that his debt is high in relation to an income that is not known.

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
    own, rest = _groups_of(scorer, contract), len(contract.groups)
    for found in scorer.contributions(data, threads=threads):
        group, gone = _placed(scorer, own, rest, found.missing)
        log_odds, points = (_by_group(values, group, rest) for values in (found.values, found.points))
        missing = np.round(_by_group(np.where(gone, found.values, 0.0), group, rest), DIGITS)
        # Without negative zeros.
        rounded = np.round(log_odds, DIGITS) + 0.0
        by_missing = (rounded > 0) & (2 * missing >= rounded)
        reference = float(scorer.scale.points(scorer.calibration.log_odds(found.base)))
        yield Effects(rounded[:, :rest], points[:, :rest], points[:, rest], by_missing[:, :rest], reference)


def reason_codes(
    scorer: CreditScorer, contract: ReasonContract, data: Data, *, threads: int = 1
) -> list[list[str] | None]:
    """The codes of the reasons of each row, the gravest first: `contract.most` at most, and none that does not speak
    against the applicant. Equal ones come in the order of the contract. None for a row that the model refuses.

    Takes and raises what `effects` does.
    """
    codes = np.array([(group.code, group.missing_code) for group in contract.groups], dtype=object).reshape(-1, 2)
    found: list[list[str] | None] = []
    for batch in effects(scorer, contract, data, threads=threads):
        order = np.argsort(-batch.log_odds, axis=1, kind="stable")[:, : contract.most]
        adverse = np.take_along_axis(batch.log_odds, order, axis=1) > 0
        names = codes[order, np.take_along_axis(batch.missing, order, axis=1).astype(int)]
        refused = np.isnan(batch.rest) | np.isnan(batch.log_odds).any(axis=1)
        for row, shown, gone in zip(names, adverse, refused, strict=True):
            found.append(None if gone else row[shown].tolist())
    return found


def in_words(contract: ReasonContract, codes: Sequence[str]) -> list[str]:
    """What an applicant with these reasons reads."""
    texts = contract.texts
    return [texts[code] for code in codes]


def _groups_of(scorer: CreditScorer, contract: ReasonContract) -> NDArray[np.int64]:
    """For each feature the place of its group, the one behind the last for those that are no reason."""
    place = {name: at for at, group in enumerate(contract.groups) for name in group.features}
    return np.array([place.get(name, len(contract.groups)) for name in scorer.features], dtype=np.int64)


def _placed(scorer: CreditScorer, own: NDArray[np.int64], rest: int, missing: Mask) -> tuple[NDArray[np.int64], Mask]:
    """For each row and feature the group that it counts with, and whether it speaks by a missing value.

    A derived feature that cannot be computed from values that are there speaks by these values. One whose inputs are
    missing counts with the group of one of them: its own where that is among theirs, else the first that is a reason.
    """
    at = {name: column for column, name in enumerate(scorer.features)}
    group, gone = np.tile(own, (len(missing), 1)), missing.copy()
    for derived in scorer.derived:
        column = at.get(derived.name, -1)
        if column < 0 or not missing[:, column].any():
            continue
        sources = [at[name] for name in reversed(dict.fromkeys(derived.inputs.values())) if name in at]
        gone[:, column] = missing[:, sources].any(axis=1) & missing[:, column]
        if own[column] == rest:
            continue
        # The last that writes stands.
        for source in sorted(sources, key=lambda s: (own[s] != rest, own[s] == own[column])):
            group[missing[:, column] & missing[:, source], column] = own[source]
    return group, gone


def _by_group(values: NDArray[np.float64], group: NDArray[np.int64], rest: int) -> NDArray[np.float64]:
    """Sums by row and group, rows by groups and the rest."""
    # One column after the other: a sum over an axis adds in an order that depends on how many rows there are.
    total, rows = np.zeros((len(values), rest + 1)), np.arange(len(values))
    for column in range(values.shape[1]):
        total[rows, group[:, column]] += values[:, column]
    return total
