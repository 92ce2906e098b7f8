"""Rows of frames, Arrow tables and Parquet files: the same values in batches, whichever it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from upath import UPath

from credit_assets.ml.data import rows as rows_module
from credit_assets.ml.data.rows import Rows
from credit_assets.ml.data.values import numbers, texts

TEN = pd.DataFrame({"n": np.arange(10.0), "c": [*"abcdefghi", None], "flag": [True, False] * 5})


@pytest.fixture(params=["frame", "table", "chunked table", "file", "upath"])
def ten(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rows:
    monkeypatch.setattr(rows_module, "BATCH_ROWS", 3)
    table = pa.Table.from_pandas(TEN, preserve_index=False)
    if request.param == "frame":
        return Rows.of(TEN)
    if request.param == "table":
        return Rows.of(table)
    if request.param == "chunked table":
        return Rows.of(pa.concat_tables([table.slice(0, 4), table.slice(4, 0), table.slice(4)]))
    pq.write_table(table, tmp_path / "ten.parquet", row_group_size=4)
    return Rows.stored(tmp_path / "ten.parquet" if request.param == "file" else UPath(tmp_path / "ten.parquet"))


def values(rows: Rows, name: str = "n") -> list[float]:
    return [value for batch in rows.batches([name]) for value in numbers(batch[name])]


def words(rows: Rows) -> list[str | None]:
    return [different[place] for batch in rows.batches() for found, different in [texts(batch["c"])] for place in found]


def test_all_rows_come_in_order_in_batches(ten: Rows) -> None:
    assert len(ten) == 10
    assert ten.names == ("n", "c", "flag")
    assert max(len(batch["n"]) for batch in ten.batches()) <= 3
    assert values(ten) == list(range(10))
    assert words(ten) == [*"abcdefghi", None]
    assert values(ten, "flag") == [1, 0] * 5
    np.testing.assert_array_equal(numbers(ten.column("n")), np.arange(10))
    # As often as one likes.
    assert values(ten) == list(range(10))


@pytest.mark.parametrize("wanted", [[0, 1, 2], [3, 4, 5, 6, 7], [9], [], [1, 4, 5, 9], [0, 9], list(range(10))])
def test_parts_have_the_rows_of_their_mask(ten: Rows, wanted: list[int]) -> None:
    part = ten.part(np.isin(np.arange(10), wanted))
    assert len(part) == len(wanted)
    assert values(part) == wanted
    assert words(part) == [[*"abcdefghi", None][place] for place in wanted]
    assert numbers(part.column("n")).tolist() == wanted
    if len(wanted) > 1:
        # Parts of parts.
        assert values(part.part(np.arange(len(wanted)) != 1)) == [wanted[0], *wanted[2:]]


def test_neighbours_stay_a_range(ten: Rows) -> None:
    assert ten.part(np.arange(10) >= 6).where == range(6, 10)
    assert not isinstance(ten.part(np.arange(10) % 2 == 0).where, range)


def test_columns_are_selected_and_missing_ones_named(ten: Rows) -> None:
    assert next(list(batch) for batch in ten.select(["flag", "n"]).batches()) == ["flag", "n"]
    with pytest.raises(ValueError, match="lack the columns x, y"):
        ten.select(["n", "x", "y"])


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Rows.stored(tmp_path / "nothing.parquet")
    (tmp_path / "text.parquet").write_text("no Parquet")
    with pytest.raises(pa.ArrowInvalid):
        Rows.stored(tmp_path / "text.parquet")


def test_importing_costs_no_pandas() -> None:
    code = (
        "import sys; import credit_assets.ml.data.rows; "
        "heavy = {'pandas', 'pyarrow', 'numpy'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
