"""The days of a soak, lived in one process: `python -m benchmarks.soak_days FIRST DAYS BOOK FILE [PAUSE ...]`.

Every day is what a deployment does on it: its loans come into the warehouse out of BOOK, the schedule is told the time
and asks for the daily run, which is made here, and then every sensor ticks twice, once to do and once to find nothing.
A line of JSON a day goes to FILE: CPU of the run and of each tick, memory, open files and threads of this process,
and, every few days, how much there is of what. After so many days as a PAUSE says it waits for a line on stdin; the
last line has how far each sensor has read then.

Belongs here: living and measuring. Does not belong here: the book, and what the figures say (`soak`).
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

SIZES_EVERY = 5
"""Days between two looks at the files."""
PARTS = (
    ("event log", "dagster/event_log.db*"),
    ("run records", "dagster/history/*"),
    ("ticks", "dagster/schedules/*"),
    ("output of steps", "dagster/storage/**/*"),
    ("MLflow's database", "mlflow/mlflow.db*"),
    ("MLflow's artifacts", "mlflow/artifacts/**/*"),
    ("training sets", "store/*training_set/**/*"),
    ("kept with versions", "store/kept/**/*"),
    ("journal", "store/claims/journal/*"),
    ("claims of runs", "store/claims/mlflow-runs/**/*"),
    ("logs of moves and requests, other claims", "store/claims/**/*"),
    ("counts of partitions", "store/counted/**/*"),
    ("quarantined rows", "store/quarantine/**/*"),
    ("other partitions, records, figures", "store/**/*"),
    ("everything else", "**/*"),
)
"""What there is, each file in the first part whose pattern it fits."""


def main(first: date, days: int, book: Path, sink: Path, pauses: Sequence[int] = ()) -> None:
    from credit_assets.instance.home import instance_of
    from credit_assets.settings import load_settings

    settings = load_settings()
    warehouse = Path(settings.warehouse.removeprefix("duckdb:///"))
    with instance_of(settings) as instance, sink.open("a", encoding="utf-8") as file:
        living = Living(settings, instance)
        for number in range(days):
            day = first + timedelta(number)
            arrive(warehouse, book, day)
            record = living.day(day)
            if number % SIZES_EVERY == 0 or number == days - 1:
                record["sizes"] = sizes(settings.home_dir)
            pause = number + 1 in pauses
            if pause:
                record["cursors"] = living.ticks.cursors
            file.write(json.dumps(record) + "\n")
            file.flush()
            if pause:
                sys.stdin.readline()


def arrive(warehouse: Path, book: Path, day: date) -> None:
    """The applications of a day, and the outcomes that become known on it, come into the warehouse."""
    import duckdb

    with duckdb.connect(str(warehouse)) as connection:
        connection.execute(f"ATTACH '{book}' AS book (READ_ONLY)")
        for table, column in (("loan_applications", "application_date"), ("loan_outcomes", "outcome_date")):
            connection.execute(f"CREATE TABLE IF NOT EXISTS {table} AS SELECT * FROM book.{table} LIMIT 0")
            connection.execute(f"INSERT INTO {table} SELECT * FROM book.{table} WHERE {column} = ?", [day])


class Living:
    """One house whose days follow one another."""

    def __init__(self, settings: Any, instance: Any) -> None:
        from credit_assets.automation.jobs import DAILY_SCHEDULE
        from credit_assets.build import build_definitions
        from credit_assets.cli.sensor_ticks import SensorTicks
        from credit_assets.resources import objects_of
        from credit_assets.stages import DAILY

        self.settings, self.instance = settings, instance
        definitions = build_definitions(settings)
        self.ticks = SensorTicks(settings, instance, definitions)
        self.tracking = objects_of(definitions)["tracking"]
        self.job = definitions.resolve_job_def(settings.naming.dagster(DAILY))
        self.schedule = settings.naming.dagster(DAILY_SCHEDULE)
        self.sensors = [one.name for one in self.ticks.repository.sensor_defs]

    def day(self, day: date) -> dict[str, Any]:
        """Live it; what it cost and how large the process is after it. Raises RuntimeError where its run fails for
        another reason than a gate.
        """
        costs: dict[str, dict[str, float]] = {}
        with _measured(costs, "schedule"):
            now = datetime.combine(day + timedelta(1), datetime.min.time(), ZoneInfo(self.settings.timezone))
            (request,) = self.ticks.schedule(self.schedule, now.replace(hour=6))
        with _measured(costs, "run"):
            ended = self._run(request)
        asked = 0
        for name in self.sensors:
            with _measured(costs, f"{name}, first"):
                asked += len(self.ticks.sensor(name))
            with _measured(costs, f"{name}, nothing new"):
                self.ticks.sensor(name)
        return {"day": day.isoformat(), "ended": ended, "asked": asked, "costs": costs, **_process()}

    def _run(self, request: Any) -> str:
        from credit_assets.assets.runs import QUIET, failures
        from credit_assets.instance.lost_runs import in_this_process

        result = self.job.execute_in_process(
            instance=self.instance,
            raise_on_error=False,
            run_config=QUIET,
            partition_key=request.partition_key,
            asset_selection=request.asset_selection,
            **in_this_process(request.tags),
        )
        self.tracking.runs.close(result.run_id, "SUCCESS" if result.success else "FAILURE")
        if not result.success:
            found = failures(result)
            if not all(gate for gate, _ in found):
                raise RuntimeError(f"{request.partition_key}: {'; '.join(reason for _, reason in found)}")
            return "stopped by a gate"
        return "success"


@contextmanager
def _measured(costs: dict[str, dict[str, float]], name: str) -> Iterator[None]:
    cpu, wall = time.process_time(), time.perf_counter()
    yield
    costs[name] = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


def _process() -> dict[str, int]:
    """Resident memory in bytes, open files and threads of this process (Linux)."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return {
        "memory": pages * os.sysconf("SC_PAGE_SIZE"),
        "files": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
    }


def sizes(home: Path) -> dict[str, list[int]]:
    """Files and bytes of each part of a home. A file with two names counts where it is met first."""
    seen: set[tuple[int, int]] = set()
    found = {}
    for name, pattern in PARTS:
        count = held = 0
        for path in home.glob(pattern):
            try:
                there = path.lstat()
            except FileNotFoundError:  # What was written aside is gone by now.
                continue
            if path.is_dir() or (there.st_dev, there.st_ino) in seen:
                continue
            seen.add((there.st_dev, there.st_ino))
            count, held = count + 1, held + there.st_size
        found[name] = [count, held]
    return found


if __name__ == "__main__":
    main(
        date.fromisoformat(sys.argv[1]),
        int(sys.argv[2]),
        Path(sys.argv[3]),
        Path(sys.argv[4]),
        [int(one) for one in sys.argv[5:]],
    )
