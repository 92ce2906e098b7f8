"""The door for other programs: `credit-assets trigger` over HTTP, for whoever has a token, and nothing else.

Belongs here: who is let in, what a request must hold, and what is answered. Does not belong here: what a trigger is
(`trigger`), and what comes of it (`credit_assets.automation.external_trigger`).

A program has no browser to log in with, and a token for Dagster's GraphQL would let it do all that operators do. So it
comes in here: each caller has a token of its own, whose name is recorded as who asked.

    TRIGGER_TOKENS="monitoring=..." python -m credit_assets.cli.trigger_door --port 8080
    curl -H "Authorization: Bearer $TOKEN" -d '{"kind": "drift", "reason": "..."}' https://HOST/trigger/credit-assets
"""

from __future__ import annotations

import argparse
import hmac
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from credit_assets.failures import PermanentError, TransientError

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

TOKENS = "TRIGGER_TOKENS"
_LONGEST = 4096
_SHORTEST = 24
Report = Callable[..., Mapping[str, Any]]
"""`report_trigger` of a code location: kind, and by name reason, by and as_of."""


def tokens_of(text: str) -> dict[str, str]:
    """Callers by name with their tokens, of lines or words `name=token`. Raises PermanentError where one is unfit."""
    found: dict[str, str] = {}
    for word in text.split():
        name, _, token = word.partition("=")
        # The name alone: what is wrong with a token is not shown.
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", name) or len(token) < _SHORTEST or name in found:
            shown = name if re.fullmatch(r"[\w.-]{1,63}", name) and token else "one without a name"
            raise PermanentError(
                f"{TOKENS}: {shown} is unfit: each caller stands there once, as name=token, with {_SHORTEST} "
                "characters of token or more (openssl rand -hex 16)"
            )
        found[name] = token
    if not found:
        raise PermanentError(f"{TOKENS} names nobody: nobody could ask for anything")
    return found


def caller(tokens: Mapping[str, str], authorization: str) -> str | None:
    """Who has this token; None for nobody. Every token is compared, so that the time taken tells nothing."""
    scheme, _, given = authorization.partition(" ")
    named = None
    for name, token in tokens.items():
        if hmac.compare_digest(given.encode(), token.encode()) and scheme.lower() == "bearer":
            named = name
    return named


def trigger_of(body: bytes) -> dict[str, Any]:
    """What a request asks for: kind, reason, as_of. Raises PermanentError where it is no such request."""
    try:
        given = json.loads(body)
        if not isinstance(given, dict) or set(given) - {"kind", "reason", "as_of"}:
            raise TypeError
        kind, reason, day = (given.get(name, "") or "" for name in ("kind", "reason", "as_of"))
        if not all(isinstance(one, str) for one in (kind, reason, day)):
            raise TypeError
        return {"kind": kind, "reason": reason, "as_of": date.fromisoformat(day) if day else None}
    except (ValueError, TypeError, RecursionError) as error:
        raise PermanentError(
            'a request is {"kind": "drift", "reason": "why", "as_of": "2024-06-30"}; without as_of, the newest day'
        ) from error


def door(tokens: Mapping[str, str], report: Report) -> Starlette:
    """The application."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import JSONResponse, PlainTextResponse
    from starlette.routing import Route

    async def health(_: Request) -> Response:
        return PlainTextResponse("ok")

    async def trigger(request: Request) -> Response:
        by = caller(tokens, request.headers.get("authorization", ""))
        if by is None:
            return JSONResponse({"error": "no token of a caller"}, 401, {"WWW-Authenticate": "Bearer"})
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _LONGEST:
                return JSONResponse({"error": f"a request has at most {_LONGEST} bytes"}, 413)
        try:
            trigger = trigger_of(body)
            found = await run_in_threadpool(report, trigger.pop("kind"), by=by, **trigger)
        except PermanentError as error:
            return JSONResponse({"error": str(error)}, 400)
        except TransientError as error:
            return JSONResponse({"error": str(error)}, 503)
        return JSONResponse(dict(found), 202)

    return Starlette(
        routes=[Route("/health", health), Route("/trigger/{location}", trigger, methods=["POST"])],
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="trigger_door")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    given = parser.parse_args(arguments)
    tokens = tokens_of(os.environ.get(TOKENS, ""))
    from functools import partial

    import dagster as dg
    import uvicorn

    from credit_assets.cli.trigger import report_trigger
    from credit_assets.settings import load_settings

    with dg.DagsterInstance.get() as instance:
        app = door(tokens, partial(report_trigger, load_settings(), instance))
        uvicorn.run(app, host=given.host, port=given.port, log_level="warning")


if __name__ == "__main__":
    main()
