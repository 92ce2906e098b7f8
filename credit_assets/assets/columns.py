"""Columns of the tables as the UI shows them. Belongs here: the metadata. Does not belong here: which columns a table
has (`credit_assets.ml.data.schemas`).
"""

from __future__ import annotations

from typing import Any

import dagster as dg

from credit_assets.ml.data.schemas import STORAGE, Fields


def column_schema(fields: Fields) -> dict[str, Any]:
    """Metadata of an asset. Of its definition, not of each materialization: a backfill would record it thousands of
    times.
    """
    columns = [dg.TableColumn(name, STORAGE[kind].arrow) for name, kind in fields]
    return {"dagster/column_schema": dg.TableSchema(columns)}
