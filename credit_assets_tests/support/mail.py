"""A mail server of this machine that can be switched off and on, and what it has received."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Callable
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller

from credit_assets_tests.support.ports import free_port


class Inbox:
    """Keeps what it accepts: refuses recipients by `refuses`, and the first `busy` messages with a temporary error."""

    def __init__(self, refuses: Callable[[str], bool] = lambda address: False) -> None:
        self.refuses, self.busy = refuses, 0
        self.messages: list[EmailMessage] = []
        self.recipients: list[list[str]] = []

    async def handle_RCPT(  # noqa: N802 - the name is aiosmtpd's
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        if self.refuses(address):
            return "550 no such user here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - the name is aiosmtpd's
        if self.busy:
            self.busy -= 1
            return "451 try again later"
        self.messages.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        self.recipients.append(list(envelope.rcpt_tos))
        return "250 OK"


class Relay:
    """A mail server on one port, which listens inside its `with`."""

    def __init__(self, refuses: Callable[[str], bool] = lambda address: False) -> None:
        self.inbox, self.port = Inbox(refuses), free_port()
        self._server: Controller | None = None

    def __enter__(self) -> Relay:
        self._server = Controller(self.inbox, hostname="127.0.0.1", port=self.port, **self.options())
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._server:
            self._server.stop()
        self._server = None

    def options(self) -> dict[str, Any]:
        """How it lets people in: anybody."""
        return {}

    def url(self, to: str = "risk@example.org") -> str:
        return mail_url(self.port, to)

    @property
    def subjects(self) -> list[str]:
        return [str(message["Subject"]).removeprefix("credit_assets: ") for message in self.inbox.messages]

    @property
    def texts(self) -> list[str]:
        return [text_of(message) for message in self.inbox.messages]


def mail_url(port: int, to: str = "risk@example.org") -> str:
    """The Apprise URL of a mail server of this machine, without TLS and login."""
    return f"mailto://127.0.0.1:{port}?from=credit@example.org&to={to}"


def text_of(message: EmailMessage) -> str:
    part = message.get_body(("plain", "html"))
    assert part is not None
    return str(part.get_content())
