"""Which rows each worker reads. Needs no cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from credit_assets.failures import TransientError
from credit_assets.ml.learners.candidates import train_candidate
from credit_assets.ml.learners.dask_shares import Plan, footer, read
from credit_assets_tests.support.dask import written
from credit_assets_tests.support.modelling import FEATURES, PORTFOLIO, quick_config, training_set

ROWS = 2000


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return training_set(ROWS)


@pytest.mark.parametrize("group", [70, 500, ROWS])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_every_row_is_read_by_one_worker(frame: pd.DataFrame, tmp_path: Path, group: int, workers: int) -> None:
    plan = Plan.of(written(frame, tmp_path / "set.parquet", group), PORTFOLIO, workers)
    for split in ("train", "validation", "test"):
        wanted = frame[frame["split"] == split].reset_index(drop=True)
        shares = [plan.share(split, worker) for worker in range(workers)]
        parts = [read(plan, share) for share in shares]
        assert [share.rows for share in shares] == [len(positions) for _, positions in parts]
        assert max(share.rows for share in shares) - min(share.rows for share in shares) <= max(
            group if group < 500 else 1, 1
        )
        positions = np.concatenate([positions for _, positions in parts])
        np.testing.assert_array_equal(np.sort(positions), np.arange(len(wanted)))
        together = pa.concat_tables([table for table, _ in parts]).to_pandas()
        together.index = pd.Index(positions)
        pd.testing.assert_frame_equal(together.sort_index(), wanted[[*FEATURES, "default"]], check_dtype=False)


def test_a_worker_skips_the_row_groups_of_others_where_there_are_many(frame: pd.DataFrame, tmp_path: Path) -> None:
    plan = Plan.of(written(frame, tmp_path / "set.parquet", 70), PORTFOLIO, 2)
    first, second = (set(plan.share("train", worker).groups) for worker in (0, 1))
    assert not first & second
    # In turn: each worker sees early and late loans.
    assert (min(first), min(second)) == (0, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns=["debt"]), "lacks the columns debt"),
        (lambda f: f[f["split"] != "validation"], "has no validation rows"),
        (lambda f: f.assign(default=np.int8(0)), "train rows are all good"),
        (lambda f: f.assign(split=f["split"].replace("test", "later")), "rows of split later"),
    ],
)
def test_a_set_that_cannot_be_trained_on_is_refused_as_in_one_process(
    frame: pd.DataFrame, tmp_path: Path, change: Any, message: str
) -> None:
    changed = change(frame)
    with pytest.raises(ValueError, match=message):
        Plan.of(written(changed, tmp_path / "set.parquet"), PORTFOLIO, 2)
    with pytest.raises(ValueError, match=message):
        train_candidate(changed, "xgboost", PORTFOLIO, quick_config("xgboost"))


def test_a_file_that_is_written_again_meanwhile_is_noticed(frame: pd.DataFrame, tmp_path: Path) -> None:
    plan = Plan.of(written(frame, tmp_path / "set.parquet"), PORTFOLIO, 1)
    written(frame.assign(debt=frame["debt"] + 1), tmp_path / "set.parquet")
    with pytest.raises(TransientError, match="written again"):
        read(plan, plan.share("train", 0))
    assert footer(tmp_path / "set.parquet") != plan.footer
