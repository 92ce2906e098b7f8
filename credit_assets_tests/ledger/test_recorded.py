"""Who holds an alias, read from the store alone, is who MLflow shows; and nothing is said where records are missing."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from credit_assets.failures import PermanentError
from credit_assets.ledger.alias_log import AliasLog, Move, MoveDetails, MoveKind
from credit_assets.ledger.recorded import histories, version_record
from credit_assets.ml.rules.periods import Period
from credit_assets.storage.claims import Claims
from credit_assets.storage.store import Store

MODEL = "credit-scorer"
MEASURES = {"auc": 0.68868147, "gini": 0.37736294, "ks": 0.3, "brier": 0.04, "ece": 0.01, "log_loss": 0.2}


def enter(claims: Claims, log: str, number: int, history: list[list[Any]]) -> None:
    scope, _, alias = log.partition("/")
    periods = tuple(Period(v, date.fromisoformat(a), date.fromisoformat(b) if b else None) for v, a, b in history)
    change = MoveDetails(date(2024, 6, 1), MoveKind.OTHER, "someone", "better")
    assert AliasLog(claims, scope, alias).enter(Move(number, "2", change, "then", periods))


def train(store: Store, day: str, version: str | None, fingerprint: str = "f") -> None:
    registered = {"version": version, "fingerprint": fingerprint}
    trained = {"fingerprint": f"f{day}", "variant": "xgboost", "run_id": "r", "evaluation": MEASURES}
    for asset, record in (("registered_model", registered), ("trained_model", trained)):
        path = Path(store.root) / asset / f"{day}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path))
    for day, version in (("2024-03-31", "1"), ("2024-04-30", None), ("2024-05-31", "2")):
        train(store, day, version, f"f{day}")
    return store


def test_holders_and_their_records(store: Store, tmp_path: Path) -> None:
    claims = Claims(str(tmp_path))
    assert histories(claims, MODEL) == {}
    enter(claims, f"{MODEL}-1/champion", 1, [["9", "2020-01-01", None]])
    enter(claims, f"{MODEL}-20/champion", 1, [["1", "2024-04-01", None]])
    enter(claims, f"{MODEL}-20/champion", 2, [["1", "2024-04-01", "2024-05-31"], ["2", "2024-06-01", None]])
    enter(claims, f"{MODEL}-20/challenger", 1, [["2", "2024-06-01", None]])
    enter(claims, "another-model-99/champion", 1, [["7", "2024-06-01", None]])
    held = histories(claims, MODEL)
    assert held["champion"] == [
        Period("1", date(2024, 4, 1), date(2024, 5, 31)),
        Period("2", date(2024, 6, 1), None),
    ]
    assert version_record(store, "2", held) == {
        "version": "2",
        "as_of": "2024-05-31",
        "variant": "xgboost",
        "status": "champion",
        "aliases": ["challenger", "champion"],
        "in_force": [["2024-06-01", None]],
        "metrics": {"auc": 0.688681, "gini": 0.377363, "ks": 0.3, "brier": 0.04, "ece": 0.01},
        "fingerprint": "f2024-05-31",
        "run_id": "r",
        "extensions": [],
        "recalibrates": None,
    }
    former = version_record(store, "1", held)
    assert former is not None
    assert (former["status"], former["aliases"]) == ("archived", [])
    assert former["in_force"] == [["2024-04-01", "2024-05-31"]]


def test_records_that_were_replaced_say_nothing(store: Store) -> None:
    assert version_record(store, "3", {}) is None
    train(store, "2024-05-31", "2", "registered from another training")
    assert version_record(store, "2", {}) is None


def test_a_damaged_entry_is_named(tmp_path: Path) -> None:
    claims = Claims(str(tmp_path))
    claims.claim(f"mlflow-aliases/{MODEL}-1/champion/000001", "{}")
    with pytest.raises(PermanentError, match=r"entry 000001 of mlflow-aliases/credit-scorer-1/champion .* is damaged"):
        histories(claims, MODEL)
