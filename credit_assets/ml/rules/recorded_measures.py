"""Measures out of recorded evidence, and how rules speak of them.

Belongs here: reading one figure, and words that several rules share. Does not belong here: any rule.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_NO_SKILL = 0.5


def measure(record: Mapping[str, Any], name: str, what: str) -> float:
    """A figure of a record. Raises ValueError naming it where it is not there or is no number."""
    value = record.get(name)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"the evidence of the {what} has no usable {name!r}: {value!r}")
    return float(value)


def size_of(evaluation: Mapping[str, Any]) -> str:
    """ " on 900 rows (45 bads)", where the evidence has them."""
    if {"rows", "bads"} <= set(evaluation):
        return f" on {evaluation['rows']:,} rows ({evaluation['bads']:,} bads)"
    return ""


def auc_interval(evaluation: Mapping[str, Any]) -> str:
    """The interval of the AUC, where its evidence has one, and what it means where chance lies in it."""
    if evaluation.get("auc_ci_low") is None:
        return ""
    low, high = evaluation["auc_ci_low"], evaluation["auc_ci_high"]
    chance = ", so that it may be chance" if low <= _NO_SKILL else ""
    return f" (95% interval {low:.4f} .. {high:.4f}{chance})"
