"""The suite's core on the newest release of everything, in a scratch environment of its own.

The lock file says what works today; this says what will break tomorrow. Upper bounds of pyproject.toml do not count
here. Prints what is newer than the lock, then runs the core of the tests; the exit code is theirs.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCRATCH = ROOT / ".canary"
CORE = ("ml", "storage", "tracking", "ledger", "test_definitions.py", "test_settings.py")


def newest_of(requirement: str) -> str:
    """The requirement without its upper bounds: "dagster>=1.13,<1.14" is "dagster>=1.13"."""
    return re.sub(r",?\s*<=?\s*[\w.]+", "", requirement)


def locked() -> dict[str, str]:
    """Version of each package in requirements.lock; of several by environment the last."""
    found = re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)", (ROOT / "requirements.lock").read_text(), re.M)
    return dict(found)


def main() -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    uv, python = str(Path(sys.executable).parent / "uv"), str(SCRATCH / "bin" / "python")
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(SCRATCH)], check=True)
    requirements = SCRATCH / "requirements.in"
    requirements.write_text("\n".join(newest_of(one) for one in wanted))
    install = [uv, "pip", "install", "--quiet", "--python", python]
    subprocess.run([*install, "--upgrade", "--requirement", str(requirements)], check=True)
    subprocess.run([*install, "--no-deps", "--editable", str(ROOT)], check=True)
    frozen = subprocess.run(
        [uv, "pip", "freeze", "--quiet", "--python", python], check=True, capture_output=True, text=True
    ).stdout
    known, newer = locked(), []
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==(\S+)$", frozen, re.M):
        before = known.get(name.lower().replace("_", "-"))
        if before != version:
            newer.append(f"  {name} {version} (locked: {before or 'not at all'})")
    print("\n".join(["Other than locked:", *sorted(newer)]) if newer else "Nothing is newer than the lock file.")
    tests = [str(ROOT / "credit_assets_tests" / one) for one in CORE]
    return subprocess.run(
        [python, "-m", "pytest", "-q", "-n", "auto", "-m", "not slow", *tests], cwd=ROOT, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
