"""How what MLflow, its database and its artifact store raise is sorted and worded.

Belongs here: reading errors. Does not belong here: calling MLflow (`tracking`).
"""

from __future__ import annotations

from credit_assets.failures import is_transient
from credit_assets.masking import masked_url


def is_foreign(error: Exception) -> bool:
    roots = {base.__module__.split(".")[0] for base in type(error).__mro__}
    return bool(roots & {"mlflow", "sqlalchemy", "requests", "urllib3", "botocore", "google", "azure"}) or isinstance(
        error, OSError
    )


def is_collision(error: Exception) -> bool:
    text = str(error).lower()
    return any(part in text for part in ("database is locked", "integrityerror", "uniqueviolation"))


def is_transient_here(error: Exception) -> bool:
    code, text = getattr(error, "error_code", None), str(error).lower()
    if "out-of-date database schema" in text:
        return False
    if is_collision(error):
        return True
    if code is not None:
        if code in ("TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED"):
            return True
        if "failed with exception" in text or is_transient(error):
            return True
        # Raised here rather than by a server, INTERNAL_ERROR is MLflow's word for anything.
        from mlflow.exceptions import RestException

        return isinstance(error, RestException) and error.get_http_status_code() >= 500
    return is_transient(error)


def advice(error: Exception, uri: str) -> str:
    text, code = str(error).lower(), getattr(error, "error_code", None)
    if "out-of-date database schema" in text:
        return f"; run `mlflow db upgrade {masked_url(uri)}` after a backup"
    if code in ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED"):
        return "; see MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
    return ""
