"""What a model was made from, as hashes: data, code, and everything together.

Belongs here: hashing that gives the same text in every process and on every machine. Does not belong here: what to do
when a fingerprint is known already.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# Draws what has been computed; a model is the same with other pictures.
_NOT_IN_THE_MODEL = {"plots.py"}


def frame_hash(data: pd.DataFrame | pa.Table) -> str:
    """SHA-256 (hex) of column names, types, row order and values. Equal content gives an equal hash, whatever chunks or
    slices it is held in; a missing value is a value of its own.
    """
    import pyarrow as pa

    table = data if isinstance(data, pa.Table) else pa.Table.from_pandas(data, preserve_index=False)
    digest = hashlib.sha256()
    for field in table.schema:
        digest.update(f"{field.name}:{field.type};".encode())
    # Rebuilt in one chunk: an Arrow slice carries its parent's buffers and offsets, which must not show.
    one = pa.Table.from_arrays(
        [
            pa.concat_arrays([c for c in column.chunks if len(c)] or [pa.array([], column.type)])
            for column in table.columns
        ],
        schema=table.schema.remove_metadata(),
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, one.schema) as writer:
        if one.num_rows:
            writer.write_table(one)
    digest.update(sink.getvalue())
    return digest.hexdigest()


def fingerprint(**parts: Any) -> str:
    """SHA-256 (hex) of the parts as canonical JSON. Raises TypeError for what JSON does not know."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, allow_nan=False).encode()).hexdigest()


def code_version(root: Path | None = None) -> str:
    """SHA-256 (hex) of the source of `credit_assets.ml` without comments and docstrings, pictures left out.

    A change of a formula changes it, a change of a docstring does not.
    """
    folder = root or Path(__file__).parent
    return _code_version(folder, tuple(sorted((p, p.stat().st_mtime_ns) for p in folder.rglob("*.py"))))


@functools.lru_cache(maxsize=8)
def _code_version(folder: Path, files: Iterable[tuple[Path, int]]) -> str:
    digest = hashlib.sha256()
    for path, _ in files:
        if path.name not in _NOT_IN_THE_MODEL:
            digest.update(f"{path.relative_to(folder).as_posix()}\n{_without_docstrings(path)}\n".encode())
    return digest.hexdigest()


def _without_docstrings(path: Path) -> str:
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
    return ast.dump(tree)
