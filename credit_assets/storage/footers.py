"""What the end of a partition's file says of it: its verdicts, the hash of its rows, what and by whom it was made.

Belongs here: the names under which it stands there, and reading it. Does not belong here: opening files (`tables`), and
what follows from a verdict (`store`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from credit_assets.ml.data.gate_results import GateResult

GATES_KEY = b"credit_assets.gates"
CONTENT_KEY = b"credit_assets.content"
INPUTS_KEY = b"credit_assets.inputs"
EXTENSIONS_KEY = b"credit_assets.extensions"
_SHORT = 16


@dataclass(frozen=True)
class Footer:
    """What the end of a partition's file says of it, without its rows.

    `content` is the hash of its rows, `inputs` by asset and day the beginning of that of the partitions it was made of
    (`same_content` compares them); "" and nothing in files of before. `made_by` are the extensions whose code is in its
    columns. `texts` are the columns that are no numbers, days or flags. `without_pd` counts the rows of scores whose
    applications the model refuses.
    """

    rows: int
    gates: tuple[GateResult, ...]
    content: str
    inputs: Mapping[str, Mapping[str, str]]
    made_by: tuple[Mapping[str, str], ...] = ()
    columns: tuple[str, ...] = ()
    texts: frozenset[str] = frozenset()
    without_pd: int = 0

    @property
    def rejected(self) -> bool:
        return any(gate.blocks for gate in self.gates)

    @property
    def as_input(self) -> str:
        """The beginning of the hash: a training set has inputs of more than a thousand days."""
        return self.content[:_SHORT]


def same_content(one: str, other: str) -> bool:
    """Whether two content hashes, either of which may be its beginning alone, are of the same rows."""
    return one[:_SHORT] == other[:_SHORT]


def footer_of(metadata: pa.parquet.FileMetaData) -> Footer:
    kept = metadata.metadata or {}
    return Footer(
        rows=int(metadata.num_rows),
        gates=tuple(gates_of(metadata)),
        content=kept.get(CONTENT_KEY, b"").decode(),
        inputs=json.loads(kept.get(INPUTS_KEY, b"{}")),
        made_by=tuple(json.loads(kept.get(EXTENSIONS_KEY, b"[]"))),
        columns=tuple(metadata.schema.names),
        texts=frozenset(_texts(metadata.schema)),
        without_pd=_missing(metadata, "pd"),
    )


def _texts(schema: pa.parquet.ParquetSchema) -> Iterator[str]:
    for number, name in enumerate(schema.names):
        if schema.column(number).physical_type == "BYTE_ARRAY":
            yield name


def _missing(metadata: pa.parquet.FileMetaData, column: str) -> int:
    """How many rows have no value in a column, by the statistics of the file; 0 where it has no such column."""
    names = metadata.schema.names
    if column not in names:
        return 0
    parts = (metadata.row_group(number).column(names.index(column)) for number in range(metadata.num_row_groups))
    return sum(part.statistics.null_count for part in parts if part.statistics and part.statistics.has_null_count)


def gates_of(footer: pa.parquet.FileMetaData) -> list[GateResult]:
    """Gate results that the footer of a file of the store carries."""
    from credit_assets.ml.data.gate_results import GateResult

    recorded = (footer.metadata or {}).get(GATES_KEY)
    return [GateResult.from_record(item) for item in json.loads(recorded)] if recorded else []


def with_makers(schema: pa.Schema, made_by: Sequence[Mapping[str, str]]) -> pa.Schema:
    """The schema of a file in whose columns is the code of these extensions: its footer will name them."""
    return schema.with_metadata({EXTENSIONS_KEY: json.dumps(list(made_by), sort_keys=True)}) if made_by else schema
