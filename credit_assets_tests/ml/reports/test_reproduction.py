"""What differs between a version as it was recorded and as it was made again."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from credit_assets.ml.reports.reproduction import (
    CLOSE,
    NOTES,
    Difference,
    changed_inputs,
    changed_set,
    environment,
    named,
    rounds_otherwise,
    unequal,
)


@pytest.mark.parametrize(
    ("before", "after", "paths"),
    [
        ({"a": 1.0, "b": [1, {"c": 2}]}, {"a": 1.0 + CLOSE / 2, "b": [1, {"c": 2}]}, []),
        ({"a": 1.0}, {"a": 1.0 + 3 * CLOSE}, ["a"]),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, ["a.b[1]"]),
        ({"a": [1, 2]}, {"a": [1]}, ["a"]),
        ({"a": None}, {}, ["a"]),
        ({"a": None}, {"a": 0.0}, ["a"]),
        ({"a": True}, {"a": 1}, []),
        ({"a": "x", "b": 0}, {"a": "y", "b": 0}, ["a"]),
        ({"a": 1e-12}, {"a": 0.0}, []),
    ],
)
def test_leaves_that_differ_are_found_by_their_path(before: Any, after: Any, paths: list[str]) -> None:
    assert [path for path, _, _ in unequal(before, after)] == paths


def test_many_leaves_are_counted() -> None:
    leaves = list(unequal({str(n): n for n in range(9)}, {str(n): n + 1 for n in range(9)}))
    assert named(leaves) == (
        "0: 0 was recorded, 1 came; 1: 1 was recorded, 2 came; 2: 2 was recorded, 3 came; and 6 more"
    )


def test_each_partition_that_is_another_one_is_named_by_asset_and_day() -> None:
    was = {"loan_outcomes": {"2024-01-01": "aa" * 8, "2024-01-02": "bb" * 8, "2024-01-03": "cc" * 8}}
    now: dict[str, dict[str, str | None]] = {
        # A set is recorded by the beginning of what a file has whole.
        "loan_outcomes": {"2024-01-01": "aa" * 32, "2024-01-02": "ff" * 32, "2024-01-03": None},
        "processed_features": {"2024-01-04": "dd" * 32},
    }
    found = {one.where: one.text for one in changed_inputs(was, now)}
    assert set(found) == {"loan_outcomes 2024-01-02", "loan_outcomes 2024-01-03", "processed_features 2024-01-04"}
    assert "is not what the version saw" in found["loan_outcomes 2024-01-02"]
    assert found["loan_outcomes 2024-01-03"] == "is not there any more"
    assert changed_inputs(was, {"loan_outcomes": dict(was["loan_outcomes"])}) == []


def test_two_sets_are_told_apart_without_naming_a_row() -> None:
    was = pa.table({"id": ["a", "b", "c"], "x": [1.0, None, 3.0], "y": [1, 2, 3]})
    nan = float("nan")
    assert changed_set(was, was.set_column(1, "x", pa.array([1.0, None, 4.0])), "id") == "x differs in 1 rows"
    assert changed_set(was, was.slice(1), "id") == "3 rows then, 2 now: 1 are gone, 0 are new"
    assert changed_set(was, was.drop_columns(["y"]), "id") == "columns gone: y, new: none"
    assert "order" in changed_set(was, was.select(["id", "y", "x"]), "id")
    assert "order" in changed_set(pa.table({"id": ["a"], "x": [nan]}), pa.table({"x": [nan], "id": ["a"]}), "id")


def test_library_platform_and_settings_are_notes_and_let_sums_round() -> None:
    was: dict[str, Any] = {
        "python": "3.11.9",
        "platform": "Linux x86_64",
        "libraries": {"numpy": "2.4", "lightgbm": "4.6"},
        "settings": {"lookback_days": 90},
    }
    assert environment(was, was) == []
    now = {**was, "python": "3.12.1", "libraries": {"numpy": "2.5"}, "settings": {"lookback_days": 60}}
    found = environment(was, now)
    assert [(one.kind, one.where) for one in found] == [
        ("library", "lightgbm"), ("library", "numpy"), ("library", "python"), ("parameter", "lookback_days"),
    ]  # fmt: skip
    assert found[0].text == "4.6 then, absent here"
    assert not any(one.counts for one in found)
    assert rounds_otherwise(found)
    assert not rounds_otherwise(found[-1:])
    assert rounds_otherwise(environment(was, {**was, "platform": "Darwin arm64"}))


def test_what_was_not_made_again_counts() -> None:
    assert Difference("cannot", "model", "no GPU is here").counts
    assert "cannot" not in NOTES
    assert {"data", "code", "kept", "model", "evidence", "decision"}.isdisjoint(NOTES)
