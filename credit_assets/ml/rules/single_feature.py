"""How well one feature alone ranks the outcome, and what of that is chance.

Belongs here: the AUC of one column in whatever form it tells the outcome, and its near end. Does not belong here: the
limit (`training_gates`), and measures of models (`credit_assets.ml.evidence`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from credit_assets.ml.data.values import numbers, texts

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

# A level seen less often is judged together with the other rare ones: its own default rate is noise, and enough noisy
# levels rank any target.
_RARE_LEVEL = 20
# Fewer goods or bads rank well by luck; the gate on their numbers speaks before this one has to.
_FEWEST_TO_RANK = 10
_BINS = 10


def single_feature_auc(values: pa.ChunkedArray, bad: NDArray[np.bool_]) -> float | None:
    """AUC (area under the ROC curve) of one column as the score, in the better direction: 0.5 .. 1.

    Missing values of a number are ranked below and above all others in turn and the larger AUC is taken, since a value
    that is only there for defaulted loans leaks by its absence; and its tenths are scored as levels too, since codes
    and distances need not rise with risk. A level is scored by its default rate among the rows of the other half, rare
    ones pooled: by its own rate many levels rank any target. None where goods or bads are too few to rank.

    Mann-Whitney: U / (b g), with U the number of pairs of a bad and a good in which the bad ranks higher, ties half.
    """
    import numpy as np

    if min(int(bad.sum()), int((~bad).sum())) < _FEWEST_TO_RANK:
        return None
    if _is_text(values):
        places, different = texts(values)
        of_text = {text: number for number, text in enumerate(dict.fromkeys(text or "" for text in different))}
        return _of_levels(np.array([of_text[text or ""] for text in different], dtype=np.int64)[places], bad)
    scores = numbers(values)
    known = np.isfinite(scores)
    edges = np.unique(np.quantile(scores[known], np.arange(1, _BINS) / _BINS)) if known.any() else np.empty(0)
    tenths = np.where(known, np.searchsorted(edges, np.where(known, scores, 0.0), side="right"), len(edges) + 1)
    return max(_of_levels(tenths, bad), *(max(area, 1 - area) for area in _of_numbers(scores, known, bad)))


def near_end(auc: float, bads: int, goods: int) -> float:
    """The end of the interval of an AUC that is nearer to chance: less one standard error.

    Of a feature whose AUC is .70 it lies above .75 in 1 of 100 sets of 40 bads, of one of .66 in 1 of 1,000. Of a leak
    of .80 it stays below in 43 of 100 sets of 40 bads and 8 of 100 of 150, of one of .85 in 4 and in none.
    Source: J. A. Hanley, B. J. McNeil, Radiology 143, 1982.

    Parameters
    ----------
    auc
        As `single_feature_auc` gives it.
    bads, goods
        How many it ranked.

    Examples
    --------
    >>> round(near_end(0.80, 40, 400), 3), round(near_end(0.80, 400, 4_000), 3)
    (0.757, 0.786)
    """
    two_bads, two_goods = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (bads - 1) * (two_bads - auc**2) + (goods - 1) * (two_goods - auc**2)
    return auc - math.sqrt(variance / (bads * goods))


def _of_numbers(scores: NDArray[np.float64], known: NDArray[np.bool_], bad: NDArray[np.bool_]) -> tuple[float, float]:
    """AUC with missing values below all others, and above them."""
    import numpy as np

    bads = int(bad.sum())
    goods = len(bad) - bads
    known_bads, known_goods = scores[bad & known], np.sort(scores[~bad & known])
    # Twice the number of pairs: counting both sides of the ties.
    below, not_above = (
        int(np.searchsorted(known_goods, known_bads, side).sum(dtype=np.int64)) for side in ("left", "right")
    )
    missing_bads, missing_goods = bads - len(known_bads), goods - len(known_goods)
    among = (below + not_above) / 2 + missing_bads * missing_goods / 2
    lowest, highest = len(known_bads) * missing_goods, missing_bads * len(known_goods)
    return (among + lowest) / (bads * goods), (among + highest) / (bads * goods)


def _of_levels(level: NDArray[np.int64], bad: NDArray[np.bool_]) -> float:
    """AUC of levels: the mean over both halves of the rows, each scored by the rates of the other; at least 0.5. A
    level that the other half lacks has its mean rate.
    """
    import numpy as np

    last = int(level.max()) + 1
    level = np.where(np.bincount(level)[level] < _RARE_LEVEL, last, level)
    # Every second good and every second bad, so that both halves have either. Rows: halves; columns: levels.
    bads, goods = (
        np.array([np.bincount(level[at[first::2]], minlength=last + 1) for first in (0, 1)])
        for at in (np.flatnonzero(bad), np.flatnonzero(~bad))
    )
    rows = bads + goods
    rates = np.where(rows > 0, bads / np.maximum(rows, 1), (bads.sum(axis=1) / rows.sum(axis=1))[:, None])
    return max(0.5, float(np.mean([_area(rates[1 - half], bads[half], goods[half]) for half in (0, 1)])))


def _area(rates: NDArray[np.float64], bads: NDArray[np.int64], goods: NDArray[np.int64]) -> float:
    """The share of pairs in which the bad's level has the larger rate, ties half; from the rows of each level."""
    import numpy as np

    _, place = np.unique(rates, return_inverse=True)
    b, g = (np.bincount(place, weights=rows) for rows in (bads, goods))
    return float((b * (np.cumsum(g) - g / 2)).sum() / (b.sum() * g.sum()))


def _is_text(values: pa.ChunkedArray) -> bool:
    import pyarrow as pa

    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
