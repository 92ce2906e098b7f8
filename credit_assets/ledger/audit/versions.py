"""Versions in MLflow beside what the store has of them.

Belongs here: whether each version has its record and each record its version, and whether they say the same. Does not
belong here: whether it was registered by right (`decisions`), and its files (`files`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from credit_assets.ledger.audit.walk import Gap, Record, Walk
from credit_assets.ledger.registry import RECALIBRATES, Version

_METRICS = ("auc", "gini", "ks", "brier", "ece", "log_loss")


def versions_and_records(walk: Walk) -> Sequence[Gap]:
    """Every version in MLflow has its record in the store, and every record its version."""
    return [*_without_record(walk), *_without_version(walk)]


def _without_record(walk: Walk) -> Iterator[Gap]:
    check = "versions_and_records"
    for number in walk.by_hand:
        text = "was registered by hand: it has no fingerprint and as-of date, and nothing decided about it"
        yield Gap(check, text, "delete it in MLflow, or train it by the pipeline", "registered_model", "", number)
    times = Counter(version.fingerprint for version in walk.versions.values())
    for version in walk.versions.values():
        day = version.as_of.isoformat()
        of_day = walk.of("registered_model").get(day, {})
        if times[version.fingerprint] > 1:
            yield Gap(check, "has the fingerprint of another version", "delete the younger", "", day, version.version)
        if walk.kept_of(version) is None and of_day.get("fingerprint") != version.fingerprint:
            text = (
                "is in MLflow, and the store has no record of it: nothing says that it was trained and registered here"
            )
            yield Gap(check, text, "bring the store's record back, or delete the version", "", day, version.version)


def _without_version(walk: Walk) -> Iterator[Gap]:
    check, do = "versions_and_records", "restore MLflow's database, or say in your own records why it was deleted"
    for kept in walk.kept.versions:
        there = walk.versions.get(kept.version or "")
        if kept.version and (there is None or there.fingerprint != kept.fingerprint):
            found = "is not in MLflow" if there is None else "is another model in MLflow"
            text = f"was registered by its record, and {found}"
            yield Gap(check, text, do, "registered_model", kept.as_of, kept.version)
    for day, record in walk.of("registered_model").items():
        number = record.get("version")
        if number and number not in walk.versions:
            yield Gap(
                check,
                "was registered by the record of its day, and is not in MLflow",
                do,
                "registered_model",
                day,
                number,
            )


def versions_as_recorded(walk: Walk) -> Sequence[Gap]:
    """What MLflow shows of a version is what its evidence says."""
    found = []
    for version in walk.versions.values():
        evidence = walk.evidence_of(version)
        if evidence is None:
            # Of before evidence was kept, and its day was trained again: `reproduce` says what is left of it.
            continue
        for what, shown, recorded in _shown(version, evidence):
            text = f"its {what} in MLflow is {shown}, and its evidence has {recorded}"
            do = "correct MLflow's tag; whoever read it since was told something else"
            found.append(Gap("versions_as_recorded", text, do, "registered_model", str(version.as_of), version.version))
        found += _recalibrated(walk, version, evidence)
    return found


def _shown(version: Version, evidence: Record) -> Iterator[tuple[str, str, str]]:
    """What of a version's tags is otherwise than its evidence, beside it."""
    tags, evaluation = version.tags, evidence.get("evaluation", {})
    records = {
        "as_of": evidence["as_of"],
        "variant": evidence["variant"],
        "data_hash": evidence.get("data", ""),
        "test_from": evidence.get("test_from", ""),
        **{name: f"{evaluation[name]:.6f}" for name in _METRICS if name in evaluation},
    }
    for name, recorded in records.items():
        if name in tags and tags[name] != recorded:
            yield name, tags[name], recorded


def _recalibrated(walk: Walk, version: Version, evidence: Record) -> Iterator[Gap]:
    """A version with a new calibration is of a version that is there."""
    of = evidence.get("recalibrates")
    if not of and RECALIBRATES not in version.tags:
        return
    base = walk.versions.get(version.tags.get(RECALIBRATES, ""))
    if not of or base is None or base.fingerprint != of["fingerprint"]:
        text = f"recalibrates version {version.tags.get(RECALIBRATES, 'none')}, which is not the one of its evidence"
        do = "correct MLflow's tag, or bring the version back"
        yield Gap("versions_as_recorded", text, do, "registered_model", str(version.as_of), version.version)
