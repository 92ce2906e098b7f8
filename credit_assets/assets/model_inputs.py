"""What a model reads of applications, wherever the store still has it.

Belongs here: finding the values of columns that a model reads and that `processed_features` has no more, because they
have left the portfolio. Does not belong here: which columns these are (`ml.data.left_columns`), and what is done where
they are nowhere (whoever asks).

An ignored or protected column is in `raw_loan_data` as before; one that is in the portfolio no more is so on the days
that were ingested until then. What is found goes to the model that was trained on it, and to no learner: a training set
has the portfolio's features alone.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from credit_assets.assets.applied import by_day
from credit_assets.failures import PermanentError
from credit_assets.ml.data.left_columns import in_words, left_columns
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.storage.store import RefusedPartitionError, Store

if TYPE_CHECKING:
    import pyarrow as pa

    from credit_assets.ml.learners.scorer import CreditScorer

_WHERE = ("raw_loan_data", "history_features", "processed_features")
"""What may have a column, the first that is asked first."""


class MissingInputsError(PermanentError):
    """A model needs columns that the store has nowhere."""


class ModelInputs:
    """Columns that models read, of applications of any days."""

    def __init__(self, store: Store, portfolio: Portfolio) -> None:
        self._store, self._portfolio = store, portfolio
        # A column of the applications may have left its name to one of these.
        self._computed = {one.name for one in portfolio.function_features}

    def left(self, scorer: CreditScorer) -> dict[str, str]:
        """Columns that the model reads and that are no features of its kind any more, with what they are now."""
        return left_columns(scorer.inputs, scorer.categories, self._portfolio)

    def beside(self, rows: pa.Table, scorer: CreditScorer) -> pa.Table:
        """The rows, which have id and date, with all that the model reads, as it means it; themselves where they have
        it. A derived feature that the portfolio computes otherwise now is left out: the model computes its own.

        Raises MissingInputsError naming columns and days, PermanentError as the store does.
        """
        import pyarrow as pa

        from credit_assets.ml.learners.scorer import derived_of

        ours = {one.name: one for one in derived_of(self._portfolio)}
        others = [one.name for one in scorer.derived if one.name in rows.column_names and ours.get(one.name) != one]
        rows = rows.drop_columns(others) if others else rows
        wanted = {name: name in scorer.categories for name in scorer.inputs}
        lacks = [name for name, text in wanted.items() if name in self._computed or not _has(rows.schema, name, text)]
        if not lacks or not rows.num_rows:
            return rows
        key, day = self._portfolio.id_column, self._portfolio.date_column
        found: dict[str, list[pa.ChunkedArray]] = {name: [] for name in lacks}
        nowhere: dict[str, list[date]] = {}
        whole = rows.drop_columns([name for name in lacks if name in rows.column_names])
        parts = []
        for of_day, part in by_day(whole, day):
            parts.append(part)
            for name in lacks:
                values = self._values(name, of_day, part[key], text=wanted[name])
                if values is None:
                    nowhere.setdefault(name, []).append(of_day)
                else:
                    found[name].append(values)
        if nowhere:
            raise MissingInputsError(self._missing_in_words(scorer, nowhere))
        whole = pa.concat_tables(parts)
        for name, columns in found.items():
            whole = whole.append_column(name, pa.chunked_array([c for one in columns for c in one.chunks]))
        return whole

    def _values(self, name: str, day: date, ids: pa.ChunkedArray, *, text: bool) -> pa.ChunkedArray | None:
        """The column of these applications; None where nothing of the day has it as what the model reads."""
        import pyarrow as pa
        import pyarrow.compute as pc

        from credit_assets.ml.data.values import read

        key = self._portfolio.id_column
        for asset in _WHERE[:1] if name in self._computed else _WHERE:
            try:
                schema = self._store.open_table(self._store.path(asset, f"{day}.parquet")).schema_arrow
                if not _has(schema, name, text):
                    continue
                table = self._store.read_partitions(asset, [day.isoformat()], [key, name])
            except (FileNotFoundError, RefusedPartitionError):
                continue
            places = pc.index_in(ids, value_set=table[key].combine_chunks())
            if places.null_count:
                continue
            return read(table[name].take(places), pa.string() if text else pa.float64()).values
        return None

    def _missing_in_words(self, scorer: CreditScorer, nowhere: dict[str, list[date]]) -> str:
        now = self.left(scorer)
        days = sorted({day for of_name in nowhere.values() for day in of_name})
        shown = f"{days[0]}" if len(days) == 1 else f"{len(days)} days ({days[0]} .. {days[-1]})"
        columns = in_words({name: now.get(name, "not computed") for name in nowhere})
        return f"the model reads {columns}, and the store has no values of {shown}"


def _has(schema: pa.Schema, name: str, text: bool) -> bool:
    """Whether a table has the column as what the model reads: text, or a number."""
    import pyarrow as pa

    if name not in schema.names:
        return False
    kind = schema.field(name).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if text:
        return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))
