"""What a version was trained on stays, by its content, whatever becomes of the partition it came from."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from credit_assets.failures import PermanentError
from credit_assets.ledger.kept import CODE, EVIDENCE, PORTFOLIOS, Kept, evidence_hash
from credit_assets.ml.data.fingerprints import code_parts, frame_hash
from credit_assets.storage.partition_files import stage
from credit_assets.storage.store import Store

pytest_plugins = ["credit_assets_tests.support.s3"]

AS_OF = "2024-03-31"
INPUTS = {"processed_features": {"2024-01-01": "ab"}}


def rows(count: int) -> pa.Table:
    return pa.table({"id": [f"a{n}" for n in range(count)], "day": [date(2024, 1, 1)] * count})


def write(store: Store, table: pa.Table, as_of: str = AS_OF) -> None:
    path = store.path("training_set", f"{as_of}.parquet")
    staged = stage(store, path, table, inputs=INPUTS)
    store.publish(staged.file, path)


def trained(table: pa.Table, fingerprint: str = "f1", **more: Any) -> dict[str, Any]:
    return {"as_of": AS_OF, "data": frame_hash(table), "fingerprint": fingerprint, **more}


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(request.getfixturevalue("bucket") if request.param == "s3" else str(tmp_path))


def test_a_set_outlives_its_partition(store: Store) -> None:
    write(store, rows(5))
    kept = Kept(store)
    record = kept.keep(trained(rows(5), first_days={"why": "few"}))
    assert record.training_set == f"kept/training_set/{frame_hash(rows(5))}.parquet"
    assert record.inputs == INPUTS
    assert kept.of("f1") == record
    assert kept.of("f1").first_days == {"why": "few"}  # type: ignore[union-attr]
    assert kept.of("other") is None
    write(store, rows(3))
    assert store.open_table(store.path(record.training_set)).read().num_rows == 5
    again = kept.keep(trained(rows(3), "f2"))
    assert store.open_table(store.path(str(again.training_set))).read().num_rows == 3
    assert len(store.days("kept/training_set")) == 2
    store.remove(store.path("training_set", f"{AS_OF}.parquet"))
    assert store.open_table(store.path(record.training_set)).read().num_rows == 5
    # Kept already: the partition is not needed.
    assert kept.keep(trained(rows(5))) == Kept(store).of("f1")


def test_equal_sets_are_kept_once(store: Store) -> None:
    write(store, rows(4))
    kept = Kept(store)
    one, other = kept.keep(trained(rows(4), "f1")), kept.keep(trained(rows(4), "f2"))
    assert one.training_set == other.training_set
    assert len(store.days("kept/training_set")) == 1
    assert len(store.days("kept/versions")) == 2


def test_a_partition_that_has_changed_is_not_taken_for_what_the_model_saw(store: Store) -> None:
    write(store, rows(4))
    with pytest.raises(PermanentError, match="not what its model was trained on any more"):
        Kept(store).keep(trained(rows(5)))
    assert store.days("kept/training_set") == []
    assert store.days("kept/versions") == []
    store.remove(store.path("training_set", f"{AS_OF}.parquet"))
    with pytest.raises(PermanentError, match="not what its model"):
        Kept(store).keep(trained(rows(4)))


def test_a_copy_that_was_cut_short_is_made_again(store: Store) -> None:
    write(store, rows(4))
    target = store.path("kept/training_set", f"{frame_hash(rows(4))}.parquet")
    store.write_bytes(target, b"PAR1 half of a file")
    assert Kept(store).keep(trained(rows(4))).training_set
    assert store.open_table(target).read().num_rows == 4


def test_a_set_of_before_hashes_were_in_the_footer_is_kept_too(store: Store, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    plain = tmp_path / "plain.parquet"
    pq.write_table(rows(4), plain)
    store.write_bytes(store.path("training_set", f"{AS_OF}.parquet"), plain.read_bytes())
    assert Kept(store).keep(trained(rows(4))).inputs == {}


def test_on_a_local_path_nothing_is_copied(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    write(store, rows(4))
    record = Kept(store).keep(trained(rows(4)))
    kept, partition = tmp_path / str(record.training_set), tmp_path / "training_set" / f"{AS_OF}.parquet"
    assert os.stat(kept).st_ino == os.stat(partition).st_ino
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


def test_without_second_names_the_file_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise PermissionError(1, "no second names here")

    store = Store(str(tmp_path))
    write(store, rows(4))
    monkeypatch.setattr(os, "link", refused)
    record = Kept(store).keep(trained(rows(4)))
    assert store.open_table(store.path(str(record.training_set))).read().num_rows == 4


def test_killed_before_it_is_published_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(str(tmp_path))
    write(store, rows(4))

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store, "publish", killed)
        with pytest.raises(KeyboardInterrupt):
            Kept(store).keep(trained(rows(4)))
    assert store.days("kept/training_set") == []
    assert list((tmp_path / "kept" / "training_set").iterdir()) == []
    assert Kept(store).keep(trained(rows(4))).training_set


def test_evidence_and_decision_outlive_a_new_training_of_the_day(store: Store) -> None:
    write(store, rows(4))
    kept, evidence = Kept(store), trained(rows(4), evaluation={"auc": 0.7})
    decision = {"mode": "improvement", "policy": {"version": "p"}, "reasons": [], "gates": []}
    record = kept.keep(evidence, decision)
    assert record.evidence == evidence_hash(evidence)
    assert kept.content(EVIDENCE, record.evidence) == evidence
    assert kept.of("f1").decision == decision  # type: ignore[union-attr]
    kept.looked_at(record, {"why": "few"})
    assert kept.of("f1").decision == decision  # type: ignore[union-attr]
    assert kept.content(EVIDENCE, "nothing of this name") is None
    assert kept.content(EVIDENCE, None) is None


def test_code_and_portfolio_are_kept_once_by_their_content(store: Store) -> None:
    kept = Kept(store)
    kept.keep_code("c1", ["data.ids"])
    assert set(kept.content(CODE, "c1")) == set(code_parts(["data.ids"]))
    # What is there was written by whoever trained with this code first.
    kept.keep_code("c1", ["data.rows"])
    assert set(kept.content(CODE, "c1")) == set(code_parts(["data.ids"]))
    names = {kept.keep_portfolio({"name": "a", "columns": []}) for _ in range(2)}
    assert store.days("kept/portfolios") == sorted(names)
    assert kept.content(PORTFOLIOS, names.pop()) == {"name": "a", "columns": []}
