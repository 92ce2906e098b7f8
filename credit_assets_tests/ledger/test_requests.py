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


def test_a_damaged_entry_is_named(tmp_path: Path) -> None:
    claims = Claims(str(tmp_path))
    claims.claim("requests/log/000001", json.dumps({"number": 1}))
    with pytest.raises(PermanentError, match="entry 000001 of requests/log"):
        Requests(claims).pending()
