"""Turns: one of several processes does what must not be done twice, and another one where that did not come to it.

Belongs here: whose turn it is. Does not belong here: the work, and whether it has been done, which whoever takes a turn
looks at first: a turn says who may try, and only for a time.
"""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from itertools import count

from credit_assets.storage.claims import Claims


def take(claims: Claims, name: str, lasts: timedelta) -> bool:
    """Whether it is this caller's turn; of all callers it is one's, until `lasts` has passed without the work done.

    Raises as `Claims` does.
    """
    for number in count(1):
        mine = json.dumps({"at": datetime.now(UTC).isoformat(), "id": uuid.uuid4().hex})
        held = claims.claim(f"{name}/{number:06d}", mine)
        if held == mine:
            return True
        if not _over(held, lasts):
            return False
    raise AssertionError("unreachable: numbers do not end")


def _over(held: str, lasts: timedelta) -> bool:
    try:
        since = datetime.fromisoformat(json.loads(held)["at"])
        # Also one of a clock that was ahead.
        return abs(datetime.now(UTC) - since) > lasts
    except (ValueError, KeyError, TypeError):
        return True
