"""Fingerprints: when two things are the same, told by their content.

Belongs here: hashes of data, of the code that makes a model, and of records. Does not belong here: what is done when
they agree. No time, path, host or order of a dictionary enters any of them.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

PACKAGE = Path(__file__).parent
DIGITS = 6
NOT_IN_THE_MODEL = frozenset({"plots", "arms", "shadow", "performance", "triggers"})
"""Modules of this package that draw, watch or compare finished models, and change neither a model nor its evidence."""


def frame_hash(data: pd.DataFrame | pa.Table) -> str:
    """SHA-256 (hex) of a table's content: names and types of columns in order, and all values in order of rows.

    It does not depend on how the table is cut into chunks, on the index of a frame, or on what lies under a missing
    value; NaN counts as missing, and text and dictionary-encoded text of any width as the same type. Another order of
    rows or columns, another type, or one changed value gives another hash. Raises TypeError for a nested column.
    """
    import pyarrow as pa

    table = data if isinstance(data, pa.Table) else pa.Table.from_pandas(data, preserve_index=False)
    digest = hashlib.sha256(f"{table.num_rows} rows".encode())
    for field, column in zip(table.schema, table.columns, strict=True):
        _add_column(digest, field.name, column)
    return digest.hexdigest()


def code_version(*modules: str, package: Path = PACKAGE) -> str:
    """SHA-256 (hex) of the code that makes a model: all of `credit_assets.ml` but NOT_IN_THE_MODEL.

    Comments, docstrings and layout do not count, so that better words retrain nothing; a changed formula, constant or
    rule does. `modules` (names below the package, such as "features" or "variants.xgboost") narrow it to these;
    `package` is the folder that is read. Raises ValueError for a module that is not there.
    """
    found = {".".join(path.relative_to(package).with_suffix("").parts): path for path in sorted(package.rglob("*.py"))}
    unknown = sorted(set(modules) - set(found))
    if unknown:
        raise ValueError(f"no module {', '.join(unknown)} in {package}")
    names = modules or tuple(name for name in found if name.split(".")[0] not in NOT_IN_THE_MODEL)
    digest = hashlib.sha256()
    for name in sorted(names):
        tree = ast.parse(found[name].read_text("utf-8"))
        digest.update(f"{name}\0{_code(tree)}\0".encode())
    return digest.hexdigest()


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


def _add_column(digest: hashlib._Hash, name: str, column: pa.ChunkedArray) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    array = column.combine_chunks()
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    if pa.types.is_nested(kind):
        raise TypeError(f"column {name!r} of type {kind} has no hash: only flat columns have")
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        array, label = array.cast(pa.large_string()), "text"
    elif pa.types.is_floating(kind):
        # NaN comes in many bit patterns, and from a frame it is what missing was.
        nan = pc.is_nan(array)
        array, label = pc.if_else(nan, pa.scalar(None, kind), array) if nan.true_count else array, str(kind)
    else:
        label = str(kind)
    missing = array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None
    digest.update(f"\0{name}\0{label}\0{array.null_count}\0".encode())
    if missing is not None:
        digest.update(np.packbits(missing).tobytes())
        array = array.drop_null()
    if label == "text":
        _add_text(digest, array)
    elif pa.types.is_primitive(kind):
        values = array.cast(pa.uint8()) if pa.types.is_boolean(kind) else array
        width = values.type.bit_width // 8
        buffer = values.buffers()[1]
        start = values.offset * width
        digest.update(memoryview(buffer)[start : start + len(values) * width] if buffer is not None else b"")
    else:
        _add_text(digest, array.cast(pa.string()).cast(pa.large_string()))


def _add_text(digest: hashlib._Hash, array: pa.Array) -> None:
    """Lengths, then the bytes: "ab", "c" and "a", "bc" must differ."""
    import numpy as np

    if not len(array):
        return
    _, offsets_buffer, data = array.buffers()
    offsets = np.frombuffer(offsets_buffer, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    digest.update(np.diff(offsets).tobytes())
    if data is not None:
        digest.update(memoryview(data)[int(offsets[0]) : int(offsets[-1])])


def _code(node: Any) -> str:
    """A tree as text: node types and fields, without positions, docstrings and empty fields.

    Not `ast.dump`: what it prints for empty fields, and which fields there are, changes between versions of Python.
    """
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
