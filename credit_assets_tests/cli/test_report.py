"""`credit-assets report`: a folder of pages that lead to one another, made from a house with a model."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from credit_assets.cli.edge import run
from credit_assets.cli.main import app
from credit_assets.cli.report import print_report, write_report
from credit_assets.cli.shown import console
from credit_assets.failures import PermanentError
from credit_assets_tests.support.houses import House, open_house


@pytest.fixture(scope="module")
def house(trained_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    home = tmp_path_factory.mktemp("report") / "home"
    shutil.copytree(trained_home, home)
    with open_house(home) as opened:
        yield opened


def written(house: House, folder: Path) -> dict[str, Any]:
    return write_report(house.settings, house.instance, folder, 30, lambda *_: None)


def test_the_pages_of_a_house_lead_to_one_another_and_have_no_id(
    house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = written(house, tmp_path / "a" / "report")
    folder = Path(record["index"]).parent
    names = {path.name for path in folder.iterdir()}
    assert names == {"index.html", "models.html", "monitoring.html", "decisions.html", "version-1.html"}
    texts = {name: (folder / name).read_text("utf-8") for name in names}
    for text in texts.values():
        assert set(re.findall(r'href="([^"#]+)', text)) == names
    ids = house.replay.store.read_partitions("raw_loan_data", ["2024-03-31"], ["application_id"])
    assert not any(f"{one}" in text for one in ids["application_id"].to_pylist() for text in texts.values())
    print_report(record, console())
    assert record["index"] in capsys.readouterr().out
    # What is there is made again, and equal.
    assert written(house, folder)["bytes"] == record["bytes"]
    assert {name: (folder / name).read_text("utf-8") for name in names} == texts


def test_a_folder_that_cannot_be_written_is_told(house: House, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(PermanentError, match="cannot be written"):
        written(house, tmp_path / "file" / "report")


def test_a_home_without_anything_has_a_report_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app, ["report", "--out", str(tmp_path / "report"), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["pages"]) == 4
