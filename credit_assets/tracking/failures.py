"""How what MLflow, its database and its artifact store raise is sorted and worded.

Belongs here: reading errors. Does not belong here: calling MLflow (`server`) and the sentences that it has no code for
(`mlflow_internals`).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from enum import Enum, auto

from credit_assets.failures import PermanentError, TransientError, advised, is_lasting, is_transient
from credit_assets.masking import Secrets, masked_url
from credit_assets.tracking import mlflow_internals

_FOREIGN = {"mlflow", "sqlalchemy", "requests", "urllib3", "botocore", "google", "azure"}
_BUSY = {"TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED"}
_REFUSED = {"UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED"}


class CallOutcome(Enum):
    """What became of a call."""

    COLLISION = auto()
    """Another process's transaction was in the way; this one was rolled back and can be called again at once."""
    TRANSIENT = auto()
    OUTDATED_TABLES = auto()
    REFUSED = auto()
    """Because of who calls: a login, or a right."""
    PERMANENT = auto()


_LINE = 500
_PASSES = {CallOutcome.COLLISION, CallOutcome.TRANSIENT}


def kind_of(error: Exception) -> CallOutcome | None:
    """The kind of a failure; None for an error that is none of MLflow's, its database's or its store's."""
    roots = {base.__module__.split(".")[0] for base in type(error).__mro__}
    if not (roots & _FOREIGN or isinstance(error, OSError)):
        return None
    if mlflow_internals.has_outdated_tables(error):
        return CallOutcome.OUTDATED_TABLES
    if mlflow_internals.collides(error):
        return CallOutcome.COLLISION
    code = getattr(error, "error_code", None)
    if is_lasting(error):
        # MLflow calls whatever its database says a moment's fault, a full disk too.
        return CallOutcome.PERMANENT
    if code in _BUSY or is_transient(error):
        return CallOutcome.TRANSIENT
    if code is not None and (mlflow_internals.was_not_sent(error) or _status(error) >= 500):
        return CallOutcome.TRANSIENT
    return CallOutcome.REFUSED if code in _REFUSED else CallOutcome.PERMANENT


def _status(error: Exception) -> int:
    """The HTTP status of a server's answer, 0 where no server answered: raised here rather than by a server,
    INTERNAL_ERROR is MLflow's word for anything.
    """
    from mlflow.exceptions import RestException

    return int(error.get_http_status_code()) if isinstance(error, RestException) else 0  # type: ignore[no-untyped-call]


def _in_a_line(text: str) -> str:
    """What SQLAlchemy says without the statement and its values, and no page of anything."""
    text = " ".join(re.split(r"\[SQL:|\[parameters:|\(Background on this error", text)[0].split())
    return text if len(text) <= _LINE else f"{text[:_LINE]} ..."


def _advice(kind: CallOutcome, uri: str) -> str:
    if kind is CallOutcome.OUTDATED_TABLES:
        return f"; run `mlflow db upgrade {masked_url(uri)}` after a backup"
    if kind is CallOutcome.TRANSIENT:
        return "; is what MLFLOW_TRACKING_URI names running?"
    if kind is CallOutcome.REFUSED:
        return "; see MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
    return ""


@contextlib.contextmanager
def failures(uri: str, doing: str, secrets_of: Sequence[str] = ()) -> Iterator[None]:
    """Turn what is raised about MLflow at `uri` into TransientError or PermanentError, without any secret: of the URI,
    and those that open it and do not stand there.
    """
    failure: TransientError | PermanentError | None = None
    cause = None
    try:
        yield
    except (TransientError, PermanentError):
        raise
    except Exception as error:
        kind = kind_of(error)
        if kind is None:
            raise
        secrets = Secrets([uri, *secrets_of])
        words = (kind is CallOutcome.PERMANENT and advised(error)) or _in_a_line(
            str(getattr(error, "message", None) or error)
        )
        text = f"MLflow at {masked_url(uri)} {doing}: {secrets.hide(words)}"
        failure = (TransientError if kind in _PASSES else PermanentError)(f"{text}{_advice(kind, uri)}")
        # The original's text may carry the password, and Dagster records causes.
        cause = None if secrets else error
    if failure is not None:
        raise failure from cause
