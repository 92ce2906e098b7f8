"""The pages of a portfolio's report: what stands on them, that they ask for nothing, and that a book without models has
them too.
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from credit_assets.ml.reports.dossier.blocks import Figure, Paragraph, Source, Table
from credit_assets.ml.reports.dossier.page import html
from credit_assets.ml.reports.dossier.whole import Dossier
from credit_assets.ml.reports.site import AliasMove, SiteMaterial, StoredRecord, pages

SCREENS = Path(__file__).parents[2] / "data" / "screens"
NASTY = "<script>alert(1)</script>"


def recorded(asset: str, record: dict[str, Any]) -> StoredRecord:
    return StoredRecord(record, Source(asset, record.get("day") or record.get("as_of") or "2025-08-31", "f" * 64, ""))


def drift(day: str, psi: float, verdict: str) -> StoredRecord:
    feature = {"name": "income", "verdict": verdict, "psi": psi, "psi_by_chance": 0.01, "p_value": 0.2}
    feature |= {"missing_share": 0.0, "missing_reference": 0.01}
    record = {"day": day, "from": day, "to": day, "rows": 500, "verdict": verdict, "features": [feature]}
    return recorded("drift_report", record)


@pytest.fixture
def material() -> SiteMaterial:
    status = json.loads((SCREENS / "status.json").read_text("utf-8"))
    models = json.loads((SCREENS / "models.json").read_text("utf-8"))
    before = copy.deepcopy(status["performance"]) | {"day": "2025-08-30"}
    decision = {"as_of": "2025-06-30", "decision": "registered", "version": "1"}
    return SiteMaterial(
        status=recorded("status", status),
        models=recorded("versions", models),
        drift=[drift("2025-08-30", 0.05, "stable"), drift("2025-08-31", 0.3, "shifted")],
        performance=[recorded("performance_report", before), recorded("performance_report", status["performance"])],
        decisions=[(recorded("registered_model", decision), "28 gates and rules passed")],
        moves=[AliasMove("2025-07-01", "champion", "1", "promoted", "pipeline", NASTY)],
        moves_source=Source("model_aliases", "2025-08-31", "0" * 64, ""),
    )


def tables(page: Dossier) -> dict[str, Table]:
    return {block.caption: block for one in page.sections for block in one.blocks if isinstance(block, Table)}


def figures(page: Dossier) -> dict[str, Figure]:
    return {block.caption: block for one in page.sections for block in one.blocks if isinstance(block, Figure)}


def test_each_page_says_what_it_is_of(material: SiteMaterial) -> None:
    made = pages(material)
    assert list(made) == ["Portfolio", "Models", "Monitoring", "Decisions"]
    alarms = [block.text for block in made["Portfolio"].sections[0].blocks if isinstance(block, Paragraph)]
    assert alarms == material.status.record["alarms"]
    every = tables(made["Models"])["Every model, by as-of date"]
    assert [row[1].text for row in every.rows] == ["1", "rejected", "rejected"]
    (series,) = figures(made["Models"])["AUC of each model's own test"].series
    assert all(low < value < high for low, value, high in zip(series.low, series.x, series.high, strict=True))
    (series,) = figures(made["Monitoring"])["The largest PSI of each day"].series
    assert (series.x, series.y) == ((-1.0, 0.0), (0.05, 0.3))
    verdicts = {row[0].text: row[1].value for row in tables(made["Monitoring"])["Verdicts of the days"].rows}
    assert verdicts == {"stable": 1, "watch": 0, "shifted": 1, "unknown": 0}
    measured = {row[0].text: row for row in tables(made["Monitoring"])["As it stood on 2025-08-31"].rows}
    assert set(measured) == {"matured since training", "estimated"}
    assert measured["matured since training"][6].text == "0.90"
    moves = tables(made["Decisions"])["In the order of the ledger"]
    assert [cell.text for cell in moves.rows[0][:5]] == ["2025-07-01", "champion", "1", "promoted", "pipeline"]


def test_the_pages_ask_for_nothing_escape_and_lead_to_one_another(material: SiteMaterial) -> None:
    links = {"Portfolio": "index.html", "Decisions": "decisions.html"}
    text = html(pages(material)["Decisions"], "report", links, "Decisions")
    assert NASTY not in text
    assert "&lt;script&gt;" in text
    assert '<a href="index.html">Portfolio</a>' in text
    assert '<a href="decisions.html" aria-current="page">Decisions</a>' in text
    assert "default-src 'none'" in text
    # Links lead to pages of the site and to places of this page alone.
    assert {one for one in re.findall(r'(?:href|src)="([^"#]*)', text) if one} == set(links.values())
    assert text == html(pages(material)["Decisions"], "report", links, "Decisions")


def test_a_dossier_by_itself_has_no_pages_to_go_to(material: SiteMaterial) -> None:
    assert 'aria-label="Pages"' not in html(pages(material)["Models"])


def test_a_book_without_models_has_its_pages_too(material: SiteMaterial) -> None:
    status = dict(material.status.record) | {
        "champion": None,
        "shadow": None,
        "alarms": [],
        "gates": [],
        "accounts": {},
    }
    empty = SiteMaterial(
        recorded("status", status),
        recorded("versions", {"model": "credit-scorer", "versions": [], "rejected": []}),
        (), (), (), (), material.moves_source,
    )  # fmt: skip
    made = pages(empty)
    blocks = [block for page in made.values() for one in page.sections for block in one.blocks]
    said = " ".join(block.text for block in blocks if isinstance(block, Paragraph))
    for words in ("Nothing.", "No model was made yet.", "nothing is watched", "None yet."):
        assert words in said
    assert all(html(page) for page in made.values())
