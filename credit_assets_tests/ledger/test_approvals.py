"""Four eyes: a request in anybody's name does nothing until an approver who has not asked for it has signed it."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from credit_assets.failures import PermanentError
from credit_assets.ledger.approvals import Approvals
from credit_assets.ledger.requester import requester_here, requester_in_words
from credit_assets.ledger.requests import Request, Requests
from credit_assets.settings.approvers import Approvers
from credit_assets.storage.claims import Claims
from credit_assets_tests.support.signing import Signer

ANN, BOB, EVE = Signer("ann"), Signer("bob"), Signer("eve")
DAY = date(2024, 4, 1)


@pytest.fixture
def requests(tmp_path: Path) -> Requests:
    return Requests(Claims(str(tmp_path / "store")))


@pytest.fixture
def approvals(tmp_path: Path, requests: Requests) -> Approvals:
    (file := tmp_path / "approvers").write_text(f"{ANN.ssh_line()}\n{BOB.minisign_line()}\n")
    return Approvals(requests.claims, Approvers.read(file), "manual")


def ask(requests: Requests, kind: str = "promote", by: str = "ann") -> Request:
    return requests.add(kind, "1", by=by, reason="because", effective_from=DAY)  # type: ignore[arg-type]


def test_a_request_says_who_entered_it_as_the_system_knew(requests: Requests, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("USER", "LOGNAME", "LNAME", "USERNAME", "SUDO_USER"):
        monkeypatch.setenv(variable, "chief.risk.officer")
    request = ask(requests, by="chief.risk.officer")
    import pwd

    assert request.entered_by["user"] == pwd.getpwuid(os.getuid()).pw_name
    assert request.entered_by["host"] == socket.gethostname()
    assert "chief.risk.officer" not in request.entered_by.values()
    assert requests.all() == [request]
    assert requester_in_words(request.entered_by).endswith(f"@{socket.gethostname()}")
    assert requester_in_words({"user": "dagster", "host": "pod", "dagster_user": "bob"}).endswith(
        "for the Dagster user bob"
    )
    assert requester_in_words({}) == ""
    monkeypatch.setattr(os, "getuid", lambda: 2_000_000_123)
    assert requester_here()["user"] == "uid 2000000123"


def test_a_request_of_before_says_nothing(requests: Requests) -> None:
    ask(requests)
    text = json.loads(requests.claims.get("requests/log/000001") or "")
    for name in ("asked", "hash", "before"):
        del text[name]
    requests.claims.bind("requests/log/000002", json.dumps(text | {"number": 2}))
    assert [bool(one.entered_by) for one in requests.all()] == [True, False]


def test_nothing_waits_without_approvers(requests: Requests) -> None:
    approvals = Approvals(requests.claims, None, "manual")
    assert not approvals.waits(ask(requests), by_pipeline=False)
    with pytest.raises(PermanentError, match="CREDIT_APPROVERS names nobody"):
        approvals.sign(ask(requests), "x")


def test_what_waits_for_a_signature(requests: Requests, approvals: Approvals) -> None:
    waits = {kind: approvals.waits(ask(requests, kind), by_pipeline=False) for kind in ("promote", "approve")}
    assert waits == {"promote": True, "approve": True}
    # They take back, and have to be at hand at night.
    assert not approvals.waits(ask(requests, "rollback"), by_pipeline=False)
    assert not approvals.waits(ask(requests, "reject"), by_pipeline=False)
    assert approvals.waits(ask(requests), by_pipeline=True), "the pipeline asks for nothing where promotion is manual"
    assert not replace(approvals, promotion="shadow").waits(ask(requests), by_pipeline=True)


def test_another_approver_signs_and_it_waits_no_more(requests: Requests, approvals: Approvals) -> None:
    request = ask(requests)
    with pytest.raises(PermanentError, match="ann has asked for request 1 and cannot approve it"):
        approvals.sign(request, ANN.ssh(approvals.text_of(request)))
    with pytest.raises(PermanentError, match="does not count: no approver has signed"):
        approvals.sign(request, EVE.ssh(approvals.text_of(request)))
    with pytest.raises(PermanentError, match="sign what `credit-assets sign 1` prints"):
        approvals.sign(request, "rubbish")
    assert approvals.waits(request, by_pipeline=False)
    assert approvals.sign(request, BOB.minisign(approvals.text_of(request))) == "bob"
    assert not approvals.waits(request, by_pipeline=False)
    assert approvals.signed_by(request) == "bob"


def test_who_entered_it_in_another_name_cannot_sign_it_either(requests: Requests, approvals: Approvals) -> None:
    request = requests.add("promote", "1", by="carol", reason="x", effective_from=DAY, entered_by={"user": "bob"})
    with pytest.raises(PermanentError, match="bob has asked"):
        approvals.sign(request, BOB.minisign(approvals.text_of(request)))
    assert approvals.sign(request, ANN.ssh(approvals.text_of(request))) == "ann"


def test_a_signature_is_of_the_very_entry_and_goes_with_its_key(requests: Requests, approvals: Approvals) -> None:
    request, other = ask(requests), ask(requests)
    signature = BOB.minisign(approvals.text_of(request))
    with pytest.raises(PermanentError, match="another text"):
        approvals.sign(other, signature)
    # Copied in the store by hand it is none either.
    approvals.sign(request, signature)
    place = Path(requests.claims.store_uri, "claims", "requests", "signatures")
    (place / "000002").mkdir()
    (place / "000002" / "001").write_bytes((place / "000001" / "001").read_bytes())
    (place / "000002" / "002").write_text("no base64!\n")
    assert approvals.waits(other, by_pipeline=False)
    # The entry is edited after it was signed.
    entry = Path(requests.claims.store_uri, "claims", "requests", "log", "000001")
    entry.write_text(entry.read_text().replace('"version": "1"', '"version": "2"'))
    assert approvals.waits(request, by_pipeline=False)
    # And a person who is no approver any more has signed nothing.
    entry.write_text(entry.read_text().replace('"version": "2"', '"version": "1"'))
    assert not approvals.waits(request, by_pipeline=False)
    assert approvals.approvers is not None
    left = replace(approvals, approvers=Approvers({"ann": ANN.public}))
    assert left.waits(request, by_pipeline=False)


def test_a_forged_line_in_the_store_waits_for_ever(requests: Requests, approvals: Approvals) -> None:
    ask(requests)
    forged = json.loads(requests.claims.get("requests/log/000001") or "")
    forged |= {"number": 2, "by": "chief.risk.officer", "identity": "forged", "asked": {}}
    requests.claims.bind("requests/log/000002", json.dumps(forged))
    assert approvals.waits(requests.all()[1], by_pipeline=False)
    assert "waits for the signature of one of ann, bob, who is not chief.risk.officer" in approvals.in_words(
        requests.all()[1]
    )
