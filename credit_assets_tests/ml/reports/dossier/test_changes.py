"""The change log: what differs between two versions, and nothing that does not."""

from __future__ import annotations

from dataclasses import replace

from credit_assets.ml.reports.dossier.blocks import Paragraph, Table
from credit_assets.ml.reports.dossier.changes import changes, section
from credit_assets.ml.reports.dossier.material import Recorded
from credit_assets_tests.support.dossiers import bare, made, material, version


def test_a_version_has_no_change_against_itself() -> None:
    assert changes(made(), made()) == ()


def test_each_kind_of_change_is_named_with_both_values() -> None:
    before, now = made("1"), made("2")
    assert now.candidate is not None
    identity = {
        **now.candidate["identity"],
        "code": "d" * 64,
        "seed": 2,
        "params": {"library": "lightgbm 5", "num_leaves": 15, "max_rounds": 60},
        "monotone": {"income": 0, "inquiries": 1},
        "requests": {"columns": [{"name": "income", "type": "float"}]},
    }
    now = replace(
        made("2", {"policy": {"version": "q", "comparison": {"min_auc": 0.6}}, "evaluation": {"auc": 0.5}}),
        version=version("2", as_of="2024-04-30", variant="xgboost"),
        candidate=Recorded({**now.candidate.record, "identity": identity}, now.candidate.source),
    )
    found = {(one.kind, one.what): (one.before, one.now) for one in changes(before, now)}
    assert found["data", "as-of date"] == ("2024-03-31", "2024-04-30")
    assert found["method", "learner"] == ("lightgbm", "xgboost")
    assert found["method", "seed"] == (1, 2)
    assert found["method", "code"][1] == "d" * 64
    assert found["parameter", "num_leaves"] == (7, 15)
    assert ("parameter", "max_rounds") not in found
    assert found["direction", "income"] == (-1, 0)
    assert found["column read", "income"] == (None, "float")
    assert found["policy", "comparison.min_auc"] == (0.55, 0.6)
    assert found["measure on the own test", "auc"][1] == 0.5


def test_the_section_says_which_version_it_is_held_against() -> None:
    first, table = section(material()).blocks
    assert isinstance(first, Paragraph)
    assert first.text.startswith("Version 1 ")
    assert isinstance(table, Table)
    assert [row[1].text for row in table.rows] == ["comparison.min_auc"]


def test_a_first_version_has_no_former_one() -> None:
    (only,) = section(bare()).blocks
    assert isinstance(only, Paragraph)
    assert "this is the first" in only.text


def test_a_former_version_without_records_is_compared_by_what_there_is() -> None:
    gone = replace(made("1"), trained=None, candidate=None, training_set=None)
    blocks = section(material(former=gone)).blocks
    assert [block.kind for block in blocks if isinstance(block, Paragraph)] == ["paragraph", "missing", "missing"]
