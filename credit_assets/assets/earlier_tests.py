"""What days before say of a comparison: tests of models before it, and whether applicants have moved.

Belongs here: finding both in the records of the store. Does not belong here: the comparison itself (`comparison`), how
tests count together (`credit_assets.ml.rules.paired`), and what a drift verdict is made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from credit_assets.assets.policies import drift_trigger_policy
from credit_assets.assets.stored_days import StoredDays
from credit_assets.ledger.registry import Version
from credit_assets.settings import Settings
from credit_assets.storage.remembered import Remembered
from credit_assets.storage.store import Store

_KEPT = ("difference", "standard_error", "rows", "bads", "independent_bads", "independent_goods")
_TESTS = f"days and beside: {' '.join(_KEPT)}"
_TRAINED = "trained_model"


def newer_by(as_of: date, version: Version) -> int:
    """Days by which a training as of a day is newer than what a version was trained on."""
    return (as_of - version.trained_as_of).days


def as_found_first(store: Store, selected: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the day's own record has of its comparison with the same champion: `earlier` and `moved` are kept when a day
    is run again, whatever days and reports came later. None where there is no such record, or one of before they were.
    """
    day, champion = selected["as_of"], selected["champion"]["version"]
    record = StoredDays(store).record(_TRAINED, date.fromisoformat(day))
    if record is None:
        return None
    same = (record.get("champion") or {}).get("version") == champion
    found: Mapping[str, Any] = record.get("comparison") or {}
    return found if same and "moved" in found else None


def earlier_tests(store: Store, selected: Mapping[str, Any], version: Version, window_days: int) -> dict[str, Any]:
    """Tests of the models before the `selected` one beside the same version, newest first, of which none shares a row
    with its test or with another: of each the difference, by how many days the model was `newer_by`, and its days.

    A test ends a performance window before its as-of date at the latest, so that most records need not be read. The
    longer a champion stays, the more are left: each is read once, and what it says of tests is remembered.
    """
    as_of, before = date.fromisoformat(selected["as_of"]), date.fromisoformat(selected["test_from"])
    days = [day for day in store.days(_TRAINED) if version.as_of < date.fromisoformat(day) < as_of]
    remembered, read = Remembered(store, _TRAINED, _TESTS), dict[str, Any]()
    known = remembered.of(days)
    tests: list[dict[str, Any]] = []
    for day in reversed(days):
        trained = date.fromisoformat(day)
        if trained - timedelta(window_days) >= before:
            continue
        if day not in known:
            known[day] = read[day] = _tests_of(store.read_record(store.path(_TRAINED, f"{day}.json")))
        difference, tested = known[day]["beside"].get(version.version), known[day]["days"]
        if difference is None or not tested or date.fromisoformat(tested[1]) >= before:
            continue
        tests.append({"as_of": day, "newer_by": newer_by(trained, version), "days": tested, **difference})
        before = date.fromisoformat(tested[0])
    remembered.add(read)
    return {"newer_by": newer_by(as_of, version), "tests": tests}


def _tests_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """The days of a record's test, and by version the difference from it, as champion or as the first of its chain.

    A new calibration of the champion ranks as it does, and says nothing of newer models.
    """
    beside: dict[str, Any] = {}
    if "evaluation" in record and "recalibrates" not in record:
        for other in (record.get("champion"), (record.get("comparison") or {}).get("first")):
            if other and other.get("comparable") and (found := other.get("difference")):
                beside.setdefault(str(other.get("version")), {name: found[name] for name in _KEPT if name in found})
    return {"days": (record.get("age") or {}).get("test"), "beside": beside}


def moved_since(store: Store, settings: Settings, as_of: date, champion: Version) -> dict[str, Any] | None:
    """What the drift reports of the days before an as-of date say of the champion's applicants, where they were
    `shifted` on as many of them as the trigger asks for; None where they were not. The report of the day itself may
    come after the training.
    """
    rule, stored = drift_trigger_policy(settings), StoredDays(store)
    days = [as_of - timedelta(back) for back in range(1, rule.window + 1)]
    reports = [one for day in days if (one := stored.record("drift_report", day)) is not None]
    shifted = [one for one in reports if one.get("champion") == champion.version and one.get("verdict") == "shifted"]
    if len(shifted) < rule.days:
        return None
    return {
        "newer_by": newer_by(as_of, champion),
        "days": len(shifted),
        "of": rule.window,
        "shifted": list(shifted[0]["shifted"]),
    }
