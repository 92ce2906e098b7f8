"""A version made again beside the version as it was recorded: what differs, and by what.

Belongs here: comparing records, codes, inputs, files and predictions. Does not belong here: finding and making them
(`credit_assets.assets.reproduction`).

What differs is of two kinds. A *result* is what the version is made of or came to: its training set, model,
calibration, metrics, evidence, decision. A *cause* is what it was made with: code, parameters, libraries, threads,
platform. Another machine, library or number of threads may round sums otherwise: predictions are then held equal
within TOLERANCE, and only then. By the same libraries and threads on the same platform a model has the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pyarrow as pa

TOLERANCE = 1e-6
"""Largest difference of a PD where the machine, a library or the number of threads is another one."""
CLOSE = 1e-9
"""Relative difference of two figures of the evidence that are the same: sums over threads."""
_SHOWN = 12

Kind = Literal[
    "kept", "data", "code", "model", "calibration", "search", "metrics", "evidence", "decision",
    "parameter", "library", "threads", "platform", "portfolio", "policy", "not kept", "cannot",
]  # fmt: skip
NOTES: frozenset[Kind] = frozenset({"parameter", "library", "threads", "platform", "portfolio", "policy", "not kept"})
"""Kinds that are said and do not make a version another one: what came out with them is compared. "cannot" does: what
was not made again is not shown to be equal."""


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it was recorded: of which kind, where, in words, and what to do about it."""

    kind: Kind
    where: str
    text: str
    do: str = ""

    @property
    def counts(self) -> bool:
        """Whether the version is not shown to be the same because of it."""
        return self.kind not in NOTES

    def to_record(self) -> dict[str, Any]:
        return asdict(self)


def unequal(before: Any, after: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The leaves of two records that differ, by their path ("comparison.scorecard.auc"): figures by more than CLOSE,
    everything else at all.
    """
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after}, key=str):
            at = f"{path}.{key}" if path else str(key)
            if key in before and key in after:
                yield from unequal(before[key], after[key], at)
            else:
                yield at, before.get(key), after.get(key)
    elif isinstance(before, list | tuple) and isinstance(after, list | tuple) and len(before) == len(after):
        for place, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from unequal(one, other, f"{path}[{place}]")
    elif not _same(before, after):
        yield path, before, after


def _same(before: Any, after: Any) -> bool:
    numbers = (int, float)
    if isinstance(before, numbers) and isinstance(after, numbers) and not isinstance(before, bool):
        return math.isclose(before, after, rel_tol=CLOSE, abs_tol=CLOSE)
    return bool(before == after)


def named(found: Sequence[tuple[str, Any, Any]], after: str = "came") -> str:
    """The first of the leaves that differ, in words, and how many there are."""
    texts = [f"{path}: {_short(was)} was recorded, {_short(now)} {after}" for path, was, now in found[:3]]
    return "; ".join(texts) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def changed_inputs(
    was: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str | None]]
) -> list[Difference]:
    """The partitions that are not what the version saw, each by asset and day. `now`: of each day the content, None
    where there is no partition; of files without a hash "".
    """
    found = []
    for asset in sorted({*was, *now}):
        before, after = was.get(asset, {}), now.get(asset, {})
        for day in sorted({*before, *after}):
            seen, there = before.get(day), after.get(day)
            # What a set was made of is recorded by the beginnings of the hashes.
            if seen and there and seen[: len(there)] == there[: len(seen)]:
                continue
            again = f"credit-assets backfill --again --assets {asset} --start {day} --end {day}"
            if there is None:
                text, do = "is not there any more", f"bring its file back, or make it again: {again}"
            elif seen is None:
                text, do = (
                    "was not there when the version was trained",
                    "a training as of today has it; the version has not",
                )
            else:
                text = f"is not what the version saw (content {seen[:_SHOWN]} then, {there[:_SHOWN] or 'unknown'} now)"
                do = "see what was restated (`credit-assets recheck`); a new training learns from it"
            found.append(Difference("data", f"{asset} {day}", text, do))
    return found


def changed_set(was: pa.Table, now: pa.Table, key: str) -> str:
    """In words how two training sets differ: rows, columns, and in which columns values do. Names no row."""
    parts = []
    lost, more = (sorted({*a.column_names} - {*b.column_names}) for a, b in ((was, now), (now, was)))
    if lost or more:
        parts.append(f"columns gone: {', '.join(lost) or 'none'}, new: {', '.join(more) or 'none'}")
    if was.num_rows != now.num_rows:
        before, after = set(was[key].to_pylist()), set(now[key].to_pylist())
        parts.append(
            f"{was.num_rows:,} rows then, {now.num_rows:,} now: {len(before - after):,} are gone, "
            f"{len(after - before):,} are new"
        )
    else:
        other = [name for name in was.column_names if name in now.column_names and not was[name].equals(now[name])]
        counts = {name: _unlike(was[name], now[name]) for name in other}
        parts += [f"{name} differs in {count:,} rows" for name, count in counts.items() if count]
    return "; ".join(parts) or "the order of its rows or columns differs"


def _unlike(one: pa.ChunkedArray, other: pa.ChunkedArray) -> int:
    a, b = one.to_pylist(), other.to_pylist()
    return sum(x != y and not (x != x and y != y) for x, y in zip(a, b, strict=True))


def environment(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """What was recorded of interpreter, machine, libraries and settings, beside what is here."""
    found = [
        Difference(
            "library", name, f"{was['libraries'].get(name, 'absent')} then, {now['libraries'].get(name, 'absent')} here"
        )
        for name in sorted({*was["libraries"], *now["libraries"]})
        if was["libraries"].get(name) != now["libraries"].get(name)
    ]
    if was["python"] != now["python"]:
        found.append(Difference("library", "python", f"{was['python']} then, {now['python']} here"))
    if was["platform"] != now["platform"]:
        found.append(Difference("platform", "platform", f"{was['platform']} then, {now['platform']} here"))
    found += [
        Difference("parameter", name, f"{before} then, {after} in the settings of today; made again with what was then")
        for name, before, after in unequal(was["settings"], now["settings"])
    ]
    return found


def rounds_otherwise(found: Sequence[Difference]) -> bool:
    """Whether sums may come out otherwise here: by another library, machine or number of threads."""
    return any(one.kind in ("library", "platform", "threads") for one in found)
