"""Rows put in order: as a plain sort would, in batches, with nothing left behind."""

from __future__ import annotations

import random
import tempfile
import uuid
from collections.abc import Generator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from credit_assets.failures import TransientError
from credit_assets.warehouse import ordering
from credit_assets_tests.support.warehouses import DAY


def _keyed(ids: list[Any], kind: pa.DataType, days: int) -> pa.Table:
    """Rows of (day, id, number), in many batches."""
    day = [DAY + timedelta(days=n * 7919 % days) for n in range(len(ids))]
    table = pa.table({"day": day, "id": pa.array(ids, kind), "n": range(len(ids))})
    return pa.Table.from_batches(table.to_batches(100), table.schema)


@pytest.mark.parametrize("held", [2**30, 5_000])
@pytest.mark.parametrize("days", [1, 3])
@pytest.mark.parametrize("kind", ["sequence", "uuid", "text", "few", "integer", "null"])
def test_in_order(kind: str, days: int, held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordering, "HELD_BYTES", held)
    monkeypatch.setattr(ordering, "BATCH_ROWS", 700)
    draw = random.Random(kind)
    ids: list[Any] = {
        "sequence": [f"L-2024-{n:07d}" for n in draw.sample(range(3_000), 3_000)],
        "uuid": [str(uuid.UUID(int=draw.getrandbits(128))) for _ in range(3_000)],
        # Shorter than eight bytes and longer, equal in their first eight, with bytes of zero and above 127.
        "text": ["".join(draw.choices("a\0ä€😀", k=draw.randrange(14))) for _ in range(3_000)],
        "few": draw.choices(["same so far as this, A", "same so far as this, B"], k=3_000),
        "integer": draw.sample(range(-3_000, 3_000), 3_000),
        "null": [draw.choice([None, "a", "b"]) for _ in range(3_000)],
    }[kind]
    rows = _keyed(ids, pa.int64() if kind == "integer" else pa.string(), days)

    def key(row: int) -> Any:
        plain = ids[row] if kind == "integer" else (ids[row] or "").encode()
        return rows["day"][row].as_py(), ids[row] is None, plain

    batches = list(ordering.in_order((b for b in rows.to_batches()), rows.schema, ("day", "id")))
    found = pa.Table.from_batches(batches, rows.schema)
    expected = sorted(range(3_000), key=key)
    assert sorted(found["n"].to_pylist()) == list(range(3_000))
    assert [key(row) for row in found["n"].to_pylist()] == [key(row) for row in expected]
    if held > 5_000:
        assert found["n"].to_pylist() == expected  # Rows of equal keys stay as they came.
        assert max(batch.num_rows for batch in batches) <= 700


@pytest.mark.parametrize("held", [2**30, 5_000])
def test_in_order_passes_errors_on_and_leaves_nothing_behind(
    held: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordering, "HELD_BYTES", held)
    monkeypatch.setattr(ordering, "BATCH_ROWS", 100)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rows = _keyed([f"{n * 7919 % 3_000:04d}" for n in range(3_000)], pa.string(), 1)
    closed = []

    def source(*, breaks: bool) -> Generator[pa.RecordBatch, None, None]:
        try:
            yield from rows.to_batches()
            if breaks:
                raise TransientError("gone")
        finally:
            closed.append(1)

    with pytest.raises(TransientError, match="gone"):
        list(ordering.in_order(source(breaks=True), rows.schema, ("day", "id")))
    begun = ordering.in_order(source(breaks=False), rows.schema, ("day", "id"))
    next(begun)
    del begun
    assert closed == [1, 1]
    assert list(tmp_path.iterdir()) == []
