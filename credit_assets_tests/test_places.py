"""Paths and URIs as people write them: where each one leads, in every setting that names a place."""

from __future__ import annotations

from pathlib import Path

import pytest

from credit_assets.places import PlaceError, database_file, database_url, embedded_folder, local_path, store_uri
from credit_assets.settings import SettingsError, load_settings, settings_file
from credit_assets.storage.claims import Claims
from credit_assets.storage.store import Store
from credit_assets.tracking import Tracking
from credit_assets.warehouse import open_warehouse


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the process stands in; the user's own one is beside it."""
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("DATA", str(tmp_path / "data"))
    monkeypatch.delenv("NOWHERE", raising=False)
    return place


PATHS = [
    ("~/risk/store", "user/risk/store"),
    ("~", "user"),
    ("$DATA/x", "data/x"),
    ("${DATA}//x/", "data/x"),
    ("x", "here/x"),
    ("./x/", "here/x"),
    ("two words/x", "here/two words/x"),
    ("  x  ", "here/x"),
    ("a~b/$DATA/%20?", "here/a~b/$DATA/%20?"),
    ("./~/x", "here/~/x"),
    ("US$/x", "here/US$/x"),
    ("file://~/x", "user/x"),
    ("file:///~/x", "user/x"),
    ("file:///$DATA/x", "data/x"),
    ("Büro/#1", "here/Büro/#1"),
    ("a:b/c", "here/a:b/c"),
]


@pytest.mark.parametrize(("written", "meant"), PATHS)
def test_a_path_leads_to_one_place_in_every_setting(
    written: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / meant
    assert local_path(written) == place
    assert store_uri(written) == str(place)
    assert Path(str(Store(written).root)) == place
    assert Claims(written)._path("a") == place / "claims" / "a"
    monkeypatch.setenv("CREDIT_STORE_URI", written)
    assert load_settings().store == str(place)
    if "?" in meant:
        return
    for name in ("CREDIT_HOME", "DAGSTER_HOME"):
        monkeypatch.setenv(name, written)
    settings = load_settings()
    assert (settings.home_dir, settings.dagster_dir) == (place, place)
    assert settings_file().parent == place
    assert settings.warehouse == f"duckdb:///{place}/warehouse.duckdb"
    if not written.strip().startswith("file:"):
        for scheme in ("duckdb", "sqlite"):
            url = f"{scheme}:///{written.strip()}/x.db"
            monkeypatch.setenv("CREDIT_WAREHOUSE_URL", url)
            monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
            there = load_settings()
            assert (there.warehouse, there.tracking_uri) == (f"{scheme}:///{place}/x.db",) * 2
            assert database_file(there.warehouse) == place / "x.db"
    portfolio = place / "own.yaml"
    monkeypatch.setenv("CREDIT_PORTFOLIO", f"{written.rstrip()}/own.yaml")
    with pytest.raises(SettingsError, match="CREDIT_PORTFOLIO") as refused:
        load_settings()
    assert str(portfolio) in str(refused.value)
    assert not list(tmp_path.rglob("~*"))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("file:///data/store/", "/data/store"),
        ("file:/data/store", "/data/store"),
        ("FILE://localhost/data", "/data"),
        ("file:///my%20books", "/my books"),
        ("//data//store//", "/data/store"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket//a//b/", "s3://bucket/a/b"),
        ("S3://bucket/two words/", "s3://bucket/two words"),
        ("gs://bucket/~/x", "gs://bucket/~/x"),
        ("memory://x//y", "memory://x/y"),
    ],
)
def test_a_store_has_one_spelling(written: str, meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDIT_STORE_URI", written)
    assert load_settings().store == meant
    assert store_uri(meant) == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("sqlite:////var/mlflow.db", "sqlite:////var/mlflow.db"),
        ("SQLite:////var/mlflow.db?timeout=20", "sqlite:////var/mlflow.db?timeout=20"),
        ("sqlite://", "sqlite://"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("https://mlflow.example.org/", "https://mlflow.example.org"),
        ("postgresql://risk:a~/$x@db/loans/", "postgresql://risk:a~/$x@db/loans/"),
    ],
)
def test_a_database_that_is_no_file_stays_as_it_is(written: str, meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert database_url(written) == meant
    monkeypatch.setenv("MLFLOW_TRACKING_URI", written)
    assert load_settings().tracking_uri == meant


def test_what_opens_a_place_reads_it_the_same_way(tmp_path: Path) -> None:
    assert Tracking("sqlite:///mlflow.db", "x", Claims("s")).server.uri == f"sqlite:///{tmp_path}/here/mlflow.db"
    assert Tracking("sqlite:///~/mlflow.db", "x", Claims("s")).server.uri == f"sqlite:///{tmp_path}/user/mlflow.db"
    assert open_warehouse("duckdb:///~/a b.duckdb").describe() == f"duckdb:///{tmp_path}/user/a b.duckdb"
    assert database_file("sqlite:////a%20b/x.db") == Path("/a b/x.db")
    assert database_file("duckdb:////a%20b/x.db") == Path("/a%20b/x.db")


@pytest.mark.parametrize(
    ("name", "written", "said"),
    [
        ("CREDIT_STORE_URI", "s3:/bucket/x", "must be followed by //"),
        ("CREDIT_STORE_URI", "s3:bucket", "must be followed by //"),
        ("CREDIT_STORE_URI", "x:/y", "must be followed by //"),
        ("CREDIT_STORE_URI", "s3://", "no bucket"),
        ("CREDIT_STORE_URI", "gs:///prefix", "no bucket"),
        ("CREDIT_STORE_URI", "s3://$BUCKET/x", "$BUCKET is not replaced"),
        ("CREDIT_STORE_URI", "file://server/share", "'server'"),
        ("CREDIT_STORE_URI", "$NOWHERE/x", "$NOWHERE, which is not set"),
        ("CREDIT_STORE_URI", '"/data/store"', "quotes around it"),
        ("CREDIT_STORE_URI", "/data\n/store", "line break"),
        ("CREDIT_STORE_URI", "~nobody-of-this-name/x", "~nobody-of-this-name"),
        ("CREDIT_HOME", "~nobody-of-this-name/x", "~nobody-of-this-name"),
        ("CREDIT_HOME", "${NOWHERE}/x", "not set"),
        ("CREDIT_HOME", "'/data'", "quotes around it"),
        ("CREDIT_HOME", "/data/a%20b", "%-escape"),
        ("CREDIT_HOME", "/data/what?", "has a ?"),
        ("CREDIT_HOME", "/data/a\\b", "a backslash"),
        ("CREDIT_HOME", "/data\n", ""),
        ("DAGSTER_HOME", "/data/a%2Fb", "%-escape"),
        ("DAGSTER_HOME", "$NOWHERE", "not set"),
        ("CREDIT_WAREHOUSE_URL", "duckdb:///$NOWHERE/x.duckdb", "not set"),
        ("CREDIT_WAREHOUSE_URL", "'duckdb:////x.duckdb'", "quotes around it"),
        ("MLFLOW_TRACKING_URI", "sqlite:///~nobody-of-this-name/x.db", "~nobody-of-this-name"),
        ("CREDIT_PORTFOLIO", "$NOWHERE/own.yaml", "not set"),
    ],
)
def test_what_would_make_a_strange_folder_is_refused(
    name: str, written: str, said: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, written)
    if not said:
        assert load_settings().home_dir == Path("/data")
        return
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert name in str(refused.value)
    assert said in str(refused.value)
    assert list(here.iterdir()) == []


def test_a_default_home_where_no_database_could_be_opened_is_refused(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDIT_HOME")
    strange = here / "what?"
    strange.mkdir()
    monkeypatch.chdir(strange)
    with pytest.raises(SettingsError, match="CREDIT_HOME"):
        load_settings()


def test_a_folder_that_is_gone_is_named(here: Path) -> None:
    here.rmdir()
    with pytest.raises(PlaceError, match="is gone"):
        embedded_folder("x")


def test_without_a_home_a_tilde_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda uid: (_ for _ in ()).throw(KeyError(uid)))
    with pytest.raises(PlaceError, match="is HOME set"):
        local_path("~/x")
