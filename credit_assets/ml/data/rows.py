"""Rows wherever they lie (a pandas frame, an Arrow table, a Parquet file), read some columns and a batch at a time.

Belongs here: reading, and what a column says as numbers or as texts. Does not belong here: what a model makes of it
(`variants`), and writing.

A training set of ten million rows is 2 GB of numbers and, as Python objects, twice that of texts. So nothing here
makes an object a row, numbers are views wherever nothing is missing, and what lies in a file stays there but for the
batch in hand: whoever needs it again reads it again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

BATCH_ROWS = 131_072
"""Rows of a batch at most: the matrix of a batch is some 10 MB, and the cost of a call does not show."""

Values: TypeAlias = Union["pd.Series[Any]", "pa.ChunkedArray"]
Data: TypeAlias = Union["pd.DataFrame", "pa.Table", "Rows"]


@dataclass(frozen=True)
class Rows:
    """Some rows of a source, in its order, and some of its columns. Making one reads nothing."""

    source: _Source
    names: tuple[str, ...]
    where: range | NDArray[np.int64]

    @classmethod
    def of(cls, data: Data) -> Rows:
        """All rows and columns of a frame or a table; Rows as they are."""
        import pandas as pd

        if isinstance(data, Rows):
            return data
        # Single columns of both are views.
        names = map(str, data.columns) if isinstance(data, pd.DataFrame) else data.column_names
        return cls._all(_Columns({name: data[name] for name in names}, len(data)))

    @classmethod
    def of_columns(cls, columns: Mapping[str, Values]) -> Rows:
        """All rows of columns of equal length, of either kind. Raises ValueError without columns."""
        if not columns:
            raise ValueError("rows need a column")
        return cls._all(_Columns(columns, len(next(iter(columns.values())))))

    @classmethod
    def stored(cls, path: Any) -> Rows:
        """All rows of a Parquet file, which is read when they are asked for, and by each who asks.

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

        found = np.flatnonzero(mask)
        if len(found) and found[-1] - found[0] + 1 == len(found):
            first = int(found[0])
            return replace(self, where=self.where[first : first + len(found)])
        where = self.where
        if isinstance(where, range):
            return replace(self, where=found + where.start if len(found) else range(0))
        return replace(self, where=where[found])

    def batches(self, names: Sequence[str] | None = None) -> Iterator[Mapping[str, Values]]:
        """The columns of each batch by name: pandas Series or Arrow chunked arrays of equal length."""
        import numpy as np
        import pandas as pd

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
                yield {
                    name: values.iloc[at] if isinstance(values, pd.Series) else values.take(at)
                    for name, values in piece.items()
                }

    def column(self, name: str) -> Values:
        """One column of all rows."""
        import pandas as pd
        import pyarrow as pa

        parts = [batch[name] for batch in self.batches([name])]
        if not parts:
            return pa.chunked_array([], pa.null())
        if len(parts) == 1:
            return parts[0]
        if isinstance(parts[0], pd.Series):
            return pd.concat(parts)
        return pa.chunked_array([chunk for part in parts for chunk in part.chunks], parts[0].type)


class _Source(ABC):
    """Where rows lie."""

    names: tuple[str, ...]
    rows: int

    @abstractmethod
    def pieces(self, names: Sequence[str], first: int, last: int) -> Iterator[tuple[int, dict[str, Values]]]:
        """Columns of the rows first .. last - 1 in batches, each with the number of its first row."""


class _Columns(_Source):
    def __init__(self, columns: Mapping[str, Values], rows: int) -> None:
        self.columns, self.names, self.rows = columns, tuple(columns), rows

    def pieces(self, names: Sequence[str], first: int, last: int) -> Iterator[tuple[int, dict[str, Values]]]:
        import pandas as pd

        for a in range(first, last, BATCH_ROWS):
            b = min(a + BATCH_ROWS, last)
            columns = {name: self.columns[name] for name in names}
            yield (
                a,
                {
                    name: values.iloc[a:b] if isinstance(values, pd.Series) else values.slice(a, b - a)
                    for name, values in columns.items()
                },
            )


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

    def pieces(self, names: Sequence[str], first: int, last: int) -> Iterator[tuple[int, dict[str, Values]]]:
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


def numbers(values: Values) -> NDArray[np.float64]:
    """What `features.as_numbers` makes of a column: float64, NaN for what is missing, infinite or no number.

    A view of the column where it is float64 and nothing is missing. Do not write into it.
    """
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    from credit_assets.ml.data.values import as_numbers

    if isinstance(values, pd.Series):
        return np.asarray(as_numbers(values), dtype=np.float64)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    kind = values.type
    if pa.types.is_null(kind):
        return np.full(len(values), np.nan)
    if pa.types.is_boolean(kind):
        values = values.cast(pa.int8())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return np.asarray(as_numbers(values.to_pandas(date_as_object=False)), dtype=np.float64)
    chunks: list[NDArray[np.float64]] = [
        np.asarray(chunk.to_numpy(zero_copy_only=False), dtype=np.float64) for chunk in values.chunks
    ]
    found = chunks[0] if len(chunks) == 1 else np.concatenate([np.empty(0), *chunks])
    infinite = np.isinf(found)
    return np.where(infinite, np.nan, found) if infinite.any() else found


def texts(values: Values) -> tuple[NDArray[np.int32], list[str | None]]:
    """What `features.as_categories` makes of a column, as (place, different): the text of row i is different[place[i]].

    The last of `different` is None, which stands for missing; others may be None as well, and a text may stand there
    more than once.
    """
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    from credit_assets.ml.data.values import as_categories

    if not len(values):
        return np.empty(0, dtype=np.int32), [None]
    if isinstance(values, pd.Series):
        values = _arrow(values)
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    values = values.unify_dictionaries()
    known = values.chunk(0).dictionary
    different: list[str | None] = [*as_categories(known.to_pandas(date_as_object=False)), None]
    missing = len(different) - 1
    places = [np.asarray(chunk.indices.fill_null(missing), dtype=np.int32) for chunk in values.chunks]
    return (places[0] if len(places) == 1 else np.concatenate([np.empty(0, dtype=np.int32), *places])), different


def _arrow(values: pd.Series[Any]) -> pa.ChunkedArray:
    """The column in Arrow; as texts where it holds objects that are not all texts."""
    import pandas as pd
    import pyarrow as pa

    from credit_assets.ml.data.values import as_categories

    if isinstance(values.dtype, pd.CategoricalDtype):
        column = values.array
        different = pa.array(as_categories(pd.Series(column.categories)), pa.string(), from_pandas=True)
        codes = column.codes.astype("int32")
        return pa.chunked_array([pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), different)])
    if values.dtype == object:
        try:
            found = pa.array(values, from_pandas=True)
        except (pa.ArrowException, ValueError, TypeError):
            found = None
        if found is not None and (pa.types.is_string(found.type) or pa.types.is_null(found.type)):
            return pa.chunked_array([found])
    elif values.dtype.kind in "biuf":
        return pa.chunked_array([pa.array(values, from_pandas=True)])
    return pa.chunked_array([pa.array(as_categories(values), pa.string(), from_pandas=True)])
