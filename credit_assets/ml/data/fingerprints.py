"""Fingerprints: when two things are the same, told by their content.

Belongs here: hashes of data, of the code that makes a model, and of records. Does not belong here: what is done when
they agree. No time, path, host or order of a dictionary enters any of them.
"""

from __future__ import annotations

import ast
import functools
import gc
import hashlib
import json
import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

PACKAGE = Path(__file__).parents[1]
DIGITS = 6
_PART = 16
MODEL_CODE = (
    "data.calendar_days",
    "data.cohorts",
    "data.customers",
    "data.decisions",
    "data.feature_functions",
    "data.features",
    "data.formulas",
    "data.histories",
    "data.history_features",
    "data.ids",
    "data.instants",
    "data.known_rows",
    "data.log_odds",
    "data.missing",
    "data.model_files",
    "data.ordering",
    "data.outcomes",
    "data.population",
    "data.rows",
    "data.shown_values",
    "data.values",
    "evidence.cutoffs",
    "evidence.weights",
    "learners.__init__",
    "learners.calibration",
    "learners.calibration_choice",
    "learners.catboost",
    "learners.catboost_trees",
    "learners.dask_fits",
    "learners.dask_internals",
    "learners.dask_shares",
    "learners.encoding",
    "learners.ensemble",
    "learners.extension_learners",
    "learners.learner",
    "learners.lightgbm",
    "learners.missing",
    "learners.scorecard",
    "learners.scorer",
    "learners.training",
    "learners.tree_contributions",
    "learners.xgboost",
    "learners.xgboost_trees",
)
"""The modules of `credit_assets.ml` whose code makes a model or its scores. A change in one of them trains anew.

What they import of `credit_assets.ml` must stand here too, or among the exceptions of the test that holds this list.
The evidence for a model is counted apart, by `learners.candidates.EVIDENCE`; decision record 16 has the reasons.
"""


class ContentHash:
    """SHA-256 of a table that comes in pieces, with the same result however it is cut; see `frame_hash`.

    Raises ValueError where a piece has other columns than the first, TypeError for a nested column.
    """

    def __init__(self) -> None:
        self._rows = 0
        self._columns: dict[str, _ColumnHash] | None = None

    def update(self, table: pa.Table) -> None:
        """Add the rows of a piece."""
        if self._columns is None:
            self._columns = {field.name: _ColumnHash(field.name, field.type) for field in table.schema}
        if list(self._columns) != table.column_names:
            raise ValueError(f"a piece has the columns {', '.join(table.column_names)}, not {', '.join(self._columns)}")
        for column, values in zip(self._columns.values(), table.columns, strict=True):
            for chunk in values.chunks:
                column.update(chunk)
        self._rows += table.num_rows

    def hexdigest(self) -> str:
        """The hash of all pieces so far."""
        digest = hashlib.sha256(f"{self._rows} rows".encode())
        for name, column in (self._columns or {}).items():
            digest.update(f"\0{name}\0{column.label}\0{column.nulls}\0".encode())
            digest.update(column.digest())
        return digest.hexdigest()


def frame_hash(data: pd.DataFrame | pa.Table) -> str:
    """SHA-256 (hex) of a table's content: names and types of columns in order, and all values in order of rows.

    It does not depend on how the table is cut into chunks, on the index of a frame, or on what lies under a missing
    value; NaN counts as missing, and text and dictionary-encoded text of any width as the same type. Another order of
    rows or columns, another type, or one changed value gives another hash. Raises TypeError for a nested column other
    than lists of texts.
    """
    import pyarrow as pa

    content = ContentHash()
    content.update(data if isinstance(data, pa.Table) else pa.Table.from_pandas(data, preserve_index=False))
    return content.hexdigest()


def code_version(modules: Sequence[str] = MODEL_CODE) -> str:
    """SHA-256 (hex) of the code that makes a model: the modules of MODEL_CODE, or others of `credit_assets.ml`.

    Comments, docstrings, layout and the words of exceptions do not count, so that better words retrain nothing; a
    changed formula, constant or rule does.
    """
    digest = hashlib.sha256()
    for name in modules:
        source = (PACKAGE / f"{name.replace('.', '/')}.py").read_text("utf-8")
        digest.update(f"{name}\0{code_text(source)}\0".encode())
    return digest.hexdigest()


def code_parts(modules: Sequence[str] = MODEL_CODE) -> dict[str, str]:
    """The beginning of the SHA-256 of each part of these modules, by "module:name", so that two codes can be told apart
    by what differs: functions, methods ("Class.method"), constants by their names, and "module" for the rest of it.

    What counts is what counts in `code_version`.
    """
    found: dict[str, list[str]] = {}
    for name in modules:
        source = (PACKAGE / f"{name.replace('.', '/')}.py").read_text("utf-8")
        with _PARSING:
            for part, text in _parts(_parsed(source).body, f"{name}:"):
                found.setdefault(part.rstrip(":"), []).append(text)
    return {
        part: hashlib.sha256("\0".join(texts).encode()).hexdigest()[:_PART] for part, texts in sorted(found.items())
    }


def changed_parts(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """By part, what became of it between two of `code_parts`: "changed", "gone" or "new"; nothing where they agree."""
    return {
        part: "changed" if part in before and part in after else "new" if part in after else "gone"
        for part in sorted({*before, *after})
        if before.get(part) != after.get(part)
    }


def code_files(*folders: str) -> dict[str, str]:
    """The beginning of the SHA-256 of each module's file in folders of `credit_assets.ml`, by its name."""
    return {
        f"{folder}.{path.stem}": hashlib.sha256(path.read_bytes()).hexdigest()[:_PART]
        for folder in folders
        for path in sorted((PACKAGE / folder).glob("*.py"))
    }


def code_text(source: str) -> str:
    """What counts of a module's source: everything but comments, docstrings, layout and the words of exceptions.

    Raises SyntaxError where it is no Python.
    """
    with _PARSING:
        return _code_text(source)


def parsed(source: str) -> ast.Module:
    """The syntax tree of a module's source. Raises SyntaxError where it is no Python."""
    with _PARSING:
        return _parsed(source)


def rounded(value: Any) -> Any:
    """The same with every float rounded to 6 digits, None for what is no number (NaN, infinite), at any depth.

    For reports: the last bits of a sum depend on the machine, and equal reports shall have equal bytes.
    """
    if isinstance(value, Mapping):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one) for one in value]
    if isinstance(value, float):  # numpy's float64 too
        return round(float(value), DIGITS) if math.isfinite(value) else None
    return value


def fingerprint(**parts: Any) -> str:
    """SHA-256 (hex) of named parts in canonical JSON: keys sorted at every level, no spaces, UTF-8.

    1 and 1.0 differ, as they do in JSON; tuples are lists. Raises TypeError for a part without a JSON form and
    ValueError for a number that is not finite.
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class _ColumnHash:
    """One column: where it is missing, and what it holds where it is not."""

    def __init__(self, name: str, kind: pa.DataType) -> None:
        import pyarrow as pa

        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        codes = pa.types.is_list(kind) and pa.types.is_string(kind.value_type)
        if pa.types.is_nested(kind) and not codes:
            raise TypeError(f"column {name!r} of type {kind} has no hash: only flat columns and lists of texts have")
        text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
        self.label = "texts" if codes else "text" if text else str(kind)
        self.nulls = 0
        self._rows = 0
        self._missing = hashlib.sha256()
        self._values = hashlib.sha256()
        self._lengths = hashlib.sha256()
        self._counts = hashlib.sha256()

    def digest(self) -> bytes:
        counts = self._counts.digest() if self.label == "texts" else b""
        return self._missing.digest() + counts + self._lengths.digest() + self._values.digest()

    def update(self, array: pa.Array) -> None:
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        if self.label == "text":
            array = array.cast(pa.large_string())
        if pa.types.is_floating(array.type) and pc.is_nan(array).true_count:
            # NaN comes in many bit patterns, and from a frame it is what missing was.
            array = pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
        if array.null_count:
            # Positions, not bits: those of a piece do not depend on where the piece before it ended.
            missing = np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False)) + self._rows
            self._missing.update(missing.astype(np.int64, copy=False).data)
            self.nulls += array.null_count
            self._rows += len(array)
            array = array.drop_null()
        else:
            self._rows += len(array)
        if self.label == "text":
            self._text(array)
        elif self.label == "texts":
            self._counts.update(pc.list_value_length(array).cast(pa.int64()).to_numpy().data)
            self._text(array.flatten().cast(pa.large_string()))
        elif pa.types.is_primitive(array.type):
            values = array.cast(pa.uint8()) if pa.types.is_boolean(array.type) else array
            width, buffer = values.type.bit_width // 8, values.buffers()[1]
            if buffer is not None:
                self._values.update(memoryview(buffer)[values.offset * width : (values.offset + len(values)) * width])
        else:
            self._text(array.cast(pa.string()).cast(pa.large_string()))

    def _text(self, array: pa.Array) -> None:
        """Lengths and bytes apart: "ab", "c" and "a", "bc" must differ."""
        import numpy as np

        if not len(array):
            return
        _, offsets_buffer, data = array.buffers()
        offsets = np.frombuffer(offsets_buffer, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
        self._lengths.update(np.diff(offsets).data)
        if data is not None:
            self._values.update(memoryview(data)[int(offsets[0]) : int(offsets[-1])])


_PARSING = threading.Lock()


@functools.cache
def _code_text(source: str) -> str:
    """What counts of a module's text, worked out once in a process for each text. Call it under _PARSING."""
    return _code(_parsed(source))


def _parsed(source: str) -> ast.Module:
    """Call it under _PARSING. `ast.parse` of CPython 3.11 counts its depth for the whole interpreter: where the
    collector runs a callback in its midst (Dask installs one) and another thread parses meanwhile, it raises
    "SystemError: AST constructor recursion depth mismatch". So one thread parses at a time, and nothing is collected
    while it does.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(source)
    finally:
        if collecting:
            gc.enable()


def _code(node: Any) -> str:
    """A tree as text: node types and fields, without positions, docstrings, empty fields and what an exception says.

    Not `ast.dump`: what it prints for empty fields, and which fields there are, changes between versions of Python.
    """
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        # Which exception, not its words: no model comes out of either.
        return f"Raise({_code(node.exc.func)})"
    if isinstance(node, ast.AST):
        parts = []
        for name, value in ast.iter_fields(node):
            if name == "body" and isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                value = _without_strings(value)
            if name in ("type_comment", "kind", "type_ignores") or value is None or value == []:
                continue
            parts.append(f"{name}={_code(value)}")
        return f"{type(node).__name__}({','.join(parts)})"
    if isinstance(node, list):
        return f"[{','.join(_code(item) for item in node)}]"
    return repr(node)


def _parts(body: Iterable[ast.stmt], prefix: str) -> Iterator[tuple[str, str]]:
    """The statements of a body, each with the name of its part. Call it under _PARSING."""
    for statement in _without_strings(body):
        if isinstance(statement, ast.ClassDef):
            head = [*statement.decorator_list, *statement.bases, *statement.keywords]
            yield f"{prefix}{statement.name}", _code(head)
            inner = f"{prefix}{statement.name}."
            for part, text in _parts(statement.body, inner):
                # Fields of a class are the class.
                yield (part if part != inner else f"{prefix}{statement.name}"), text
        elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{prefix}{statement.name}", _code(statement)
        else:
            yield f"{prefix}{_assigned(statement)}", _code(statement)


def _assigned(statement: ast.stmt) -> str:
    """The name that a statement gives a value to; empty for any other."""
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return targets[0].id if len(targets) == 1 and isinstance(targets[0], ast.Name) else ""


def _without_strings(body: Iterable[ast.stmt]) -> list[ast.stmt]:
    """A body without statements that are only a string: docstrings, of attributes too."""
    return [
        statement
        for statement in body
        if not (
            isinstance(statement, ast.Expr)
            and isinstance(statement.value, ast.Constant)
            and isinstance(statement.value.value, str)
        )
    ]
