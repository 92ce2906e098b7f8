"""Whether alerts could be sent: the URLs are understood, nothing is sent."""

from __future__ import annotations

from collections.abc import Sequence

from credit_assets.failures import PermanentError
from credit_assets.health import Health
from credit_assets.notify.notifier import Notifier


def health(urls: Sequence[str]) -> Health:
    """Parses the URLs; nothing is sent."""
    try:
        services = Notifier(tuple(urls)).check()
    except PermanentError as error:
        return Health("cannot be used", "fail", str(error))
    if not services:
        return Health("none", "ok", "to be told of failed runs, set CREDIT_ALERT_URLS to Apprise URLs")
    return Health(f"understood, not tried: {', '.join(services)}")
