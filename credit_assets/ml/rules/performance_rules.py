"""What a performance report says of the champion: whether it ranks worse than it did, and whether its PDs are off.

Belongs here: the two conditions, on one report. Does not belong here: the days that they are counted over, cooldown and
repetition (`triggers`), and the measures (`ml.evidence.performance`, `ml.evidence.baseline`).

Both hold what is measured against what was known at registration, each with its error, at a level that is spent over
the daily looks of a year (`repeated_looks`): without any change `false_alarms` of the champions are named a
year, at most. And both ask besides that the change is of a size to act on. Docs: monitoring.md has the error rates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from credit_assets.ml.data.policies import PerformancePolicy
from credit_assets.ml.rules.repeated_looks import freedom_of_sum, look_quantile

# The log of a ratio beyond which it is of no matter how large it is.
_LARGEST = 50.0
_OLDER = "what was known of version {} at registration has no error on record: an older release registered it"


class ConditionResult(NamedTuple):
    """Whether it holds; None where the report cannot tell; and why, in words."""

    met: bool | None
    text: str


class _Value(NamedTuple):
    """A measure, its standard error, and how many bads that has behind it."""

    value: float
    error: float
    bads: float


def ranks_worse(report: Mapping[str, Any], limits: PerformancePolicy, cohort_days: int) -> ConditionResult:
    """Whether the champion's AUC is too low, by the loans that matured since it was trained, or by the estimate from
    the PDs of the newest applications. Either is enough, with at least `min_bads` defaults seen or expected.

    Too low is below the test's by `margin` and by more than chance explains; or below the `floor` by more than chance.
    An estimate is held against the estimate on the test's own PDs: a wrong calibration is in both.

    Parameters
    ----------
    report
        The record of a `performance_report`.
    limits
        Section `performance` of the policy.
    cohort_days
        Days of applications that it measures on.

    Raises
    ------
    KeyError, TypeError, AttributeError
        Where it is no such report.
    """
    champion, alpha = report["champion"], limits.false_alarms / 2
    baseline = (report["registered"] or {}).get("baseline")
    since, estimated = report.get("since_training"), _of_champion(report["estimated"], champion)
    found: list[ConditionResult] = []
    if since and since["evaluation"] and since["bads"] >= limits.min_bads:
        now = _Value(since["evaluation"]["auc"], since["auc_error"], since["bads"])
        then = _Value(baseline["auc"], baseline["auc_error"], baseline["bads"]) if baseline else None
        what = f"realised AUC {now.value:.4f} on {now.bads:,} bads that matured since the training"
        found.append(_too_low(what, now, then, now.error, limits, alpha, cohort_days))
    if estimated and estimated["auc"] is not None:
        expected = math.floor(estimated["rows"] * estimated["expected_rate"])
        if expected >= limits.min_bads and estimated.get("auc_drawn") is not None:
            now, then = _Value(estimated["auc"], estimated["auc_drawn"], expected), None
            if baseline and baseline["estimated_auc"] is not None:
                then = _Value(baseline["estimated_auc"], baseline["estimated_auc_drawn"], baseline["bads"])
            what = f"estimated AUC {now.value:.4f} with {expected:,} bads expected"
            found.append(_too_low(what, now, then, estimated["auc_error"], limits, alpha, cohort_days))
    if not found:
        return ConditionResult(None, f"fewer than {limits.min_bads} defaults seen or expected")
    met = [one for one in found if one.met]
    text = " and ".join(one.text for one in met or found)
    return ConditionResult(bool(met), text if baseline else f"{text} ({_OLDER.format(champion)})")


def _too_low(  # noqa: PLR0913 - the two sides of one comparison
    what: str,
    now: _Value,
    then: _Value | None,
    error: float,
    limits: PerformancePolicy,
    alpha: float,
    cohort_days: int,
) -> ConditionResult:
    """`error` is that of the AUC itself, for the floor; `now.error` that beside `then`."""
    reach = look_quantile(alpha, cohort_days, 1.0, now.bads - 1) * error
    if now.value + reach < limits.floor:
        return ConditionResult(
            True, f"{what}, which lies below the floor {limits.floor:g} by more than chance ({reach:.4f})"
        )
    if then is None:
        return ConditionResult(False, f"{what}, floor {limits.floor:g}")
    chance = _beyond_chance(now, then, alpha, cohort_days)
    loss, needed = then.value - now.value, max(limits.margin, chance)
    verdict = "below" if loss >= 0 else "above"
    return ConditionResult(
        loss >= needed,
        f"{what}, {abs(loss):.4f} {verdict} the {then.value:.4f} of the test; a loss is one from {limits.margin:g} on, "
        f"and chance explains {chance:.4f}",
    )


def level_is_off(report: Mapping[str, Any], limits: PerformancePolicy, cohort_days: int) -> ConditionResult:
    """Whether observed over expected defaults of the loans that matured since the champion was trained lies further
    from 1 than `max_level_ratio` either way, and further from what the model's own validation and test promised than
    chance explains, on the log scale.

    Parameters and errors as of `ranks_worse`.
    """
    champion, since = report["champion"], report.get("since_training")
    baseline = (report["registered"] or {}).get("baseline")
    if not since or not since["observed_over_expected"] or max(since["bads"], since["expected"]) < limits.min_bads:
        return ConditionResult(
            None, f"fewer than {limits.min_bads} defaults seen or expected of loans since the training"
        )
    if not baseline:
        return ConditionResult(None, _OLDER.format(champion))
    ratio, bads, expected = since["observed_over_expected"]["value"], since["bads"], since["expected"]
    # Of few bads the log varies by their number, not by those expected; of fewer expected than one, by less than its
    # slope there would say.
    error = since["level_error"] * expected / (expected + 0.5) * math.sqrt(max(1.0, expected / (bads + 0.5)))
    now = _Value(math.log((bads + 0.5) / (expected + 0.5)), error, max(bads, expected))
    then = _Value(baseline["level"], baseline["level_error"], baseline["level_bads"])
    chance = _beyond_chance(now, then, limits.false_alarms / 2, cohort_days)
    large = ratio >= limits.max_level_ratio or ratio <= 1 / limits.max_level_ratio
    # Where next to nothing was expected, chance explains any ratio.
    low, high = (math.exp(min(then.value + one, _LARGEST)) for one in (-chance, chance))
    return ConditionResult(
        large and abs(now.value - then.value) > chance,
        f"observed over expected defaults {ratio:.2f}, {bads:,} bads where {expected:.0f} were expected of the loans "
        f"of {since['from']} .. {since['to']}, which matured since the training; allowed are "
        f"{1 / limits.max_level_ratio:.2f} .. {limits.max_level_ratio:.2f}, and after the {math.exp(then.value):.2f} "
        f"of the model's own validation and test chance explains {low:.2f} .. {high:.2f}",
    )


def _beyond_chance(now: _Value, then: _Value, alpha: float, cohort_days: int) -> float:
    """How large a difference to one side chance explains, over a year of looks. What was measured once is in all of
    them alike.
    """
    total = now.error**2 + then.error**2
    if total <= 0:
        return 0.0
    freedom = freedom_of_sum([(now.error**2, now.bads - 1), (then.error**2, then.bads - 1)])
    return look_quantile(alpha, cohort_days, now.error**2 / total, freedom) * math.sqrt(total)


def _of_champion(measured: Mapping[str, Any] | None, champion: str | None) -> Mapping[str, Any] | None:
    found: Mapping[str, Any] | None = ((measured or {}).get("versions") or {}).get(champion)
    return found
