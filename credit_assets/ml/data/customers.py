"""Customers: whose applications rows are, where the portfolio says so, as groups of rows that are not independent.

Belongs here: the groups, and which rows of a training set's later splits stay out since their customer stands in an
earlier one. Does not belong here: intervals of groups (`ml.evidence.clusters`), and copies without a customer
(`ml.rules.copies_gate`).

Who applies again within the days of a training set brings much the same features and much the same outcome. Such rows
in the test are partly learned by heart, and a model is praised for a memory that it does not have in use: there, the
applications that it learned from are a performance window older than those that it scores.

Left out are the later rows. The earlier ones could be, and the test would keep everyone; but then the model is trained
on those who will not apply again, whom nobody can tell when it is used, and is calibrated on them. So the model is that
of the whole book, and the test is of customers whom it does not know: what it says of the others is not tested.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from credit_assets.ml.data.portfolio import Portfolio


@dataclass(frozen=True)
class LeftOutRows:
    """Of the rows of the later splits those whose customer stands in an earlier split, and how many there were.

    `customers`: how many different ones the set had; `most`: rows of the one with most; `unnamed`: rows without one.
    """

    rows: int
    customers: int
    most: int
    unnamed: int
    validation: int
    test: int
    of_validation: int
    of_test: int

    @property
    def test_share(self) -> float:
        """Share of the test that was left out."""
        return self.test / self.of_test if self.of_test else 0.0


def groups_of(rows: pa.Table | pd.DataFrame, portfolio: Portfolio) -> NDArray[np.int64] | None:
    """One integer a row, equal for applications of one customer: by no order, and only for these rows.

    Parameters
    ----------
    rows
        With the portfolio's customer column; blanks around a customer and how it is written are no part of it, as of
        ids (`ids.normal_ids`). A row without a customer, or with a word for none, is its own group.
    portfolio
        Whose rows they are.

    Returns
    -------
    numpy.ndarray or None
        None where the portfolio names no customer column: every row is then its own group.

    Raises
    ------
    ValueError
        Where the rows lack the column.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from credit_assets.ml.data.portfolio import Column, Portfolio
    >>> columns = [("id", "string", "id", False), ("day", "date", "date", False), ("who", "string", "customer", True)]
    >>> named = [Column(name=a, type=b, role=c, nullable=d) for a, b, c, d in columns]
    >>> portfolio = Portfolio(name="small", columns=(*named, Column(name="income", type="float")))
    >>> groups_of(pa.table({"who": ["A", None, "A ", "B", None]}), portfolio).tolist()
    [0, -2, 0, 1, -5]
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from credit_assets.ml.data.ids import normal_ids
    from credit_assets.ml.data.values import MISSING_WORDS

    name = portfolio.customer_column
    if name is None:
        return None
    given = rows.column_names if isinstance(rows, pa.Table) else list(rows.columns)
    if name not in given:
        raise ValueError(
            f"the rows lack the customer column {name!r}: they were made before the portfolio named it; make these "
            "days again (`credit-assets backfill`)"
        )
    if isinstance(rows, pa.Table):
        values = rows[name]
    else:
        values = pa.chunked_array([pa.Array.from_pandas(rows[name])])
        if pa.types.is_floating(values.type):  # A frame has whole numbers with gaps as floats.
            values = values.cast(pa.int64())
    if not len(values) or pa.types.is_null(values.type):
        return -1 - np.arange(len(values), dtype=np.int64)
    names = normal_ids(values)
    if pa.types.is_string(names.type) or pa.types.is_large_string(names.type):
        nobody = pc.is_in(pc.utf8_lower(names), pa.array(MISSING_WORDS, names.type))
        names = pc.if_else(nobody, pa.scalar(None, names.type), names)
    codes = pc.dictionary_encode(names).combine_chunks().indices
    alone = pa.array(-1 - np.arange(len(values), dtype=np.int64))
    return np.asarray(pc.coalesce(codes.cast(pa.int64()), alone).to_numpy(zero_copy_only=False))


def known_before(groups: NDArray[np.int64], lengths: tuple[int, int, int]) -> tuple[NDArray[np.bool_], LeftOutRows]:
    """Which rows stay, of rows that are train, validation and test one after the other, so many of each: in each split
    those of customers that no earlier one has.

    >>> import numpy as np
    >>> stays, found = known_before(np.array([0, 1, 1, 0, 2, 2, -7]), (2, 2, 3))
    >>> stays.tolist(), found.validation, found.test
    ([True, True, False, False, True, True, True], 2, 0)
    """
    import numpy as np

    _, validation, test = lengths
    split = np.repeat(np.arange(3), lengths)
    _, places, counts = np.unique(groups, return_inverse=True, return_counts=True)
    first = np.full(len(counts), 3)
    np.minimum.at(first, places, split)
    stays = split == first[places]
    out = np.bincount(split[~stays], minlength=3)
    named = groups >= 0
    of_one = np.bincount(groups[named]) if named.any() else np.zeros(1, dtype=np.int64)
    return stays, LeftOutRows(
        rows=len(groups),
        customers=int(np.count_nonzero(of_one)),
        most=int(of_one.max()),
        unnamed=int(np.count_nonzero(~named)),
        validation=int(out[1]),
        test=int(out[2]),
        of_validation=validation,
        of_test=test,
    )
