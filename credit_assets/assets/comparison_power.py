"""What comparisons on a lender's own book could show, for `credit-assets doctor`: where models of equal worth have been
compared for some time, so that level is saved for one that is better.

Belongs here: the newest test that is recorded, and what it says of the next ones. Does not belong here: the comparison
of a day (`comparison`), and how levels are spent (`credit_assets.ml.rules.levels`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from credit_assets.assets.policies import policy_of
from credit_assets.ml.rules.levels import POWER, found_by, quantile_of_t
from credit_assets.settings import Settings
from credit_assets.storage.store import Store

SCHEDULES = {"daily": 1, "weekly": 7, "monthly": 30, "quarterly": 91}
GAIN = 0.019
"""AUC of which it is said besides how often it is found."""
# Models a quarter apart, and learners of one day, on the public LendingClub loans.
_CORRELATION = 0.9
_TAIL = 0.025


@dataclass(frozen=True)
class Power:
    """The newest test: of which day, how many bads and goods, and what true improvement a comparison on such rows finds
    in four of five cases, by schedule; how often one of GAIN is. `measured`: of a comparison, and not of one model's
    own test.
    """

    as_of: str
    bads: int
    goods: int
    shown: Mapping[str, float]
    found: Mapping[str, float]
    measured: bool

    def text(self) -> str:
        how = (
            "by the standard error of that comparison, which is smaller where two models are more alike"
            if self.measured
            else f"for two models whose scores correlate at {_CORRELATION:g}; models that are less alike are found less"
        )
        shown = ", ".join(f"{value:.3f} {name}" for name, value in self.shown.items())
        found = ", ".join(f"{value:.0%} {name}" for name, value in self.found.items())
        return (
            f"a test as that of {self.as_of} ({self.bads:,} bads, {self.goods:,} goods) shows in four of five cases "
            f"that a model is better by this AUC, at the first comparison after some time in which none was, by how "
            f"often models are compared: {shown}; one that is better by {GAIN:g} is taken then in {found}, {how}"
        )


def power_of(settings: Settings, store: Store) -> Power | None:
    """By the newest model in the store; None where there is none."""
    for day in reversed(store.days("trained_model")):
        record = store.read_record(store.path("trained_model", f"{day}.json"))
        if "evaluation" in record:
            # Where the validation is not recorded: its rows are as many as the split has them.
            larger = math.sqrt(settings.test_share / settings.validation_share)
            return _power(day, record, policy_of(settings).comparison.alpha, larger)
    return None


def _power(day: str, record: Mapping[str, Any], alpha: float, larger: float) -> Power:
    champion, test = record.get("champion") or {}, record["evaluation"]
    if compared := champion.get("difference"):
        bads = compared.get("independent_bads", compared["bads"])
        goods = compared.get("independent_goods", compared["rows"] - compared["bads"])
        error = compared["standard_error"]
    else:
        bads, goods = test["bads"], test["rows"] - test["bads"]
        error = _error(test, bads, goods) * math.sqrt(2 * (1 - _CORRELATION))
    errors = error, (champion.get("validation") or {}).get("standard_error", error * larger)
    freedom = min(bads, goods) - 1
    shown = {name: _shown(days, alpha, errors, freedom) for name, days in SCHEDULES.items()}
    found = {name: found_by(GAIN, days, alpha, errors, freedom) if freedom else 0.0 for name, days in SCHEDULES.items()}
    return Power(day, bads, goods, shown, found, bool(compared))


def _shown(schedule: int, alpha: float, errors: tuple[float, float], freedom: int) -> float:
    """The gain that a first comparison finds in four of five cases, by bisection; at most 1."""
    if freedom < 1:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        found = found_by(middle, schedule, alpha, errors, freedom)
        low, high = (middle, high) if found < POWER else (low, middle)
    return high


def _error(test: Mapping[str, Any], bads: int, goods: int) -> float:
    """The standard error of an AUC, from its recorded interval; the largest there can be where that says nothing."""
    auc, low = test["auc"], test["auc_ci_low"]
    if low <= 0 or not 0 < auc < 1 or min(bads, goods) < 2:
        return 0.5
    middle, end = (math.log(p / (1 - p)) for p in (auc, low))
    return float((middle - end) / quantile_of_t(_TAIL, min(bads, goods) - 1) * auc * (1 - auc))
