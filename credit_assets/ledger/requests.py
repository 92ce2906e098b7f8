"""Requests: a numbered log of what people and finished trials want from the deployment, and what came of each.

Belongs here: writing a request once and reading what is pending. Does not belong here: what a request does
(`credit_assets.ledger.deployment`) and when it is looked at (`credit_assets.automation.deployment`).

Whoever requests needs the right to write into the store and none on the model registry. Entries are claims, so a
request is never lost, changed or taken twice: number by number, each with at most one outcome. One that cannot be read
is passed by and named (`damaged`): it keeps nobody else's from being done, and has no outcome until it is restored.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Literal, TypedDict, Unpack, get_args

from credit_assets.failures import PermanentError, TransientError
from credit_assets.health import first_line
from credit_assets.ledger.requester import requester_here, requester_in_words
from credit_assets.storage.chain import BEFORE, HASH, Chain
from credit_assets.storage.claims import Claims

Kind = Literal["promote", "approve", "rollback", "reject"]
DONE = "done"
"""The outcome of a request that was met; any other says why it was refused."""
LOG, _OUTCOMES = "requests/log", "requests/done"
_ATTEMPTS = 100


@dataclass(frozen=True)
class Request:
    """One entry. `promote` comes from a trial that passed or by hand, `approve` from a person for the model on trial,
    `rollback` brings back a former champion, `reject` ends the trial of a version.
    """

    number: int
    kind: Kind
    version: str
    by: str
    reason: str
    effective_from: date
    identity: str
    at: str
    accepted: tuple[str, ...] = ()
    """What of the version a person accepts: the names of rules that stand against it."""
    entered_by: Mapping[str, str] = field(default_factory=dict)
    """Who entered it, as the system knew it (`requester`): `asked` of the log's entry; empty in one of before."""


class _More(TypedDict, total=False):
    identity: str
    accepted: tuple[str, ...]
    entered_by: Mapping[str, str]


class Requests:
    """The log under `<store>/claims/requests`. Raises as `Claims` does."""

    def __init__(self, claims: Claims) -> None:
        self.claims = claims

    def add(
        self, kind: Kind, version: str, *, by: str, reason: str, effective_from: date, **more: Unpack[_More]
    ) -> Request:
        """Enter a request; the one that is there where its `identity` was entered before. No identity: always anew.

        Raises PermanentError for an unknown kind, or where nobody or no reason is named.
        """
        if kind not in get_args(Kind):
            raise PermanentError(f"unknown request {kind!r}; known: {', '.join(get_args(Kind))}")
        _refuse_nameless(kind, by, reason)
        identity = more.get("identity") or uuid.uuid4().hex
        for _ in range(_ATTEMPTS):
            for entry in self.all():
                if entry.identity == identity:
                    return entry
            number = max(map(int, self.names()), default=0) + 1
            at = datetime.now(UTC).isoformat(timespec="seconds")
            reason = " ".join(reason.split())
            request = Request(
                number,
                kind,
                version,
                by,
                reason,
                effective_from,
                identity,
                at,
                more.get("accepted", ()),
                {**requester_here(), **more.get("entered_by", {})},
            )
            record = {**vars(request), "effective_from": effective_from.isoformat()}
            record["asked"] = record.pop("entered_by")
            text = Chain(self.claims, LOG).sealed(record, number)
            if self.claims.claim(f"{LOG}/{number:06d}", text) == text:
                return request
        raise TransientError("requests are being entered by others all the time")

    def all(self) -> list[Request]:
        """Every request that can be read, oldest first."""
        return self._readable(self.names())

    def newest_of(self, by: str) -> Request | None:
        """The newest request of a person; None where there is none."""
        return next((one for one in reversed(self.all()) if one.by == by), None)

    def pending(self) -> list[Request]:
        """Requests without an outcome, oldest first, but for those that cannot be read."""
        return self._readable(self._open())

    def damaged(self) -> list[str]:
        """What is wrong with each request without an outcome that cannot be read, a sentence each."""
        found = []
        for name in self._open():
            try:
                self.read(name)
            except PermanentError as error:
                found.append(str(error))
        return found

    def _open(self) -> list[str]:
        done = set(self.claims.names(_OUTCOMES))
        return [name for name in self.names() if name not in done]

    def _readable(self, names: Iterable[str]) -> list[Request]:
        found = []
        for name in names:
            with suppress(PermanentError):
                found.append(self.read(name))
        return found

    def withdraw(self, request: Request, *, by: str, reason: str) -> str:
        """Give up a request that nobody has met: its outcome, which is another's where somebody was faster. Raises
        PermanentError where nobody or no reason is named.
        """
        _refuse_nameless("withdraw", by, reason)
        return self.finish(request, f"withdrawn by {by}{requester_in_words(requester_here())}: {reason}")

    def finish(self, request: Request, outcome: str) -> str:
        """Record what came of a request, one line; the outcome that is there where somebody was faster."""
        return self.claims.claim(f"{_OUTCOMES}/{request.number:06d}", " ".join(outcome.split()))

    def outcome(self, request: Request) -> str | None:
        return self.claims.text(f"{_OUTCOMES}/{request.number:06d}")

    def names(self) -> list[str]:
        """The names of the entries, in order."""
        return sorted((name for name in self.claims.names(LOG) if name.isdecimal()), key=int)

    def outcomes(self) -> dict[int, str]:
        """What came of requests, by number."""
        names = [name for name in self.claims.names(_OUTCOMES) if name.isdecimal()]
        return {int(name): str(self.claims.text(f"{_OUTCOMES}/{name}")) for name in names}

    def read(self, name: str) -> Request:
        """One entry. Raises PermanentError where it is damaged."""
        text = self.claims.text(f"{LOG}/{name}")
        try:
            return _parsed(json.loads(text or ""), int(name))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PermanentError(
                f"entry {name} of {LOG} in the store is damaged ({first_line(error)}): bring it back from a backup; "
                "those behind it are done meanwhile"
            ) from error


def _refuse_nameless(verb: str, by: str, reason: str) -> None:
    if not reason.strip() or not by.strip():
        raise PermanentError(f"{verb} needs who and why (--by, --reason): it is what a validator reads")


def _parsed(record: dict[str, Any], number: int) -> Request:
    """Raises ValueError, KeyError or TypeError where the record is no request of this number."""
    read: dict[str, Any] = {"effective_from": date.fromisoformat(record["effective_from"])}
    fields = {name: value for name, value in record.items() if name not in (BEFORE, HASH, "asked")}
    read |= {"accepted": tuple(record.get("accepted", ())), "entered_by": record.get("asked", {})}
    request = Request(**{**fields, **read})
    if request.kind not in get_args(Kind):
        raise ValueError(f"unknown kind; known: {', '.join(get_args(Kind))}")
    if request.number != number:
        raise ValueError("it has another entry's number")
    texts = (request.version, request.by, request.reason, request.identity, request.at, *request.accepted)
    if not all(isinstance(one, str) for one in (*texts, *request.entered_by.values())):
        raise ValueError("what has to be text is none")
    return request
