"""The group of settings that says how long is kept what grows with every day and nothing decides by.

Belongs here: the fields. Does not belong here: what goes and what never does (`credit_assets.ledger.retention`).
"""

from __future__ import annotations

from pydantic import BaseModel, Field

_LEAST = 30
"""Days. Sensors, retries and whoever reads of a failure look at newer ones."""


class RetentionSettings(BaseModel):
    """How long what grows with every day is kept; empty: for ever."""

    keep_events_days: int | None = Field(
        None,
        ge=_LEAST,
        le=36_500,
        description="Days for which Dagster's event log keeps the steps of a run that succeeded; what it made, checked "
        "and decided stays. Empty: for ever.",
    )
    keep_output_days: int | None = Field(
        None,
        ge=_LEAST,
        le=36_500,
        description="Days for which the output of the steps of a run that succeeded is kept. Empty: for ever.",
    )
    keep_candidates_days: int | None = Field(
        None,
        ge=_LEAST,
        le=36_500,
        description="Days for which MLflow keeps candidates of an as-of date of which nothing was registered. Empty: "
        "for ever.",
    )
