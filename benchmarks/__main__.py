"""Run the benchmarks: `python -m benchmarks [detection] [ticks] [--quick]`, all of them without a name.

What was measured is printed, and written into `docs/benchmarks.md` between the markers of that benchmark, with the
machine. `--quick` shows in half a minute that they run; so little is measured that nothing is written.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

REPORT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
_LIBRARIES = ("dagster", "mlflow", "lightgbm", "numpy", "pandas", "pyarrow", "scipy")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, print, write the report.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"{' or '.join(BENCHMARKS)}; none: all of them")
    parser.add_argument("--quick", action="store_true", help="a very small run that writes nothing")
    asked = parser.parse_args()
    unknown = [name for name in asked.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"unknown benchmark {', '.join(unknown)}; known: {', '.join(BENCHMARKS)}")
    for name in asked.names or BENCHMARKS:
        text = BENCHMARKS[name](asked.quick)
        print(f"\n{text}\n")
        if not asked.quick:
            REPORT.write_text(filled(REPORT.read_text("utf-8"), name, f"{text}\n\n{machine()}"), encoding="utf-8")
            print(f"Written into {REPORT}")


def filled(report: str, name: str, text: str) -> str:
    """The report with `text` between the markers of this benchmark. Raises ValueError where it has no such place."""
    begin, end = f"<!-- {name}: written by make bench -->", f"<!-- {name}: end -->"
    before, found, rest = report.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"the report has no place for {name!r}: it needs the lines {begin!r} and {end!r}")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def machine() -> str:
    """What the figures hold for."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    return (
        f"Measured on {cores} cores ({platform.system()}, {platform.machine()}), Python {platform.python_version()}, "
        f"{libraries}."
    )


def _detection(quick: bool) -> str:
    from benchmarks import detection

    return detection.markdown(detection.main(detection.QUICK if quick else detection.FULL))


def _ticks(quick: bool) -> str:
    from benchmarks import ticks

    costs = ticks.main(3 if quick else ticks.TICKS)
    head = ["sensor", "tick", f"CPU, {ticks.FEW} partitions", f"CPU, {ticks.MANY:,}", "more"]
    head += [f"wall, {ticks.FEW} partitions", f"wall, {ticks.MANY:,}", "more"]
    rows = [
        [f"`{one.sensor}`", one.tick]
        + [f"{value:.1f}" for value in one.cpu]
        + [f"{one.cpu_more:+.1f}"]
        + [f"{value:.1f}" for value in one.wall]
        + [f"{one.wall_more:+.1f}"]
        for one in costs
    ]
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * 2 + ["---:"] * 6, *rows)]
    return "\n".join(lines) + "\n\nMilliseconds a tick, medians; `more` is the median of the differences of pairs."


BENCHMARKS: dict[str, Callable[[bool], str]] = {"detection": _detection, "ticks": _ticks}

if __name__ == "__main__":
    main()
