"""The dossier of a trained home: its files in MLflow, the command, old versions, and days without a version."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from credit_assets.assets.dossier import HTML, JSON, described, json_of
from credit_assets.assets.dossier_material import material_of
from credit_assets.cli.dossier import write_dossier
from credit_assets.cli.main import app
from credit_assets.failures import PermanentError
from credit_assets.ledger.kept import Kept
from credit_assets.ml.reports.dossier.whole import dossier
from credit_assets.resources import build_resources
from credit_assets.settings import load_settings
from credit_assets.stages import DOSSIER
from credit_assets_tests.support.houses import SMALL, TRAINED, House, copied_home, open_house
from credit_assets_tests.support.registry import move


@pytest.fixture(scope="module")
def house(trained_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(copied_home(trained_home, tmp_path_factory.mktemp("house"))) as house:
        yield house


def record(house: House, day: date = TRAINED) -> dict[str, Any]:
    store = house.replay.store
    return dict(store.read_record(store.path(DOSSIER, f"{day}.json")))


def logged(house: House, file: str, folder: Path) -> str:
    resources = build_resources(house.settings)
    server, run_id = resources["tracking"].server, resources["registry"].version("1").run_id
    return Path(server.client.download_artifacts(run_id, file, str(folder))).read_text("utf-8")


def test_the_files_of_a_registered_version_are_in_its_run(house: House, tmp_path: Path) -> None:
    found = record(house)
    assert (found["version"], found["as_of"]) == ("1", TRAINED.isoformat())
    for file in (HTML, JSON):
        assert found["files"][file] == described(logged(house, file, tmp_path))
    said = json.loads(logged(house, JSON, tmp_path))
    assert said["title"] == "credit-scorer, version 1"
    assert found["findings"]
    assert found["files"][HTML]["bytes"] < 2_000_000


def test_dagster_shows_a_summary_numbers_and_where_the_page_is(house: House) -> None:
    (event,) = house.instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey(DOSSIER), asset_partitions=[TRAINED.isoformat()]), limit=1
    ).records
    assert event.asset_materialization is not None
    shown = {key: value.value for key, value in event.asset_materialization.metadata.items()}
    assert shown["findings"] == len(record(house)["findings"])
    assert "**Known weaknesses**" in str(shown["summary"])
    assert HTML in str(shown["page"])


def test_the_same_records_give_the_same_file_whoever_asks(house: House) -> None:
    resources = build_resources(house.settings)
    registry, store = resources["registry"], resources["store"]
    until = date(2024, 4, 1)
    again = json_of(dossier(material_of(house.settings, store, registry, registry.version("1"), until)))
    assert described(again) == record(house)["files"][JSON]


def test_its_counts_are_those_of_the_records(house: House) -> None:
    resources = build_resources(house.settings)
    registry, store = resources["registry"], resources["store"]
    material = material_of(house.settings, store, registry, registry.version("1"))
    rows = material.training_set
    assert rows is not None
    assert material.trained is not None
    assert rows.source.content == material.trained["data"]
    test = next(one for one in rows.splits if one.name == "test")
    assert (test.rows, test.bads) == tuple(material.trained["evaluation"][key] for key in ("rows", "bads"))
    raw, *others = material.ingested
    assert raw.rows == rows.rows
    assert raw.changed is None
    assert {one.asset for one in others} == {"processed_features", "loan_outcomes"}
    assert [one.changed for one in others] == [0, 0]
    assert [one.alias for one in material.moves] == ["challenger", "champion"]
    dossier_of = dossier(material)
    assert not any("add up" in text for text in dossier_of.findings)


def test_the_command_writes_page_and_json_of_the_champion_or_of_a_version(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*arguments: str) -> Any:
        monkeypatch.setattr("credit_assets.cli.version_verbs.load_settings", lambda: house.settings)
        return CliRunner().invoke(app, ["dossier", *arguments])

    out = tmp_path / "made" / "here"
    shown = asked("--out", str(out), "--json")
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.output)
    assert sorted(one.name for one in out.iterdir()) == [
        "credit-scorer-1-dossier.html",
        "credit-scorer-1-dossier.json",
    ]
    for kind, file in found["files"].items():
        assert described(Path(file["path"]).read_text("utf-8")) == {k: file[k] for k in ("bytes", "sha256")}, kind
    again = asked("1", "--out", str(out))
    assert again.exit_code == 0
    assert "known weakness: " in again.output
    assert (
        described((out / "credit-scorer-1-dossier.html").read_text("utf-8"))["sha256"]
        == (found["files"]["html"]["sha256"])
    )


def test_a_version_that_is_none_and_a_folder_that_is_none_are_one_clear_error(house: House, tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="credit-scorer has no version 7; registered: 1"):
        write_dossier(house.settings, "7", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(PermanentError, match=r"--out: .* cannot be written .*; name another folder"):
        write_dossier(house.settings, None, tmp_path / "file")
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
    nowhere = load_settings(home=tmp_path / "empty", **SMALL)
    with pytest.raises(PermanentError, match="there is no champion yet: name a version"):
        write_dossier(nowhere, None, tmp_path)


def test_a_move_since_is_in_the_commands_dossier_and_not_in_that_of_the_day(house: House, tmp_path: Path) -> None:
    resources = build_resources(house.settings)
    registry, store = resources["registry"], resources["store"]
    move(registry, "1", date(2024, 6, 1), "shadow")
    moves = {
        until: [one.alias for one in material_of(house.settings, store, registry, registry.version("1"), until).moves]
        for until in (None, date(2024, 4, 1))
    }
    assert moves == {None: ["challenger", "champion", "shadow"], date(2024, 4, 1): ["challenger", "champion"]}


def test_a_version_of_before_of_which_little_is_kept_has_a_dossier(trained_home: Path, tmp_path: Path) -> None:
    with open_house(copied_home(trained_home, tmp_path / "home")) as house:
        resources = build_resources(house.settings)
        registry, store = resources["registry"], resources["store"]
        # As an early release left it: nothing kept, its day trained again since by another model.
        version = registry.version("1")
        for asset in ("trained_model", "registered_model", "xgboost_candidate", "lightgbm_candidate",
                      "catboost_candidate"):  # fmt: skip
            path = store.path(asset, f"{TRAINED}.json")
            store.write_record(path, {**store.read_record(path), "fingerprint": "another"})
        store.remove(Kept(store)._path(version.fingerprint))
        found = write_dossier(house.settings, "1", tmp_path)
        said = " ".join(found["missing"])
        assert "the results in detail" in said
        assert "its registration" in said
        text = Path(found["files"]["json"]["path"]).read_text("utf-8")
        # What the registry and the version's own run still know.
        assert '"as registered"' not in text
        assert "Measures on the out-of-time test, as registered" in text
        assert "boosting rounds" in text


def test_a_day_on_which_no_version_was_registered_has_a_record_and_no_file(trained_home: Path, tmp_path: Path) -> None:
    with open_house(copied_home(trained_home, tmp_path / "home")) as house:
        store = house.replay.store
        path = store.path("registered_model", f"{TRAINED}.json")
        store.write_record(path, {**store.read_record(path), "version": None, "decision": "rejected"})
        definitions = house.replay.definitions
        result = definitions.resolve_job_def("retrain_model").execute_in_process(
            instance=house.instance,
            partition_key=TRAINED.isoformat(),
            asset_selection=[dg.AssetKey(DOSSIER)],
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        assert result.success
        assert record(house) == {
            "as_of": TRAINED.isoformat(),
            "version": None,
            "why": "no version was registered: rejected",
        }
