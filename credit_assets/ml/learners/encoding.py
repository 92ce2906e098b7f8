"""The one form in which every learner gets its inputs: numbers as float64, categories as places among fixed levels.

Belongs here: bringing rows into that form, a batch at a time. Does not belong here: deriving features
(`credit_assets.ml.data.features`), reading (`credit_assets.ml.data.rows`) and what one library makes of it.

Levels are fixed once, from the rows a model is trained on, and stored with the model. A level that it has not seen is
missing to it: no learner has an opinion about a purpose of loan that did not exist when it was trained, and each of
the three libraries would otherwise meet it in its own way (one of them with an error).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from credit_assets.ml.data.rows import Data, Rows
from credit_assets.ml.data.values import Values, numbers, texts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike, NDArray


UNSEEN = -2
"""The place of a level that the model has not seen, where it is told apart from a missing one, which is -1."""


@dataclass(frozen=True)
class Encoded:
    """Rows in that form, made anew for each who asks, so that the whole of it is never held.

    `names` are the features in order; those in `levels` are categories, those in `unseen_apart` have UNSEEN levels.
    """

    rows: Rows
    names: tuple[str, ...]
    levels: Mapping[str, tuple[str, ...]]
    unseen_apart: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self) -> Iterator[list[NDArray[Any]]]:
        """The columns of each batch: float64 with NaN for missing, or int32 places of levels with -1 for missing."""
        for batch in self.rows.batches(self.names):
            yield [
                _places(batch[name], self.levels[name], UNSEEN if name in self.unseen_apart else -1)
                if name in self.levels
                else numbers(batch[name])
                for name in self.names
            ]

    def matrices(self, dtype: DTypeLike) -> Iterator[NDArray[Any]]:
        """Each batch as a matrix, rows by features, of floats: places of levels as numbers, NaN for missing."""
        import numpy as np

        for columns in self.batches():
            result = np.empty((len(columns[0]), len(columns)), dtype=dtype)
            # What does not fit a float32 becomes infinite, and every library has its word on that.
            with np.errstate(over="ignore"):
                for position, (name, column) in enumerate(zip(self.names, columns, strict=True)):
                    result[:, position] = column
                    if name in self.levels:
                        result[column < 0, position] = np.nan
            yield result


@dataclass(frozen=True)
class Filled(Encoded):
    """A batch that is encoded already: its `columns`, in order."""

    columns: Sequence[NDArray[Any]] = ()

    def __len__(self) -> int:
        return len(self.columns[0])

    def batches(self) -> Iterator[list[NDArray[Any]]]:
        """The one batch."""
        yield list(self.columns)


def levels_of(
    batches: Iterator[Mapping[str, Values]] | Sequence[Mapping[str, Values]], names: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """The levels of each of these columns over all batches: values as text, without missing ones, sorted."""
    import numpy as np

    levels: dict[str, set[str]] = {name: set() for name in names}
    for batch in batches:
        for name in names:
            places, different = texts(batch[name])
            # A dictionary may know values that no row has.
            seen = np.bincount(places, minlength=len(different)) if len(places) else np.zeros(len(different), int)
            levels[name].update(text for text, rows in zip(different, seen, strict=True) if rows and text is not None)
    return {name: tuple(sorted(one)) for name, one in levels.items()}


def encode(data: Data, features: Sequence[str], categorical: Mapping[str, Sequence[str]]) -> Encoded:
    """The features of `data`, in order; those in `categorical` have the given levels.

    Other columns are left out and the order of columns is free. Raises ValueError naming columns that are missing.
    """
    rows = Rows.of(data)
    missing = [name for name in features if name not in rows.names]
    if missing:
        raise ValueError(f"the frame lacks the features {', '.join(missing)}")
    fixed = {name: tuple(categorical[name]) for name in features if name in categorical}
    return Encoded(rows, tuple(features), fixed)


def matrix(encoded: Encoded, dtype: DTypeLike = "float64") -> NDArray[Any]:
    """All rows as one matrix, as `Encoded.matrices` makes them."""
    import numpy as np

    return np.concatenate([np.empty((0, len(encoded.names)), dtype=dtype), *encoded.matrices(dtype)])


def _places(values: Values, fixed: Sequence[str], unseen: int) -> NDArray[np.int32]:
    import numpy as np

    places, different = texts(values)
    known = {level: place for place, level in enumerate(fixed)}
    mapped = np.array([-1 if text is None else known.get(text, unseen) for text in different], dtype=np.int32)
    return mapped[places]
