"""Whether decisions hold: planted faults and what stopped them, promotions by chance, and power.

Belongs here: what is measured, and how much. Does not belong here: the tables (`decision_tables`), books and homes
(`decision_books`), faults (`decision_faults`), copies and gaps (`decision_inputs`), comparisons by chance
(`decision_rates`, `decision_pipeline_years`), and any rule.

Each part is kept as a file of its own in `results/decisions`, so that `python -m benchmarks.decisions faults` measures
one anew; the tables are of all that are kept. `faults_plain.json` and `gaps_plain.json` hold what the same came to
before these rules: the best of three on the test, an AUC that is larger by 0.005, and an ECE of at most 0.05.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from itertools import repeat
from pathlib import Path
from typing import Any

from benchmarks.decision_books import Prepared, make_book, prepare
from benchmarks.decision_faults import FAULTS, run_case, sound_trainings
from benchmarks.decision_inputs import copies as copied
from benchmarks.decision_inputs import gaps as missing
from benchmarks.decision_pipeline_years import Lived
from benchmarks.decision_rates import KINDS, Kind, Rule, by_setting, default, live, null_rate, plain, power, waiting
from benchmarks.decision_tables import SCHEDULES, Records, keep, kept, markdown, picture, rows
from benchmarks.report import Row


@dataclass(frozen=True)
class Plan:
    """How much is measured. `loans` a day of the books with faults, one book a seed; weekly trainings on `sound` books,
    and simulated `years`, both by loans a day; years of the pipeline's own functions; comparisons of each power; years
    in which every model is better (`waits`).
    """

    loans: int
    seeds: tuple[int, ...]
    faults: tuple[str, ...]
    sound: dict[int, int]
    years: dict[int, int]
    pipeline_years: int
    comparisons: int
    waits: int
    processes: int = 2
    bads: tuple[int, ...] = (50, 100, 400, 1600)
    gains: tuple[float, ...] = (0.005, 0.01, 0.019, 0.03, 0.05)
    correlations: tuple[float | None, ...] = (0.9, None)


FULL = Plan(
    loans=200,
    seeds=(1,),
    faults=tuple(fault.name for fault in FAULTS),
    sound={20: 26, 100: 26},
    years={20: 20, 100: 40, 400: 10},
    pipeline_years=3,
    comparisons=150,
    waits=10,
)
QUICK = Plan(
    loans=100,
    seeds=(1,),
    faults=("none", "leak of AUC 0.85", "PDs of a thousandth of the odds"),
    sound={100: 1},
    years={20: 4},
    pipeline_years=0,
    comparisons=20,
    waits=2,
    bads=(100,),
)


def measure(quick: bool) -> tuple[Sequence[Row], str]:
    """Rows for the table of all benchmarks, and the section of the report."""
    plan = QUICK if quick else FULL
    found = {name: part(plan) for name, part in PARTS.items()}
    for name, records in found.items():
        keep(name, records)
    picture(found["power"])
    return rows(found), markdown(found)


# The parts


def faults(plan: Plan) -> Records:
    """Every fault on every book."""
    wanted = [fault for fault in FAULTS if fault.name in plan.faults]
    folder = Path(tempfile.mkdtemp(prefix="bench-decisions-"))
    # A home is prepared once for all processes.
    try:
        with ProcessPoolExecutor(plan.processes, initializer=_quiet) as pool:
            list(pool.map(_prepared, repeat(folder), repeat(plan.loans), plan.seeds))
            asked = [(folder, plan.loans, seed, fault.name) for seed in plan.seeds for fault in wanted]
            return list(pool.map(_verdict, *zip(*asked, strict=True)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _quiet() -> None:
    import logging

    os.environ["OMP_NUM_THREADS"] = "1"
    logging.getLogger("mlflow").setLevel(logging.ERROR)


def _prepared(folder: Path, loans: int, seed: int) -> None:
    prepare(folder / f"{seed}", make_book(loans, seed))


@cache
def _book(folder: Path, loans: int, seed: int) -> Prepared:
    return Prepared(make_book(loans, seed), folder / f"{seed}" / "ingested", folder / f"{seed}" / "champion")


def _verdict(folder: Path, loans: int, seed: int, name: str) -> dict[str, Any]:
    number, fault = next((n, fault) for n, fault in enumerate(FAULTS) if fault.name == name)
    case = folder / f"case-{seed}-{number}"
    try:
        found = run_case(fault, _book(folder, loans, seed), seed, case)
    finally:
        shutil.rmtree(case, ignore_errors=True)
    print(f"  {name}: {found.status}, {', '.join(found.said) or 'nothing said'}", file=sys.stderr, flush=True)
    return found.to_record()


def sound(plan: Plan) -> Records:
    """Trainings on books in which nothing is wrong, through the whole graph."""
    asked = [(loans, count) for loans, count in plan.sound.items()]
    with ProcessPoolExecutor(plan.processes, initializer=_quiet) as pool:
        return [record for records in pool.map(_sound, *zip(*asked, strict=True)) for record in records]


def _sound(loans: int, count: int) -> Records:
    with tempfile.TemporaryDirectory(prefix="bench-decisions-") as folder:
        return [verdict.to_record() for verdict in sound_trainings(loans, 1, count, Path(folder) / "home")]


def null(plan: Plan) -> Records:
    """Promotions a year with no model better than another. Years of other kinds are lived by the default rule alone, on
    the second of the books.
    """
    asked = [(loans, every, years, KINDS[0]) for loans, years in plan.years.items() for every in SCHEDULES]
    loans, years = list(plan.years.items())[:2][-1]
    asked += [(loans, every, years // 2, kind) for kind in KINDS[1:] for every in SCHEDULES]
    with ProcessPoolExecutor(plan.processes) as pool:
        found = pool.map(_null, *zip(*asked, strict=True))
        return [record for records in found for record in records]


def _null(loans: int, every: int, years: int, kind: Kind) -> Records:
    rules = (plain(), by_setting(), default()) if kind == KINDS[0] else (default(),)
    return [asdict(rate) for rate in null_rate(loans, every, rules, years, 1, kind)]


def pipeline(plan: Plan) -> Records:
    """Years of weekly trainings with the functions of the pipeline, on books in which nothing changes."""
    with ProcessPoolExecutor(plan.processes) as pool:
        return [record for records in pool.map(_lived, range(plan.pipeline_years)) for record in records]


def _lived(seed: int) -> Records:
    world = Lived(100, seed, 7)
    return [
        {"seed": seed, "rule": rule.name, "trainings": year.trainings, "claimed": year.claimed}
        for rule in (plain(), by_setting(), default())
        for year in [live(world, 7, rule)]
    ]


def powers(plan: Plan) -> Records:
    """How often a better model is taken."""
    asked = [(bads, gain, alike) for alike in plan.correlations for bads in plan.bads for gain in plan.gains]
    with ProcessPoolExecutor(plan.processes) as pool:
        found = pool.map(_power, *zip(*asked, strict=True), repeat(plan.comparisons))
        return [record for records in found for record in records]


def _power(bads: int, gain: float, correlation: float | None, repeats: int) -> Records:
    rules: list[tuple[Rule, int]] = [(plain(), 1), *((default(), every) for every in SCHEDULES)]
    return [asdict(one) for one in power(bads, gain, rules, repeats, correlation)]


def waits(plan: Plan) -> Records:
    """How long a champion stays that every model of the year is better than."""
    asked = [(loans, every, gain) for loans in list(plan.years)[-2:] for every in SCHEDULES for gain in plan.gains[1:]]
    with ProcessPoolExecutor(plan.processes) as pool:
        found = pool.map(_waited, *zip(*asked, strict=True), repeat(plan.waits))
        return [record for records in found for record in records]


def _waited(loans: int, every: int, gain: float, years: int) -> Records:
    return [asdict(one) for one in waiting(loans, every, gain, (plain(), default()), years, 1)]


def copies(plan: Plan) -> Records:
    """What copies of applications do to the figures of a model."""
    return [asdict(one) for one in copied(plan.loans, 1)]


def gaps(plan: Plan) -> Records:
    """What a rate that is missing when scored does to the PDs of each learner."""
    return [asdict(one) for one in missing(plan.loans, 1)]


PARTS: dict[str, Callable[[Plan], Records]] = {
    "faults": faults,
    "sound": sound,
    "copies": copies,
    "gaps": gaps,
    "null": null,
    "pipeline": pipeline,
    "power": powers,
    "waits": waits,
}


def main(names: Iterable[str]) -> None:
    """Measure these parts, keep them, and write the section of all that are kept."""
    from benchmarks.__main__ import section

    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        keep(name, PARTS[name](FULL))
    found = {name: kept(name) for name in PARTS}
    if found["power"]:
        picture(found["power"])
    section("decisions", markdown(found), quick=False)


if __name__ == "__main__":
    main(sys.argv[1:] or list(PARTS))
