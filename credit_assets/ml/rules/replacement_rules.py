"""The comparison with a champion that reads columns which have left the portfolio.

Belongs here: what its standing is worth then. Does not belong here: the comparison itself (`comparison_rules`), and
which columns have left (`credit_assets.ml.data.left_columns`).

Such a champion is to go, and may be the better one for just that: a column that knew the outcome made it so. No model
would ever be better. So one that is shown not to be worse takes its place, as in a refresh; and where
none can be, or the two cannot be compared, a person asks for the replacement, with a reason, and the gates and absolute
floors decide as over a first model. A portfolio that loses a column does not do that by itself: else any change of the
file would be a way around the comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from credit_assets.ml.data.left_columns import in_words, way_out
from credit_assets.ml.data.policies import ComparisonPolicy
from credit_assets.ml.rules.comparison_rules import judge_comparison
from credit_assets.ml.rules.decisions import Reason

LEFT_COLUMNS = "left_columns"


def judge_standing(evidence: Mapping[str, Any], policy: ComparisonPolicy) -> tuple[Reason, ...]:
    """What `judge_comparison` says, and before it where the champion reads columns that have `left`; in a training of
    `mode` "replacement" that alone.
    """
    champion = evidence["champion"] or {}
    left = champion.get("left")
    if not left:
        return judge_comparison(evidence, policy)
    version, shown = champion.get("version", "?"), in_words(left)
    reads = f"champion version {version} reads columns that have left the portfolio: {shown}"
    if evidence.get("mode") == "replacement":
        text = f"{reads}; its replacement was asked for, so that gates and absolute floors decide{_found(champion)}"
        # Of the rule that a first model has: it begins a chain of refreshes of its own.
        return (Reason("champion", True, shown, None, text),)
    return (Reason(LEFT_COLUMNS, True, shown, None, f"{reads}; {way_out(left)}"), *judge_comparison(evidence, policy))


def _found(champion: Mapping[str, Any]) -> str:
    """How the two stand, for people."""
    difference = champion.get("difference")
    if not difference:
        return f" (not compared: {champion.get('why', 'no reason is recorded')})"
    low, high = difference["ci_low"], difference["ci_high"]
    return f" (AUC {difference['difference']:+.4f} over it on the same rows, 95% interval {low:+.4f} .. {high:+.4f})"
