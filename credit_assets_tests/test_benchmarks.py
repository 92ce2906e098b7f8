"""The benchmark of detection measures: it finds what is there, nothing else, on the book that the generator makes."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from benchmarks import detection
from benchmarks.__main__ import BENCHMARKS, REPORT, filled
from credit_assets.loans.generator import Shift
from credit_assets.settings import load_settings

SIZE = detection.Size(60, (3,), 30 / 365, breaks=1)


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> detection.Book:
    # A short window and few rounds: what is proven here does not depend on a good model.
    settings = load_settings(start_date=detection.START, performance_window_days=180, max_rounds=20)
    return detection.Book(settings, SIZE, SIZE.seeds[0], tmp_path_factory.mktemp("model"))


def found_in(book: detection.Book, kind: str, value: float) -> detection.Break:
    shifted = book.applications(Shift(detection.START, **{kind: value}))
    (found,) = book.breaks(kind, value, shifted, (500, 30))
    return found


@pytest.mark.slow
def test_a_huge_shift_is_found_once_the_pooled_days_show_it(book: detection.Book) -> None:
    found = found_in(book, "income", 4.0)
    assert found.psi > 1
    # Pooled with the eight days before: one shifted day in nine is not yet a PSI of 0.25.
    assert found.shifted is not None
    assert 0 < found.shifted < 9
    # One day of one is the first report, and more days that must agree take longer.
    delays = [found.fired[rule] for rule in detection.RULES]
    assert delays[0] == found.shifted
    assert None not in delays
    assert delays == sorted(set(delays), key=lambda delay: delay or 0)


@pytest.mark.slow
def test_without_shift_nothing_is_found(book: detection.Book) -> None:
    calm = book.calm((500, 30))
    assert calm.days == 30
    assert calm.verdicts == {"stable": 30}
    assert set(calm.fired.values()) == {0}
    same = found_in(book, "income", 1.0)
    assert same.shifted is None
    assert set(same.fired.values()) == {None}


@pytest.mark.slow
def test_a_day_without_enough_rows_in_the_window_is_unknown(book: detection.Book) -> None:
    assert book.calm((5000, 30)).verdicts == {"unknown": 30}


@pytest.mark.slow
def test_a_concept_shift_shows_in_outcomes_and_not_in_what_a_drift_report_reads(book: detection.Book) -> None:
    shifted = book.applications(Shift(detection.START, default_log_odds=2.0))
    assert np.array_equal(shifted.pd, book.without.pd)
    for asset, table in shifted.tables.items():
        assert table.equals(book.without.tables[asset]), asset
    (outcome,) = book.outcomes(2.0, shifted)
    assert outcome.ratio > 2
    assert outcome.above is not None
    assert 180 <= outcome.above < 180 + 90


@pytest.mark.slow
def test_a_break_of_two_books_is_the_book_with_that_break(book: detection.Book) -> None:
    at = book.first + timedelta(5)
    whole = book.applications(Shift(at, income=1.5))
    throughout = book.applications(Shift(detection.START, income=1.5))
    first, last = at - timedelta(3), at + timedelta(3)
    days = [(first + timedelta(n)).isoformat() for n in range(7)]
    for asset in ("processed_features", "loan_scores"):
        spliced = detection._Store(book.without, throughout, at).read_partitions(asset, days)
        assert spliced.equals(whole.table(asset, first, last)), asset


def test_the_report_has_a_place_for_every_benchmark() -> None:
    report = REPORT.read_text("utf-8")
    for name in BENCHMARKS:
        assert "| measured |" in filled(report, name, "| measured |")
        assert filled(filled(report, name, "once"), name, "again") == filled(report, name, "again")
    with pytest.raises(ValueError, match="no place for 'speed'"):
        filled(report, "speed", "")
