"""Whether the warehouse can be reached and holds loans. Nothing is written."""

from __future__ import annotations

from datetime import date

from credit_assets.failures import PermanentError, TransientError
from credit_assets.health import Health
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.places import database_file
from credit_assets.warehouse import open_warehouse
from credit_assets.warehouse.base import FILL


def health(url: str, portfolio: Portfolio, start_date: date, timezone: str, *, embedded: bool) -> Health:
    """Connects and asks for the first and last application date; of an embedded one, whether it is there at all."""
    file = database_file(url)
    if embedded and file is not None and not file.exists():
        return Health("no loans yet", "warn", FILL)
    try:
        warehouse = open_warehouse(url, timezone)
        warehouse.ping()
    except (PermanentError, TransientError) as error:
        return Health("cannot be reached", "fail", str(error))
    try:
        days = warehouse.date_range(portfolio)
    except PermanentError as error:
        return Health("reached, but the loans cannot be read", "fail", f"{error}; or {FILL}")
    try:
        if not portfolio.columns_matching:
            warehouse.check_tables(portfolio)
    except PermanentError as error:
        return Health("reached, but a table is not as the portfolio says", "fail", str(error))
    try:
        if portfolio.histories:
            warehouse.check_histories(portfolio)
    except PermanentError as error:
        return Health("reached, but a history cannot be read", "fail", str(error))
    if days is None:
        return Health("reached, no applications yet", "warn", FILL)
    shown = f"applications from {days[0]} to {days[1]}"
    if days[0] < start_date:
        advice = f"days before {start_date} have no partition: set CREDIT_START_DATE={days[0]} to use them"
        return Health(shown, "warn", advice)
    return Health(shown)
