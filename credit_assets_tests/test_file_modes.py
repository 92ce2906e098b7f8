"""Who else of the machine may read what processes of ours make, and which files `doctor` names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from credit_assets.file_modes import restrict, wider


def mode(path: Path) -> str:
    return oct(path.stat().st_mode & 0o777)


@pytest.mark.parametrize(
    ("access", "folder", "file"),
    [("private", "0o700", "0o600"), ("group", "0o750", "0o640"), ("everybody", "0o700", "0o600")],
)
def test_new_files_are_for_those_who_are_named(access: str, folder: str, file: str, tmp_path: Path) -> None:
    os.umask(0)
    restrict(access)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "file").write_text("1")
    assert (mode(tmp_path / "new"), mode(tmp_path / "new" / "file")) == (folder, file)


def test_files_count_that_others_can_reach(tmp_path: Path) -> None:
    if any((folder.stat().st_mode & 0o011) == 0 for folder in Path("/tmp").resolve().parents):
        pytest.skip("nobody else reaches the folder of temporary files")
    outer = tmp_path / "outer"
    inner, file, link = outer / "inner", outer / "inner" / "file", outer / "inner" / "link"
    inner.mkdir(parents=True)
    file.write_text("1")
    link.symlink_to(file)
    places = [outer, inner, file, link, outer / "gone"]
    above = [folder for folder in outer.parents if (folder.stat().st_mode & 0o055) != 0o055]
    modes = {folder: folder.stat().st_mode for folder in above}
    try:
        for folder in above:
            folder.chmod(0o755)
        for modes_, private, group in (
            ((0o755, 0o755, 0o644), [outer, inner, file], [outer, inner, file]),
            ((0o750, 0o750, 0o640), [outer, inner, file], []),
            ((0o750, 0o777, 0o666), [outer, inner, file], [inner, file]),
            ((0o700, 0o777, 0o666), [], []),
            ((0o755, 0o700, 0o666), [outer], [outer]),
            ((0o711, 0o711, 0o604), [outer, inner, file], [outer, inner, file]),
        ):
            for place, given in zip((file, inner, outer), reversed(modes_), strict=True):
                place.chmod(given)
            assert wider(places, "private") == private, modes_
            assert wider(places, "group") == group, modes_
    finally:
        for folder, before in modes.items():
            folder.chmod(before)


@pytest.mark.parametrize("module", ["definitions", "locations"])
@pytest.mark.parametrize(("access", "expected"), [("", 0o077), ("private", 0o077), ("group", 0o027)])
def test_whoever_loads_a_code_location_makes_files_so(
    module: str, access: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run workers and steps load it too. The rest of what they do is not needed for that."""
    import runpy

    import credit_assets.build
    from credit_assets import locations

    monkeypatch.setenv("CREDIT_HOME", str(tmp_path))
    (tmp_path / "settings.env").write_text(f"CREDIT_FILE_ACCESS={access}\n")
    os.umask(0o022)
    monkeypatch.setattr(credit_assets.build, "build_definitions", lambda settings: settings)
    monkeypatch.setattr(locations, "_MADE", {})
    if module == "definitions":
        runpy.run_module("credit_assets.definitions")
    else:
        assert locations.consumer_loans
    assert os.umask(0o022) == expected


def test_a_home_is_its_users_from_the_first_command_on(tmp_path: Path) -> None:
    home = tmp_path / "home"
    environment = {**os.environ, "CREDIT_HOME": str(home)}
    command = [sys.executable, "-m", "credit_assets.cli.main"]
    generate = [*command, "generate", "--rows", "200", "--start", "2024-01-01", "--end", "2024-01-31"]
    done = subprocess.run(generate, env=environment, capture_output=True, text=True, umask=0)
    assert done.returncode == 0, done.stderr
    subprocess.run([*command, "doctor"], env=environment, capture_output=True, text=True, umask=0)
    made = [home, *home.rglob("*")]
    assert {path.suffix for path in made} >= {".duckdb", ".db", ".yaml"}, made
    assert [path for path in made if path.stat().st_mode & 0o077] == []
