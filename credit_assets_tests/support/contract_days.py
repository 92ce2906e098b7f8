"""Days of applications held against a contract: small portfolios and their rows, and the gates by name."""

from __future__ import annotations

from datetime import date, timedelta

import pandas as pd

from credit_assets.ml.data.gate_results import GateResult
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.rules.day_gates import ContractResult, check_applications

DAY = date(2015, 3, 2)
NEXT = DAY + timedelta(days=1)


def gates_of(result: ContractResult, day: date = DAY) -> dict[str, GateResult]:
    return {gate.name: gate for gate in result.gates[day]}


def check(frame: pd.DataFrame, portfolio: Portfolio, *days: date, recent: dict | None = None) -> ContractResult:
    return check_applications(frame, portfolio, days or (DAY,), recent or {})


def small(*columns: dict, **gates: float) -> Portfolio:
    """A portfolio with an id `id`, a date `day` and the given columns."""
    fixed = [
        {"name": "id", "type": "string", "role": "id", "nullable": False, "on_violation": "reject"},
        {"name": "day", "type": "date", "role": "date", "nullable": False, "on_violation": "reject"},
    ]
    return Portfolio.model_validate({"name": "small", "columns": [*fixed, *columns], "gates": gates})


def rows(**columns: object) -> pd.DataFrame:
    size = max(len(values) for values in columns.values() if isinstance(values, (list, pd.Series)))
    return pd.DataFrame({"id": [f"i{number}" for number in range(size)], "day": [DAY] * size, **columns})
