"""Tampering with a real house, behind the pipeline's back: what was done is found by an audit, named, and stops
trainings and promotions until a person accepts it. A house that nobody touched has no gap.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from credit_assets.cli.audit import accept, audit_record
from credit_assets.failures import PermanentError
from credit_assets.ledger.audit.chains import chains_whole, journal_kept, one_house
from credit_assets.ledger.audit.walk import Gap, Ledger, Reported, Walk
from credit_assets.ledger.integrity import Integrity
from credit_assets.ledger.reported import report_moves
from credit_assets.resources import build_resources
from credit_assets.storage.chain import Break
from credit_assets_tests.support.houses import TRAINED, House, copied_home, open_house
from credit_assets_tests.support.tampering import DAMAGES, TAMPERINGS, Home

FIRST, LATER = TRAINED + timedelta(1), TRAINED + timedelta(7)
NO_PROGRESS: Callable[[str, int, int], None] = lambda *_: None  # noqa: E731


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, trained_home: Path) -> Path:
    """With a promotion that a person asked for, scores, and all moves reported."""
    home = copied_home(trained_home, tmp_path_factory.mktemp("chained") / "home")
    with open_house(home) as house:
        house.replay.backfill(FIRST, LATER + timedelta(1), ("loan_scores",))
        deployment = build_resources(house.settings)["deployment"]
        deployment.requests.add("promote", "1", by="ann", reason="from a later day on", effective_from=FIRST)
        deployment.apply_pending()
        report_moves(house.instance, deployment.registry)
    return home


def gaps(house: House) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = audit_record(house.settings, house.instance, NO_PROGRESS, verify=True)["gaps"]
    return found


@pytest.mark.slow
def test_a_house_that_nobody_touched_is_clean(home: Path) -> None:
    with open_house(home) as house:
        before = house.hashes()
        assert gaps(house) == []
        assert house.hashes() == before
        Integrity(build_resources(house.settings)["registry"]).refuse_broken("nothing")


@pytest.mark.slow
@pytest.mark.parametrize(("tamper", "check", "said"), TAMPERINGS.values(), ids=TAMPERINGS.keys())
def test_what_was_done_behind_the_pipelines_back_is_found_and_named(
    tmp_path: Path, home: Path, tamper: Callable[[Home], None], check: str, said: str
) -> None:
    tamper(Home(copied_home(home, tmp_path / "home")))
    with open_house(tmp_path / "home") as house:
        found = gaps(house)
        assert [one for one in found if one["check"] == check and said in one["text"]], found


PLACES: dict[str, tuple[Callable[[Home], Path], set[str]]] = {
    # A file of the ledger, and the checks one of which names its damage.
    "request": (lambda home: home.newest(home.requests), {"chains_whole"}),
    "move": (lambda home: home.newest(home.log()), {"chains_whole"}),
    "journal": (lambda home: home.newest(home.claims / "journal"), {"chains_whole"}),
    "journal's first": (lambda home: home.claims / "journal" / "000001", {"chains_whole"}),
    "outcome of a request": (lambda home: home.newest(home.claims / "requests" / "done"), {"journal_kept"}),
    "claim of a version": (lambda home: newest_file(home.claims / "mlflow-versions"), {"journal_kept"}),
    # What has followed from a move, and which run is whose: nothing is decided by their content.
    "mark of a move": (lambda home: newest_file(home.claims / "mlflow-aliases-done"), set()),
    "claim of a run": (lambda home: newest_file(home.claims / "mlflow-runs"), set()),
}


def newest_file(folder: Path) -> Path:
    return max(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_a_damaged_file_of_the_ledger_is_named_and_in_nobody_elses_way(tmp_path: Path, home: Path, place: str) -> None:
    path_of, checks = PLACES[place]
    # Every damage to a request; to the other places two each, in turn.
    turn = [*DAMAGES, *DAMAGES][list(PLACES).index(place) % len(DAMAGES) :]
    for name in turn[: len(DAMAGES) if place == "request" else 2]:
        copy = Home(copied_home(home, tmp_path / name))
        DAMAGES[name](path := path_of(copy))
        # A file that was written just now may be half a claim for a moment, which whoever reads it waits for.
        os.utime(path, (0, 0))
        with open_house(copy.place) as house:
            found = gaps(house)
            assert bool(checks) == any(one["check"] in checks for one in found), (name, found)
            resources = build_resources(house.settings)
            # An open request behind it is done all the same, unless what it would decide by is broken.
            resources["deployment"].apply_pending()
            integrity = Integrity(resources["registry"])
            if "chains_whole" in checks:
                with pytest.raises(PermanentError, match="the ledger is broken"):
                    integrity.refuse_broken("nothing")
            else:
                integrity.refuse_broken("nothing")


@pytest.mark.slow
def test_an_emptied_mlflow_makes_no_first_version_anew_until_a_person_accepts_it(tmp_path: Path, home: Path) -> None:
    TAMPERINGS["MLflow's database emptied"][0](Home(copied_home(home, tmp_path / "home")))
    with open_house(tmp_path / "home") as house:
        with pytest.raises(PermanentError, match="version 1 is champion, and MLflow"):
            house.train(LATER)
        assert build_resources(house.settings)["registry"].versions() == []
        said = accept(house.settings, house.instance, "begun anew on purpose", by="ann")
        assert len(said["accepted"]) == 1
        assert house.train(LATER).version == "1"


@pytest.mark.slow
def test_store_mlflow_and_dagster_are_restored_together_or_it_is_said_that_they_are_not(
    tmp_path: Path, home: Path
) -> None:
    parts = ("store", "mlflow", "dagster")
    copied_home(home, now := tmp_path / "home")
    backup = tmp_path / "backup"
    for part in parts:
        shutil.copytree(now / part, backup / part)
    with open_house(now) as house:
        # Life goes on: another decision, and a move.
        deployment = build_resources(house.settings)["deployment"]
        deployment.requests.add("rollback", "1", by="ann", reason="x", effective_from=FIRST)
        house.train(LATER)
        deployment.apply_pending()
        report_moves(house.instance, deployment.registry)
        assert gaps(house) == []
    later = tmp_path / "later"
    shutil.move(now, later)

    def restored(*old: str) -> list[dict[str, Any]]:
        shutil.rmtree(now, ignore_errors=True)
        shutil.copytree(later, now)
        for part in old:
            shutil.rmtree(now / part)
            shutil.copytree(backup / part, now / part)
        # In a place of its own: MLflow keeps a database open that lay at a place before.
        copied_home(now, there := tmp_path / "-".join(("restored", *old)))
        with open_house(there) as house:
            return gaps(house)

    assert restored() == []
    assert restored(*parts) == []
    for one in parts:
        assert restored(one), f"{one} alone is of the backup, and nothing says so"
    assert restored("mlflow", "dagster"), "the store alone is newer, and nothing says so"


# By the plain values


def broken(*breaks: Break) -> Walk:
    return Walk(ledger=Ledger(breaks=breaks))


def journal(entered: dict[str, list[str]] | None, **now: str) -> list[Gap]:
    return [
        *journal_kept(
            Walk(ledger=Ledger(journal=entered, files={f"deployed_model/{k}.json": v for k, v in now.items()}))
        )
    ]


def test_what_is_broken_is_a_gap_where_it_belongs() -> None:
    chain, mlflow = Break("requests/log", 2, "entry 2 is missing"), Break("log", 1, "emptied", replaced=True)
    walk = broken(chain, mlflow)
    assert [(one.asset, one.text) for one in chains_whole(walk)] == [("requests/log", "entry 2 is missing")]
    assert [(one.asset, one.text) for one in one_house(walk)] == [("log", "emptied")]
    assert "--accept" in one_house(walk)[0].do


def test_the_journal_names_what_was_edited_removed_put_there_and_put_back() -> None:
    day = "deployed_model/a.json"
    assert journal(None, a="1") == []
    assert journal({day: ["1"]}, a="1") == []
    assert journal({day: ["1", "2"]}, a="2") == []
    assert journal({day: ["1", ""]}) == [], "it was taken away by the pipeline itself"
    said = {
        "edited": journal({day: ["1"]}, a="2"),
        "put back": journal({day: ["1", "2"]}, a="1"),
        "removed": journal({day: ["1"]}),
        "put there": journal({}, a="1"),
    }
    for word, found in said.items():
        (gap,) = found
        assert word in gap.text
        assert gap.where == "deployed_model a"


def test_two_that_claimed_a_name_at_once_have_both_entered_it() -> None:
    files = {"claims/retraining/2024-04-01": "mine"}
    entered = {"claims/retraining/2024-04-01": ["mine", "another's"]}
    assert journal_kept(Walk(ledger=Ledger(journal=entered, files=files))) == []


def test_books_of_two_houses_are_told_apart() -> None:
    books = {"the store": "a", "MLflow": "a", "Dagster": "b"}
    assert "different books" in one_house(Walk(ledger=Ledger(books=books)))[0].text
    assert one_house(Walk(ledger=Ledger(books={**books, "Dagster": ""}))) == []


def test_a_move_that_dagster_alone_reports_is_named() -> None:
    of_other = Reported("another log", 7, "1", "")
    forged = Reported("log", 7, "1", "")
    walk = Walk(ledger=Ledger(logs={"champion": "log"}, reported={"champion": [of_other, forged]}))
    (gap,) = one_house(walk)
    assert "Dagster reports move 7 to 1" in gap.text


def test_accepting_needs_a_reason(home: Path) -> None:
    with open_house(home) as house, pytest.raises(PermanentError, match="needs --reason"):
        accept(house.settings, house.instance, " ", by="ann")
