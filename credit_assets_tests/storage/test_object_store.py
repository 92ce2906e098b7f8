"""The pipeline with its store on an S3 API: nothing but the setting changes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from upath import UPath

from credit_assets.cli.models import models_record
from credit_assets.cli.replay import Replay
from credit_assets.instance.home import instance_of
from credit_assets.settings import load_settings
from credit_assets_tests.assets.test_pipeline import SMALL, START, fast_forward, write_book
from credit_assets_tests.support.synthetic import canonical_book

AS_OF = date(2024, 3, 31)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket on a real S3 API server, reached as a lender's would be: through the AWS environment."""
    pytest.importorskip("s3fs", reason="the s3 extra is not installed")
    import boto3
    import s3fs
    from moto.server import ThreadedMotoServer

    # fsspec keeps file systems by their arguments, and the address is none: it would be the server of an earlier test.
    s3fs.S3FileSystem.clear_instance_cache()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }.items():
        monkeypatch.setenv(name, value)
    # What the server holds belongs to the process, earlier tests included.
    urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()
    boto3.client("s3").create_bucket(Bucket="lender")
    yield "s3://lender/credit"
    server.stop()


@pytest.mark.parametrize("number", [1, 2])
def test_each_test_reaches_the_server_of_its_own(bucket: str, number: int) -> None:
    fs = UPath(bucket).fs
    assert fs.ls("lender") == []
    fs.pipe_file("lender/one", b"1")
    assert fs.cat_file("lender/one") == b"1"


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
