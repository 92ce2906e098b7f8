"""Rows that became known one after another, several of an application: in the order in which they became known.

Belongs here: that order, and finding the rows of an application. Does not belong here: what a row says (`decisions`,
`outcomes`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray


class KnownRows:
    """The rows of a table sorted by application, then by when they became known.

    `ids`: the applications; `place`: of each sorted row the place of its application among them; `day`: when it became
    known, as days since 1970; `order`: the row's number in the table.

    Parameters
    ----------
    ids, days
        Of each row the application, and the day on which it became known (date32); rows that lack one are left out.
    ties
        What decides about rows of one application and day, the first of them first: numbers, the larger the later.
    """

    def __init__(self, ids: pa.ChunkedArray, days: pa.ChunkedArray, *ties: NDArray[np.int64]) -> None:
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        encoded = ids.combine_chunks().dictionary_encode()
        self.ids = encoded.dictionary
        usable = np.flatnonzero(pc.and_(ids.is_valid(), days.is_valid()).to_numpy())
        place = pc.fill_null(encoded.indices, 0).to_numpy()[usable]
        day = pc.fill_null(days.cast(pa.int32()), 0).to_numpy()[usable]
        at = np.lexsort((*(tie[usable] for tie in reversed(ties)), day, place))
        self.place: NDArray[np.int64] = place[at].astype(np.int64)
        self.day: NDArray[np.int64] = day[at].astype(np.int64)
        self.order: NDArray[np.int64] = usable[at]

    @property
    def applications(self) -> int:
        return len(self.ids)

    def places(self, ids: pa.ChunkedArray) -> NDArray[np.int64]:
        """The place of each of these applications; -1 where no row is of it."""
        import numpy as np
        import pyarrow.compute as pc

        found = pc.fill_null(pc.index_in(ids, value_set=self.ids.cast(ids.type)), -1)
        return np.asarray(found.to_numpy(), dtype=np.int64)


def last_of_each(place: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of sorted places, the positions of the last row of each."""
    import numpy as np

    if not len(place):
        return np.empty(0, dtype=np.int64)
    return np.append(np.flatnonzero(place[1:] != place[:-1]), len(place) - 1)
