"""The package as others get it: built, installed where nothing of the checkout is, and run from an empty folder."""

from __future__ import annotations

import email
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")
SOURCES = ("pyproject.toml", "setup.py", "setup.cfg", "README.md", "LICENSE")
LINK = re.compile(r"\]\(([^)]+)\)")


@pytest.fixture(scope="module")
def setup_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("setup_script", ROOT / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_links_lead_somewhere_from_the_page_of_the_package(setup_script: ModuleType) -> None:
    source = "https://example.org/lender/credit-assets/blob/v1"
    page = setup_script.page(README, source)
    there = LINK.findall(README)
    assert [target for target in LINK.findall(page) if not target.startswith(("https://", "#"))] == []
    assert len(LINK.findall(page)) == len(there)
    for target in there:
        if "://" not in target and not target.startswith("#"):
            place = source.replace("/blob/", "/raw/") if target.endswith(".png") else source
            assert f"]({place}/{target})" in page
    nowhere = setup_script.page(
        "See [the *guide*](docs/a.md#b), ![](c.png)[that](https://example.org) and [x](#y).", ""
    )
    assert nowhere == "See the *guide*, [that](https://example.org) and [x](#y)."


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with an sdist of a copy of the checkout, and the wheel that was made of it alone."""
    copy, folder = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("dist")
    for name in SOURCES:
        shutil.copy(ROOT / name, copy)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "credit_assets", copy / "credit_assets", ignore=ignored)
    # No network: what builds is installed here.
    uv = [str(Path(sys.executable).parent / "uv"), "build", "--quiet", "--no-build-isolation", "--offline"]
    environment = {**os.environ, "VIRTUAL_ENV": sys.prefix, "SOURCE_URL": "https://example.org/blob/v1"}
    command = [*uv, "--python", sys.executable, "--out-dir", str(folder), str(copy)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_sdist_and_wheel_have_what_the_package_reads(built: Path) -> None:
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as opened:
        names = {name for name in opened.namelist() if name.startswith("credit_assets/")}
        (metadata,) = [name for name in opened.namelist() if name.endswith(".dist-info/METADATA")]
        page = email.message_from_bytes(opened.read(metadata))
    files = {
        str(file.relative_to(ROOT))
        for file in (ROOT / "credit_assets").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert files == names
    assert page["Description-Content-Type"] == "text/markdown"
    targets = LINK.findall(page.get_payload())
    assert targets
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []
    with tarfile.open(sdist) as opened:
        there = {name.partition("/")[2] for name in opened.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "setup.py", *files} <= there


@pytest.mark.slow
def test_the_wheel_runs_the_demo_from_an_empty_folder(built: Path, tmp_path: Path) -> None:
    """In an environment of its own, with the packages of this one and without the checkout."""
    target, empty = tmp_path / "venv", tmp_path / "empty"
    venv.create(target, symlinks=True)
    python = target / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    uv = [str(Path(sys.executable).parent / "uv"), "pip", "install", "--quiet", "--offline", "--no-deps"]
    subprocess.run([*uv, "--python", str(python), str(wheel)], check=True)
    # Behind its own: a .pth file there, by which the checkout is installed, does not count here.
    own = Path(sysconfig.get_path("purelib", vars={"base": str(target), "platbase": str(target)}))
    (own / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    empty.mkdir()
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}

    def run(*arguments: str) -> str:
        done = subprocess.run(arguments, cwd=empty, env=kept, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    place = "import credit_assets; print(credit_assets.__file__)"
    assert Path(run(str(python), "-c", place).strip()).is_relative_to(own)
    command = str(target / "bin" / "credit-assets")
    run(command, "demo")
    assert [one.name for one in empty.iterdir()] == [".credit_assets"]
    load = "from credit_assets import load_champion as c; m = c(); print(m.version.version, len(m.tested()))"
    version, rows = run(str(python), "-c", load).split()
    assert int(version) >= 1
    assert int(rows) > 100


def test_what_is_said_of_the_version_is_one() -> None:
    import yaml

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert citation["authors"] == project["authors"]
