"""Reasons from a training to a letter: a version with a cut-off declines; batch, command and service say the same."""

from __future__ import annotations

import json
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import pyarrow.compute as pc
import pytest
import yaml

from credit_assets.cli.explain import explain_record
from credit_assets.ml.data.portfolio import load_portfolio
from credit_assets.ml.data.reasons import REASONS_FILE
from credit_assets.ml.scorer import _load_pyfunc as load_served
from credit_assets.tracking.serving import JSON, answer
from credit_assets_tests.support.houses import START, fast_forward, open_house, write_book
from credit_assets_tests.support.synthetic import canonical_book

pytestmark = [pytest.mark.filterwarnings("ignore::dagster.BetaWarning"), pytest.mark.slow]

AS_OF, LAST = date(2024, 4, 1), date(2024, 4, 6)


def test_the_reasons_of_a_day_are_those_of_the_command_and_of_the_service(tmp_path: Path) -> None:
    content = load_portfolio().model_dump(mode="json", exclude_unset=True)
    content["policy"] = {"cutoff": {"approval_rate": 0.8}}
    file = tmp_path / "portfolio.yaml"
    file.write_text(yaml.safe_dump(content), "utf-8")
    home = tmp_path / "home"
    home.mkdir()
    with open_house(home, variants=("lightgbm",), portfolio=str(file)) as house:
        write_book(house.settings, *fast_forward(canonical_book(8_000, START, LAST, seed=7, bad_rate=0.12)))
        house.replay.backfill(START, AS_OF, house.replay.graph.names("ingestion"))
        outcome = house.train(AS_OF)
        assert (outcome.status, outcome.promoted) == ("registered", True), outcome.reason
        day = AS_OF + timedelta(1)
        house.replay.run(day, day, "none")
        scores = house.replay.store.read_partitions("loan_scores", [str(day)])
        declined = scores.filter(scores["declined"])
        assert 0.05 < declined.num_rows / scores.num_rows < 0.5
        assert declined["reasons"].null_count == 0
        assert scores["reasons"].null_count == scores.num_rows - declined.num_rows
        named = Counter(code for codes in declined["reasons"].to_pylist() for code in codes)
        assert named
        assert "INTEREST_RATE" not in named
        registry = house.replay.registry
        version = registry.version("1")
        contract = json.loads((registry.download(version) / REASONS_FILE).read_text())
        assert set(named) <= {group["code"] for group in contract["groups"]}
        features = house.replay.store.read_partitions("raw_loan_data", [str(day)])
        model = load_served(str(registry.download(version)))
        for row in declined.slice(0, 12).to_pylist():
            told = explain_record(house.settings, row["application_id"], day)
            assert (told["pd"], told["declined"], told["as_recorded"]) == (row["pd"], True, True)
            assert json.dumps(told["reasons"]) == json.dumps(row["reasons"])
            ours = features.filter(pc.equal(features["application_id"], row["application_id"]))
            (sent,) = ours.drop_columns(["application_id", "application_date", "state"]).to_pylist()
            body = json.dumps({"instances": [sent], "params": {"explain": True}}).encode()
            (served,) = json.loads(answer(body, JSON, model.predict).response)["predictions"]
            assert served["declined"] is True
            assert json.dumps(served["reasons"]) == json.dumps(row["reasons"])
            assert served["reason_texts"] == told["texts"]
