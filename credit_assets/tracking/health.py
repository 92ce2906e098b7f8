"""Whether the tracking server or store answers. Nothing is made."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

from credit_assets.failures import PermanentError, TransientError
from credit_assets.health import Health, first_line
from credit_assets.masking import without_login
from credit_assets.settings import Settings
from credit_assets.storage.claims import Claims
from credit_assets.tracking import Tracking


def health(settings: Settings, limit_seconds: float) -> Health:
    """Asks the tracking server or store; an embedded store that does not exist yet is left for the first run."""
    uri = settings.tracking_uri
    if settings.tracking_is_new:
        return Health("embedded; made by the first training")
    advice = "start the MLflow server, or correct or unset MLFLOW_TRACKING_URI"
    if unreachable := _unreachable(uri, limit_seconds):
        return Health(unreachable, "fail", advice)
    try:
        Tracking(uri, settings.experiment_name, Claims(settings.store)).server.prepare()
    except (PermanentError, TransientError) as error:
        return Health("cannot be used", "fail", str(error))
    return Health(f"answers, experiment {settings.experiment_name}")


def _unreachable(uri: str, seconds: float) -> str:
    """Why the server of an http(s) URI cannot be reached; nothing where it can, or where a proxy stands between."""
    parts = urlsplit(without_login(uri)[0])
    proxied = any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"))
    if parts.scheme not in ("http", "https") or proxied:
        return ""
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), timeout=seconds).close()
    except (OSError, ValueError) as error:
        return f"cannot be reached: {first_line(error)}"
    return ""
