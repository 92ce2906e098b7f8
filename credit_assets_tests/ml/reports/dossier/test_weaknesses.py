"""Rules for limits and known weaknesses: each speaks beyond its threshold, and not before it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from credit_assets.ml.reports.dossier.material import IngestedAsset, Material, Recorded
from credit_assets.ml.reports.dossier.weaknesses import NOT_LOOKED_AT, RULES, judge, margin
from credit_assets_tests.support.dossiers import bare, made, material, portfolio, source

DOCS = Path(__file__).parents[4] / "docs" / "dossier.md"


def spoken(of: Material) -> dict[str, bool | None]:
    return {rule.name: found.speaks for rule, found in judge(of)}


def trained(**parts: Any) -> Material:
    """The material with parts of the record of its training changed one level deep."""
    record = made().trained
    assert record is not None
    merged = {
        key: {**record[key], **part} if isinstance(record.get(key), dict) else part for key, part in parts.items()
    }
    return material(made=made(trained=merged))


def metrics(split: str, auc: float) -> Material:
    record = made().candidate
    assert record is not None
    of = dict(record["metrics"])
    of[split] = {**of[split], "auc": auc}
    return material(made=replace(made(), candidate=Recorded({**record.record, "metrics": of}, record.source)))


def auc(split: str) -> float:
    record = made().candidate
    assert record is not None
    return float(record["metrics"][split]["auc"])


def stability(before: str, after: str, psi: float, verdict: str) -> Material:
    record = made().trained
    assert record is not None
    pairs = [dict(one) for one in record["stability"]["comparisons"]]
    (pair,) = [one for one in pairs if (one["before"], one["after"]) == (before, after)]
    moved = {"psi": psi, "verdict": verdict}
    pair["features"] = [{**pair["features"][0], **moved}, *pair["features"][1:]]
    pair["score"] = {**pair["score"], **moved}
    return trained(stability={"comparisons": pairs})


def information(**changes: Any) -> Material:
    record = made().trained
    assert record is not None
    first, *rest = record["information_value"]["features"]
    return trained(information_value={"features": [{**first, **changes}, *rest]})


def importance(share: float) -> Material:
    record = made().trained
    assert record is not None
    features = [{**one, "share": share / 10} for one in record["importance"]["features"]]
    return trained(importance={"features": [{**features[0], "share": share}, *features[1:]]})


def ingested(changed: int) -> Material:
    return material(ingested=(IngestedAsset("raw_loan_data", 1, "a", "b", 5_507, 0, changed, source("raw_loan_data")),))


def registered(value: float) -> Material:
    record = made().registered
    assert record is not None
    reasons = [{**record["reasons"][0], "value": value}]
    return material(made=replace(made(), registered=Recorded({**record.record, "reasons": reasons}, record.source)))


def ratio(low: float, high: float) -> Material:
    return trained(calibration={"observed_over_expected": {"value": 1.0, "low": low, "high": high}})


CASES: dict[str, tuple[Callable[[], Material], Callable[[], Material]]] = {
    "few_bads": (lambda: trained(evaluation={"bads": 99}), lambda: trained(evaluation={"bads": 100})),
    "wide_interval": (
        lambda: trained(evaluation={"auc_ci_low": 0.7, "auc_ci_high": 0.81}),
        lambda: trained(evaluation={"auc_ci_low": 0.7, "auc_ci_high": 0.79}),
    ),
    "learned_by_heart": (
        lambda: metrics("train", auc("test") + 0.11),
        lambda: metrics("train", auc("test") + 0.09),
    ),
    "fell_in_time": (
        lambda: metrics("validation", auc("test") + 0.06),
        lambda: metrics("validation", auc("test") + 0.04),
    ),
    "old_evidence": (lambda: trained(age={"days": 181}), lambda: trained(age={"days": 180})),
    "chosen_by_little": (
        lambda: material(made=made(trained={"candidates": {"a": 0.70, "b": 0.696}})),
        lambda: material(made=made(trained={"candidates": {"a": 0.70, "b": 0.69}})),
    ),
    "stopped_at_the_cap": (
        lambda: material(made=replace(made(), candidate=_rounds(60))),
        lambda: material(made=replace(made(), candidate=_rounds(59))),
    ),
    "narrow_pass": (lambda: registered(0.56), lambda: registered(0.60)),
    "not_compared": (
        lambda: trained(champion={"comparable": False, "why": "no rows"}),
        lambda: material(),
    ),
    "no_better_than_scorecard": (
        lambda: material(made=made(trained={"scorecard": _scorecard(-0.001)})),
        lambda: material(made=made(trained={"scorecard": _scorecard(0.001)})),
    ),
    "level_is_off": (lambda: trained(calibration={"level_p": 0.04}), lambda: trained(calibration={"level_p": 0.06})),
    "level_is_uncertain": (lambda: ratio(0.8, 1.3), lambda: ratio(0.9, 1.2)),
    "slope_is_off": (lambda: trained(calibration={"slope_p": 0.04}), lambda: trained(calibration={"slope_p": 0.06})),
    "moved_features": (
        lambda: stability("train", "test", 0.12, "watch"),
        lambda: stability("train", "test", 0.12, "stable"),
    ),
    "moved_points": (
        lambda: stability("validation", "test", 0.3, "shifted"),
        lambda: stability("validation", "test", 0.05, "stable"),
    ),
    "newest_days_differ": (
        lambda: trained(first_days={"pd_odds_ratio": {"value": 0.75}}),
        lambda: trained(first_days={"pd_odds_ratio": {"value": 0.85}}),
    ),
    "hangs_on_one_feature": (lambda: importance(0.31), lambda: importance(0.29)),
    "against_the_direction": (lambda: information(direction=1), lambda: information(direction=-1)),
    "tells_nothing": (
        lambda: information(value=0.01, by_chance=0.02),
        lambda: trained(information_value={"features": [_telling()]}),
    ),
    "often_missing": (lambda: information(missing_share=0.21), lambda: information(missing_share=0.19)),
    "booked_alone": (lambda: material(portfolio=_stated()), lambda: material()),
    "does_not_add_up": (
        lambda: trained(trained_on={"outcomes": {"definition": "", "counts": {"good": 1, "bad": 1}}}),
        lambda: material(),
    ),
    "warned": (
        lambda: material(),
        lambda: material(made=replace(made(), training_set=replace(_set(), gates=_set().gates[:1]))),
    ),
    "restated": (lambda: ingested(1), lambda: ingested(0)),
    "fairness_unknown": (
        lambda: material(portfolio=portfolio(columns=[c for c in portfolio().columns if c.role != "protected"])),
        lambda: material(),
    ),
    "groups_too_small": (
        lambda: material(made=made(trained={"fairness": _groups(2)})),
        lambda: material(made=made(trained={"fairness": _groups(0)})),
    ),
    "evidence_missing": (
        lambda: material(),
        lambda: material(
            made=made(
                trained={key: {"there": 1} for key in ("cutoffs", "scorecard", "calibration_choice", "reliability")}
            )
        ),
    ),
}  # fmt: skip


def _rounds(rounds: int) -> Recorded:
    record = made().candidate
    assert record is not None
    return Recorded({**record.record, "rounds": rounds}, record.source)


def _scorecard(low: float) -> dict[str, Any]:
    return {"chosen": False, "beside": {"difference": {"ci_low": low, "ci_high": 0.1, "difference": 0.05}}}


def _groups(small: int) -> dict[str, Any]:
    return {"attributes": [{"column": "sex", "small": {"groups": small, "rows": 10}, "groups": []}]}


def _telling() -> dict[str, Any]:
    return {"name": "income", "value": 0.3, "by_chance": 0.01, "missing_share": 0.0, "direction": -1}


def _stated() -> Any:
    return portfolio(population={"column": "status", "booked": ["paid_out"], "declined": ["no"]})


def _set() -> Any:
    found = made().training_set
    assert found is not None
    return found


def test_there_is_a_case_for_every_rule() -> None:
    assert list(CASES) == [rule.name for rule in RULES]


@pytest.mark.parametrize("name", list(CASES))
def test_a_rule_speaks_beyond_its_threshold_and_not_before(name: str) -> None:
    beyond, before = CASES[name]
    assert spoken(beyond())[name] is True
    assert spoken(before())[name] is False


def test_what_is_not_recorded_is_not_looked_at() -> None:
    found = {rule.name: one for rule, one in judge(bare())}
    not_looked_at = {name for name, one in found.items() if one.speaks is None}
    assert {"few_bads", "wide_interval", "level_is_off", "moved_features", "hangs_on_one_feature"} <= not_looked_at
    assert all(found[name].says == NOT_LOOKED_AT for name in not_looked_at)
    assert found["evidence_missing"].speaks


@pytest.mark.parametrize(
    ("value", "threshold", "expected"),
    [
        (0.56, 0.55, 0.01 / 0.55),
        (-2.0, -4.0, 0.5),
        (1, 0, None),
        (True, 1.0, None),
        ("a", 1.0, None),
        (0.5, None, None),
    ],
)
def test_a_margin_is_a_share_of_its_limit(value: Any, threshold: Any, expected: float | None) -> None:
    found = margin(value, threshold)
    assert found == (None if expected is None else pytest.approx(expected))


def test_the_documentation_has_every_rule_with_its_threshold() -> None:
    listed = re.findall(r"^\| `(\w+)` \|[^|]*\| ([^|]*) \|", DOCS.read_text("utf-8"), re.M)
    assert listed == [(rule.name, "–" if rule.threshold is None else f"{rule.threshold:g}") for rule in RULES]
