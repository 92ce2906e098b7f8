"""A year of days from the warehouse to scores in one command, against a script without a pipeline (`benchmarks.bare`).

Both read the same DuckDB file and score with the same registered champion, a LightGBM model of 200 trees, trained
beforehand. What both leave is compared, day by day. Then how time and memory grow from one year to ten.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from benchmarks.data import Home, days_from, write_book
from benchmarks.processes import Cost, child_environment, paired, run
from benchmarks.report import Row, compared, figure

TARGET = "4 backfill"
ASSETS = ("raw_loan_data", "loan_outcomes", "processed_features", "loan_scores")
# Seven days that a champion is trained on; then, out of sight of the gate on volumes, the days to be done.
START = date(2014, 1, 1)
TRAINED_ON = 7
FIRST = START + timedelta(TRAINED_ON + 28)
VERSION = "1"
# Sums over the same rows in another order: the last digits differ.
_TEXTS = ("STRING", "VARCHAR")
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Plan:
    """`days` of `loans` each, `repeats` times; then growth over these numbers of days of `few` loans each."""

    days: int
    loans: int
    repeats: int
    growth: tuple[int, ...]
    few: int
    trees: int


FULL = Plan(365, 1_000, 3, (365, 1_825, 3_650), 100, 200)
QUICK = Plan(60, 200, 1, (30, 60), 200, 20)


def measure(quick: bool) -> list[Row]:
    """Wall time, CPU and memory of the year against the bare script, and of ten years."""
    plan = QUICK if quick else FULL
    with tempfile.TemporaryDirectory(prefix="bench-backfill-") as folder:
        days = days_from(FIRST, plan.days)
        home = prepare(Path(folder), dict.fromkeys(days, plan.loans), plan.trees)
        rows = against_bare(
            home,
            ASSETS,
            days,
            plan.repeats,
            f"{plan.days} days of {plan.loans:,} loans",
            limits={"wall": 2.0, "cpu": 2.0},
        )
        if plan.few == plan.loans:
            return rows + growth(home, plan)
    with tempfile.TemporaryDirectory(prefix="bench-growth-") as folder:
        days = days_from(FIRST, plan.growth[-1])
        return rows + growth(prepare(Path(folder), dict.fromkeys(days, plan.few), plan.trees), plan)


def prepare(folder: Path, loans: dict[date, int], trees: int) -> Home:
    """A home with these loans in the warehouse and a champion from before the first of them."""
    home = Home(
        folder,
        start_date=START,
        performance_window_days=2,
        lookback_days=4,
        variants="lightgbm",
        max_rounds=trees,
        early_stopping_rounds=trees,
    )
    write_book(home.warehouse, {**dict.fromkeys(days_from(START, TRAINED_ON), 5_000), **loans}, outcome_days=2)
    home.replay(START, START + timedelta(TRAINED_ON - 1), "last")
    home.prepared()
    return home


def ours(home: Home, assets: tuple[str, ...], first: date, last: date) -> Cost:
    """The one command over a range of days: `credit-assets backfill`."""
    span = ("--start", first.isoformat(), "--end", last.isoformat())
    return home.command("backfill", "--assets", ",".join(assets), *span)


def against_bare(
    home: Home,
    assets: tuple[str, ...],
    days: list[date],
    repeats: int,
    what: str,
    limits: dict[str, float | None],
    *,
    target: str = TARGET,
) -> list[Row]:
    """Rows of the one command against the bare script over these days. Raises AssertionError where outputs differ."""
    (model,) = home.path.glob("mlflow/artifacts/**/scorer.json")
    written = home.path.parent / "bare"

    def one() -> Cost:
        home.restore()
        return ours(home, assets, days[0], days[-1])

    def bare() -> Cost:
        shutil.rmtree(written, ignore_errors=True)
        span = (days[0].isoformat(), days[-1].isoformat())
        command = ["-m", "benchmarks.bare", str(home.warehouse), str(model.parent), VERSION, str(written), *span]
        return run([sys.executable, *command], env=child_environment(), cwd=Path(__file__).parents[1])

    costs = paired(one, bare, repeats)
    for asset in assets:
        same_rows(home.path / "store" / asset, written / asset, days)
    return compared(
        target,
        what,
        *costs,
        peer_is="bare DuckDB/pyarrow",
        limit=None,
        limits=limits,
        figures=("wall", "cpu", "peak"),
        note="outputs are equal",
    )


def same_rows(ours: Path, theirs: Path, days: list[date]) -> None:
    """Raises AssertionError where two folders of partitions differ: columns, rows of a day, texts or sums on a day."""
    import duckdb
    import numpy as np

    found = []
    for folder in (ours, theirs):
        files = [str(folder / f"{day}.parquet") for day in days if (folder / f"{day}.parquet").is_file()]
        if not files:
            raise AssertionError(f"{folder} has none of the {len(days)} days")
        kinds = {name: str(kind) for name, kind, *_ in duckdb.read_parquet(files).description}
        day = next(name for name, kind in kinds.items() if kind == "DATE")
        figures = {
            # Lists of texts too.
            name: f'sum(hash("{name}"))::VARCHAR' if kind.startswith(_TEXTS) else f'sum("{name}")::DOUBLE'
            for name, kind in kinds.items()
            if name != day
        }
        query = ", ".join(f'{figure} AS "{name}"' for name, figure in figures.items())
        by_day = f'SELECT "{day}" AS day, count(*) AS rows, {query} FROM read_parquet(?) GROUP BY 1 ORDER BY 1'
        found.append(duckdb.execute(by_day, [files]).fetchnumpy())
    mine, other = found
    if list(mine) != list(other):
        raise AssertionError(f"{ours.name}: the columns are {', '.join(mine)}, not {', '.join(other)}")
    for name, values in mine.items():
        a, b = np.ma.filled(values, 0), np.ma.filled(other[name], 0)
        same = (
            np.allclose(a, b, rtol=_TOLERANCE, atol=0) if a.dtype.kind == "f" and len(a) == len(b) else (a == b).all()
        )
        if not same:
            raise AssertionError(f"{ours.name}: {name} differs between the pipeline and the bare script")


def growth(home: Home, plan: Plan) -> list[Row]:
    """Time and memory over more and more days, each from the same prepared home, and their plot."""
    costs = []
    for count in plan.growth:
        home.restore()
        costs.append(ours(home, ASSETS, FIRST, FIRST + timedelta(count - 1)))
    with figure("backfill_growth") as axes:
        axes.plot(plan.growth, [cost.wall for cost in costs], "o-", label="wall time, s")
        axes.plot(plan.growth, [cost.cpu for cost in costs], "s-", label="CPU, s")
        axes.plot(plan.growth, [cost.peak / 2**20 / 10 for cost in costs], "^-", label="peak memory, 10 MiB")
        axes.set_xlabel(f"partitions ({plan.few} loans each)")
        axes.set_ylim(bottom=0)
        axes.legend()
    rows = []
    for count, cost in zip(plan.growth, costs, strict=True):
        what = f"{count:,} partitions of {plan.few} loans"
        per = f"{cost.wall / count * 1000:.1f} ms and {cost.cpu / count * 1000:.1f} ms of CPU a partition"
        rows.append(Row(TARGET, f"{what}, wall", cost.wall, None, "s", "", None, note=per))
        rows.append(Row(TARGET, f"{what}, peak memory", cost.peak / 2**20, None, "MiB", "", None))
    return rows
