"""What orchestration costs: the daily job with its work taken out (`benchmarks.stubbed`), as a whole process.

Held against `python -c "import dagster"`: with the executor that a laptop gets by default, and with every step in a
process of its own. Also where the time goes: by imported package and by step.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from benchmarks.daily import JOB
from benchmarks.data import Home
from benchmarks.processes import Cost, child_environment, paired, run
from benchmarks.report import Row, compared, figure

TARGET = "2 overhead"
DAY = date(2024, 1, 10)
LIMIT, LIMIT_APART = 3.5, 8.0
_SHOWN = 8


def measure(quick: bool) -> list[Row]:
    """Wall time and CPU of the stubbed job by executor, then its imports and steps."""
    repeats = 1 if quick else 5
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="bench-overhead-") as folder:
        # No day before this one: nothing upstream of the run is looked for.
        home = Home(Path(folder), start_date=DAY)
        home.path.mkdir()
        home.run("benchmarks.overhead")
        home.prepared()
        for what, executor, limit in (
            ("all steps stubbed, default executor", None, LIMIT),
            ("all steps stubbed, a process for each step", "multiprocess", LIMIT_APART),
        ):
            home.environment.pop("CREDIT_EXECUTOR", None)
            if executor:
                home.environment["CREDIT_EXECUTOR"] = executor

            def ours() -> Cost:
                home.restore()
                return home.run("benchmarks.run_job", "benchmarks.stubbed", JOB, DAY.isoformat())

            if not rows:
                ours()  # Leaves byte code behind.
            rows += compared(TARGET, what, *paired(ours, bare, repeats), peer_is="import dagster", limit=limit)
            ends = timeline(home)
            rows += [
                Row(TARGET, f"{'each' if executor else 'default'}: {name}", seconds, None, "s", "", None)
                for name, seconds in ends.items()
            ]
            _draw_steps(f"overhead_steps_{executor or 'default'}", ends)
        home.environment.pop("CREDIT_EXECUTOR", None)
        home.restore()
        packages = imports(home)
    rows += [
        Row(TARGET, f"import of {name}", seconds, None, "s", "", None, note="" if n else "default executor, own time")
        for n, (name, seconds) in enumerate(packages.items())
    ]
    with figure("overhead_imports") as axes:
        axes.barh(list(packages)[::-1], list(packages.values())[::-1])
        axes.set_xlabel("seconds of import, each package's own modules")
    return rows


def bare() -> Cost:
    """`import dagster` in a fresh interpreter."""
    return run([sys.executable, "-c", "import dagster"], env=child_environment())


def timeline(home: Home) -> dict[str, float]:
    """Seconds of the last run by part, from its event log: before the first step, each step, after the last.

    Steps that run side by side overlap, so that the parts may add up to more than the run.
    """
    code = "from benchmarks.overhead import print_timeline; print_timeline()"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env=child_environment(**home.environment),
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.split("\t") for line in found.stdout.splitlines() if "\t" in line]
    return {name: float(seconds) for name, seconds in lines}


def print_timeline() -> None:
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        (run_record,) = instance.get_run_records(limit=1)
        entries = instance.all_logs(run_record.dagster_run.run_id)
    at = {
        (entry.dagster_event.event_type_value, entry.step_key): entry.timestamp
        for entry in entries
        if entry.dagster_event
    }
    begun = {step: when for (kind, step), when in at.items() if kind == "STEP_START"}
    ended = {step: when for (kind, step), when in at.items() if kind == "STEP_SUCCESS"}
    print(f"run start to first step\t{min(begun.values()) - at['PIPELINE_START', None]:.4f}")
    for step, when in sorted(begun.items(), key=lambda item: item[1]):
        print(f"step {step}\t{ended[step] - when:.4f}")
    print(f"last step to run end\t{at['PIPELINE_SUCCESS', None] - max(ended.values()):.4f}")
    print(f"whole run\t{at['PIPELINE_SUCCESS', None] - at['PIPELINE_START', None]:.4f}")


def imports(home: Home) -> dict[str, float]:
    """Seconds that the import of each top package took in the stubbed job, its own modules only; the largest first.

    Measured by the interpreter itself (-X importtime), which makes every import somewhat slower.
    """
    command = [sys.executable, "-X", "importtime", "-m", "benchmarks.run_job", "benchmarks.stubbed", JOB, str(DAY)]
    with tempfile.NamedTemporaryFile() as log:
        run(command, env=child_environment(**home.environment), cwd=Path(__file__).parents[1], output=log.name)
        text = Path(log.name).read_text("utf-8", errors="replace")
    return by_package(text.splitlines())


def by_package(lines: Sequence[str]) -> dict[str, float]:
    """Seconds by top package from the lines of -X importtime; what is not among the largest comes last as one."""
    spent: Counter[str] = Counter()
    for line in lines:
        found = re.match(r"import time:\s*(\d+) \|\s*\d+ \|\s*(\S+)", line)
        if found:
            top = found[2].split(".")[0]
            spent["standard library" if top in sys.stdlib_module_names else top] += int(found[1])
    shown = {name: micro / 1e6 for name, micro in spent.most_common(_SHOWN)}
    shown["all others"] = sum(spent.values()) / 1e6 - sum(shown.values())
    return shown


def _draw_steps(name: str, parts: dict[str, float]) -> None:
    with figure(name) as axes:
        axes.barh(list(parts)[::-1], list(parts.values())[::-1])
        axes.set_xlabel("seconds")


if __name__ == "__main__":
    from credit_assets.instance.home import ensure_instance
    from credit_assets.settings import load_settings

    ensure_instance(load_settings())
