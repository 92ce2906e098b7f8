"""What is written aside: whose it is, and when it is left over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from credit_assets import aside as module
from credit_assets.aside import OWNER_FILE, aside, left_over, own, take_away, temporary_folder
from credit_assets.processes import own_mark

HOUR = 3600.0
NOBODY = 2**22 + 1
HEX32 = "0123456789abcdef0123456789abcdef"


def of_nobody(path: Path) -> Path:
    """The same name of a process that is gone."""
    mark = own_mark()
    return path.with_name(path.name.replace(mark.token, replace(mark, pid=NOBODY).token))


def of_elsewhere(path: Path) -> Path:
    """The same name of a process of another machine."""
    return path.with_name(path.name.replace(own_mark().token, f"0000000000-{NOBODY}-1"))


def aged(path: Path, hours: float) -> Path:
    then = time.time() - hours * HOUR
    os.utime(path, (then, then))
    return path


def test_two_names_for_one_file_differ_and_stay_in_its_folder(tmp_path: Path) -> None:
    target = tmp_path / "2024-01-01.parquet"
    one, other = aside(target), aside(target)
    assert one != other
    assert {one.parent, other.parent} == {tmp_path}
    assert one.name.startswith(".2024-01-01.parquet.")


def test_what_a_living_process_writes_stays_however_old(tmp_path: Path) -> None:
    mine = aside(tmp_path / "x.json")
    mine.write_bytes(b"12345")
    assert left_over(aged(mine, 9_999), HOUR) is None


def test_what_a_process_wrote_that_is_gone_is_left_over_at_once(tmp_path: Path) -> None:
    theirs = of_nobody(aside(tmp_path / "x.json"))
    theirs.write_bytes(b"12345")
    found = left_over(theirs, HOUR)
    assert found is not None
    assert (found.bytes, found.why) == (5, "its process is gone")
    assert take_away(found)
    assert not theirs.exists()
    assert take_away(found)  # another was faster


@pytest.mark.parametrize(
    "name",
    [f".2024-01-01.parquet.{HEX32}.tmp", f".parent.{HEX32}.tmp", "credit-assets-models-abc123", "credit-dev-abc123"],
)
def test_what_says_no_process_is_left_over_by_its_age(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"x")
    assert left_over(aged(path, 0.5), HOUR) is None
    found = left_over(aged(path, 30), HOUR)
    assert found is not None
    assert "30 hours" in found.why


def test_a_process_elsewhere_is_judged_by_the_age_of_what_it_wrote(tmp_path: Path) -> None:
    theirs = of_elsewhere(aside(tmp_path / "x.json"))
    theirs.write_bytes(b"x")
    assert left_over(theirs, HOUR) is None
    assert left_over(aged(theirs, 2), HOUR) is not None


@pytest.mark.parametrize(
    "name",
    [
        "2024-01-01.parquet",
        "book.tmp",
        ".hidden.tmp",
        ".hidden.0123.tmp",
        f"visible.{HEX32}.tmp",
        f".token.{HEX32}",
        ".x.json.0123456789-12-13.tmp",
        "credit-scores",
    ],
)
def test_what_is_not_ours_is_left_alone(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"x")
    assert left_over(aged(path, 9_999), HOUR) is None


def test_a_folder_is_as_old_as_the_newest_in_it(tmp_path: Path) -> None:
    folder = tmp_path / f".m-1.{HEX32}.tmp"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "model.ubj").write_bytes(b"123")
    aged(folder, 50)
    assert left_over(folder, HOUR) is None
    aged(folder / "deep" / "model.ubj", 50)
    found = left_over(folder, HOUR)
    assert found is not None
    assert found.bytes == 3
    assert take_away(found)
    assert not folder.exists()


def test_a_folder_without_room_in_its_name_says_inside_whose_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "credit-dev-abc"
    folder.mkdir()
    own(folder)
    aged(folder / OWNER_FILE, 9_999)
    assert left_over(aged(folder, 9_999), HOUR) is None
    (folder / OWNER_FILE).write_text(replace(own_mark(), pid=NOBODY).to_json())
    assert left_over(folder, HOUR) is not None


def test_a_link_is_taken_away_and_not_what_it_leads_to(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    link = of_nobody(aside(tmp_path / "x"))
    link.symlink_to(kept)
    found = left_over(link, HOUR)
    assert found is not None
    assert take_away(found)
    assert (kept / "file").exists()
    assert not link.is_symlink()


def test_a_temporary_folder_of_a_process_that_is_killed_is_left_over(tmp_path: Path) -> None:
    code = (
        "import time; from credit_assets.aside import temporary_folder\n"
        "with temporary_folder('model') as folder:\n"
        "    (folder / 'rows').write_bytes(b'12'); print(folder, flush=True); time.sleep(3600)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    folder = Path(process.stdout.readline().strip())
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o077 == 0
    assert left_over(folder, 0.0) is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    found = left_over(folder, HOUR)
    assert found is not None
    assert found.bytes == 2


def test_a_temporary_folder_goes_at_the_end() -> None:
    with temporary_folder("model") as folder:
        assert folder.is_dir()
    assert not folder.exists()


def test_nothing_is_left_over_where_nothing_is(tmp_path: Path) -> None:
    assert left_over(of_nobody(aside(tmp_path / "x")), HOUR) is None
    assert module.left_over(tmp_path / f".x.{HEX32}.tmp", HOUR) is None
