"""What an audit walks over, and what it finds.

Belongs here: the plain values that every check takes. Does not belong here: reading them (`reading`), and any check.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from credit_assets.ledger.alias_log import Move
from credit_assets.ledger.kept import KeptVersion
from credit_assets.ledger.registry import Version
from credit_assets.ledger.requests import Request
from credit_assets.ml.data.gate_results import GateResult
from credit_assets.storage.chain import Break, Head

Record = Mapping[str, Any]


def again(asset: str, day: str) -> str:
    """The command that makes a day of an asset again."""
    return f"credit-assets backfill --again --assets {asset} --start {day} --end {day}"


@dataclass(frozen=True)
class Gap:
    """One thing that does not hold: found by which check, where, in words, and what to do about it."""

    check: str
    text: str
    do: str
    asset: str = ""
    day: str = ""
    version: str = ""

    def to_record(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def where(self) -> str:
        parts = (self.asset, self.day, f"version {self.version}" if self.version else "")
        return " ".join(part for part in parts if part)


@dataclass(frozen=True)
class KeptVersions:
    """What the store has of versions: their records, their evidence by its hash (None where it cannot be read), with
    the hash that it has now, of each kept training set the hash of its rows (None where it cannot be read), and the
    same of what the evidence names `beside` itself (`named_beside`), by its place.
    """

    versions: Sequence[KeptVersion] = ()
    evidence: Mapping[str, Record | None] = field(default_factory=dict)
    evidence_now: Mapping[str, str] = field(default_factory=dict)
    sets: Mapping[str, str | None] = field(default_factory=dict)
    beside: Mapping[str, str | None] = field(default_factory=dict)


class Reported(NamedTuple):
    """A move of an alias as Dagster reports it; `version` "none" where it was taken away."""

    log: str
    number: int
    version: str
    hash: str


@dataclass(frozen=True)
class Ledger:
    """The chains. `breaks` that nobody accepted, `accepted` the entries by which others were; `heads` of the logs, by
    name; `journal` by path in the store what was entered (None where it is not begun), `files` what those have now;
    `logs` the name of each alias's log, `reported` its moves as Dagster has them; `books` by whose (the store, MLflow,
    Dagster) the identity of the book.
    """

    breaks: Sequence[Break] = ()
    accepted: Sequence[Record] = ()
    heads: Mapping[str, Head] = field(default_factory=dict)
    journal: dict[str, list[str]] | None = None
    files: dict[str, str] = field(default_factory=dict)
    logs: Mapping[str, str] = field(default_factory=dict)
    reported: Mapping[str, Sequence[Reported]] = field(default_factory=dict)
    books: Mapping[str, str] = field(default_factory=dict)


class Verdict(NamedTuple):
    """What a file or Dagster's log has of the gates of a day: the hash of their results, and whether they reject it."""

    results: str
    rejected: bool


@dataclass(frozen=True)
class Walk:
    """Everything that the ledger, the store and MLflow have, read once.

    `records` by asset and ISO day, `hashes` of those of `trained_model`; `gates` of training sets by ISO day; `logs` by
    alias, with `log_numbers` the names of their entries; `held` by alias who has it in MLflow; `files` of each version
    the hashes of its model's files, or in words why there are none; `scorers` by ISO day the versions whose numbers
    stand in `loan_scores`; `made` the days that Dagster says were made, `stored` those that are there, by asset;
    `judged` what it recorded of the gates with a day, `verdicts` what the files have;
    `triggers` who asked for a training, by ISO day.
    """

    versions: Mapping[str, Version] = field(default_factory=dict)
    by_hand: Sequence[str] = ()
    kept: KeptVersions = field(default_factory=KeptVersions)
    records: Mapping[str, Mapping[str, Record]] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    gates: Mapping[str, Sequence[GateResult]] = field(default_factory=dict)
    logs: Mapping[str, Sequence[Move]] = field(default_factory=dict)
    log_numbers: Mapping[str, Sequence[int]] = field(default_factory=dict)
    held: Mapping[str, str] = field(default_factory=dict)
    requests: Sequence[Request] = ()
    outcomes: Mapping[int, str] = field(default_factory=dict)
    files: Mapping[str, Mapping[str, str] | str] = field(default_factory=dict)
    scorers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    stored: Mapping[str, Sequence[str]] = field(default_factory=dict)
    made: Mapping[str, Sequence[str]] = field(default_factory=dict)
    judged: Mapping[str, Mapping[str, Verdict]] = field(default_factory=dict)
    verdicts: Mapping[str, Mapping[str, Verdict]] = field(default_factory=dict)
    triggers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unreadable: Sequence[Gap] = ()
    ledger: Ledger = field(default_factory=Ledger)
    rows: Mapping[str, Mapping[str, tuple[str, str]]] = field(default_factory=dict)
    """By asset and ISO day, the hash recorded of a partition's rows and the one that they have, if they were read."""

    def of(self, asset: str) -> Mapping[str, Record]:
        return self.records.get(asset, {})

    def kept_of(self, version: Version) -> KeptVersion | None:
        return next((one for one in self.kept.versions if one.fingerprint == version.fingerprint), None)

    def evidence_of(self, version: Version) -> Record | None:
        """The record of `trained_model` that a version was registered by: as kept, else that of its day; None where
        neither is there.
        """
        kept = self.kept_of(version)
        if kept and kept.evidence and (found := self.kept.evidence.get(kept.evidence)):
            return found
        of_day = self.of("trained_model").get(version.as_of.isoformat())
        return of_day if of_day and of_day.get("fingerprint") == version.fingerprint else None

    def counts(self) -> dict[str, int]:
        """How much was walked."""
        return {
            "versions": len(self.versions),
            "kept versions": len(self.kept.versions),
            "kept training sets": len(self.kept.sets),
            "registrations": len(self.of("registered_model")),
            "takeovers": len(self.of("deployed_model")),
            "days of trials": sum(one.get("shadow") is not None for one in self.of("shadow_report").values()),
            "moves": sum(map(len, self.logs.values())),
            "requests": len(self.requests),
            "days of scores": len(self.scorers),
            "journaled files": len(self.ledger.journal or ()),
            "partitions": sum(map(len, self.stored.values())),
            "partitions read whole": sum(map(len, self.rows.values())),
        }
