"""A year of days one after another in one process, with everything on and a training every day: what grows.

Run: `python -m benchmarks soak`. A small book is lived day by day (`benchmarks.soak_days`): the schedule, the daily run
with training, registration, trial, scores and reports, and a tick of every sensor. Messages go to a service of this
machine. Beside CPU, memory, open files and ticks it measures how many bytes and files a day leaves, and where.

A young and an old house are looked at by Dagster's real daemon besides, with the code server that it starts: what a
minute costs, its memory, its open files, and how long its ticks took. Its sensors go on from where those of the days
stood, as they would have had the daemon lived them.

Days differ: one registers a version, another rejects its candidate. So the first days after all windows are full are
held against the last ones by their medians, and a slope has the interval of a bootstrap over weeks.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dagster as dg
import numpy as np
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorState, TickStatus
from numpy.typing import NDArray

from benchmarks.data import Home, days_from, write_book
from benchmarks.processes import child_environment, run
from benchmarks.report import Row, figure, number

TARGET = "9 soak"
START = date(2024, 1, 1)
LIMIT = 1.1
"""What a late day may cost of an early one, in CPU and memory."""
_WEEK, _DRAWS = 7, 2000
_CODE = ("-m", "credit_assets.definitions")


@dataclass(frozen=True)
class Plan:
    """`days` of `loans` each; `warm` days until every window is full, and `block` days held against each other;
    `watched`: seconds for which a daemon looks at the young and the old house, 0 for none.
    """

    days: int
    loans: int
    warm: int
    block: int
    watched: float


FULL = Plan(365, 300, 30, 30, 120)
QUICK = Plan(10, 200, 2, 4, 0)


@dataclass(frozen=True)
class Daemon:
    """What a daemon and its code server cost over a house: CPU seconds a minute, bytes, open files, and by sensor the
    median seconds of a tick.
    """

    cpu: float
    memory: int
    files: int
    ticks: Mapping[str, float]


@dataclass(frozen=True)
class Soaked:
    """What was measured, a record a day, and what the daemon said of the young and the old house."""

    plan: Plan
    days: Sequence[Mapping[str, Any]]
    daemons: Mapping[int, Daemon] = field(default_factory=dict)

    def series(self, name: str) -> list[float]:
        """By day: CPU seconds of the run, of all ticks, of all; MiB; open files."""
        return [_FIGURES[name](day) for day in self.days]

    def blocks(self, name: str) -> tuple[float, float]:
        """Medians of the first days after the windows are full and of the last ones."""
        values = self.series(name)
        early = values[self.plan.warm : self.plan.warm + self.plan.block]
        return statistics.median(early), statistics.median(values[-self.plan.block :])

    def slope(self, name: str) -> tuple[float, float, float]:
        """How much a day adds in 100 days, with the ends of its 95% interval."""
        values = np.array(self.series(name)[self.plan.warm :])
        return slope(values, _DRAWS)


def _cpu(day: Mapping[str, Any], *, ticks: bool) -> float:
    return float(sum(cost["cpu"] for name, cost in day["costs"].items() if (name != "run") == ticks))


_FIGURES: dict[str, Callable[[Mapping[str, Any]], float]] = {
    "CPU of the run, s": lambda day: _cpu(day, ticks=False),
    "CPU of the ticks, s": lambda day: _cpu(day, ticks=True),
    "memory, MiB": lambda day: day["memory"] / 2**20,
    "open files": lambda day: float(day["files"]),
    "threads": lambda day: float(day["threads"]),
}


def slope(values: NDArray[np.float64], draws: int) -> tuple[float, float, float]:
    """Least squares over 100 days, and a 95% interval: residuals are drawn in whole weeks, since days are alike that
    follow one another.

    >>> found = slope(np.arange(100.0), 10)
    >>> [round(one, 6) for one in found]
    [100.0, 100.0, 100.0]
    """
    days = np.arange(len(values))
    gradient, level = np.polyfit(days, values, 1)
    fitted = level + gradient * days
    left, random = values - fitted, np.random.default_rng(1)
    width = min(_WEEK, len(values))
    begins = random.integers(0, len(values) - width + 1, size=(draws, -(-len(values) // width)))
    again = [
        np.polyfit(days, fitted + np.concatenate([left[b : b + width] for b in some])[: len(values)], 1)[0]
        for some in begins
    ]
    low, high = np.quantile(again, (0.025, 0.975))
    # What does not move at all comes out as some 1e-15.
    growth, least, most = (round(float(one) * 100, 9) for one in (gradient, low, high))
    return growth, least, most


def soak(plan: Plan) -> Soaked:
    """Live the days. Raises RuntimeError where one fails."""
    with tempfile.TemporaryDirectory(prefix="bench-soak-") as name, message_service() as address:
        folder = Path(name)
        home = Home(
            folder,
            start_date=START,
            performance_window_days=2,
            lookback_days=8,
            test_share=0.4,
            variants="lightgbm",
            max_rounds=10,
            early_stopping_rounds=10,
            promotion="shadow",
            drift_window_days=7,
            performance_cohort_days=7,
            threads=1,
            alert_urls=address,
        )
        book, sink = folder / "book.duckdb", folder / "days.jsonl"
        write_book(book, dict.fromkeys(days_from(START, plan.days), plan.loans), outcome_days=2)
        pauses = [plan.warm + plan.block, plan.days] if plan.watched else []
        command = ["-m", "benchmarks.soak_days", START.isoformat(), str(plan.days), str(book), str(sink)]
        environment = child_environment(**home.environment)
        daemons: dict[int, Daemon] = {}
        with (folder / "output").open("wb") as output:
            worker = subprocess.Popen(
                [sys.executable, *command, *map(str, pauses)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=environment,
                cwd=Path(__file__).parents[1],
                text=True,
            )
            assert worker.stdin is not None
            for pause in pauses:
                while worker.poll() is None and _lines(sink) < pause:
                    time.sleep(1)
                if worker.poll() is not None:
                    break
                daemons[pause] = watched(home, plan.watched, json.loads(sink.read_bytes().splitlines()[-1])["cursors"])
                worker.stdin.write("\n")
                worker.stdin.flush()
            if worker.wait():
                raise RuntimeError(f"the days ended with {worker.returncode}: {_tail(folder / 'output')}")
        return Soaked(plan, [json.loads(line) for line in sink.read_text("utf-8").splitlines()], daemons)


def _lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


def _tail(file: Path) -> str:
    return file.read_text("utf-8", errors="replace")[-2000:].strip()


@contextlib.contextmanager
def message_service() -> Iterator[str]:
    """A service that takes messages, as an Apprise URL."""

    class Taken(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Taken)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"json://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


# The daemon


def watched(home: Home, seconds: float, cursors: Mapping[str, str | None]) -> Daemon:
    """What Dagster's daemon and its code server cost over this house, once they have loaded and each sensor has
    ticked twice from its cursor on.
    """
    dagster = Path(sys.executable).with_name("dagster")
    environment = child_environment(**home.environment)
    # Those too that the settings leave off. A cursor stands with a sensor's state, which this makes.
    everything = [str(dagster), "sensor", "start", "--start-all", *_CODE]
    run(everything, env=environment, cwd=Path(__file__).parents[1], output=home.path.parent / "start")
    with patch.dict(os.environ, home.environment), dg.DagsterInstance.get() as instance:
        for state in _sensors(instance):
            data = state.sensor_instigator_data
            if data is not None and (cursor := cursors.get(state.instigator_name)):
                instance.update_instigator_state(state.with_data(data._replace(cursor=cursor)))
        with _daemon(home) as daemon:
            _await_ticks(instance, daemon, 2)
            first, since, settled = _family(daemon.pid), time.monotonic(), time.time()
            time.sleep(seconds)
            last, spent = _family(daemon.pid), time.monotonic() - since
        ticks = {name: statistics.median(some) for name, some in _ticks(instance, settled).items() if some}
    cpu = sum(cpu - first.get(pid, (0.0, 0, 0))[0] for pid, (cpu, _, _) in last.items())
    memory, files = sum(one[1] for one in last.values()), sum(one[2] for one in last.values())
    return Daemon(cpu / spent * 60, memory, files, ticks)


@contextlib.contextmanager
def _daemon(home: Home) -> Iterator[subprocess.Popen[bytes]]:
    command = [str(Path(sys.executable).with_name("dagster-daemon")), "run", *_CODE]
    with (home.path.parent / "daemon").open("wb") as output:
        daemon = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            env=child_environment(**home.environment),
            cwd=Path(__file__).parents[1],
            start_new_session=True,
        )
    try:
        yield daemon
        if daemon.poll() is not None:
            raise RuntimeError(f"the daemon ended: {_tail(home.path.parent / 'daemon')}")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(daemon.pid, signal.SIGTERM)
        daemon.wait()


def _await_ticks(instance: dg.DagsterInstance, daemon: subprocess.Popen[bytes], times: int) -> None:
    """Until each sensor has ticked so often from now on. Raises RuntimeError where one does not."""
    since, deadline = time.time(), time.monotonic() + 300
    while min(map(len, _ticks(instance, since).values())) < times:
        if daemon.poll() is not None:
            return
        if time.monotonic() > deadline:
            some = [name for name, ticks in _ticks(instance, since).items() if len(ticks) < times]
            raise RuntimeError(f"sensors that do not tick: {', '.join(some)}")
        time.sleep(1)


def _ticks(instance: dg.DagsterInstance, since: float) -> dict[str, list[float]]:
    """By sensor, the seconds of each tick that began since then and has ended well."""
    ended = [TickStatus.SKIPPED, TickStatus.SUCCESS]
    return {
        state.instigator_name: [
            tick.end_timestamp - tick.timestamp
            for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id, after=since, statuses=ended)
            if tick.end_timestamp
        ]
        for state in _sensors(instance)
    }


def _sensors(instance: dg.DagsterInstance) -> Sequence[InstigatorState]:
    return instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)


def _family(leader: int) -> dict[int, tuple[float, int, int]]:
    """Of each process of a session: CPU seconds, resident bytes, open files (Linux)."""
    found: dict[int, tuple[float, int, int]] = {}
    clock, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text("ascii", errors="replace").rpartition(")")[2].split()
            if int(fields[3]) == leader:
                cpu = (int(fields[11]) + int(fields[12])) / clock
                found[int(folder.name)] = (cpu, int(fields[21]) * page, len(os.listdir(folder / "fd")))
    return found


# What it says


def left_a_day(soaked: Soaked) -> dict[str, tuple[float, float, int]]:
    """By part: bytes and files that a day leaves once the windows are full, and bytes at the end."""
    looks = [(number, day["sizes"]) for number, day in enumerate(soaked.days) if "sizes" in day]
    (begin, early), (end, late) = next(one for one in looks if one[0] >= soaked.plan.warm), looks[-1]
    return {
        part: ((late[part][1] - early[part][1]) / (end - begin), (late[part][0] - early[part][0]) / (end - begin), held)
        for part, (_, held) in late.items()
        if end > begin
    }


def rows(soaked: Soaked) -> list[Row]:
    """Late days held against early ones, and what a day leaves."""
    plan = soaked.plan
    before = f"days {plan.warm + 1} to {plan.warm + plan.block}"
    found = []
    limit: float | None
    for name, limit in (
        ("CPU of the run, s", LIMIT),
        ("CPU of the ticks, s", LIMIT),
        ("memory, MiB", LIMIT),
        ("open files", 1.0),
    ):
        early, late = soaked.blocks(name)
        what, _, unit = name.partition(", ")
        found.append(Row(TARGET, f"{what}, last {plan.block} of {plan.days} days", late, early, unit, before, limit))
    ages = sorted(soaked.daemons)
    if len(ages) == 2:
        young, old = (soaked.daemons[age] for age in ages)
        for what, values, unit, limit in (
            ("CPU of a minute", (young.cpu, old.cpu), "s", LIMIT),
            ("memory", (young.memory / 2**20, old.memory / 2**20), "MiB", LIMIT),
            ("open files", (young.files, old.files), "", None),
            ("a tick of each sensor", (sum(young.ticks.values()), sum(old.ticks.values())), "s", LIMIT),
        ):
            peer = f"after {ages[0]} days"
            found.append(Row(TARGET, f"daemon, {what}, after {ages[1]} days", values[1], values[0], unit, peer, limit))
    left = left_a_day(soaked)
    for name, place, unit in (("bytes", 0, "KB"), ("files", 1, "files")):
        total = sum(one[place] for one in left.values()) / (1000 if unit == "KB" else 1)
        found.append(Row(TARGET, f"a day leaves, {name}", total, None, unit, "", None))
    return found


def markdown(soaked: Soaked) -> str:
    """Slopes, and what a day leaves by part."""
    plan = soaked.plan
    lines = [f"{len(soaked.days)} days of {plan.loans} loans; days that ended otherwise than well: "]
    lines[0] += f"{sum(day['ended'] != 'success' for day in soaked.days)}."
    lines += ["", "| figure | early | late | more in 100 days (95%) |", "|---|---:|---:|---:|"]
    for name in _FIGURES:
        early, late = soaked.blocks(name)
        more, low, high = soaked.slope(name)
        lines.append(f"| {name} | {number(early)} | {number(late)} | {more:+.3g} ({low:+.3g} to {high:+.3g}) |")
    if soaked.daemons:
        lines += ["", "| tick by the daemon, ms | " + " | ".join(f"after {age} days" for age in soaked.daemons) + " |"]
        lines.append("|---|" + "---:|" * len(soaked.daemons))
        for name in sorted({name for daemon in soaked.daemons.values() for name in daemon.ticks}):
            took = [f"{daemon.ticks.get(name, 0.0) * 1000:.0f}" for daemon in soaked.daemons.values()]
            lines.append(f"| `{name}` | " + " | ".join(took) + " |")
    lines += ["", "| what a day leaves | bytes | files | bytes at the end |", "|---|---:|---:|---:|"]
    for part, (held, files, end) in left_a_day(soaked).items():
        lines.append(f"| {part} | {held:,.0f} | {files:.1f} | {end:,} |")
    return "\n".join(lines)


def draw(soaked: Soaked) -> None:
    with figure("soak") as axes:
        for name in ("CPU of the run, s", "CPU of the ticks, s"):
            axes.plot(range(1, len(soaked.days) + 1), soaked.series(name), ".", markersize=3, label=name)
        axes.plot(range(1, len(soaked.days) + 1), [one / 100 for one in soaked.series("memory, MiB")], label="100 MiB")
        axes.set_xlabel(f"day ({soaked.plan.loans} loans each, a training every day)")
        axes.set_ylim(bottom=0)
        axes.legend()


def main(plan: Plan) -> Soaked:
    """Live the days and draw them."""
    soaked = soak(plan)
    draw(soaked)
    return soaked
