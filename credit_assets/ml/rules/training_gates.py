"""The gates of a training set: enough outcomes, a plausible target rate, no leakage, few enough missing values.

Belongs here: what is held against what. Does not belong here: how the set is made (`ml.data.cohorts`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from credit_assets.ml.data.cohorts import SPLIT, SPLITS, TARGET, CohortWindow
from credit_assets.ml.data.gate_results import GateResult, detail
from credit_assets.ml.data.orphans import Orphans
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.data.rows import Data, Rows
from credit_assets.ml.data.values import numbers, texts
from credit_assets.ml.rules.copies_gates import copies_gate
from credit_assets.ml.rules.day_gates import MISSING_CHANCE, exceeds, missing_share_gates
from credit_assets.ml.rules.extension_gates import judged_training_set
from credit_assets.ml.rules.single_feature import near_end, single_feature_auc

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

# What is this strong is no feature, whoever excuses it.
_KNOWS_THE_OUTCOME = 0.95
_ALWAYS_SHOWN = ("goods", "bads", "test bads")
# As of missing values: orphans occur in sound data, as outcomes of applications from before the table begins.
ORPHAN_CHANCE = 0.01


def training_gates(
    training_set: Data, portfolio: Portfolio, window: CohortWindow, first_day: date | None = None
) -> tuple[GateResult, ...]:
    """The gates on a training set: `enough_outcomes`, `target_rate`, `leakage`, `missing_share`, which block, and
    `usable_features`, which warns or blocks as `gates: unusable_features` says; `copies`, which blocks; then those of
    extensions that the portfolio uses.

    `leakage` fails where a feature's name matches `leakage_columns` or is that of an outcome column, where a column is
    there that is no feature (ignored or protected columns), or where one feature alone ranks the target with an AUC
    above `max_single_feature_auc` in either direction, by more than a standard error; `strong_features` may, up to .95.

    Parameters
    ----------
    training_set
        As from `assemble_training_set`: a frame, a table or `Rows`.
    portfolio
        Whose `gates` are the thresholds.
    window
        The cohorts it was made of, for the messages.
    first_day
        The first day that can have been ingested, so that nobody is sent for cohorts which cannot exist; None where
        that is not known.

    Raises
    ------
    ValueError
        Without target or split.
    """
    rows = Rows.of(training_set)
    missing = sorted({TARGET, SPLIT} - set(rows.names))
    if missing:
        raise ValueError(f"not a training set: column {', '.join(missing)} is missing")
    bad = numbers(rows.column(TARGET)) == 1
    return (
        _enough_outcomes(rows, bad, portfolio, window, first_day),
        _target_rate(bad, portfolio, window),
        _leakage(rows, bad, portfolio),
        _missing_share(rows, portfolio),
        _usable_features(rows, portfolio),
        copies_gate(rows, portfolio),
        *judged_training_set(rows, portfolio),
    )


def with_orphans(gates: Sequence[GateResult], orphans: GateResult) -> tuple[GateResult, ...]:
    """The gates of a training set with `orphan_gate` before them, without the advice that cannot help where it blocks:
    no lookback is long enough for outcomes that meet no application.
    """
    return orphans, *(without_advice(gates, orphans.name) if orphans.blocks else gates)


def without_advice(gates: Sequence[GateResult], see: str) -> tuple[GateResult, ...]:
    """The gates of a training set where another one, `see`, says why outcomes are too few."""

    def advised(gate: GateResult) -> GateResult:
        found = gate.description.partition("; ")[0]
        return replace(gate, description=f"{found}; see the gate {see}.")

    return tuple(advised(gate) if gate.name == "enough_outcomes" and not gate.passed else gate for gate in gates)


def orphan_gate(found: Orphans, portfolio: Portfolio) -> GateResult:
    """The gate `orphans`: outcomes that belong to no application there is, in number beyond `max_orphan_share`.

    An orphan's application counts as good, whatever became of it.
    """
    limit = portfolio.gates.max_orphan_share
    failed = bool(exceeds(found.orphans, max(found.outcomes, 1), limit, ORPHAN_CHANCE))
    share = found.orphans / found.outcomes if found.outcomes else 0.0
    summary = (
        f"{found.orphans:,} of {found.outcomes:,} outcomes ({share:.1%}) have an id that was never an application; "
        f"allowed are {limit:.1%} (gates: max_orphan_share). Their ids are {found.outcome_form}; those of applications "
        f"are {found.application_form}"
    )
    return GateResult(
        name="orphans",
        passed=not failed,
        severity="error",
        value=share,
        threshold=f"at most {limit:.4g} of the outcomes, beyond chance",
        description=f"{summary}. Correct the ids of {portfolio.outcomes.table} (column {portfolio.outcomes.id}), or "
        f"let a view show them as {portfolio.applications_table} has them ({portfolio.id_column}), and ingest again."
        if failed
        else f"{summary}."
        if found.orphans
        else "Every outcome belongs to an application.",
        details=(detail(portfolio.outcomes.id, "was never an application", found.orphans),) if found.orphans else (),
        setting="gates: max_orphan_share",
    )


def shortages(training_set: Data, portfolio: Portfolio) -> dict[str, tuple[int, int]]:
    """What the set has too little of to train and to test on: what, how many there are, and how many there must be.

    The portfolio's limits on goods and bads, and what no learner, calibration or measure can do without: both outcomes
    in every split.
    """
    rows = Rows.of(training_set)
    return _short(_counted(rows, numbers(rows.column(TARGET)) == 1, portfolio))


def _counted(rows: Rows, bad: NDArray[np.bool_], portfolio: Portfolio) -> dict[str, tuple[int, int]]:
    """By what is counted: how many there are, and the least there must be."""
    limits = portfolio.gates
    bads = int(bad.sum())
    places, different = texts(rows.column(SPLIT))
    counted = {"goods": (len(bad) - bads, limits.min_goods), "bads": (bads, limits.min_bads)}
    for split in SPLITS:
        inside = [places == n for n, text in enumerate(different) if text == split]
        of_split = sum(int(rows_of.sum()) for rows_of in inside)
        bads_of = sum(int(bad[rows_of].sum()) for rows_of in inside)
        counted[f"{split} goods"] = (of_split - bads_of, 1)
        counted[f"{split} bads"] = (bads_of, limits.min_test_bads if split == "test" else 1)
    return counted


def _short(counted: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    return {what: counts for what, counts in counted.items() if counts[0] < counts[1]}


def _enough_outcomes(
    rows: Rows, bad: NDArray[np.bool_], portfolio: Portfolio, window: CohortWindow, first_day: date | None
) -> GateResult:
    counted = _counted(rows, bad, portfolio)
    short = _short(counted)
    shown = {what: counts for what, counts in counted.items() if what in _ALWAYS_SHOWN or what in short}
    return GateResult(
        name="enough_outcomes",
        passed=not short,
        severity="error",
        value=", ".join(f"{count} {what}" for what, (count, _) in shown.items()),
        threshold="at least " + ", ".join(f"{least} {what}" for what, (_, least) in shown.items()),
        description=f"The cohorts {window.first} .. {window.last} have enough goods and bads to train and test on."
        if not short
        else f"The cohorts {window.first} .. {window.last} have too few {' and '.join(short)}; "
        + _more_outcomes(counted, window, first_day),
        details=tuple(detail(TARGET, f"{what}, fewer than {least}", count) for what, (count, least) in short.items()),
        setting="gates: min_goods, min_bads, min_test_bads, and CREDIT_LOOKBACK_DAYS",
    )


def _more_outcomes(counted: Mapping[str, tuple[int, int]], window: CohortWindow, first_day: date | None) -> str:
    """What gives more of what is too few, and nothing that cannot."""
    if counted["bads"][0] == 0:
        return (
            f"not one default met its application: see whether outcomes are loaded up to {window.as_of}, whether the "
            "ids of both tables are alike, and what counts as a default (outcomes: defaulted)."
        )
    factor = max(least / count if count else math.inf for count, least in counted.values())
    longer = f"{math.ceil(factor * window.lookback_days)} days" if factor < math.inf else "more days"
    if first_day is None or window.first > first_day:
        now = f"CREDIT_LOOKBACK_DAYS, now {window.lookback_days}"
        return f"at this rate {longer} of cohorts have enough: a longer lookback ({now})."
    return (
        f"no cohort is older than {first_day} (CREDIT_START_DATE), so that a longer lookback finds none: at this rate "
        f"{longer} of cohorts have enough, that is a later as-of date, with a lookback as long."
    )


def _target_rate(bad: NDArray[np.bool_], portfolio: Portfolio, window: CohortWindow) -> GateResult:
    low, high = portfolio.gates.target_rate_min, portfolio.gates.target_rate_max
    rate = float(bad.mean()) if len(bad) else float("nan")
    # Beyond chance: a small book at a plausible rate lies outside now and then.
    bads, rows = int(bad.sum()), len(bad)
    above = bool(exceeds(bads, rows, high, MISSING_CHANCE))
    below = bool(exceeds(rows - bads, rows, 1 - low, MISSING_CHANCE))
    passed = bool(rows) and not above and not below
    return GateResult(
        name="target_rate",
        passed=passed,
        severity="error",
        value=rate,
        threshold=f"{low:g} .. {high:g}, beyond chance",
        description=f"The rate of default within {window.window_days} days is plausible."
        if passed
        else f"The rate of default within {window.window_days} days is not plausible; see whether outcomes of the "
        f"days up to {window.as_of} are loaded, and whether they mean what the portfolio file says.",
        details=() if passed else (detail(TARGET, f"bad of {rows} loans", bads),),
        setting="gates: target_rate_min, target_rate_max",
    )


def _leakage(training_set: Rows, bad: NDArray[np.bool_], portfolio: Portfolio) -> GateResult:
    limits, names = portfolio.gates, set(training_set.names)
    limit = limits.max_single_feature_auc
    ranked = {
        name: auc
        for name in portfolio.feature_names
        if name in names and (auc := single_feature_auc(training_set.column(name), bad)) is not None
    }
    bads = int(bad.sum())
    near = {name: near_end(auc, bads, len(bad) - bads) for name, auc in ranked.items()}
    above = [name for name, low in near.items() if low > limit]
    excused = [name for name in above if name in limits.strong_features and near[name] <= _KNOWS_THE_OUTCOME]
    details = [
        *_columns_out_of_place(training_set, portfolio),
        *(
            detail(name, f"ranks the target alone with an AUC of {ranked[name]:.3f}", len(training_set))
            for name in above
            if name not in excused
        ),
    ]
    strong = f" Known to be strong (strong_features): {', '.join(excused)}." if excused else ""
    return GateResult(
        name="leakage",
        passed=not details,
        severity="error",
        value=max(ranked.values(), default=None),
        threshold=f"no leakage column, single-feature AUC at most {limit:g}, beyond chance",
        description=f"No feature knows the outcome.{strong}"
        if not details
        else "Features know the outcome or must not be there; give them another role than feature (role: ignored), or, "
        "where a value is known when the loan is applied for and strong by right, name it under gates: strong_features "
        f"(up to an AUC of {_KNOWS_THE_OUTCOME:g}).{strong}",
        details=tuple(details),
        setting="gates: max_single_feature_auc, strong_features, leakage_columns",
    )


def _usable_features(training_set: Rows, portfolio: Portfolio) -> GateResult:
    """Features that are there in name only, told before a model is trained on them: gone, all missing, or constant.

    A model trained without one that has broken looks sound, and has lost what that one knew. It fails as
    `gates: unusable_features` says, a warning unless set, since a new book has such columns rightly.
    """
    import pyarrow.compute as pc

    names, rows = set(training_set.names), len(training_set)
    details = []
    for name in portfolio.feature_names:
        if name not in names:
            details.append(detail(name, "gone: the set has no such column", rows))
            continue
        values = training_set.column(name)
        missing = pc.sum(pc.is_null(values, nan_is_null=True)).as_py() or 0
        if missing == rows:
            details.append(detail(name, "all missing", rows))
        elif _different(values, missing) == 1:
            details.append(
                detail(name, f"the same value in all rows that have one ({missing} missing)", rows - missing)
            )
    return GateResult(
        name="usable_features",
        passed=not details,
        severity=portfolio.gates.unusable_features,
        value=len(details),
        threshold=f"0 of {len(portfolio.feature_names)} features gone, all missing or constant",
        description="Every feature has values that differ."
        if not details
        else "Features tell nothing in this set; see whether the source still fills them, or make them role: ignored.",
        details=tuple(details),
        setting="gates: unusable_features",
    )


def _different(values: pa.ChunkedArray, missing: int) -> int:
    """How many different values there are, missing ones not counted."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_floating(values.type) and missing:
        values = values.filter(pc.invert(pc.is_null(values, nan_is_null=True)))
    return int(pc.count_distinct(values, mode="only_valid").as_py())


def _columns_out_of_place(training_set: Rows, portfolio: Portfolio) -> list[dict[str, Any]]:
    """Details of columns that are no features, and of features with the name of what is known only afterwards."""
    rows = len(training_set)
    keys = (portfolio.id_column, portfolio.date_column, portfolio.customer_column)
    allowed = {*keys, TARGET, SPLIT, *portfolio.feature_names}
    names = portfolio.outcomes
    patterns = (*portfolio.gates.leakage_columns, names.date, names.says, *([names.known] if names.known else []))
    matching = {name: _matching(name, patterns) for name in portfolio.feature_names}
    return [
        *(detail(name, "not a feature of the portfolio", rows) for name in training_set.names if name not in allowed),
        *(
            detail(name, f"named like a leakage column ({pattern})", rows)
            for name, pattern in matching.items()
            if pattern
        ),
    ]


def _matching(name: str, patterns: Sequence[str]) -> str | None:
    return next((pattern for pattern in patterns if fnmatchcase(name.lower(), pattern.lower())), None)


def _missing_share(rows: Rows, portfolio: Portfolio) -> GateResult:
    import numpy as np
    import pyarrow.compute as pc

    limits = {
        column.name: column.max_missing_share
        for column in portfolio.input_columns
        if column.max_missing_share < 1 and column.name in rows.names
    }
    missing = [pc.sum(pc.is_null(rows.column(name), nan_is_null=True)).as_py() or 0 for name in limits]
    return missing_share_gates(limits, np.array([missing], dtype=np.int64), np.array([len(rows)]))[0]
