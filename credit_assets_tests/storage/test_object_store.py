"""The pipeline with its store on an S3 API: nothing but the setting changes."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from upath import UPath

from credit_assets.cli.models import models_record
from credit_assets.cli.replay import Replay
from credit_assets.instance.home import instance_of
from credit_assets.settings import load_settings
from credit_assets.storage.claims import Claims
from credit_assets.storage.store import Store
from credit_assets_tests.support.houses import SMALL, START, fast_forward, write_book
from credit_assets_tests.support.synthetic import canonical_book

pytest_plugins = ["credit_assets_tests.support.s3"]

AS_OF = date(2024, 3, 31)


@pytest.mark.parametrize("number", [1, 2])
def test_each_test_has_an_empty_bucket(bucket: str, number: int) -> None:
    fs = UPath(bucket).fs
    assert fs.ls("lender") == []
    fs.pipe_file("lender/one", b"1")
    assert fs.cat_file("lender/one") == b"1"


def test_a_store_is_the_same_under_every_spelling_of_its_prefix(bucket: str) -> None:
    name = bucket.removeprefix("s3://").strip("/")
    for number, written in enumerate(
        (f"s3://{name}//loans of 2024//", f"S3://{name}/loans of 2024", f" s3://{name}/ ")
    ):
        uri = load_settings(store_uri=written).store
        store, claims = Store(uri), Claims(uri)
        store.write_record(store.path("asset", "2024-01-01.json"), {"number": number})
        claims.claim("one", "first")
        prefix = "" if number == 2 else "/loans of 2024"
        assert UPath(bucket).fs.cat_file(f"{name}{prefix}/asset/2024-01-01.json")
        for other in (written, uri, f"{uri}/"):
            assert Store(other).read_record(Store(other).path("asset", "2024-01-01.json")) == {"number": number}
            assert Store(other).days("asset") == ["2024-01-01"]
            assert Claims(other).claim("one", "second") == "first"
    assert sorted(UPath(bucket).fs.ls(name)) == [f"{name}/asset", f"{name}/claims", f"{name}/loans of 2024"]


@pytest.mark.slow
def test_the_pipeline_runs_on_s3_and_again_without_a_change(bucket: str, tmp_path: Path) -> None:
    values = {**SMALL, "variants": "lightgbm", "variant_params": {"lightgbm": {"num_leaves": 7}}}
    settings = load_settings(home=tmp_path / "home", store_uri=bucket, **values)
    write_book(settings, *fast_forward(canonical_book(6_000, START, AS_OF, seed=7)))
    with instance_of(settings) as instance:
        replay = Replay(settings, instance)
        (training,) = replay.run(START, AS_OF, "last").trainings
        assert training.status == "registered", training.reason
        before = {p.path: p.stat().st_mtime for p in replay.store.root.rglob("*.parquet")}
        assert len(before) > 300
        assert replay.run(START, AS_OF, "last").runs == 0
        assert {p.path: p.stat().st_mtime for p in replay.store.root.rglob("*.parquet")} == before
    assert not (tmp_path / "home" / "store").exists()
    (version,) = models_record(settings)["versions"]
    assert "champion" in version["aliases"]
