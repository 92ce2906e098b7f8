"""How a model treats protected groups: who is approved, how scores and calibration lie beside a reference group.

Belongs here: groups of a protected column, and the measures by group. Does not belong here: what features tell of a
group (`protected_association`), limits and verdicts (`credit_assets.ml.rules.fairness_rules`), and where protected
columns come from (`credit_assets.assets.fairness`).

No record holds a row, and no value that fewer applicants have than the policy's smallest group.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from credit_assets.ml.data.fairness import Attribute, Fairness, band_names
from credit_assets.ml.data.shown_values import shown_at
from credit_assets.ml.evidence.intervals import (
    Interval,
    Z,
    difference_of_proportions,
    observed_over_expected,
    ratio_of_proportions,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

MISSING = "(missing)"
_MOST_GROUPS = 20


@dataclass(frozen=True)
class Groups:
    """A protected column as groups of rows: `place` of each row in `names`, and the `numbers` behind bands, NaN where
    they are missing; None where there are none.
    """

    names: tuple[str, ...]
    place: NDArray[np.int64]
    numbers: NDArray[np.float64] | None = None

    def part(self, rows: NDArray[np.bool_]) -> Groups:
        return Groups(self.names, self.place[rows], None if self.numbers is None else self.numbers[rows])


def edges_of(attribute: Attribute, numbers: NDArray[np.float64]) -> tuple[float, ...]:
    """The bands of an attribute: its own, else two halves, cut near the median of these numbers."""
    if attribute.bands:
        return attribute.bands
    known = np.sort(numbers[np.isfinite(numbers)])
    return (shown_at(known, len(known) // 2),) if len(known) else ()


def groups_of_values(
    attribute: Attribute, values: pa.Array, days: pa.ChunkedArray, edges: Sequence[float] | None = None
) -> Groups:
    """The groups of a protected column. What is missing is a group of its own, MISSING.

    Parameters
    ----------
    attribute
        Which column, in which bands.
    values
        Of the column: texts, truth values, numbers or dates. A date is read as whole years until the application.
    days
        The day of each application.
    edges
        Bands in place of the attribute's own: those that other rows gave.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = values.type
    if pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        coded = pc.dictionary_encode(pc.cast(values, pa.string()))
        given = coded.dictionary.to_pylist()
        names = (*sorted({*given} - {MISSING}), MISSING)
        at = np.array([*(names.index(name) for name in given), len(names) - 1], dtype=np.int64)
        place = pc.fill_null(coded.indices.cast(pa.int64()), len(given)).to_numpy(zero_copy_only=False)
        return Groups(names, at[place])
    if pa.types.is_date(kind):
        apart = days.to_numpy().astype("datetime64[D]") - values.to_numpy(zero_copy_only=False).astype("datetime64[D]")
        numbers = np.where(np.isnat(apart), np.nan, np.floor(apart.astype(np.float64) / 365.25))
    else:
        numbers = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    cuts = edges_of(attribute, numbers) if edges is None else tuple(edges)
    names = band_names(cuts)
    inside = np.searchsorted(np.array(cuts), np.where(np.isfinite(numbers), numbers, 0.0), side="right")
    return Groups((*names, MISSING), np.where(np.isfinite(numbers), inside, len(names)).astype(np.int64), numbers)


@dataclass(frozen=True)
class FairnessSample:
    """Applications, or loans with `bad`, in the order of the groups: PDs (none NaN), points, the customer of each."""

    pd: NDArray[np.float64]
    score: NDArray[np.float64]
    bad: NDArray[np.bool_] | None = None


def measure_attribute(
    attribute: Attribute,
    fairness: Fairness,
    applications: tuple[Groups, FairnessSample],
    loans: tuple[Groups, FairnessSample],
    cut: float,
) -> dict[str, Any]:
    """Every group of an attribute beside its reference group.

    Parameters
    ----------
    attribute, fairness
        What is compared, and from which size on.
    applications
        Who applied: approvals and scores are of these.
    loans
        Loans with a known outcome, with groups of the same names or others: opportunity and calibration are of these.
    cut
        The PD above which the model declines.

    Returns
    -------
    dict
        JSON types: `column`; `reference` and whether it is `named`; the number of `missing`; `small`, groups and rows
        too few to judge; `groups`, the reference first. A group has `applications`, `approved`, `rate`, and beside the
        reference `air` with its 95% interval (Miettinen and Nurminen), `shortfall` (approvals that are lacking to the
        `limit` and to `parity`), `smd` of the points (negative: lower ones); of its `loans`, `bads` and the difference
        of `opportunity` (share of goods that are approved, with Newcombe's interval); `observed_over_expected`
        defaults, relative to all loans. `not_judged` has why, by what is not (`opportunity`, `calibration`).
    """
    names, place, points = applications[0].names, applications[0].place, applications[1].score
    approved = applications[1].pd <= cut
    counts = np.bincount(place, minlength=len(names))
    large = [n for n in np.argsort(-counts, kind="stable") if counts[n] >= fairness.min_group_size][:_MOST_GROUPS]
    small = [n for n in range(len(names)) if counts[n] > 0 and n not in large]
    record: dict[str, Any] = {
        "column": attribute.column,
        "reference": None,
        "named": attribute.reference is not None,
        "missing": int(counts[names.index(MISSING)]),
        "small": {"groups": len(small), "rows": int(counts[small].sum())},
        "groups": [],
    }
    first = _reference(attribute, names, large)
    if first is None:
        wanted = f"the reference group {attribute.reference!r}" if attribute.reference else "no group"
        have = "has fewer" if attribute.reference else "has so many"
        return {**record, "why": f"{wanted} {have} than {fairness.min_group_size} applications"}
    record["reference"] = names[first]
    overall = _level(loans[1])
    of_reference = _of_loans(names[first], loans, cut, overall)
    for n in [first, *(n for n in large if n != first)]:
        inside, base = place == n, place == first
        found = {
            "name": names[n],
            "applications": int(counts[n]),
            "approved": int(approved[inside].sum()),
            "rate": float(approved[inside].mean()),
        }
        own = _of_loans(names[n], loans, cut, overall)
        own["not_judged"] = _too_few(own, fairness.min_group_bads)
        if n != first:
            a, b = (int(approved[base].sum()), int(base.sum())), (found["approved"], found["applications"])
            found |= _beside(b, a, fairness.min_air) | {"smd": _smd(points[inside], points[base])}
            own["opportunity"] = _opportunity(own, of_reference)
        record["groups"].append({**found, **own})
    return record


def _too_few(own: Mapping[str, Any], least: int) -> dict[str, str]:
    """What cannot be judged of a group's loans, and why. Opportunity is of goods alone; a group without a bad is judged
    by its calibration where bads are expected of it.
    """
    found = {}
    if own["goods"] < least:
        found["opportunity"] = f"fewer than {least} goods among its loans"
    if max(own["bads"], own["expected"]) < least:
        found["calibration"] = f"fewer than {least} bads among its loans, and no more are expected"
    return found


def below(selected: int, rows: int, of_reference: int, rows_reference: int, limit: float) -> bool:
    """Whether a ratio of two shares lies below a limit, exactly: a ratio of .80 is not below .80.

    >>> below(40, 100, 50, 100, 0.8), below(39, 100, 50, 100, 0.8)
    (False, True)
    """
    return Fraction(selected * rows_reference) < Fraction(str(limit)) * of_reference * rows


def shortfall(selected: int, rows: int, of_reference: int, rows_reference: int, ratio: float = 1.0) -> float:
    """How many more approvals would bring the ratio of two shares there; 0 where it is there.

    >>> round(shortfall(167, 508, 2072, 3808), 1)
    109.4
    """
    wanted = Fraction(str(ratio)) * Fraction(of_reference * rows, rows_reference)
    return max(0.0, float(wanted - selected))


def rank_auc(target: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    """AUC of a score, ties half. Raises ValueError where all rows are of one kind."""
    if target.all() or not target.any():
        raise ValueError("all rows are of one outcome: nothing ranks them")
    places = np.unique(score, return_inverse=True)[1]
    of_target, others = np.bincount(places[target], minlength=places.max() + 1), np.bincount(places[~target])
    others = np.append(others, np.zeros(len(of_target) - len(others)))
    pairs = (of_target * (np.cumsum(others) - others / 2)).sum()
    return float(pairs / (of_target.sum() * others.sum()))


def air_of(groups: Groups, approved: NDArray[np.bool_], of: Mapping[str, Any]) -> float | None:
    """The smallest ratio of a group's approval rate and the reference's, over the groups that a record of
    `measure_attribute` has; None where there is none.
    """
    names = [one["name"] for one in of["groups"]]
    if len(names) < 2:
        return None
    of_group = [approved[groups.place == groups.names.index(name)] for name in names]
    rates = [float(of.mean()) if len(of) else None for of in of_group]
    # Another model may refuse all of a group.
    known = [rate for rate in rates[1:] if rate is not None]
    return min(rate / rates[0] for rate in known) if rates[0] and known else None


def less_discriminatory(curve: Sequence[Mapping[str, Any]], variant: str, max_auc_loss: float) -> list[dict[str, Any]]:
    """Of the entries of a curve at the model's own approval rate, those of other variants that cost at most so much AUC
    and have a larger ratio of some attribute, with what both come to.

    >>> ours = {"variant": "a", "auc": 0.700, "air": {"sex": 0.75}, "own_rate": True}
    >>> other = {"variant": "b", "auc": 0.698, "air": {"sex": 0.85}, "own_rate": True}
    >>> less_discriminatory([ours, other], "a", 0.005)[0]["variant"]
    'b'
    """
    at_own = [one for one in curve if one.get("own_rate")]
    ours = next((one for one in at_own if one["variant"] == variant), None)
    if ours is None:
        return []
    return [
        {
            "variant": one["variant"],
            "column": column,
            "auc": [ours["auc"], one["auc"]],
            "air": [ours["air"][column], air],
        }
        for one in at_own
        if one["auc"] >= ours["auc"] - max_auc_loss
        for column, air in one["air"].items()
        if air is not None and ours["air"].get(column) is not None and ours["air"][column] < min(air, 1.0)
    ]


def _reference(attribute: Attribute, names: Sequence[str], large: Sequence[int]) -> int | None:
    """The named group, else the largest that is known; None where it is too small."""
    if attribute.reference is not None:
        return next((int(n) for n in large if names[n] == attribute.reference), None)
    return next((int(n) for n in large if names[n] != MISSING), None)


def _beside(group: tuple[int, int], reference: tuple[int, int], limit: float) -> dict[str, Any]:
    air = ratio_of_proportions(*group, *reference)
    return {
        "air": None if air is None else {name: _finite(value) for name, value in air.to_record().items()},
        "below_limit": below(*group, *reference, limit),
        "shortfall": {"limit": shortfall(*group, *reference, limit), "parity": shortfall(*group, *reference)},
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _smd(points: NDArray[np.float64], reference: NDArray[np.float64]) -> dict[str, float] | None:
    """Difference of mean points in pooled standard deviations, with its 95% interval (L. Hedges, 1981)."""
    n, m = len(points), len(reference)
    pooled = ((n - 1) * points.var(ddof=1) + (m - 1) * reference.var(ddof=1)) / (n + m - 2)
    if pooled <= 0:
        return None
    value = float((points.mean() - reference.mean()) / math.sqrt(pooled))
    half = Z * math.sqrt((n + m) / (n * m) + value**2 / (2 * (n + m)))
    return Interval(value, value - half, value + half).to_record()


def _level(loans: FairnessSample) -> float:
    """Observed over expected of all loans: without any bad nothing is expected of a group either."""
    assert loans.bad is not None
    expected = float(loans.pd.sum())
    return float(loans.bad.sum()) / expected if expected > 0 else 1.0


def _of_loans(name: str, loans: tuple[Groups, FairnessSample], cut: float, overall: float) -> dict[str, Any]:
    groups, sample = loans
    assert sample.bad is not None
    inside = groups.place == groups.names.index(name) if name in groups.names else np.zeros(len(sample.pd), bool)
    pd, bad = sample.pd[inside], sample.bad[inside]
    expected = np.minimum(1.0, pd * overall)
    level = observed_over_expected(int(bad.sum()), expected)
    return {
        "loans": len(pd),
        "bads": int(bad.sum()),
        "goods": int((~bad).sum()),
        "expected": float(expected.sum()),
        "goods_approved": int((~bad & (pd <= cut)).sum()),
        "observed_over_expected": level.to_record() if level else None,
    }


def _opportunity(own: Mapping[str, Any], reference: Mapping[str, Any]) -> dict[str, float] | None:
    sides = (one[name] for one in (own, reference) for name in ("goods_approved", "goods"))
    found = difference_of_proportions(*sides)
    return found.to_record() if found else None
