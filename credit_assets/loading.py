"""A code location, loaded at the cost of what it is made of.

Belongs here: how Dagster's processes load. Does not belong here: what is loaded (`build`), and for which portfolio
(`definitions`, `locations`).
"""

from __future__ import annotations

import gc

import dagster as dg


def load(portfolio: str | None = None) -> dg.Definitions:
    """The definitions of the named portfolio, or of that which the settings name. Raises SettingsError.

    All that is loaded stays: looking it through for garbage took a fifth of the time and found none, and nothing that
    comes later need walk through it again.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        # What they import is most of what is loaded.
        from credit_assets.build import build_definitions
        from credit_assets.settings import load_settings, restrict_files

        restrict_files()
        return build_definitions(load_settings(**({"portfolio": portfolio} if portfolio else {})))
    finally:
        gc.freeze()
        if collecting:
            gc.enable()
