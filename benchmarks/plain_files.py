"""Files and days of the plain script (`benchmarks.plain`): what stands there in place of the store.

Belongs here: reading and writing tables and records of days. Does not belong here: what is in them.
"""

from __future__ import annotations

import json
import os
import uuid
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from credit_assets.settings import Settings


def days_of(first: date, last: date) -> list[date]:
    return [first + timedelta(n) for n in range((last - first).days + 1)]


class Files:
    """Parquet and JSON in the folders of the store, written aside and renamed."""

    def __init__(self, settings: Settings) -> None:
        self.root = Path(settings.store)

    def write_table(self, name: str, day: date, table: pa.Table, gates: Any = ()) -> None:
        """The table with the verdicts on it in its footer. Raises ValueError where a verdict blocks."""
        import pyarrow.parquet as pq

        blocking = [gate for gate in gates if gate.blocks]
        verdicts = json.dumps([gate.to_record() for gate in gates], sort_keys=True)
        table = table.replace_schema_metadata({"credit_assets.gates": verdicts} if gates else None)
        self._write(self.root / name / f"{day}.parquet", lambda aside: pq.write_table(table, aside, compression="zstd"))
        if blocking:
            raise ValueError(f"{name} {day}: {'; '.join(gate.line() for gate in blocking)}")

    def rows(self, name: str) -> dict[date, int]:
        """Rows of each day that is there."""
        import pyarrow.parquet as pq

        files = sorted((self.root / name).glob("*.parquet"))
        return {date.fromisoformat(file.stem): pq.read_metadata(file).num_rows for file in files}

    def read_table(self, name: str, day: date) -> pa.Table:
        import pyarrow.parquet as pq

        return pq.ParquetFile(self.root / name / f"{day}.parquet").read().replace_schema_metadata(None)

    def write_record(self, name: str, day: date, record: Any) -> None:
        text = json.dumps(record, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        self._write(self.root / name / f"{day}.json", lambda aside: aside.write_text(text, "utf-8"))

    def read_record(self, name: str, day: date) -> Any:
        path = self.root / name / f"{day}.json"
        return json.loads(path.read_text("utf-8")) if path.exists() else None

    @staticmethod
    def _write(path: Path, write: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
        try:
            write(aside)
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)
