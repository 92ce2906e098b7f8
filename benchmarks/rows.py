"""One partition of ten thousand to ten million loans through ingestion, gates, features and scores, in one process.

Held against `benchmarks.bare` on the same rows, each a whole process, so that both starts are in it: small partitions
are for information, since a start is most of them. What both leave is compared.
"""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path

from benchmarks.backfill import FIRST, against_bare, prepare
from benchmarks.report import Row, figure

TARGET = "5 rows"
ASSETS = ("raw_loan_data", "processed_features", "loan_scores")
FULL = (10_000, 100_000, 1_000_000, 3_000_000, 10_000_000)
QUICK = (10_000, 100_000)
# The size that the target names. Below it the start, Dagster and MLflow among it, is much of the time.
JUDGED_FROM = 10_000_000
PEAK_MIB = 3 * 1024
# A large partition runs for minutes: noise is small beside it.
_REPEATS = {1_000_000: 1, 3_000_000: 1, 10_000_000: 1}


def measure(quick: bool) -> list[Row]:
    """Wall time, CPU and peak memory by size, and the cost of a million rows on one plot."""
    sizes, rows = QUICK if quick else FULL, []
    # Far enough apart that the gate on volumes compares no size with another.
    days = {size: FIRST + timedelta(40 * n) for n, size in enumerate(sizes)}
    with tempfile.TemporaryDirectory(prefix="bench-rows-") as folder:
        home = prepare(Path(folder), {day: size for size, day in days.items()}, 20 if quick else 200)
        for size, day in days.items():
            judged = 1.5 if size >= JUDGED_FROM else None
            found = against_bare(
                home,
                ASSETS,
                [day],
                1 if quick else _REPEATS.get(size, 3),
                f"{size:,} loans",
                {"wall": judged, "cpu": judged},
                target=TARGET,
            )
            rows += found
    wall, cpu = ([row for row in rows if row.what.endswith(end)] for end in ("wall", "CPU"))
    peak = [row for row in rows if row.what.endswith("peak memory")]
    with figure("rows_cost") as axes:
        for label, group, side in (
            ("wall", wall, "ours"), ("CPU", cpu, "ours"), ("bare wall", wall, "peer"), ("bare CPU", cpu, "peer")
        ):  # fmt: skip
            cost = [getattr(row, side) / size * 1e6 for row, size in zip(group, sizes, strict=True)]
            axes.loglog(sizes, cost, "o-" if side == "ours" else "o--", label=label)
        axes.set_xlabel("loans in the partition")
        axes.set_ylabel("seconds a million loans, starts included")
        axes.legend()
    with figure("rows_memory") as axes:
        for side, style in (("ours", "o-"), ("peer", "o--")):
            axes.semilogx(sizes, [getattr(row, side) for row in peak], style, label=side if side == "ours" else "bare")
        axes.axhline(PEAK_MIB, linestyle=":", color="grey")
        axes.set_xlabel("loans in the partition")
        axes.set_ylabel("peak memory, MiB")
        axes.set_ylim(bottom=0)
        axes.legend()
    largest, smaller = rows[-3:], rows[-6:-3]
    added = (sizes[-1] - sizes[-2]) / 1e6
    for a, b in zip(largest[:2], smaller[:2], strict=True):
        if a.peer is None or b.peer is None:
            continue
        what = f"each million loans more, {a.what.rsplit(', ', 1)[1]}"
        rows.append(Row(TARGET, what, (a.ours - b.ours) / added, (a.peer - b.peer) / added, "s", a.peer_is, None))
    rows.append(Row(TARGET, f"{sizes[-1]:,} loans, peak memory at most", largest[2].ours, None, "MiB", "", PEAK_MIB))
    return rows
