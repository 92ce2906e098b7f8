"""The first day of a book, and what is looked at to know it."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from credit_assets.assets.stored_days import StoredDays
from credit_assets.storage.store import Store

START = date(2024, 1, 10)


def put(root: Path, *names: str) -> None:
    for name in names:
        path = root / f"{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")


def test_the_first_day_is_the_first_from_the_start_on_of_which_anything_is_there(tmp_path: Path) -> None:
    days = StoredDays(Store(str(tmp_path)))
    assert days.first_day(START) == START
    # Days before the start are outside the book.
    put(tmp_path, "raw_loan_data/2024-01-09", "loan_scores/2024-01-10")
    assert days.first_day(START) == START
    put(tmp_path, "raw_loan_data/2024-01-13", "processed_features/2024-01-12", "raw_loan_data/2024-02-01")
    assert days.first_day(START) == date(2024, 1, 12)
    put(tmp_path, "processed_features/2024-01-11")
    assert days.first_day(START) == date(2024, 1, 11)


@pytest.mark.parametrize("asset", ["raw_loan_data", "processed_features"])
def test_a_book_that_begins_at_the_start_is_not_listed(
    asset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, f"{asset}/2024-01-10", f"{asset}/2024-01-11")
    monkeypatch.setattr(Store, "days", lambda *_: pytest.fail("a listing is longer the older the book"))
    assert StoredDays(Store(str(tmp_path))).first_day(START) == START
