"""Turns: one at a time, and another one where the first did not come to it."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from credit_assets.storage.claims import Claims
from credit_assets.storage.turns import take

LONG = timedelta(hours=1)


def test_of_many_at_once_it_is_one_s_turn(tmp_path: Path) -> None:
    barrier = threading.Barrier(8)

    def ask(_: int) -> bool:
        barrier.wait()
        return take(Claims(str(tmp_path)), "lost-runs/a", LONG)

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(8))) == 1
    assert not take(Claims(str(tmp_path)), "lost-runs/a", LONG)
    assert len(Claims(str(tmp_path)).names("lost-runs/a")) == 1
    assert take(Claims(str(tmp_path)), "lost-runs/b", LONG)


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_turn_ends_also_one_of_a_clock_that_was_ahead(tmp_path: Path, hours: int) -> None:
    claims = Claims(str(tmp_path))
    held = {"at": (datetime.now(UTC) + timedelta(hours=hours)).isoformat(), "id": "x"}
    claims.claim("lost-runs/a/000001", json.dumps(held))
    assert take(claims, "lost-runs/a", LONG)
    assert not take(claims, "lost-runs/a", LONG)


@pytest.mark.parametrize("text", ["rubbish", "[]", '{"at": 7}', '{"at": "2024-01-01T00:00:00"}'])
def test_a_damaged_turn_keeps_nobody_from_the_next(tmp_path: Path, text: str) -> None:
    claims = Claims(str(tmp_path))
    claims.claim("lost-runs/a/000001", text)
    assert take(claims, "lost-runs/a", LONG)
