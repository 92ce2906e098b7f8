"""What is installed, its licences, and what is known against it: `make sbom`, `make licenses`, `make advisories`.

    python .ci/supply.py sbom                 CycloneDX of .venv, build/supply/sbom.cdx.json
    python .ci/supply.py licenses             its licences, build/supply/licenses.md
    python .ci/supply.py advisories PLACE     requirements.lock and requirements-image.lock held against advisories

PLACE is a copy of what OSV or PyPA publish, so that no network is needed where it is read: the archive
https://osv-vulnerabilities.storage.googleapis.com/PyPI/all.zip, a checkout of https://github.com/pypa/advisory-database,
or single records (.json, .yaml). Exit code 1 where a locked version is affected, 2 where PLACE cannot be used. An
advisory that does not matter here stands in `.ci/advisories-accepted.txt` with the reason.

The first two run cyclonedx-bom and pip-licenses from a scratch environment of their own, so that they are no part of
what they list.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).resolve().parents[1]
SCRATCH = ROOT / ".supply"
MADE = ROOT / "build" / "supply"
TOOLS = ("cyclonedx-bom>=7.5,<8", "pip-licenses>=5.5,<6")
LOCKS = ("requirements.lock", "requirements-image.lock")
ACCEPTED = ".ci/advisories-accepted.txt"
_ENDINGS = (".json", ".yaml", ".yml")


class UnusableError(Exception):
    """The advisories cannot be read; the message says what to do."""


# Listing what is installed


def tools() -> Path:
    """The folder of the tools' programs, in an environment that is made where it is not there."""
    SCRATCH.mkdir(exist_ok=True)
    # By this `make clean` knows that the folder was made here.
    (SCRATCH / "requirements.in").write_text("\n".join(TOOLS) + "\n")
    uv, python = str(Path(sys.executable).parent / "uv"), str(SCRATCH / "bin" / "python")
    if not Path(python).exists():
        subprocess.run(
            [uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(SCRATCH)], check=True
        )
    subprocess.run([uv, "pip", "install", "--quiet", "--no-config", "--python", python, *TOOLS], check=True)
    MADE.mkdir(parents=True, exist_ok=True)
    return SCRATCH / "bin"


def sbom() -> int:
    out = MADE / "sbom.cdx.json"
    command = [str(tools() / "cyclonedx-py"), "environment", "--pyproject", str(ROOT / "pyproject.toml")]
    # Without serial number and time: the same environment gives the same bytes.
    command += ["--output-reproducible", "--of", "JSON", "--output-file", str(out), sys.executable]
    subprocess.run(command, check=True)
    parts = json.loads(out.read_text("utf-8"))["components"]
    print(f"{out.relative_to(ROOT)}: {len(parts)} packages")
    return 0


def licenses() -> int:
    out = MADE / "licenses.md"
    command = [str(tools() / "pip-licenses"), f"--python={sys.executable}", "--from=mixed", "--with-urls"]
    command += ["--order=license", "--format=markdown", f"--output-file={out}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    print(f"{out.relative_to(ROOT)}: {len(out.read_text('utf-8').splitlines()) - 2} packages")
    return 0


# Advisories


def locked() -> dict[str, set[str]]:
    """Versions of each package in the locks, by its normal name."""
    found: dict[str, set[str]] = {}
    for lock in LOCKS:
        text = (ROOT / lock).read_text("utf-8")
        for name, version in re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", text, re.M):
            found.setdefault(canonicalize_name(name), set()).add(version)
    return found


def records(place: Path) -> Iterator[Mapping[str, Any]]:
    """Every advisory of a file, an archive or a folder, in the form of OSV. Raises UnusableError."""
    texts: Iterator[tuple[str, bytes]]
    if place.is_dir():
        texts = ((str(file), file.read_bytes()) for file in sorted(place.rglob("*")) if file.suffix in _ENDINGS)
    elif not place.is_file():
        raise UnusableError(f"{place} is no file and no folder: give a copy of the advisories")
    elif zipfile.is_zipfile(place):
        texts = _of_archive(place)
    else:
        texts = iter([(str(place), place.read_bytes())])
    for name, text in texts:
        try:
            # JSON is YAML, and read a hundred times as fast by its own reader.
            found = json.loads(text) if name.endswith(".json") else yaml.safe_load(text)
        except (ValueError, yaml.YAMLError) as error:
            raise UnusableError(f"{name} cannot be read ({str(error).splitlines()[0]}): fetch it anew") from None
        for one in found if isinstance(found, list) else [found]:
            if isinstance(one, dict) and "id" in one:
                yield one


def _of_archive(place: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(place) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(_ENDINGS):
                yield name, archive.read(name)


def affects(advisory: Mapping[str, Any], name: str, version: str) -> str | None:
    """The versions in which it is mended, "none yet" where there is none; None where it does not concern this one."""
    if advisory.get("withdrawn"):
        return None
    mended: list[str] = []
    hit = False
    for part in advisory.get("affected") or []:
        package = part.get("package") or {}
        if package.get("ecosystem") != "PyPI" or canonicalize_name(package.get("name", "")) != name:
            continue
        ranges = [one for one in part.get("ranges") or [] if one.get("type") in ("ECOSYSTEM", "SEMVER")]
        hit |= version in (part.get("versions") or []) or any(_within(one["events"], version) for one in ranges)
        mended += [event["fixed"] for one in ranges for event in one["events"] if "fixed" in event]
    return (", ".join(mended) or "none yet") if hit else None


def _within(events: list[Mapping[str, str]], version: str) -> bool:
    """Whether a version lies between what brought the fault and what took it away, as OSV defines it."""
    at, inside = Version(version), False
    bounds = [(kind, str(bound)) for event in events for kind, bound in event.items()]
    for kind, bound in sorted(bounds, key=_place):
        if kind == "introduced":
            inside |= bound == "0" or at >= Version(bound)
        elif (kind == "fixed" and at >= Version(bound)) or (kind == "last_affected" and at > Version(bound)):
            inside = False
    return inside


def _place(event: tuple[str, str]) -> Version:
    try:
        return Version(event[1])
    except InvalidVersion:
        raise UnusableError(f"a range ends at {event[1]!r}, which is no version of PyPI") from None


def accepted() -> dict[str, str]:
    """The advisories that do not matter here, with the reason. Raises UnusableError for one without."""
    file, found = ROOT / ACCEPTED, {}
    for line in file.read_text("utf-8").splitlines() if file.exists() else []:
        if line.strip() and not line.startswith("#"):
            name, _, reason = line.partition(" ")
            if not reason.strip():
                raise UnusableError(f"{ACCEPTED}: {name} has no reason")
            found[name] = reason.strip()
    return found


def advisories(place: Path) -> int:
    packages, fine, seen, affected = locked(), accepted(), 0, []
    for advisory in records(place):
        seen += 1
        ids = [str(advisory["id"]), *map(str, advisory.get("aliases") or [])]
        names = {
            canonicalize_name((part.get("package") or {}).get("name", "")) for part in advisory.get("affected") or []
        }
        for name in sorted(names & packages.keys()):
            for version in sorted(packages[name]):
                if (mended := affects(advisory, name, version)) and not fine.keys() & set(ids):
                    affected.append(f"{name} {version}: {', '.join(ids)}; mended in {mended}")
    if not seen:
        raise UnusableError(f"{place} holds no advisory: it would find nothing in anything")
    versions = sum(map(len, packages.values()))
    print("\n".join([*sorted(set(affected)), f"{seen:,} advisories, {versions} locked versions, {len(fine)} accepted"]))
    return int(bool(affected))


def main(arguments: list[str]) -> int:
    try:
        match arguments:
            case ["sbom"]:
                return sbom()
            case ["licenses"]:
                return licenses()
            case ["advisories", place] if place:
                return advisories(Path(place))
            case ["advisories", *_]:
                raise UnusableError("give a copy of what OSV publishes: make advisories ADVISORIES=all.zip")
    except UnusableError as error:
        print(error, file=sys.stderr)
        return 2
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
