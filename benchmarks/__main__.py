"""Run the benchmarks: `python -m benchmarks [NAME ...] [--quick]`, all of them without a name.

One table is printed: what, ours, peer, ratio, limit, met or not. Each benchmark's result is kept as JSON beside its
plots in `benchmarks/results`, with the machine, and all that are kept are written into `docs/benchmarks.md`. So parts
can be measured on different occasions. One that fails is shown as failed, the others go on, and the exit code is 1.

`--quick` shows within three minutes that they run; its sizes are too small to judge by, and its results are kept apart.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import report
from benchmarks.report import REPORT, RESULTS, Result, Row, filled, in_words, machine

Measure = Callable[[bool], Sequence[Row]]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, print, keep the results.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(BENCHMARKS)}; none: all of them")
    parser.add_argument("--quick", action="store_true", help="very small runs, kept apart from the results")
    parser.add_argument("--table", action="store_true", help="measure nothing: print and write what is kept")
    parser.add_argument("--results", type=Path, help="folder of the results", default=None)
    asked = parser.parse_args(argv)
    unknown = [name for name in asked.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"unknown benchmark {', '.join(unknown)}; known: {', '.join(BENCHMARKS)}")
    folder = asked.results or (quick_folder() if asked.quick else RESULTS)
    names = [] if asked.table else asked.names or list(BENCHMARKS)
    if asked.quick and len(names) > 1:
        done = two_at_a_time(names, folder)
    else:
        done = [measured(name, asked.quick, folder) for name in names]
    kept = {result.name: result for result in report.merge(folder)}
    # Failures stand in the table and nowhere else; of a partial run only its part is printed.
    shown = in_order(done or list(kept.values()))
    show(shown, asked.quick)
    if not asked.quick and folder == RESULTS and kept:
        write(report.markdown(in_order([one for one in kept.values() if one.rows])))
    return 1 if any(result.failed for result in done) else 0


def measured(name: str, quick: bool, folder: Path) -> Result:
    """Run one benchmark and keep its result; whatever goes wrong in it becomes a failed result."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    begun, before = time.perf_counter(), _plots(folder)
    rows: Sequence[Row] = ()
    failed = ""
    with report.keeping_in(folder):
        try:
            rows = BENCHMARKS[name](quick)
        except Exception as error:
            traceback.print_exc()
            failed = f"{type(error).__name__}: {error}"
    result = Result(
        name=name,
        quick=quick,
        measured_at=report.now(),
        seconds=round(time.perf_counter() - begun, 1),
        machine=machine(),
        rows=tuple(rows),
        failed=failed,
        plots=tuple(sorted(plot for plot, when in _plots(folder).items() if before.get(plot) != when)),
    )
    report.keep(result, folder)
    print(f"{name}: {'FAILED' if failed else 'done'} after {result.seconds:g} s", file=sys.stderr, flush=True)
    return result


def two_at_a_time(names: Sequence[str], folder: Path) -> list[Result]:
    """Quick runs, each in a process of its own: they show that a benchmark runs, and their times are not judged."""

    def run(name: str) -> Result:
        command = [sys.executable, "-m", "benchmarks", name, "--quick", "--results", str(folder)]
        begun = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True)
        seconds = round(time.perf_counter() - begun, 1)
        print(f"{name}: {'FAILED' if done.returncode else 'done'} after {seconds:g} s", file=sys.stderr, flush=True)
        if done.returncode == 0:
            return Result.from_record(json.loads((folder / f"{name}.json").read_bytes()))
        print(done.stderr, file=sys.stderr)
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return Result(name, True, report.now(), seconds, machine(), (), failed=last, plots=())

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(run, names))


def _plots(folder: Path) -> Mapping[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in folder.glob("*.png")}


def in_order(results: Sequence[Result]) -> list[Result]:
    names = list(BENCHMARKS)
    return sorted(results, key=lambda one: names.index(one.name) if one.name in names else len(names))


def show(results: Sequence[Result], quick: bool) -> None:
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(report.table(results))
    if quick:
        console.print("A quick run: small sizes, one pair each. Whether a target is met shows in the full run alone.")
    for words in dict.fromkeys(in_words(result.machine) for result in results):
        console.print(f"[dim]{words}[/]")


def write(text: str) -> None:
    """The table into the report."""
    report.write_atomically(REPORT, filled(REPORT.read_text("utf-8"), report.MERGED, text).encode())
    print(f"Written into {REPORT}", file=sys.stderr)


def quick_folder() -> Path:
    """Where quick results lie; git does not look into it."""
    folder = RESULTS / "quick"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n", "utf-8")
    return folder


def _module(name: str) -> Measure:
    def measure(quick: bool) -> Sequence[Row]:
        # Imported when it is its turn: what one needs and another lacks is that one's failure.
        found: Sequence[Row] = importlib.import_module(f"benchmarks.{name}").measure(quick)
        return found

    return measure


def section(name: str, text: str, quick: bool) -> None:
    """Print a benchmark's own section of the report, and write it there unless it was a quick run."""
    print(f"\n{text}\n")
    if not quick:
        section = f"{text}\n\nMeasured on {in_words(machine())}"
        report.write_atomically(REPORT, filled(REPORT.read_text("utf-8"), name, section).encode())


def _detection(quick: bool) -> Sequence[Row]:
    from benchmarks import detection, drift_errors

    days = detection.markdown(detection.main(detection.QUICK if quick else detection.FULL))
    columns = drift_errors.markdown(*(drift_errors.main(10, shifted_books=2) if quick else drift_errors.main()))
    section("detection", f"{days}\n\n{columns}", quick)
    return ()


def _population(quick: bool) -> Sequence[Row]:
    from benchmarks import population

    section("population", population.main(20_000, 1, 20_000) if quick else population.main(), quick)
    return ()


def _ticks(quick: bool) -> Sequence[Row]:
    from benchmarks import ticks

    costs = ticks.main(3 if quick else ticks.TICKS)
    section("ticks", ticks.markdown(costs), quick)
    return ticks.rows(costs)


def _decisions(quick: bool) -> Sequence[Row]:
    from benchmarks import decisions

    rows, text = decisions.measure(quick)
    section("decisions", text, quick)
    return rows


def _first_days(quick: bool) -> Sequence[Row]:
    from benchmarks import first_days

    found = first_days.main(first_days.QUICK if quick else first_days.FULL, first_days.real_loans())
    section("first_days", first_days.markdown(found), quick)
    return ()


def _soak(quick: bool) -> Sequence[Row]:
    from benchmarks import soak

    found = soak.main(soak.QUICK if quick else soak.FULL)
    section("soak", soak.markdown(found), quick)
    return soak.rows(found)


BENCHMARKS: dict[str, Measure] = {
    **{name: _module(name) for name in ("daily", "overhead", "load")},
    "ticks": _ticks,
    **{
        name: _module(name)
        for name in ("backfill", "rows", "training", "scoring", "reasons", "caching", "warehouse", "histories")
    },
    **{name: _module(name) for name in ("distributed", "gpu")},
    "detection": _detection,
    "first_days": _first_days,
    "decisions": _decisions,
    "population": _population,
    "soak": _soak,
}
SECTIONS = (report.MERGED, "detection", "first_days", "decisions", "population", "ticks", "soak")
"""Parts of the report that are written here."""

if __name__ == "__main__":
    sys.exit(main())
