"""A backup of the release, brought back beside it.

Belongs here: the chart's own script and `credit-assets audit` on what it brings back, run where this is run. What makes
the backup is a Job of the cluster (`scenarios`).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from e2e.chart import CHART
from e2e.cluster import FailedError
from e2e.services import postgres_programs
from e2e.trial_values import Given, secrets, settings

SCRIPT = CHART / "files" / "backup.py"
_SECONDS = 1800
# Of databases and MLflow of the release: the drill starts its own.
_OTHERS = ("postgresql", "MLFLOW")


def drill(given: Given, backup: str) -> str:
    """What the drill printed. Raises FailedError where the backup's three states do not fit together."""
    with tempfile.TemporaryDirectory() as home:
        # Settings of this run, such as those of the end-to-end run itself, are none of the pipeline that is audited.
        env = {name: value for name, value in os.environ.items() if not name.startswith("CREDIT_")}
        for held in (settings(given), *secrets(given).values()):
            env |= {name: value for name, value in held.items() if value and not name.startswith(_OTHERS)}
        env |= {"PATH": f"{postgres_programs()}:{env['PATH']}", "CREDIT_HOME": home}
        done = subprocess.run(
            [sys.executable, str(SCRIPT), "drill", backup, "--postgres", f"{given.postgres}/postgres"],
            env=env,
            cwd=home,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
    if done.returncode:
        raise FailedError(
            f"the drill of {backup} ended with exit code {done.returncode}: {(done.stdout + done.stderr)[-1500:]}"
        )
    return done.stdout
