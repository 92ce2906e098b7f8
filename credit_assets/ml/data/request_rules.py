"""The rules that a request to the served model must keep: the portfolio's, which travel with the model.

Belongs here: holding the rows of a request against the contract of the model's inputs, what is refused and what is
scored with a warning, and the saved form of these rules. Does not belong here: the reading and screening of one column
(`values`, `screens`), the contract of a day (`contracts`), and how a request arrives
(`credit_assets.tracking.serving`).

The pipeline sets a row aside that breaks the contract, and scores one whose level the model has not seen. So does the
served model: the one is refused, the other scored with a warning, unless the column says otherwise (`on_request`).

No message holds a value, an id, or a name that the request brought: columns are those of the portfolio, rows are
counted from 1 in the order given.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from credit_assets.ml.data.model_files import read_record, write_record
from credit_assets.ml.data.portfolio import Column, Portfolio
from credit_assets.ml.data.screens import MISSING, UNREADABLE, screen
from credit_assets.ml.data.values import read

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from credit_assets.ml.data.values import Values

    Mask = NDArray[np.bool_]

FORMAT = 1
RULES_FILE = "request_rules.json"
ABSENT = "not among the columns given"
UNSEEN = "a level that the model has not seen"
_SHOWN_ROWS = 5
_NOT_FOR_REQUESTS = {"description", "unit", "role", "max_missing_share", "on_violation", "monotone", "missing"}


@dataclass(frozen=True)
class Broken:
    """A rule that rows of a request break: how many of them, and the first few, counted from 1."""

    column: str
    rule: str
    rows: int
    first: tuple[int, ...]

    def __str__(self) -> str:
        places = ", ".join(map(str, self.first)) + (", ..." if self.rows > len(self.first) else "")
        return f"{self.column}: {self.rule} ({'row' if self.rows == 1 else f'{self.rows} rows:'} {places})"


class RequestError(ValueError):
    """A request that is not scored. `broken` are the rules that its rows break, where it could be read as rows."""

    def __init__(self, reason: str, broken: Sequence[Broken] = ()) -> None:
        super().__init__(reason)
        self.broken = tuple(broken)

    def problems(self) -> list[dict[str, Any]]:
        """`broken` as JSON types."""
        return [{**asdict(one), "first": list(one.first)} for one in self.broken]


@dataclass(frozen=True)
class RequestRules:
    """The contract of a model's inputs, in order.

    `recorded`: whether the model brought them. One that was saved without has the types of its inputs alone, all of
    which must be there; levels that it has not seen are scored without a word.
    """

    columns: tuple[Column, ...]
    recorded: bool = True

    @classmethod
    def of(cls, portfolio: Portfolio) -> RequestRules:
        """The rules of what the portfolio's models are given."""
        return cls(portfolio.model_inputs)

    @classmethod
    def of_types(cls, inputs: Sequence[str], categories: Collection[str]) -> RequestRules:
        """Those of a model that was saved without rules."""
        columns = (Column(name=n, type="category" if n in categories else "float", on_request="refuse") for n in inputs)
        return cls(tuple(columns), recorded=False)

    def to_record(self) -> dict[str, Any]:
        """As JSON types, without what is not for requests."""
        columns = [column.model_dump(mode="json", exclude=_NOT_FOR_REQUESTS) for column in self.columns]
        return {"format": FORMAT, "columns": columns}

    def save(self, folder: str | Path) -> None:
        """Write `request_rules.json` into the folder of a scorer. Equal rules give equal bytes."""
        write_record(Path(folder) / RULES_FILE, self.to_record())

    @classmethod
    def load(cls, folder: str | Path) -> RequestRules | None:
        """Read what `save` wrote; None where the folder has no such file. Raises ValueError where it is unreadable."""
        return read_record(Path(folder) / RULES_FILE, "the rules of requests", cls._from_record)

    @classmethod
    def _from_record(cls, record: Mapping[str, Any]) -> RequestRules:
        if record["format"] != FORMAT:
            raise ValueError(f"format {record['format']!r}, and this version of credit_assets reads {FORMAT}")
        return cls(tuple(Column.model_validate(column) for column in record["columns"]))


class CheckedRequest:
    """The rows of one request held against the rules, batch after batch.

    Parameters
    ----------
    rules
        What they must keep.
    levels
        The levels that the model has seen, by category.

    Examples
    --------
    >>> rules = RequestRules((Column(name="income", type="float", nullable=False, minimum=0),))
    >>> request = CheckedRequest(rules, {})
    >>> values, warnings = request.read({"income": [1000, "2000", -1, None]}, 4)
    >>> values["income"].to_pylist()
    [1000.0, 2000.0, -1.0, None]
    >>> print(request.refusal)
    2 of 4 rows are refused: income: below 0 (row 3); income: missing (row 4)
    """

    def __init__(self, rules: RequestRules, levels: Mapping[str, Sequence[str]]) -> None:
        self._rules, self._levels = rules, levels if rules.recorded else {}
        self._rows = self._refused_rows = 0
        self._found: dict[tuple[str, str], Broken] = {}
        self._refused: Any = False
        self._reported: dict[str, Any] = {}

    def read(
        self, batch: Mapping[str, Values], rows: int
    ) -> tuple[dict[str, pa.ChunkedArray], NDArray[np.object_] | None]:
        """The columns of the next rows as their types, null where a column is not given, and a warning for each row
        that has one; None where none has.
        """
        import numpy as np

        columns, refused, warned = {}, np.zeros(rows, dtype=bool), []
        self._reported = {}
        for column in self._rules.columns:
            columns[column.name], broken = self._screened(column, batch, rows)
            for rule, mask in broken.items():
                if _refuses(column, rule):
                    self._refuse(column.name, rule, mask, self._rows)
                    self._reported[column.name] = self._reported.get(column.name, False) | mask
                    refused |= mask
                else:
                    warned.append((f"; {column.name}: {rule}", mask))
        self._rows += rows
        self._refused = refused
        self._refused_rows += int(refused.sum())
        if not warned:
            return columns, None
        texts = np.full(rows, "", dtype=object)
        for text, mask in warned:
            texts[mask] += text
        return columns, np.array([text[2:] or None for text in texts], dtype=object)

    def refuse(self, missing: Mapping[str, Mask]) -> None:
        """Rows that were read last and are not scored for a feature that is missing; a derived one perhaps, which is
        told of rows alone that nothing else is wrong with.
        """
        before = self._refused
        for name, lacking in missing.items():
            derived = all(name != column.name for column in self._rules.columns)
            mask = lacking & ~(before if derived else self._reported.get(name, False))
            if mask.any():
                self._refuse(name, MISSING, mask, self._rows - len(mask))
                self._refused_rows += int((mask & ~self._refused).sum())
                self._refused = self._refused | mask

    @property
    def refusal(self) -> RequestError | None:
        """What the rows so far are refused for."""
        if not self._found:
            return None
        places = {column.name: place for place, column in enumerate(self._rules.columns)}
        broken = sorted(self._found.values(), key=lambda one: (places.get(one.column, len(places)), one.rule))
        of = f"{self._refused_rows} of {self._rows} rows are" if self._rows > 1 else "the row is"
        return RequestError(f"{of} refused: {'; '.join(map(str, broken))}", broken)

    def _screened(
        self, column: Column, batch: Mapping[str, Values], rows: int
    ) -> tuple[pa.ChunkedArray, dict[str, Mask]]:
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        from credit_assets.ml.data.schemas import arrow_schema

        type_ = arrow_schema([(column.name, column.type)]).field(0).type
        if column.name not in batch:
            absent = {ABSENT: np.ones(rows, dtype=bool)} if rows else {}
            return pa.chunked_array([pa.nulls(rows, type_)]), absent
        if not self._rules.recorded:
            # Infinite numbers count as missing, as such models have always scored them.
            reading = read(batch[column.name], type_)
            return reading.values, {} if reading.misfits is None else {UNREADABLE[column.type]: reading.misfits}
        screened = screen(column, type_, batch[column.name])
        broken = dict(screened.broken)
        if screened.unreadable is not None:
            broken[UNREADABLE[column.type]] = screened.unreadable
        if screened.missing is not None and not column.nullable:
            broken[MISSING] = screened.missing
        if column.name in self._levels:
            known = pc.is_in(screened.values, value_set=pa.array(self._levels[column.name], type_))
            unseen = screened.values.is_valid().to_numpy() & ~known.to_numpy()
            for mask in screened.broken.values():
                unseen &= ~mask
            if unseen.any():
                broken[UNSEEN] = unseen
        return screened.values, broken

    def _refuse(self, column: str, rule: str, mask: Mask, before_these: int) -> None:
        import numpy as np

        before = self._found.get((column, rule), Broken(column, rule, 0, ()))
        at = np.flatnonzero(mask)
        first = (*before.first, *(int(row) + before_these + 1 for row in at[:_SHOWN_ROWS]))[:_SHOWN_ROWS]
        self._found[column, rule] = Broken(column, rule, before.rows + len(at), first)


def _refuses(column: Column, rule: str) -> bool:
    """Whether a row that breaks the rule is refused; else it is scored with a warning."""
    if column.on_request is not None:
        return column.on_request == "refuse"
    # The contract finds no fault with these, and the pipeline scores them.
    return not (rule == UNSEEN or (rule == ABSENT and column.nullable))
