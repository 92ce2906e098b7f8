"""A version made again: equal where nothing has changed, and what has is named, wherever it stands."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from credit_assets.assets import reproduction
from credit_assets.assets.made_again import config_of
from credit_assets.assets.made_with import here
from credit_assets.assets.recorded_version import RecordedVersion
from credit_assets.assets.reproduction import Reproduction, reproduce
from credit_assets.assets.searching import Trials, content_of, made_by
from credit_assets.assets.selecting import Selecting
from credit_assets.failures import PermanentError
from credit_assets.ledger.kept import SEARCHES, Kept, evidence_hash, named_beside
from credit_assets.ml.data import fingerprints
from credit_assets.ml.data.portfolio import Portfolio, load_portfolio
from credit_assets.ml.learners import search
from credit_assets.ml.learners.scorer import CreditScorer
from credit_assets.ml.reports.reproduction import TOLERANCE
from credit_assets.settings import load_settings
from credit_assets.settings.recorded import as_recorded
from credit_assets.storage.partition_files import stage
from credit_assets.storage.seals import SEALED_KEY
from credit_assets.storage.store import Store
from credit_assets_tests.support.houses import (
    SMALL,
    START,
    TRAINED,
    House,
    copied_home,
    fast_forward,
    open_house,
    write_book,
)
from credit_assets_tests.support.synthetic import canonical_book

DAY = "2024-02-03"
SET = "training set, from the partitions of today"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, trained_home: Path) -> Iterator[House]:
    home = copied_home(trained_home, tmp_path_factory.mktemp("reproduced") / "home")
    with open_house(home) as opened:
        yield opened


@pytest.fixture
def edited(house: House, tmp_path: Path) -> Iterator[House]:
    """The house, whose store is as it was after the test."""
    store, before = Path(house.settings.store), tmp_path / "before"
    shutil.copytree(store, before)
    yield house
    shutil.rmtree(store)
    shutil.copytree(before, store)


def again(house: House, version: str | None = None, **overrides: Any) -> dict[str, Any]:
    settings = house.settings.model_copy(update=overrides)
    return reproduce(settings, house.replay.store, house.replay.registry, version)


def of_kind(record: dict[str, Any], kind: str) -> dict[str, str]:
    return {one["where"]: one["text"] for one in [*record["differences"], *record["notes"]] if one["kind"] == kind}


def rewrite(store: Store, asset: str, day: str, change: Any) -> None:
    """The partition as a new ingestion would leave it."""
    path = store.path(asset, f"{day}.parquet")
    footer, table = store.footer(path), store.read_table(path)
    staged = stage(store, path, change(table), footer.gates, footer.inputs)
    store.publish(staged.file, path)


def richer(table: pa.Table) -> pa.Table:
    place = table.column_names.index("annual_income")
    return table.set_column(place, "annual_income", pc.add(table["annual_income"], 1.0))


def everything(home: Path) -> dict[str, str]:
    return {
        str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(home.rglob("*"))
        if path.is_file() and path.suffix not in (".db-shm", ".db-wal")
    }


def test_the_champion_is_made_again_to_the_byte_and_nothing_is_written(house: House) -> None:
    again(house)
    before = everything(house.settings.home_dir)
    record = again(house)
    assert record["equal"], record["differences"]
    assert (record["version"], record["differences"]) == ("1", [])
    assert record["notes"] == []
    files = record["compared"].pop("model").removeprefix("equal to the byte: ").split(", ")
    assert {"model.ubj", "reference.json", "request_rules.json", "scorer.json"} <= set(files)
    assert record["compared"] == {
        "what was kept": "as recorded",
        SET: "equal, 2,926 rows",
        "code": "equal",
        "metrics": "equal",
        "evidence": "equal",
        "decision": "the same: registered",
    }
    assert everything(house.settings.home_dir) == before
    with pytest.raises(PermanentError, match="has no version 9"):
        again(house, "9")


def test_a_changed_input_partition_is_named_and_the_model_is_made_from_what_was_kept(edited: House) -> None:
    rewrite(Store(edited.settings.store), "processed_features", DAY, richer)
    record = again(edited)
    assert not record["equal"]
    found = of_kind(record, "data")
    assert set(found) == {f"processed_features {DAY}", "training_set 2024-03-31"}
    assert "is not what the version saw" in found[f"processed_features {DAY}"]
    assert "annual_income differs in" in found["training_set 2024-03-31"]
    assert record["compared"]["model"].startswith("equal to the byte")
    assert f"--start {DAY} --end {DAY}" not in str(record["notes"])


def test_a_partition_that_is_gone_or_came_since_is_named(edited: House) -> None:
    store = Store(edited.settings.store)
    store.remove(store.path("loan_outcomes", f"{DAY}.parquet"))
    record = again(edited)
    found = of_kind(record, "data")
    assert found[f"loan_outcomes {DAY}"] == "is not there any more"
    assert "cannot be made again today" in found["training_set 2024-03-31"]
    assert record["compared"][SET] == "cannot be made"


def test_applications_that_were_ingested_again_behind_their_features_are_named(edited: House) -> None:
    rewrite(Store(edited.settings.store), "raw_loan_data", DAY, richer)
    assert f"raw_loan_data {DAY}" in of_kind(again(edited), "data")


def test_rows_that_were_edited_in_a_file_are_told_by_the_set_that_comes_of_them(edited: House) -> None:
    import pyarrow.parquet as pq

    path = Path(edited.settings.store, "processed_features", f"{DAY}.parquet")
    table, footer = pq.read_table(path), pq.read_metadata(path).metadata
    for key in (b"ARROW:schema", SEALED_KEY):
        footer.pop(key, None)
    pq.write_table(richer(table).replace_schema_metadata(footer), path)
    found = of_kind(again(edited), "data")
    assert list(found) == ["training_set 2024-03-31"]
    assert "rows were edited in a file" in found["training_set 2024-03-31"]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the code that makes models, which the hashes are of."""
    copy = tmp_path / "ml"
    shutil.copytree(fingerprints.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(fingerprints, "PACKAGE", copy)
    return copy


def replaced(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_changed_feature_function_is_named(house: House, package: Path) -> None:
    replaced(package / "data/formulas.py", "_at_least_one(annual_income)", "(annual_income + 2)")
    # Of learners that did not make this version nothing is said.
    replaced(package / "learners/catboost.py", '"bootstrap_type": "MVS"', '"bootstrap_type": "Bernoulli"')
    replaced(package / "learners/dask_shares.py", "import ", "import json as _json\nimport ")
    # Nor of what nothing of then can reach; a method of a class that was there takes the place of an inherited one.
    for name, more in (("encoding", "def unused() -> int:\n    return 1\n"), ("learner", "class Unused:\n    x = 1\n")):
        with (package / f"learners/{name}.py").open("a") as file:
            file.write(f"\n\n{more}")
    record = again(house)
    assert not record["equal"]
    ((where, text),) = of_kind(record, "code").items()
    assert where == "credit_assets.ml.data.formulas"
    assert text.endswith("is another one here")
    assert record["compared"]["code"] == "1 parts differ"


def test_a_learner_that_did_not_make_it_makes_no_difference(house: House, package: Path) -> None:
    replaced(package / "learners/catboost.py", '"bootstrap_type": "MVS"', '"bootstrap_type": "Bernoulli"')
    record = again(house)
    assert record["equal"], record["differences"]
    assert record["compared"]["code"] == "equal, where this version uses it"


def test_what_was_kept_is_held_against_its_hashes(edited: House) -> None:
    store, kept = Store(edited.settings.store), Kept(Store(edited.settings.store))
    (version,) = kept.all()
    rewrite(store, "kept/training_set", Path(str(version.training_set)).stem, richer)
    path = store.path("kept/evidence", f"{version.evidence}.json")
    evidence = store.read_record(path)
    evidence["evaluation"]["auc"] = 0.99
    store.write_record(path, evidence)
    record = again(edited)
    assert set(of_kind(record, "kept")) == {"training set", "evidence"}
    assert "evaluation" in of_kind(record, "evidence")
    assert of_kind(record, "model")
    assert record["compared"]["what was kept"] == "2 of it not as recorded"
    # It was registered with that AUC: no model is that good without knowing the outcome.
    assert "rule max_auc: that it passes was recorded, and its evidence gives that it fails" in str(
        record["differences"]
    )


def test_portfolio_and_code_that_were_kept_are_held_against_their_hashes(edited: House, package: Path) -> None:
    """Whoever changes a function and what was kept of it hides nothing by that."""
    store = Store(edited.settings.store)
    replaced(package / "data/formulas.py", "_at_least_one(annual_income)", "(annual_income + 2)")
    for folder, change in (
        ("kept/portfolios", lambda record: {**record, "description": "another"}),
        ("kept/code", lambda _: fingerprints.code_parts()),
    ):
        (path,) = store.path(folder).iterdir()
        store.write_record(path, change(store.read_record(path)))
    record = again(edited)
    assert set(of_kind(record, "kept")) == {"portfolio", "parts of the code"}
    assert not record["equal"]


def test_a_model_file_that_was_edited_is_named(house: House) -> None:
    registry = house.replay.registry
    scorer = registry.download(registry.version("1")) / "scorer.json"
    before = scorer.read_text()
    edited = json.loads(before)
    edited["calibration"]["intercept"] += 0.1
    try:
        scorer.write_text(json.dumps(edited))
        record = again(house)
    finally:
        scorer.write_text(before)
    assert of_kind(record, "kept") == {"model file scorer.json": "has not the recorded content"}
    assert record["compared"]["model"].startswith("equal to the byte")


def test_parameters_threads_and_split_of_then_are_used_and_those_of_today_said(house: House) -> None:
    record = again(house, variant_params={"xgboost": {"max_depth": 5}}, seed=99, threads=3, test_share=0.3)
    assert record["equal"], record["differences"]
    assert of_kind(record, "parameter") == {
        "learning_rate": "0.1 then, 0.01 in the settings of today; made again with 0.1",
        "max_depth": "3 then, 5 in the settings of today; made again with 3",
        "seed": "20071 then, 99 in the settings of today; made again with 20071",
        "test_share": "0.25 then, 0.3 in the settings of today; made again with what was then",
    }
    assert len(of_kind(record, "threads")) == 1


def test_another_library_or_machine_is_said_and_predictions_may_then_differ_by_the_tolerance(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def elsewhere(*args: Any) -> dict[str, Any]:
        found = here(*args)
        return {**found, "platform": "Linux aarch64", "libraries": {**found["libraries"], "numpy": "9.9"}}

    monkeypatch.setattr(reproduction, "here", elsewhere)
    record = again(house)
    assert record["equal"]
    assert "9.9 here" in of_kind(record, "library")["numpy"]
    assert of_kind(record, "platform")

    def rounded_otherwise(moved: float) -> dict[str, Any]:
        made = reproduction.model_again

        def moved_again(of: Any) -> Any:
            found = made(of)
            old = found.candidate.scorer
            calibration = replace(old.calibration, intercept=old.calibration.intercept + moved)
            candidate = replace(found.candidate, scorer=replace(old, calibration=calibration))
            return replace(found, candidate=candidate)

        with monkeypatch.context() as patch:
            patch.setattr(reproduction, "model_again", moved_again)
            return again(house)

    near, far = rounded_otherwise(1e-9), rounded_otherwise(1e-3)
    assert near["compared"]["model"].startswith(f"equal within {TOLERANCE:g}: scorer.json differ in bytes")
    assert not of_kind(near, "model")
    assert "library, platform" in of_kind(far, "model")["scorer.json"]
    assert of_kind(far, "calibration")
    # On the machine that made it by the same libraries nothing is tolerated.
    monkeypatch.setattr(reproduction, "here", here)
    same = rounded_otherwise(1e-9)
    assert "what else differs: nothing" in of_kind(same, "model")["scorer.json"]


def test_versions_of_before_say_what_was_not_kept(edited: House) -> None:
    store = Store(edited.settings.store)
    (path,) = store.path("kept/versions").iterdir()
    record = store.read_record(path)
    for folder in ("evidence", "code", "portfolios"):
        shutil.rmtree(Path(edited.settings.store, "kept", folder))
    store.write_record(path, {name: v for name, v in record.items() if name not in ("evidence", "decision")})
    day = store.path("trained_model", "2024-03-31.json")
    store.write_record(day, {name: v for name, v in store.read_record(day).items() if name != "made"})
    found = again(edited)
    assert found["equal"], found["differences"]
    assert set(of_kind(found, "not kept")) == {"evidence", "portfolio"}
    # Its day was trained again: then there is no evidence of it at all.
    store.write_record(day, {**store.read_record(day), "fingerprint": "another"})
    found = again(edited)
    assert set(of_kind(found, "cannot")) == {"evidence"}
    assert found["compared"]["model"].startswith("equal to the byte")
    # Registered before anything was kept.
    store.remove(path)
    found = again(edited)
    assert {"training_set", "evidence"} >= set(of_kind(found, "cannot")) - {"decision", "training set"}
    assert not found["equal"]


def recorded(house: House) -> RecordedVersion:
    registry = house.replay.registry
    return RecordedVersion(house.settings, house.replay.store, registry, registry.version("1"))


@pytest.mark.parametrize(
    ("trained_on", "why"),
    [
        ({"engine": "dask with 2 workers", "device": "cpu"}, "whose shares of the rows decide its sums"),
        ({"engine": "one node", "device": "cuda"}, "it was trained on a GPU and none is here"),
    ],
)
def test_what_cannot_be_made_again_in_the_same_way_is_said_with_what_came_instead(
    house: House, trained_on: dict[str, str], why: str
) -> None:
    of = recorded(house)
    of.__dict__["made"] = {**of.made, "trained_on": trained_on}
    record = Reproduction(of).record()
    assert not record["equal"]
    assert why in of_kind(record, "cannot")["model"]
    assert record["compared"]["evidence"] == "equal"


def test_a_searched_version_is_made_again_with_the_parameters_that_were_found(house: House) -> None:
    of = recorded(house)
    depth = of.made["identity"]["params"]["max_depth"]
    identity = {**of.made["identity"], "params": {**of.made["identity"]["params"], "max_depth": depth + 2}}
    of.__dict__["made"] = {**of.made, "identity": identity, "search": {"trials": 8, "params": {"max_depth": depth}}}
    record = Reproduction(of).record()
    assert record["compared"]["model"].startswith("equal to the byte")
    assert "8 trials are not made again" in of_kind(record, "not kept")["search"]


def test_the_trials_of_a_search_are_made_again_and_what_differs_is_named(edited: House) -> None:
    of = recorded(edited)
    assert of.training_set is not None
    config = replace(config_of(of, {}), params=SMALL["variant_params"][of.version.variant])
    trials = Trials(of.store, of.version.fingerprint, logging)
    found = search.search(of.training_set, of.version.variant, of.portfolio, config, 3, trials)
    made = {**found.to_record(), "params": {}, "content": content_of(found.trials)}
    assert not {*config.params} & {*made["searched"]}

    def with_search(**changed: Any) -> dict[str, Any]:
        of = recorded(edited)
        identity = {**of.made["identity"], "search": made_by() | changed}
        of.__dict__["made"] = {**of.made, "identity": identity, "search": made}
        return Reproduction(of).record()

    made["params"] = dict(found.params)
    record = with_search()
    assert record["compared"]["search"].startswith("the same: 3 trials drawn and tried again")
    assert not of_kind(record, "search")
    # By another optuna trials may be drawn otherwise; what was kept of each is tried all the same.
    record = with_search(optuna="0.1", code="0" * 64)
    assert record["compared"]["search"].startswith("the same")
    assert "0.1 then" in of_kind(record, "library")["optuna"]
    assert "credit_assets.ml.learners.search" in of_kind(record, "code")
    # A trial that was edited after the fact, and a choice that does not follow.
    edited_params = {**found.trials[1].params, "subsample": 0.7}
    worse = search.SearchTrial(edited_params, tuple(one + 0.1 for one in found.trials[1].losses))
    trials.save([found.trials[0], worse, found.trials[2]])
    made["params"] = {"max_depth": 8}
    record = with_search()
    assert "trials" in of_kind(record, "kept")
    texts = [one["text"] for one in record["differences"] if one["kind"] == "search"]
    assert any("trials 2 come to another log loss" in text for text in texts)
    assert any("trials 2 are drawn otherwise" in text for text in texts)
    assert any("its trials give" in text for text in texts)
    of.store.remove(of.store.path(SEARCHES, f"{of.version.fingerprint}.json"))
    assert "0 of its 3 trials are in the store" in of_kind(with_search(), "cannot")["search"]


@pytest.mark.slow
@pytest.mark.parametrize("more", [{"variants": "lightgbm", "search_trials": 3}, {"variants": "ensemble"}])
def test_a_searched_version_and_an_ensemble_are_made_again_to_the_byte(
    ingested_home: Path, tmp_path: Path, more: dict[str, Any]
) -> None:
    with open_house(copied_home(ingested_home, tmp_path / "home"), **more, min_auc=0.5) as house:
        assert house.train(TRAINED).status == "registered"
        record = again(house)
        evidence, store = recorded(house).evidence, Store(house.settings.store)
        named = {
            place: evidence_hash(store.read_record(store.path(f"{place}.json"))) for place in named_beside(evidence)
        }
    # By which `audit` finds what was edited.
    assert named == named_beside(evidence)
    assert any(place.startswith(SEARCHES) for place in named) == ("search_trials" in more)
    assert record["equal"], record["differences"]
    assert record["notes"] == []
    assert record["compared"]["model"].startswith("equal to the byte")
    assert ("search" in record["compared"]) == ("search_trials" in more)


def test_a_model_of_an_extension_that_is_absent_is_not_made_again(house: House) -> None:
    of = recorded(house)
    extension = {
        "kind": "learner", "name": "forest", "module": "bank.forest", "distribution": "bank-models", "version": "2.1",
        "source": "0" * 64,
    }  # fmt: skip
    of.__dict__["made"] = {**of.made, "extensions": [extension]}
    record = Reproduction(of).record()
    assert "install bank-models==2.1" in of_kind(record, "cannot")["model"]
    assert record["compared"]["model"] == "not made again"
    # By the model that was kept.
    assert record["compared"]["evidence"] == "equal"


def test_without_a_champion_there_is_nothing_to_make_again(tmp_path: Path, ingested_home: Path) -> None:
    with (
        open_house(copied_home(ingested_home, tmp_path / "home")) as house,
        pytest.raises(PermanentError, match="there is no champion yet"),
    ):
        again(house)


# Evidence over all candidates of a day


def with_groups() -> Portfolio:
    """The packaged portfolio with a protected column."""
    content = load_portfolio().model_dump(mode="json", exclude_unset=True)
    content["columns"].append({"name": "sex", "type": "category", "role": "protected", "allowed": ["f", "m"]})
    return Portfolio.model_validate({**content, "fairness": {"attributes": [{"column": "sex", "reference": "m"}]}})


def test_evidence_is_the_same_in_whatever_order_the_candidates_come(house: House) -> None:
    of = recorded(house)
    settings = as_recorded(of.then, with_groups(), of.policy)
    best = {**of.evidence, **of.made, "status": "trained"}
    assert of.training_set is not None
    selecting = Selecting(settings, of.store, of.registry, of.training_set, of.gates)
    scorer = CreditScorer.load(of.folder)
    one, other = (selecting.record(given, best, scorer) for given in ([*of.others, best], [best, *of.others[::-1]]))
    # Nobody's group was ingested: the curve is there all the same.
    assert {point["variant"] for point in one["fairness"]["alternatives"]} == set(SMALL["variants"])
    assert evidence_hash(one) == evidence_hash(other)


@pytest.fixture(scope="module")
def judged_by_group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house of its own, whose applicants are of two groups, with a booster and a scorecard as candidates."""
    home = tmp_path_factory.mktemp("groups") / "home"
    file = tmp_path_factory.mktemp("portfolio") / "loans.json"
    file.write_text(with_groups().model_dump_json(exclude_unset=True))
    more = {"portfolio": str(file), "variants": ("scorecard", "lightgbm")}
    applications, outcomes = canonical_book(4_500, START, TRAINED, seed=3)
    drawn = np.random.default_rng(3).random(len(applications))
    book = fast_forward((applications.assign(sex=np.where(drawn < 0.4, "f", "m")), outcomes), str(file))
    write_book(load_settings(home=home, **{**SMALL, **more}), *book)
    with open_house(home, **more) as opened:
        opened.replay.backfill(START, TRAINED, ("raw_loan_data", "loan_outcomes", "processed_features"))
        outcome = opened.train(TRAINED)
        assert outcome.status == "registered", outcome.reason
        yield opened


@pytest.mark.slow
def test_what_is_measured_of_all_candidates_is_made_again_too(judged_by_group: House) -> None:
    """In whatever order the day had them, and when the day has been trained again since."""
    house = judged_by_group
    evidence = recorded(house).evidence
    curve = {one["variant"] for one in evidence["fairness"]["alternatives"]}
    assert curve == set(evidence["candidates"]) == {"lightgbm", "scorecard"}
    assert evidence["scorecard"]["features"]
    record = again(house)
    assert record["equal"], record["differences"]
    assert (record["notes"], record["compared"]["evidence"]) == ([], "equal")
    other = ({*curve} - {evidence["variant"]}).pop()
    store = Store(house.settings.store)
    store.remove(store.path(f"{other}_candidate", f"{TRAINED}.json"))
    assert again(house)["equal"]
    of = recorded(house)
    of.__dict__["evidence"] = {**evidence, "candidate_runs": {other: "0" * 32}}
    record = Reproduction(of).record()
    assert "is not there as it was chosen among" in of_kind(record, "not kept")[f"candidate {other}"]
    assert "fairness" in of_kind(record, "evidence")
