"""The table of scores: who stands where in a row, and the same taken apart again."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from credit_assets.ml.data.schemas import scores_schema
from credit_assets.ml.evidence.arms import assign
from credit_assets.ml.evidence.scores import DayOfScores, Scored, decided, points_of, side_by_side
from credit_assets_tests.support.modelling import PORTFOLIO


def scored(rows: int) -> tuple[pa.Table, Scored, Scored]:
    keys = pa.table(
        {"loan_id": [f"L{n}" for n in range(rows)], "applied_on": pa.array([date(2024, 1, 1)] * rows, pa.date32())},
        schema=pa.schema([("loan_id", pa.string()), ("applied_on", pa.date32())]),
    )
    return (
        keys,
        Scored("1", np.full(rows, 0.1), np.full(rows, 600.0)),
        Scored("2", np.full(rows, 0.2), np.full(rows, 580.0)),
    )


@pytest.mark.parametrize("share", [0.0, 0.25, 0.999])
def test_who_decides_stands_first_and_the_other_beside(share: float) -> None:
    keys, champion, shadow = scored(400)
    found = decided(keys, champion, shadow, share=share, key="k").cast(scores_schema(PORTFOLIO)).to_pandas()
    challenged = assign(keys["loan_id"].to_pylist(), share, "k", "2")
    assert (found["arm"] == "challenger").tolist() == challenged.tolist()
    for arm, own, other in (("champion", champion, shadow), ("challenger", shadow, champion)):
        rows = found[found["arm"] == arm]
        for name in ("pd", "score", "version"):
            assert (rows["model_version" if name == "version" else name] == np.unique(getattr(own, name))[0]).all()
            assert (rows[f"other_{name}"] == np.unique(getattr(other, name))[0]).all()
    assert found["loan_id"].tolist() == keys["loan_id"].to_pylist()


@pytest.mark.parametrize("rows", [0, 3])
def test_without_a_shadow_the_champion_decides_alone(rows: int) -> None:
    keys, champion, _ = scored(rows)
    found = decided(keys, champion, None, share=0.5, key="k")
    assert found.schema == scores_schema(PORTFOLIO)
    assert found.num_rows == rows
    assert found["arm"].to_pylist() == ["champion"] * rows
    assert all(found[name].null_count == rows for name in ("other_pd", "other_score", "other_version"))


def test_an_empty_day_has_no_arms() -> None:
    keys, champion, shadow = scored(0)
    assert decided(keys, champion, shadow, share=0.5, key="k").cast(scores_schema(PORTFOLIO)).num_rows == 0


def test_sides_are_told_apart_whoever_decides() -> None:
    scores = pd.DataFrame(
        [
            ("a", 0.1, 600.0, "1", "champion", 0.2, 580.0, "2"),
            ("b", 0.3, 570.0, "2", "challenger", 0.4, 560.0, "1"),
            ("c", 0.5, 550.0, "1", "champion", None, None, None),
            ("d", 0.5, 550.0, "1", "champion", 0.1, 600.0, "3"),
            ("e", 0.5, 550.0, "0", "champion", 0.1, 600.0, "2"),
        ],
        columns=["id", "pd", "score", "model_version", "arm", "other_pd", "other_score", "other_version"],
    )
    rows = side_by_side(scores, "1", "2")
    assert rows["id"].tolist() == ["a", "b"]
    assert rows[["champion_pd", "champion_score"]].to_numpy().tolist() == [[0.1, 600], [0.4, 560]]
    assert rows[["shadow_pd", "shadow_score"]].to_numpy().tolist() == [[0.2, 580], [0.3, 570]]
    assert side_by_side(scores, "1", "9").empty
    assert side_by_side(scores.head(0), "1", "2").empty


def test_scores_of_the_champion_beside_a_challenger_count_and_those_of_others_do_not() -> None:
    scores = pd.DataFrame(
        {
            "score": [600.0, 610.0, 620.0, 630.0],
            "model_version": ["1", "2", "2", "0"],
            "other_score": [500.0, 510.0, None, None],
            "other_version": ["2", "1", "3", None],
        }
    )
    assert points_of(scores, "1").tolist() == [600.0, 510.0]
    assert points_of(scores, "2").tolist() == [500.0, 610.0, 620.0]
    assert points_of(scores.iloc[:0], "1").tolist() == []


def test_an_application_that_the_deciding_model_refuses_has_no_score_and_no_arm() -> None:
    keys, champion, shadow = scored(400)
    refused = np.arange(400) % 4 == 0
    champion = Scored("1", np.where(refused, np.nan, champion.pd), np.where(refused, np.nan, champion.score))
    alone = decided(keys, champion, None, share=0.3, key="k")
    assert alone.cast(scores_schema(PORTFOLIO)).column("pd").null_count == refused.sum()
    assert (np.array(alone["arm"].to_pylist()) == "refused").tolist() == refused.tolist()
    both = decided(keys, champion, shadow, share=0.3, key="k").to_pandas()
    challenged = assign(keys["loan_id"].to_pylist(), 0.3, "k", "2")
    assert (both["arm"] == "refused").tolist() == both["pd"].isna().tolist() == (refused & ~challenged).tolist()
    assert both["other_pd"].isna().tolist() == (refused & challenged).tolist()
    assert len(side_by_side(both, "1", "2")) == len(points_of(both, "1")) == 300
    day = DayOfScores()
    day.add(alone)
    assert (day.rows, day.refused) == (300, 100)
    assert day.summary(0.3) == {"refused": 100, "mean_pd": pytest.approx(0.1)}
    nobody = DayOfScores()
    nobody.add(alone.filter(pa.array(refused)))
    assert nobody.summary(0.3) == {"refused": 100}
