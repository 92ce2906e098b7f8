"""Time slicing: the daily partitions, and which days of another asset a day is made of.

Belongs here: nothing but days, and in which runs they go. Which asset reads which window stands in
`credit_assets.stages`, what it does with it in `credit_assets.assets`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from zoneinfo import ZoneInfo

import dagster as dg

from credit_assets.settings import Settings
from credit_assets.stages import Window


def daily_partitions(settings: Settings) -> dg.DailyPartitionsDefinition:
    """One partition a day from CREDIT_START_DATE, in CREDIT_TIMEZONE; a day exists once it has closed."""
    return dg.DailyPartitionsDefinition(settings.start_date.isoformat(), timezone=settings.timezone)


def today(settings: Settings) -> date:
    """The day that is not over in CREDIT_TIMEZONE; the one before it is the last that has closed."""
    return datetime.now(ZoneInfo(settings.timezone)).date()


def partition_mapping(settings: Settings, window: Window) -> dg.TimeWindowPartitionMapping | None:
    """Which days of an upstream asset a day D reads; None where it is D alone.

    mature_cohorts: application dates D-W-lookback+1 .. D-W, the cohorts that have matured by D; where windows start at
        the booking, also those of the days before from which a loan may have been booked within these.
    known_outcomes: outcome dates from the oldest cohort's first day to D, what was known by the end of D.
    drift: the days that a drift report pools at most.
    performance: from the first of the cohorts that matured last to D.
    """
    before = settings.portfolio_contract.booking_days
    oldest_cohort = -(settings.window_days + settings.lookback_days - 1 + before)
    offsets: dict[Window, tuple[int, int]] = {
        "mature_cohorts": (oldest_cohort, -settings.window_days),
        "known_outcomes": (oldest_cohort, 0),
        "drift": (-(settings.drift_window_days - 1), 0),
        "performance": (-(settings.window_days + settings.performance_cohort_days - 1 + before), 0),
    }
    if window == "same_day":
        return None
    first, last = offsets[window]
    return dg.TimeWindowPartitionMapping(
        start_offset=first, end_offset=last, allow_nonexistent_upstream_partitions=True
    )


def ranges(days: Sequence[date], longest: int) -> Iterator[tuple[date, date]]:
    """Days in runs without a gap, none longer than `longest`."""
    if not days:
        return
    first = previous = days[0]
    for day in days[1:]:
        if (day - previous).days > 1 or (day - first).days >= longest:
            yield first, previous
            first = day
        previous = day
    yield first, previous
