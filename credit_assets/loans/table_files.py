"""The one strict reader of files: delimited text, Parquet and Arrow, packed or not.

Belongs here: which reader a file gets. Does not belong here: the readers (`delimited`, `arrow_files`) and what columns
mean (`lending_club`, `portfolio_file`).
"""

from __future__ import annotations

from pathlib import Path

from credit_assets.failures import PermanentError
from credit_assets.loans.arrow_files import read_arrow
from credit_assets.loans.containers import open_container
from credit_assets.loans.delimited import read_delimited
from credit_assets.loans.layouts import Layout, RawTable, ReadOptions


def read_columns(path: Path, layout: Layout, reading: ReadOptions) -> RawTable:
    """The columns of `layout` in a file; those of delimited text as text.

    Raises PermanentError where the file cannot be read to its end, lacks required columns or holds no rows.
    """
    container = open_container(path)
    raw = read_delimited(container, layout, reading) if container.kind == "text" else read_arrow(container, layout)
    if raw.columns.num_rows == 0:
        raise PermanentError(
            f"{path} holds no rows: it has a header"
            + (f" and {len(raw.stray_lines):,} lines that were set aside" if raw.stray_lines else " alone")
        )
    return raw
