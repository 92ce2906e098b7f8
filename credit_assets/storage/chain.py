"""Logs whose entries are chained: each has the hash of the one before it, and its own.

Belongs here: the hashes, what breaks a chain, and the journal of what was written outside such logs. Does not belong
here: creating a file exclusively (`claims`), what the entries of a log say (`credit_assets.ledger`), and where the head
of a chain is noted besides (`credit_assets.ledger.integrity`).

An entry is one line of JSON under the next number of its log. `hash` is the SHA-256 of the rest of it, `before` the
hash of the entry before: who edits, removes, exchanges or puts in an entry breaks the chain there. Only the end of a
log may be cut off without a break, which is why the head is noted elsewhere. Entries of releases that knew no hashes
stay as they are: the first one after them has the hash of all of them together.

Most of what is decided is no log: a record of a day, the outcome of a request, a claim. The journal is the log of
these: the path in the store and the content, entered before the file is written, so that no file is there of which the
journal does not know. Its first entry has what was there when it was begun.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from credit_assets.failures import TransientError

HASH, BEFORE = "hash", "before"
JOURNAL = "journal"
BEGUN, ACCEPTED = "begun with", "accepted"
"""What an entry of the journal is about where it is about no file: what was there before it, breaks that a person has
accepted."""
_ATTEMPTS = 200
_NEWEST = 20
"""Entries that the cheap look reads."""


class Claimed(Protocol):
    """What a chain needs of `Claims`."""

    def bind(self, name: str, value: str) -> str: ...
    def text(self, name: str) -> str | None: ...
    def names(self, folder: str) -> list[str]: ...


class Head(NamedTuple):
    """The end of a chain: how many entries, and the hash of the newest; 0 and "" of an empty log."""

    number: int
    hash: str


class Break(NamedTuple):
    """One place where a log is not what was written."""

    log: str
    number: int
    text: str
    now: str = ""
    """The hash of what stands there: what is accepted is this state and no other."""
    replaced: bool = False
    """Whether it is that MLflow is another than it was."""
    noted: tuple[str, ...] = ()
    """What is accepted in place of its name: the notes of heads that it does not fit, or the log that was left."""

    @property
    def name(self) -> str:
        """By which it is accepted."""
        return hashlib.sha256(json.dumps([self.log, self.number, self.text, self.now]).encode()).hexdigest()[:16]


class Chain:
    """One log. Costs nothing to construct. Raises as `Claims` does."""

    def __init__(self, claims: Claimed, folder: str) -> None:
        self.claims = claims
        self.folder = folder

    def names(self) -> list[str]:
        return [name for name in self.claims.names(self.folder) if name.isdigit()]

    def sealed(self, record: Mapping[str, Any], number: int) -> str:
        """The record as the text of the entry of that number."""
        whole = {**record, BEFORE: self.hash_at(number - 1)}
        return json.dumps({**whole, HASH: _digest(whole)}, sort_keys=True)

    def head(self) -> Head:
        names = self.names()
        number = int(names[-1]) if names else 0
        return Head(number, self.hash_at(number))

    def hash_at(self, number: int) -> str:
        """The hash of an entry, "" before the first; of one without, that of all texts up to it."""
        if number < 1:
            return ""
        return _own_hash(self._text(number)) or self._of_before(number)

    def breaks(self, *, newest: int | None = None) -> list[Break]:
        """Every break, or those among the `newest` entries and in the numbers of all."""
        numbers = [int(name) for name in self.names()]
        found = [
            Break(self.folder, number, f"entry {number} is missing: entries are never taken away")
            for number in sorted({*range(1, max(numbers, default=0) + 1)} - {*numbers})
        ]
        looked_at = numbers if newest is None else numbers[-newest:]
        before = looked_at[0] - 1 if looked_at else 0
        link, chained = self.hash_at(before), bool(_own_hash(self._text(before))) if before else False
        for number in looked_at:
            text = self._text(number)
            own = _own_hash(text)
            follows = link if number == before + 1 else None
            found += [Break(self.folder, number, why, _sha(text)) for why in _wrong(number, text, follows, chained)]
            before, link, chained = number, own or _sha(f"{link}\n{text}"), chained or bool(own)
        return found

    def entries(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Number and record of every entry that can be read."""
        for name in self.names():
            record = _parsed(self._text(int(name)))
            if record is not None:
                yield int(name), record

    def append(self, record: Mapping[str, Any]) -> int:
        """Enter a record as the newest; its number."""
        for _ in range(_ATTEMPTS):
            number = (self.head_number() or self._begin()) + 1
            text = self.sealed(record, number)
            if self.claims.bind(f"{self.folder}/{self._name(number)}", text) == text:
                return number
        raise TransientError(f"{self.folder} is being written by others all the time")

    def head_number(self) -> int:
        names = self.names()
        return int(names[-1]) if names else 0

    def has(self, head: Head) -> bool:
        """Whether the chain had this head when it ended there; of an empty one it is so."""
        return head.number < 1 or (bool(self._text(head.number)) and self.hash_at(head.number) == head.hash)

    def _begin(self) -> int:
        """Begin an empty log; how many entries it has then."""
        return 0

    def _text(self, number: int) -> str:
        return self.claims.text(f"{self.folder}/{self._name(number)}") or ""

    def _of_before(self, number: int) -> str:
        link = ""
        for one in range(1, number + 1):
            text = self._text(one)
            link = _own_hash(text) or _sha(f"{link}\n{text}")
        return link

    @staticmethod
    def _name(number: int) -> str:
        return f"{number:06d}"


class Journal(Chain):
    """The log of the files that are part of no log, by their path in the store."""

    def __init__(self, claims: Claimed, inventory: Callable[[], Mapping[str, str]]) -> None:
        super().__init__(claims, JOURNAL)
        self._inventory = inventory

    def enter(self, path: str, content: str) -> None:
        """Note that the file at `path` is to have the `content` (a hash); "" where it is taken away."""
        self.append({"what": path, "content": content, "at": _now()})

    def accept(self, breaks: Sequence[Break], contents: Mapping[str, str], **why: Any) -> None:
        """Note that a person goes on in spite of these breaks, and with files that have these contents now."""
        names = [name for one in breaks for name in one.noted or (one.name,)]
        self.append({"what": ACCEPTED, "breaks": names, "contents": dict(contents), "at": _now(), **why})

    def contents(self) -> dict[str, list[str]] | None:
        """By path, every content that it was to have, oldest first; None where the journal is not begun."""
        found: dict[str, list[str]] = {}
        begun = False
        for _, record in self.entries():
            begun = True
            if record.get("what") in (BEGUN, ACCEPTED):
                for path, content in record.get("contents", {}).items():
                    found.setdefault(path, []).append(content)
            elif "content" in record:
                found.setdefault(str(record["what"]), []).append(str(record["content"]))
        return found if begun else None

    def accepted(self) -> list[dict[str, Any]]:
        """The entries by which persons accepted breaks, oldest first."""
        return [record for _, record in self.entries() if record.get("what") == ACCEPTED]

    def _begin(self) -> int:
        record = {"what": BEGUN, "contents": self._inventory(), "at": _now()}
        # Another may have begun it meanwhile.
        self.claims.bind(f"{self.folder}/{self._name(1)}", self.sealed(record, 1))
        return 1


def _wrong(number: int, text: str, follows: str | None, chained: bool) -> Iterator[str]:
    """What is wrong with the text of an entry; `follows`: the hash of the one before it, None where that is missing."""
    record, own = _parsed(text), _own_hash(text)
    if record is None:
        yield f"entry {number} cannot be read"
    elif not own and chained:
        yield f"entry {number} has no hash: it was put there past the pipeline"
    elif own:
        if own != _digest({key: value for key, value in record.items() if key != HASH}):
            yield f"entry {number} is not what was written: it was edited"
        if follows is not None and record.get(BEFORE) != follows:
            yield f"entry {number} does not follow entry {number - 1}: one of the two was edited, exchanged or put in"


def newest_breaks(chain: Chain) -> list[Break]:
    """The cheap look at a chain: its numbers and its newest entries."""
    return chain.breaks(newest=_NEWEST)


def content_hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _digest(record: Mapping[str, Any]) -> str:
    return _sha(json.dumps(record, sort_keys=True))


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _own_hash(text: str) -> str:
    return str((_parsed(text) or {}).get(HASH) or "")
