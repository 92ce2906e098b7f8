"""Columns that a model reads and that the portfolio no longer has as features: what they are now, and the way out.

Belongs here: telling them, and what to do in words. Does not belong here: where their values still are
(`credit_assets.assets.model_inputs`), and what a decision makes of it (`credit_assets.ml.rules.decisions`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from credit_assets.ml.data.portfolio import Portfolio

REPLACE = "replace"
"""The kind of retraining by which a person has a model replaced that reads columns which have left."""


def left_columns(inputs: Iterable[str], categories: Collection[str], portfolio: Portfolio) -> dict[str, str]:
    """Of a model's inputs (those in `categories` are texts, the others numbers) each that is no feature of its kind any
    more, with what it is now.

    Examples
    --------
    >>> from credit_assets.ml.data.portfolio import load_portfolio
    >>> left_columns(["annual_income", "state", "zip", "purpose"], ["state", "zip"], load_portfolio())
    {'state': 'ignored', 'zip': 'in the portfolio no more', 'purpose': 'a category'}
    """
    features = {one.name: one for one in portfolio.model_inputs}
    now: dict[str, str] = {one.name: "a derived feature" for one in portfolio.function_features}
    now |= {one.name: one.role for one in portfolio.columns}
    found: dict[str, str] = {}
    for name in inputs:
        if name not in features:
            found[name] = now.get(name, _GONE)
        elif (features[name].type == "category") is not (name in categories):
            found[name] = "a number" if name in categories else "a category"
    return found


_GONE = "in the portfolio no more"
_STILL_INGESTED = ("ignored", "protected", "customer")


def in_words(left: Mapping[str, str]) -> str:
    """ "x (ignored), y (protected)"."""
    return ", ".join(f"{name} ({now})" for name, now in left.items())


def way_out(left: Mapping[str, str]) -> str:
    """What to do about a model in force that reads columns which have left."""
    gone = [name for name, now in left.items() if now not in _STILL_INGESTED]
    keep = (
        f"until then keep {', '.join(gone)} in the portfolio with `role: ignored`, so that this one can score; "
        if gone
        else ""
    )
    return (
        f"{keep}a model without {', '.join(left)} takes its place once it is shown not to be worse, or on its own "
        f"merits where a person asks for it: `credit-assets trigger {REPLACE} --reason WHY`"
    )
