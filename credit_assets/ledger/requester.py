"""Who asks, as the system knows it: beside the name that is given, which may be anybody's.

Belongs here: what the operating system and Dagster say of whoever enters a request. Does not belong here: the name that
people give (`credit_assets.cli.who`), and the log (`requests`).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import dagster as dg

from credit_assets.tags import USER_TAG

_LOGIN = Path("/proc/self/loginuid")
_NOBODY = 2**32 - 1


def requester_here() -> dict[str, str]:
    """`user` of this process, by its number and no variable; `login`, who logged in before a `sudo`, where Linux keeps
    it; `host`.
    """
    found = {"host": socket.gethostname()}
    if hasattr(os, "getuid"):
        found["user"] = _name(os.getuid())
        with suppress(OSError, ValueError):
            login = int(_LOGIN.read_text("ascii"))
            if login != _NOBODY:
                found["login"] = _name(login)
    return found


def requester_of_run(run: dg.DagsterRun) -> dict[str, str]:
    """The Dagster run that asks, and who started it, where Dagster or the proxy before it knows."""
    found = {"run": run.run_id}
    if user := run.tags.get(USER_TAG):
        found["dagster_user"] = user
    return found


def requester_in_words(requester: Mapping[str, str]) -> str:
    """For people: ", entered by ann@host"; "" of a request of before."""
    if not requester:
        return ""
    account = requester.get("login") or requester.get("user", "unknown")
    text = f", entered by {account}@{requester.get('host', 'unknown')}"
    return text + (f" for the Dagster user {requester['dagster_user']}" if "dagster_user" in requester else "")


def _name(uid: int) -> str:
    """The name of an account, its number where it has none: a container may run under any."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
