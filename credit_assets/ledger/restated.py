"""Restated days: those whose rows have changed since something was made of them, and what that is.

Belongs here: noting such a day, and finding features, scores, training sets and versions that were made of it as it
was. Does not belong here: finding out that the warehouse has changed (`credit_assets.assets.recheck`), and making
anything again.

Each file says in its footer what it holds (`content`) and of which content its inputs were, so that what is stale is a
comparison of the two, whoever ingested the day again and why. The folder `restated` names the days that need looking
at, written by ingestion where a day comes out otherwise than it was, and by a recheck that only reports.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from credit_assets.ledger.kept import Kept
from credit_assets.storage.footers import same_content
from credit_assets.storage.partition_files import Staged
from credit_assets.storage.store import Store

NOTHING = "none"
"""In place of a content, of a day without rows."""
_FOLDER, _REPORTED = "restated", "restated_sets_told.json"
FEATURES, SCORES = "processed_features", "loan_scores"
BEHIND_FEATURES = ("raw_loan_data", "history_features")
"""The ingested assets, day by day, that features are made of."""


@dataclass(frozen=True)
class RestatedDay:
    """A day of an ingested table that came out otherwise. `in_warehouse` is the content that the warehouse has and the
    store does not, where a recheck only reported it; "" where the day is ingested as it is.
    """

    asset: str
    day: str
    rows_before: int
    rows_now: int
    in_warehouse: str = ""


@dataclass(frozen=True)
class StaleVersion:
    """A registered version that saw restated days as they were: how many of each asset that its training set was made
    of, and how many rows: of the features those in its training set, else those of these days.

    `certain` is False where nothing is kept of what it saw: its training set spans these days.
    """

    version: str
    as_of: str
    days: Mapping[str, int]
    rows: Mapping[str, int]
    certain: bool = True

    def to_record(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Stale:
    """What is made of days as they were: ISO days of features, scores and training sets, and versions."""

    reported: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Days of each ingested table that read otherwise in the warehouse and are not ingested again."""
    partitions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)
    """Rows of these partitions; of scores, applications that were scored on features of before."""
    versions: tuple[StaleVersion, ...] = ()

    def to_record(self) -> dict[str, Any]:
        return {
            "reported": {asset: list(days) for asset, days in self.reported.items()},
            "stale": {asset: {"days": list(days), "rows": self.rows[asset]} for asset, days in self.partitions.items()},
            "versions": [one.to_record() for one in self.versions],
        }


class Restatements:
    """The store's folder `restated`. Costs nothing to construct."""

    def __init__(self, store: Store) -> None:
        self.store = store

    # Noting

    def ingested(self, asset: str, files: Mapping[str, Staged]) -> list[RestatedDay]:
        """Note those of the days (ISO) whose file holds other rows than the one that it replaces; call it before."""
        replaced = [day for day in self.store.days(asset) if day in files]
        there = self.store.footers(asset, replaced, damaged_too=False)
        known, noted = self._of(asset), []
        for day, footer in there.items():
            file = files[day]
            if not same_content(footer.content or self._hashed(asset, day), file.content_hash):
                noted.append(RestatedDay(asset, day, footer.rows, file.rows))
                self._write(noted[-1])
            elif day in known:
                self._write(RestatedDay(asset, day, known[day].rows_before, file.rows))
        return noted

    def reported(self, found: Iterable[RestatedDay], looked_at: Collection[tuple[str, str]]) -> None:
        """Note days that the warehouse has otherwise; of the others that were looked at (asset, day) it has not."""
        differing = {(one.asset, one.day): one for one in found}
        for one in differing.values():
            self._write(one)
        for asset in {asset for asset, _ in looked_at}:
            for day, one in self._of(asset).items():
                if one.in_warehouse and (asset, day) in looked_at and (asset, day) not in differing:
                    self._write(RestatedDay(asset, day, one.rows_before, one.rows_before))

    # Finding

    def days(self) -> dict[str, dict[str, RestatedDay]]:
        """Every restated day by ingested table and ISO day."""
        folder = self.store.path(_FOLDER)
        names = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
        return {asset: of for asset in names if (of := self._of(asset))}

    def stale(self, only: Mapping[str, Collection[str]] | None = None) -> Stale:
        """What was made of restated days as they were; of `only` these days (by ingested table), where they are given.

        Costs a listing where no day was ever restated.
        """
        known = self.days()
        if only is not None:
            known = {a: {day: one for day, one in of.items() if day in only.get(a, ())} for a, of in known.items()}
        if not any(known.values()):
            return Stale()
        now = _Contents(self.store, known)
        partitions = {name: tuple(days) for name, days in now.stale.items() if days}
        rows = {name: now.rows(name, days) for name, days in partitions.items()}
        sets = self._sets(now, min(day for of in known.values() for day in of))
        if sets:
            partitions["training_set"], rows["training_set"] = tuple(sets), sum(sets.values())
        reported = {a: tuple(d for d, one in of.items() if one.in_warehouse) for a, of in known.items()}
        return Stale({a: days for a, days in reported.items() if days}, partitions, rows, tuple(self._versions(now)))

    def newly_stale_sets(self) -> list[str]:
        """As-of dates (ISO) of training sets that are stale and were not given out here as they are now."""
        days = self.stale().partitions.get("training_set", ())
        contents = {day: footer.content for day, footer in self.store.footers("training_set", list(days)).items()}
        place = self.store.path(_REPORTED)
        before = self.store.read_record(place) if place.exists() else {}
        new = [day for day, content in contents.items() if before.get(day) != content]
        if before != contents:
            self.store.write_record(place, contents)
        return new

    def _sets(self, now: _Contents, first: str) -> dict[str, int]:
        """Training sets (ISO as-of dates, with their rows) that were made of days as they were."""
        as_ofs = [day for day in self.store.days("training_set") if day >= first]
        footers = self.store.footers("training_set", as_ofs, damaged_too=False)
        return {day: one.rows for day, one in footers.items() if any(now.changed(one.inputs).values())}

    def _versions(self, now: _Contents) -> Iterable[StaleVersion]:
        seen = set()
        for one in Kept(self.store).all():
            if one.version is None or not one.inputs:
                continue
            seen.add(one.version)
            changed = {asset: days for asset, days in now.changed(one.inputs).items() if days}
            if changed:
                rows = {
                    asset: self._applications(str(one.training_set), set(days))
                    if asset == FEATURES
                    else now.rows(asset, days)
                    for asset, days in changed.items()
                }
                yield StaleVersion(one.version, one.as_of, {a: len(days) for a, days in changed.items()}, rows)
        yield from self._of_before(now, seen)

    def _of_before(self, now: _Contents, seen: Collection[str]) -> Iterable[StaleVersion]:
        """Versions of which nothing is kept, by the days that their training sets span."""
        for as_of in self.store.days("registered_model"):
            version = self.store.read_record(self.store.path("registered_model", f"{as_of}.json"))["version"]
            span = _span(self.store, as_of) if version and version not in seen else None
            if span is None:
                continue
            counts: dict[str, int] = {}
            for asset, of in now.known.items():
                name, last = (FEATURES, span[1]) if asset in BEHIND_FEATURES else (asset, as_of)
                counts[name] = counts.get(name, 0) + sum(span[0] <= day <= last for day in of)
            if any(counts.values()):
                days = {asset: count for asset, count in counts.items() if count}
                yield StaleVersion(version, as_of, days, {}, certain=False)

    def _applications(self, training_set: str, days: set[str]) -> int:
        """Rows of a kept training set whose application lies on one of the days; id first, then the day."""
        path = self.store.path(training_set)
        dates = self.store.read_table(path, [self.store.footer(path).columns[1]]).column(0).value_counts()
        found = zip(dates.field("values").to_pylist(), dates.field("counts").to_pylist(), strict=True)
        return sum(count for day, count in found if day.isoformat() in days)

    def _of(self, asset: str) -> dict[str, RestatedDay]:
        paths = {day: self.store.path(_FOLDER, asset, f"{day}.json") for day in self.store.days(f"{_FOLDER}/{asset}")}
        return {day: RestatedDay(**self.store.read_record(path)) for day, path in paths.items()}

    def _write(self, one: RestatedDay) -> None:
        self.store.write_record(self.store.path(_FOLDER, one.asset, f"{one.day}.json"), asdict(one))

    def _hashed(self, asset: str, day: str) -> str:
        """The content of a file of before, which does not say it."""
        from credit_assets.ml.data.fingerprints import frame_hash

        return frame_hash(self.store.read_table(self.store.path(asset, f"{day}.parquet")))


class _Contents:
    """What the restated days and what is made of them hold now."""

    def __init__(self, store: Store, known: Mapping[str, Mapping[str, RestatedDay]]) -> None:
        self.known, self._store = known, store
        features = sorted({day for asset in BEHIND_FEATURES for day in known.get(asset, ())})
        wanted = {**{asset: list(of) for asset, of in known.items()}, FEATURES: features, SCORES: features}
        self._footers = {name: store.footers(name, days, damaged_too=False) for name, days in wanted.items()}
        stale = [day for day in self._footers[FEATURES] if self._differ(FEATURES, day, BEHIND_FEATURES)]
        self.stale = {
            FEATURES: stale,
            SCORES: [day for day in self._footers[SCORES] if day in stale or self._differ(SCORES, day, (FEATURES,))],
        }

    def rows(self, name: str, days: Iterable[str]) -> int:
        return sum(self._footers[name][day].rows for day in days if day in self._footers[name])

    def changed(self, inputs: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
        """Of what a training set was made of, the days that hold something else by now."""
        return {
            asset: [
                day
                for day in self._footers.get(asset, {})
                if day in days
                and (day in self.stale.get(asset, ()) or not same_content(days[day], self._now(asset, day)))
            ]
            for asset, days in inputs.items()
        }

    def _differ(self, name: str, day: str, sources: Iterable[str]) -> bool:
        """Whether a partition was made of something else than its sources hold now; not where it does not say."""
        inputs = self._footers[name][day].inputs
        recorded = {source: inputs.get(source, {}).get(day) for source in sources}
        return any(
            text is not None and not same_content(text, self._now(source, day)) for source, text in recorded.items()
        )

    def _now(self, asset: str, day: str) -> str:
        """The content of a day: of the warehouse where that is known to differ, else of the store."""
        one = self.known.get(asset, {}).get(day)
        if one is not None and one.in_warehouse:
            return one.in_warehouse
        if asset not in self._footers:
            self._footers[asset] = {}
        if day not in self._footers[asset]:
            self._footers[asset] |= self._store.footers(asset, [day], damaged_too=False)
        footer = self._footers[asset].get(day)
        return footer.content if footer else ""


def _span(store: Store, as_of: str) -> tuple[str, str] | None:
    """First and last application day of a training set, from the footer of its file."""
    try:
        footer = store.metadata(store.path("training_set", f"{as_of}.parquet"))
    except FileNotFoundError:
        return None
    # Id first, then the day.
    of_groups = [footer.row_group(n).column(1).statistics for n in range(footer.num_row_groups)]
    if not of_groups:
        return None
    return str(min(one.min for one in of_groups)), str(max(one.max for one in of_groups))
