"""`credit-assets policy`: what is in force and where it comes from, and what another policy would have decided."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner, Result

from credit_assets.cli.main import app
from credit_assets.ml.data.gate_results import GateResult
from credit_assets.ml.data.policies import Policy
from credit_assets.ml.rules.decisions import Reason
from credit_assets.ml.rules.model_rules import MODEL_RULES
from credit_assets.settings import load_settings
from credit_assets.storage.store import Store
from credit_assets_tests.support.store_files import write_table

GATE = GateResult("leakage", True, "error", 0.6, "at most 0.95", "No feature knows the outcome.")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["policy", *arguments])


def ok(*arguments: str) -> dict[str, Any]:
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.output))


@pytest.fixture
def past() -> Store:
    """Three as-of dates, of which the second was rejected; no more evidence than AUCs."""
    store = Store(load_settings().store)
    for day, auc in (("2024-01-31", 0.66), ("2024-02-29", 0.54), ("2024-03-31", 0.70)):
        path = store.path("training_set", f"{day}.parquet")
        write_table(store, path, pa.table({"x": [1.0]}), [GATE])
        trained = {"fingerprint": day, "evaluation": {"auc": auc, "ece": 0.01}, "champion": None}
        store.write_record(store.path("trained_model", f"{day}.json"), trained)
        enough = auc >= 0.55
        reason = Reason("min_auc", enough, auc, 0.55, f"out-of-time AUC {auc}").to_record()
        registered = {
            "as_of": day,
            "decision": "registered" if enough else "rejected",
            "fingerprint": day,
            "triggers": [],
            "reasons": [reason],
        }
        store.write_record(store.path("registered_model", f"{day}.json"), registered)
    return store


def written(tmp_path: Path, text: str) -> str:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    return str(file)


def test_show_has_every_key_with_its_source_and_every_rule(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    portfolio = tmp_path / "own.yaml"
    portfolio.write_text(
        "name: own\ncolumns:\n- {name: id, type: integer, role: id, nullable: false}\n"
        "- {name: day, type: date, role: date, nullable: false}\n- {name: income, type: float}\n"
        "policy:\n  comparison: {min_auc: 0.6}\n"
    )
    monkeypatch.setenv("CREDIT_PORTFOLIO", str(portfolio))
    monkeypatch.setenv("CREDIT_MAX_AUC", "0.9")
    record = ok("show")
    keys = {one["key"]: one for one in record["keys"]}
    sections = Policy().model_dump(mode="json")
    assert set(keys) == {f"{section}.{key}" for section, block in sections.items() for key in block}
    assert (keys["comparison.min_auc"]["value"], keys["comparison.min_auc"]["source"]) == (0.6, "portfolio file")
    assert (keys["comparison.max_auc"]["value"], keys["comparison.max_auc"]["source"]) == (0.9, "environment")
    assert keys["comparison.max_auc"]["variable"] == "CREDIT_MAX_AUC"
    assert keys["first_days.max_psi"]["source"] == "default"
    assert all(one["meaning"] for one in keys.values())
    assert [rule["rule"] for rule in record["rules"]] == [rule.name for rule in MODEL_RULES]
    assert record["version"] == Policy.from_record(record["policy"]).version != Policy().version
    shown = run("show")
    assert shown.exit_code == 0
    assert "comparison.min_auc" in shown.output


def test_simulate_tells_each_day_then_and_now_and_changes_nothing(past: Store, tmp_path: Path) -> None:
    root = Path(past.uri)
    before = {file: file.read_bytes() for file in root.rglob("*") if file.is_file()}
    file = written(tmp_path, "comparison: {min_auc: 0.68}\n")
    record = ok("simulate", "--policy", file)
    of_day = {one["as_of"]: one for one in record["decisions"]}
    assert {day: (one["then"]["decision"], one["now"]["decision"]) for day, one in of_day.items()} == {
        "2024-01-31": ("registered", "rejected"),
        "2024-02-29": ("rejected", "rejected"),
        "2024-03-31": ("registered", "registered"),
    }
    assert [rule["rule"] for rule in of_day["2024-01-31"]["now"]["by"]] == ["skill"]
    assert [one["changed"] for one in record["decisions"]] == [True, False, False]
    assert record["differs"]["comparison.min_auc"] == {"in_force": 0.55, "simulated": 0.68}
    assert record["totals"]["registration"]["changed"] == 1
    assert ok("simulate", "--policy", file, "--from", "2024-02-01", "--to", "2024-02-29")["decisions"] == [
        of_day["2024-02-29"]
    ]
    shown = run("simulate", "--policy", file)
    assert shown.exit_code == 0
    assert "otherwise than then" in shown.output
    assert {file: file.read_bytes() for file in root.rglob("*") if file.is_file()} == before


def test_simulate_without_decisions_says_so_and_makes_no_home(tmp_path: Path) -> None:
    file = written(tmp_path, "policy:\n  comparison: {min_auc: 0.68}\n")
    done = run("simulate", "--policy", file)
    assert done.exit_code == 0
    assert "No decision is recorded" in done.output
    assert not load_settings().home_dir.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("comparison: {min_acu: 0.6}", "comparison: there is no key 'min_acu' (did you mean min_auc?)"),
        ("comparision: {min_auc: 0.6}", "there is no key 'comparision' (did you mean comparison?)"),
        ("comparison: {min_auc: 0.8, max_auc: 0.7}", "comparison: min_auc must lie below max_auc; got 0.8 and 0.7"),
        ("comparison: {min_auc: 7}", "comparison.min_auc: Input should be less than 1"),
        ("trials: {max_psi: yes}", "trials: max_psi: true is a boolean in YAML"),
        ("policy: strict", "valid dictionary"),
        ("trials: {days: 3}\ntrials: {days: 4}", "key 'trials' given twice"),
        ("- comparison", "must be a mapping"),
    ],
)
def test_a_file_that_is_no_policy_is_refused_with_its_place(text: str, said: str, past: Store, tmp_path: Path) -> None:
    done = run("simulate", "--policy", written(tmp_path, text))
    assert done.exit_code == 1
    assert said in str(done.exception)
    assert "policy.yaml" in str(done.exception)


def test_a_file_that_is_not_there_and_days_that_are_none_are_refused(past: Store, tmp_path: Path) -> None:
    done = run("simulate", "--policy", str(tmp_path / "none.yaml"))
    assert done.exit_code == 1
    assert "none.yaml cannot be read" in str(done.exception)
    file = written(tmp_path, "{}")
    done = run("simulate", "--policy", file, "--from", "2024-03-01", "--to", "2024-02-01")
    assert done.exit_code == 1
    assert "--from 2024-03-01 lies after --to 2024-02-01" in str(done.exception)
    assert run("simulate").exit_code == 2
    past.path("trained_model", "2024-02-29.json").write_text("{")
    done = run("simulate", "--policy", file)
    assert done.exit_code == 1
    assert "2024-02-29.json is damaged: it is no JSON" in str(done.exception)
