"""A candidate whose parameters are searched: recorded, found again, and gone on with after a kill."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from credit_assets.assets import searching
from credit_assets.failures import PermanentError
from credit_assets.ledger.kept import SEARCHES, evidence_hash, named_beside
from credit_assets.ml.learners import search
from credit_assets.settings import load_settings
from credit_assets.storage.store import Store
from credit_assets_tests.support.houses import SMALL, TRAINED, copied_home, open_house

TRIALS = 3
SEARCHED: dict[str, Any] = {"variants": "lightgbm", "search_trials": TRIALS, "min_auc": 0.5}


def candidate(store: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(store) / "lightgbm_candidate" / f"{TRAINED}.json").read_text())
    return found


@pytest.mark.slow
def test_a_search_is_recorded_and_goes_on_after_a_kill(
    ingested_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = copied_home(ingested_home, tmp_path / "home")
    with open_house(home, **SEARCHED) as house:
        tried: list[int] = []
        losses = search._losses

        def dies(*given: Any) -> Any:
            tried.append(1)
            if len(tried) == 2:
                raise KeyboardInterrupt
            return losses(*given)

        monkeypatch.setattr(search, "_losses", dies)
        with pytest.raises(BaseException):  # noqa: B017, PT011 - what an interrupted run raises is Dagster's
            house.train(TRAINED)
        kept = list((Path(house.settings.store) / SEARCHES).iterdir())
        assert len(kept) == 1
        assert len(json.loads(kept[0].read_text())["trials"]) == 1
        house.train(TRAINED)
        # The first was not tried again.
        assert len(tried) == 1 + 1 + TRIALS - 1
        record = candidate(house.settings.store)
        assert record["search"]["trials"] == TRIALS
        assert record["identity"]["search"]["trials"] == TRIALS
        assert record["identity"]["params"]["num_leaves"] == 7
        house.train(TRAINED, again=True)
        assert len(tried) == 1 + 1 + TRIALS - 1, "a finished candidate is used again"


def test_without_a_search_the_identity_is_as_before(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, **SMALL)
    assert searching.search_identity(settings, "lightgbm") == {}
    wanted = load_settings(home=tmp_path, **SMALL | {"search_trials": 5})
    assert searching.search_identity(wanted, "lightgbm")["search"]["trials"] == 5
    assert not searching.searches(wanted, "a_lenders_own")


def test_without_optuna_the_setting_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(home=tmp_path, **SMALL | {"search_trials": 5})
    monkeypatch.setattr(search, "find_spec", lambda name: None)
    with pytest.raises(PermanentError, match=r"CREDIT_SEARCH_TRIALS=5 .* pip install 'credit-assets\[search\]'"):
        searching.search_identity(settings, "xgboost")


def test_the_hash_that_a_version_names_is_that_of_its_trials_in_the_store(tmp_path: Path) -> None:
    """So that whoever audits the store needs no code of the search."""
    store, trials = (
        Store(str(tmp_path)),
        [search.SearchTrial({}, (0.1, 0.2)), search.SearchTrial({"depth": 5, "rate": 0.3}, (0.1,))],
    )
    searching.Trials(store, "f1", logging).save(trials)
    evidence = {"fingerprint": "f1", "made": {"search": {"content": searching.content_of(trials)}}}
    ((place, content),) = named_beside(evidence).items()
    assert place == f"{SEARCHES}/f1"
    assert evidence_hash(store.read_record(store.path(f"{place}.json"))) == content
    assert searching.Trials(store, "f1", logging).load() == trials


def test_a_damaged_record_of_trials_is_named(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    path = tmp_path / SEARCHES / "abc.json"
    path.parent.mkdir()
    path.write_text('{"trials": [')
    with pytest.raises(PermanentError, match=r"abc\.json is damaged: it is no JSON"):
        searching.Trials(store, "abc", None).load()
