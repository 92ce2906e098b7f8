"""The columns that the patterns of a portfolio stand for: found once, kept in the store, the same from then on.

Belongs here: where the list of names comes from, and where it is kept. Does not belong here: what a pattern takes
(`credit_assets.ml.data.matching_columns`). Decision 34 has the reasons.
"""

from __future__ import annotations

import json
from pathlib import Path

from credit_assets.failures import PermanentError, TransientError
from credit_assets.ml.data.fingerprints import fingerprint
from credit_assets.ml.data.portfolio import Portfolio, PortfolioError, load_portfolio
from credit_assets.storage.claims import Claims
from credit_assets.warehouse import open_warehouse


def resolved(portfolio: Portfolio, warehouse: str, timezone: str, store: str) -> Portfolio:
    """The portfolio with the columns of its patterns: of the list that was kept, else of the table as it is now, which
    is kept from then on. As it is, with its patterns, while there is no table, or none that can be reached: whatever
    reads applications refuses it so.

    Raises PortfolioError where the patterns do not fit the names, or the store does not give or take the list.
    """
    try:
        claims, name = Claims(store), _claim(portfolio)
        kept = claims.get(name)
        if kept is None:
            found = names_of_table(portfolio, warehouse, timezone)
            if not found:
                return portfolio
            portfolio.with_columns(found)  # What is refused is not kept.
            kept = claims.claim(name, json.dumps([one for one in found if _matches(portfolio, one)]))
    except (PermanentError, TransientError) as error:
        raise PortfolioError(f"columns_matching: the list of its columns lies in the store: {error}") from error
    return portfolio.with_columns(json.loads(kept))


def names_of_table(portfolio: Portfolio, warehouse: str, timezone: str) -> tuple[str, ...]:
    """The columns of the applications table; none where it is not there or cannot be reached."""
    try:
        return open_warehouse(warehouse, timezone).column_names(portfolio.applications_table)
    except (PermanentError, TransientError):
        # The code location loads without its warehouse; who needs it will say what is wrong with it.
        return ()


def came_later(file: Path | None, contract: Portfolio, warehouse: str, timezone: str) -> list[str]:
    """Columns of the table that a pattern of the portfolio file takes and that are not in the contract."""
    portfolio = load_portfolio(file)
    if not portfolio.columns_matching:
        return []
    known = {column.name for column in contract.columns}
    found = names_of_table(portfolio, warehouse, timezone)
    return [name for name in found if name not in known and _matches(portfolio, name)]


def _matches(portfolio: Portfolio, name: str) -> bool:
    return any(pattern.matches(name) for pattern in portfolio.columns_matching)


def _claim(portfolio: Portfolio) -> str:
    """Patterns that are changed are looked up anew; other keys of their columns change nothing in the names."""
    patterns = [pattern.names for pattern in portfolio.columns_matching]
    key = fingerprint(table=portfolio.applications_table, patterns=patterns)
    return f"columns/{portfolio.name}-{key[:16]}"
