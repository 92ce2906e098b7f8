"""The log of requests: numbered, kept, and each done once."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from credit_assets.failures import PermanentError
from credit_assets.ledger.deployment import ACTOR
from credit_assets.ledger.requests import Requests
from credit_assets.storage.claims import Claims

MAY, JUNE = date(2024, 5, 1), date(2024, 6, 1)


def test_requests_are_numbered_kept_and_done_once(tmp_path: Path) -> None:
    requests = Requests(Claims(str(tmp_path)))
    assert requests.pending() == []
    first = requests.add("rollback", "1", by="ann", reason="two\nlines", effective_from=MAY)
    second = requests.add("promote", "2", by=ACTOR, reason="trial passed", effective_from=MAY, identity="trial:2")
    assert requests.add("promote", "2", by=ACTOR, reason="again", effective_from=JUNE, identity="trial:2") == second
    assert [(r.number, r.kind, r.reason) for r in requests.pending()] == [
        (1, "rollback", "two lines"),
        (2, "promote", "trial passed"),
    ]
    assert requests.finish(first, "done") == "done"
    assert requests.finish(first, "refused") == "done"
    assert requests.pending() == [second]
    assert requests.outcome(second) is None
    assert datetime.fromisoformat(second.at).tzinfo == UTC


@pytest.mark.parametrize(
    ("kind", "by", "reason", "message"),
    [
        ("delete", "ann", "why", "unknown request 'delete'"),
        ("promote", "", "why", "--by"),
        ("promote", "ann", " \n", "--reason"),
    ],
)
def test_a_request_names_what_who_and_why(tmp_path: Path, kind: Any, by: str, reason: str, message: str) -> None:
    with pytest.raises(PermanentError, match=message):
        Requests(Claims(str(tmp_path))).add(kind, "1", by=by, reason=reason, effective_from=MAY)


GOOD = {
    "number": 1,
    "kind": "promote",
    "version": "2",
    "by": "eve",
    "reason": "because",
    "effective_from": "2024-05-01",
    "identity": "i",
    "at": "2024-05-01T00:00:00+00:00",
    "accepted": [],
}


def test_an_entry_written_elsewhere_is_read(tmp_path: Path) -> None:
    claims = Claims(str(tmp_path))
    claims.claim("requests/log/000001", json.dumps(GOOD))
    assert [one.version for one in Requests(claims).pending()] == ["2"]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"number": 1}),
        "rubbish",
        "[]",
        "null",
        json.dumps(GOOD | {"kind": "seize"}),
        json.dumps(GOOD | {"kind": ["promote"]}),
        json.dumps(GOOD | {"effective_from": "9999-99-99"}),
        json.dumps(GOOD | {"effective_from": 20240501}),
        json.dumps(GOOD | {"version": 2}),
        json.dumps(GOOD | {"by": None}),
        json.dumps(GOOD | {"accepted": 7}),
        json.dumps(GOOD | {"accepted": [7]}),
        json.dumps(GOOD | {"number": 2}),
        json.dumps(GOOD | {"extra": 1}),
    ],
)
def test_a_damaged_entry_is_named_and_keeps_nobody_elses_from_being_read(tmp_path: Path, text: str) -> None:
    claims = Claims(str(tmp_path))
    requests = Requests(claims)
    claims.claim("requests/log/000001", text)
    claims.claim("requests/log/rubbish", text)
    sound = requests.add("rollback", "1", by="ann", reason="complaints", effective_from=MAY)
    assert (sound.number, requests.pending(), requests.all()) == (2, [sound], [sound])
    (said,) = requests.damaged()
    assert said.startswith("entry 000001 of requests/log in the store is damaged")
    assert "bring it back from a backup" in said
    with pytest.raises(PermanentError, match="entry 000001 of requests/log"):
        requests.read("000001")
