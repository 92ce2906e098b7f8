"""Backups of the chart: kept whole or refused, brought back byte for byte, and never over anything.

That what is brought back fits together is shown with a whole pipeline in `test_services`.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import fsspec
import pytest

from credit_assets_tests.support.chart import BACKUP

pytest_plugins = ["credit_assets_tests.support.s3"]


@pytest.fixture(scope="module")
def backup() -> ModuleType:
    spec = importlib.util.spec_from_file_location("backup", BACKUP)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["backup"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def house(tmp_path: Path, bucket: str) -> dict[str, str]:
    """A store in a bucket and MLflow's files in a folder, with two dumps beside them."""
    places = {"store": f"{bucket}/of-backups", "artifacts": str(tmp_path / "mlflow")}
    for uri, files in {places["store"]: ["a.json", "deep/b.parquet"], places["artifacts"]: ["1/model.ubj"]}.items():
        for name in files:
            write(f"{uri}/{name}", name * 3)
    for database in ("dagster", "mlflow"):
        write(str(tmp_path / "dumps" / f"{database}.dump"), f"dump of {database}")
    return places


def write(uri: str, text: str) -> None:
    files, path = fsspec.core.url_to_fs(uri)
    files.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
    files.write_text(path, text)


def words(places: dict[str, str]) -> list[str]:
    return [f"{name}={uri}" for name, uri in places.items()]


def kept(backup: ModuleType, folder: Path, places: dict[str, str], destination: str) -> int:
    assert backup.main(["listing", str(folder / "listing.json"), *words(places)]) == 0
    options = ["--listing", str(folder / "listing.json"), "--dumps", str(folder / "dumps"), "--name", "one"]
    return int(backup.main(["keep", destination, *options, *words(places)]))


def test_a_backup_comes_back_as_it_was_and_over_nothing(
    backup: ModuleType, house: dict[str, str], bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    destination = f"{bucket}/backups-of-it"
    assert kept(backup, tmp_path, house, destination) == 0
    whole = f"{destination}/one"
    assert backup.main(["check", whole]) == 0
    assert kept(backup, tmp_path, house, destination) == 1
    assert "is there already" in capsys.readouterr().err
    back = {"store": str(tmp_path / "back" / "store"), "artifacts": f"{bucket}/back-artifacts"}
    fetching = ["fetch", whole, "--dumps", str(tmp_path / "back" / "dumps")]
    assert backup.main([*fetching, *words(back)]) == 0
    for name, uri in house.items():
        assert texts(back[name]) == texts(uri) != {}
    assert texts(str(tmp_path / "back" / "dumps")) == texts(str(tmp_path / "dumps"))
    assert backup.main([*fetching, *words(back)]) == 1
    assert "is not empty" in capsys.readouterr().err
    assert backup.main([*fetching, "store=" + str(tmp_path / "other")]) == 1
    assert "not in both: artifacts" in capsys.readouterr().err


def texts(uri: str) -> dict[str, str]:
    files, root = fsspec.core.url_to_fs(uri)
    return {path[len(root) :].strip("/"): files.read_text(path) for path in files.find(root)}


@pytest.mark.parametrize("change", ["new", "rewritten", "removed"])
def test_what_is_written_meanwhile_makes_it_none(
    backup: ModuleType,
    house: dict[str, str],
    bucket: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: str,
) -> None:
    destination = f"{bucket}/backups-{change}"
    copy = backup._copy

    def meanwhile(source: str, target: str) -> None:
        copy(source, target)
        if source.endswith("deep/b.parquet"):
            files, root = fsspec.core.url_to_fs(house["store"])
            if change == "removed":
                files.rm(f"{root}/a.json")
            else:
                # Rewritten with as many characters: only its mark tells.
                write(f"{house['store']}/{'c.json' if change == 'new' else 'a.json'}", "A.JSONa.jsona.json")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backup, "_copy", meanwhile)
        assert kept(backup, tmp_path, house, destination) == 1
    assert "Take it while no run is under way" in capsys.readouterr().err
    assert backup.main(["check", f"{destination}/one"]) == 1
    assert "has no manifest.json" in capsys.readouterr().err


@pytest.mark.parametrize("spoilt", ["store/deep/b.parquet", "dumps/mlflow.dump", "artifacts/1/model.ubj"])
def test_a_damaged_backup_is_not_brought_back(
    backup: ModuleType, house: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], spoilt: str
) -> None:
    destination = tmp_path / "backups"
    assert kept(backup, tmp_path, house, str(destination)) == 0
    file = destination / "one" / spoilt
    # A dump of the same length, a file that lost its end.
    file.write_bytes(b"x" * file.stat().st_size if "dump" in spoilt else file.read_bytes()[:-1])
    back = {name: str(tmp_path / "back" / name) for name in house}
    arguments = ["fetch", str(destination / "one"), "--dumps", str(tmp_path / "back"), *words(back)]
    assert backup.main(arguments) == 1
    assert spoilt in capsys.readouterr().err
    assert not (tmp_path / "back").exists()


def test_an_empty_dump_is_none(
    backup: ModuleType, house: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dumps" / "mlflow.dump").write_text("")
    assert kept(backup, tmp_path, house, str(tmp_path / "backups")) == 1
    assert "empty dumps of mlflow" in capsys.readouterr().err
    listing = json.loads((tmp_path / "listing.json").read_text())
    assert set(listing["places"]["store"]) == {"a.json", "deep/b.parquet"}
