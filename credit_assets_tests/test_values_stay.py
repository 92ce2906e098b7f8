"""No applicant's value stands outside of the store: every file of a house that has trained and scored is looked through
for every number and id of its book.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from credit_assets_tests.support.houses import copied_home, open_house

# Fewer digits are met by chance: counts and rates have as many.
_DIGITS = 6
_NUMBER = re.compile(rb"(?<![\w.])-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w])")
# Learned numbers, and pictures: docs/reliability.md says what remains in a model and why.
_LEARNED = (".ubj", ".cbm", ".png")


def values_of(store: Path) -> tuple[set[float], set[bytes]]:
    """All numbers of applications that have many digits, and all ids."""
    found: set[float] = set()
    ids: set[bytes] = set()
    for file in [*store.rglob("raw_loan_data/*.parquet"), *store.rglob("processed_features/*.parquet")]:
        table = pq.ParquetFile(file).read()
        for name in table.column_names:
            column = table[name]
            if pa.types.is_floating(column.type):
                found.update(one for one in column.to_pylist() if one is not None and digits(one) >= _DIGITS)
            elif name == "application_id":
                ids.update(str(one).encode() for one in column.to_pylist())
    return found, ids


def digits(value: float) -> int:
    return len(f"{abs(value):.12f}".replace(".", "").strip("0"))


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


@pytest.fixture(scope="module", name="home")
def _home(trained_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied_home(trained_home, tmp_path_factory.mktemp("values") / "home")


def test_no_number_and_no_id_of_the_book_is_outside_of_the_store(home: Path) -> None:
    with open_house(home) as house:
        store = Path(house.settings.store)
    numbers, ids = values_of(store)
    assert len(numbers) > 5_000, "the book has amounts in cents"
    assert len(ids) > 1_000
    leaks: dict[str, set[object]] = {}
    places = 0
    for name, text in written(home):
        places += 1
        for match in _NUMBER.finditer(text):
            # A threshold of LightGBM lies between two values.
            if float(match[0]) in numbers and digits(float(match[0])) >= _DIGITS:
                leaks.setdefault(name, set()).add(float(match[0]))
        if found := {one for one in re.findall(rb"[\w-]+", text) if one in ids}:
            leaks.setdefault(name, set()).update(found)
    assert places > 20
    assert any("reference.json" in name for name, _ in written(home))
    assert not {name: len(found) for name, found in leaks.items()}


def test_the_search_finds_what_is_planted(home: Path) -> None:
    """A number of the book, written in a log as a library would, is one that the test above finds."""
    with open_house(home) as house:
        numbers, _ = values_of(Path(house.settings.store))
    one = next(iter(numbers))
    planted = f"could not convert {one!r} and [{one!r}, 2]".encode()
    assert [float(match[0]) for match in _NUMBER.finditer(planted)].count(one) == 2
