"""Tests of models before, and whether applicants have moved: found in the records of the store."""

from __future__ import annotations

import itertools
from datetime import date, timedelta
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from credit_assets.assets import comparison
from credit_assets.assets.earlier_tests import as_found_first, earlier_tests, moved_since
from credit_assets.ml.rules.due import NOT_DUE
from credit_assets.settings import load_settings
from credit_assets.storage.store import Store

WINDOW = 90
CHAMPION: Any = SimpleNamespace(version="2", as_of=date(2024, 1, 31), trained_as_of=date(2024, 1, 31))
SELECTED = {"as_of": "2024-12-31", "test_from": "2024-09-10", "champion": {"version": "2"}}
"""Its test: 2024-09-10 .. 2024-10-02."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def trained(as_of: date, difference: float, champion: str = "2", **more: Any) -> dict[str, Any]:
    """A training whose test are 22 days, which end a window before it."""
    last = as_of - timedelta(WINDOW)
    found = {"difference": difference, "standard_error": 0.01, "rows": 900, "bads": 40, "ci_low": -1, "ci_high": 1}
    return {
        "evaluation": {"auc": 0.7},
        "champion": {"version": champion, "comparable": True, "difference": found},
        "age": {"test": [(last - timedelta(21)).isoformat(), last.isoformat()]},
        **more,
    }


def put(store: Store, *records: tuple[date, dict[str, Any]]) -> None:
    for day, record in records:
        store.write_record(store.path("trained_model", f"{day}.json"), record)


def found(store: Store, version: Any = CHAMPION) -> list[tuple[str, int, float]]:
    tests = earlier_tests(store, SELECTED, version, WINDOW)["tests"]
    return [(one["as_of"], one["newer_by"], one["difference"]) for one in tests]


def test_tests_that_share_no_row_are_found_newest_first(store: Store) -> None:
    days = [date(2024, 12, 30) - timedelta(7 * back) for back in range(60)]
    put(store, *((day, trained(day, number / 1_000)) for number, day in enumerate(days)))
    tests = earlier_tests(store, SELECTED, CHAMPION, WINDOW)
    assert tests["newer_by"] == 335
    assert set(tests["tests"][0]) == {"as_of", "newer_by", "days", "difference", "standard_error", "rows", "bads"}
    spans = [("2024-09-10", "2024-10-02"), *(tuple(one["days"]) for one in tests["tests"])]
    assert all(before[1] < after[0] for after, before in itertools.pairwise(spans))
    # One in four weeks, none as of a day before the champion's own.
    assert [one["as_of"] for one in tests["tests"]][:2] == ["2024-12-02", "2024-11-04"]
    assert all(one["as_of"] > "2024-01-31" for one in tests["tests"])


def test_what_is_no_test_beside_the_champion_is_passed_by(store: Store) -> None:
    day = date(2024, 12, 2)
    put(store, (date(2024, 10, 1), trained(date(2024, 10, 1), 0.3)))
    for record in (
        {"status": NOT_DUE},
        trained(day, 0.1, champion="1"),
        trained(day, 0.1, recalibrates={"version": "2"}),
        trained(day, 0.1) | {"champion": {"version": "2", "comparable": False, "why": "gone"}},
        trained(day, 0.1) | {"champion": None},
        # Of before its days were recorded.
        trained(day, 0.1) | {"age": None},
    ):
        put(store, (day, record))
        assert found(store) == [("2024-10-01", 244, 0.3)]


def by_every_record(store: Store, selected: dict[str, str], version: Any, window: int) -> list[dict[str, Any]]:
    """The same tests, by reading all records that may have one, each time."""
    before, tests = date.fromisoformat(selected["test_from"]), []
    for day in map(date.fromisoformat, reversed(store.days("trained_model"))):
        if not version.as_of < day < date.fromisoformat(selected["as_of"]) or day - timedelta(window) >= before:
            continue
        record = store.read_record(store.path("trained_model", f"{day}.json"))
        if "recalibrates" in record or not (record.get("age") or {}).get("test"):
            continue
        both = (record.get("champion"), (record.get("comparison") or {}).get("first"))
        beside = [one for one in both if one and one["version"] == version.version and one.get("difference")]
        if beside and date.fromisoformat(record["age"]["test"][1]) < before:
            kept = {name: beside[0]["difference"][name] for name in ("difference", "standard_error", "rows", "bads")}
            newer = (day - version.trained_as_of).days
            tests.append({"as_of": f"{day}", "newer_by": newer, "days": record["age"]["test"], **kept})
            before = date.fromisoformat(record["age"]["test"][0])
    return tests


def drawn(random: Random, day: date) -> dict[str, Any]:
    """A record of a day, as trainings leave them."""
    if random.random() < 0.15:
        return random.choice([{"status": NOT_DUE}, trained(day, 0.1, recalibrates={}), trained(day, 0.1, age=None)])
    record = trained(day, round(random.gauss(0, 0.01), 6), champion=random.choice("223"))
    length = random.randrange(1, 12)
    last = day - timedelta(WINDOW + random.randrange(3))
    record["age"] = {"test": [(last - timedelta(length)).isoformat(), last.isoformat()]}
    if random.random() < 0.1:
        record["champion"] = {"version": "2", "comparable": False, "why": "gone"}
    if random.random() < 0.3:
        record["comparison"] = {"first": trained(day, 0.02, champion=random.choice("12"))["champion"]}
    return record


@pytest.mark.parametrize("seed", range(8))
def test_tests_are_those_of_all_records_whatever_came_in_which_order(store: Store, seed: int) -> None:
    random, champions = Random(seed), [CHAMPION, SimpleNamespace(**{**vars(CHAMPION), "version": "1"})]
    days = [date(2024, 1, 20) + timedelta(n) for n in range(90)]
    for today in days:
        # Mostly the day itself; some are left out, come late, are trained again, or go.
        for day in {today} if random.random() < 0.7 else {*random.sample(days[: days.index(today) + 1], 1)}:
            put(store, (day, drawn(random, day)))
        if random.random() < 0.1:
            store.remove(store.path("trained_model", f"{random.choice(days)}.json"))
        # Asked of a day that comes next, or of one that is made again.
        as_of = today + timedelta(1) if random.random() < 0.8 else random.choice(days)
        begins = as_of - timedelta(WINDOW + random.randrange(12))
        selected = {"as_of": as_of.isoformat(), "test_from": begins.isoformat()}
        version, window = random.choice(champions), random.choice([WINDOW, WINDOW, WINDOW, WINDOW - 5])
        expected = by_every_record(store, selected, version, window)
        assert earlier_tests(store, selected, version, window)["tests"] == expected


def test_a_day_reads_as_many_records_however_long_the_champion_has_been_there(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Any] = []
    monkeypatch.setattr(
        Store,
        "read_record",
        lambda self, path, of=Store.read_record: (read.append(path.parent), of(self, path))[1],
    )
    opened = []
    for today in (CHAMPION.as_of + timedelta(n) for n in range(1, 100)):
        begins = today - timedelta(2 + 3)
        read.clear()
        earlier_tests(store, {"as_of": f"{today}", "test_from": f"{begins}"}, CHAMPION, 2)
        opened.append((read.count(store.path("trained_model")), len(read)))
        record = trained(today, 0.01)
        record["age"] = {"test": [f"{begins}", f"{today - timedelta(2)}"]}
        put(store, (today, record))
    # The record of the day that has become old enough for its test to share no row with that of today.
    # Beside it, what is remembered of this year.
    assert opened[-90:] == [(1, 2)] * 90


def test_a_version_is_found_as_the_first_of_a_chain_and_as_champion(store: Store) -> None:
    as_first = trained(date(2024, 12, 2), 0.1, champion="5")
    as_first["comparison"] = {"first": trained(date(2024, 12, 2), 0.02)["champion"]}
    put(store, (date(2024, 12, 2), as_first), (date(2024, 10, 1), trained(date(2024, 10, 1), 0.3)))
    assert found(store) == [("2024-12-02", 306, 0.02), ("2024-10-01", 244, 0.3)]


def test_a_day_that_is_run_again_keeps_what_it_found(store: Store) -> None:
    assert as_found_first(store, SELECTED) is None
    own = trained(date(2024, 12, 31), 0.1, comparison={"moved": None, "earlier": {"newer_by": 1, "tests": []}})
    put(store, (date(2024, 12, 31), own))
    assert as_found_first(store, SELECTED) == own["comparison"]
    # Beside another champion, or of before it was recorded, it is looked for.
    assert as_found_first(store, {**SELECTED, "champion": {"version": "3"}}) is None
    put(store, (date(2024, 12, 31), trained(date(2024, 12, 31), 0.1, comparison={"days": 3})))
    assert as_found_first(store, SELECTED) is None


def drift(store: Store, day: str, verdict: str, champion: str = "2") -> None:
    record = {"day": day, "champion": champion, "verdict": verdict, "shifted": ["income"], "why": ""}
    store.write_record(store.path("drift_report", f"{day}.json"), record)


def test_applicants_have_moved_where_drift_says_so_on_days_enough_before(store: Store) -> None:
    settings, as_of = load_settings(), date(2024, 12, 31)
    for day in ("2024-12-26", "2024-12-28", "2024-12-31"):
        drift(store, day, "shifted")
    drift(store, "2024-12-25", "shifted")
    drift(store, "2024-12-29", "watch")
    drift(store, "2024-12-30", "shifted", champion="1")
    # The day itself, days before the last five, and those of another champion do not count.
    assert moved_since(store, settings, as_of, CHAMPION) is None
    drift(store, "2024-12-27", "shifted")
    expected = {"newer_by": 335, "days": 3, "of": 5, "shifted": ["income"]}
    assert moved_since(store, settings, as_of, CHAMPION) == expected


# In the record of a comparison


def test_a_comparison_has_both_beside_the_champion_and_the_first_of_its_chain(store: Store) -> None:
    settings = load_settings(performance_window_days=WINDOW)
    first: Any = SimpleNamespace(version="1", as_of=date(2024, 1, 1), trained_as_of=date(2024, 1, 1))
    registry: Any = SimpleNamespace(versions=lambda: [first, CHAMPION])
    as_first = trained(date(2024, 12, 2), 0.01)
    as_first["comparison"] = {"first": {**as_first["champion"], "version": "1"}}
    put(store, (date(2024, 12, 2), as_first))
    for day in range(26, 31):
        drift(store, f"2024-12-{day}", "shifted")
    selected = {**SELECTED, "champion": {"version": "2", "comparable": True}}

    def made() -> dict[str, Any]:
        record: dict[str, Any] = {"first": {"version": "1", "comparable": True}}
        comparison._add_days_before(record, selected, settings, registry, store)
        return record

    record = made()
    assert (record["moved"]["days"], record["moved"]["newer_by"]) == (5, 335)
    assert [one["newer_by"] for one in record["earlier"]["tests"]] == [306]
    assert [one["newer_by"] for one in record["first"]["earlier"]["tests"]] == [336]
    # Run again when other days came to be known, it says what it said.
    put(store, (date(2024, 12, 31), {"evaluation": {}, "champion": {"version": "2"}, "comparison": record}))
    put(store, (date(2024, 10, 1), trained(date(2024, 10, 1), 0.3)))
    for day in range(26, 31):
        drift(store, f"2024-12-{day}", "stable")
    assert made() == record


def test_versions_that_cannot_be_compared_have_no_tests_before(store: Store) -> None:
    registry: Any = SimpleNamespace(versions=lambda: [CHAMPION])
    gone = {"version": "1", "comparable": False, "why": "its files are gone"}
    record: dict[str, Any] = {"first": dict(gone)}
    selected = {**SELECTED, "champion": {"version": "2", "comparable": False, "why": "no rows"}}
    comparison._add_days_before(record, selected, load_settings(), registry, store)
    assert record == {"first": {**gone, "earlier": None}, "earlier": None, "moved": None}
