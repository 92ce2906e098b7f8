"""The README says what the code does. Its commands are held with those of all pages, by test_docs.py."""

from __future__ import annotations

import re
from pathlib import Path

from credit_assets.stages import Graph
from credit_assets_tests.support.pages import tree
from docs_site.reference import verbs

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def test_every_local_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).exists(), target


def test_every_verb_stands_in_the_list() -> None:
    (block,) = re.findall(r"^```text\nlook(.*?)^```", README, re.M | re.S)
    named = {word for line in block.splitlines() for word in re.split(r"\s{2,}", line)[1:]}
    assert named == {name for name, _ in verbs(tree())}


def test_every_asset_stands_in_the_table_of_a_day() -> None:
    table = README.split("## What happens on a day", 1)[1].split("\n## ", 1)[0]
    named = set(re.findall(r"`(\w+)`", "".join(line.split(" | ")[0] for line in table.splitlines() if line[:1] == "|")))
    graph = Graph(("xgboost", "lightgbm", "catboost", "scorecard"), frozenset({"decisions", "histories"}))
    assert named == {row.name for row in graph.assets}


def test_it_is_short_and_says_first_what_it_takes() -> None:
    assert len(README.split()) < 1_400
    first = README[: README.index("## Read on")]
    for said in ("GB", "minute", "pip install credit-assets", "Python 3.11 to 3.14"):
        assert said in first, said
