"""Who was champion when, what was known of each, and which applications a report on them looks at.

Belongs here: what the parts of a performance report share. Does not belong here: the report (`performance`), and its
part on loans that matured since a training (`since_training`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from credit_assets.ml.evidence.calibration_error import SURE, CalibrationError
from credit_assets.ml.rules.periods import Period

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray


@dataclass(frozen=True)
class RegisteredModel:
    """What was known of a version when it was registered; None where that was not recorded.

    `baseline`: the record of `ml.evidence.baseline.measure_baseline`.
    """

    as_of: date
    measures: Mapping[str, float | None]
    training_rows: int | None
    baseline: Mapping[str, Any] | None = None
    trained_as_of: date | None = None
    """Where it is another version with a new calibration, as of which day that was trained."""

    @property
    def calibration(self) -> CalibrationError:
        """How uncertain its PDs are."""
        return CalibrationError(**self.baseline["calibration"]) if self.baseline else SURE


@dataclass(frozen=True)
class Cohorts:
    """A report looks at `cohort_days` days of applications: the newest whose window of `window_days` has closed, and
    the newest of all. None lies before `first_day`.
    """

    first_day: date
    window_days: int
    cohort_days: int

    def matured(self, day: date) -> tuple[date, date]:
        """First and last application date of the cohort that matured last; the first is later where there is none."""
        last = day - timedelta(self.window_days)
        return max(self.first_day, last - timedelta(self.cohort_days - 1)), last

    def newest(self, day: date) -> tuple[date, date]:
        """First and last application date of the newest cohort."""
        return max(self.first_day, day - timedelta(self.cohort_days - 1)), day


@dataclass(frozen=True)
class Champions:
    """Who was champion when (`periods.champion_history`), and what is known of each of these versions.

    `score`: the PDs of a version for a table of features; it raises ValueError or PermanentError where it cannot.
    """

    history: Sequence[Period]
    models: Mapping[str, RegisteredModel]
    score: Callable[[str, pa.Table], NDArray[np.float64]] | None = None
