"""Records that somebody or something has changed are read, or refused in words that name them."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given

from credit_assets.failures import PermanentError
from credit_assets.instance.ownership import parse
from credit_assets.ledger.requests import Requests
from credit_assets.ledger.retraining import claim_retraining
from credit_assets.loans.loaded_file import LoadedFile
from credit_assets.storage.claims import Claims
from credit_assets.storage.store import Store
from credit_assets.warehouse.loaded_files import _record
from credit_assets_tests.support.fuzz import damaged, fuzz, refused_in_words

DEEP = "[" * 100_000
BOOK = json.dumps(dict.fromkeys(("id", "portfolio", "store", "home", "warehouse", "timezone"), "a")).encode()
FILE = json.dumps(LoadedFile("d", "loans.csv", "applications", 3, 2, {"file": "text"}).to_record()).encode()


@fuzz(60)
@given(content=damaged([BOOK]))
def test_any_mark_of_a_book_is_read_or_refused_in_words(content: bytes) -> None:
    with refused_in_words():
        parse(content.decode("utf-8", "replace"), "the mark")


@fuzz(60)
@given(content=damaged([FILE]))
def test_any_record_of_a_loaded_file_is_read_or_refused_in_words(content: bytes) -> None:
    with refused_in_words():
        _record("files", content.decode("utf-8", "replace"))


@fuzz(60)
@given(content=damaged([b'{"auc": 0.7, "rows": [1, 2, null], "day": "2024-01-01"}']))
def test_any_record_of_the_store_is_read_or_refused_in_words(tmp_path: Path, content: bytes) -> None:
    store = Store(str(tmp_path / "store"))
    place = store.path("drift_report", "2024-01-01.json")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    with refused_in_words():
        store.read_record(place)


def test_a_record_that_is_nested_without_end_is_refused(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    place = store.path("drift_report", "2024-01-01.json")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(DEEP)
    with pytest.raises(PermanentError):
        store.read_record(place)


@fuzz(40)
@given(content=damaged([b'{"kind": "promote", "version": "1", "by": "a", "reason": "b"}']))
def test_any_request_is_read_or_refused_in_words(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        requests = Requests(Claims(folder))
        # A claim is one line.
        requests.claims.claim("requests/log/000001", " ".join(content.decode("utf-8", "replace").split()) or "{")
        assert requests.names() == ["000001"]
        with refused_in_words():
            requests.read("000001")


@pytest.mark.parametrize("text", [DEEP, "9" * 5_000, "null", "[]", '{"event": 1}'], ids=lambda text: text[:3])
def test_a_claim_that_is_none_is_refused_by_its_name(tmp_path: Path, text: str) -> None:
    claims = Claims(str(tmp_path / "store"))
    claims.claim("retraining/2024-01-01", text)
    with pytest.raises(PermanentError, match="claim retraining/2024-01-01 in the store is damaged"):
        claim_retraining(claims, date(2024, 1, 1), "drift", "event", "reason")
    with pytest.raises(PermanentError, match="the mark is damaged"):
        parse(text, "the mark")
    with pytest.raises(PermanentError, match="table files holds a record of a loaded file that is none"):
        _record("files", text)
