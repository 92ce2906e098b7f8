"""The drift reference: what it keeps, its file, and what is no reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from credit_assets.ml.evidence.drift import measure_drift
from credit_assets.ml.evidence.drift_reference import REFERENCE_FILE, DriftReference, NumericReference
from credit_assets.ml.learners.candidates import train_candidate
from credit_assets.ml.learners.scorer import CreditScorer
from credit_assets_tests.support import policies
from credit_assets_tests.support.drifting import book, reference
from credit_assets_tests.support.modelling import FEATURES, PORTFOLIO, quick_config, training_set


@pytest.fixture(scope="module", name="reference")
def _reference() -> DriftReference:
    return reference()


def test_bins_and_grid_are_near_quantiles_with_ties_merged() -> None:
    one = NumericReference.of("x", np.array([*range(100), np.nan, np.inf], dtype=float))
    assert one.edges == (10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
    assert (one.grid[0], one.grid[-1], one.rows, one.missing) == (0, 100, 100, 2)
    assert one.cumulative == (1, 11, 21, 31, 41, 51, 61, 71, 81, 91, 100)
    ties = NumericReference.of("x", np.repeat([0.0, 1.0, 7.0], [55, 30, 15]))
    assert (ties.edges, ties.grid, ties.cumulative) == ((0, 1, 7), (0, 1, 7), (55, 85, 100))
    assert (ties.at, set(one.at)) == ((55, 30, 15), {1, 0})
    nothing = NumericReference.of("x", np.array([np.nan, np.nan]))
    assert (nothing.edges, nothing.rows, nothing.missing) == ((), 0, 2)


@pytest.mark.parametrize("rows", [1, 3, 40, 3_000])
def test_no_number_of_it_is_an_applicants(rows: int) -> None:
    rng = np.random.default_rng(rows)
    for draw in (rng.lognormal(11, 0.7, rows), rng.normal(600, 40, rows), -rng.pareto(2, rows), rng.random(rows) / 1e7):
        one = NumericReference.of("x", draw)
        assert not set(one.grid) & set(draw.tolist())
        assert one.grid[0] <= draw.min()
        assert one.grid[-1] >= draw.max()
        assert one.cumulative == tuple(int((draw <= cut).sum()) for cut in one.grid)
        # Below a hundredth of what lies around it no number tells more than the ten rows next to it.
        assert all(len(f"{cut:e}".split("e")[0].rstrip("0")) <= 8 for cut in one.grid)


def test_a_record_restores_an_equal_reference(reference: DriftReference, tmp_path: Path) -> None:
    assert DriftReference.from_record(json.loads(json.dumps(reference.to_record()))) == reference
    reference.save(tmp_path)
    assert DriftReference.load(tmp_path) == reference
    first = (tmp_path / REFERENCE_FILE).read_bytes()
    reference.save(tmp_path)
    assert (tmp_path / REFERENCE_FILE).read_bytes() == first


def test_a_reference_of_format_1_is_read_and_judged_by(reference: DriftReference, tmp_path: Path) -> None:
    """Models that were registered before kept no `at`: without ties nothing is missed."""
    record = reference.to_record()
    old = {
        "format": 1,
        "features": [{key: value for key, value in one.items() if key != "at"} for one in record["features"]],
        "score": {key: value for key, value in record["score"].items() if key != "at"},
    }
    (tmp_path / REFERENCE_FILE).write_text(json.dumps(old))
    read = DriftReference.load(tmp_path)
    assert [getattr(one, "at", ()) for one in (*read.features, read.score)] == [()] * 6
    policy = policies.drift()
    assert measure_drift(read, book(3000, 1), None, policy).verdict == "stable"
    for name, shifted in (("income", book(2000, 2, income=0.5)), ("purpose", book(2000, 2, new=0.1))):
        assert measure_drift(read, shifted, None, policy).names("shifted") == [name]


def test_a_reference_of_format_2_is_read(tmp_path: Path) -> None:
    """Models that were registered before kept percentiles of their training rows as they are."""
    kept = {**numeric(grid=[1.25, 2.5], edges=[2.5]), "at": [1, 2]}
    old = {"format": 2, "features": [{"kind": "numeric", **kept, "name": "income"}], "score": {**kept, "name": "score"}}
    (tmp_path / REFERENCE_FILE).write_text(json.dumps(old))
    assert DriftReference.load(tmp_path).score.grid == (1.25, 2.5)


def numeric(**changes: Any) -> dict[str, Any]:
    return {"name": "x", "missing": 0, "grid": [1.0, 2.0], "cumulative": [1, 3], "edges": [2.0], **changes}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r: {**r, "format": 4}, r"format 4; this version of credit_assets reads \(1, 2, 3\)"),
        (lambda r: ["not", "a", "record"], "format None"),
        (lambda r: {key: r[key] for key in ("format", "score")}, r"missing \['features'\]"),
        (lambda r: {**r, "more": 1}, r"unknown \['more'\]"),
        (lambda r: {**r, "features": [{**numeric(), "kind": "text"}]}, "'x': unknown kind 'text'"),
        (lambda r: {**r, "features": [{"kind": "numeric", "name": "x"}]}, r"'x': missing \['cumulative'"),
        (lambda r: {**r, "features": [{**numeric(), "kind": "numeric"}] * 2}, "twice"),
        (lambda r: {**r, "features": [{**numeric(name="score"), "kind": "numeric"}]}, "name of the score"),
        (lambda r: {**r, "score": numeric(grid=[2.0, 1.0])}, "grid must rise"),
        (lambda r: {**r, "score": numeric(cumulative=[3, 1])}, "must not fall"),
        (lambda r: {**r, "score": numeric(missing=-1)}, "not be negative"),
        (lambda r: {**r, "score": numeric(edges=[1.0])}, "end with its last"),
        (lambda r: {**r, "score": numeric(edges=[1.5, 2.0])}, "values of the grid"),
        (lambda r: {**r, "score": numeric(grid=[1.0])}, "equally long"),
        (lambda r: {**r, "score": numeric(at=[1])}, "at must hold"),
        (lambda r: {**r, "score": numeric(at=[2, 1])}, "at must hold"),
        (lambda r: {**r, "score": numeric(at=[1, -1])}, "at must hold"),
        (
            lambda r: {
                **r,
                "features": [{"kind": "category", "name": "c", "missing": 0, "levels": ["b", "a"], "counts": [1, 1]}],
            },
            "sorted and distinct",
        ),
    ],
)
def test_a_damaged_record_is_refused(spoil: Any, message: str, reference: DriftReference, tmp_path: Path) -> None:
    (tmp_path / REFERENCE_FILE).write_text(json.dumps(spoil(reference.to_record())))
    with pytest.raises(ValueError, match=f"{REFERENCE_FILE} cannot be read as a drift reference: .*{message}"):
        DriftReference.load(tmp_path)


def test_a_model_without_a_reference_says_what_brings_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="registered before models kept a drift reference; the next one"):
        DriftReference.load(tmp_path)
    (tmp_path / REFERENCE_FILE).write_text("{")
    with pytest.raises(ValueError, match="cannot be read as a drift reference"):
        DriftReference.load(tmp_path)


def test_what_a_reference_cannot_be_made_of() -> None:
    with pytest.raises(ValueError, match="lacks the features debt, size"):
        DriftReference.of(book(10, 1), ("income", "debt", "size"), (), [1.0])
    with pytest.raises(ValueError, match="needs rows and scores"):
        DriftReference.of(book(10, 1), ("income",), (), [])
    with pytest.raises(ValueError, match="needs rows and scores"):
        DriftReference.of(book(0, 1), ("income",), (), [1.0])


def test_training_keeps_the_reference_and_the_scorer_does_not_mind_it(tmp_path: Path) -> None:
    frame = training_set(1200)
    candidate = train_candidate(frame, "lightgbm", PORTFOLIO, quick_config("lightgbm"))
    kept = candidate.reference
    assert tuple(one.name for one in kept.features) == FEATURES
    assert {one.rows + one.missing for one in kept.features} == {len(frame)}
    outside_the_fit = frame["split"] != "train"
    assert kept.score.rows == outside_the_fit.sum()
    assert (
        kept.score
        == DriftReference.of(
            frame, FEATURES, ("purpose", "region"), candidate.scorer.score(frame[outside_the_fit])["score"]
        ).score
    )
    candidate.scorer.save(tmp_path)
    kept.save(tmp_path)
    assert DriftReference.load(tmp_path) == kept
    assert CreditScorer.load(tmp_path).features == candidate.scorer.features
    score = candidate.scorer.score(frame)["score"]
    assert measure_drift(kept, frame, score, policies.drift()).verdict == "stable"
