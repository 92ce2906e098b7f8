"""What a model was made with, beside its data, parameters and seed: the record by which it is made again, and by which
what differs is named.

Belongs here: gathering it when a model is made. Does not belong here: making again and comparing
(`credit_assets.ml.reports.reproduction`), and what decides that a model is another one (its identity).

Nothing of this is part of a model's identity: another machine, or another release whose model code is the same, finds
the model again.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from credit_assets.ledger.kept import Kept
from credit_assets.settings import Settings
from credit_assets.storage.store import Store
from credit_assets.tracking.evidence import pinned, required

NUMERICS = ("numpy", "pandas", "pyarrow", "scipy", "scikit-learn")
SET_BY = ("lookback_days", "test_share", "validation_share")
"""The settings that decide, beside the portfolio and the window, which rows a training set has and how it is split."""


def made_with(
    settings: Settings, store: Store, variant: str, identity: Mapping[str, Any], modules: Sequence[str]
) -> dict[str, Any]:
    """Of a model that is being made here: interpreter, machine, libraries, settings and evidence's code; and its
    portfolio and the parts of its code kept by their content.

    `modules` are those whose code is hashed in `identity`.
    """
    kept = Kept(store)
    parts = kept.keep_code(identity["code"], modules)
    portfolio = kept.keep_portfolio(settings.portfolio_contract.model_dump(mode="json"))
    return {"portfolio": portfolio, "code_parts": parts, **here(settings, variant)}


def here(settings: Settings, variant: str) -> dict[str, Any]:
    """What `made_with` says of this machine, release and settings; keeps nothing."""
    from credit_assets.ml.data.fingerprints import code_files
    from credit_assets.ml.extensions import used

    extensions = used(settings.portfolio_contract, [variant])
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "libraries": versions([*required(variant, extensions), *NUMERICS]),
        "settings": {"window_days": settings.window_days} | {name: getattr(settings, name) for name in SET_BY},
        "evidence_code": code_files("evidence", "rules"),
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Of the packages that are installed, which version."""
    return {name: version for name, _, version in sorted(one.partition("==") for one in pinned(*packages))}
