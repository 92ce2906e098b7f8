"""The one form in which every learner gets its inputs: numbers as float64, categories with fixed levels.

Belongs here: bringing a frame into that form. Does not belong here: deriving features (`credit_assets.ml.features`)
and what one library makes of it.

Levels are fixed once, from the rows a model is trained on, and stored with the model. A level that it has not seen is
missing to it: no learner has an opinion about a purpose of loan that did not exist when it was trained, and each of
the three libraries would otherwise meet it in its own way (one of them with an error).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from credit_assets.ml.features import as_categories, as_numbers

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


def levels(values: pd.Series[Any]) -> tuple[str, ...]:
    """The levels of a category: its values as text, without missing ones, sorted."""
    return tuple(sorted(set(as_categories(values).dropna())))


def encode(frame: pd.DataFrame, features: Sequence[str], categorical: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The features of `frame`, in order: float64, or pandas Categorical with exactly the given levels.

    Other columns are left out and the order of columns is free. Raises ValueError naming columns that are missing.
    """
    import pandas as pd

    missing = [name for name in features if name not in frame.columns]
    if missing:
        raise ValueError(f"the frame lacks the features {', '.join(missing)}")
    columns: dict[str, Any] = {}
    for name in features:
        if name not in categorical:
            columns[name] = as_numbers(frame[name]).to_numpy()
        else:
            fixed = list(categorical[name])
            # get_indexer gives -1 for what is no level, which from_codes takes for missing.
            known = pd.Index(fixed, dtype=object)
            codes = known.get_indexer(pd.Index(as_categories(frame[name]), dtype=object))
            columns[name] = pd.Categorical.from_codes(codes, categories=known)
    return pd.DataFrame(columns, index=frame.index)


def matrix(encoded: pd.DataFrame) -> NDArray[np.float64]:
    """An encoded frame as a matrix, rows by features: numbers as they are, categories as the position of their level.

    Missing is NaN in both.
    """
    import numpy as np
    import pandas as pd

    result = np.empty(encoded.shape, dtype=np.float64)
    for position, name in enumerate(encoded.columns):
        column = encoded[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            codes = column.cat.codes.to_numpy()
            result[:, position] = np.where(codes < 0, np.nan, codes)
        else:
            result[:, position] = column.to_numpy(dtype=np.float64)
    return result


def categories(encoded: pd.DataFrame) -> list[str]:
    """Names of the categorical columns of an encoded frame. Raises ValueError for a column that is not encoded."""
    import pandas as pd

    found = []
    for name, dtype in encoded.dtypes.items():
        if isinstance(dtype, pd.CategoricalDtype):
            found.append(cast("str", name))
        elif dtype != "float64":
            raise ValueError(f"column {name!r} is neither float64 nor a category with levels: pass the frame to encode")
    return found
