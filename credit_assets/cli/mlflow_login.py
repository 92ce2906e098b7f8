"""MLflow for everybody to read and for the pipeline alone to write, as ASGI middleware around its application.

Belongs here: which requests change nothing, and whose login lets others through. Does not belong here: how the server
is started with it (`servers_internals`), and who is let in at all (the deployment's proxy; `guard` on one machine).

MLflow's own login (`--app-name basic-auth`) needs a database of users beside its own and asks people for a second
password behind the proxy; without it whoever reaches the server may delete a model.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from credit_assets.failures import PermanentError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

USER, PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
"""MLflow's own variables of a client's login; the server is given the same."""
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
# Its pages search by POST. What is not named here is a change, so that one that comes with a newer MLflow is refused.
_SEARCHES = re.compile(
    r"/(ajax-)?api/[23]\.0/mlflow/("
    r"(experiments|runs|logged-models|datasets|traces|issues)/search|experiments/search-datasets"
    r"|registered-models/get-latest-versions|artifacts/presigned-download-url"
    r"|traces/(batchGetInfos|metrics|calculate-filter-correlation))"
    # It has queries alone; its one mutation is MLflow's own test.
    r"|/graphql"
)
_REFUSED = json.dumps(
    {
        "error_code": "PERMISSION_DENIED",
        "message": f"MLflow is read-only but for the pipeline: runs, models and aliases change by its steps and by "
        f"`credit-assets` (a program that may write sets {USER} and {PASSWORD})",
    }
).encode()


class PipelineWrites:
    """The application, whose state changes only by requests with the login of the pipeline."""

    def __init__(self, app: ASGIApp, user: str, password: str) -> None:
        self._app = app
        self._login = b"Basic " + base64.b64encode(f"{user}:{password}".encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or (scope["type"] == "http" and self._passes(scope)):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            head = [(b"content-type", b"application/json"), (b"content-length", str(len(_REFUSED)).encode())]
            await send({"type": "http.response.start", "status": 403, "headers": head})
            await send({"type": "http.response.body", "body": _REFUSED})
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _passes(self, scope: Scope) -> bool:
        if scope["method"] in _READS:
            return True
        if scope["method"] == "POST" and _SEARCHES.fullmatch(scope["path"]):
            return True
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(given) == 1 and hmac.compare_digest(given[0], self._login)


def pipeline_writes(app: ASGIApp, given: Mapping[str, str] = os.environ) -> PipelineWrites:
    """The application for the login of the environment. Raises PermanentError where there is none."""
    user, password = given.get(USER, ""), given.get(PASSWORD, "")
    if not user or ":" in user or len(password) < 8:
        raise PermanentError(
            f"set {USER} (no colon) and {PASSWORD} (8 characters or more): the login of the pipeline, without which "
            "anybody who reaches this server could change models"
        )
    return PipelineWrites(app, user, password)
