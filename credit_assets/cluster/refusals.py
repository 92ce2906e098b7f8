"""What it means when the Kubernetes API does not do what it is asked: for now, or for good.

Belongs here: reading an error, and how the client asks. Does not belong here: what is done about it
(`credit_assets.cluster.job_sender`, `credit_assets.cluster.pods_of_run`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import kubernetes
import urllib3

# Seconds to connect and to be answered. The executor has one thread: while it waits here, no step of the run is looked
# at, and none is started.
TIMEOUT = (3, 10)
# Answers that another moment may change: too many requests, a server or a proxy that is not there, a token that is
# being renewed.
_FOR_NOW = {0, 401, 408, 429}
# A quota has no room, or has not been counted yet. Any other 403 says that somebody has no right.
_QUOTA = ("exceeded quota", "status unknown for quota")
# What answers when nobody does: the client's errors, and those of sockets that it does not wrap.
NO_ANSWER = (urllib3.exceptions.HTTPError, OSError)


@dataclass(frozen=True)
class Refusal:
    """Why a request was not served."""

    words: str
    permanent: bool
    # Nobody served it, or asked to be left alone: what holds for each other request as well.
    for_all: bool = False
    # Seconds that the server asks to wait.
    wait: float = 0.0


def refusal_of(error: Exception) -> Refusal | None:
    """What an error of a request means, or None where it is none of the API's."""
    if isinstance(error, NO_ANSWER):
        return Refusal(f"the Kubernetes API does not answer ({_head(str(error))})", permanent=False, for_all=True)
    if not isinstance(error, kubernetes.client.ApiException):
        mistaken = isinstance(error, kubernetes.client.OpenApiException)
        return Refusal(f"the Kubernetes client refuses it: {_head(str(error))}", permanent=True) if mistaken else None
    status = error.status or 0
    message = _message_of(error)
    words = f"the Kubernetes API answers {status}: {message}"
    if status in _FOR_NOW or status >= 500:
        return Refusal(words, permanent=False, for_all=_not_served(status, message), wait=_retry_after(error))
    if status == 409 or (status == 403 and any(quota in message for quota in _QUOTA)):
        return Refusal(words, permanent=False)
    return Refusal(words, permanent=True)


def _not_served(status: int, message: str) -> bool:
    # A webhook that cannot be asked fails the requests that it is for, and no other.
    return not (status == 500 and "webhook" in message)


def is_missing(error: Exception) -> bool:
    """Whether what was asked for is not there."""
    return isinstance(error, kubernetes.client.ApiException) and error.status == 404


def is_there(error: Exception) -> bool:
    """Whether what was to be made is there already: the answer to an earlier request was lost on its way."""
    return (
        isinstance(error, kubernetes.client.ApiException)
        and error.status == 409
        and _body(error).get("reason") == "AlreadyExists"
    )


def ask_bounded(api: Any) -> None:
    """Let the client of an API come back with each answer, instead of sleeping for as long as a server asks it to, and
    without one after TIMEOUT: to dagster-k8s as well, which names none and would wait for ever for a silent server.

    A connection that was closed while it was idle is opened anew, as ever.
    """
    retries = urllib3.Retry(1, status=0, respect_retry_after_header=False)
    client = api.api_client
    client.rest_client.pool_manager.connection_pool_kw["retries"] = retries
    request = client.request

    def bounded(*arguments: Any, **how: Any) -> Any:
        return request(*arguments, **{**how, "_request_timeout": how.get("_request_timeout") or TIMEOUT})

    client.request = bounded


def _body(error: Any) -> dict[str, Any]:
    try:
        body = json.loads(error.body or "")
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _message_of(error: Any) -> str:
    return _head(str(_body(error).get("message") or error.reason or error.body or "nothing"))


def _head(text: str) -> str:
    return " ".join(text.split())[:600]


def _retry_after(error: Any) -> float:
    seconds = (error.headers or {}).get("Retry-After", "")
    return float(seconds) if seconds.isdigit() else 0.0
