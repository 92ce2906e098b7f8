"""The whole dossier: every section with and without evidence, sources, sameness, and the page."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from credit_assets.ml.evidence.reliability import measure_reliability
from credit_assets.ml.reports.dossier.blocks import Fact, Facts, Figure, Paragraph, Series, Table, text
from credit_assets.ml.reports.dossier.crosswalk import CLAUSES
from credit_assets.ml.reports.dossier.page import html
from credit_assets.ml.reports.dossier.whole import Dossier, dossier
from credit_assets_tests.support.dossiers import AS_OF, bare, made, material, portfolio, rows, source, version

HOSTILE = "</style><script>alert(1)</script>\"'><img src=x onerror=alert(2)> {{ 7*7 }}"


@pytest.fixture(scope="module")
def whole() -> Dossier:
    return dossier(material())


def test_every_section_of_the_crosswalk_is_there_and_none_else(whole: Dossier) -> None:
    keys = [section.key for section in whole.sections]
    assert keys == [*CLAUSES, "crosswalk"]
    assert len(set(keys)) == len(keys)


def test_every_number_names_a_source_that_is_listed(whole: Dossier) -> None:
    for section in whole.sections:
        for block in section.blocks:
            if isinstance(block, Facts):
                assert all(item.source in whole.numbers for item in block.items)
            elif isinstance(block, Table | Figure):
                assert block.sources
                assert set(block.sources) <= set(whole.numbers)
            elif block.kind == "finding":
                assert set(block.sources) <= set(whole.numbers)
    assert all(item.source in whole.numbers for item in whole.front.items)


def test_a_block_with_numbers_and_without_a_source_is_refused() -> None:
    with pytest.raises(ValueError, match="names no source"):
        Table("rows", ("a",), ((text("x"),),), ())
    with pytest.raises(ValueError, match="names no source"):
        Figure("curve", "x", "y", (), ())
    with pytest.raises(ValueError, match="a row has not 2 cells"):
        Table("rows", ("a", "b"), ((text("x"),),), (source("raw_loan_data"),))


def test_the_figures_of_the_issue_are_there(whole: Dossier) -> None:
    captions = [b.caption for s in whole.sections for b in s.blocks if isinstance(b, Figure)]
    for named in ("ROC", "Gain", "Points by outcome", "Bad rate against mean PD", "AUC of the out-of-time test"):
        assert any(caption.startswith(named) for caption in captions), named


def test_the_json_has_what_the_page_says(whole: Dossier) -> None:
    record = whole.to_record()
    again = json.loads(json.dumps(record, allow_nan=False))
    assert again == record
    said = _Text.of(html(whole))
    for section in record["sections"]:
        assert section["title"] in said
        for block in section["blocks"]:
            for shown in _texts(block):
                assert _plain(shown) in said, shown


def test_the_same_records_give_the_same_bytes(whole: Dossier) -> None:
    again = dossier(material())
    assert html(again) == html(whole)
    assert json.dumps(again.to_record()) == json.dumps(whole.to_record())


def test_the_page_asks_for_nothing_and_is_bounded(whole: Dossier) -> None:
    page = html(whole)
    assert len(page.encode()) < 2_000_000
    for reaching in ("http://", "https://", "url(", "@import", "<script", "src="):
        assert reaching not in page, reaching
    assert "default-src 'none'" in page
    assert "@media print" in page
    assert "prefers-color-scheme: dark" in page


def test_text_of_a_lender_stays_text() -> None:
    columns = [one.model_copy(update={"description": HOSTILE}) for one in portfolio().columns]
    hostile = portfolio(description=HOSTILE, columns=columns)
    moved = replace(material().moves[0], reason=HOSTILE, by=HOSTILE)
    named = replace(made(), version=version(model=HOSTILE))
    page = html(dossier(material(portfolio=hostile, moves=(moved,), made=named)))
    tags = _Text.tags_of(page)
    assert not tags & {"script", "img"}
    assert page.count("</style>") == 1
    # Nothing is evaluated twice either.
    assert "{{ 7*7 }}" in _Text.of(page)


def test_a_label_of_a_figure_is_escaped() -> None:
    from credit_assets.ml.reports.dossier.charts import svg

    series = (Series("<script>", "points", (1.0, 2.0), (0.0, 1.0), (0.5, 1.5), (1.5, 2.5)),)
    drawn = svg(Figure("<b>", "<i>", "", series, (source("trained_model"),), labels=("<u>", "&")))
    assert not re.search(r"<(?!/?(svg|path|text|circle)\b)", drawn)


def test_a_version_of_which_nothing_is_recorded_has_every_section_and_says_so() -> None:
    whole = dossier(bare())
    assert [section.key for section in whole.sections] == [*CLAUSES, "crosswalk"]
    said = {s.key: [b for b in s.blocks if isinstance(b, Paragraph) and b.kind == "missing"] for s in whole.sections}
    for key in ("population", "target", "data", "cohorts", "method", "results", "comparison", "calibration",
                "stability", "fairness", "cutoffs", "decisions"):  # fmt: skip
        assert said[key], key
        assert all(block.text.startswith("Nothing is recorded of ") for block in said[key])
    assert html(whole)


@pytest.mark.parametrize("key", ["importance", "information_value", "stability", "curves", "calibration", "evaluation",
                                 "trained_on", "age", "comparison"])  # fmt: skip
def test_any_single_evidence_may_be_missing(key: str) -> None:
    assert html(dossier(material(made=made(trained={key: None}))))


def test_evidence_of_others_is_shown_as_it_is() -> None:
    more = {
        "cutoffs": {"pd": 0.125, "curve": [{"pd": 0.1, "approved": 0.8}, {"pd": 0.2, "approved": 0.9}]},
        "fairness": {
            "applications": 900,
            "attributes": [
                {
                    "column": "sex",
                    "reference": "a",
                    "small": {"groups": 1, "rows": 3},
                    "groups": [{"name": "b", "rate": 0.6, "air": {"value": 0.81, "low": 0.7, "high": 0.95}}],
                }
            ],
        },
        "reliability": measure_reliability([1, 0, 1, 0], [0.0367] * 4, [600.0] * 4, {"term": [36, 36, 60, 60]}),
    }
    page = _Text.of(html(dossier(material(made=made(trained=more)))))
    assert "declines applications with a PD above 0.125" in page
    assert "0.81 (0.7 .. 0.95)" in page
    assert "By sex: groups" in page
    assert "PDs beside outcomes by term" in page
    assert "p (Jeffreys)" in page


def test_the_reasons_are_those_of_the_contract_by_group() -> None:
    reasons = {
        "groups": [{"code": "MONEY", "text": "Income is low", "features": ["income"]}],
        "none": ["purpose"],
        "most": 3,
    }
    page = _Text.of(html(dossier(material(portfolio=portfolio(reasons=reasons)))))
    for said in ("MONEY", "Income is low", "at most 3 are", "since the lender decides them: purpose", "INQUIRIES"):
        assert said in page, said


def test_no_row_of_an_applicant_is_in_it(whole: Dossier) -> None:
    written = json.dumps(whole.to_record())
    frame, _, pd_ = rows("test")
    # A point of a curve is no applicant's: not one PD or income is there with all its digits.
    assert not any(repr(float(value)) in written for value in [*frame["income"][:200], *pd_[:200]])
    assert "loan-1" not in written


def test_facts_are_written_for_people() -> None:
    items = {item.label: item for item in dossier(material()).front.items}
    assert items["Model"] == Fact("Model", text("credit-scorer"), source("version of credit-scorer", "2"))
    assert items["As-of date"].cell.text == AS_OF


class _Text(HTMLParser):
    """The text of a page, and its tags."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.tags: set[str] = set()
        self._style = False

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self._style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._style = False

    def handle_data(self, data: str) -> None:
        if not self._style:
            self.parts.append(data)

    @classmethod
    def of(cls, page: str) -> str:
        parser = cls()
        parser.feed(page)
        return _plain("".join(parser.parts))

    @classmethod
    def tags_of(cls, page: str) -> set[str]:
        parser = cls()
        parser.feed(page)
        return parser.tags


def _plain(words: str) -> str:
    return " ".join(words.split())


def _texts(block: dict[str, Any]) -> list[str]:
    if block["kind"] == "facts":
        return [one[key] for one in block["items"] for key in ("label", "text")]
    if block["kind"] == "table":
        return [block["caption"], block["note"], *block["columns"], *(c["text"] for row in block["rows"] for c in row)]
    if block["kind"] == "figure":
        return [block["caption"], block["note"], block["x_label"], block["y_label"], *block["labels"]]
    return [block["text"]]


def test_tables_of_any_record_begin_with_what_their_rows_are_of() -> None:
    from credit_assets.ml.reports.dossier.anything import blocks_of
    from credit_assets.ml.reports.dossier.blocks import Source, Table

    record = {"tables": {"decile": [{"bads": 1, "part": 1, "rows": 9}]}, "losses": {"platt": {"log_loss": 0.2}}}
    found = blocks_of("Reliability", record, Source("trained_model", "2024-01-01", "0", "0"))
    tables = [block for block in found if isinstance(block, Table)]
    assert sorted(table.columns for table in tables) == [("", "log loss"), ("part", "bads", "rows")]
