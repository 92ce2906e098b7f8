"""Code locations by portfolio: `credit_assets.locations` with a portfolio's name as the attribute.

    - python_module: {module_name: credit_assets.locations, attribute: cards, location_name: cards}

Belongs here: the definitions of the portfolio that an attribute names, with the settings of it alone
(`credit_assets.settings`). Does not belong here: the definitions of a process that has one portfolio (`definitions`).

Nothing is made when the module is imported: a workspace names twenty portfolios, and each of their code servers makes
its own.
"""

from __future__ import annotations

import dagster as dg

from credit_assets.loading import load

_MADE: dict[str, dg.Definitions] = {}


def __getattr__(name: str) -> dg.Definitions:
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name not in _MADE:
        _MADE[name] = load(name)
    return _MADE[name]
