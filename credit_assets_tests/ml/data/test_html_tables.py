"""Results as tables of a notebook: text is text, and numbers are short."""

from __future__ import annotations

import math
from datetime import date
from xml.etree import ElementTree

import pyarrow as pa

from credit_assets.ml.data.gate_results import GateResult
from credit_assets.ml.data.html_tables import HtmlTable, as_html, fields
from credit_assets.ml.evidence.drift import DriftFindings, FeatureDrift
from credit_assets.ml.rules.day_gates import ContractResult

GATE = GateResult("volume", False, "error", 3, ">= 10", "Rows of the day.", setting="gates: volume")


def cells(html: str) -> list[list[str]]:
    """Rows of all tables; raises where it is not well formed."""
    return [["".join(one.itertext()) for one in row] for row in ElementTree.fromstring(f"<x>{html}</x>").iter("tr")]


def test_texts_are_escaped_wherever_they_stand() -> None:
    html = as_html(HtmlTable("<c>&", ("<h>",), [("<a>", "&b", None)]))
    assert cells(html) == [["<h>"], ["<a>", "&b", "–"]]
    assert "<caption>&lt;c&gt;&amp;</caption>" in html


def test_values_as_people_read_them() -> None:
    values = [1234567, 0.123456789, 1e-12, True, False, math.nan, None, date(2024, 4, 2), "text"]
    shown = ["1,234,567", "0.123457", "1e-12", "yes", "no", "–", "–", "2024-04-02", "text"]
    assert cells(as_html(HtmlTable("", (), [values]))) == [shown]


def test_what_is_nested_is_counted() -> None:
    record = {"few_names": ["a", "b"], "none": [], "gates": [{"x": 1}, {}], "map": {"a": 1}, "empty": {}}
    assert cells(as_html(fields(record))) == [
        ["few names", "a, b"],
        ["none", "–"],
        ["gates", "2 entries"],
        ["map", "1 entries"],
        ["empty", "–"],
    ]


def test_gates_and_findings_are_tables() -> None:
    told = ["volume", "error", "3", ">= 10", GATE.message()]
    assert cells(GATE._repr_html_())[1] == told
    table = pa.table({"id": [1, 2]})
    assert cells(ContractResult(table, table.slice(0, 0), {date(2024, 4, 2): (GATE,)})._repr_html_()) == [
        ["rows kept", "2"],
        ["rows in quarantine", "0"],
        ["gate", "verdict", "value", "allowed", "what it says"],
        told,
    ]
    nothing = dict.fromkeys(
        ("statistic", "bin_p_value", "missing_p_value", "out_of_range_share", "new_level_share", "outside_p_value")
    )
    feature = FeatureDrift(
        name="income", kind="numeric", psi=0.3, psi_by_chance=0.01, test="ks", p_value=0.001, rows=10,
        reference_rows=20, missing_share=0.1, missing_reference=0.2, new_levels=(), verdict="shifted", why="moved",
        **nothing,
    )  # fmt: skip
    found = DriftFindings("shifted", "shifted: income", 10, 0, (feature,))
    assert cells(found._repr_html_())[1] == ["income", "shifted", "0.3", "0.001", "0.1", "0.2", "moved"]
