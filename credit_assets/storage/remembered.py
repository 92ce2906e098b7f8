"""What a look at each partition of an asset found, remembered: a later one opens only files that were replaced since.

Belongs here: what a file was when it was looked at, and the records in which findings are kept. Does not belong here:
what is looked for (`counted` has rows; a record's reader has its own).

Whoever asks for every day of the book, or for every day since a champion came, would open a file for each: the more the
older the book, and a request a file on an object store. A listing says of all files at once what they are.

A finding is believed where size, moment and inode of its file (an object store's mark) are those of when it was looked
at: files are replaced and never changed, so that one that was made again is looked at again. A year's findings are one
record, so that what is written a day does not grow with the years.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any

from credit_assets.failures import PermanentError, TransientError
from credit_assets.storage.seals import sealed
from credit_assets.storage.store import Store
from credit_assets.storage.tables import is_local

COUNTED = "counted"
"""The folder of the store that has them, a folder an asset. Whoever deletes it loses nothing but time."""
# What file systems of object stores call a mark that changes with the content.
_MARKS = ("ETag", "etag", "md5Hash", "generation", "LastModified", "mtime")


class Remembered:
    """What `what` is of the partitions of an asset, as they are when this is made. Another `what` is another look:
    nothing is believed of the former.
    """

    def __init__(self, store: Store, asset: str, what: str) -> None:
        self._store, self._asset, self._what = store, asset, what
        self._now = self._stamps()
        self._years: dict[str, dict[str, list[Any]]] = {}

    def there(self, days: Sequence[str]) -> list[str]:
        """Those of these ISO days that have a partition."""
        return [day for day in days if day in self._now]

    def of(self, days: Sequence[str]) -> dict[str, Any]:
        """What was found, by ISO day, of those of these days that have the partition of then."""
        found = {day: one for year in _years(days) for day, (_, one) in self._known(year).items()}
        return {day: found[day] for day in days if day in found}

    def add(self, found: Mapping[str, Any]) -> None:
        """What was found by now, as JSON types: it is remembered of those whose file has a mark."""
        for year in _years(found):
            known = self._known(year)
            known |= {
                day: [self._now[day], one] for day, one in found.items() if day[:4] == year and self._now.get(day)
            }
            # In one line: with the indents of other records Python takes ten times as long for it.
            text = json.dumps(sealed({"what": self._what, "found": known}), separators=(",", ":"))
            # Who may not write there looks anew each time.
            with suppress(PermanentError, TransientError, OSError):
                self._store.write_bytes(self._file(year), text.encode())

    def _known(self, year: str) -> dict[str, list[Any]]:
        """Of the partitions of a year that are as they were: the mark and what was found."""
        if year not in self._years:
            self._years[year] = self._read(year)
        return self._years[year]

    def _read(self, year: str) -> dict[str, list[Any]]:
        # A record that is not there, is damaged or of another look is as good as none.
        with suppress(PermanentError, TransientError, OSError, ValueError, KeyError, TypeError, AttributeError):
            record = self._store.read_record(self._file(year))
            if record["what"] == self._what:
                kept = {str(day): [str(stamp), one] for day, (stamp, one) in record["found"].items()}
                return {day: of for day, of in kept.items() if self._now.get(day) == of[0]}
        return {}

    def _stamps(self) -> dict[str, str | None]:
        """By partition what tells its file from the one that replaces it; None where the store has no such mark."""
        folder = self._store.path(self._asset)
        if is_local(folder):
            try:
                with os.scandir(str(folder)) as entries:
                    found = [(entry.name, entry.stat()) for entry in entries if _is_partition(entry.name)]
            except FileNotFoundError:
                return {}
            return {name.rpartition(".")[0]: f"{stat.st_size}-{stat.st_mtime_ns}-{stat.st_ino}" for name, stat in found}
        try:
            # What another process wrote meanwhile is in no listing that was kept.
            listed: list[Mapping[str, Any]] = folder.fs.ls(folder.path, detail=True, refresh=True)
        except FileNotFoundError:
            return {}
        names = [(PurePosixPath(str(one["name"])), one) for one in listed]
        return {
            path.stem: next((f"{one['size']}-{one[mark]}" for mark in _MARKS if one.get(mark)), None)
            for path, one in names
            if _is_partition(path.name)
        }

    def _file(self, year: str) -> Any:
        return self._store.path(COUNTED, self._asset, f"{year}.json")


def _years(days: Iterable[str]) -> list[str]:
    return sorted({day[:4] for day in days})


def _is_partition(name: str) -> bool:
    return name[0] != "." and name.rpartition(".")[2] in ("parquet", "json")
