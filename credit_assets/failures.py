"""The kinds of failure, and which of them a retry can help.

Belongs here: the two exception types that resources raise and the test that sorts foreign exceptions into them.
Does not belong here: what Dagster does with them (`credit_assets.assets.guard`).
"""

from __future__ import annotations

# Names, not classes: naming a class would import its library into every process that loads the code location.
_TRANSIENT_CLASSES = {
    "ConnectionError",
    "ConnectTimeout",
    "ConnectTimeoutError",
    "EndpointConnectionError",
    "IncompleteRead",
    "InterfaceError",
    "MaxRetryError",
    "NewConnectionError",
    "OperationalError",
    "ReadTimeout",
    "ReadTimeoutError",
    "ServerDisconnectedError",
    "ServiceUnavailable",
    "SlowDown",
    "TimeoutError",
}
# What DuckDB, SQLite, sockets and MLflow raise under a class that says nothing of it. The one place where control flow
# reads words, since these have no other mark; errors of this package are sorted by their class before.
_TRANSIENT_TEXTS = (
    "database is locked",
    "could not set lock on file",
    "conflicting lock is held",
    "connection refused",
    "connection reset",
    "timed out",
    "too many requests",
    "too many 500 error responses",
    "too many 502 error responses",
    "too many 503 error responses",
    "too many 504 error responses",
)


class TransientError(RuntimeError):
    """A retry may help: a server is unreachable, a lock is held, a service answers 5xx."""


class PermanentError(RuntimeError):
    """A retry cannot help: bad data, a bad setting, a missing table. The message says what to do."""


def is_transient(error: BaseException) -> bool:
    """Whether a later attempt may succeed, judged by the exception and by what caused it."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if isinstance(current, PermanentError):
            return False
        if isinstance(current, TransientError):
            return True
        if any(base.__name__ in _TRANSIENT_CLASSES for base in type(current).__mro__):
            return True
        text = str(current).lower()
        if any(part in text for part in _TRANSIENT_TEXTS):
            return True
        current = current.__cause__ or current.__context__
    return False
