"""The store with the rows of its partitions counted once: a later look opens only the files that were replaced since.

Belongs here: what a file was when its rows were counted, and the file in which counts are kept. Does not belong here:
anything that decides or proves: only what shows the state of a house to people reads counts that were kept.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from credit_assets.aside import aside
from credit_assets.storage.store import RowCount, Store
from credit_assets.storage.tables import is_local

# What file systems of object stores call a mark that changes with the content.
_MARKS = ("ETag", "etag", "md5Hash", "generation", "LastModified", "mtime")


class CountedStore(Store):
    """A store whose `row_counts` remembers, in `file`, what it has counted before."""

    def __init__(self, uri: str, file: Path, **storage_options: Any) -> None:
        super().__init__(uri, **storage_options)
        self._file = file
        self._known: dict[str, dict[str, list[Any]]] | None = None

    def row_counts(self, asset: str, days: Sequence[str]) -> dict[str, RowCount]:
        known, stamps = self._kept().setdefault(asset, {}), self._stamps(asset)
        new = [day for day in days if day in stamps and (stamps[day] is None or known.get(day, [""])[0] != stamps[day])]
        if new:
            counted = super().row_counts(asset, new)
            for day in new:
                known.pop(day, None)
                if day in counted:
                    known[day] = [stamps[day], *counted[day]]
            self._keep()
        return {day: RowCount(*known[day][1:]) for day in days if day in stamps and day in known}

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
            listed: list[Mapping[str, Any]] = folder.fs.ls(folder.path, detail=True)
        except FileNotFoundError:
            return {}
        return {
            Path(one["name"]).stem: next((f"{one['size']}-{one[mark]}" for mark in _MARKS if one.get(mark)), None)
            for one in listed
            if str(one["name"]).endswith(".parquet")
        }

    def _kept(self) -> dict[str, dict[str, list[Any]]]:
        if self._known is None:
            self._known = {}
            # A file that is not there, is damaged or of another version is as good as none.
            with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
                record = json.loads(self._file.read_bytes())
                if record["store"] == self.uri:
                    self._known = {
                        str(asset): {
                            str(day): [str(stamp), int(rows), int(none), bool(rejected)]
                            for day, (stamp, rows, none, rejected) in of.items()
                        }
                        for asset, of in record["rows"].items()
                    }
        return self._known

    def _keep(self) -> None:
        draft = aside(self._file)
        # A home that cannot be written to is counted anew each time.
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            try:
                draft.write_text(json.dumps({"store": self.uri, "rows": self._known}), "utf-8")
                os.replace(draft, self._file)
            finally:
                draft.unlink(missing_ok=True)
