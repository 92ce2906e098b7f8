"""Columns as the learners take them. Belongs here: what more than one library needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def as_categories(frame: pd.DataFrame, categorical: Mapping[str, tuple[str, ...]]) -> pd.DataFrame:
    """Category columns as pandas categories with fixed levels; a level that training did not know is missing."""
    import pandas as pd

    columns = {
        name: pd.Categorical(frame[name], categories=list(categorical[name]))
        if name in categorical
        else frame[name].astype("float64")
        for name in frame.columns
    }
    return pd.DataFrame(columns, index=frame.index)
