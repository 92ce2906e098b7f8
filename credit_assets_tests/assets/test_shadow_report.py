"""The report of a trial: its numbers, its decision, the request that follows, and what is said of it afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from credit_assets.assets.policies import trial_policy
from credit_assets.assets.shadow import request_decisions
from credit_assets.ledger.kept import Kept
from credit_assets.ledger.requests import Requests
from credit_assets.ml.data.fingerprints import rounded
from credit_assets.ml.evidence.evaluation import auc, compare
from credit_assets.ml.evidence.intervals import difference_of_proportions
from credit_assets.ml.reports.shadow import comparison_table
from credit_assets.ml.rules.decisions import Reason
from credit_assets.ml.rules.trials import decide_trial
from credit_assets.storage.claims import Claims
from credit_assets_tests.support.houses import (
    TRIAL,
    TrialHouse,
    copied_home,
    open_trial,
)
from credit_assets_tests.support.houses import TRIAL_END as END
from credit_assets_tests.support.registry import end

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")

# The twentieth day of the trial, on which it is decided.
DECIDED = TRIAL + timedelta(19)
MAY = date(2024, 5, 20)


@pytest.fixture(scope="module")
def house(trial_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrialHouse]:
    with open_trial(copied_home(trial_home, tmp_path_factory.mktemp("shadow"))) as house:
        house.run("shadow_report", date(2024, 3, 25), MAY)
        yield house


def report(house: TrialHouse, day: date) -> dict[str, Any]:
    store = house.resources["store"]
    return dict(store.read_record(store.path("shadow_report", f"{day}.json")))


def sides(house: TrialHouse, first: date, last: date) -> pd.DataFrame:
    """Applications of the days with the PD and points of both versions, and what became of them in 30 days."""
    scores = house.scores(first, last)
    for name in ("pd", "score"):
        by_1 = scores["model_version"] == "1"
        scores[f"{name}_1"] = np.where(by_1, scores[name], scores[f"other_{name}"])
        scores[f"{name}_2"] = np.where(by_1, scores[f"other_{name}"], scores[name])
    outcomes = house.read("loan_outcomes", first, END)
    bad = outcomes[outcomes["defaulted"] == 1].set_index("application_id")["outcome_date"]
    known = scores["application_id"].map(bad)
    return scores.assign(default=((known - scores["application_date"]).dt.days.between(0, 30)).astype(float))


def test_a_decision_is_asked_for_once(tmp_path: Any) -> None:
    requests = Requests(Claims(str(tmp_path)))
    reasons = [Reason("psi", True, 0.1, 0.25, "PSI is small").to_record()]
    trial = {"shadow": "2", "since": "2024-04-03", "reasons": reasons}
    days = {f"2024-04-{number}": {**trial, "decision": "promote"} for number in (22, 23, 24)}
    request_decisions({"2024-04-21": {**trial, "decision": "continue"}, **days}, requests)
    request_decisions(days, requests)
    request_decisions({"2024-04-25": {**trial, "decision": "end"}}, requests)
    (request,) = requests.all()
    assert (request.kind, request.version, request.effective_from) == ("promote", "2", date(2024, 4, 23))
    assert request.reason == "PSI is small"
    other = {**trial, "since": "2024-06-01", "decision": "end"}
    request_decisions({"2024-06-30": other, "2024-07-01": {**other, "decision": "wait"}}, requests)
    assert [one.kind for one in requests.all()] == ["promote", "reject"]


@pytest.mark.slow
def test_a_day_without_a_trial_says_so_with_the_same_keys(house: TrialHouse) -> None:
    early, none, some = report(house, date(2024, 3, 25)), report(house, date(2024, 4, 2)), report(house, TRIAL)
    assert (early["champion"], none["champion"], some["champion"]) == (None, "1", "1")
    for record in (early, none):
        assert (record["decision"], record["shadow"], record["rows"], record["reasons"]) == ("none", None, 0, [])
        assert set(record) == set(some)
    assert house.metadata("shadow_report", date(2024, 4, 2))["decision"] == "none"


@pytest.mark.slow
@pytest.mark.parametrize("on", [TRIAL, date(2024, 4, 12), DECIDED, date(2024, 5, 10)])
def test_numbers_are_those_of_a_recomputation(house: TrialHouse, on: date) -> None:
    record, rows = report(house, on), sides(house, TRIAL, on)
    assert (record["since"], record["from"], record["to"]) == (str(TRIAL), str(TRIAL), str(on))
    assert (record["days"], record["rows"]) == ((on - TRIAL).days + 1, len(rows))
    for how, measured in record["correlation"].items():
        expected = rows["score_1"].corr(rows["score_2"], method=how)
        assert measured == pytest.approx(expected, abs=1e-6)
    assert record["mean_pd"]["champion"] == pytest.approx(rows["pd_1"].mean(), abs=1e-6)
    assert record["mean_pd"]["shadow"] == pytest.approx(rows["pd_2"].mean(), abs=1e-6)
    approved = int(0.8 * len(rows) + 0.5)
    best = [set(rows.nlargest(approved, name).index) for name in ("score_1", "score_2")]
    assert (record["swap"]["in"], record["swap"]["out"]) == (len(best[1] - best[0]), len(best[0] - best[1]))
    assert record["swap"]["in_share"] == pytest.approx(len(best[1] - best[0]) / len(rows), abs=1e-6)
    matured = rows[rows["application_date"] <= pd.Timestamp(on) - pd.Timedelta(days=30)]
    if matured.empty:
        assert (record["matured"], record["calibration"]) == (None, None)
        return
    assert (record["matured"]["rows"], record["matured"]["bads"]) == (len(matured), matured["default"].sum())
    difference = compare(matured["default"], matured["pd_2"], matured["pd_1"])
    assert record["matured"]["difference"] == rounded(difference.to_record())
    assert record["matured"]["champion"]["auc"] == pytest.approx(auc(matured["default"], matured["pd_1"]), abs=1e-6)
    ratio = record["calibration"]["shadow"]["observed_over_expected"]["value"]
    assert ratio == pytest.approx(matured["default"].sum() / matured["pd_2"].sum(), abs=1e-5)


@pytest.mark.slow
def test_the_arms_are_compared_by_who_decided(house: TrialHouse) -> None:
    arms, rows = report(house, MAY)["arms"], sides(house, TRIAL, MAY)
    mature = rows["application_date"] <= pd.Timestamp(MAY) - pd.Timedelta(days=30)
    counts = []
    for arm in ("challenger", "champion"):
        mine = rows[rows["arm"] == arm]
        known = mine[mature]
        assert (arms[arm]["applications"], arms[arm]["matured"]) == (len(mine), len(known))
        assert arms[arm]["bads"] == known["default"].sum() > 0
        assert arms[arm]["mean_pd"] == pytest.approx(mine["pd"].mean(), abs=1e-6)
        assert arms[arm]["auc"]["value"] == pytest.approx(auc(known["default"], known["pd"]), abs=1e-6)
        counts += [int(known["default"].sum()), len(known)]
    difference = difference_of_proportions(*counts)
    assert difference is not None
    assert arms["difference"] == rounded(difference.to_record())
    assert arms["enough"] == (min(counts[0], counts[2]) >= 10)
    early = report(house, date(2024, 4, 12))["arms"]
    assert early["challenger"]["applications"] > 0
    assert early["why"].endswith("nothing can be said about defaults yet")


@pytest.mark.slow
def test_the_trial_is_decided_at_its_end_and_asked_for_once(house: TrialHouse) -> None:
    decisions = {on: report(house, on)["decision"] for on in (TRIAL, DECIDED - timedelta(1), DECIDED)}
    assert list(decisions.values()) == ["continue", "continue", "promote"], report(house, DECIDED)["reasons"]
    # Days after it too: the alias moves when the request is looked at, not before.
    assert report(house, DECIDED + timedelta(1))["decision"] == "promote"
    house.run("shadow_report", DECIDED)
    # What it scored first is held against its test again, by the days of the trial.
    kept = Kept(house.resources["store"]).of(house.resources["registry"].version("2"))
    assert kept is not None
    assert kept.first_days is not None
    assert kept.first_days["days"]["now"][1] == f"{DECIDED}"
    assert kept.first_days["rows"]["now"] >= 500
    house.run("shadow_report", DECIDED + timedelta(1))
    (request,) = house.resources["requests"].pending()
    assert (request.kind, request.version, request.by) == ("promote", "2", "credit_scoring pipeline")
    assert request.effective_from == DECIDED + timedelta(1)
    assert request.identity == f"trial:2:{TRIAL}"
    assert "rank correlation" in request.reason


@pytest.mark.slow
def test_a_person_decides_under_manual_and_a_limit_ends_the_trial(house: TrialHouse) -> None:
    record = report(house, DECIDED)
    for changes, decision in (({"promotion": "manual"}, "wait"), ({"shadow_min_correlation": 1.0}, "end")):
        house.run("shadow_report", DECIDED, **changes)
        assert report(house, DECIDED)["decision"] == decision
    house.run("shadow_report", DECIDED)
    assert report(house, DECIDED) == record
    assert len(house.resources["requests"].all()) == 1


@pytest.mark.slow
def test_a_range_in_one_step_gives_the_bytes_of_single_days(house: TrialHouse) -> None:
    files = house.bytes_of("shadow_report")
    for on in (date(2024, 3, 25), TRIAL, DECIDED, MAY):
        house.run("shadow_report", on)
    assert house.bytes_of("shadow_report") == files
    record = json.loads(files[f"{DECIDED}.json"])
    decision, reasons = decide_trial(trial_policy(house.settings), record)
    assert (record["decision"], record["reasons"]) == (decision, [reason.to_record() for reason in reasons])


@pytest.mark.slow
def test_no_application_is_named_and_a_person_can_read_it(house: TrialHouse) -> None:
    house.run("shadow_report", DECIDED, MAY)
    metadata = house.metadata("shadow_report", MAY)
    text = f"{metadata} {house.bytes_of('shadow_report')}"
    assert not any(one in text for one in house.scores(DECIDED)["application_id"])
    assert "would be approved by the shadow alone" in metadata["comparison"]
    assert metadata["days"] == 48
    assert "![Shadow against champion" in metadata["mean_pd_against_champion"]
    assert "comparison" not in house.metadata("shadow_report", DECIDED)
    assert "AUC" in comparison_table(report(house, MAY))


@pytest.mark.slow
def test_days_that_were_not_scored_are_named(house: TrialHouse) -> None:
    path = house.resources["store"].path("loan_scores", "2024-04-10.parquet")
    content = path.read_bytes()
    path.unlink()
    try:
        with pytest.raises(Exception, match=r"loan_scores: 1 of 13 partitions needed are not there \(2024-04-10\)"):
            house.run("shadow_report", date(2024, 4, 15))
    finally:
        path.write_bytes(content)


@pytest.mark.slow
def test_afterwards_the_past_reads_the_same_and_the_trial_is_followed_up(house: TrialHouse) -> None:
    last = date(2024, 4, 24)
    registry = house.resources["registry"]
    before = house.bytes_of("shadow_report")
    end(registry, "2", last + timedelta(1))
    house.run("shadow_report", date(2024, 4, 1), last)
    after = house.bytes_of("shadow_report")
    assert {name: data for name, data in after.items() if name <= f"{last}.json"} == {
        name: data for name, data in before.items() if name <= f"{last}.json"
    }
    house.run("shadow_report", last + timedelta(1), END)
    for on in (date(2024, 5, 3), END):
        record, rows = report(house, on), sides(house, TRIAL, min(last, on - timedelta(30)))
        assert (record["decision"], record["shadow"]) == ("none", None)
        past = record["followed_up"]
        assert (past["champion"], past["shadow"], past["to"]) == ("1", "2", str(rows["application_date"].max().date()))
        assert (past["matured"]["rows"], past["matured"]["bads"]) == (len(rows), rows["default"].sum())
        if past["matured"]["difference"]:
            found = compare(rows["default"], rows["pd_2"], rows["pd_1"])
            assert past["matured"]["difference"] == rounded(found.to_record())
        assert past["arms"]["challenger"]["matured"] == (rows["arm"] == "challenger").sum()
    assert past["matured"]["difference"] is not None
    assert report(house, date(2024, 5, 2))["followed_up"] is None
    assert "followed_up" in house.metadata("shadow_report", END)
