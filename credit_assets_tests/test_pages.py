"""What stands on a page of Dagster: numbers as numbers, in the order people look, within a bound of bytes."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from credit_assets import checks, pages
from credit_assets.assets.conventions import retry_transient_only
from credit_assets.ml.data.gate_results import GateResult
from credit_assets.ml.reports.dossier.blocks import Figure, Series, Source
from credit_assets.ml.rules.model_rules import MODEL_RULES
from credit_assets.storage.store import Store

NUMBERS = (int, float, dg.IntMetadataValue, dg.FloatMetadataValue)


def test_states_and_numbers_come_first_and_hashes_and_paths_last() -> None:
    shown = pages.entries(
        {
            "content_hash": "0f",
            "file": dg.MetadataValue.path("/store/x"),
            "features": dg.MetadataValue.md("| a |"),
            "roc_curve": dg.MetadataValue.md("![roc](data:image/svg+xml;base64,AA)"),
            "mlflow_run": dg.MetadataValue.md("[run 1](http://mlflow/#/run)"),
            "wiki": dg.MetadataValue.url("http://wiki/scores"),
            "decision": "registered",
            "auc": 0.67996559,
        }
    )
    names = ["decision", "auc", "mlflow_run", "wiki", "roc_curve", "features", "content_hash", "file"]
    assert list(shown) == names
    assert shown["auc"] == 0.68


def test_a_hash_is_shown_in_halves_that_a_page_can_break_and_is_read_whole() -> None:
    given = {"content_hash": "0f" * 32, "ledger": f'{{"log": [3, "{"1a" * 32}"]}}', "run_id": "0f" * 16}
    shown = pages.entries(given)
    assert shown["content_hash"] == f"{'0f' * 16} {'0f' * 16}"
    assert max(len(word) for text in shown.values() for word in text.split()) <= 36
    assert {name: pages.whole_hashes(text) for name, text in shown.items()} == given


def test_what_is_no_number_is_left_out_and_scalars_of_numpy_are_numbers() -> None:
    shown = pages.entries({"a": float("nan"), "b": None, "c": np.float64(0.123456), "d": np.int64(7), "e": True})
    assert shown == {"c": 0.1235, "d": 7, "e": True}
    assert type(shown["d"]) is int


def test_rows_become_a_table_and_nested_numbers_are_short() -> None:
    shown = pages.entries({"tenths": [{"lift": 2.345678, "name": "a|b"}], "nested": {"x": [0.123456]}})
    assert shown["tenths"].md_str == "| lift | name |\n|---|---|\n| 2.346 | a\\|b |"
    assert shown["nested"] == {"x": [0.1235]}


@pytest.mark.parametrize(
    ("threshold", "limits"),
    [
        (0.55, {}),
        ("at most 0.05 of the rows, beyond chance", {"limit": 0.05}),
        ("at least 1,200 rows", {"limit": 1200.0}),
        ("0 rows", {"limit": 0.0}),
        ("0.80 .. 1.25", {"limit_low": 0.8, "limit_high": 1.25}),
        ("odds within 0.67 .. 1.5 times, beyond chance", {"limit_low": 0.67, "limit_high": 1.5}),
        ("within a factor of 10 (gates: volume_max_ratio) of 82", {"limit": 10.0}),
        ("no leakage column, single-feature AUC at most 0.75", {"limit": 0.75}),
        ("a state, not a limit", {}),
    ],
)
def test_a_threshold_in_words_has_its_limit_beside_it(threshold: object, limits: dict[str, float]) -> None:
    assert pages.judged(0.5, threshold) == {"value": 0.5, "threshold": threshold, **limits}


def test_a_check_without_a_measure_says_so() -> None:
    assert pages.judged(None, None) == {"value": "no value", "threshold": "no limit"}
    assert pages.judged("due", "at most 3") == {"value": "due", "threshold": "at most 3"}


def every_check() -> dict[str, dg.AssetCheckResult | dg.AssetCheckEvaluation]:
    day = date(2025, 1, 1)
    gate = GateResult("volume", True, "warn", 82, "at least 10 rows", "volume")
    failed = GateResult(
        "values",
        False,
        "error",
        0.25,
        "at most 0.05",
        "values",
        ({"column": "a", "problem": "b", "count": 3},),
        "gates",
    )
    found: dict[str, dg.AssetCheckResult | dg.AssetCheckEvaluation] = {
        "account": checks.account_result(gate),
        "day": checks._result(day, failed, one_of_many=False),
        "evaluation": checks._evaluation(dg.AssetKey("a"), day, gate),
        "current": checks.current_days_result(day),
        "restated": checks.restated_since(dg.AssetKey("a"), "2025-01-01"),
    }
    for rule in MODEL_RULES:
        measures = [{"rule": rule.name, "value": 0.6799655960454083, "threshold": 0.55}]
        found[f"rule {rule.name}"] = checks._of_rule(rule, "2025-01-01", "text", measures, passed=True)
    return found


@pytest.mark.parametrize("name", every_check())
def test_every_check_has_its_value_as_a_number(name: str) -> None:
    metadata = every_check()[name].metadata
    value = metadata["value"]
    assert isinstance(value, NUMBERS)
    assert not isinstance(value, bool)
    assert "threshold" in metadata
    assert list(metadata)[:2] == ["value", "threshold"]
    assert len(str(getattr(value, "value", value))) <= 6


def test_what_any_asset_returns_is_shown_so() -> None:
    @retry_transient_only
    def made() -> dg.MaterializeResult[object]:
        return dg.MaterializeResult(metadata={"fingerprint": "0f", "auc": 0.123456789}, value=1)

    result = made()
    assert list(result.metadata) == ["auc", "fingerprint"]
    assert result.metadata["auc"] == 0.1235
    assert result.value == 1


def test_pictures_beyond_the_bound_are_files(tmp_path: Path) -> None:
    source = Source("a", "2025-01-01", "", "")
    xs = tuple(float(n) for n in range(3_000))
    large = Figure("large", "x", "y", (Series("s", "line", xs, xs),), (source,))
    small = Figure("small", "x", "y", (Series("s", "line", (0.0, 1.0), (0.0, 1.0)),), (source,))
    store = Store(str(tmp_path))
    shown = pages.pictures({"large": large, "small": small}, store, "report", "2025-01-01")
    assert list(shown) == ["large", "small", "large_file", pages.IN_FULL]
    assert Path(shown["large_file"].value).read_text().startswith("<svg ")
    assert "**small**" in shown[pages.IN_FULL].md_str
    assert "**large**" not in shown[pages.IN_FULL].md_str
    assert sum(len(one.md_str) for one in shown.values() if hasattr(one, "md_str")) <= pages.EVENT_BYTES


def test_a_long_table_says_how_many_rows_more_there_are() -> None:
    rows = [{"name": f"f{n}", "psi": n / 7} for n in range(pages.ROWS + 20)]
    table = pages.table(rows, ["name", "psi"])
    assert len(table.records) == pages.ROWS + 1
    assert table.records[-1].data["name"] == "and 20 more, in the record of the day"
    shown = pages.entries({"features": rows})["features"].md_str
    assert shown.count("| f") == pages.ROWS
    assert shown.endswith("\n\nand 20 more, in the record of the day")
    assert pages.entries({"features": rows[: pages.ROWS]})["features"].md_str.endswith(" |")


@pytest.mark.parametrize(
    ("value", "threshold", "numbers"),
    [
        (
            "1,184 goods, 475 bads, 18 test bads",
            "at least 200 goods, 40 bads, 10 test bads",
            {"goods": 1184, "bads": 475, "test_bads": 18, "goods_limit": 200, "bads_limit": 40, "test_bads_limit": 10},
        ),
        ("3 days late", "a state, not a limit", {"days_late": 3}),
        ("10,184 good, 475 bad", "0 rows with a status in no list", {"good": 10184, "bad": 475}),
        ("not judged", "at most 0.05 of the rows", {}),
    ],
)
def test_what_is_counted_in_words_is_counted_in_numbers_too(
    value: str, threshold: str, numbers: dict[str, int]
) -> None:
    assert pages.judged(value, threshold) == {"value": value, "threshold": threshold, **numbers}
