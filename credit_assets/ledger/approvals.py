"""Signatures of requests: which need one, whose counts, and entering it.

Belongs here: four eyes. Does not belong here: keys and the mathematics (`credit_assets.settings.approvers`), and what a
request does (`credit_assets.ledger.deployment`).

Whoever may write into the store can write a request in anybody's name. Where CREDIT_APPROVERS names persons with their
keys, a promotion or approval by a person is done when one of them, and not the one who asked, has signed the very entry
of the log: until then it is pending, and in nobody's way. So it is with what the pipeline itself asks for where
promotions are manual, where it may ask for none. A rollback and a rejection need no signature: they take back, and have
to be at hand at night.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

from credit_assets.failures import PermanentError
from credit_assets.ledger.requester import requester_in_words
from credit_assets.ledger.requests import LOG, Request
from credit_assets.ml.rules.decisions import Promotion
from credit_assets.settings.approvers import NAMESPACE, Approvers, BadSignatureError
from credit_assets.storage.claims import Claims

_SIGNATURES = "requests/signatures"
_SIGNED = ("promote", "approve")
_LONGEST = 10_000
"""Characters of a signature, which has some three hundred."""


@dataclass(frozen=True)
class Approvals:
    """Who may sign, and for what. Without `approvers` nothing needs a signature."""

    claims: Claims
    approvers: Approvers | None
    promotion: Promotion

    def waits(self, request: Request, *, by_pipeline: bool) -> bool:
        """Whether a request needs a signature that is not there."""
        if self.approvers is None or request.kind not in _SIGNED:
            return False
        if by_pipeline and self.promotion != "manual":
            return False
        return self.signed_by(request) is None

    def signed_by(self, request: Request) -> str | None:
        """The approver who has signed a request as it stands in the log now, and may; None without one."""
        folder = f"{_SIGNATURES}/{request.number:06d}"
        for name in self.claims.names(folder):
            try:
                text = base64.b64decode(self.claims.get(f"{folder}/{name}") or "", validate=True)
                return self._signer(request, text.decode())
            except (ValueError, PermanentError):
                # Of another entry, or of one who may no longer.
                continue
        return None

    def sign(self, request: Request, signature: str) -> str:
        """Enter the signature of a request; the name of its signer. Raises PermanentError where it does not count."""
        if self.approvers is None:
            raise PermanentError("no request needs a signature: CREDIT_APPROVERS names nobody")
        try:
            signer = self._signer(request, signature[:_LONGEST])
        except BadSignatureError as error:
            raise PermanentError(
                f"the signature of request {request.number} does not count: {error}; sign what `credit-assets sign "
                f"{request.number}` prints (ssh-keygen -Y sign -n {NAMESPACE}, or minisign -S)"
            ) from error
        text = base64.b64encode(signature.encode()).decode()
        # One name a signature: a bad one of before is in nobody's way.
        number = len(self.claims.names(f"{_SIGNATURES}/{request.number:06d}")) + 1
        self.claims.claim(f"{_SIGNATURES}/{request.number:06d}/{number:03d}", text)
        return signer

    def text_of(self, request: Request) -> str:
        """What is signed: the entry of the log, a line."""
        return f"{self.claims.text(f'{LOG}/{request.number:06d}')}\n"

    def signer_in_words(self, request: Request) -> str:
        """Who has signed, for the record of the move; "" where nobody had to."""
        signer = self.signed_by(request) if self.approvers else None
        return f" (signed by {signer})" if signer else ""

    def in_words(self, request: Request) -> str:
        names = ", ".join(sorted(self.approvers.keys)) if self.approvers else ""
        return (
            f"request {request.number} ({request.kind} version {request.version} by {request.by}"
            f"{requester_in_words(request.entered_by)}) waits for the signature of one of {names}, "
            f"who is not {request.by}: "
            f"`credit-assets sign {request.number} > request.txt`, sign it (ssh-keygen -Y sign -n {NAMESPACE} -f KEY "
            f"request.txt, or minisign -S -m request.txt), `credit-assets sign {request.number} --signature FILE`; "
            f"or give it up: `credit-assets withdraw {request.number} --reason WHY`"
        )

    def _signer(self, request: Request, signature: str) -> str:
        assert self.approvers is not None
        name = self.approvers.signer(self.text_of(request).encode(), signature)
        requesters = {request.by.casefold(), *(request.entered_by.get(one, "").casefold() for one in ("user", "login"))}
        if name.casefold() in requesters:
            raise PermanentError(
                f"{name} has asked for request {request.number} and cannot approve it: another approver has to sign"
            )
        return name
