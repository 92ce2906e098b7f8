"""The comparison before, the first of a chain, and what comparisons on a book could show: from records of the store."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from credit_assets.assets import comparison
from credit_assets.assets.comparison import compare_with_first, days_left, savings_of
from credit_assets.assets.comparison_power import power_of
from credit_assets.failures import PermanentError, error_text
from credit_assets.ml.evidence.evaluation import compare, evaluate
from credit_assets.ml.rules.due import NOT_DUE
from credit_assets.settings import load_settings
from credit_assets.storage.store import Store

# What was recorded before the validation rows decided on the spending.
JUDGED = {"evaluation": {"auc": 0.7}, "champion": None, "comparison": {"judged": True, "days": 1, "previous": None}}
TOO_FEW = {"evaluation": {"auc": 0.7}, "champion": {"version": "1"}, "comparison": {"judged": False, "days": 1}}
SKIPPED = {"status": NOT_DUE}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def put(store: Store, **records: Any) -> None:
    """By day, as d2024_03_31."""
    for day, record in records.items():
        store.write_record(store.path("trained_model", f"{day[1:].replace('_', '-')}.json"), record)


def spent(saved: float, days: float) -> dict[str, Any]:
    return {
        "evaluation": {"auc": 0.7},
        "champion": None,
        "comparison": {"previous": None, "saved": saved, "days": days},
    }


@pytest.mark.parametrize(
    ("as_of", "before", "saved"),
    [
        ("2024-02-28", None, 365),
        # All was spent, then nothing.
        ("2024-03-02", "2024-03-01", 1),
        ("2024-03-10", "2024-03-08", 9),
        ("2024-03-13", "2024-03-11", 11),
        # A year at most, whatever is left.
        ("2025-03-10", "2024-03-11", 365),
        ("2025-03-11", None, 365),
    ],
)
def test_what_is_saved_is_what_was_left_and_the_days_since(
    store: Store, as_of: str, before: str | None, saved: float
) -> None:
    put(
        store,
        d2024_03_01=spent(20, 20),
        d2024_03_05=SKIPPED,
        d2024_03_08=spent(7, 0),
        d2024_03_11=spent(12, 3),
        d2024_03_12=SKIPPED,
    )
    assert savings_of(store, date.fromisoformat(as_of), False) == {"previous": before, "saved": saved}


@pytest.mark.parametrize(
    ("as_of", "before", "saved"),
    [("2024-03-10", "2024-03-01", 9), ("2024-03-12", "2024-03-11", 1), ("2024-02-28", None, 365)],
)
def test_records_of_before_spent_all_where_a_model_was_judged(
    store: Store, as_of: str, before: str | None, saved: float
) -> None:
    put(store, d2024_03_01=JUDGED, d2024_03_05=SKIPPED, d2024_03_08=TOO_FEW, d2024_03_11=JUDGED)
    assert savings_of(store, date.fromisoformat(as_of), False) == {"previous": before, "saved": saved}


def test_a_day_keeps_what_it_found_when_older_days_are_trained_later(store: Store) -> None:
    put(store, d2024_03_01=spent(365, 365))
    found = savings_of(store, date(2024, 3, 31), False)
    assert found == {"previous": "2024-03-01", "saved": 30}
    put(store, d2024_03_31=spent(30, 7.5) | {"comparison": {**found, "days": 7.5}}, d2024_03_20=spent(19, 19))
    assert savings_of(store, date(2024, 3, 31), False) == found
    assert savings_of(store, date(2024, 4, 1), False) == {"previous": "2024-03-31", "saved": 23.5}
    # A day of before keeps what it found as well.
    put(store, d2024_03_31=JUDGED)
    assert savings_of(store, date(2024, 3, 31), False) == {"previous": None, "saved": 1}


@pytest.mark.parametrize(
    ("champion", "left"),
    [(None, 0), ({"comparable": True}, 0), ({"comparable": False}, None)],
)
def test_records_of_before_anything_was_recorded_count_where_models_were_compared(champion: Any, left: Any) -> None:
    assert days_left({"evaluation": {"auc": 0.7}, "champion": champion}, False) == left


def test_first_models_that_fail_neither_spend_nor_save_for_comparisons_with_a_champion(store: Store) -> None:
    """Three attempts, of which the last is champion: the next first model would have what they left, a comparison has
    the days since the champion's, as if its training had been the first.
    """
    put(store, d2024_01_31=spent(365, 182.5), d2024_02_29=spent(211.5, 182.5), d2024_03_31=spent(60, 60))
    for as_of in (date(2024, 3, 30), date(2024, 4, 30)):
        alone = savings_of(store, as_of, False)
        assert alone == {"previous": alone["previous"], "saved": 59 if as_of.month == 3 else 30}
    put(store, d2024_03_31=spent(60, 5))
    assert savings_of(store, date(2024, 4, 30), False) == {"previous": "2024-03-31", "saved": 85}
    assert savings_of(store, date(2024, 4, 30), True) == {"previous": "2024-03-31", "saved": 30}
    # From the second comparison on what the first one left is there.
    compared = spent(30, 1) | {"champion": {"version": "1"}}
    put(store, d2024_04_30=compared)
    assert savings_of(store, date(2024, 5, 31), True) == {"previous": "2024-04-30", "saved": 60}


# The first of the chain


def version(number: str, test_from: str, **tags: str) -> Any:
    tags = {"test_from": test_from, **tags}
    return SimpleNamespace(version=number, as_of=date.fromisoformat(test_from), tags=tags)


VERSIONS = [
    version("1", "2024-01-01", shown="first", compared_with="none"),
    version("2", "2024-02-01", shown="not_worse", compared_with="1"),
    version("3", "2024-03-01", shown="better", compared_with="2"),
]


def beside_first(champion: str, monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> Any:
    def scored(first: Any, since: date, *_: Any) -> dict[str, Any]:
        if error:
            raise error
        return {"version": first.version, "since": since}

    monkeypatch.setattr(comparison, "compare_with", scored)
    registry: Any = SimpleNamespace(versions=lambda: VERSIONS)
    nothing: Any = None
    return compare_with_first(champion, nothing, nothing, nothing, registry)


def test_the_first_of_the_chain_is_scored_where_it_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    assert beside_first("1", monkeypatch) is None
    assert beside_first("3", monkeypatch) is None
    # On rows that none has seen: since the test of the newest of the two began.
    assert beside_first("2", monkeypatch) == {"version": "1", "since": date(2024, 2, 1)}


@pytest.mark.parametrize("error", [PermanentError("its files are gone"), ValueError("of a library, with a row in it")])
def test_one_that_scores_no_more_is_said(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    found = beside_first("2", monkeypatch, error)
    assert (found["version"], found["comparable"], found["why"]) == ("1", False, error_text(error))


# What comparisons could show


def rows(bads: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    y = np.r_[np.ones(bads), np.zeros(9 * bads)]
    both = rng.normal(size=len(y))
    ours, theirs = (0.1 + 0.01 * (both + 0.33 * rng.normal(size=len(y)) + 0.7 * y) for _ in range(2))
    return y, ours, theirs


def test_a_book_without_a_model_has_nothing_to_show(store: Store) -> None:
    put(store, d2024_03_01=SKIPPED)
    assert power_of(load_settings(), store) is None


def test_the_newest_test_says_what_the_next_could_show(store: Store) -> None:
    y, ours, theirs = rows(400)
    alone = {"evaluation": evaluate(y, ours).to_record(), "champion": None}
    beside = {"comparable": True, "difference": compare(y, ours, theirs).to_record()}
    put(store, d2024_03_01=alone)
    guessed = power_of(load_settings(), store)
    put(store, d2024_03_02=alone | {"champion": beside}, d2024_03_03=SKIPPED)
    measured = power_of(load_settings(), store)
    assert guessed is not None
    assert measured is not None
    assert (guessed.measured, measured.measured) == (False, True)
    assert "two models whose scores correlate at 0.9" in guessed.text()
    assert (measured.as_of, measured.bads, measured.goods) == ("2024-03-02", 400, 3600)
    assert measured.shown["daily"] > measured.shown["weekly"] > measured.shown["monthly"] > 0.005
    assert guessed.shown["monthly"] == pytest.approx(measured.shown["monthly"], rel=0.4)
    assert "400 bads, 3,600 goods" in measured.text()


def test_how_often_a_better_model_is_found_is_said_for_schedule_and_likeness(store: Store) -> None:
    """At 400 bads and scores that correlate at 0.9 a model better by .019 is found more often the rarer comparisons
    are; one whose errors are independent much less.
    """
    y, ours, _ = rows(400)
    alike = {"difference": 0.0, "standard_error": 0.0065, "rows": 4_000, "bads": 400}
    alone = {"evaluation": evaluate(y, ours).to_record()}
    found = {}
    for name, error in (("alike", 0.0065), ("independent", 0.0115)):
        put(store, d2024_03_02=alone | {"champion": {"difference": alike | {"standard_error": error}}})
        power = power_of(load_settings(), store)
        assert power is not None
        assert list(power.found) == ["daily", "weekly", "monthly", "quarterly"]
        assert list(power.found.values()) == sorted(power.found.values())
        found[name] = power
    assert found["alike"].found["monthly"] == pytest.approx(0.78, abs=0.05)
    assert found["independent"].found["monthly"] == pytest.approx(0.26, abs=0.08)
    daily, monthly = (f"{found['alike'].found[name]:.0%} {name}" for name in ("daily", "monthly"))
    assert f"one that is better by 0.019 is taken then in {daily}" in found["alike"].text()
    assert monthly in found["alike"].text()
    assert "standard error of that comparison" in found["alike"].text()


@pytest.mark.parametrize("bads", [1, 2])
def test_tests_of_hardly_a_bad_find_nothing(store: Store, bads: int) -> None:
    nothing = {"difference": 0.0, "standard_error": 0.1, "rows": 100, "bads": bads}
    put(store, d2024_03_02={"evaluation": {"auc": 0.7}, "champion": {"difference": nothing}})
    power = power_of(load_settings(), store)
    assert power is not None
    assert max(power.found.values()) < 0.05
