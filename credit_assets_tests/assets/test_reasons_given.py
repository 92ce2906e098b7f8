"""Who is declined and why: by the version that decides about each application, in the words of that version."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from credit_assets.assets.reasons_given import Decider, with_reasons
from credit_assets.failures import PermanentError
from credit_assets.ml.data.fingerprints import frame_hash
from credit_assets.ml.data.reasons import ReasonContract
from credit_assets.ml.data.schemas import scores_schema
from credit_assets.ml.evidence.scores import DayOfScores, Scored, decided
from credit_assets.ml.learners.reason_codes import reason_codes
from credit_assets.ml.learners.scorer import CreditScorer
from credit_assets.storage.partition_files import Partitions, PartitionWriter
from credit_assets.storage.store import Store
from credit_assets_tests.support.modelling import PORTFOLIO, applications

BEFORE = Path(__file__).parents[1] / "data" / "scorers"
DAY = date(2024, 5, 1)
CONTRACT = ReasonContract.of(PORTFOLIO)


def table(rows: int = 300) -> pa.Table:
    frame = applications(rows).drop(columns=["truth", "applied_on"])
    return pa.Table.from_pandas(frame, preserve_index=False)


def scored(rows: pa.Table, deciders: dict[str, Decider], share: float = 0.4) -> pa.Table:
    keys = pa.table({"loan_id": rows["loan_id"], "applied_on": pa.array([DAY] * rows.num_rows, pa.date32())})
    said = []
    for version, one in deciders.items():
        scores = one.scorer.score(rows)
        said.append(Scored(version, scores["pd"].to_numpy(), scores["score"].to_numpy()))
    made = decided(keys, said[0], said[1] if len(said) > 1 else None, share=share, key="secret")
    return with_reasons(made, deciders.__getitem__, lambda _: rows, threads=1)


def decider(name: str, approved: float | None = 0.7, contract: ReasonContract | None = CONTRACT) -> Decider:
    scorer = CreditScorer.load(BEFORE / name)
    if approved is not None:
        scorer = replace(scorer, cut_off=float(np.quantile(scorer.pd(table()), approved)))
    return Decider(scorer, contract)


def test_each_decline_has_the_reasons_of_the_model_that_decided() -> None:
    other = replace(CONTRACT, most=1)
    rows, deciders = table(), {"1": decider("lightgbm"), "2": decider("xgboost", 0.5, other)}
    scores = scored(rows, deciders)
    assert {"1", "2"} == set(scores["model_version"].to_pylist())
    assert scores.cast(scores_schema(PORTFOLIO)).schema == scores_schema(PORTFOLIO)
    expected = {v: reason_codes(one.scorer, one.contract or other, rows) for v, one in deciders.items()}
    declined = 0
    for at, row in enumerate(scores.to_pylist()):
        cut_off = deciders[row["model_version"]].scorer.cut_off
        assert row["declined"] is (row["pd"] > cut_off)
        assert row["reasons"] == (expected[row["model_version"]][at] if row["declined"] else None)
        declined += row["declined"]
    assert 60 < declined < 200
    seen = DayOfScores()
    seen.add(scores.slice(0, 100))
    seen.add(scores.slice(100))
    assert seen.summary(0.4)["declined"] == declined


def test_without_a_cut_off_nobody_is_declined_and_without_a_contract_nobody_is_told() -> None:
    scores = scored(table(), {"1": decider("lightgbm", None)})
    assert scores["declined"].null_count == scores["reasons"].null_count == 300
    assert "declined" not in DayOfScores().summary(0.0)
    scores = scored(table(), {"1": decider("lightgbm", contract=None)})
    assert scores["declined"].null_count == 0
    assert scores["reasons"].null_count == 300
    empty = scored(table().slice(0, 0), {"1": decider("lightgbm")})
    assert empty.cast(scores_schema(PORTFOLIO)).num_rows == 0


def test_a_refused_application_is_neither_declined_nor_told() -> None:
    one = decider("lightgbm")
    scores = scored(table(), {"1": one})
    pds = scores["pd"].to_numpy().copy()
    pds[:5] = np.nan
    assert scores.column_names[2] == "pd"
    gone = scores.set_column(2, "pd", pa.array(pds, from_pandas=True))
    again = with_reasons(gone, lambda _: one, lambda _: table(), threads=1)
    assert again["declined"].slice(0, 5).null_count == 5
    assert again["reasons"].slice(0, 5).null_count == 5
    assert again["reasons"].slice(5).to_pylist() == scores["reasons"].slice(5).to_pylist()


def test_a_version_brings_its_contract_where_it_has_one(tmp_path: Path) -> None:
    scorer = CreditScorer.load(BEFORE / "lightgbm")
    scorer.save(tmp_path)
    assert Decider.load(tmp_path).contract is None
    CONTRACT.save(tmp_path)
    assert Decider.load(tmp_path).contract == CONTRACT


def test_days_of_before_have_no_such_columns_and_are_read_beside_those_that_have(tmp_path: Path) -> None:
    store, schema = Store(str(tmp_path)), scores_schema(PORTFOLIO)
    scores = scored(table(), {"1": decider("lightgbm")}).cast(schema)
    first, second = date(2024, 4, 30), DAY
    old = scores.drop_columns(["declined", "reasons"])
    old = old.set_column(1, schema.field(1), pa.array([first] * old.num_rows, pa.date32()))
    for day, rows in ((first, old), (second, scores)):
        with PartitionWriter(store, "loan_scores", [day], rows.schema, "applied_on") as files:
            files.write(rows)
            for staged in files.close().values():
                store.publish(staged.file, store.path("loan_scores", f"{day}.parquet"))
    days = [first.isoformat(), second.isoformat()]
    for read in (
        store.read_partitions("loan_scores", days),
        pa.concat_tables(Partitions(store, "loan_scores", days).pieces()),
    ):
        assert read.column_names == schema.names
        assert read["reasons"].slice(0, 300).null_count == 300
        assert read["reasons"].slice(300).to_pylist() == scores["reasons"].to_pylist()
    assert store.read_partitions("loan_scores", days[:1]).column_names == old.column_names
    written = pq.read_table(str(store.path("loan_scores", f"{second}.parquet")))
    assert written["reasons"].to_pylist() == scores["reasons"].to_pylist()
    # Another column that is missing is refused as ever.
    with pytest.raises(PermanentError, match="without, or with another type of, nope"):
        store.read_partitions("loan_scores", days, ["pd", "nope"])


def test_lists_of_codes_have_a_hash_of_their_content() -> None:
    def of(*rows: list[str] | None) -> str:
        return frame_hash(pa.table({"reasons": pa.array(rows, pa.list_(pa.string()))}))

    different = [of(["A", "B"], ["C"]), of(["A"], ["B", "C"]), of(["AB"], ["C"]), of(None, ["C"]), of([], ["C"])]
    assert len(set(different)) == len(different)
    whole = pa.table({"reasons": pa.array([["A"], None, [], ["B", "C"]], pa.list_(pa.string()))})
    cut = pa.concat_tables([whole.slice(0, 1), whole.slice(1, 2), whole.slice(3)])
    assert frame_hash(whole) == frame_hash(cut)
