"""The image: what its Dockerfile promises, and that it holds what is locked."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
LINES = [line.strip() for line in TEXT.splitlines() if line.strip() and not line.startswith("#")]
INSTRUCTIONS = [line.split(maxsplit=1) for line in LINES]


def stage(name: str) -> list[list[str]]:
    """The instructions of a stage, without its FROM."""
    found: list[list[str]] = []
    inside = False
    for instruction in INSTRUCTIONS:
        if instruction[0] == "FROM":
            inside = instruction[1].split()[-1] == name
        elif inside:
            found.append(instruction)
    return found


def lineage(name: str) -> list[str]:
    """A stage and those it begins with, down to an image from outside."""
    parents = {line.split()[-1]: line.split()[0] for word, line in INSTRUCTIONS if word == "FROM"}
    found = [name]
    while found[-1] in parents:
        found.append(parents[found[-1]])
    return found


def pins(file: str) -> dict[str, set[str]]:
    """Versions by package: the lock of all platforms has several of some."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(
        r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", (ROOT / file).read_text("utf-8"), re.M
    ):
        found.setdefault(name.lower(), set()).add(version)
    return found


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_a_target_is_small_pinned_and_not_root(target: str) -> None:
    *stages, outside = lineage(target)
    assert stages == [target, "base"]
    assert outside == "python:${PYTHON}"
    (version,) = [line.split("=")[1] for word, line in INSTRUCTIONS if word == "ARG"]
    assert re.fullmatch(r"3\.11\.\d+-slim-[a-z]+", version), "a fixed tag"
    words = [word for name in stages for word, _ in stage(name)]
    assert "ADD" not in words
    commands = " ".join(line for name in stages for word, line in stage(name) if word == "RUN")
    assert not re.search(r"\b(gcc|g\+\+|build-essential|python3-dev|pip|uv)\b", commands), "no build tools"
    (user,) = [line for word, line in stage("base") if word == "USER"]
    assert user == "10001:10001"
    (copied,) = [line for word, line in stage(target) if word == "COPY"]
    assert copied.endswith("/opt/venv /opt/venv")


def test_time_zones_and_openmp_are_there() -> None:
    """pyarrow reads the system's time zones alone, and LightGBM links to libgomp."""
    installed = next(line for word, line in stage("base") if word == "RUN")
    assert {"tzdata", "libgomp1", "ca-certificates"} <= set(installed.split())


def test_what_is_installed_is_locked_with_hashes_and_compiled() -> None:
    commands = [line for word, line in stage("build") if word == "RUN"]
    (locked,) = [line for line in commands if "requirements-image.lock" in line]
    assert "--require-hashes" in locked
    assert all("--compile-bytecode" in line for line in commands if "uv pip install" in line)


def test_the_images_lock_is_a_part_of_the_lock() -> None:
    whole, image = pins("requirements.lock"), pins("requirements-image.lock")
    assert all(len(versions) == 1 for versions in image.values())
    others = {name for name, versions in image.items() if not versions <= whole.get(name, set())}
    # Nothing but an image with several GPUs uses it.
    assert others == {"nvidia-nccl-cu12"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    direct = {re.split(r"[\[>=<]", line)[0].lower() for line in project["dependencies"]}
    extras = {
        re.split(r"[\[>=<]", line)[0].lower()
        for extra in ("cluster", "s3", "gcs", "dask", "gpu")
        for line in project["optional-dependencies"][extra]
    }
    assert direct | extras <= set(image)
    development = {re.split(r"[\[>=<]", line)[0].lower() for line in project["optional-dependencies"]["dev"]}
    # psutil comes with Dask, scikit-learn with MLflow.
    assert development & set(image) <= {"psutil", "scikit-learn"}


def test_what_only_trainings_and_searches_need_is_in_no_image() -> None:
    """A scorecard is scored by its table: optbinning and its solvers are some 300 MB that no pod that scores has."""
    (export,) = [line for line in (ROOT / "Makefile").read_text("utf-8").replace("\\\n", "").splitlines() if
                 "--output-file requirements-image.lock" in line]  # fmt: skip
    asked = set(re.findall(r"--extra (\S+)", export))
    assert asked == {"cluster", "s3", "gcs", "dask", "gpu"}
    assert "--all-extras" not in export
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    image, whole = pins("requirements-image.lock"), pins("requirements.lock")
    for extra in ("scorecard", "search"):
        (package,) = [re.split(r"[\[>=<]", line)[0].lower() for line in extras[extra]]
        assert package in whole
        assert package not in image
    assert "ortools" in whole
    assert not {"ortools", "cvxpy", "ropwr"} & set(image)
    # The package itself is installed with nothing beside what is locked.
    commands = [line for word, line in stage("build") if word == "RUN"]
    (own,) = [line for line in commands if "--no-deps ." in line]
    assert ".[" not in " ".join(commands)
    assert "requirements-image.lock" not in own


def test_what_others_ask_for_and_nobody_uses_is_in_no_lock() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["uv"]["override-dependencies"]
    unused = {line.split(";")[0].strip() for line in settings}
    assert unused == {"nvidia-nccl-cu12", "plotly", "graphviz"}
    assert not unused & set(pins("requirements.lock"))
    assert unused & set(pins("requirements-image.lock")) == {"nvidia-nccl-cu12"}
    # The lock is whole without them, and whoever installs it is not asked for them again.
    makefile = (ROOT / "Makefile").read_text("utf-8").replace("\\\n", " ")
    installs = [line for line in (*makefile.splitlines(), *LINES) if "--require-hashes" in line]
    assert len(installs) == 2
    assert all("--no-deps" in line for line in installs)
    # The overrides would take NCCL out of the image's own lock, too.
    assert ["--no-config" in line for line in installs] == ["requirements-image.lock" in line for line in installs]
    (uninstalled,) = [line for word, line in stage("build-cpu") if word == "RUN"]
    assert uninstalled.split()[-1] == "nvidia-nccl-cu12"


def test_only_what_is_copied_reaches_the_build() -> None:
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    copied = {
        source.rstrip("/").removeprefix("./")
        for word, line in stage("build")
        if word == "COPY"
        for source in line.split()[:-1]
    }
    assert "*" in ignored
    assert copied == allowed
    assert all((ROOT / name).exists() for name in allowed)
