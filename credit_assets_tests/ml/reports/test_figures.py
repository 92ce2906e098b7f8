"""Pictures: what they show, that they say the numbers, and that they leave no trace."""

from __future__ import annotations

import hashlib
import struct
import subprocess
import sys
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from credit_assets.ml.data.log_odds import probability
from credit_assets.ml.evidence.curves import gain_curve
from credit_assets.ml.evidence.evaluation import auc, evaluate
from credit_assets.ml.learners.candidates import train_candidate
from credit_assets.ml.learners.scorer import ScoreScale
from credit_assets.ml.reports.figures import (
    Point,
    calibration,
    candidate_figures,
    gain,
    performance_over_time,
    png,
    roc,
    score_distribution,
)
from credit_assets_tests.support.modelling import PORTFOLIO, quick_config, training_set

FIGURES = {"roc": roc, "calibration": calibration, "gain": gain}


@pytest.fixture(scope="module")
def book() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    truth = rng.normal(-3, 1, 4_000)
    return (rng.random(4_000) < probability(truth)).astype(int), probability(truth)


def draw(name: str, book: tuple[np.ndarray, np.ndarray]) -> Any:
    y, p = book
    if name == "score_distribution":
        return score_distribution(y, ScoreScale().points(np.log(p / (1 - p))), "XGBoost")
    return FIGURES[name](y, p, "XGBoost")


ALL = pytest.mark.parametrize("name", ["roc", "calibration", "gain", "score_distribution"])


@ALL
def test_a_picture_is_a_png_of_readable_size(name: str, book: tuple[np.ndarray, np.ndarray]) -> None:
    content = png(draw(name, book))
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", content[16:24])
    assert 700 <= width <= 2000
    assert 700 <= height <= 2000
    assert len(content) < 200_000


@ALL
def test_equal_data_give_equal_bytes(name: str, book: tuple[np.ndarray, np.ndarray]) -> None:
    first, second = (png(draw(name, book)) for _ in range(2))
    # As hashes: a picture is no message.
    assert hashlib.sha256(first).hexdigest() == hashlib.sha256(second).hexdigest()
    assert b"Software" not in first
    y, p = book
    assert hashlib.sha256(png(draw(name, (np.roll(y, 1), p)))).hexdigest() != hashlib.sha256(first).hexdigest()


@ALL
def test_no_row_of_an_applicant_is_in_a_picture(name: str, book: tuple[np.ndarray, np.ndarray]) -> None:
    for axes in draw(name, book).axes:
        assert all(len(line.get_xdata()) <= 201 for line in axes.lines)
        assert all(len(path.vertices) <= 410 for shape in axes.collections for path in shape.get_paths())
        assert len(axes.patches) <= 12


@ALL
def test_axes_and_lines_are_named(name: str, book: tuple[np.ndarray, np.ndarray]) -> None:
    figure = draw(name, book)
    assert figure.get_suptitle()
    assert "XGBoost" in figure.axes[0].get_title(loc="left")
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes)
    assert figure.axes[0].get_legend() is not None


def test_the_roc_curve_is_the_model_and_says_its_auc(book: tuple[np.ndarray, np.ndarray]) -> None:
    axes = roc(*book).axes[0]
    curve = max(axes.lines, key=lambda line: len(line.get_xdata()))
    assert np.trapezoid(curve.get_ydata(), curve.get_xdata()) == pytest.approx(auc(*book), abs=2e-3)
    found = evaluate(*book)
    assert any(
        f"AUC {found.auc:.3f} ({found.auc_ci_low:.3f} .. {found.auc_ci_high:.3f})" in text.get_text()
        for text in axes.get_legend().get_texts()
    )


def test_the_calibration_points_are_the_deciles(book: tuple[np.ndarray, np.ndarray]) -> None:
    axes = calibration(*book).axes[0]
    points = next(line for line in axes.lines if line.get_marker() == "o")
    table = evaluate(*book).lift
    np.testing.assert_allclose(points.get_xdata(), [decile.mean_pd for decile in table])
    np.testing.assert_allclose(points.get_ydata(), [decile.bad_rate for decile in table])


def test_the_gain_curve_meets_the_lift_table(book: tuple[np.ndarray, np.ndarray]) -> None:
    y, p = book
    loans, bads = gain_curve(y.astype(float), p)
    assert (loans[0], bads[0], loans[-1], bads[-1]) == (0, 0, 1, 1)
    for decile in evaluate(y, p).lift:
        assert np.interp(decile.decile / 10, loans, bads) == pytest.approx(decile.bads_captured, abs=1e-9)
    bars = gain(y, p).axes[1].patches
    np.testing.assert_allclose([bar.get_height() for bar in bars], [d.lift for d in evaluate(y, p).lift])


def test_the_distributions_have_an_area_of_one(book: tuple[np.ndarray, np.ndarray]) -> None:
    for patch in draw("score_distribution", book).axes[0].patches:
        x, y = patch.get_path().vertices.T
        assert abs(np.sum((x[1:] - x[:-1]) * (y[1:] + y[:-1]) / 2)) == pytest.approx(1, abs=1e-6)


@ALL
def test_degenerate_books_are_drawn(name: str) -> None:
    for p in ([0.1, 0.1, 0.1], [0.1, 0.2, 0.9]):
        assert png(draw(name, (np.array([0, 0, 1]), np.array(p))))


def test_one_class_is_refused() -> None:
    for figure in (roc, calibration, gain):
        with pytest.raises(ValueError, match="all 2 rows are good"):
            figure([0, 0], [0.1, 0.2])
    with pytest.raises(ValueError, match="both goods and bads"):
        score_distribution([0, 0], [600, 610])


def weeks(count: int, value: float, start: date = date(2010, 1, 1)) -> list[Point]:
    return [
        Point(start + timedelta(7 * n), value + 0.001 * n, value - 0.05, value + 0.05 + 0.001 * n) for n in range(count)
    ]


def test_performance_over_time_shows_estimated_and_realised_on_one_axis_of_days() -> None:
    realised, estimated = weeks(60, 0.66), weeks(104, 0.68, date(2010, 6, 1))
    figure = performance_over_time(realised, estimated, weeks(60, 0.9), "90 days of applications a point")
    left, right = figure.axes
    drawn = {line.get_label(): line for line in left.lines}
    for name, points in (("realised", realised), ("estimated from PDs", estimated)):
        assert list(drawn[name].get_xdata()) == [point.day for point in points]
        assert list(drawn[name].get_ydata()) == [point.value for point in points]
    assert drawn["realised"].get_linestyle() != drawn["estimated from PDs"].get_linestyle()
    assert left.get_xlim() == right.get_xlim()
    bands = [shape.get_paths()[0].vertices for shape in left.collections]
    assert [(band[:, 1].min(), band[:, 1].max()) for band in bands] == [
        (min(point.low for point in points), max(point.high for point in points)) for points in (estimated, realised)
    ]
    # The line that means "as expected" is in sight.
    low, high = right.get_ylim()
    assert low < 1 < high
    assert "90 days" in left.get_title(loc="left")
    assert all(axes.get_xlabel() and axes.get_ylabel() and axes.get_legend() for axes in figure.axes)
    first, second = (png(performance_over_time(realised, estimated, [])) for _ in range(2))
    assert first == second
    assert len(first) < 200_000


@pytest.mark.parametrize(
    ("realised", "estimated", "ratio", "legend"),
    [
        ([], weeks(1, 0.7), [], ["estimated from PDs", "realised: none yet"]),
        ([], [], weeks(1, 0.9), ["estimated from PDs: none yet", "realised: none yet"]),
        (weeks(1, 0.7), weeks(2, 0.7), weeks(1, 0.9), ["estimated from PDs", "realised"]),
    ],
)
def test_the_first_days_of_a_model_are_drawn_and_say_what_is_missing(
    realised: list[Point], estimated: list[Point], ratio: list[Point], legend: list[str]
) -> None:
    figure = performance_over_time(realised, estimated, ratio)
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == legend
    assert png(figure).startswith(b"\x89PNG")
    low, high = figure.axes[0].get_xlim()
    assert high - low >= 7


def test_no_performance_is_no_picture() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        performance_over_time([], [], [])


def test_a_candidate_has_its_four_pictures_of_the_test() -> None:
    candidate = train_candidate(training_set(800), "lightgbm", PORTFOLIO, quick_config("lightgbm"))
    figures = candidate_figures(candidate)
    assert list(figures) == ["roc", "calibration", "score_distribution", "gain"]
    assert "LightGBM, out-of-time test: 200 loans" in figures["roc"].axes[0].get_title(loc="left")


def test_no_pyplot_and_no_global_state() -> None:
    code = (
        # The key "backend" is left out: asking for it makes matplotlib choose one, with pyplot.
        "import sys, matplotlib; "
        "state = lambda: {k: matplotlib.rcParams[k] for k in matplotlib.rcParams if k != 'backend'}; before = state(); "
        "from credit_assets.ml.reports.figures import gain, png; png(gain([0, 1, 0, 1], [.1, .2, .3, .4])); "
        "assert 'matplotlib.pyplot' not in sys.modules; assert state() == before"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
