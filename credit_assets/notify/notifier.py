"""Messages to people over Apprise: mail, Slack, Teams, PagerDuty, webhooks and more from one list of URLs.

Belongs here: sending, naming what failed, and keeping the secrets in the URLs out of every message. Does not belong
here: what a message says and when it is sent (`credit_assets.notify.messages`).

Mail goes through Apprise rather than through Dagster's own e-mail sensor, which always logs in over TLS and so cannot
use an internal relay: `mailto://relay.example.org:25?from=credit@example.org&to=risk@example.org` does.
"""

from __future__ import annotations

import logging
import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Literal

from credit_assets.failures import PermanentError, TransientError
from credit_assets.masking import Secrets, masked_service

Kind = Literal["info", "success", "warning", "failure"]

_KINDS: tuple[Kind, ...] = ("info", "success", "warning", "failure")
_SERVICES = "https://appriseit.com/services/"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_RECIPIENTS = re.compile(r"(mailtos?://.*[?&]to=)([^&]*)(.*)", re.IGNORECASE)


class Notifier:
    """Sends to every URL of `urls` (Apprise URLs). Holds no connection; nothing is imported before the first use.

    All services get it at the same time, each up to `attempts` times; no recipient who took the message gets it
    again for the sake of one who did not. A service that does not answer holds a sensor up for about
    `attempts` x `connect_seconds` and a pause, and a sensor has a minute: hence two short attempts by default.
    """

    def __init__(self, urls: tuple[str, ...] = (), *, attempts: int = 2, connect_seconds: float = 5.0) -> None:
        """Raises PermanentError for a URL without a scheme; `check` finds all other mistakes."""
        self._urls = tuple(urls)
        self._attempts, self._connect_seconds = attempts, connect_seconds
        for number, url in enumerate(self._urls, 1):
            if not _SCHEME.match(url):
                raise PermanentError(
                    f"alert URL {number} of {len(self._urls)} has no scheme such as mailto:// or slack://; "
                    f"correct CREDIT_ALERT_URLS, see {_SERVICES}"
                )

    def __repr__(self) -> str:
        return f"Notifier({', '.join(self.describe())})"

    def each(self) -> tuple[Notifier, ...]:
        """One notifier for each service and each recipient of mail, for senders that remember who has got what."""
        urls: list[str] = []
        for url in self._urls:
            to = _RECIPIENTS.match(url)
            urls += [f"{to[1]}{one}{to[3]}" for one in re.split(r"(?:,|%2C|\s)+", to[2]) if one] if to else [url]
        return tuple(Notifier((url,), attempts=self._attempts, connect_seconds=self._connect_seconds) for url in urls)

    def describe(self) -> tuple[str, ...]:
        """The services, each by its scheme (and host where that is none of the secrets)."""
        return tuple(masked_service(url) for url in self._urls)

    def check(self) -> tuple[str, ...]:
        """Parse every URL without sending; returns the services. Raises PermanentError naming each bad one."""
        return tuple(name for name, _ in self._services())

    def send(self, title: str, body: str, kind: Kind = "info") -> bool:
        """Send to all services; `body` is plain text. Returns False where there is none to send to.

        Raises PermanentError for a bad URL, TransientError naming the services that did not take the message and what
        they answered; the others have it then.
        """
        if kind not in _KINDS:
            raise ValueError(f"kind must be one of {', '.join(_KINDS)}; got {kind!r}")
        services = self._services()
        if not services:
            return False
        with ThreadPoolExecutor(len(services)) as pool:
            deliver = partial(self._deliver, title=title, body=body, kind=kind)
            answers = list(pool.map(deliver, self._urls, (service for _, service in services)))
        failed = [f"{name} ({answer})" for (name, _), answer in zip(services, answers, strict=True) if answer]
        if failed:
            raise TransientError(
                f"{len(failed)} of {len(services)} alert services did not take the message: {'; '.join(failed)}; "
                "check the services, or CREDIT_ALERT_URLS with `credit-assets doctor`"
            )
        return True

    def _services(self) -> list[tuple[str, Any]]:
        if not self._urls:
            return []
        import apprise

        _silence_apprise()
        asset = apprise.AppriseAsset(default_service_retry=self._attempts - 1)
        services: list[tuple[str, Any]] = []
        bad: list[str] = []
        for number, url in enumerate(self._urls, 1):
            service = apprise.Apprise.instantiate(url, asset=asset)
            if service is None:
                known = _scheme(url) in {
                    scheme
                    for plugin in apprise.Apprise().details()["schemas"]
                    for key in ("protocols", "secure_protocols")
                    for scheme in plugin[key] or ()
                }
                why = "is incomplete" if known else "has a scheme that Apprise does not know"
                bad.append(f"{number} of {len(self._urls)}, {masked_service(url)}, {why}")
            else:
                if "cto=" not in url:
                    service.socket_connect_timeout = self._connect_seconds
                services.append((masked_service(url), service))
        if bad:
            raise PermanentError(f"alert URL {'; '.join(bad)}; correct CREDIT_ALERT_URLS, see {_SERVICES}")
        return services

    def _deliver(self, url: str, service: Any, title: str, body: str, kind: str) -> str:
        """Nothing when the service took the message, else what it answered, without the secrets of its URL."""
        import apprise

        # A logger of its own: Apprise works in other threads, and several services write at the same time.
        lines = _Lines()
        service.logger = logging.Logger("alert")
        service.logger.addHandler(lines)
        one = apprise.Apprise()
        one.add(service)
        try:
            if one.notify(title=title, body=body, notify_type=kind, body_format="text"):
                return ""
        except Exception as error:
            lines.texts.append(f"{type(error).__name__}: {error}")
        answer = " ".join(lines.texts[-1].split()) if lines.texts else "it gave no reason"
        return Secrets(services=[url]).hide(answer).rstrip(".")


class _Lines(logging.Handler):
    """Keeps warnings and errors as text."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def _scheme(url: str) -> str:
    match = _SCHEME.match(url)
    return match[1].lower() if match else ""


def _silence_apprise() -> None:
    """Keep what Apprise itself logs away from every log, for good: it writes whole URLs."""
    logger = logging.getLogger("apprise")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
