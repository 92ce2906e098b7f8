"""How well PDs rank and how true they are, and how two models differ on the same rows.

Belongs here: measures. Does not belong here: thresholds on them (`decisions`).

Written in numpy: importing sklearn.metrics costs four CPU seconds in every step. Tests hold each against scikit-learn.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

_Z95 = 1.959963984540054
# Two-sided 5% test with 80% power: z(0.975) + z(0.80).
_DETECTABLE = 1.959963984540054 + 0.8416212335729143
DECILES = 10


@dataclass(frozen=True)
class Evaluation:
    """Measures of PDs against outcomes (1 = default).

    auc: area under the ROC curve, P(PD of a bad > PD of a good), ties counting half (Mann-Whitney).
    auc_low, auc_high: 95% DeLong interval.   gini: 2 * auc - 1.
    ks: largest distance between the distributions of PD among bads and goods, between 0 and 1.
    brier: mean of (PD - outcome)^2.   log_loss: mean of -ln(PD of what happened), in nats.
    ece: expected calibration error over deciles of PD: sum of share * |mean PD - default rate|.
    observed_over_expected: default rate over mean PD.
    lift: by decile of PD, riskiest first: default rate of the decile over default rate of all.
    """

    rows: int
    bads: int
    auc: float
    auc_low: float
    auc_high: float
    gini: float
    ks: float
    brier: float
    log_loss: float
    ece: float
    observed_rate: float
    expected_rate: float
    observed_over_expected: float
    lift: tuple[float, ...]

    def to_record(self) -> dict[str, Any]:
        return {**asdict(self), "lift": list(self.lift)}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Evaluation:
        return cls(**{**record, "lift": tuple(record["lift"])})


@dataclass(frozen=True)
class AucDifference:
    """AUC of the candidate minus AUC of the champion on the same rows, with its 95% paired DeLong interval.

    smallest_detectable_difference: what a two-sided 5% test on these rows finds with 80% power, 2.80 * standard error.
    """

    difference: float
    standard_error: float
    ci_low: float
    ci_high: float
    p_value: float
    smallest_detectable_difference: float
    rows: int
    bads: int

    def to_record(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> AucDifference:
        return cls(**record)


def evaluate(target: npt.ArrayLike, pd: npt.ArrayLike) -> Evaluation:
    """All measures of `pd` (probabilities, shape n) against `target` (0 or 1, shape n).

    Raises ValueError where lengths differ, a PD is outside 0 .. 1 or missing, or one class is missing.
    """
    import numpy as np

    y, p = _checked(target, pd)
    auc, components = _delong([p], y)
    standard_error = math.sqrt(max(float(_covariance(components, y)[0, 0]), 0.0))
    area = float(auc[0])
    clipped = np.clip(p, 1e-15, 1 - 1e-15)
    deciles = decile_table(y, p)
    base = float(y.mean())
    return Evaluation(
        rows=len(y),
        bads=int(y.sum()),
        auc=area,
        auc_low=max(0.0, area - _Z95 * standard_error),
        auc_high=min(1.0, area + _Z95 * standard_error),
        gini=2 * area - 1,
        ks=_ks(y, p),
        brier=float(np.mean((p - y) ** 2)),
        log_loss=float(-np.mean(y * np.log(clipped) + (1 - y) * np.log(1 - clipped))),
        ece=float(sum(d["share"] * abs(d["expected"] - d["observed"]) for d in deciles)),
        observed_rate=base,
        expected_rate=float(p.mean()),
        observed_over_expected=base / max(float(p.mean()), 1e-12),
        lift=tuple(d["observed"] / base for d in deciles),
    )


def compare(target: npt.ArrayLike, candidate: npt.ArrayLike, champion: npt.ArrayLike) -> AucDifference:
    """Paired DeLong test (DeLong et al. 1988; algorithm of Sun and Xu 2014, O(n log n)).

    The variance of the difference counts that both models judge the same rows: var(a) + var(b) - 2 cov(a, b).
    Raises ValueError as `evaluate`.
    """
    y, ours = _checked(target, candidate)
    _, theirs = _checked(target, champion)
    auc, components = _delong([ours, theirs], y)
    covariance = _covariance(components, y)
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    difference, error = float(auc[0] - auc[1]), math.sqrt(max(variance, 0.0))
    p_value = math.erfc(abs(difference) / error / math.sqrt(2)) if error else (1.0 if difference == 0 else 0.0)
    return AucDifference(
        difference=difference,
        standard_error=error,
        ci_low=difference - _Z95 * error,
        ci_high=difference + _Z95 * error,
        p_value=p_value,
        smallest_detectable_difference=_DETECTABLE * error,
        rows=len(y),
        bads=int(y.sum()),
    )


def decile_table(target: Floats, pd: Floats) -> list[dict[str, float]]:
    """Riskiest decile first: share of rows, mean PD (expected), default rate (observed), rows.

    Equal PDs may fall into two deciles; rows are then divided in the order given.
    """
    import numpy as np

    order = np.argsort(-np.asarray(pd), kind="stable")
    parts = [part for part in np.array_split(order, DECILES) if len(part)]
    y, p, n = np.asarray(target, float), np.asarray(pd, float), len(order)
    return [
        {
            "rows": float(len(part)),
            "share": len(part) / n,
            "expected": float(p[part].mean()),
            "observed": float(y[part].mean()),
        }
        for part in parts
    ]


def _checked(target: npt.ArrayLike, pd: npt.ArrayLike) -> tuple[Floats, Floats]:
    import numpy as np

    y, p = np.asarray(target, dtype=float), np.asarray(pd, dtype=float)
    if y.ndim != 1 or y.shape != p.shape:
        raise ValueError(f"targets {y.shape} and PDs {p.shape} must be vectors of equal length")
    if not np.isin(y, (0.0, 1.0)).all():
        raise ValueError("targets must be 0 or 1")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("PDs must lie between 0 and 1, none missing")
    if y.sum() in (0, len(y)):
        raise ValueError(f"both goods and bads are needed; got {int(y.sum())} bads in {len(y)} rows")
    return y, p


def _ks(y: Floats, p: Floats) -> float:
    import numpy as np

    order = np.argsort(p, kind="stable")
    sorted_p, sorted_y = p[order], y[order]
    bads, goods = np.cumsum(sorted_y) / y.sum(), np.cumsum(1 - sorted_y) / (len(y) - y.sum())
    # Only between different PDs is there a cut-off.
    last = np.append(np.flatnonzero(np.diff(sorted_p)), len(p) - 1)
    return float(np.abs(bads[last] - goods[last]).max())


def _midranks(x: Floats) -> Floats:
    import numpy as np

    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[inverse], dtype=float)


def _delong(models: list[Floats], y: Floats) -> tuple[Floats, tuple[Floats, Floats]]:
    import numpy as np

    bad = y == 1
    m, n = int(bad.sum()), int((~bad).sum())
    aucs, v10, v01 = [], [], []
    for p in models:
        all_ranks, bad_ranks, good_ranks = _midranks(p), _midranks(p[bad]), _midranks(p[~bad])
        aucs.append((all_ranks[bad].sum() - m * (m + 1) / 2) / (m * n))
        v10.append((all_ranks[bad] - bad_ranks) / n)
        v01.append(1 - (all_ranks[~bad] - good_ranks) / m)
    return np.array(aucs), (np.array(v10), np.array(v01))


def _covariance(components: tuple[Floats, Floats], y: Floats) -> Floats:
    import numpy as np

    v10, v01 = components
    m, n = v10.shape[1], v01.shape[1]
    s10 = np.atleast_2d(np.cov(v10)) if m > 1 else np.zeros((len(v10), len(v10)))
    s01 = np.atleast_2d(np.cov(v01)) if n > 1 else np.zeros((len(v01), len(v01)))
    return np.asarray(s10 / m + s01 / n)
