"""Whose records they are: another book's are refused wherever a home is opened; a home that was moved is its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from credit_assets.cli.doctor import diagnose
from credit_assets.cli.state import status_record
from credit_assets.failures import PermanentError
from credit_assets.instance.home import instance_of
from credit_assets.instance.ownership import (
    CLAIM,
    MARK_FILE,
    BookIdentity,
    book_of,
    changed_since,
    own_store,
    own_tables,
    parse,
)
from credit_assets.settings import Settings, load_settings
from credit_assets.storage.claims import Claims
from credit_assets.storage.store import Store

DAY = "2024-01-05"


@pytest.fixture(autouse=True)
def _no_dagster_home_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    # Opening an instance sets it for the process.
    monkeypatch.setenv("DAGSTER_HOME", "")


def home(place: Path, dagster: Path | None = None, **more: Any) -> Settings:
    return load_settings(home=place, dagster_home=dagster or place / "dagster", **more)


@contextmanager
def ingested(settings: Settings, day: str = DAY) -> Iterator[dg.DagsterInstance]:
    """A home of which a day was ingested."""
    own_store(settings, Claims(settings.store))
    with instance_of(settings) as instance:
        record(settings, instance, day)
        yield instance


def record(settings: Settings, instance: dg.DagsterInstance, day: str = DAY) -> None:
    store = Store(settings.store)
    path = store.path("raw_loan_data", f"{day}.parquet")
    store.write_bytes(path, b"looked for, not read")
    metadata = {"path": dg.MetadataValue.path(str(path))}
    instance.report_runless_asset_event(dg.AssetMaterialization("raw_loan_data", partition=day, metadata=metadata))


def other_portfolio(folder: Path, name: str = "cards") -> Path:
    import credit_assets

    packaged = Path(credit_assets.__file__).parent / "portfolios" / "consumer_loans.yaml"
    file = folder / f"{name}.yaml"
    file.write_text(packaged.read_text("utf-8").replace("name: consumer_loans", f"name: {name}", 1), "utf-8")
    return file


def test_the_records_of_another_home_are_refused_by_its_name(tmp_path: Path) -> None:
    theirs = home(tmp_path / "demo")
    with ingested(theirs):
        pass
    with instance_of(theirs):
        pass
    ours = home(tmp_path / "mine", theirs.dagster_dir)
    with pytest.raises(PermanentError) as refused, instance_of(ours):
        pass
    said = str(refused.value)
    assert f"the Dagster folder {theirs.dagster_dir} (DAGSTER_HOME) holds the records of another book" in said
    assert f"portfolio consumer_loans in the store {theirs.store} (CREDIT_HOME {theirs.home_dir})" in said
    assert "unset DAGSTER_HOME" in said
    # The other way round as well: a book of our own does not make the folder ours.
    own_store(ours, Claims(ours.store))
    with pytest.raises(PermanentError, match="another book"), instance_of(ours):
        pass
    with instance_of(theirs) as instance:
        assert instance.get_materialized_partitions(dg.AssetKey("raw_loan_data")) == {DAY}


def test_records_from_before_books_had_a_mark_are_known_by_where_they_were_written(tmp_path: Path) -> None:
    theirs = home(tmp_path / "demo")
    with instance_of(theirs) as instance:
        record(theirs, instance)
    assert not (theirs.dagster_dir / MARK_FILE).exists()
    ours = home(tmp_path / "mine", theirs.dagster_dir)
    with pytest.raises(PermanentError, match=r"the store of .*demo/store/raw_loan_data"), instance_of(ours):
        pass
    with instance_of(theirs):
        pass


def test_a_home_that_was_moved_is_its_own(tmp_path: Path) -> None:
    before = home(tmp_path / "before")
    with ingested(before):
        pass
    with instance_of(before):
        pass
    shutil.move(before.home_dir, tmp_path / "after")
    after = home(tmp_path / "after")
    with instance_of(after) as instance:
        assert instance.get_materialized_partitions(dg.AssetKey("raw_loan_data")) == {DAY}
    assert parse((after.dagster_dir / MARK_FILE).read_text("utf-8"), "mark").home == str(after.home_dir)
    # Before books had a mark, too.
    for mark in (after.dagster_dir / MARK_FILE, Path(after.store) / "claims" / CLAIM):
        mark.unlink()
    shutil.move(after.home_dir, tmp_path / "later")
    with instance_of(home(tmp_path / "later")):
        pass


def test_a_store_that_was_emptied_begins_anew(tmp_path: Path) -> None:
    settings = home(tmp_path / "own")
    with ingested(settings):
        pass
    with instance_of(settings):
        pass
    shutil.rmtree(settings.store)
    with instance_of(settings):
        own_store(settings, Claims(settings.store))
    with instance_of(settings):
        pass
    book = book_of(Claims(settings.store))
    assert book is not None
    assert parse((settings.dagster_dir / MARK_FILE).read_text("utf-8"), "mark").id == book.id


def test_two_portfolios_never_share_a_store(tmp_path: Path) -> None:
    settings = home(tmp_path / "own")
    own_store(settings, Claims(settings.store))
    changed = home(tmp_path / "own", portfolio=other_portfolio(tmp_path), names="bare")
    said = r"holds the portfolio consumer_loans, and CREDIT_PORTFOLIO is now cards: two portfolios never share a store"
    with pytest.raises(PermanentError, match=said):
        own_store(changed, Claims(changed.store))
    with pytest.raises(PermanentError, match=said), instance_of(changed):
        pass
    # Elsewhere by a setting of its own.
    elsewhere = home(tmp_path / "other", portfolio=other_portfolio(tmp_path), store_uri=settings.store, names="bare")
    with pytest.raises(PermanentError, match=said), instance_of(elsewhere):
        pass


def test_portfolios_of_different_names_share_store_and_dagster_folder(tmp_path: Path) -> None:
    plain, cards = home(tmp_path / "own"), home(tmp_path / "own", portfolio=other_portfolio(tmp_path))
    for settings in (plain, cards):
        own_store(settings, Claims(settings.store))
        for _ in range(2):
            with instance_of(settings):
                pass
    assert [book_of(Claims(one.store)).portfolio for one in (plain, cards)] == ["consumer_loans", "cards"]  # type: ignore[union-attr]
    marks = sorted(file.name for file in plain.dagster_dir.glob("credit_assets*.json"))
    assert marks == ["credit_assets.cards.json", MARK_FILE]


def test_one_name_for_two_books_is_refused(tmp_path: Path) -> None:
    file = other_portfolio(tmp_path)
    first, second = (home(tmp_path / name, tmp_path / "dagster", portfolio=file) for name in ("a", "b"))
    for settings in (first, second):
        own_store(settings, Claims(settings.store))
    with instance_of(first):
        pass
    with pytest.raises(PermanentError, match=r"another book, portfolio cards .*a name of its own"), instance_of(second):
        pass


def test_days_under_plain_names_are_gone_on_with_or_refused_and_never_begun_anew(tmp_path: Path) -> None:
    """As earlier versions wrote them, whatever the portfolio was called."""
    file = other_portfolio(tmp_path)
    earlier = home(tmp_path / "own", portfolio=file, names="bare")
    with ingested(earlier):
        pass
    now = home(tmp_path / "own", portfolio=file)
    said = r"holds the portfolio cards under the plain names .*set CREDIT_NAMES=bare to go on"
    with pytest.raises(PermanentError, match=said):
        own_store(now, Claims(now.store))
    with pytest.raises(PermanentError, match=said), instance_of(now):
        pass
    found = {finding.name: finding for finding in diagnose(now)}
    assert found["book"].status == "fail"
    assert "CREDIT_NAMES=bare" in found["book"].advice
    with instance_of(earlier) as instance:
        assert instance.get_materialized_partitions(dg.AssetKey("raw_loan_data")) == {DAY}
    # Another portfolio is no concern of theirs.
    another = home(tmp_path / "own", portfolio=other_portfolio(tmp_path, "autos"))
    own_store(another, Claims(another.store))


def test_loans_of_two_portfolios_never_come_into_one_table(tmp_path: Path) -> None:
    plain, cards = home(tmp_path / "own"), home(tmp_path / "own", portfolio=other_portfolio(tmp_path))
    plain.home_dir.mkdir(parents=True)
    own_tables(plain)
    own_tables(plain)
    with pytest.raises(PermanentError, match=r"loans of portfolio consumer_loans in tables that cards names too"):
        own_tables(cards)
    # What somebody else keeps is theirs to name.
    own_tables(home(tmp_path / "own", portfolio=other_portfolio(tmp_path), warehouse_url="postgresql://h/loans"))
    (plain.home_dir / "warehouse.tables.json").write_text("[", "utf-8")
    with pytest.raises(PermanentError, match="is damaged"):
        own_tables(plain)


def test_who_is_first_names_the_book_and_everybody_else_gets_the_same(tmp_path: Path) -> None:
    settings, again = home(tmp_path / "own"), home(tmp_path / "second", store_uri=str(tmp_path / "own" / "store"))
    first = own_store(settings, Claims(settings.store))
    assert own_store(settings, Claims(settings.store)) == first
    # Another home on the same store and portfolio works on the same book.
    assert own_store(again, Claims(again.store)) == first


def test_a_warehouse_or_a_zone_of_another_book_is_told_of(tmp_path: Path) -> None:
    settings = home(tmp_path / "own")
    own_store(settings, Claims(settings.store))
    assert changed_since(settings) == []
    changed = home(tmp_path / "own", warehouse_url="postgresql://u:hidden@host/loans", timezone="Asia/Tokyo")
    warehouse, zone = changed_since(changed)
    assert warehouse.startswith("CREDIT_WAREHOUSE_URL was embedded")
    assert "postgresql://u:***@host/loans" in warehouse
    assert zone.startswith("CREDIT_TIMEZONE was UTC")
    assert "Asia/Tokyo" in zone
    with instance_of(changed) as instance:
        assert status_record(changed, instance)["warnings"] == [warehouse, zone]


def test_doctor_says_whose_they_are(tmp_path: Path) -> None:
    theirs = home(tmp_path / "demo")
    with ingested(theirs):
        pass
    with instance_of(theirs):
        pass
    ours = home(tmp_path / "mine", theirs.dagster_dir)
    found = {finding.name: finding for finding in diagnose(ours)}
    assert found["Dagster"].status == "fail"
    assert str(theirs.home_dir) in found["Dagster"].advice
    assert found["book"].value.startswith("none yet")
    changed = home(tmp_path / "demo", portfolio=other_portfolio(tmp_path), names="bare")
    found = {finding.name: finding for finding in diagnose(changed)}
    assert found["book"].status == "fail"
    assert "two portfolios never share a store" in found["book"].advice


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"id": "x"}', "not json"])
def test_a_damaged_mark_says_so(tmp_path: Path, text: str) -> None:
    settings = home(tmp_path / "own")
    with ingested(settings):
        pass
    (settings.dagster_dir / MARK_FILE).write_text(text, "utf-8")
    with pytest.raises(PermanentError, match="does not say whose book it is"), instance_of(settings):
        pass
    Path(settings.store, "claims", "book").write_text(text, "utf-8")
    found = {finding.name: finding for finding in diagnose(settings)}["book"]
    assert found.status == "fail"
    assert "is damaged and does not say whose book it is" in found.advice
    assert "report it" not in found.advice


def test_a_folder_that_cannot_be_written_to_is_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = home(tmp_path / "own")
    with ingested(settings):
        pass

    def refuse(self: Path, *_: Any, **__: Any) -> int:
        raise PermissionError(13, "read-only", str(self))

    monkeypatch.setattr(Path, "write_text", refuse)
    with instance_of(settings):
        pass


def test_a_book_survives_its_json() -> None:
    book = BookIdentity("1", "cards", "s3://bucket/x", "/home", "embedded", "UTC")
    assert parse(book.to_json(), "here") == book
    assert json.loads(book.to_json())["portfolio"] == "cards"
