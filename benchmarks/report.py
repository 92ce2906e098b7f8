"""How results are kept and shown: rows, the table, JSON, Markdown, plots, and the machine that they hold for.

Belongs here: nothing that measures. A benchmark gives rows (and may draw with `figure`); what is kept of it is one
JSON file a benchmark, so that parts can be measured on different occasions and shown together.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from benchmarks.processes import Cost

RESULTS = Path(__file__).resolve().parent / "results"
REPORT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
MERGED = "bench"
LIBRARIES = (
    "dagster", "mlflow", "xgboost", "lightgbm", "catboost", "duckdb", "pyarrow", "pandas", "numpy", "scikit-learn",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One line of the table.

    `target`: the target of the issue that it answers, as "1 daily run". `ours` and `peer` in `unit` ("s", "rows/s",
    "MiB", ...); without a peer `limit` holds for `ours` itself, with one for their ratio. `pairs`: the ratios of runs
    that took turns; their median is the ratio, else it is that of `ours` and `peer`. Without `limit`: for information.
    """

    target: str
    what: str
    ours: float
    peer: float | None
    unit: str
    peer_is: str
    limit: float | None
    better: Literal["less", "more"] = "less"
    note: str = ""
    pairs: tuple[float, ...] = ()

    @property
    def ratio(self) -> float | None:
        if self.pairs:
            return median(self.pairs)
        return self.ours / self.peer if self.peer else None

    @property
    def met(self) -> bool | None:
        """None where nothing is asked."""
        if self.limit is None:
            return None
        value = self.ours if self.peer is None else self.ratio
        if value is None:
            return False  # A peer of nothing: no ratio can be kept.
        return value <= self.limit if self.better == "less" else value >= self.limit


@dataclass(frozen=True)
class Result:
    """What one benchmark gave: rows, or why it failed."""

    name: str
    quick: bool
    measured_at: str
    seconds: float
    machine: dict[str, Any]
    rows: tuple[Row, ...] = ()
    failed: str = ""
    plots: tuple[str, ...] = field(default=())

    def to_record(self) -> dict[str, Any]:
        record = asdict(self)
        for row, shown in zip(self.rows, record["rows"], strict=True):
            shown |= {"ratio": row.ratio, "met": row.met}
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Result:
        names = {one.name for one in fields(Row)}
        rows = tuple(
            Row(**{**{k: v for k, v in row.items() if k in names}, "pairs": tuple(row.get("pairs", ()))})
            for row in record["rows"]
        )
        return cls(**{**record, "rows": rows, "plots": tuple(record.get("plots", ()))})


def compared(
    target: str,
    what: str,
    ours: Sequence[Cost],
    peer: Sequence[Cost],
    *,
    peer_is: str,
    limit: float | None,
    note: str = "",
    figures: Sequence[str] = ("wall", "cpu"),
    limits: Mapping[str, float | None] | None = None,
) -> list[Row]:
    """One row a figure of runs that took turns: medians of both sides, and the ratios of the pairs.

    `figures`: of wall, cpu, peak; `limits` gives one of them a limit of its own.
    """
    rows = []
    for name in figures:
        scale, unit = (1 / 2**20, "MiB") if name == "peak" else (1.0, "s")
        a, b = [getattr(cost, name) * scale for cost in ours], [getattr(cost, name) * scale for cost in peer]
        own = (limits or {}).get(name, limit)
        pairs = tuple(x / y for x, y in zip(a, b, strict=True) if y)
        shown = {"wall": "wall", "cpu": "CPU", "peak": "peak memory"}[name]
        rows.append(Row(target, f"{what}, {shown}", median(a), median(b), unit, peer_is, own, note=note, pairs=pairs))
    return rows


# The machine


def machine() -> dict[str, Any]:
    """What the figures hold for: cores this process may use, processor, memory, system, Python, libraries."""
    libraries = {}
    for name in LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            libraries[name] = version(name)
    return {
        "cores": cores(),
        "cpu": _processor(),
        "memory_gib": round(_memory() / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": libraries,
    }


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text("utf-8"), re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def _memory() -> int:
    """Bytes of the machine, or of the control group that this process is confined to."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            total = min(total, int(Path(file).read_text("utf-8")))
    return total


def in_words(found: Mapping[str, Any]) -> str:
    libraries = ", ".join(f"{name} {number}" for name, number in found["libraries"].items())
    return (
        f"{found['cores']} cores of {found['cpu']}, {found['memory_gib']:g} GiB, {found['system']}, "
        f"Python {found['python']}, {libraries}."
    )


# Keeping


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_atomically(path: Path, data: bytes) -> None:
    """Aside, then renamed: whoever reads sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        aside.write_bytes(data)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def keep(result: Result, folder: Path) -> list[Result]:
    """Write one benchmark's result, and all that are there into `bench.json`; return these, in the order of names.

    A failure replaces nothing: what was measured before stays, and the failure is only returned.
    """
    if not result.failed:
        write_atomically(folder / f"{result.name}.json", _json(result.to_record()))
    return merge(folder)


def merge(folder: Path) -> list[Result]:
    """Every kept result, also written together as `bench.json`."""
    files = sorted(file for file in folder.glob("*.json") if file.stem != MERGED and not file.name.startswith("."))
    results = [Result.from_record(json.loads(file.read_bytes())) for file in files]
    if results:
        write_atomically(folder / f"{MERGED}.json", _json([result.to_record() for result in results]))
    return results


def _json(record: Any) -> bytes:
    return (json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


@contextlib.contextmanager
def figure(name: str, folder: Path | None = None, size: tuple[float, float] = (8, 4.5)) -> Iterator[Axes]:
    """Axes of a plot that is written as `name`.png when the block ends. `folder`: by default where results are kept."""
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(drawn)
    yield drawn.add_subplot()
    sink = io.BytesIO()
    # Without the name and date that matplotlib writes: the same figures give the same file.
    drawn.savefig(sink, format="png", dpi=110, metadata={"Software": None})
    write_atomically((folder or results_folder()) / f"{name}.png", sink.getvalue())


_FOLDER = [RESULTS]


def results_folder() -> Path:
    """Where the benchmark that runs keeps its results and plots."""
    return _FOLDER[-1]


@contextlib.contextmanager
def keeping_in(folder: Path) -> Iterator[None]:
    """Results and plots go to `folder` while the block runs."""
    _FOLDER.append(folder)
    try:
        yield
    finally:
        _FOLDER.pop()


# Showing

_HEAD = ("target", "what", "ours", "peer", "ratio", "limit", "met")


def number(value: float | None) -> str:
    """Three significant figures, thousands set apart."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    text = f"{value:.3g}"
    return f"{value:.4f}".rstrip("0").rstrip(".") if "e" in text else text


def cells(row: Row) -> tuple[str, ...]:
    """The texts of one line, in the order of the head."""
    peer = "-" if row.peer is None else f"{number(row.peer)} {row.unit} ({row.peer_is})"
    limit = "-"
    if row.limit is not None:
        sign = "at most" if row.better == "less" else "at least"
        limit = f"{sign} {number(row.limit)}{f' {row.unit}' if row.peer is None else ' x'}"
    ratio = "-" if row.ratio is None else f"{row.ratio:.2f}"
    met = {None: "-", True: "met", False: "NOT MET"}[row.met]
    return row.target, row.what, f"{number(row.ours)} {row.unit}", peer, ratio, limit, met


def table(results: Sequence[Result]) -> Any:
    """The one table, for a terminal."""
    from rich.table import Table

    shown = Table(title="Benchmarks: medians of runs in turns", title_justify="left")
    for name in _HEAD:
        shown.add_column(name, justify="right" if name in ("ours", "ratio") else "left", overflow="fold")
    for result in results:
        for row in result.rows:
            style = {None: "", True: "green", False: "bold red"}[row.met]
            *texts, met = cells(row)
            shown.add_row(*texts, f"[{style}]{met}[/]" if style else met)
            if row.note:
                shown.add_row("", f"[dim]{row.note}[/]")
        if result.failed:
            shown.add_row(result.name, f"[bold red]{result.failed.splitlines()[0][:300]}[/]", "", "", "", "", "FAILED")
        shown.add_section()
    return shown


def markdown(results: Sequence[Result]) -> str:
    """The table for the report, with when and on what each benchmark was measured."""
    lines = [f"| {' | '.join(_HEAD)} |", "|---|---|---:|---|---:|---|---|"]
    for result in results:
        for row in result.rows:
            texts = [text.replace("|", "\\|") for text in cells(row)]
            texts[1] += f" ({row.note})" if row.note else ""
            lines.append(f"| {' | '.join(texts)} |")
        if result.failed:
            lines.append(f"| {result.name} | {result.failed.splitlines()[0][:300]} | | | | | FAILED |")
    machines: dict[str, list[str]] = {}
    for result in results:
        machines.setdefault(in_words(result.machine), []).append(f"{result.name} ({result.measured_at[:10]})")
    on = [f"{', '.join(names)}: {words}" for words, names in machines.items()]
    plots = [f"![{name}](../benchmarks/results/{name})" for result in results for name in result.plots]
    return "\n".join([*lines, "", *on, *(["", *plots] if plots else [])])


def filled(report: str, name: str, text: str) -> str:
    """The report with `text` between the markers of this benchmark. Raises ValueError where it has no such place."""
    begin, end = f"<!-- {name}: written by make bench -->", f"<!-- {name}: end -->"
    before, found, rest = report.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"the report has no place for {name!r}: it needs the lines {begin!r} and {end!r}")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"
