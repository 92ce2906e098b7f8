"""Aliases: moved forwards and back, by one and by many at once, and every move in a log."""

from __future__ import annotations

import json
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from credit_assets.ledger.alias_log import AliasLog, MoveKind
from credit_assets.ledger.aliases import Aliases
from credit_assets.ledger.registry import Registry, Version
from credit_assets.storage.claims import Claims
from credit_assets.tracking import Tracking
from credit_assets_tests.support.mlflow_server import EXPERIMENT
from credit_assets_tests.support.registry import MODEL, Q1, Q2, Q3, change, day_after, end, move, register

pytest_plugins = ["credit_assets_tests.support.mlflow_server"]

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def registry(tracking: Tracking) -> Registry:
    return Registry(tracking, MODEL, tracking.claims)


def test_champions_follow_each_other_without_gap_or_overlap(registry: Registry) -> None:
    one, two = register(registry, "f1", Q1), register(registry, "f2", Q2)
    assert move(registry, one.version, day_after(Q1)).aliases == ("champion",)
    now = move(registry, two.version, day_after(Q2))
    assert (now.version, now.status, now.champion_periods) == ("2", "champion", ((day_after(Q2), None),))
    assert (now.tags["promoted_by"], now.tags["promotion_reason"]) == ("someone", "better")
    former = registry.version("1")
    assert (former.status, former.aliases) == ("archived", ())
    assert former.champion_periods == ((day_after(Q1), Q2),)
    assert former.tags["archived_for_version"] == "2"
    champion = registry.alias("champion")
    assert champion is not None
    assert champion.version == "2"
    by_day = {day: registry.champion_at(day) for day in (Q1, day_after(Q1), Q2, day_after(Q2), date(2030, 1, 1))}
    assert [v.version if v else None for v in by_day.values()] == [None, "1", "1", "2", "2"]
    # For many days the server is asked once.
    assert registry.champion_at(Q2, [registry.version("2")]) is None


def test_moving_again_changes_nothing(registry: Registry) -> None:
    one = register(registry, "f1")
    first = move(registry, one.version, day_after(Q1))
    assert move(registry, one.version, day_after(Q1)) == first
    assert move(registry, one.version, day_after(Q2)) == first
    assert len(Aliases(registry).moves("champion")) == 1


def test_going_back_by_hand_and_who_did_what(registry: Registry) -> None:
    one, two = register(registry, "f1", Q1), register(registry, "f2", Q2)
    move(registry, one.version, date(2024, 4, 1))
    move(registry, two.version, date(2024, 7, 1))
    back = Aliases(registry).move("champion", one.version, change(date(2024, 7, 10), "drift", "ann"))
    assert back.champion_periods == ((date(2024, 4, 1), date(2024, 6, 30)), (date(2024, 7, 10), None))
    assert registry.version("2").champion_periods == ((date(2024, 7, 1), date(2024, 7, 9)),)
    assert registry.version("2").status == "archived"
    assert [(m.number, m.version, m.change.by, m.change.reason) for m in Aliases(registry).moves("champion")] == [
        (1, "1", "someone", "better"),
        (2, "2", "someone", "better"),
        (3, "1", "ann", "drift"),
    ]


def test_a_move_from_an_earlier_day_takes_the_days_since(registry: Registry) -> None:
    one, two = register(registry, "f1", Q1), register(registry, "f2", Q2)
    move(registry, one.version, date(2024, 4, 1))
    move(registry, two.version, date(2024, 7, 1))
    # Back from the same day: as though the second had never been champion.
    now = move(registry, one.version, date(2024, 7, 1))
    assert now.champion_periods == ((date(2024, 4, 1), None),)
    two = registry.version("2")
    assert (two.champion_periods, two.status, two.tags["champion_periods"]) == ((), "archived", "[]")
    # Earlier than its own start.
    assert move(registry, one.version, date(2024, 1, 1)).champion_periods == ((date(2024, 1, 1), None),)


def test_forward_only_never_turns_back_in_as_of_time(registry: Registry) -> None:
    old, new, same = register(registry, "f1", Q1), register(registry, "f2", Q2), register(registry, "f3", Q2)
    for alias in ("champion", "challenger"):
        move(registry, new.version, day_after(Q2), alias, forward_only=True)
        assert move(registry, old.version, day_after(Q1), alias, forward_only=True).version == new.version
        assert move(registry, same.version, day_after(Q2), alias, forward_only=True).version == same.version
    assert registry.version("1").champion_periods == ()
    assert registry.version("3").aliases == ("challenger", "champion")
    assert [m.version for m in Aliases(registry).moves("challenger")] == ["2", "3"]


def test_other_aliases_leave_the_champions_tags_alone(registry: Registry) -> None:
    one = register(registry, "f1")
    assert move(registry, one.version, Q1, "challenger").aliases == ("challenger",)
    now = registry.version("1")
    assert (now.status, now.champion_periods) == ("registered", ())


class KilledAfterClaim(Aliases):
    def _show(self, log: AliasLog, fallback: str) -> None:
        raise MemoryError("killed here")


def test_an_alias_is_taken_away_and_its_history_stays(registry: Registry) -> None:
    first = register(registry, "a").version
    move(registry, first, date(2024, 4, 1), alias="shadow")
    other = register(registry, "b").version
    end(registry, other, date(2024, 4, 20))
    assert registry.alias("shadow").version == first
    for _ in range(2):
        end(registry, first, date(2024, 5, 1))
    assert registry.alias("shadow") is None
    assert [(m.number, m.version, m.change.reason) for m in Aliases(registry).moves("shadow", since=1)] == [
        (2, "", "over")
    ]
    assert Aliases(registry).period_of("shadow", date(2024, 4, 30)) == (first, date(2024, 4, 1), date(2024, 4, 30))
    assert Aliases(registry).period_of("shadow", date(2024, 4, 30)).version == first
    assert Aliases(registry).period_of("shadow", date(2024, 5, 1)) is None
    assert Aliases(registry).period_of("shadow", date(2024, 3, 31)) is None
    move(registry, other, date(2024, 6, 1), alias="shadow")
    assert Aliases(registry).period_of("shadow", date(2024, 5, 15)) is None
    assert Aliases(registry).period_of("shadow", date(2024, 6, 1)).version == other


def test_a_mover_killed_after_its_claim_is_completed_by_the_next_call(registry: Registry) -> None:
    one, two, three = (register(registry, f"f{n}", day) for n, day in enumerate((Q1, Q2, Q3)))
    move(registry, one.version, day_after(Q1))
    with pytest.raises(MemoryError):
        KilledAfterClaim(registry).move("champion", two.version, change(day_after(Q2)))
    # The log decides; MLflow is behind it until somebody comes next, whoever that is.
    assert registry.alias("champion").version == "2"  # type: ignore[union-attr]
    assert registry.champion_at(day_after(Q2)).version == "2"  # type: ignore[union-attr]
    assert [v.version for v in registry.shown() if "champion" in v.aliases] == ["1"]
    assert [entry.number for _, entry in Aliases(registry).complete()] == [2]
    consistent(registry)
    assert Aliases(registry).complete() == []
    assert move(registry, two.version, day_after(Q2)).aliases == ("champion",)
    assert registry.version("1").champion_periods == ((day_after(Q1), Q2),)
    with pytest.raises(MemoryError):
        KilledAfterClaim(registry).move("champion", one.version, change(day_after(Q3)))
    assert move(registry, three.version, day_after(Q3)).champion_periods == ((day_after(Q3), None),)
    assert registry.version("2").champion_periods == ((day_after(Q2), Q3),)


def test_history_goes_on_from_the_tags_where_the_store_is_new(registry: Registry, tmp_path: Path) -> None:
    one, two = register(registry, "f1", Q1), register(registry, "f2", Q2)
    move(registry, one.version, day_after(Q1))
    emptied = Registry(registry.tracking, MODEL, Claims(str(tmp_path / "new_store")))
    assert move(emptied, one.version, day_after(Q1)).champion_periods == ((day_after(Q1), None),)
    move(emptied, two.version, day_after(Q2))
    assert emptied.version("1").champion_periods == ((day_after(Q1), Q2),)


def test_an_alias_set_by_hand_decides_nothing_and_is_put_right_by_the_next_move(registry: Registry) -> None:
    one, two = register(registry, "f1", Q1), register(registry, "f2", Q2)
    move(registry, one.version, day_after(Q1))
    registry.tracking.server.client.set_registered_model_alias(MODEL, "champion", two.version)
    assert registry.alias("champion").version == "1"  # type: ignore[union-attr]
    # Nothing was cut short: what somebody did there stays to be seen by the audit.
    assert Aliases(registry).complete() == []
    assert [v.version for v in registry.shown() if "champion" in v.aliases] == ["2"]
    assert move(registry, one.version, day_after(Q1)).aliases == ("champion",)
    consistent(registry)


def test_a_version_that_was_taken_back_from_its_first_day_on_was_champion_all_the_same(registry: Registry) -> None:
    one, two = register(registry, "f1", Q1), register(registry, "f2", Q2)
    move(registry, one.version, day_after(Q1))
    move(registry, two.version, day_after(Q2))
    move(registry, one.version, day_after(Q2))
    taken = registry.version(two.version)
    assert (taken.champion_periods, taken.status, taken.was_champion) == ((), "archived", True)
    assert not register(registry, "f3", Q3).was_champion


def consistent(registry: Registry) -> None:
    """What MLflow shows is the newest entry of the log, whatever happened on the way."""
    versions, moves = {v.version: v for v in registry.shown()}, Aliases(registry).moves("champion")
    history = moves[-1].history
    assert {v: versions[v].champion_periods for v in versions} == {
        v: tuple((a, b) for w, a, b in history if w == v) for v in versions
    }
    assert [v for v in versions if "champion" in versions[v].aliases] == [moves[-1].version]
    assert [v for v in versions if versions[v].status == "champion"] == [moves[-1].version]
    for (_, _, last), (_, start, _) in pairwise(history):
        assert last is not None
        assert day_after(last) == start
    assert [move.number for move in moves] == list(range(1, len(moves) + 1))


def test_movers_at_once_leave_one_champion_and_no_gap(registry: Registry) -> None:
    versions = [register(registry, f"f{n}", Q1 + timedelta(days=n)) for n in range(6)]

    def mover(version: Version) -> str:
        own = Registry(registry.tracking, MODEL, Claims(registry.claims.store_uri))
        return move(own, version.version, day_after(version.as_of), forward_only=True).version

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(mover, versions)) <= {v.version for v in versions}
    consistent(registry)
    # Time went forwards, whoever came first: the newest as-of date holds it.
    assert registry.alias("champion").version == "6"  # type: ignore[union-attr]
    moved = [registry.version(m.version).as_of for m in Aliases(registry).moves("champion")]
    assert moved == sorted(moved)


def _register_and_move(where: tuple[str, str], n: int, barrier: Any, answers: Any) -> None:
    claims = Claims(where[1])
    registry = Registry(Tracking(where[0], EXPERIMENT, claims), MODEL, claims)
    registry.tracking.server.prepare()
    barrier.wait()
    shared = register(registry, "shared")
    own = register(registry, f"own-{n}", Q1 + timedelta(days=n))
    move(registry, own.version, day_after(own.as_of))
    answers.put((shared.version, own.version))


@pytest.mark.slow
def test_processes_at_once_make_one_version_a_fingerprint(registry: Registry) -> None:
    where = (registry.tracking.server.uri, registry.claims.store_uri)
    barrier, answers = SPAWN.Barrier(3), SPAWN.Queue()
    processes = [SPAWN.Process(target=_register_and_move, args=(where, n, barrier, answers)) for n in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    found = [answers.get() for _ in processes]
    assert len({shared for shared, _ in found}) == 1
    assert len({own for _, own in found}) == 3
    assert sorted(v.fingerprint for v in registry.versions()) == ["own-0", "own-1", "own-2", "shared"]
    assert len(Aliases(registry).moves("champion")) == 3
    consistent(registry)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("rollback: complaints", MoveKind.ROLLBACK),
        ("trial ended: reject: no", MoveKind.TRIAL_ENDED),
        ("passed its gates", MoveKind.PASSED),
        ("rollback", MoveKind.ROLLBACK),
        ("better", MoveKind.OTHER),
    ],
)
def test_a_move_entered_before_there_were_kinds_has_one(registry: Registry, reason: str, kind: MoveKind) -> None:
    version = register(registry, "f1").version
    record = {"version": version, "effective_from": "2024-04-01", "reason": reason, "by": "ann", "at": "then"}
    record |= {"history": [[version, "2024-04-01", None]]}
    registry.claims.claim(f"{Aliases(registry).log('champion').folder}/000001", json.dumps(record))
    (entered,) = Aliases(registry).moves("champion")
    assert (entered.change.kind, entered.change.reason) == (kind, reason)
    Aliases(registry).move("champion", register(registry, "f2", Q2).version, change(Q3, kind=MoveKind.APPROVE))
    assert Aliases(registry).moves("champion", since=1)[0].change.kind is MoveKind.APPROVE
