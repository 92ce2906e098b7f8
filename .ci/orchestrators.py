"""The examples for Airflow and Prefect with the real packages, against the pipeline: `make test-orchestrators`.

Each orchestrator has a scratch environment of its own, made from PyPI by name: both pin what the other and Dagster do
not. In it stand the packages of `credit_assets.ml` in the versions of the lock, since another version of a learner is
another model. The exit code is that of the tests.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCRATCH = ROOT / ".orchestrators"
PACKAGES = {"airflow": "apache-airflow>=3.1,<4", "prefect": "prefect>=3.4,<4"}
ML = ("catboost", "jinja2", "lightgbm", "numpy", "pandas", "pyarrow", "pydantic", "pyyaml", "scipy", "xgboost")
"""What `credit_assets.ml` imports. Neither Dagster nor MLflow is there."""
UNUSED = ("nvidia-nccl-cu12; sys_platform == 'never'", "plotly; sys_platform == 'never'")
"""What the learners ask for and do not need; Prefect has a use for the graphviz of CatBoost."""


def normal(requirement: str) -> str:
    return re.split(r"[\[<>=; ]", requirement)[0].lower()


def main() -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wanted = [one for one in project["project"]["dependencies"] if normal(one) in ML]
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    pins = [line.rstrip(" \\") for line in lock.splitlines() if "==" in line and normal(line) in ML]
    SCRATCH.mkdir(exist_ok=True)
    # By this `make clean` knows that the folder was made here.
    (SCRATCH / "requirements.in").write_text("\n".join([*PACKAGES.values(), *wanted]) + "\n")
    (SCRATCH / "constraints.txt").write_text("\n".join(pins) + "\n")
    (SCRATCH / "overrides.txt").write_text("\n".join(UNUSED) + "\n")
    uv = str(Path(sys.executable).parent / "uv")
    for name, package in PACKAGES.items():
        python = SCRATCH / name / "bin" / "python"
        if not python.exists():
            subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(SCRATCH / name)], check=True)
        install = [uv, "pip", "install", "--quiet", "--no-config", "--python", str(python)]
        install += ["--constraint", str(SCRATCH / "constraints.txt"), "--override", str(SCRATCH / "overrides.txt")]
        subprocess.run([*install, package, *wanted], check=True)
    tests = str(ROOT / "credit_assets_tests" / "test_orchestrators.py")
    return subprocess.run([sys.executable, "-m", "pytest", "-q", tests], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
