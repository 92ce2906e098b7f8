"""The store with the rows of its partitions counted once: a later look opens only the files that were replaced since.

Belongs here: what a file was when its rows were counted, and the records in which counts are kept. Does not belong
here: what the counts are asked for.

The account of a table, the loans that have matured since a training and `status` ask for every day of the book. Opening
each file for that cost the more the older the book was, and a request a file on an object store. A listing says of all
files at once what they are.

A count is believed where size, moment and inode of its file (an object store's mark) are those of when it was counted:
files are replaced and never changed, so that one that was made again is counted again. What is asked of few days is
not remembered: a window that something is trained or judged on reads its files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from credit_assets.failures import PermanentError, TransientError
from credit_assets.storage.store import RowCount, Store
from credit_assets.storage.tables import is_local

COUNTED = "counted"
"""The folder of the store that has them, a record an asset. Whoever deletes it loses nothing but time."""
FEW = 64
"""So many days are counted by their files."""
# What file systems of object stores call a mark that changes with the content.
_MARKS = ("ETag", "etag", "md5Hash", "generation", "LastModified", "mtime")


class CountedStore(Store):
    """A store whose `row_counts` of many days remembers what was counted before, by whomever."""

    def row_counts(self, asset: str, days: Sequence[str]) -> dict[str, RowCount]:
        if len(days) <= FEW:
            return super().row_counts(asset, days)
        stamps, kept = self._stamps(asset), self._kept(asset)
        known = {day: kept[day] for day, stamp in stamps.items() if day in kept and stamp and kept[day][0] == stamp}
        new = [day for day in days if day in stamps and day not in known]
        if new:
            counted = super().row_counts(asset, new)
            known |= {day: [stamps[day], *found] for day, found in counted.items()}
            self._keep(asset, {day: of for day, of in known.items() if of[0]})
        return {day: RowCount(*known[day][1:]) for day in days if day in known}

    def _stamps(self, asset: str) -> dict[str, str | None]:
        """By partition what tells its file from the one that replaces it; None where the store has no such mark."""
        folder = self.path(asset)
        if is_local(folder):
            try:
                with os.scandir(str(folder)) as entries:
                    found = [(entry.name, entry.stat()) for entry in entries]
            except FileNotFoundError:
                return {}
            return {
                name.removesuffix(".parquet"): f"{stat.st_size}-{stat.st_mtime_ns}-{stat.st_ino}"
                for name, stat in found
                if name.endswith(".parquet") and name[0] != "."
            }
        try:
            # What another process wrote meanwhile is in no listing that was kept.
            listed: list[Mapping[str, Any]] = folder.fs.ls(folder.path, detail=True, refresh=True)
        except FileNotFoundError:
            return {}
        return {
            Path(one["name"]).stem: next((f"{one['size']}-{one[mark]}" for mark in _MARKS if one.get(mark)), None)
            for one in listed
            if str(one["name"]).endswith(".parquet")
        }

    def _kept(self, asset: str) -> dict[str, list[Any]]:
        # A record that is not there, is damaged or of another version is as good as none.
        with suppress(PermanentError, TransientError, OSError, ValueError, KeyError, TypeError, AttributeError):
            record = self.read_record(self.path(COUNTED, f"{asset}.json"))
            return {
                str(day): [str(stamp), int(rows), int(none), bool(rejected)]
                for day, (stamp, rows, none, rejected) in record["rows"].items()
            }
        return {}

    def _keep(self, asset: str, known: Mapping[str, Sequence[Any]]) -> None:
        # Who may not write there counts anew each time.
        with suppress(PermanentError, TransientError, OSError):
            self.write_record(self.path(COUNTED, f"{asset}.json"), {"rows": {day: [*of] for day, of in known.items()}})
