"""Books whose types, roles and directions are known, as a bank may write them, and how many guesses are right.

Belongs here: perturbed copies of a book (encoding, delimiter, decimal marks, days, names) and the count of right
guesses. Does not belong here: the books themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa

from credit_assets.loans.guesses import Guesses

RENAMED = {
    "application_id": "Antrags-Nr",
    "application_date": "Antragsdatum",
    "annual_income": "Jahreseinkommen (EUR)",
    "total_debt": "Schulden gesamt",
    "loan_amount": "Kredithöhe",
    "interest_rate": "Zinssatz % p.a.",
    "term_months": "Laufzeit",
    "outcome_date": "Stand am",
    "defaulted": "Ausgefallen",
}


def _german(value: Any) -> Any:
    return (
        f"{value:,.2f}".translate(str.maketrans(",.", ".,")) if isinstance(value, float) and value == value else value
    )


def _as_is(table: pa.Table, path: Path) -> None:
    table.to_pandas().to_csv(path, index=False)


def _german_file(table: pa.Table, path: Path) -> None:
    """Semicolons, decimal commas, points between thousands, days from the left, Windows-1252, names with umlauts."""
    frame = table.to_pandas()
    for name in frame.columns:
        if name.endswith("_date"):
            frame[name] = pd.to_datetime(frame[name]).dt.strftime("%d.%m.%Y")
    frame = frame.map(_german).rename(columns=RENAMED)
    path.write_bytes(frame.to_csv(index=False, sep=";").encode("cp1252"))


def _american_file(table: pa.Table, path: Path) -> None:
    """Tabs, UTF-16, currency, thousands, month before day."""
    frame = table.to_pandas()
    for name in frame.columns:
        if name.endswith("_date"):
            frame[name] = pd.to_datetime(frame[name]).dt.strftime("%m/%d/%Y")
    for name in ("annual_income", "loan_amount"):
        if name in frame:
            frame[name] = frame[name].map(lambda value: "" if value != value else f"${value:,.2f}")
    path.write_bytes(frame.to_csv(index=False, sep="\t").encode("utf-16"))


WAYS: Mapping[str, Callable[[pa.Table, Path], None]] = {
    "as it is": _as_is,
    "German": _german_file,
    "American": _american_file,
}


class Right(NamedTuple):
    """How many guesses are right, of how many, and which are not."""

    right: int
    of: int
    wrong: list[str]


def count(guesses: Guesses, truth: Mapping[str, Mapping[str, Any]], names: Mapping[str, str], key: str) -> Right:
    """Guesses of `key` (type, role, monotone) against the truth by the book's own names."""
    found = {guess.look.given: guess for guess in guesses.columns}
    wrong = []
    for name, true in truth.items():
        guess = found[names.get(name, name)]
        said = {"type": guess.look.kind, "role": guess.role, "monotone": guess.monotone}[key]
        if said != true[key]:
            wrong.append(f"{name}: {said} is {true[key]}")
    return Right(len(truth) - len(wrong), len(truth), wrong)
