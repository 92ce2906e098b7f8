"""Requests to the served model: the body of one as rows, and the answer to it.

Belongs here: what a request may look like, and what is said of one that cannot be read or scored. Does not belong here:
what its rows must keep (`credit_assets.ml.data.request_rules`), and the places where MLflow lets us in
(`mlflow_internals`).

MLflow's own reading of a request repeats the request in its errors, guesses types of CSV (007 becomes 7), and knows no
whole number in a column of fractions. Here every value goes to the model as it came, and its contract reads it. No
message holds anything of a request: neither a value nor a name, since a CSV file without a header has values for names.
"""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from credit_assets.failures import PermanentError
from credit_assets.ml.data.manifest import MANIFEST, Manifest
from credit_assets.ml.data.request_rules import RequestError
from credit_assets.ml.scorer import ScoringError
from credit_assets.tracking import mlflow_internals
from credit_assets.tracking.run import LOADER_MODULE

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    import pyarrow as pa

JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
_FIELDS = ("dataframe_records", "dataframe_split", "instances", "inputs")
_FORMS = f"give a JSON object with one of {', '.join(_FIELDS)}"
_VALUES_A_BYTE, _ALWAYS_ALLOWED = 100, 10_000_000
_log = logging.getLogger(__name__)
# Which version it is, beside a model that MLflow has fetched by name.
_VERSION_FILE = "registered_model_meta"


class ScoringRequest(NamedTuple):
    """What a request asks for."""

    rows: Any
    params: Mapping[str, Any] | None = None


class Answer(NamedTuple):
    """The answer to a request over HTTP."""

    response: str
    status: int
    mimetype: str


def read_requests() -> None:
    """From here on MLflow has requests to our models read and answered here, in this process."""
    mlflow_internals.hand_over_requests(LOADER_MODULE, read=request_of_json, answer=answer)


def refuse_other_files(folder: Path) -> None:
    """Hold the files of a model that is loaded against the manifest that was logged with them, against MLflow's own
    record of it, and, of a registered version, against what was registered. Raises PermanentError.

    A registry that does not answer stops nothing: a model is served where it cannot be reached, too.
    """
    manifest = Manifest.load(folder)
    if manifest is None:
        _log.warning("this model was logged without a manifest of its files, which cannot be held against one")
        return
    top = next((one for one in (folder, *folder.parents[:3]) if (one / "MLmodel").is_file()), None)
    logged, registered = (None, None) if top is None else (_logged(top), _registered(top))
    for what, one in (("logged", manifest), ("logged", logged), ("registered", registered)):
        if one is not None and (why := one.differs(folder)):
            raise PermanentError(
                f"the files of this model are not those that were {what}: {why}; bring them back from a backup, or "
                "serve another version"
            )


def _logged(top: Path) -> Manifest | None:
    import yaml

    metadata = (yaml.safe_load((top / "MLmodel").read_text("utf-8")) or {}).get("metadata") or {}
    return Manifest.from_text(metadata[MANIFEST]) if MANIFEST in metadata else None


def _registered(top: Path) -> Manifest | None:
    """That of the version as which MLflow has fetched the model; None where it has not, or the registry is silent."""
    import yaml
    from mlflow import MlflowClient

    try:
        version = yaml.safe_load((top / _VERSION_FILE).read_text("utf-8"))
        found = MlflowClient().get_model_version(version["model_name"], str(version["model_version"]))
        return Manifest.from_text(found.tags[MANIFEST]) if MANIFEST in found.tags else None
    except FileNotFoundError:
        return None
    except Exception as error:
        _log.warning("what was registered of this model cannot be read (%s)", type(error).__name__)
        return None


def answer(body: bytes, content_type: str | None, predict: Callable[..., pd.DataFrame]) -> Answer:
    """`predict` of the rows in the body, and of the parameters that JSON may have, in MLflow's form: an object with
    `predictions`, one object for each row.

    400 with column, rule, count and rows at fault (`problems`) where the request is refused, 415 for a content type
    that is none of JSON, CSV and Parquet, 500 where the fault is ours.
    """
    try:
        kind, _, options = (content_type or "").partition(";")
        read = _READERS.get(kind.strip().lower())
        if read is None or (options.strip() and options.strip().lower().replace('"', "") != "charset=utf-8"):
            return _error(415, "BAD_REQUEST", f"send {', '.join(_READERS)}, in UTF-8 and with no other parameter")
        rows, params = read(body)
        scores = predict(rows) if params is None else predict(rows, params=params)
        return Answer(json.dumps({"predictions": scores.to_dict("records")}), 200, JSON)
    except RequestError as refused:
        return _error(400, "BAD_REQUEST", str(refused), problems=refused.problems())
    except Exception as error:
        failed = error if isinstance(error, ScoringError) else ScoringError(error)
        _log.error("%s", failed)
        return _error(500, "INTERNAL_ERROR", str(failed))


def _error(status: int, code: str, message: str, **more: Any) -> Answer:
    return Answer(json.dumps({"error_code": code, "message": message, **more}), status, JSON)


# Bodies


def request_of_json(body: str | bytes | Mapping[str, Any]) -> ScoringRequest:
    """The rows of a request in one of MLflow's JSON forms, and its `params`. Raises RequestError."""
    content = body if isinstance(body, Mapping) else _loaded(_text(body))
    if not isinstance(content, Mapping):
        raise RequestError(f"the request is no object: {_FORMS}")
    params = content.get("params")
    if params is not None and not isinstance(params, Mapping):
        raise RequestError('params must be an object, as in "params": {"explain": true}')
    return ScoringRequest(_rows_of(content), params)


def rows_of_json(body: str | bytes | Mapping[str, Any]) -> pd.DataFrame:
    """The rows of a request in one of MLflow's JSON forms, values as they came. Raises RequestError."""
    rows: pd.DataFrame = request_of_json(body).rows
    return rows


def _rows_of(content: Mapping[str, Any]) -> pd.DataFrame:
    given = [field for field in _FIELDS if field in content]
    if len(given) != 1:
        raise RequestError(f"the request has {', '.join(given) or 'none of the forms of rows'}: {_FORMS}")
    rows = content[given[0]]
    if given[0] == "dataframe_split":
        return _of_split(rows)
    if given[0] == "inputs" and isinstance(rows, Mapping):
        return _of_columns(rows)
    return _of_records(rows, given[0])


def rows_of_csv(body: str | bytes) -> pd.DataFrame:
    """The rows of CSV with a header, every value as its text. Raises RequestError."""
    reader = csv.reader(io.StringIO(_text(body), newline=""), strict=True)
    try:
        header = next(reader, [])
        lines = [line for line in reader if line]
    except csv.Error:
        raise RequestError(f"line {reader.line_num} is not CSV: look for a stray quote") from None
    if not header:
        raise RequestError("the CSV has no header: its first line is empty")
    for row, line in enumerate(lines, start=1):
        if len(line) != len(header):
            raise RequestError(f"row {row} has {len(line)} fields, the header has {len(header)}")
    return _frame(header, zip(*lines, strict=True) if lines else [[] for _ in header], len(lines))


def rows_of_parquet(body: bytes) -> pa.Table:
    """The rows of a Parquet file. Raises RequestError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(pa.BufferReader(body), page_checksum_verification=True) as file:
            # Runs of one value cost nearly nothing in the file, and memory once they are read.
            if file.metadata.num_rows * file.metadata.num_columns > max(_ALWAYS_ALLOWED, _VALUES_A_BYTE * len(body)):
                raise RequestError("the request holds far more values than bytes: send fewer rows at once")
            return file.read()
    except RequestError:
        raise
    except (pa.ArrowException, OSError, ValueError):
        raise RequestError("the request is not a Parquet file that can be read") from None


_READERS: dict[str, Callable[[bytes], ScoringRequest]] = {
    JSON: request_of_json,
    CSV: lambda body: ScoringRequest(rows_of_csv(body)),
    PARQUET: lambda body: ScoringRequest(rows_of_parquet(body)),
}


def _text(body: str | bytes) -> str:
    if isinstance(body, str):
        return body
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RequestError("the request is not text in UTF-8") from None


def _loaded(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise RequestError(f"the request is not JSON: see line {error.lineno}, column {error.colno}") from None
    except RequestError:
        raise
    except (ValueError, RecursionError):
        raise RequestError("the request holds a number or a nesting that is too long to read") from None


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        # The last one would win, without a word.
        raise RequestError("an object of the request has the same name twice")
    return result


# Rows


def _of_records(rows: Any, field: str) -> pd.DataFrame:
    if not isinstance(rows, Sequence) or not all(isinstance(row, Mapping) for row in rows):
        raise RequestError(f"{field} must be a list of objects, each with the values of a row by column")
    names = list(dict.fromkeys(name for row in rows for name in row))
    return _frame(names, ([row.get(name) for row in rows] for name in names), len(rows))


def _of_split(rows: Any) -> pd.DataFrame:
    names, lines = (rows.get("columns"), rows.get("data")) if isinstance(rows, Mapping) else (None, None)
    if not isinstance(names, list) or not isinstance(lines, list):
        raise RequestError("dataframe_split must be an object with `columns`, the names, and `data`, a list of rows")
    for row, line in enumerate(lines, start=1):
        if not isinstance(line, list) or len(line) != len(names):
            raise RequestError(f"row {row} of dataframe_split is no list of {len(names)} values, one for each column")
    return _frame(names, zip(*lines, strict=True) if lines else [[] for _ in names], len(lines))


def _of_columns(columns: Mapping[str, Any]) -> pd.DataFrame:
    """Columns of equal length, or a single row."""
    lists = [isinstance(values, list) for values in columns.values()]
    if not any(lists):
        return _of_records([columns], "inputs")
    if not all(lists) or len({len(values) for values in columns.values()}) > 1:
        raise RequestError("inputs must be an object of columns, which are lists of one length")
    return _frame(list(columns), columns.values(), len(next(iter(columns.values()))))


def _frame(names: Sequence[Any], columns: Iterable[Sequence[Any]], rows: int) -> pd.DataFrame:
    """A frame of objects: pandas' own choice of types would turn whole numbers beside a null into fractions."""
    import pandas as pd

    made = [pd.Series(list(values), dtype=object) for values in columns]
    frame = pd.concat(made, axis=1) if made else pd.DataFrame(index=range(rows))
    return frame.set_axis([str(name) for name in names], axis=1)
