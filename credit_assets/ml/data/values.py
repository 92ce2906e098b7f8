"""A value as its type: text, numbers, days and ids as they come from files and warehouses.

Belongs here: reading one column as the type that the portfolio says. Does not belong here: what is done with a value
that cannot be read (`contracts`).
"""

from __future__ import annotations

import math
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    Numbers = pd.Series[float]


def all_finite(values: pa.ChunkedArray) -> bool:
    """Whether no float is infinite or NaN, in one pass: a sum is finite only if every value is.

    False may also mean that sound values add up to more than a float holds; then it costs a second look.
    """
    import pyarrow.compute as pc

    total = pc.sum(values).as_py()
    return total is None or math.isfinite(total)


def as_numbers(values: pd.Series[Any]) -> Numbers:
    """The column as float64: numbers, booleans, decimals and numbers written as text; anything else becomes NaN.

    Infinities become NaN too. Keeps the index.
    """
    import numpy as np
    import pandas as pd

    if values.dtype == np.float64:
        numbers = values
    elif pd.api.types.is_numeric_dtype(values.dtype) or pd.api.types.is_bool_dtype(values.dtype):
        numbers = pd.Series(values.to_numpy(dtype="float64", na_value=np.nan), index=values.index, name=values.name)
    else:
        numbers = pd.to_numeric(values.astype(object), errors="coerce").astype("float64")
    return cast("Numbers", numbers.where(np.isfinite(numbers)) if not np.isfinite(numbers).all() else numbers)


def as_categories(values: pd.Series[Any]) -> pd.Series[Any]:
    """The column as objects: str, or None where missing. Whole numbers keep no decimal point.

    An integer column with gaps arrives from Arrow as float: without that rule a level would be "3" on a day without
    missing values and "3.0" on the next. Keeps the index.
    """
    import pandas as pd

    missing = values.isna().to_numpy()
    texts = values.astype(object).to_numpy(copy=True)
    texts[missing] = None
    if pd.api.types.infer_dtype(texts, skipna=True) not in ("string", "empty"):
        texts[~missing] = [_level(value) for value in texts[~missing]]
    return pd.Series(texts, index=values.index, name=values.name, dtype=object)


def as_days(values: pd.Series[Any]) -> pd.Series[Any]:
    """The column as datetime64[ms] at midnight, from dates, timestamps (with or without zone) and ISO texts.

    A timestamp with a zone keeps the calendar day of its own zone. What is no date becomes NaT. Keeps the index.
    """
    import numpy as np
    import pandas as pd

    if isinstance(values.dtype, pd.DatetimeTZDtype):
        values = values.dt.tz_localize(None)
    if values.dtype.kind == "M" and isinstance(values.dtype, np.dtype):
        days = values.to_numpy().astype("datetime64[D]")
    else:
        days = _days_of_objects(values.astype(object).where(values.notna(), None).to_numpy())
    return pd.Series(days.astype("datetime64[ms]"), index=values.index, name=values.name)


def as_ids(values: pd.Series[Any], type_: str) -> pd.Series[Any]:
    """The id column as declared: int64 for "integer" (where every id is a whole number), else str; keeps the index."""
    import numpy as np

    if type_ == "integer":
        numbers = as_numbers(values)
        if numbers.notna().all() and (numbers == np.floor(numbers)).all():
            # Through float64 only where the text forces it ("12.0"): above 2^53 it would round.
            try:
                exact = values if values.dtype.kind in "iu" else values.astype(object).map(int)
            except ValueError:
                exact = numbers
            return cast("pd.Series[Any]", exact.astype("int64"))
    return as_categories(values)


def _days_of_objects(objects: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    import numpy as np
    import pandas as pd

    if pd.api.types.infer_dtype(objects, skipna=True) != "date":
        objects = np.array([_day(value) for value in objects], dtype=object)
    return objects.astype("datetime64[D]")


def _day(value: object) -> date | None:
    """Numbers are no dates here: read as days since 1970, a customer number would become a valid date."""
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value.strip()).date()
        except ValueError:
            return None
    if isinstance(value, datetime):
        return value.date()
    return value if isinstance(value, date) else None


def _level(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _finite(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numbers or booleans as float64, null where they are not finite."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_floating(values.type):
        # Unsafe: integers beyond 2^53 are rounded to the nearest float, as everywhere.
        return values.cast(pa.float64(), safe=False)
    if all_finite(values):
        return values
    return pc.if_else(pc.is_finite(values), values, pa.scalar(None, values.type))


def _in_order(table: pa.Table, *keys: str) -> bool:
    """Whether the rows are sorted by two columns without nulls."""
    import pyarrow.compute as pc

    before, after = table.slice(0, max(table.num_rows - 1, 0)), table.slice(1)
    (major, minor) = keys
    rises = pc.less(before.column(major), after.column(major))
    stays = pc.equal(before.column(major), after.column(major))
    stays = pc.and_(stays, pc.less_equal(before.column(minor), after.column(minor)))
    return bool(pc.all(pc.or_(rises, stays)).as_py())
