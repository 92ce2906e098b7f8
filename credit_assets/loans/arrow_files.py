"""Parquet and Arrow files as columns, whatever types their writer chose.

Belongs here: reading the columns of a layout, and one type for each kind of text. Does not belong here: delimited text
(`delimited`) and what a value is read as (`published_values`, `credit_assets.ml.data.values`).

pandas, polars, Spark and R write the same text as string, large_string, string_view, binary, or a dictionary of any of
them. Behind this module there is one: string, or a dictionary of string.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.parquet as pq

from credit_assets.failures import PermanentError
from credit_assets.loans.containers import Container, damaged, refuse_swollen
from credit_assets.loans.layouts import Layout, RawTable

# Names and texts of a damaged file are no UTF-8.
_DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError)
# A value of each row costs memory, whatever the file spends on it: runs of one value cost nearly nothing there.
_VALUE_BYTES = 8


def read_arrow(container: Container, layout: Layout) -> RawTable:
    """The columns of `layout` with their own types, text as string. Raises PermanentError where they cannot be read."""
    try:
        table, rows = _read(container, layout)
        # Of a damaged file offsets may point anywhere: a kernel that follows them ends the process.
        table.validate(full=True)
        columns = pa.table({name: _plain(container, name, table[name]) for name in table.column_names})
    except _DAMAGE as error:
        raise damaged(container.path, container.kind, error) from error
    if columns.num_rows != rows:
        raise AssertionError(f"{container.path}: {columns.num_rows} rows were read of {rows}")
    types = sorted({str(field.type) for field in table.schema})
    return RawTable(
        columns=columns,
        numbers=np.arange(1, rows + 1),
        stray_lines=(),
        digest=container.digest,
        read_as={"file": container.described, "types": ", ".join(types)},
    )


def read_names(container: Container) -> tuple[str, ...]:
    """The columns of a file. Raises PermanentError where it cannot be read."""
    try:
        if container.kind == "Parquet":
            return tuple(pq.read_schema(_source(container)).names)
        opened = pa.ipc.open_file if container.kind == "Arrow file" else pa.ipc.open_stream
        with opened(_source(container)) as reader:
            return tuple(reader.schema.names)
    except _DAMAGE as error:
        raise damaged(container.path, container.kind, error) from error


def _read(container: Container, layout: Layout) -> tuple[pa.Table, int]:
    """The columns and how many rows the file says it has."""

    def present(schema: pa.Schema) -> list[str]:
        return layout.present(container.path, schema.names, f"read as {container.kind}")

    if container.kind == "Parquet":
        with pq.ParquetFile(_source(container), page_checksum_verification=True) as file:
            names, rows = present(file.schema_arrow), file.metadata.num_rows
            refuse_swollen(container.path, rows * len(names) * _VALUE_BYTES)
            return file.read(columns=names), rows
    if container.kind == "Arrow file":
        with pa.ipc.open_file(_source(container)) as reader:
            table = reader.read_all().select(present(reader.schema))
    else:
        with pa.ipc.open_stream(_source(container)) as reader:
            table = reader.read_all().select(present(reader.schema))
    return table, table.num_rows


def _source(container: Container) -> Any:
    if not container.compression:
        return str(container.path) if container.kind == "Parquet" else pa.memory_map(str(container.path))
    with container.opened() as stream:
        return pa.BufferReader(stream.read())


def _plain(container: Container, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column with text as string. Raises PermanentError where it holds lists, mappings or bytes that are none."""
    if isinstance(column.type, pa.BaseExtensionType):
        # A UUID, say: its text, not its sixteen bytes.
        texts = [None if value is None else str(value) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())])
    kind = column.type
    if pa.types.is_run_end_encoded(kind):
        column = pa.chunked_array([pc.run_end_decode(chunk) for chunk in column.chunks], type=kind.value_type)
        kind = column.type
    if pa.types.is_nested(kind) or pa.types.is_interval(kind):
        raise PermanentError(f"{container.path}: column {name} holds {kind}: give one value a row, of a plain type")
    if pa.types.is_dictionary(kind):
        return _plain_dictionary(container, name, column)
    if _is_text(kind):
        return _as_text(container, name, column)
    return column.cast(pa.float32()) if pa.types.is_float16(kind) else column


def _plain_dictionary(container: Container, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Levels by place, since not every kernel takes each kind of place and of text."""
    text = _is_text(column.type.value_type)
    chunks = []
    for chunk in column.chunks:
        levels = _plain(container, name, pa.chunked_array([chunk.dictionary])).combine_chunks()
        places = chunk.indices.cast(pa.int32())
        chunks.append(pa.DictionaryArray.from_arrays(places, levels) if text else levels.take(places))
    if not chunks:
        return pa.chunked_array([], type=pa.string() if text else column.type.value_type)
    result = pa.chunked_array(chunks)
    return result.unify_dictionaries() if text else result


def _as_text(container: Container, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid as error:
        raise PermanentError(
            f"{container.path}: column {name} holds bytes that are no UTF-8 text, or too much of it in one piece; "
            "write it as text"
        ) from error


def _is_text(kind: pa.DataType) -> bool:
    types = pa.types
    return any(
        test(kind)
        for test in (
            types.is_string, types.is_large_string, types.is_string_view, types.is_binary, types.is_large_binary,
            types.is_binary_view, types.is_fixed_size_binary,
        )
    )  # fmt: skip
