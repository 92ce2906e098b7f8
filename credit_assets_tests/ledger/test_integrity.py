"""The cheap look of every training and promotion: clean where nobody was, and no way on where somebody was."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from credit_assets.failures import PermanentError
from credit_assets.ledger.deployment import Deployment
from credit_assets.ledger.integrity import HEADS, Integrity, against_notes, heads_as_text
from credit_assets.ledger.registry import Registry, own_tags
from credit_assets.storage.chain import Chain, Head
from credit_assets.storage.claims import Claims
from credit_assets.tracking import Tracking
from credit_assets_tests.support.registry import MODEL, Q1, Q2, YES, ask, holders, opened, trained

pytest_plugins = ["credit_assets_tests.support.mlflow_server"]


def noted(deployment: Deployment) -> str | None:
    return (own_tags(deployment.registry) or {}).get(HEADS)


def logs(tracking: Tracking, alias: str = "champion") -> list[Path]:
    return sorted(Path(tracking.claims.store_uri).glob(f"claims/mlflow-aliases/*/{alias}/0*"))


def test_moves_requests_and_claims_leave_no_break_and_cuts_and_edits_stop_a_promotion(tracking: Tracking) -> None:
    deployment = opened(tracking, "immediate")
    integrity = Integrity(deployment.registry)
    assert integrity.breaks(whole=True) == []
    integrity.note()
    assert noted(deployment) is None, "there is no registered model yet"
    trained(deployment, "f1", Q1, YES)
    two = trained(deployment, "f2", Q2, YES)
    assert ask(deployment, "rollback", "1", date(2024, 8, 1)) == "done"
    integrity.note()
    assert integrity.breaks(whole=True) == integrity.breaks() == []
    assert {name: head.number for name, head in integrity.heads().items()} == {
        "champion": 3,
        "challenger": 2,
        "shadow": 0,
        "requests": 1,
        # Begun with nothing; two versions; an outcome.
        "journal": 4,
    }
    # The end of the log is cut off: no chain says so, and MLflow does.
    newest = logs(tracking)[-1]
    text = newest.read_text()
    newest.unlink()
    with pytest.raises(PermanentError, match=r"version 2 does not take over: the ledger is broken: .* and are gone"):
        deployment.examine("promote", two, by="ann")
    # What MLflow noted is not written over meanwhile.
    before = noted(deployment)
    integrity.note()
    assert noted(deployment) == before
    # Brought back from a backup it is whole.
    newest.write_text(text)
    integrity.refuse_broken("nothing")
    # Accepted, a note that the log does not fit counts no more, whatever is entered in that place since.
    past = heads_as_text({integrity.chains()["champion"].folder: Head(9, "of a log that was cut off")})
    assert [one.number for one in integrity.breaks(noted_elsewhere=[past])] == [9]
    integrity.accept(integrity.breaks(noted_elsewhere=[past]), {}, by="ann", reason="lost with a disk")
    assert integrity.breaks(whole=True, noted_elsewhere=[past]) == []
    # Edited, it is named, until a person accepts it as it is, and as it is alone.
    newest.write_text(text.replace("someone", "eve"))
    (one, *_) = integrity.breaks()
    assert "entry 3 is not what was written" in one.text
    integrity.accept(integrity.breaks(), {}, by="ann", reason="known")
    integrity.refuse_broken("nothing")
    newest.write_text(text.replace("someone", "mallory"))
    assert integrity.breaks()
    _, accepted = tracking.claims.journal.accepted()
    assert (accepted["by"], accepted["reason"]) == ("ann", "known")


def test_a_champion_that_mlflow_does_not_know_stops_everything(tracking: Tracking) -> None:
    deployment = opened(tracking, "immediate")
    trained(deployment, "f1", Q1, YES)
    assert holders(deployment)["champion"] == "1"
    deployment.registry.tracking.server.client.delete_registered_model(MODEL)
    integrity = Integrity(Registry(tracking, MODEL, tracking.claims))
    with pytest.raises(PermanentError, match=r"version 1 is champion, and MLflow .* has no model of that name"):
        integrity.refuse_broken("nothing is trained")
    before = integrity.breaks()
    integrity.registry.scope(create=True)
    with pytest.raises(PermanentError, match="has another model of that name"):
        integrity.refuse_broken("nothing is trained")
    # Accepted before its successor was made, it holds for that, too.
    integrity.accept(before, {}, by="ann", reason="begun anew")
    integrity.refuse_broken("nothing is trained")
    # And once the new one has a log of its own that is the newest.
    trained(opened(tracking, "immediate"), "f2", Q2, YES)
    assert integrity.breaks(whole=True) == []


def test_a_note_that_is_behind_its_log_is_no_break_and_one_ahead_is(tmp_path: Path) -> None:
    chain = Chain(Claims(str(tmp_path)), "moves")
    for number in range(5):
        chain.append({"n": number})
    for number in range(6):
        head = Head(number, chain.hash_at(number))
        assert against_notes([chain], [heads_as_text({"moves": head})], "MLflow") == []
    assert len(against_notes([chain], [heads_as_text({"moves": Head(6, "x")})], "MLflow")) == 1
    (other,) = against_notes([chain], [heads_as_text({"moves": Head(2, "x")})], "MLflow")
    assert "entry 2 is not the one that MLflow noted" in other.text
    for rubbish in ("{", "[]", json.dumps({"moves": 1}), json.dumps({"moves": ["a", "b"]})):
        (one,) = against_notes([chain], [rubbish], "MLflow")
        assert "cannot be read" in one.text
    # Of a log that is not looked at here.
    assert against_notes([chain], [heads_as_text({"others": Head(9, "x")}), ""], "MLflow") == []
