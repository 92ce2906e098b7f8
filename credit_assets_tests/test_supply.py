"""Locked versions held against advisories from files; what cannot be read is no all-clear."""

from __future__ import annotations

import importlib.util
import json
import re
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def supply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, on locks of its own."""
    spec = importlib.util.spec_from_file_location("supply", ROOT / ".ci" / "supply.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path / "checkout"
    (folder / ".ci").mkdir(parents=True)
    (folder / "requirements.lock").write_text("python-dateutil==2.9.0 \\\n    --hash=sha256:0\njinja2==3.1.6\n")
    (folder / "requirements-image.lock").write_text("jinja2==3.1.4 ; sys_platform == 'linux' \\\n")
    monkeypatch.setattr(module, "ROOT", folder)
    return module


def advisory(name: str = "Jinja2", *events: dict[str, Any], **more: Any) -> dict[str, Any]:
    ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, *events]}]
    affected = {"package": {"ecosystem": "PyPI", "name": name}, "ranges": ranges, **more.pop("affected", {})}
    return {"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "affected": [affected], **more}


def held(supply: ModuleType, tmp_path: Path, *records: dict[str, Any]) -> int:
    file = tmp_path / "advisories.json"
    file.write_text(json.dumps(records))
    return int(supply.main(["advisories", str(file)]))


@pytest.mark.parametrize(
    ("events", "affected"),
    [
        ([], ["3.1.4", "3.1.6"]),
        ([{"fixed": "3.1.5"}], ["3.1.4"]),
        ([{"fixed": "3.1.4"}], []),
        ([{"last_affected": "3.1.4"}], ["3.1.4"]),
        ([{"fixed": "2.0"}, {"introduced": "3.1.5"}, {"fixed": "3.10"}], ["3.1.6"]),
        ([{"introduced": "3.1.5rc1"}, {"fixed": "2.0"}, {"fixed": "3.1.10"}], ["3.1.6"]),
    ],
)
def test_versions_between_what_brought_and_what_mended_it_are_named(
    events: list[dict[str, str]],
    affected: list[str],
    supply: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert held(supply, tmp_path, advisory("Jinja2", *events)) == bool(affected)
    *lines, last = capsys.readouterr().out.splitlines()
    assert [re.match(r"jinja2 (\S+): PYSEC-2026-1, CVE-2026-1; mended in ", line)[1] for line in lines] == affected  # type: ignore[index]
    assert last == "1 advisories, 3 locked versions, 0 accepted"


def test_other_packages_and_ecosystems_and_what_was_withdrawn_do_not_count(
    supply: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    npm = {"package": {"ecosystem": "npm", "name": "jinja2"}}
    git = {"ranges": [{"type": "GIT", "events": [{"introduced": "0"}]}]}
    records = [advisory("other"), advisory(affected=npm), advisory(affected=git), advisory(withdrawn="2026-01-01")]
    assert held(supply, tmp_path, *records) == 0
    # Names are compared in their normal form, and versions may be listed.
    listed = {"ranges": [], "versions": ["2.9.0"]}
    assert held(supply, tmp_path, advisory("Python_DateUtil", affected=listed)) == 1
    assert "python-dateutil 2.9.0: PYSEC-2026-1, CVE-2026-1; mended in none yet" in capsys.readouterr().out


def test_archives_and_folders_are_read_whole(supply: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "vulns" / "jinja2"
    folder.mkdir(parents=True)
    (folder / "PYSEC-2026-1.yaml").write_text(yaml.safe_dump(advisory("jinja2", {"fixed": "3.1.5"})))
    (tmp_path / "vulns" / "README.md").write_text("no advisory")
    assert supply.main(["advisories", str(tmp_path / "vulns")]) == 1
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("a.json", json.dumps(advisory("other")))
        archive.writestr("b.json", json.dumps(advisory("jinja2")))
    assert supply.main(["advisories", str(tmp_path / "all.zip")]) == 1


def test_what_cannot_be_read_is_no_all_clear(
    supply: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cut.json").write_text('[{"id": "PYSEC-')
    (tmp_path / "empty").mkdir()
    cases = {
        "cut.json": "cut.json cannot be read",
        "empty": "holds no advisory",
        "gone": "is no file and no folder",
    }
    for name, said in cases.items():
        assert supply.main(["advisories", str(tmp_path / name)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
    assert held(supply, tmp_path, advisory("jinja2", {"fixed": "no version"})) == 2
    assert supply.main(["advisories", ""]) == 2
    assert "make advisories ADVISORIES=" in capsys.readouterr().err


def test_what_does_not_matter_here_is_accepted_with_a_reason(supply: ModuleType, tmp_path: Path) -> None:
    accepted = supply.ROOT / ".ci" / "advisories-accepted.txt"
    accepted.write_text("# why\nCVE-2026-1 no template of a stranger is rendered\n")
    assert held(supply, tmp_path, advisory()) == 0
    assert held(supply, tmp_path, advisory(), {**advisory(), "id": "PYSEC-2026-2", "aliases": []}) == 1
    accepted.write_text("CVE-2026-1\n")
    assert held(supply, tmp_path, advisory()) == 2


def test_the_locks_of_this_checkout_are_read_whole(supply: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supply, "ROOT", ROOT)
    packages = supply.locked()
    text = "".join((ROOT / lock).read_text("utf-8") for lock in supply.LOCKS)
    assert sum(map(len, packages.values())) == len(set(re.findall(r"^([\w.\[\],-]+==[^ ;\\\n]+)", text, re.M)))
    assert {"dagster", "mlflow", "xgboost"} <= packages.keys()
