"""All that a home holds for others to read, as text, for tests that look for what must not stand there."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

# Learned numbers, and pictures: docs/reliability.md says what remains in a model and why.
_LEARNED = (".ubj", ".cbm", ".png")


def written(home: Path) -> Iterator[tuple[str, bytes]]:
    """All that stands outside of the store's tables: by where it stands, its bytes."""
    for file in home.rglob("*"):
        if not file.is_file() or file.suffix in (*_LEARNED, ".parquet", ".duckdb"):
            continue
        name = str(file.relative_to(home))
        if file.read_bytes()[:15] == b"SQLite format 3":
            with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
                # As text: pages have numbers of their own.
                yield name, "\n".join(database.iterdump()).encode()
        else:
            yield name, file.read_bytes()
