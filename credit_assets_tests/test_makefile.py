"""The Makefile, with a real make in real folders: what it deletes, and what it hands to its programs.

The programs are stand-ins that write down what they were given: setting up an environment takes minutes and a network.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Folders in which people keep checkouts, and what a shell or make would do with their names.
FOLDERS = [
    "My Projects/repo",
    "it's/re po",
    'a "quoted" one/repo',
    "$HOME/x;touch hurt/repo",
    "-rf/repo",
    "Büro & Co/#1 (new)",
]
# The same for values.
VALUES = [
    "two words",
    "it's",
    'a "b"',
    "a$HOME$(shell touch hurt)",
    "; touch hurt",
    "-x",
    "~/here",
    "a`touch hurt`b",
    "*",
]

_RECORDER = """#!{python}
import json, os, sys
names = ("LOANS", "ONLY", "MARK", "PORT", "CREDIT_HOME", "CREDIT_STORE_URI", "DAGSTER_HOME", "CREDIT_COST_CENTRE")
seen = {{"argv": sys.argv[1:], "env": {{name: os.environ.get(name) for name in names}}}}
open("seen.json", "a").write(json.dumps(seen) + "\\n")
sys.exit(int(os.environ.get("FAILS", "0")))
"""

make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
pytestmark = make


def checkout(folder: Path) -> Path:
    """A folder with this Makefile, whose environment is ready and whose programs write down what they are given."""
    binaries = folder / ".venv" / "bin"
    binaries.mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    for name in ("requirements.lock", "pyproject.toml"):
        (folder / name).write_text("")
    for name in ("python", "credit-assets", "ruff", "mypy", "lint-imports", "uv"):
        (binaries / name).write_text(_RECORDER.format(python=sys.executable))
        (binaries / name).chmod(0o755)
    (folder / ".venv" / ".ready").write_text(f"{folder.resolve()}\n")
    return folder


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env={**kept, **environment}, capture_output=True, text=True, check=False
    )


def seen(folder: Path) -> dict[str, dict[str, str | None] | list[str]]:
    lines = (folder / "seen.json").read_text("utf-8").splitlines()
    return json.loads(lines[-1])


def all_of(folder: Path) -> list[str]:
    return sorted(str(one.relative_to(folder)) for one in folder.rglob("*"))


def demo_home(home: Path) -> None:
    (home / "store").mkdir(parents=True)
    (home / "store" / "x.parquet").write_text("")
    (home / "settings.env").write_text("# Settings of the demo with the generated book.\n")


@pytest.mark.parametrize("name", FOLDERS)
def test_clean_removes_what_was_made_here_and_nothing_else(name: str, tmp_path: Path) -> None:
    # What a shell would take the parts of the name for.
    for part in ("My", "Projects", "hurt", "repo", "x", "Büro", "it's", "-rf"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "keep").write_text("")
    folder = checkout(tmp_path / name)
    before = [one for one in all_of(tmp_path) if "/.venv" not in one]
    demo_home(folder / ".credit_assets")
    demo_home(folder / ".credit_assets" / "lending_club")
    for scratch in (".canary", ".orchestrators", ".supply"):
        (folder / scratch).mkdir()
        (folder / scratch / "requirements.in").write_text("")
    for part in ("docs/doctrees", "site", "supply"):
        (folder / "build" / part).mkdir(parents=True)
    (folder / "build" / "supply" / "sbom.cdx.json").write_text("")
    done = run(folder, "clean")
    assert done.returncode == 0, done.stderr
    assert all_of(tmp_path) == before


@pytest.mark.parametrize("home", ["/", "~", "..", "../other", ".", ""])
def test_no_value_of_a_user_tells_clean_what_to_remove(home: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    demo_home(other)
    folder = checkout(tmp_path / "repo")
    values = dict.fromkeys(("CREDIT_HOME", "DAGSTER_HOME", "LOANS", "ONLY", "BIN", "READY", "BOOKS", "MADE"), home)
    for how in ({}, values):
        arguments = [] if how else [f"{name}={value}" for name, value in values.items()]
        assert run(folder, "clean", *arguments, **how).returncode == 0
    assert all_of(other) == ["settings.env", "store", "store/x.parquet"]
    assert sorted(one.name for one in folder.iterdir()) == ["Makefile", "pyproject.toml", "requirements.lock"]


@pytest.mark.parametrize("venv", ["/", "~", "..", "", "../My Venv"])
def test_an_environment_elsewhere_is_refused_before_anything_is_touched(venv: str, tmp_path: Path) -> None:
    folder = checkout(tmp_path / "repo")
    before = all_of(tmp_path)
    for target in ("clean", "setup", "demo"):
        refused = run(folder, target, f"VENV={venv}")
        assert refused.returncode != 0
        assert "VENV is no setting" in refused.stderr
    assert run(folder, "demo", VENV=venv).returncode == 0
    assert all_of(tmp_path) == sorted([*before, "repo/seen.json"])


def test_clean_leaves_what_the_demo_did_not_make(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "repo")
    (folder / ".venv" / ".ready").unlink()
    own = folder / ".credit_assets"
    (own / "store").mkdir(parents=True)
    demo_home(own / "lending_club")
    (own / "lending_club" / "notes.txt").write_text("mine")
    done = run(folder, "clean")
    assert done.returncode == 0
    assert ".venv stays" in done.stdout
    assert ".credit_assets stays" in done.stdout
    assert all_of(own) == ["lending_club", "lending_club/notes.txt", "store"]
    assert (folder / ".venv" / "bin").is_dir()


def test_clean_removes_a_link_and_not_what_it_leads_to(tmp_path: Path) -> None:
    folder, disk = checkout(tmp_path / "repo"), tmp_path / "disk"
    demo_home(disk / "book")
    shutil.move(folder / ".venv", disk / "venv")
    (folder / ".venv").symlink_to(disk / "venv")
    (folder / ".credit_assets").symlink_to(disk / "book")
    before = all_of(disk)
    assert run(folder, "clean").returncode == 0
    assert all_of(disk) == before
    assert not (folder / ".venv").exists()
    assert not (folder / ".credit_assets").exists()


def test_make_from_another_folder_is_refused(tmp_path: Path) -> None:
    folder, home = checkout(tmp_path / "my repo"), tmp_path / "home"
    (home / ".venv").mkdir(parents=True)
    (home / ".venv" / ".ready").write_text("")
    refused = run(home, "-f", str(folder / "Makefile"), "clean")
    assert refused.returncode != 0
    assert "make -C" in refused.stderr
    assert (home / ".venv" / ".ready").exists()
    assert run(home, "-C", str(folder), "clean").returncode == 0
    assert not (folder / ".venv").exists()


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("by", ["argument", "environment"])
def test_values_arrive_as_they_were_written(value: str, by: str, tmp_path: Path) -> None:
    folder = checkout(tmp_path / "My Projects" / "repo")
    names = ("LOANS", "MARK", "ONLY", "PORT", "MLFLOW_PORT", "CREDIT_HOME", "DAGSTER_HOME", "CREDIT_STORE_URI")
    values = dict.fromkeys(names, value)

    def given(target: str) -> dict[str, dict[str, str | None] | list[str]]:
        done = (
            run(folder, target, *[f"{n}={v}" for n, v in values.items()])
            if by == "argument"
            else run(folder, target, **values)
        )
        assert done.returncode == 0, done.stderr
        return seen(folder)

    demo = given("demo")
    assert demo["argv"] == ["demo", f"--loans={value}"]
    assert {demo["env"][name] for name in ("CREDIT_HOME", "DAGSTER_HOME", "CREDIT_STORE_URI")} == {value}
    assert given("dev")["argv"] == ["dev", f"--port={value}", f"--mlflow-port={value}"]
    assert given("test-all")["argv"][-1] == f"-m{value}"
    assert given("bench")["argv"] == ["-m", "benchmarks", "--", *value.split()]
    assert given("e2e-k8s")["argv"] == ["-m", "e2e", "--", *value.split()]
    assert not list(tmp_path.rglob("hurt*"))


@pytest.mark.parametrize("name", FOLDERS)
def test_what_is_not_set_or_empty_is_the_default(name: str, tmp_path: Path) -> None:
    folder = checkout(tmp_path / name)
    for values in ({}, {"LOANS": "", "CREDIT_HOME": "", "DAGSTER_HOME": "", "MARK": "", "PORT": "", "ONLY": ""}):
        for target, arguments in (("demo", ["demo"]), ("dev", ["dev"]), ("bench", ["-m", "benchmarks", "--"])):
            assert run(folder, target, **values).returncode == 0
            assert seen(folder)["argv"] == arguments
        assert seen(folder)["env"]["CREDIT_HOME"] == f"{folder.resolve()}/.credit_assets"
        assert not seen(folder)["env"]["DAGSTER_HOME"]
    assert run(folder, "demo", "LOANS=b.csv").returncode == 0
    assert seen(folder)["env"]["CREDIT_HOME"] == f"{folder.resolve()}/.credit_assets/lending_club"


def test_no_target_but_its_own_runs_the_browser(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "repo")
    assert run(folder, "test-all").returncode == 0
    assert "--ignore=credit_assets_tests/browser" in seen(folder)["argv"]
    assert run(folder, "test-browser").returncode == 0
    assert seen(folder)["argv"] == ["-m", "pytest", "-q", "-m", "browser", "credit_assets_tests/browser"]


@pytest.mark.parametrize(
    "target",
    [
        "demo",
        "dev",
        "test",
        "test-all",
        "test-browser",
        "test-orchestrators",
        "canary",
        "lint",
        "bench",
        "e2e-k8s",
        "lock",
    ],
)
def test_a_program_that_fails_fails_its_target(target: str, tmp_path: Path) -> None:
    folder = checkout(tmp_path / "repo")
    assert run(folder, target).returncode == 0
    assert run(folder, target, FAILS="3").returncode != 0


def test_what_would_be_run_is_shown_and_not_run(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "repo")
    shown = run(folder, "-n", "test")
    assert shown.returncode == 0
    assert "pytest" in shown.stdout
    assert not (folder / "seen.json").exists()


@pytest.mark.parametrize("failing", ["ruff", "mypy", "lint-imports", "python"])
def test_lint_beside_the_tests_fails_them_as_the_tests_do_and_is_shown(failing: str, tmp_path: Path) -> None:
    folder = checkout(tmp_path / "repo")
    script = folder / ".venv" / "bin" / failing
    script.write_text(script.read_text().replace("sys.exit(", "print('found by', sys.argv[0]); sys.exit(3 or "))
    done = run(folder, "test")
    assert done.returncode != 0
    assert f".venv/bin/{failing}" in done.stdout
    # Neither keeps the other from being run.
    calls = [json.loads(line)["argv"] for line in (folder / "seen.json").read_text("utf-8").splitlines()]
    assert {"check", "-m"} <= {argument for call in calls for argument in call}


@pytest.mark.parametrize("python", ["/no such/python3", "; touch hurt", "-x", "python 3"])
def test_a_python_that_cannot_be_run_is_named(python: str, tmp_path: Path) -> None:
    folder = checkout(tmp_path / "repo")
    (folder / ".venv" / ".ready").unlink()
    refused = run(folder, "setup", f"PYTHON={python}")
    assert refused.returncode != 0
    assert f"PYTHON={python} cannot be run" in refused.stderr
    assert not list(tmp_path.rglob("hurt"))


@pytest.mark.parametrize("name", [pytest.param("moved", marks=pytest.mark.slow), "My Projects/moved $HOME"])
def test_a_moved_checkout_makes_its_scripts_anew_once(name: str, tmp_path: Path) -> None:
    old = checkout(tmp_path / "old")
    # A real environment, of which a stand-in for uv fills the scripts.
    shutil.rmtree(old / ".venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(old / ".venv")], check=True)
    uv = old / ".venv" / "bin" / "uv"
    uv.write_text(_RECORDER.format(python=sys.executable))
    uv.chmod(0o755)
    (old / ".venv" / ".ready").write_text(f"{old.resolve()}\n")
    new = tmp_path / name
    new.parent.mkdir(exist_ok=True)
    shutil.move(old, new)
    moved = run(new, "setup")
    assert moved.returncode == 0, moved.stderr
    assert "moved" in moved.stdout
    calls = [json.loads(line)["argv"] for line in (new / "seen.json").read_text("utf-8").splitlines()]
    installs = [call for call in calls if call[:2] == ["pip", "install"]]
    assert "--reinstall" in installs[0]
    assert "--editable" in installs[1]
    assert str(new.resolve()) in (new / ".venv" / "bin" / "activate").read_text("utf-8")
    assert str(old) not in (new / ".venv" / "bin" / "activate").read_text("utf-8")
    again = run(new, "setup")
    assert "moved" not in again.stdout
    assert len((new / "seen.json").read_text("utf-8").splitlines()) == len(calls)


def test_an_environment_of_an_earlier_version_is_known_by_its_scripts(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "a b")
    ready, script = folder / ".venv" / ".ready", folder / ".venv" / "bin" / "credit-assets"
    ready.write_text("")
    kept = script.read_text()
    script.write_text(f"{kept}# made in {folder.resolve()}/.venv/bin/python\n")
    assert "moved" not in run(folder, "setup").stdout
    script.write_text(f"{kept}# made in /elsewhere/.venv/bin/python\n")
    assert "moved" in run(folder, "setup").stdout
