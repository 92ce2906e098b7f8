"""Time slicing: the daily partitions and the window of mature cohorts that a training set reads.

Belongs here: nothing but days. What happens in them stands in `credit_assets.assets`.
"""

from __future__ import annotations

import dagster as dg

from credit_assets.settings import Settings


def daily_partitions(settings: Settings) -> dg.DailyPartitionsDefinition:
    """One partition a day from CREDIT_START_DATE, in CREDIT_TIMEZONE; a day exists once it has closed."""
    return dg.DailyPartitionsDefinition(settings.start_date.isoformat(), timezone=settings.timezone)


def mature_cohorts(settings: Settings) -> dg.TimeWindowPartitionMapping:
    """Application dates D-W-lookback+1 .. D-W: the cohorts that have matured by as-of date D."""
    return dg.TimeWindowPartitionMapping(
        start_offset=-(settings.window_days + settings.lookback_days - 1),
        end_offset=-settings.window_days,
        allow_nonexistent_upstream_partitions=True,
    )


def known_outcomes(settings: Settings) -> dg.TimeWindowPartitionMapping:
    """Outcome dates from the oldest cohort's first day to D: what was known by the end of D."""
    return dg.TimeWindowPartitionMapping(
        start_offset=-(settings.window_days + settings.lookback_days - 1),
        end_offset=0,
        allow_nonexistent_upstream_partitions=True,
    )
