"""Whether what `credit-assets dev` has started can be used.

Belongs here: asking a server. Does not belong here: who asks, and what is said then (`dev`).

Dagster's web server listens long before the code location is loaded, and where the process that loads it is starved or
dies it stays without one: pages open and are empty. So the server is asked for its locations, and told to load again
one that could not be loaded.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from typing import Any

from credit_assets.health import first_line

Ready = Callable[[str, int], bool]
"""Whether the server at this host and port can be used."""

_ANSWER_SECONDS = 5.0
_LOOKS_EVERY, _FIRST_AGAIN, _LAST_AGAIN = 0.5, 15.0, 240.0
_LOCATIONS = """
{ workspaceOrError { ... on Workspace { locationEntries {
  name loadStatus locationOrLoadError { __typename ... on PythonError { message } } } } } }
"""
_AGAIN = "mutation ($name: String!) { reloadRepositoryLocation(repositoryLocationName: $name) { __typename } }"


def listens(host: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((host, port), timeout=0.2):
        return True
    return False


class Locations:
    """Says of a Dagster web server when every code location is loaded.

    One that cannot be loaded is told of once for each reason, and loaded again after a while, which doubles: a process
    that found no time to start finds it later.
    """

    def __init__(self, tell: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell, self._clock = tell, clock
        self._next = 0.0
        self._shown: set[str] = set()
        self._waits: dict[str, tuple[float, float]] = {}
        """By location, when it is to be loaded again, and how long was waited for that."""

    def __call__(self, host: str, port: int) -> bool:
        if self._clock() < self._next:
            return False
        self._next = self._clock() + _LOOKS_EVERY
        answered = _ask(host, port, _LOCATIONS)
        entries = ((answered or {}).get("workspaceOrError") or {}).get("locationEntries") or []
        loaded = [self._is_loaded(host, port, entry) for entry in entries]
        return bool(loaded) and all(loaded)

    def _is_loaded(self, host: str, port: int, entry: Mapping[str, Any]) -> bool:
        found = entry["locationOrLoadError"] or {}
        if entry["loadStatus"] != "LOADED" or found.get("__typename") != "PythonError":
            return bool(entry["loadStatus"] == "LOADED" and found)
        name, why = str(entry["name"]), first_line(Exception(found["message"]))
        if why not in self._shown:
            self._shown.add(why)
            self._tell(f"code location {name} could not be loaded ({why}); it is tried again")
        now = self._clock()
        due, waited = self._waits.setdefault(name, (now + _FIRST_AGAIN, _FIRST_AGAIN))
        if now >= due:
            longer = min(2 * waited, _LAST_AGAIN)
            self._waits[name] = (now + longer, longer)
            _ask(host, port, _AGAIN, name=name)
        return False


def _ask(host: str, port: int, query: str, **variables: str) -> Any:
    """What a GraphQL server answers; None where it does not, or not yet."""
    connection = HTTPConnection(host, port, timeout=_ANSWER_SECONDS)
    with suppress(OSError, HTTPException, ValueError, AttributeError):
        try:
            body = json.dumps({"query": query, "variables": variables})
            connection.request("POST", "/graphql", body, {"Content-Type": "application/json"})
            return json.loads(connection.getresponse().read()).get("data")
        finally:
            connection.close()
    return None
