"""Registered versions and aliases: found again, never twice, moved forwards and back, by one and by many at once."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest

from credit_assets.failures import PermanentError
from credit_assets.instance.ownership import BookIdentity
from credit_assets.ledger.aliases import Aliases
from credit_assets.ledger.registry import Owner, Registry, refuse_lost
from credit_assets.naming import Names
from credit_assets.storage.claims import Claims
from credit_assets.tracking import Tracking
from credit_assets_tests.support.registry import MODEL, Q1, Q2, day_after, move, register

pytest_plugins = ["credit_assets_tests.support.mlflow_server"]

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def registry(tracking: Tracking) -> Registry:
    return Registry(tracking, MODEL, tracking.claims)


def test_an_empty_registry_is_no_error(registry: Registry) -> None:
    assert registry.versions() == []
    assert registry.alias("champion") is None
    assert registry.champion_at(Q1) is None
    assert Aliases(registry).moves("champion") == []
    with pytest.raises(PermanentError, match="credit-scorer has no version 1; registered: none yet"):
        registry.version("1")


def test_a_version_carries_what_made_it(registry: Registry) -> None:
    made = register(registry, "f1", variant="xgboost", auc="0.7")
    assert made == registry.version("1") == registry.version(1)
    assert registry.versions() == [made]
    assert (made.version, made.as_of, made.fingerprint, made.variant, made.status) == (
        "1",
        Q1,
        "f1",
        "xgboost",
        "registered",
    )
    assert made.tags["auc"] == "0.7"
    assert made.source.startswith("models:/m-")
    assert made.run_id == registry.tracking.runs.parent("dagster-1", "job")
    assert (made.description, made.aliases, made.champion_periods) == ("why", (), ())
    assert registry.alias("champion") is None
    with pytest.raises(PermanentError, match="has no version latest; registered: 1"):
        registry.version("latest")


def test_the_same_fingerprint_is_the_same_version(registry: Registry) -> None:
    assert register(registry, "f1").version == register(registry, "f1").version == "1"
    assert register(registry, "f2").version == "2"
    assert [v.fingerprint for v in registry.versions()] == ["f1", "f2"]


def test_a_version_is_found_again_where_the_store_is_new(registry: Registry, tmp_path: Path) -> None:
    register(registry, "f1")
    emptied = Registry(registry.tracking, MODEL, Claims(str(tmp_path / "new_store")))
    assert register(emptied, "f1").version == "1"


def of_book(registry: Registry, store: Path, book: BookIdentity) -> Registry:
    """The registry as seen by another store that holds this book."""
    claims = Claims(str(store))
    claims.claim("book", book.to_json())
    return Registry(registry.tracking, MODEL, claims)


def test_models_of_another_book_are_refused_by_its_name(registry: Registry, tmp_path: Path) -> None:
    mine = BookIdentity("1", "consumer_loans", str(tmp_path / "a"), "/home/demo", "embedded", "UTC")
    ours = of_book(registry, tmp_path / "a", mine)
    register(ours, "f1")
    assert [v.version for v in ours.versions()] == ["1"]
    theirs = of_book(
        registry, tmp_path / "b", BookIdentity("2", "cards", str(tmp_path / "b"), "/home/own", "embedded", "UTC")
    )
    for look in (theirs.versions, lambda: register(theirs, "f2"), lambda: theirs.version("1")):
        with pytest.raises(PermanentError, match=r"belongs to another book, portfolio consumer_loans .*/home/demo"):
            look()
    assert [v.version for v in ours.versions()] == ["1"]
    # The same place, emptied and filled again, and a store without a mark: found again.
    emptied = of_book(
        registry, tmp_path / "c", BookIdentity("3", "consumer_loans", str(tmp_path / "a"), "/h", "embedded", "UTC")
    )
    assert [v.version for v in emptied.versions()] == ["1"]
    assert [v.version for v in registry.versions()] == ["1"]


def test_a_version_deleted_by_hand_can_be_registered_again(registry: Registry) -> None:
    register(registry, "f1")
    registry.tracking.server.client.delete_model_version(MODEL, "1")
    assert register(registry, "f1").version == "2"
    assert register(registry, "f1").version == "2"


def test_days_of_a_version_that_mlflow_has_no_more_are_not_those_of_before_the_first_model(registry: Registry) -> None:
    one, two = register(registry, "f1", Q1), register(registry, "f2", Q2)
    move(registry, one.version, day_after(Q1))
    move(registry, two.version, day_after(Q2))
    registry.tracking.server.client.delete_model_version(MODEL, "1")
    with pytest.raises(PermanentError, match=rf"version 1 .* was in force on {Q2}.*promote N --from {day_after(Q1)}"):
        registry.champion_at(Q2)
    versions = registry.versions()
    with pytest.raises(PermanentError, match="it was deleted there"):
        refuse_lost(registry, [Q1, Q2], versions)
    # Days of others are scored as ever.
    refuse_lost(registry, [Q1, day_after(Q2)], versions)
    assert registry.champion_at(Q1) is None
    assert registry.champion_at(day_after(Q2)) == registry.version("2")


def test_claims_about_a_deleted_model_do_not_bind_its_successor(registry: Registry) -> None:
    move(registry, register(registry, "f1").version, day_after(Q1))
    registry.tracking.server.client.delete_registered_model(MODEL)
    assert registry.champion_at(Q2) is None
    register(registry, "f0")
    assert register(registry, "f1").version == "2"
    assert Aliases(registry).moves("champion") == []


def test_what_was_registered_by_hand_is_left_alone(registry: Registry) -> None:
    source = register(registry, "f1").source
    with registry.tracking.server.fluent() as mlflow:
        mlflow.MlflowClient().create_model_version(MODEL, source)
    assert [v.version for v in registry.versions()] == ["1"]
    with pytest.raises(PermanentError, match="version 2 of credit-scorer was registered by hand"):
        registry.version("2")


class ClaimedInBetween(Claims):
    """Another process claims each version just before this one does, or this one is killed there."""

    def __init__(self, store_uri: str, theirs: Callable[[], str] | None) -> None:
        super().__init__(store_uri)
        self.theirs = theirs

    def claim(self, name: str, value: str) -> str:
        if name.startswith("mlflow-versions/"):
            if self.theirs is None:
                raise MemoryError("killed here")
            Claims(self.store_uri).claim(name, self.theirs())
        return super().claim(name, value)


def test_who_loses_the_claim_deletes_its_own_version(registry: Registry) -> None:
    source, client = register(registry, "f0").source, registry.tracking.server.client

    def create_theirs() -> str:
        with registry.tracking.server.fluent():
            made = client.create_model_version(MODEL, source, tags={"fingerprint": "f1", "as_of": Q1.isoformat()})
        return str(made.version)

    losing = Registry(registry.tracking, MODEL, ClaimedInBetween(registry.claims.store_uri, create_theirs))
    assert register(losing, "f1").version == "3"
    assert [v.version for v in registry.versions()] == ["1", "3"]


def test_a_version_left_by_a_process_killed_before_its_claim_is_taken_up(registry: Registry) -> None:
    dying = Registry(registry.tracking, MODEL, ClaimedInBetween(registry.claims.store_uri, None))
    with pytest.raises(MemoryError):
        register(dying, "f1")
    assert register(registry, "f1").version == "1"
    assert len(registry.versions()) == 1


def test_tags_broken_by_hand_are_named(registry: Registry) -> None:
    register(registry, "f1")
    registry.tracking.server.client.set_model_version_tag(MODEL, "1", "champion_periods", "yesterday")
    with pytest.raises(PermanentError, match="version 1 of credit-scorer: its tags as_of or champion_periods"):
        registry.versions()


def test_many_pages_of_versions(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("credit_assets.ledger.registry._PAGE", 2)
    for n in range(5):
        register(registry, f"f{n}")
    assert [v.version for v in registry.versions()] == ["1", "2", "3", "4", "5"]


def test_no_portfolio_reads_a_version_of_another(registry: Registry) -> None:
    cards, autos = (
        Registry(registry.tracking, MODEL, registry.claims, Owner(Names(n), "c0")) for n in ("cards", "autos")
    )
    version = register(cards, "f1")
    assert (version.tags["portfolio"], version.tags["contract"]) == ("cards", "c0")
    cards.set_alias("champion", "1")
    said = r"version 1 of .* in MLflow was made for portfolio cards \(contract c0\), and this is portfolio autos"
    for look in (
        autos.versions,
        lambda: autos.version("1"),
        lambda: autos.alias("champion"),
        lambda: autos.champion_at(Q1),
        lambda: autos.download(version),
        lambda: register(autos, "f1"),
    ):
        with pytest.raises(PermanentError, match=said):
            look()
    assert [v.version for v in cards.versions()] == ["1"]


def test_a_version_of_before_they_bore_a_portfolio_is_read(registry: Registry) -> None:
    register(registry, "f1")
    for tag in ("portfolio", "contract"):
        if tag in registry.version("1").tags:
            registry.tracking.server.client.delete_model_version_tag(MODEL, "1", tag)
    assert Registry(registry.tracking, MODEL, registry.claims, Owner(Names("cards"), "c0")).version("1").version == "1"
