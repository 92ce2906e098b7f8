"""Chained logs: what was edited, removed, exchanged or put in is found; a log without hashes is gone on with."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from credit_assets.ledger.integrity import against_notes, heads_as_text
from credit_assets.storage.chain import HASH, Chain, Head, content_hash, newest_breaks
from credit_assets.storage.claims import Claims, journal_of, write_ledger_record
from credit_assets.storage.store import Store

pytest_plugins = ["credit_assets_tests.support.s3"]

LOG = "moves/champion"


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return filled(tmp_path, 8)


def filled(home: Path, entries: int) -> Chain:
    chain = Chain(Claims(str(home / "store")), LOG)
    for number in range(entries):
        chain.append({"version": str(number), "by": "ann"})
    return chain


def file(chain: Chain, number: int) -> Path:
    return Path(chain.claims.store_uri) / "claims" / LOG / f"{number:06d}"  # type: ignore[attr-defined]


def changed(text: str, **changes: Any) -> str:
    """An entry that is edited by somebody who knows how its hash is made."""
    record = {key: value for key, value in json.loads(text).items() if key != HASH} | changes
    from credit_assets.storage import chain

    return json.dumps({**record, HASH: chain._digest(record)}, sort_keys=True) + "\n"


def edit(chain: Chain, number: int, by: Callable[[str], str]) -> None:
    file(chain, number).write_text(by(file(chain, number).read_text()))


def swap(chain: Chain, one: int, other: int) -> None:
    first, second = file(chain, one).read_text(), file(chain, other).read_text()
    file(chain, one).write_text(second)
    file(chain, other).write_text(first)


def close_up(chain: Chain, number: int) -> None:
    """Take an entry away and give the later ones the numbers before theirs."""
    last = chain.head_number()
    for one in range(number, last):
        file(chain, one).write_text(file(chain, one + 1).read_text())
    file(chain, last).unlink()


FAULTS: dict[str, tuple[Callable[[Chain], None], str]] = {
    "edited": (lambda c: edit(c, 4, lambda t: t.replace("ann", "eve")), "entry 4 is not what was written"),
    "the newest edited": (lambda c: edit(c, 8, lambda t: t.replace("ann", "eve")), "entry 8 is not what was written"),
    "edited with its hash": (lambda c: edit(c, 4, lambda t: changed(t, by="eve")), "entry 5 does not follow entry 4"),
    "taken away": (lambda c: file(c, 4).unlink(), "entry 4 is missing"),
    "taken away and closed up": (lambda c: close_up(c, 4), "entry 4 does not follow entry 3"),
    "exchanged": (lambda c: swap(c, 4, 5), "entry 4 does not follow entry 3"),
    "repeated": (lambda c: file(c, 9).write_text(file(c, 8).read_text()), "entry 9 does not follow entry 8"),
    "put in without a hash": (
        lambda c: file(c, 9).write_text(json.dumps({"version": "9", "by": "eve"}) + "\n"),
        "entry 9 has no hash",
    ),
    "emptied": (lambda c: edit(c, 4, lambda _: "\n"), "entry 4 cannot be read"),
    "no JSON": (lambda c: edit(c, 4, lambda t: t[: len(t) // 2] + "\n"), "entry 4 cannot be read"),
    "the first edited": (lambda c: edit(c, 1, lambda t: changed(t, by="eve")), "entry 2 does not follow entry 1"),
    "hash taken out": (
        lambda c: edit(c, 4, lambda t: json.dumps({k: v for k, v in json.loads(t).items() if k != HASH}) + "\n"),
        "entry 4 has no hash",
    ),
}


@pytest.mark.parametrize(("fault", "said"), FAULTS.values(), ids=FAULTS.keys())
def test_what_was_done_to_a_chain_is_found_and_named(chain: Chain, fault: Callable[[Chain], None], said: str) -> None:
    assert chain.breaks() == []
    fault(chain)
    assert any(said in one.text for one in chain.breaks()), chain.breaks()
    assert newest_breaks(chain) == chain.breaks(), "a short log is looked at whole by the cheap look too"


def test_the_end_that_is_cut_off_is_seen_by_the_head_alone(chain: Chain) -> None:
    noted = chain.head()
    file(chain, 8).unlink()
    assert chain.breaks() == []
    assert chain.head() != noted
    assert chain.head().number == 7


def test_an_untouched_chain_has_no_break_however_long(tmp_path: Path) -> None:
    assert Chain(Claims(str(tmp_path)), LOG).breaks() == []
    assert Chain(Claims(str(tmp_path)), LOG).head() == Head(0, "")
    for entries in (1, 2, 19, 20, 21, 60):
        chain = filled(tmp_path / str(entries), entries)
        assert (chain.breaks(), newest_breaks(chain), chain.head_number()) == ([], [], entries)


def test_a_log_of_before_is_read_and_covered_by_the_first_entry_after_it(tmp_path: Path) -> None:
    claims = Claims(str(tmp_path / "store"))
    for number in range(1, 5):
        claims.bind(f"{LOG}/{number:06d}", json.dumps({"version": str(number), "by": "ann"}))
    chain = Chain(claims, LOG)
    assert chain.breaks() == []
    for _ in range(3):
        chain.append({"version": "9", "by": "bob"})
    assert (chain.breaks(), newest_breaks(chain)) == ([], [])
    # Any of the old ones, not the last alone.
    edit(chain, 2, lambda text: text.replace("ann", "eve"))
    assert [one.text[:31] for one in chain.breaks()] == ["entry 5 does not follow entry 4"]


def test_many_who_enter_at_once_make_one_chain(tmp_path: Path) -> None:
    store = str(tmp_path / "store")

    def enter(who: int) -> None:
        for number in range(10):
            Claims(store).journal.enter(f"claims/some/{who}-{number}", "content")

    with ThreadPoolExecutor(6) as pool:
        [*pool.map(enter, range(6))]
    journal = Claims(store).journal
    assert journal.breaks() == []
    # And the entry that it was begun with.
    assert journal.head_number() == 61
    contents = journal.contents()
    assert contents is not None
    assert len(contents) == 60


def test_the_journal_begins_with_what_was_there_and_knows_every_file_before_it_is_written(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    claims, path = Claims(store.uri), store.path("deployed_model", "2024-05-01.json")
    store.write_record(path, {"decision": "unchanged"})
    claims.bind("retraining/2024-05-01", "drift")
    assert claims.journal.contents() is None
    claims.claim("retraining/2024-05-02", "volume")
    write_ledger_record(store, store.path("deployed_model", "2024-05-02.json"), {"decision": "promoted"})
    contents = journal_of(store).contents()
    assert contents is not None
    assert sorted(contents) == [
        "claims/retraining/2024-05-01",
        "claims/retraining/2024-05-02",
        "deployed_model/2024-05-01.json",
        "deployed_model/2024-05-02.json",
    ]
    now = claims.ledger_files()
    assert {name: [content_hash(data)] for name, data in now.items()} == contents
    # The same once more is no news.
    write_ledger_record(store, store.path("deployed_model", "2024-05-02.json"), {"decision": "promoted"})
    claims.claim("retraining/2024-05-02", "somebody else")
    assert claims.journal.head_number() == 3


def test_chain_and_journal_are_the_same_on_s3(bucket: str) -> None:
    store, claims = Store(bucket), Claims(bucket)
    store.write_record(store.path("deployed_model", "2024-05-01.json"), {"decision": "unchanged"})
    claims.bind("retraining/2024-05-01", "drift")
    claims.claim("retraining/2024-05-02", "volume")
    write_ledger_record(store, store.path("deployed_model", "2024-05-02.json"), {"decision": "promoted"})
    now = {name: [content_hash(data)] for name, data in claims.ledger_files().items()}
    assert sorted(now) == [
        "claims/retraining/2024-05-01",
        "claims/retraining/2024-05-02",
        "deployed_model/2024-05-01.json",
        "deployed_model/2024-05-02.json",
    ]
    assert journal_of(store).contents() == now
    assert claims.journal.breaks() == []
    store.write_record(store.path("deployed_model", "2024-05-02.json"), {"decision": "edited"})
    edited = {name: content_hash(data) for name, data in claims.ledger_files().items()}
    assert edited["deployed_model/2024-05-02.json"] not in now["deployed_model/2024-05-02.json"]


def test_random_tampering_is_found_wherever_it_is(tmp_path: Path) -> None:
    draw, found = random.Random(7), 0
    for trial in range(60):
        chain = filled(tmp_path / str(trial), 6)
        number = draw.randrange(1, 7)
        text = file(chain, number).read_text()
        at = draw.randrange(len(text) - 1)
        other = draw.choice([one for one in 'abcdef0123456789{}":, ' if one != text[at]])
        file(chain, number).write_text(text[:at] + other + text[at + 1 :])
        found += bool(chain.breaks())
    assert found == 60


def test_an_entry_of_the_journal_is_one_listing_and_a_head_that_fits_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing is longer the older the house."""
    listed: list[str] = []
    names = Claims.names
    monkeypatch.setattr(Claims, "names", lambda self, folder: (listed.append(folder), names(self, folder))[1])
    journal = Claims(str(tmp_path / "store")).journal
    for number in range(4):
        journal.enter(f"outcomes/{number}", content_hash(b"done"))
    # What it is begun with is the first entry.
    assert journal.head().number == 5
    assert listed == ["journal"] * 5
    heads = {Head(number, journal.hash_at(number)) for number in (0, 3, 5)}
    listed.clear()
    assert against_notes([journal], [heads_as_text({"journal": head}) for head in heads], "MLflow") == []
    assert listed == []
    (gone,) = against_notes([journal], [heads_as_text({"journal": Head(6, "a" * 64)})], "MLflow")
    assert "entries 6 to 6 were there" in gone.text
    (other,) = against_notes([journal], [heads_as_text({"journal": Head(3, "a" * 64)})], "MLflow")
    assert "entry 3 is not the one" in other.text
