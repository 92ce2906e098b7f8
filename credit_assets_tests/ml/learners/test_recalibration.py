"""A new calibration: which rows it sees, what it moves, and that it is the same model otherwise."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from credit_assets.ml.data.fingerprints import fingerprint
from credit_assets.ml.data.log_odds import probability
from credit_assets.ml.data.policies import CalibrationPolicy
from credit_assets.ml.evidence.calibration_evidence import measure_calibration
from credit_assets.ml.learners.calibration import PlattCalibration
from credit_assets.ml.learners.recalibration import CODE, Parts, parts_of, recalibrate, recalibration_identity
from credit_assets_tests.support.modelling import PORTFOLIO

POLICY = CalibrationPolicy()
FIRST = date(2024, 1, 1)


@dataclass(frozen=True)
class Scorer:
    """A model whose margin is a column; it stands for any learner's."""

    calibration: PlattCalibration = field(default_factory=lambda: PlattCalibration(1.0, 0.0))

    def margin(self, rows: pa.Table, *, threads: int = 1) -> Any:
        return rows["margin"].to_numpy()

    def pd(self, rows: pa.Table) -> Any:
        return self.calibration.pd(self.margin(rows))


def rows_of(per_day: int, days: int, seed: int = 1, rate: float = -2.2) -> pa.Table:
    """Margins that are the true log-odds; train, validation and test by day, 60, 20 and 20%."""
    rng = np.random.default_rng(seed)
    day = np.repeat(np.arange(days), per_day)
    margin = rate + rng.standard_normal(len(day))
    split = np.where(day < 0.6 * days, "train", np.where(day < 0.8 * days, "validation", "test"))
    return pa.table(
        {
            "day": pa.array([FIRST + timedelta(int(one)) for one in day], pa.date32()),
            "margin": margin,
            "default": (rng.random(len(day)) < probability(margin)).astype("int8"),
            "split": split,
        }
    )


def recalibrated(scorer: Scorer, table: pa.Table, test_from: date = FIRST, policy: CalibrationPolicy = POLICY) -> Any:
    anything: Any = scorer
    return recalibrate(anything, parts_of(table, "day", test_from, policy.recalibration_bads), policy)


def test_rows_are_the_newest_before_the_test_that_the_model_has_not_used() -> None:
    table = rows_of(30, 100)
    parts = parts_of(table, "day", FIRST + timedelta(20), 50)
    days = parts.fit["day"].to_pylist()
    assert max(days) == FIRST + timedelta(79)
    assert set(parts.test["split"].to_pylist()) == {"test"}
    # Whole days, and not one more than it takes.
    counted = parts.fit.num_rows // 30
    assert parts.fit.num_rows == 30 * counted
    fewer = [bad for bad, day in zip(parts.fit["default"].to_pylist(), days, strict=True) if day > min(days)]
    assert sum(fewer) < 50 <= parts.bads
    everything = parts_of(table, "day", FIRST + timedelta(20), 100_000)
    assert min(everything.fit["day"].to_pylist()) == FIRST + timedelta(20)
    # A champion that has used part of the test's days is judged on the others.
    late = parts_of(table, "day", FIRST + timedelta(90), 50)
    assert (late.fit.num_rows, min(late.test["day"].to_pylist())) == (0, FIRST + timedelta(90))


def test_a_wrong_level_is_moved_and_nothing_else() -> None:
    old = Scorer(PlattCalibration(1.0, -0.9))
    found = recalibrated(old, rows_of(60, 100))
    new = found.scorer.calibration
    assert (found.why, new.slope) == ("", 1.0)
    assert new.intercept == pytest.approx(0, abs=0.25)
    assert found.before.observed_over_expected.low > 1.5


def test_a_wrong_slope_is_moved_once_the_rows_show_it() -> None:
    policy = CalibrationPolicy(recalibration_bads=1_000)
    new = recalibrated(Scorer(PlattCalibration(2.5, 1.0)), rows_of(120, 200), policy=policy).scorer.calibration
    assert new.slope == pytest.approx(1, abs=0.25)
    assert new.intercept == pytest.approx(0, abs=0.6)


def test_the_fit_is_calibrated_on_its_own_rows_and_keeps_the_order() -> None:
    table = rows_of(60, 100)
    old: Any = Scorer(PlattCalibration(1.3, 0.4))
    parts = parts_of(table, "day", FIRST, POLICY.recalibration_bads)
    new = recalibrate(old, parts, POLICY).scorer
    found = measure_calibration(parts.fit["default"].to_numpy(), new.pd(parts.fit))
    assert found.observed_over_expected.value == pytest.approx(1, abs=0.02)
    assert np.array_equal(np.argsort(old.pd(table), kind="stable"), np.argsort(new.pd(table), kind="stable"))
    again = recalibrate(old, parts, POLICY)
    assert again.scorer.calibration == new.calibration


def test_a_calibrated_model_is_moved_by_chance_alone() -> None:
    moved = [recalibrated(Scorer(), rows_of(60, 100, seed)).scorer.calibration for seed in range(20)]
    assert abs(np.mean([one.intercept for one in moved])) < 0.05
    assert sum(one.slope != 1 for one in moved) <= 4


def test_too_few_new_bads_change_nothing_and_are_said() -> None:
    table = rows_of(10, 40)
    parts = parts_of(table, "day", FIRST + timedelta(30), 200)
    old: Any = Scorer()
    found = recalibrate(old, parts, POLICY)
    assert found.scorer is old
    assert f"{parts.fit.num_rows:,} rows with {parts.bads} bads" in found.why
    assert "30 bads and goods are needed (policy calibration.recalibration_min_bads)" in found.why
    assert found.to_record()["before"] is None
    assert Parts(table.slice(0, 0), table).why_not(5)


def test_bads_alone_are_too_few_goods() -> None:
    table = rows_of(30, 40)
    all_bad = table.set_column(2, "default", pa.array(np.ones(table.num_rows, dtype="int8")))
    old: Any = Scorer()
    assert "are needed" in recalibrate(old, parts_of(all_bad, "day", FIRST, 200), POLICY).why


def test_the_identity_is_of_champion_data_rows_and_code() -> None:
    def key(
        champion: str = "f" * 64, data: str = "d", policy: CalibrationPolicy = POLICY, day: str = "2024-05-01"
    ) -> str:
        return fingerprint(**recalibration_identity(champion, day, data, policy, PORTFOLIO))

    assert key() == key()
    others = {
        key(champion="e" * 64),
        key(data="e"),
        key(day="2024-05-02"),
        key(policy=POLICY.model_copy(update={"recalibration_bads": 100})),
    }
    assert len(others | {key()}) == 5
    # Another limit of a rule is no other model.
    assert key(policy=POLICY.model_copy(update={"alpha": 0.05})) == key()
    assert "learners.recalibration" in CODE
