"""Which rows of the training set each worker of a cluster reads, and the reading.

Belongs here: the plan, made by the client from two columns, and what a worker does to have its rows. Does not belong
here: the cluster (`dask_cluster`) and what is done with the rows (`dask_fits`).

Every function here may run on a worker. They return small results, or what stays there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from credit_assets.failures import PermanentError, TransientError
from credit_assets.ml.data.cohorts import SPLIT, SPLITS, TARGET
from credit_assets.ml.learners.training import require_columns, require_known_splits, require_outcomes

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from numpy.typing import NDArray

    from credit_assets.ml.data.portfolio import Portfolio
    from credit_assets.ml.learners.missing import Seen

# Row groups each worker must get at least, for whole groups to be shared out evenly enough; else rows are.
_GROUPS_EACH = 4


@dataclass(frozen=True)
class Share:
    """Rows of one split that one worker reads: of each row group, those whose number within the split is
    `first`, `first + step`, ... `before` is the number of rows of the split before each group."""

    split: str
    groups: tuple[int, ...]
    before: tuple[int, ...]
    first: int
    step: int
    rows: int


@dataclass(frozen=True)
class Plan:
    """The file, as the client saw it, and its rows by row group."""

    path: Any
    footer: str
    features: tuple[str, ...]
    categorical: tuple[str, ...]
    counts: Mapping[str, tuple[int, ...]]
    workers: int

    @classmethod
    def of(cls, path: Any, portfolio: Portfolio, workers: int) -> Plan:
        """Raises ValueError as `train_candidate` for a set that cannot be trained on, PermanentError without file."""
        import numpy as np

        counts: dict[str, list[int]] = {split: [] for split in SPLITS}
        bads = dict.fromkeys(SPLITS, 0)
        with _opened(path) as file:
            require_columns(tuple(file.schema_arrow.names), portfolio.feature_names)
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=[SPLIT, TARGET])
                split, target = table.column(SPLIT).to_numpy(), table.column(TARGET).to_numpy()
                require_known_splits(set(np.unique(split.astype(str))))
                for name in SPLITS:
                    inside = split == name
                    counts[name].append(int(inside.sum()))
                    bads[name] += int(target[inside].sum())
        for name in SPLITS:
            require_outcomes(name, sum(counts[name]), bads[name])
        fixed = {name: tuple(numbers) for name, numbers in counts.items()}
        return cls(path, footer(path), portfolio.feature_names, portfolio.categorical_features, fixed, workers)

    def rows(self, split: str) -> int:
        return sum(self.counts[split])

    def share(self, split: str, worker: int) -> Share:
        """The rows of a worker: whole row groups in turn where there are many, else every n-th row.

        In turn and not in a block: a block is a stretch of time, whose values a bin would take for all there are.
        """
        import numpy as np

        counts = self.counts[split]
        before = np.concatenate([[0], np.cumsum(counts)])[:-1]
        filled = [group for group, rows in enumerate(counts) if rows]
        whole = len(filled) >= _GROUPS_EACH * self.workers
        groups = filled[worker :: self.workers] if whole else filled
        first, step = (0, 1) if whole else (worker, self.workers)
        rows = sum(counts[group] for group in groups) if whole else len(range(worker, self.rows(split), step))
        return Share(split, tuple(groups), tuple(int(before[g]) for g in groups), first, step, rows)

    def everything(self, split: str) -> Share:
        return dataclasses.replace(self, workers=1).share(split, 0)


def read(plan: Plan, share: Share) -> tuple[pa.Table, NDArray[np.int64]]:
    """Features and target of the rows of a share, and the number of each row within its split.

    Raises PermanentError where this process cannot read the file, TransientError where it was written again.
    """
    import numpy as np
    import pyarrow as pa

    columns = [*plan.features, TARGET]
    try:
        now = footer(plan.path)
    except OSError as error:
        raise PermanentError(
            f"{_place()} cannot read {plan.path} ({type(error).__name__}: {error}): with CREDIT_DASK_SCHEDULER the "
            "store (CREDIT_STORE_URI) must be readable from every worker; use object storage or a folder that all mount"
        ) from error
    if now != plan.footer:
        raise TransientError(f"{plan.path} was written again while a model was being trained on it")
    tables, positions = [], []
    with _opened(plan.path) as file:
        for group, before in zip(share.groups, share.before, strict=True):
            table = file.read_row_group(group, columns=[*columns, SPLIT])
            inside = np.flatnonzero(table.column(SPLIT).to_numpy() == share.split)
            numbers = np.arange(before, before + len(inside))
            mine = numbers % share.step == share.first
            tables.append(table.select(columns).take(pa.array(inside[mine])))
            positions.append(numbers[mine])
    return pa.concat_tables(tables), np.concatenate(positions)


def load(plan: Plan, share: Share) -> pa.Table:
    """The rows of a share: features and target."""
    return read(plan, share)[0]


def target(table: pa.Table) -> NDArray[np.float64]:
    import numpy as np

    return np.asarray(table.column(TARGET).to_numpy(), dtype=np.float64)


def levels_of_share(table: pa.Table, categorical: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The levels of these columns that the rows have."""
    from credit_assets.ml.data.rows import Rows
    from credit_assets.ml.learners.encoding import levels_of

    return levels_of(Rows.of(table).batches(categorical), categorical)


def seen_of_share(table: pa.Table, features: Sequence[str], levels: Mapping[str, tuple[str, ...]]) -> dict[str, Seen]:
    """What of each feature is there in the rows."""
    from credit_assets.ml.learners.encoding import encode
    from credit_assets.ml.learners.missing import seen_in

    return seen_in(encode(table, features, levels))


def inputs(table: pa.Table, features: Sequence[str], levels: Mapping[str, tuple[str, ...]], dtype: str) -> NDArray[Any]:
    """The features of the rows as one matrix of floats."""
    from credit_assets.ml.learners.encoding import encode, matrix

    return matrix(encode(table, features, levels), dtype)


def footer(path: Any) -> str:
    """SHA-256 of the file's footer, which holds places, sizes and bounds of all its columns."""
    import hashlib

    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(size - 8)
        length = int.from_bytes(file.read(4), "little")
        file.seek(max(0, size - 8 - length))
        return hashlib.sha256(file.read(length)).hexdigest()


@contextmanager
def _opened(path: Any) -> Iterator[pq.ParquetFile]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = path.open("rb")
    except OSError as error:
        raise PermanentError(f"the training set {path} cannot be read ({error}); materialize it") from error
    with file:
        try:
            yield pq.ParquetFile(file, page_checksum_verification=True)
        except (pa.ArrowInvalid, OSError) as error:
            if isinstance(error, OSError) and error.errno:
                raise
            raise PermanentError(f"{path} is damaged ({error}); materialize it again") from error


def _place() -> str:
    from distributed import get_worker

    try:
        return f"Dask worker {get_worker().address}"
    except ValueError:
        return "this step"
