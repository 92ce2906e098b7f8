"""Rows wherever they lie (a frame, an Arrow table, a Parquet file), read some columns and a batch at a time.

Belongs here: which rows and columns, and reading them. Does not belong here: what a value is read as (`values`), what a
model makes of it (`learners`), and writing.

A training set of ten million rows is 2 GB of numbers and, as Python objects, twice that of texts. So nothing here
makes an object a row, and what lies in a file stays there but for the batch in hand: whoever needs it again reads it
again. A frame is the way in from pandas: each of its columns becomes one of Arrow when it is first needed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from credit_assets.ml.data.values import Values, as_column

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

BATCH_ROWS = 131_072
BATCH_VALUES = 8 * 2**20
"""A batch at most: the matrix of one is some 10 MB, and the cost of a call does not show; of many columns it is
64 MB."""

Data: TypeAlias = Union["pd.DataFrame", "pa.Table", "Rows"]
Batch: TypeAlias = Mapping[str, "pa.ChunkedArray"]


@dataclass(frozen=True)
class Rows:
    """Some rows of a source, in its order, and some of its columns. Making one reads nothing.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = Rows.of(pd.DataFrame({"amount": [1.0, 2.0, 3.0], "kind": ["a", "b", "a"]}))
    >>> rows.part(rows.column("amount").to_numpy() > 1).column("kind").to_pylist()
    ['b', 'a']
    """

    source: _Source
    names: tuple[str, ...]
    where: range | NDArray[np.int64]

    @classmethod
    def of(cls, data: Data) -> Rows:
        """All rows and columns of a frame or a table; Rows as they are."""
        import pyarrow as pa

        if isinstance(data, Rows):
            return data
        # Single columns of both are views.
        names = data.column_names if isinstance(data, pa.Table) else map(str, data.columns)
        return cls._all(_Columns({name: data[name] for name in names}, len(data)))

    @classmethod
    def of_columns(cls, columns: Mapping[str, Values]) -> Rows:
        """All rows of columns of equal length. Raises ValueError without columns."""
        if not columns:
            raise ValueError("rows need a column")
        return cls._all(_Columns(columns, len(next(iter(columns.values())))))

    @classmethod
    def stored(cls, path: Any) -> Rows:
        """All rows of a Parquet file, which is read whenever they are needed.

        `path` is a file name, a pathlib.Path, or any object with `open("rb")` (universal_pathlib). Raises OSError where
        it cannot be opened, pyarrow.ArrowInvalid where it is no Parquet file.
        """
        return cls._all(_Stored(path))

    @classmethod
    def _all(cls, source: _Source) -> Rows:
        return cls(source, source.names, range(source.rows))

    def __len__(self) -> int:
        return len(self.where)

    def select(self, names: Sequence[str]) -> Rows:
        """The same rows with these columns. Raises ValueError naming those that are not there."""
        missing = [name for name in names if name not in self.names]
        if missing:
            raise ValueError(f"the rows lack the columns {', '.join(missing)}")
        return replace(self, names=tuple(names))

    def part(self, mask: NDArray[np.bool_]) -> Rows:
        """The rows where `mask`, one value for each row, is true. Rows that follow one another stay a range."""
        import numpy as np

        at = np.flatnonzero(mask)
        if len(at) and at[-1] - at[0] + 1 == len(at):
            first = int(at[0])
            return replace(self, where=self.where[first : first + len(at)])
        if isinstance(self.where, range):
            return replace(self, where=at + self.where.start if len(at) else range(0))
        return replace(self, where=self.where[at])

    def batches(self, names: Sequence[str] | None = None) -> Iterator[Batch]:
        """The columns of each batch by name, of equal length."""
        import numpy as np

        where = self.where
        if not len(where):
            return
        wanted = list(self.names if names is None else names)
        first, last = int(where[0]), int(where[-1]) + 1
        for begin, piece in self.source.pieces(wanted, first, last):
            rows = len(next(iter(piece.values()))) if piece else 0
            if isinstance(where, range):
                yield piece
                continue
            a, b = np.searchsorted(where, (begin, begin + rows))
            if a < b:
                at = where[a:b] - begin
                yield {name: values.take(at) for name, values in piece.items()}

    def column(self, name: str) -> pa.ChunkedArray:
        """One column of all rows."""
        import pyarrow as pa

        parts = [batch[name] for batch in self.batches([name])]
        if not parts:
            return pa.chunked_array([], pa.null())
        if len(parts) == 1:
            return parts[0]
        return pa.chunked_array([chunk for part in parts for chunk in part.chunks], parts[0].type)


def batch_rows(columns: int) -> int:
    """Rows of a batch of so many columns."""
    return max(1, min(BATCH_ROWS, BATCH_VALUES // max(1, columns)))


class _Source(ABC):
    """Where rows lie."""

    names: tuple[str, ...]
    rows: int

    @abstractmethod
    def pieces(self, names: Sequence[str], first: int, last: int) -> Iterator[tuple[int, Batch]]:
        """Columns of the rows first .. last - 1 in batches, each with the number of its first row."""


class _Columns(_Source):
    def __init__(self, columns: Mapping[str, Values], rows: int) -> None:
        self.columns, self.names, self.rows = dict(columns), tuple(columns), rows

    def pieces(self, names: Sequence[str], first: int, last: int) -> Iterator[tuple[int, Batch]]:
        columns = {name: self._column(name) for name in names}
        most = batch_rows(len(names))
        for a in range(first, last, most):
            length = min(most, last - a)
            yield a, {name: values.slice(a, length) for name, values in columns.items()}

    def _column(self, name: str) -> pa.ChunkedArray:
        values = self.columns[name] = as_column(self.columns[name])
        return values


class _Stored(_Source):
    def __init__(self, path: Any) -> None:
        self.path = path
        with self._open() as file:
            self.schema = file.schema_arrow
            self.groups = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        self.names, self.rows = tuple(self.schema.names), sum(self.groups)

    def _open(self, texts: Sequence[str] = ()) -> Any:
        import pyarrow.parquet as pq

        place = self.path if isinstance(self.path, str | Path) else self.path.open("rb")
        # Texts as the numbers of their dictionary, as they lie in the file.
        return pq.ParquetFile(place, read_dictionary=list(texts))

    def pieces(self, names: Sequence[str], first: int, last: int) -> Iterator[tuple[int, Batch]]:
        import pyarrow as pa

        texts = [name for name in names if pa.types.is_string(self.schema.field(name).type)]
        with self._open(texts) as file:
            begin = 0
            for group, rows in enumerate(self.groups):
                a, b = max(first, begin), min(last, begin + rows)
                if a < b:
                    table = file.read_row_group(group, columns=list(names)).slice(a - begin, b - a)
                    columns = dict(zip(table.column_names, table.columns, strict=True))
                    for at, piece in _Columns(columns, b - a).pieces(names, 0, b - a):
                        yield a + at, piece
                begin += rows
