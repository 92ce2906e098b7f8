"""How long the code location takes to load: `import credit_assets.definitions` against `import dagster`.

Whole processes, with byte code written: every sensor tick, step and page of the UI that starts a process pays this.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.data import settings_of
from benchmarks.processes import Cost, child_environment, paired, run
from benchmarks.report import Row, compared

TARGET = "3 load"
LIMIT = 1.3


def measure(quick: bool) -> list[Row]:
    """Wall time, CPU and memory of both imports."""
    with tempfile.TemporaryDirectory(prefix="bench-load-") as folder:
        environment = child_environment(**settings_of(Path(folder)))

        def load(module: str) -> Cost:
            return run([sys.executable, "-c", f"import {module}"], env=environment, cwd=Path(__file__).parents[1])

        load("credit_assets.definitions")  # Leaves byte code behind.
        costs = paired(lambda: load("credit_assets.definitions"), lambda: load("dagster"), 3 if quick else 11)
    what = "code location"
    return [
        *compared(TARGET, what, *costs, peer_is="import dagster", limit=LIMIT),
        *compared(TARGET, what, *costs, peer_is="import dagster", limit=None, figures=("peak",)),
    ]
